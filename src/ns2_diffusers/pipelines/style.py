"""Style without training: effects of emphasis and energy on the durations, F0 and amplitude of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_array, like
from ..text.words import WordSymbols

if TYPE_CHECKING:
    from .utterances import Utterance

# Effect of one step of emphasis on a word: slower, higher, louder. `moderate` of SSML is one step, `strong` two,
# `reduced` one step in the other direction.
STEP_RATE, STEP_SEMITONES, STEP_ENERGY = 1 / 1.15, 1.0, 1.2
# Seconds over which the amplitude changes, so that edges do not click.
SMOOTHING_SECONDS = 0.03


def emphasis_of_symbols(
    spans: Sequence[tuple[int, int, float]], words: Sequence[WordSymbols], symbols: int
) -> np.ndarray | None:
    """The emphasis of each symbol (N,), given the emphasised parts of a text: (start, end, level).

    A word is emphasised if any part of it is; None if no word is.
    """
    levels = np.zeros(symbols, np.float32)
    for start, end, level in spans:
        for word in words:
            if word.start < end and start < word.end:
                levels[word.first : word.last] = level
    return levels if levels.any() else None


def rates(utterances: Sequence[Utterance]) -> np.ndarray:
    """Speaking rates (B,), or (B, N) if a word is emphasised."""
    return _per_symbol(utterances, "speaking_rate", lambda rate, levels: rate * STEP_RATE**levels)


def shifts(utterances: Sequence[Utterance]) -> np.ndarray:
    """Pitch shifts in semitones (B,), or (B, N) if a word is emphasised."""
    return _per_symbol(utterances, "pitch_shift", lambda shift, levels: shift + STEP_SEMITONES * levels)


def ranges(utterances: Sequence[Utterance]) -> np.ndarray | float:
    """Factors of the range of F0 (B,), or 1 if all are 1."""
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
        waveform: an array or a tensor; returned unchanged if nothing changes.
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
