"""Uploads a pipeline to the hub with a model card."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCard, ModelCardData, create_repo, upload_folder
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

BODY = """
# {name}

A NaturalSpeech 2 pipeline ([arXiv 2304.09116](https://arxiv.org/abs/2304.09116)): {summary}. It is made with
`ns2_diffusers` (`pip install ns2-diffusers`).

```python
from ns2_diffusers import {class_name}

pipe = {class_name}.from_pretrained("{repo_id}")
audio = pipe({example}).audios[0]
```

| component | class | parameters |
|---|---|---|
{components}

Sampling rate {sampling_rate} Hz; {frame_rate:g} latent frames per second{reading}.
{training}
## Use and misuse

A cloned voice needs the consent of the person it belongs to. Do not use this model to impersonate or deceive.
"""


LOADER = '''"""Lets diffusers find the class of this pipeline: pip install ns2-diffusers."""

from ns2_diffusers import {name}

__all__ = ["{name}"]
'''


def component_rows(components: dict[str, Any]) -> str:
    """Rows of a Markdown table with the name, class and number of parameters of each component."""
    rows = []
    for name, component in sorted(components.items()):
        if component is not None:
            count = component.num_parameters() if hasattr(component, "num_parameters") else 0
            rows.append(f"| {name} | `{type(component).__name__}` | {f'{count:,}' if count else ''} |")
    return "\n".join(rows)


def write_loader(folder: str | Path, class_name: str) -> None:
    """Let `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)` find the class of a saved pipeline.

    diffusers runs `pipeline.py` if `model_index.json` has the class as `["pipeline", name]`.
    """
    folder = Path(folder)
    (folder / "pipeline.py").write_text(LOADER.format(name=class_name), encoding="utf-8")
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    index["_class_name"] = ["pipeline", class_name]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class ModelCardMixin:
    """Adds `model_card`, and a `push_to_hub` that uploads the card, to a pipeline."""

    # Attributes of the pipeline that uses this mixin.
    components: dict[str, Any]
    codec: Any
    save_pretrained: Any
    # For the card: a summary of the output, an example call, and the hub's name of the task, if it has one.
    _card_summary: str
    _card_example: str
    _card_task: str | None = None

    if TYPE_CHECKING:

        @property
        def sampling_rate(self) -> int: ...

    @classmethod
    def _dict_from_json_file(cls, json_file):
        # A caller that names the class needs no code of the repository to find it.
        config = super()._dict_from_json_file(json_file)  # type: ignore[misc]
        if isinstance(name := config.get("_class_name"), list):
            config["_class_name"] = name[-1]
        return config

    def model_card(
        self, repo_id: str, license: str | None = None, training: dict[str, str | None] | None = None
    ) -> ModelCard:
        """The model card for a repository: components, sizes and usage.

        Args:
            repo_id: `user/name` on the hub.
            license: license of the weights, one of the hub's names; None leaves it out, because only the owner of the
                weights can license them.
            training: facts about the training data and method, by name; None values are left out.
        """
        data = ModelCardData(
            license=license,
            library_name="ns2_diffusers",
            pipeline_tag=self._card_task,
            tags=[*filter(None, [self._card_task]), "audio", "naturalspeech2", "diffusers"],
        )
        facts = "\n".join(f"| {name} | {fact} |" for name, fact in (training or {}).items() if fact is not None)
        tokenizer = self.components.get("tokenizer")
        body = BODY.format(
            name=repo_id.split("/")[-1],
            repo_id=repo_id,
            class_name=type(self).__name__,
            summary=self._card_summary,
            example=self._card_example,
            components=component_rows(self.components),
            sampling_rate=self.sampling_rate,
            frame_rate=self.codec.frame_rate,
            reading="" if tokenizer is None else f"; tokenizer backend {tokenizer.backend}",
            training=f"\n## Training\n\n| | |\n|---|---|\n{facts}\n" if facts else "",
        )
        return ModelCard(f"---\n{data.to_yaml()}\n---\n{body}")

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        card: ModelCard | None = None,
    ) -> str:
        """Upload the pipeline, its model card and a small `pipeline.py`. Returns the URL of the commit.

        With `pipeline.py`, `DiffusionPipeline.from_pretrained(repo_id, trust_remote_code=True)` finds the class where
        this package is installed. Arguments are those of diffusers' `push_to_hub`, and:

        Args:
            card: the model card; if None, an existing one is kept, otherwise `model_card` makes one.
        """
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization=safe_serialization, variant=variant)
            write_loader(folder, type(self).__name__)
            (card or self._card_for(repo_id, token)).save(Path(folder) / "README.md")
            return upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                token=token,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                create_pr=create_pr,
            )

    def _card_for(self, repo_id: str, token: str | None) -> ModelCard:
        try:
            return ModelCard.load(repo_id, token=token)
        except (EntryNotFoundError, RepositoryNotFoundError):
            return self.model_card(repo_id)
