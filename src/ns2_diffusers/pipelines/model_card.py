"""Pushing a pipeline to the hub with a card that says what it is."""

from __future__ import annotations

import tempfile
from pathlib import Path

from huggingface_hub import ModelCard, ModelCardData, create_repo, upload_folder
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

BODY = """
# {name}

A NaturalSpeech 2 pipeline ([arXiv 2304.09116](https://arxiv.org/abs/2304.09116)): zero-shot speech from a few
seconds of a voice, made with `ns2_diffusers` (`pip install ns2-diffusers`).

```python
from ns2_diffusers import NaturalSpeech2Pipeline

pipe = NaturalSpeech2Pipeline.from_pretrained("{repo_id}")
audio = pipe("Any text at all.", prompt_audio="voice.wav").audios[0]
```

| component | class | parameters |
|---|---|---|
{components}

Sampling rate {sampling_rate} Hz; {frame_rate:g} latent frames a second; tokenizer backend {backend}.
{training}
## Use and misuse

A cloned voice needs the consent of the person it belongs to. Do not use this model to impersonate or deceive.
"""


class ModelCardMixin:
    """Gives a pipeline `model_card` and a `push_to_hub` that brings it along."""

    def model_card(
        self, repo_id: str, license: str = "apache-2.0", training: dict[str, str] | None = None
    ) -> ModelCard:
        """The card of this pipeline in a repository: components, sizes, how to use it.

        Args:
            repo_id: `user/name` on the hub.
            license: of the weights, one of the hub's names.
            training: what they were trained on and how, facts by name.
        """
        data = ModelCardData(
            license=license,
            library_name="ns2_diffusers",
            pipeline_tag="text-to-speech",
            tags=["text-to-speech", "naturalspeech2", "diffusers", "zero-shot"],
        )
        rows = []
        for name, component in sorted(self.components.items()):
            if component is not None:
                count = component.num_parameters() if hasattr(component, "num_parameters") else 0
                rows.append(f"| {name} | `{type(component).__name__}` | {f'{count:,}' if count else ''} |")
        facts = "\n".join(f"| {name} | {fact} |" for name, fact in (training or {}).items())
        body = BODY.format(
            name=repo_id.split("/")[-1],
            repo_id=repo_id,
            components="\n".join(rows),
            sampling_rate=self.sampling_rate,
            frame_rate=self.codec.frame_rate,
            backend=getattr(self.tokenizer, "backend", "none"),
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
        """Upload the pipeline and its model card. Returns the URL of the commit.

        Arguments are those of diffusers' `push_to_hub`, and:

        Args:
            card: for the repository; when None, one that it has already is kept, or `model_card` makes one.
        """
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, safe_serialization=safe_serialization, variant=variant)
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
