"""Fuzzing targets: functions of bytes that must return, or raise an error of this package."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import soundfile

from ns2_diffusers import NaturalSpeech2Tokenizer, Voice
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.text.notes import read_notes
from ns2_diffusers.text.sentences import split_sentences

# Errors that say what is wrong with the input.
CLEAR = (ValueError, TypeError)


class SilentLoss(Exception):
    """A part of the input is missing in the result, without a warning."""


@cache
def tokenizer() -> NaturalSpeech2Tokenizer:
    return NaturalSpeech2Tokenizer(unknown="drop", max_characters=2000)


def audio(data: bytes) -> None:
    """Load a recording: the result is finite, mono and at most five seconds long."""
    waveform, rate = load_audio({"bytes": data}, None, 16000, max_seconds=5.0)
    assert rate == 16000 and waveform.ndim == 1 and 0 < len(waveform) <= 5 * 16000
    assert waveform.isfinite().all()


# Whose header, or whose last page, says where the end is.
FORMATS = ("WAV", "FLAC", "OGG", "AIFF", "AU", "CAF", "W64", "RF64")
NOISE = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * 16000)


@cache
def recording(kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16000, format=kind)
    return file.getvalue()


class Told(logging.Handler):
    """Return whether a warning was logged."""

    told = False

    def emit(self, record: logging.LogRecord) -> None:
        self.told = True


def cut(data: bytes) -> None:
    """Load a truncated recording: the first byte selects the format, the next four the place."""
    kind = FORMATS[(data or b"\0")[0] % len(FORMATS)]
    whole = recording(kind)
    length = int.from_bytes(data[1:5], "big") % (len(whole) + 1) if len(data) > 4 else len(whole)
    log, told = logging.getLogger("ns2_diffusers"), Told(logging.WARNING)
    log.addHandler(told)
    try:
        samples = len(load_audio({"bytes": whole[:length]})[0])
    finally:
        log.removeHandler(told)
    if samples < len(NOISE) and not told.told:
        raise SilentLoss(f"{kind} cut to {length} of {len(whole)} bytes: {samples} of {len(NOISE)} samples")


def voice(data: bytes) -> None:
    """Load a voice file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "voice.safetensors")
        path.write_bytes(data)
        latents = Voice.load(path).latents
    assert latents.ndim == 2 and latents.numel() and latents.isfinite().all()


def text(data: bytes) -> None:
    """Split a text into sentences, and encode it."""
    written = data.decode(errors="surrogateescape")
    sentences = split_sentences(written, 200)
    # Blanks, which are spoken as one, do not count.
    assert all(len(" ".join(sentence.split())) <= 200 for sentence in sentences)
    if "".join(sentences) != written:
        raise SilentLoss("the sentences are not the text")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")  # of what is dropped
        ids = tokenizer()(written)["input_ids"]
        assert len(ids) > 2 and max(ids) < len(tokenizer())
        phonemes = tokenizer().phonemize(written)
    if re.search("[A-Za-z0-9]", written) and not any(map(str.isalpha, phonemes)) and not told:
        raise SilentLoss("no word is said")


def notes(data: bytes) -> None:
    """Parse the notes of a song."""
    written = data.decode(errors="replace")
    read = read_notes(written)
    assert all(hz > 0 and beats > 0 for hz, beats in read)
    if len(read) != len(written.split()):
        raise SilentLoss("there are fewer notes than words")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "audio": audio,
    "cut": cut,
    "voice": voice,
    "text": text,
    "notes": notes,
}


def outcome(name: str, data: bytes) -> str:
    """Return `right` or `clear error`. A `SilentLoss` and every other error of the target is raised."""
    try:
        TARGETS[name](data)
    except CLEAR:
        return "clear error"
    return "right"
