"""The settings of an exported pipeline, in its `model_index.json`. This module has no slow imports."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..untrusted import check_config, check_config_file

SETTINGS_FILE = "model_index.json"
CACHE_VARIABLE = "NS2_DIFFUSERS_CACHE"
CLASS_NAME = "OnnxNaturalSpeech2Pipeline"


def is_exported(folder: str | os.PathLike) -> bool:
    """Whether a directory holds an exported pipeline; False for a pipeline of torch."""
    try:
        check_config_file(Path(folder) / SETTINGS_FILE)
        content = json.loads((Path(folder) / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("_class_name") == CLASS_NAME


def cached_export(model: str | os.PathLike) -> Path:
    """The cache folder that `ns2-diffusers export onnx` writes for a model directory if `--output` is not given.

    It depends on the version of the package and on the files. The cache is `NS2_DIFFUSERS_CACHE`, or `ns2_diffusers`
    in the user's cache directory.
    """
    root = os.environ.get(CACHE_VARIABLE)
    if not root:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ns2_diffusers")
    folder = Path(model).resolve()
    state = [__version__, str(folder)]
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".safetensors"):
            state += [str(path.relative_to(folder)), str(path.stat().st_size), str(path.stat().st_mtime_ns)]
    return Path(root) / "onnx" / hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]


def read_settings(folder: Path) -> dict[str, Any]:
    """Read `model_index.json` of an exported pipeline.

    Raises:
        ValueError: the folder holds no exported pipeline.
    """
    if not is_exported(folder):
        raise ValueError(
            f"{str(folder)!r} holds no exported pipeline ({SETTINGS_FILE} of a {CLASS_NAME}): make one with "
            "`ns2-diffusers export onnx --output DIR`."
        )
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    check_config(settings, repr(str(folder / SETTINGS_FILE)))
    return settings
