"""Reads long recordings in pieces that are cut where it is quiet, without loading all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

from .loading import load_samples

# Seconds of the quietest window in the second half of a piece, where it is cut.
QUIET_SECONDS = 0.04
# Samples that are read at once.
BLOCK = 2**16


def read_pieces(path: str | os.PathLike, sampling_rate: int, seconds: float) -> Iterator[np.ndarray]:
    """Read an audio file at a sampling rate, mono, in pieces of at most `seconds`.

    The pieces together are the recording. Each but the last ends in the middle of the quietest 40 ms of its second
    half.

    Args:
        path: path of a file that `load_samples` can read.
        sampling_rate: Hz of the result.
        seconds: maximum duration of a piece.

    Yields: (samples,) float32.

    Raises:
        ValueError: the file is not audio.
    """
    load_samples(path, max_seconds=0.1)  # raises the error of an invalid file
    most, held = round(seconds * sampling_rate), np.zeros(0, np.float32)
    for block in _blocks(path, sampling_rate):
        held = np.concatenate([held, block])
        while len(held) > most:
            cut = quietest(held[:most], max(1, round(QUIET_SECONDS * sampling_rate)))
            yield held[:cut]
            held = held[cut:]
    if len(held):
        yield held


def quietest(samples: np.ndarray, window: int) -> int:
    """The middle of the quietest `window` samples in the second half of `samples`."""
    half = len(samples) // 2
    sums = np.cumsum(np.square(samples[half:], dtype=np.float64))
    if len(sums) <= window:
        return len(samples)
    return half + int(np.argmin(sums[window:] - sums[:-window])) + window // 2


def _blocks(path: str | os.PathLike, sampling_rate: int) -> Iterator[np.ndarray]:
    with soundfile.SoundFile(path) as file:
        same = file.samplerate == sampling_rate
        resampler = None if same else soxr.ResampleStream(file.samplerate, sampling_rate, 1, dtype="float32")
        while True:
            block = file.read(BLOCK, dtype="float32", always_2d=True).mean(axis=1)
            last = len(block) < BLOCK
            yield block if resampler is None else resampler.resample_chunk(block, last=last)
            if last:
                return
