"""Checkpoints of a training run: written completely or not at all, and loaded without execution of code."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list, load

from ..files import remove_partial, whole_folder, write_text

if TYPE_CHECKING:
    from accelerate import Accelerator

PROGRESS_NAME = "progress.json"
FORCE, FORCE_NOT = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
# Classes in the index of a sharded checkpoint (FSDP, torch.distributed.checkpoint). They have no side effects.
INDEX_GLOBALS = {
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "pathlib": {"PosixPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "WindowsPath"},  # Python 3.13
    "collections": {"OrderedDict"},
}


class Checkpoints:
    """The checkpoints of a training run, `checkpoint-<step>` folders of accelerate's state.

    No part of a checkpoint is unpickled without restriction: weights and averages are safetensors, progress is JSON,
    and the optimizer's state is loaded with `weights_only=True`.

    Args:
        directory: directory of the checkpoints.
        total_limit: number of newest checkpoints that are kept; 0 keeps all.
    """

    def __init__(self, directory: str | Path, total_limit: int):
        self.directory, self.total_limit = Path(directory), total_limit

    def all(self) -> list[Path]:
        """All complete checkpoints, oldest first."""
        return sorted(self.directory.glob("checkpoint-*"))

    def save(self, accelerator: Accelerator, progress: dict[str, Any]) -> None:
        """Save the accelerator's state and `progress`, plain JSON with at least a `step`; all processes call this."""
        final = self.directory / f"checkpoint-{progress['step']:08d}"
        self.directory.mkdir(parents=True, exist_ok=True)
        # Every process writes into one folder; the main process creates and renames it.
        with whole_folder(final, replace=True) if accelerator.is_main_process else nullcontext() as partial:
            (folder,) = broadcast_object_list([partial and str(partial)])
            accelerator.save_state(folder)
            # All processes must have finished writing before the folder is renamed.
            accelerator.wait_for_everyone()
            if partial is not None:
                write_text(partial / PROGRESS_NAME, json.dumps(progress))
        if accelerator.is_main_process:
            for old in self.all()[: -self.total_limit]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def remove_all(self) -> None:
        """Remove all checkpoints after the result was saved. The main process calls this."""
        for folder in self.all():
            shutil.rmtree(folder)

    def find(self, accelerator: Accelerator, which: str | None) -> Path | None:
        """Find the checkpoint to resume from, and remove incomplete ones of a killed run.

        Args:
            which: `latest` (None is returned if there is no checkpoint yet), the folder of one, or None.

        Raises:
            ValueError: the folder is not a checkpoint; or `which` is None and there are checkpoints, with which those
                of a new run would be mixed.
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
            return next(reversed(self.all()), None)
        if which is not None and not (Path(which) / PROGRESS_NAME).exists():
            raise ValueError(
                f"{which} is not a checkpoint (no {PROGRESS_NAME}): give a folder checkpoint-…, or `latest`."
            )
        return None if which is None else Path(which)

    @staticmethod
    def progress(folder: Path) -> dict[str, Any]:
        """The `progress` that `save` stored."""
        return json.loads((folder / PROGRESS_NAME).read_text())

    @staticmethod
    def load(accelerator: Accelerator, folder: Path) -> None:
        """Load a checkpoint into the accelerator's models and optimizers.

        Raises:
            ValueError: a file contains more than tensors and numbers; nothing was loaded or executed then.
        """
        check_contents(folder)
        with weights_only():
            accelerator.load_state(str(folder))


def check_contents(folder: Path) -> None:
    """Check that a checkpoint contains only tensors and numbers, without execution of code.

    Raises:
        ValueError: a pickle in it would import something else, or is not readable as a file of torch.
    """
    for path in sorted(folder.rglob("*")):
        try:
            if path.name.startswith("custom_checkpoint_"):
                raise pickle.UnpicklingError("accelerate unpickles it freely; this version writes no such file")
            if path.name == ".metadata":
                _IndexUnpickler(io.BytesIO(path.read_bytes())).load()
            elif path.suffix in (".bin", ".pt", ".pth", ".pkl"):
                with weights_only():
                    # accelerate lists the array types in the state of numpy's generator.
                    load(path, map_location="meta")
        except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError) as error:
            raise ValueError(
                f"{path} is not loaded, as it may run a program: {str(error).splitlines()[0]}. Resume from a "
                "checkpoint that this version of the scripts wrote."
            ) from error


@contextmanager
def weights_only() -> Iterator[None]:
    """Restrict every `torch.load` in this block to tensors and numbers, whatever its caller asks for."""
    before = {name: os.environ.pop(name, None) for name in (FORCE, FORCE_NOT)}
    os.environ[FORCE] = "1"
    try:
        yield
    finally:
        del os.environ[FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


class _IndexUnpickler(pickle.Unpickler):
    """Reads the index of a sharded checkpoint, which `torch.distributed.checkpoint` unpickles without restriction."""

    def find_class(self, module: str, name: str) -> Any:
        if name in INDEX_GLOBALS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it wants {module}.{name}")
