"""Loads a codec without knowledge of its class."""

from __future__ import annotations

import importlib
from typing import Any

from diffusers.models.modeling_utils import ModelMixin

from ...untrusted import check_source
from .vocos_codec import VocosCodec

CODECS = {"VocosCodec": "vocos_codec", "EncodecCodec": "encodec_codec"}


def load_codec(pretrained_model_name_or_path: str, **kwargs: Any) -> ModelMixin:
    """Load any codec from a directory or hub repository; `kwargs` go to its `from_pretrained`.

    Raises:
        ValueError: its config names no codec of this package.
    """
    check_source(pretrained_model_name_or_path, "codec")
    where = {name: kwargs[name] for name in ("subfolder", "revision", "cache_dir", "token") if name in kwargs}
    name = VocosCodec.load_config(pretrained_model_name_or_path, **where).get("_class_name")
    if name not in CODECS:
        raise ValueError(
            f"{pretrained_model_name_or_path} holds a {name}, which is not a codec; wanted one of {', '.join(CODECS)}."
        )
    module = importlib.import_module(f"{__package__}.{CODECS[name]}")
    return getattr(module, name).from_pretrained(pretrained_model_name_or_path, **kwargs)
