"""Writes audio files in blocks, completely or not at all."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
import soxr

from .. import __version__
from ..files import whole_file
from .encoding import COMMON_RATE, RATES

# Format and coding of libsndfile by suffix; None is written by ffmpeg.
SUFFIXES = {
    ".wav": ("WAV", None),
    ".flac": ("FLAC", None),
    ".ogg": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", None),
    ".m4a": None,
}


def provenance() -> dict[str, str]:
    """Metadata of files under libsndfile's names: software and date; nothing about the person who made them."""
    return {
        "software": f"ns2-diffusers {__version__}",
        "comment": f"Synthetic speech (NaturalSpeech 2), made by ns2-diffusers {__version__}.",
        "date": datetime.now(UTC).date().isoformat(),
    }


def check_suffix(path: Path) -> None:
    """Raise a ValueError if a file of this name cannot be written."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"the output {str(path)!r} must end in one of {', '.join(SUFFIXES)}.")
    if SUFFIXES[suffix] is None and shutil.which("ffmpeg") is None:
        raise ValueError(f"{suffix} needs the program ffmpeg, which is not installed: install it, or write .opus.")


def write_blocks(path: Path, blocks: Iterable[np.ndarray], sampling_rate: int, channels: int = 1) -> None:
    """Write audio to a file; its suffix sets the format.

    Args:
        blocks: (samples,) or (channels, samples) floating, within [-1, 1].
        sampling_rate: Hz; Opus supports few rates, so it is resampled.

    Raises:
        ValueError: the suffix is none of `SUFFIXES`.
        OSError: the file cannot be written, or its format does not support such audio.
    """
    check_suffix(path)
    coding = SUFFIXES[path.suffix.lower()]
    if coding is None:
        return _write_by_ffmpeg(path, blocks, sampling_rate, channels)
    kind, subtype = coding
    if subtype == "OPUS" and sampling_rate not in RATES["opus"]:
        blocks, sampling_rate = _resampled(blocks, sampling_rate, channels), COMMON_RATE
    try:
        with whole_file(path) as partial:
            with soundfile.SoundFile(partial, "w", sampling_rate, channels, subtype, format=kind) as file:
                for name, value in provenance().items():
                    setattr(file, name, value)
                for block in blocks:
                    # libsndfile's Ogg encoder overflows the stack and crashes on minutes of audio at once.
                    for start in range(0, block.shape[-1], sampling_rate):
                        file.write(block[..., start : start + sampling_rate].T)
    except soundfile.LibsndfileError as error:
        raise OSError(f"{str(path)!r} at {sampling_rate} Hz could not be written: {error}") from error


def _resampled(blocks: Iterable[np.ndarray], sampling_rate: int, channels: int) -> Iterator[np.ndarray]:
    resampler = soxr.ResampleStream(sampling_rate, COMMON_RATE, channels, dtype="float32")
    for block in blocks:
        yield np.clip(resampler.resample_chunk(np.ascontiguousarray(block.T, np.float32)), -1, 1).T
    last = np.zeros((0,) if channels == 1 else (0, channels), np.float32)
    yield np.clip(resampler.resample_chunk(last, last=True), -1, 1).T


def _write_by_ffmpeg(path: Path, blocks: Iterable[np.ndarray], sampling_rate: int, channels: int) -> None:
    with whole_file(path) as partial:
        command = ["ffmpeg", "-v", "error", "-y", "-f", "f32le", "-ar", str(sampling_rate), "-ac", str(channels)]
        command += ["-i", "-", "-c:a", "aac", "-b:a", "96k"]
        for name, value in provenance().items():
            command += ["-metadata", f"{'encoder' if name == 'software' else name}={value}"]
        command += ["-f", "ipod", str(partial)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdin is not None and process.stderr is not None
        try:
            # ffmpeg can end early. Its own message is raised below.
            with contextlib.suppress(BrokenPipeError):
                for block in blocks:
                    process.stdin.write(np.ascontiguousarray(block.T, "<f4").tobytes())
        finally:
            process.stdin.close()
            said = process.stderr.read().decode(errors="replace").strip()
            process.stderr.close()
            process.wait()
        if process.returncode:
            raise OSError(f"ffmpeg could not write {str(path)!r}: {said or f'status {process.returncode}'}")
