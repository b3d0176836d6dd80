"""Prepares a recording of a voice as a prompt: only its speech, at the level of the training data."""

from __future__ import annotations

import numpy as np

from .loading import AudioInput, check_audible, load_samples

# Level of the speech in a prompt, dB of full scale: the median of the readers in the training data.
LEVEL_DB = -24.0
# Windows of 20 ms that are more than this far below the level of the speech are silence.
WINDOW_SECONDS = 0.02
SILENCE_DB = 35.0
# Silence that a prompt keeps before and after the speech, and the longest pause within it.
MARGIN_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 0.5
# Highest absolute value of a sample.
PEAK = 0.99
# Seconds that are read in addition to those that are kept, because silence is cut.
SPARE_SECONDS = 10.0


def speech_level(waveform: np.ndarray, sampling_rate: int) -> float:
    """Level of the speech in a recording, dB of full scale: the mean power of windows within 30 dB of the loudest.

    Pauses do not count, as in ITU-T P.56; a click does not raise it much.

    Args:
        waveform: (samples,) floating point, with at least one sample that is not 0.
        sampling_rate: Hz.
    """
    power = _power(waveform, sampling_rate)
    return float(10 * np.log10(power[power >= power.max() * 1e-3].mean()))


def load_prompt(
    audio: AudioInput,
    sampling_rate: int | None,
    target_sampling_rate: int,
    min_seconds: float,
    max_seconds: float,
) -> tuple[np.ndarray, int]:
    """Read a recording of a voice, apply `prepare_prompt`, and keep at most `max_seconds`.

    Args:
        audio, sampling_rate, target_sampling_rate: as for `load_samples`.
        min_seconds: minimum duration of the recording.

    Returns: waveform (samples,) float32, and its sampling rate.

    Raises:
        TypeError, ValueError: as `load_samples`; the recording is silent or too short.
    """
    waveform, rate = load_samples(audio, sampling_rate, target_sampling_rate, max_seconds + SPARE_SECONDS)
    check_audible(waveform, rate, min_seconds, "the voice prompt")
    return prepare_prompt(waveform, rate)[: round(max_seconds * rate)], rate


def prepare_prompt(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Cut the silence of a recording of a voice and set its level.

    A prompt at another level than the training data is not recognised as the same voice, and silence would take the
    place of speech in the seconds that the encoders use.

    Args:
        waveform: (samples,) float32 in [-1, 1].
        sampling_rate: Hz.

    Returns: (samples,) float32: the speech with 0.1 s of silence on both sides and pauses of at most 0.5 s, at
        `LEVEL_DB`, or lower if its peak would exceed ±1. Digital silence is returned unchanged.
    """
    if not waveform.any():
        return waveform
    level = speech_level(waveform, sampling_rate)
    power = _power(waveform, sampling_rate)
    window = _window(sampling_rate)
    loud = np.flatnonzero(power >= 10 ** ((level - SILENCE_DB) / 10))
    margin, pause = round(MARGIN_SECONDS * sampling_rate), round(LONGEST_PAUSE_SECONDS * sampling_rate)
    edges = [max(0, loud[0] * window - margin), min(len(waveform), (loud[-1] + 1) * window + margin)]
    keep = np.zeros(len(waveform), bool)
    keep[slice(*edges)] = True
    for before, after in zip(loud[:-1], loud[1:], strict=True):
        begin, end = (before + 1) * window, after * window
        if end - begin > pause:
            keep[begin + pause // 2 : end - (pause - pause // 2)] = False
    gain = min(10 ** ((LEVEL_DB - level) / 20), PEAK / float(np.abs(waveform).max()))
    return (waveform[keep] * np.float32(gain)).astype(np.float32)


def _window(sampling_rate: int) -> int:
    return max(1, round(WINDOW_SECONDS * sampling_rate))


def _power(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Mean power of each window of 20 ms; the last window is padded with zeros."""
    padded = np.pad(waveform.astype(np.float64), (0, -len(waveform) % _window(sampling_rate)))
    return np.square(padded.reshape(-1, _window(sampling_rate))).mean(axis=1)
