"""Style without training: what emphasis and energy do to the durations, the F0 and the amplitude of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_array, like
from ..text.words import WordSymbols

if TYPE_CHECKING:
    from .utterances import Utterance

# Change of a word by one step of emphasis: slower, higher, louder. `moderate` of SSML is a step, `strong` two,
# `reduced` one in the other direction.
STEP_RATE, STEP_SEMITONES, STEP_ENERGY = 1 / 1.15, 1.0, 1.2
# The amplitude changes over this long, so that no edge clicks.
SMOOTHING_SECONDS = 0.03


def emphasis_of_symbols(
    spans: Sequence[tuple[int, int, float]], words: Sequence[WordSymbols], symbols: int
) -> np.ndarray | None:
    """How strongly each symbol (N,) is emphasised, given the emphasised parts of a text: (start, end, level).

    A word is emphasised if a part of it is; None where no word is.
    """
    levels = np.zeros(symbols, np.float32)
    for start, end, level in spans:
        for word in words:
            if word.start < end and start < word.end:
                levels[word.first : word.last] = level
    return levels if levels.any() else None


def rates(utterances: Sequence[Utterance]) -> np.ndarray:
    """Speaking rates (B,), or (B, N) where a word is emphasised."""
    return _per_symbol(utterances, "speaking_rate", lambda rate, levels: rate * STEP_RATE**levels)


def shifts(utterances: Sequence[Utterance]) -> np.ndarray:
    """Semitones (B,), or (B, N) where a word is emphasised."""
    return _per_symbol(utterances, "pitch_shift", lambda shift, levels: shift + STEP_SEMITONES * levels)


def ranges(utterances: Sequence[Utterance]) -> np.ndarray | float:
    """Factors of the range of F0 (B,); 1 where no utterance has another."""
    given = np.asarray([each.pitch_range for each in utterances], np.float32)
    return given if (given != 1).any() else 1.0


def _per_symbol(utterances: Sequence[Utterance], name: str, change: Any) -> np.ndarray:
    given = np.asarray([getattr(each, name) for each in utterances], np.float32)
    if all(each.emphasis is None for each in utterances):
        return given
    levels = np.zeros((len(utterances), max(len(each.input_ids) for each in utterances)), np.float32)
    for row, each in zip(levels, utterances, strict=True):
        if each.emphasis is not None:
            row[: len(each.emphasis)] = each.emphasis
    return change(given[:, None], levels)


def set_energy(waveform: Any, utterance: Utterance, durations: Any, hop_length: int, sampling_rate: int) -> Any:
    """Scale a waveform (samples,) or (channels, samples) by the energy of its utterance and of its words.

    Args:
        waveform: an array or a tensor; returned as it is where nothing changes.
        durations: (N,) latent frames.
        hop_length: samples per latent frame.
    """
    if utterance.emphasis is None:
        return waveform if utterance.energy == 1 else waveform * utterance.energy
    gain = np.repeat(STEP_ENERGY ** utterance.emphasis.astype(np.float64), as_array(durations) * hop_length)
    width = max(1, round(SMOOTHING_SECONDS * sampling_rate)) | 1
    sums = np.cumsum(np.pad(gain, (width // 2 + 1, width // 2), mode="edge"))
    gain = utterance.energy * (sums[width:] - sums[:-width]) / width
    samples = as_array(waveform)
    return like((samples * gain[: samples.shape[-1]]).astype(samples.dtype), waveform)
