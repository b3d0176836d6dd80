"""Checkpoints and results that are there whole or not at all: written beside, then renamed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

PROGRESS_NAME = "progress.json"


def save_beside(save: Callable[[Path], Any], directory: str | Path) -> None:
    """Let `save` write a folder, then move its parts over those of the same name in `directory`.

    Whoever reads meanwhile finds each part old or new, never half, and what else is in `directory` stays.
    """
    directory = Path(directory)
    beside = directory / ".saving"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    save(beside)
    for part in sorted(beside.iterdir()):
        target = directory / part.name
        if target.is_dir():
            shutil.rmtree(target)
        part.replace(target)
    beside.rmdir()


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
        beside = final.with_name(f".{final.name}")
        accelerator.save_state(str(beside))
        # Nobody may still be writing when the folder gets its name.
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            (beside / PROGRESS_NAME).write_text(json.dumps(progress))
            shutil.rmtree(final, ignore_errors=True)
            beside.replace(final)
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
        self._remove_half_written(accelerator)
        if which is None and self.all():
            raise ValueError(
                f"{self.directory} has checkpoints of another run: go on from them with --resume_from_checkpoint "
                "latest, remove them, or choose another --output_dir."
            )
        if which == "latest":
            which = next(reversed(self.all()), None)
        if which is None:
            return None
        if not (Path(which) / PROGRESS_NAME).exists():
            raise ValueError(
                f"{which} is no checkpoint (no {PROGRESS_NAME}): give a folder checkpoint-…, or `latest`."
            )
        accelerator.load_state(str(which))
        accelerator.print(f"resumed from {which}")
        return json.loads((Path(which) / PROGRESS_NAME).read_text())

    def _remove_half_written(self, accelerator: Accelerator) -> None:
        if accelerator.is_main_process:
            for folder in self.directory.glob(".checkpoint-*"):
                shutil.rmtree(folder)
        accelerator.wait_for_everyone()
