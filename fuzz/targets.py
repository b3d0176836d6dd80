"""What is fuzzed: functions of bytes that must return, or raise an error of ours."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ns2_diffusers import NaturalSpeech2Tokenizer, Voice
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.text.notes import read_notes
from ns2_diffusers.text.sentences import split_sentences

# Errors that say what is wrong with the input.
CLEAR = (ValueError, TypeError)


@cache
def tokenizer() -> NaturalSpeech2Tokenizer:
    return NaturalSpeech2Tokenizer(unknown="drop", max_characters=2000)


def audio(data: bytes) -> None:
    """A recording: whatever it is, five seconds at most come out, finite and mono."""
    waveform, rate = load_audio({"bytes": data}, None, 16000, max_seconds=5.0)
    assert rate == 16000 and waveform.ndim == 1 and 0 < len(waveform) <= 5 * 16000
    assert waveform.isfinite().all()


def voice(data: bytes) -> None:
    """A voice file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "voice.safetensors")
        path.write_bytes(data)
        latents = Voice.load(path).latents
    assert latents.ndim == 2 and latents.numel() and latents.isfinite().all()


def text(data: bytes) -> None:
    """A text: its sentences, and its ids."""
    written = data.decode(errors="surrogateescape")
    sentences = split_sentences(written, 200)
    # Blanks, which are spoken as one, do not count.
    assert all(len(" ".join(sentence.split())) <= 200 for sentence in sentences)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is dropped
        ids = tokenizer()(written)["input_ids"]
    assert len(ids) > 2 and max(ids) < len(tokenizer())


def notes(data: bytes) -> None:
    """Notes of a song."""
    for hz, beats in read_notes(data.decode(errors="replace")):
        assert hz > 0 and beats > 0


TARGETS: dict[str, Callable[[bytes], None]] = {"audio": audio, "voice": voice, "text": text, "notes": notes}


def outcome(name: str, data: bytes) -> str:
    """`right` or `clear error`; whatever else a target raises is a crash, and is raised."""
    try:
        TARGETS[name](data)
    except CLEAR:
        return "clear error"
    return "right"
