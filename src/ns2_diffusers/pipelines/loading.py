"""Safe loading of untrusted pipelines: the classes of the components are checked before weights are read."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ..deferred_imports import deferring
from ..files import explained
from ..untrusted import check_config, check_config_file, check_source, warn_unpinned

OURS = __name__.partition(".")[0]


class CheckedLoadingMixin:
    """Adds a `from_pretrained` that loads only components of this package and schedulers of diffusers."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a pipeline.

        Args:
            pretrained_model_name_or_path: a folder, or a hub repository `owner/name`. A name that looks like a path
                (it begins with a dot, a slash or ~, or its first part exists) is never looked up on the hub.
            kwargs: arguments of `diffusers.DiffusionPipeline.from_pretrained`. `revision`, a commit of the repository,
                fixes the version that is downloaded; without it a warning names the commit.

        Raises:
            ValueError: the folder does not exist; a revision is given for a folder; it has components of other
                libraries, or sizes beyond those of any model; weights are missing, unexpected or of the wrong shape;
                or the tokenizer has no vocabulary.
            OSError: the hub does not have the repository, or cannot be reached.
        """
        check_source(pretrained_model_name_or_path, revision=kwargs.get("revision"))
        if os.path.isdir(pretrained_model_name_or_path):
            check_configs(pretrained_model_name_or_path)
        with deferring():
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """Called by diffusers for pipelines on the hub."""
        folder: str = super().download(pretrained_model_name, **kwargs)  # type: ignore[misc]
        check_configs(folder)
        warn_unpinned(pretrained_model_name, folder, kwargs.get("revision"))
        return folder

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Called by diffusers after it has read `model_index.json` and before it loads the components."""
        check_config(
            {name: value for name, value in config_dict.items() if not isinstance(value, list)}, "the pipeline"
        )
        check_components(config_dict, cls._get_signature_keys(cls)[0])  # type: ignore[attr-defined]
        return super().extract_init_dict(config_dict, **kwargs)  # type: ignore[misc]

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Write the pipeline into a folder, as `DiffusionPipeline.save_pretrained`.

        Raises:
            OSError: the folder cannot be written; the message has the path and the reason.
        """
        with explained(args[0] if args else kwargs["save_directory"]):
            super().save_pretrained(*args, **kwargs)  # type: ignore[misc]


def check_configs(folder: str | os.PathLike) -> None:
    """Raise a ValueError if a config in a pipeline's folder is invalid, or has sizes beyond those of any model."""
    names = ("model_index.json", "*/config.json", "*/scheduler_config.json")
    for path in sorted(path for name in names for path in Path(folder).glob(name)):
        check_config_file(path)
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{str(path)!r} is not JSON ({error}).") from error
        check_config(config, repr(str(path)))


def check_components(config: Mapping[str, Any], expected: Collection[str]) -> None:
    """Raise a ValueError if `model_index.json` names components that the pipeline does not have, or classes that
    belong neither to this package nor, for the scheduler, to diffusers.

    Args:
        config: contents of `model_index.json`.
        expected: names of the components that the pipeline takes.
    """
    import diffusers
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

    import ns2_diffusers

    for name, value in config.items():
        is_component = isinstance(value, (list, tuple)) and not name.startswith("_")
        if is_component and name not in expected:
            raise ValueError(f"model_index.json has a component {name!r}; wanted {', '.join(sorted(expected))}.")
        if name not in expected or (is_component and list(value) == [None, None]):
            continue
        library, made = value if is_component and len(value) == 2 else (None, None)
        known = library == OURS and isinstance(made, str) and made in ns2_diffusers.__all__
        if name == "scheduler" and library == "diffusers" and isinstance(made, str):
            found = getattr(diffusers, made, None)
            known = isinstance(found, type) and issubclass(found, SchedulerMixin)
        if not known:
            raise ValueError(
                f"model_index.json has {value!r} for its {name}; wanted a class of {OURS}"
                f"{', or a scheduler of diffusers' if name == 'scheduler' else ''}. Load a component of another "
                f"library yourself and give it to the pipeline's constructor."
            )
