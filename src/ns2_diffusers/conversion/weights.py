"""Finds and reads files of other libraries, and writes converted models."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..files import whole_folder
from ..untrusted import check_sha256, check_source, warn_unpinned

logger = logging.getLogger(__name__)

FILES = (".bin", ".pt", ".safetensors")


def find_file(source: str | Path, filename: str, revision: str | None = None) -> Path:
    """Path of a file of a checkpoint, downloaded if necessary.

    A download without a revision causes a warning with the commit, so that it can be pinned.

    Args:
        source: the file itself, a directory that has a `filename`, or a hub repository (`owner/name`).
        filename: name of the file in the repository.
        revision: commit of the hub repository.

    Raises:
        ValueError: `source` is none of these; or a revision is given for a local file.
        OSError: the hub does not have the file, or cannot be reached.
    """
    path = Path(source)
    if path.exists():
        check_source(source, "checkpoint", revision)
    if path.is_file():
        return path
    if path.is_dir():
        if not (path / filename).is_file():
            raise ValueError(f"there is no {filename} in the directory {str(source)!r}.")
        return path / filename
    # A file in a folder also looks like a repository.
    if path.suffix in FILES:
        raise ValueError(f"there is no file or directory {str(source)!r}, and it is not a hub repository owner/name.")
    check_source(source, "checkpoint")
    found = Path(hf_hub_download(str(source), filename, revision=revision))
    warn_unpinned(source, found, revision)
    return found


def download_file(url: str, sha256: str) -> Path:
    """A file in torch hub's cache, downloaded if it does not exist; its checksum is always verified.

    Raises:
        ValueError: the checksum is wrong.
        OSError: the file cannot be downloaded.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    check_sha256(path, sha256, f"remove it, and it is downloaded again from {url}.")
    return path


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from safetensors or torch's format; only tensors are loaded from a pickle.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a state dict: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise ValueError(f"{str(path)!r} holds no state dict, which would be names with a tensor each.")
    return weights


def check_new_directory(output: Path) -> None:
    """Check before the conversion that `save_whole` can write its result.

    Raises:
        ValueError: `output` exists, or its parent directory does not.
    """
    if output.exists():
        raise ValueError(f"there is already something at {str(output)!r}: name another output, or remove it first.")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"there is no directory {str(output.parent)!r} to write {output.name} to: make it first.")


def save_whole(made: Any, output: Path) -> None:
    """Call `made.save_pretrained` on a new directory, which is written completely or not at all."""
    check_new_directory(output)
    with whole_folder(output) as partial:
        made.save_pretrained(partial)
