"""Checks before a model is loaded. Their errors name the options."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Collection
from pathlib import Path

from ..audio.finishing import loudness_meter
from ..audio.loading import load_samples
from ..audio.watermark import watermarker
from ..pipelines.inputs import as_texts, check_setting
from ..pipelines.named_voices import named_voices, unknown_voice
from ..pipelines.voice import Voice, read_mix
from ..text.directions import read_directions

# Options, and the settings of the pipeline that they give.
OPTIONS = {
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "temperature": "temperature",
    "matching": "voice_matching",
    "strength": "strength",
    "loudness": "loudness",
    "speed": "speaking_rate",
    "pitch_shift": "pitch_shift",
    "pitch_range": "pitch_range",
    "energy": "energy",
    "gap": "turn_pause",
}


def check_settings(args: argparse.Namespace) -> None:
    """Raise an error if a number is out of its range, or if a library or a file that an option needs is missing."""
    for option, setting in OPTIONS.items():
        if (value := getattr(args, option, None)) is not None:
            check_setting(setting, value, "--" + option.replace("_", "-"))
    if getattr(args, "loudness", None) is not None:
        loudness_meter(16000)
    if getattr(args, "watermark", False):
        watermarker()
    lexicon = getattr(args, "lexicon", None)
    if lexicon is not None and not lexicon.is_file():
        raise ValueError(f"there is no lexicon file {str(lexicon)!r}.")


def check_voice(voice: str) -> None:
    """Raise a ValueError if a name, a file or a mix is no voice; what is checked needs no codec."""
    if os.path.exists(voice):
        if voice.endswith(".safetensors"):
            Voice.load(voice, "np")
        else:
            check_recording(voice)
    elif voice in named_voices():
        return
    elif "*" in voice:
        for _, part in read_mix(voice):
            check_voice(part)
    elif voice.endswith(".safetensors"):
        Voice.load(voice, "np")  # says that it does not exist
    else:
        raise unknown_voice(voice)


def check_recording(path: str | Path) -> None:
    """Raise an error if a file is no audio; only its beginning is read."""
    load_samples(path, max_seconds=0.1)


def check_text(text: str, is_phonemes: bool = False, speakers: Collection[str] = ()) -> None:
    """Raise a ValueError if a text is empty or has invalid directions."""
    as_texts(text, "text")
    if not is_phonemes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when it is spoken
            read_directions(text, speakers)
