"""Checks untrusted input before weights are read: names of models, configs and headers of files."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Upper limits of whole numbers in a config, by pattern of their names; the first matching pattern counts.
MOST = (
    (re.compile("sampling_rate|sample_rate"), 768_000),
    (re.compile("num_train_timesteps"), 100_000),
    (re.compile("^num_|layers|^n_|depth|multiplier|mult$"), 4_096),
    (re.compile(""), 65_536),
)
MOST_ENTRIES = 100_000  # entries of a list or an object in a config
# Settings of diffusers' schedulers for which infinity means "no bound".
UNBOUNDED = {"lambda_min_clipped"}
MOST_CONFIG_BYTES = 16 * 2**20
# A safetensors file begins with the length of its JSON header, which names and describes the tensors.
MOST_HEADER_BYTES = 16 * 2**20


def check_source(name: str | os.PathLike, what: str = "model", revision: str | None = None) -> None:
    """Raise a ValueError unless `name` is a file or folder, or can be a repository of the hub.

    With a `revision`, it must be a repository: files and folders have no revisions.

    A name that looks like a path (it begins with a dot, a slash or ~, or its first part exists) is never looked up on
    the hub. Otherwise a missing folder would be replaced by another person's repository of that name.
    """
    given = os.fspath(name)
    if os.path.exists(given):
        if revision is not None:
            raise ValueError(f"revision is {revision!r}, and {given!r} is here and not on the hub: leave it out.")
        return
    first, nothing = given.split("/")[0], f"there is no file or directory {given!r} ({os.path.abspath(given)!r})"
    if not HUB_ID.fullmatch(given) or ".." in given:
        raise ValueError(
            f"{nothing}, and it is not a hub repository (owner/name): give the path of a {what}, or a repository."
        )
    if os.path.exists(first):
        raise ValueError(
            f"{nothing}, and the hub is not asked for it, as there is {first!r} here: check the path, or download the "
            f"{what} of that name and give its folder."
        )


def warn_unpinned(name: str | os.PathLike, path: str | os.PathLike, revision: str | None) -> None:
    """Log a warning with the commit of a download, unless a revision was given.

    Args:
        name: the hub repository.
        path: the downloaded file or folder in the cache of the hub, which has a folder for each commit.
    """
    parts = Path(path).parts
    if revision is None and "snapshots" in parts[:-1]:
        commit = parts[parts.index("snapshots") + 1]
        logger.warning("%s is at commit %s now: give it as the revision to get the same again.", name, commit)


def check_config(config: Any, where: str) -> None:
    """Raise a ValueError if the config of a model or scheduler has sizes beyond those of any model, or NaN."""
    if not isinstance(config, Mapping):
        raise ValueError(f"the config of {where} is a {type(config).__name__}; wanted an object of settings.")
    _check_value("config", config, where)


def check_config_file(path: str | os.PathLike) -> None:
    """Raise a ValueError if a config file is too large. A missing file is left to its reader."""
    if os.path.isfile(path) and (size := os.path.getsize(path)) > MOST_CONFIG_BYTES:
        raise ValueError(f"{os.fspath(path)!r} has {size} bytes; a config has at most {MOST_CONFIG_BYTES}.")


def check_safetensors_header(path: str | os.PathLike, most: int = MOST_HEADER_BYTES) -> None:
    """Raise a ValueError if the header of a safetensors file is larger than `most` bytes, or than the file."""
    with open(path, "rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), os.path.getsize(path)
    if size < 8 or length > min(most, size - 8):
        raise ValueError(
            f"{os.fspath(path)!r} is not a safetensors file, or is cut off: its header would have {length} bytes, and "
            f"there are at most {min(most, max(0, size - 8))}."
        )


def check_sha256(path: str | os.PathLike, expected: str, advice: str) -> None:
    """Raise a ValueError if a file is not the published one.

    Args:
        expected: its SHA-256, 64 hexadecimal digits, or the first of them.
        advice: advice for the message.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not expected or not found.startswith(expected):
        raise ValueError(f"{os.fspath(path)!r} has SHA-256 {found}, wanted {expected}: {advice}")


def _check_value(name: str, value: Any, where: str) -> None:
    if isinstance(value, (Mapping, list, tuple)):
        if len(value) > MOST_ENTRIES:
            raise ValueError(f"{name} in the config of {where} has {len(value)} entries; at most {MOST_ENTRIES}.")
        for key, each in value.items() if isinstance(value, Mapping) else ((name, each) for each in value):
            _check_value(str(key), each, where)
    elif isinstance(value, float) and not math.isfinite(value) and (math.isnan(value) or name not in UNBOUNDED):
        raise ValueError(f"{name} is {value} in the config of {where}; wanted a finite number.")
    elif isinstance(value, int) and not isinstance(value, bool):
        most = next(most for pattern, most in MOST if pattern.search(name))
        if abs(value) > most:
            raise ValueError(f"{name} is {value:.6g} in the config of {where}; wanted at most {most}.")
