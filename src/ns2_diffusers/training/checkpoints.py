"""Checkpoints of a training run, which are there whole or not at all."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list

from ..files import remove_partial, whole_folder, write_text

if TYPE_CHECKING:
    from accelerate import Accelerator

PROGRESS_NAME = "progress.json"


class Checkpoints:
    """The checkpoints of a training run, `checkpoint-<step>` folders of accelerate's state.

    Args:
        directory: where they lie.
        total_limit: how many are kept, the newest; 0 keeps all.
    """

    def __init__(self, directory: str | Path, total_limit: int):
        self.directory, self.total_limit = Path(directory), total_limit

    def all(self) -> list[Path]:
        """Those there are, oldest first."""
        return sorted(self.directory.glob("checkpoint-*"))

    def save(self, accelerator: Accelerator, progress: dict[str, Any]) -> None:
        """Save the accelerator's state with `progress`, which has at least a `step`; all processes call this."""
        final = self.directory / f"checkpoint-{progress['step']:08d}"
        self.directory.mkdir(parents=True, exist_ok=True)
        # Every process writes into one folder, which the main process names and puts in its place.
        with whole_folder(final, replace=True) if accelerator.is_main_process else nullcontext() as partial:
            (folder,) = broadcast_object_list([partial and str(partial)])
            accelerator.save_state(folder)
            # Nobody may still be writing when the folder gets its name.
            accelerator.wait_for_everyone()
            if partial is not None:
                write_text(partial / PROGRESS_NAME, json.dumps(progress))
        if accelerator.is_main_process:
            for old in self.all()[: -self.total_limit]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def resume(self, accelerator: Accelerator, which: str | None) -> dict[str, Any] | None:
        """Load a checkpoint into the accelerator's objects and return its progress.

        What a killed run left half-written is removed.

        Args:
            which: `latest` (None is returned if there is no checkpoint yet), the folder of one, or None.

        Raises:
            ValueError: the folder is no checkpoint; None was given and there are checkpoints already, which a run
                from the beginning would mix with its own.
        """
        if accelerator.is_main_process:
            remove_partial(self.directory)
        accelerator.wait_for_everyone()
        if which is None and self.all():
            raise ValueError(
                f"{self.directory} has checkpoints of another run: go on from them with --resume_from_checkpoint "
                "latest, remove them, or choose another --output_dir."
            )
        if which == "latest":
            which = next((str(path) for path in reversed(self.all())), None)
        if which is None:
            return None
        if not (Path(which) / PROGRESS_NAME).exists():
            raise ValueError(
                f"{which} is no checkpoint (no {PROGRESS_NAME}): give a folder checkpoint-…, or `latest`."
            )
        accelerator.load_state(str(which))
        accelerator.print(f"resumed from {which}")
        return json.loads((Path(which) / PROGRESS_NAME).read_text())
