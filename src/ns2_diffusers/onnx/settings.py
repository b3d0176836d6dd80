"""The settings of an exported pipeline, in its `model_index.json`. This module is quick to import."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..untrusted import check_config, check_config_file

SETTINGS_FILE = "model_index.json"
CLASS_NAME = "OnnxNaturalSpeech2Pipeline"


def is_exported(folder: str | os.PathLike) -> bool:
    """Whether a directory holds a pipeline that was exported, rather than one of torch's."""
    try:
        check_config_file(Path(folder) / SETTINGS_FILE)
        content = json.loads((Path(folder) / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("_class_name") == CLASS_NAME


def read_settings(folder: Path) -> dict[str, Any]:
    """`model_index.json` of an exported pipeline.

    Raises:
        ValueError: there is none.
    """
    if not is_exported(folder):
        raise ValueError(
            f"{str(folder)!r} holds no exported pipeline ({SETTINGS_FILE} of a {CLASS_NAME}): make one with "
            "`ns2-diffusers export onnx --output DIR`."
        )
    settings = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    check_config(settings, repr(str(folder / SETTINGS_FILE)))
    return settings
