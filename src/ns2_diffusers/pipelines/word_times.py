"""Word times: from the durations of symbols, and next to pauses from the sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..text.words import WordSymbols

# The level of the softest sound in dB below the loudest frame.
SOUND_DB = 35.0
# Seconds; a shorter silence is within a word, such as the closure of a plosive.
PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class SpokenWord:
    """A word and its time.

    Args:
        text: the word as written, with the punctuation that touches it.
        start, end: seconds from the beginning of the audio, to the nearest latent frame. The pause of a punctuation
            mark comes after `end`.
    """

    text: str
    start: float
    end: float


def time_words(
    words: Sequence[WordSymbols],
    durations: np.ndarray,
    begins: int,
    seconds_per_frame: float,
    delay: int = 0,
    sounding: np.ndarray | None = None,
) -> list[SpokenWord]:
    """The times of words.

    Args:
        words: the words, with the positions of their symbols.
        durations: (N,) latent frames of all symbols.
        begins: latent frames before the first symbol.
        seconds_per_frame: hop length divided by sampling rate.
        delay: latent frames by which the durations are late.
        sounding: (T,) result of `find_sound`. A predicted duration of a word's last symbol may include the pause after
            it, and a pause may include the first sound of the next word. With `sounding`, words next to a pause begin
            and end where the sound does. Without a pause between them, each word gets half of the frames between.
    """
    ends = durations.cumsum() - delay
    starts = ends - durations
    spans = [[max(0, int(starts[word.first])), max(1, int(ends[word.last - 1]))] for word in words]
    if sounding is not None and words:
        pauses = _runs(~sounding)
        # From the last symbol of a word to the first of the next; also before the first word and after the last.
        edges = [(int(starts[word.last - 1]), int(ends[word.first])) for word in words]
        behind = [low for low, _ in edges]
        ahead = [high for _, high in edges]
        first, last = _longest(pauses, 0, ahead[0]), _longest(pauses, behind[-1], len(sounding))
        if first is not None:
            spans[0][0] = min(first[1], spans[0][1] - 1)
        if last is not None:
            spans[-1][1] = max(last[0], spans[-1][0] + 1)
        for left, right, low, high in zip(spans, spans[1:], behind, ahead[1:], strict=False):
            middle = (left[1] + right[0] + 1) // 2
            end, start = _longest(pauses, low, high) or (middle, middle)
            left[1] = max(end, left[0] + 1)
            right[0] = max(left[1], min(start, right[1] - 1))
    return [
        SpokenWord(word.text, (begins + start) * seconds_per_frame, (begins + end) * seconds_per_frame)
        for word, (start, end) in zip(words, spans, strict=True)
    ]


def find_sound(waveform: np.ndarray, hop_length: int, sampling_rate: int, below: float = SOUND_DB) -> np.ndarray:
    """Find the latent frames that are sound and not pause.

    Args:
        waveform: (samples,) or (channels, samples), whole frames.
        below: a frame is sound if it is at most this many dB below the loudest frame.

    Returns: (T,) bool.
    """
    channels = np.atleast_2d(waveform)
    frames = channels[:, : channels.shape[1] // hop_length * hop_length].reshape(len(channels), -1, hop_length)
    power = np.square(frames, dtype=np.float64).mean((0, 2))
    sounding = power > power.max(initial=0.0) * 10 ** (-below / 10)
    pause = round(PAUSE_SECONDS * sampling_rate / hop_length)
    for start, end in _runs(~sounding):
        if end - start < pause and start and end < len(sounding):
            sounding[start:end] = True
    return sounding


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.pad(flags.astype(np.int8), 1)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _longest(runs: Sequence[tuple[int, int]], low: int, high: int) -> tuple[int, int] | None:
    """The longest run that overlaps [low, high)."""
    found = [run for run in runs if run[0] < high and run[1] > low]
    return max(found, key=lambda run: run[1] - run[0], default=None)
