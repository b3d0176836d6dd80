"""Converts given alignments (TextGrids, or seconds per symbol) to latent frames per symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..text.arpabet import SILENCES
from ..text.notes import VOWELS
from ..text.reader import is_sound

# Labels of silence of the Montreal Forced Aligner. `spn` is an unknown word, not silence.
_SILENT = ("", "sil", "sp", "<eps>")


def check_phones_fit(tokenizer: Any) -> None:
    """Raise a ValueError if the tokenizer's symbols are not the phones of TextGrids.

    The phones themselves become the phonemes, and a model must receive the same symbols when it speaks.
    """
    if tokenizer.backend not in ("arpabet", "none"):
        raise ValueError(
            f"the phones of TextGrids are not the symbols that the {tokenizer.backend} backend reads text as: a model "
            'would learn symbols that it is never given. Use the backend "arpabet" for alignments in ARPAbet '
            '(english_us_arpa), or "none" if you will always give phonemes yourself.'
        )


def read_textgrid(path: str | Path, tokenizer: Any) -> tuple[str, list[float]]:
    """Read the phonemes and the seconds of each symbol from the `phones` tier of a TextGrid.

    Silence at the start and end belongs to the tokenizer's start and end symbols, if it has them. Silence between
    phones becomes `sp`, or a space if the vocabulary has no `sp`. A phone of several symbols shares its time among
    them.

    Returns: phonemes; seconds of every symbol, start and end included, which sum to the end of the tier.

    Raises:
        ImportError: praatio is not installed.
        ValueError: the file is not a TextGrid, it has no tier `phones`, an empty one, or several.
    """
    entries, end = _read_phones(path)
    spoken = [(label, start, stop) for start, stop, label in entries if label not in _SILENT]
    if not spoken:
        raise ValueError(f"{path} has nothing but silence in its tier of phones")
    pause = next((symbol for symbol in (SILENCES[0], " ") if symbol in tokenizer.get_vocab()), None)
    symbols, ends = [], []
    now = spoken[0][1] if tokenizer.bos_token is not None else 0.0
    first = now
    for label, start, stop in spoken:
        if start > now + 1e-6 and pause is not None:
            symbols.append(pause)
            ends.append(start)
            now = start
        parts = [label] if tokenizer.separator else list(label)
        symbols += parts
        ends += np.linspace(now, stop, len(parts) + 1)[1:].tolist()
        now = stop
    if tokenizer.bos_token is not None:
        ends = [first, *ends]
    if tokenizer.eos_token is not None:
        ends.append(end)
    elif end > now + 1e-6 and pause is not None:
        symbols.append(pause)
        ends.append(end)
    return tokenizer.separator.join(symbols), np.diff(ends, prepend=0.0).tolist()


def seconds_to_frames(
    seconds: Any, sampling_rate: int, hop_length: int, start: int, samples: int, n_frames: int
) -> np.ndarray:
    """Round durations in seconds to whole frames of a trimmed recording.

    Boundaries are rounded, not durations, so errors do not add up: no boundary is off by more than half a frame, the
    last boundary is the end, and a symbol shorter than a frame may get no frame.

    Args:
        seconds: (N,) of each symbol, from the start of the recording.
        sampling_rate, hop_length: values of the codec, in Hz and samples.
        start: first sample of the recording that is kept; everything before is ignored.
        samples: number of samples that are kept.
        n_frames: number of the codec's frames for these samples.

    Returns: (N,) int64 that sum to `n_frames`.
    """
    ends = (np.cumsum(seconds) * sampling_rate - start).clip(0, samples)
    # A codec that works in overlapping chunks has slightly more frames than samples / hop_length.
    frames_per_hop = n_frames / math.ceil(samples / hop_length)
    ends = np.floor(ends / hop_length * frames_per_hop + 0.5).clip(max=n_frames).astype(np.int64)
    ends[-1] = n_frames
    return np.diff(ends, prepend=0)


def end_with_voice(symbols: Sequence[str], durations: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Shorten a last vowel to the end of the voice, according to F0.

    Kokoro and some aligners extend the last sound over the silence after it. A model that learns this falls silent
    when it has to hold a last vowel, as in singing. F0 does not show where consonants end, so they do not change.

    Args:
        symbols: N of them, start and end included.
        durations: (N,) int64, frames.
        f0: (T,) in Hz, 0 where unvoiced.

    Returns: (N,) with the same sum; the silent part goes to the next symbol, after a length mark if there is one.
    """
    sounds = [index for index, symbol in enumerate(symbols) if is_sound(symbol)]
    if not sounds or symbols[sounds[-1]].rstrip("012") not in VOWELS or not (f0 > 0).any():
        return durations
    vowel = after = sounds[-1]
    while after < len(symbols) and (after == vowel or symbols[after] == "ː"):
        after += 1
    if after == len(symbols):
        return durations
    ends = np.cumsum(durations)
    quiet = max(np.flatnonzero(f0 > 0)[-1] + 1, ends[vowel] - durations[vowel] + 1)
    ends[vowel:after] = ends[vowel:after].clip(max=quiet)
    return np.diff(ends, prepend=0)


def voiced_vowels(symbols: Sequence[str], durations: Sequence[int], f0: np.ndarray) -> float:
    """Mean voiced share of a text's vowels, each vowel with the same weight: an indicator of a correct alignment.

    In a correct alignment vowels are voiced, except in whispered and creaky speech; in a wrong one they lie anywhere.

    Args:
        symbols: N of them, start and end included.
        durations: N frames.
        f0: (T,) in Hz, 0 where unvoiced.

    Returns: 0 to 1; 0 for a text without vowels, and for vowels without a frame.
    """
    ends = np.cumsum(durations)
    shares = [
        float((f0[end - duration : end] > 0).mean()) if duration else 0.0
        for symbol, duration, end in zip(symbols, durations, ends, strict=True)
        if symbol.rstrip("012") in VOWELS
    ]
    return sum(shares) / len(shares) if shares else 0.0


def mark_pauses(symbols: Sequence[str], durations: Sequence[int], min_frames: int) -> tuple[list[str], list[int]]:
    """Insert a comma before every space within a text that is as long as a pause.

    Transcripts without punctuation, such as LibriSpeech's, do not show where the reader paused. A model that learns
    from them would learn random pauses.

    Args:
        symbols: N of them, start and end included.
        durations: N frames.
        min_frames: minimum duration of a pause, at least 2.

    Returns: symbols and durations with the commas. The comma takes the duration of the space, except one frame.

    Raises:
        ValueError: the lengths differ, or `min_frames` is below 2.
    """
    if len(symbols) != len(durations) or min_frames < 2:
        raise ValueError(
            f"{len(symbols)} symbols, {len(durations)} durations and a least pause of {min_frames} frames were given: "
            "wanted a duration for each symbol, and 2 frames or more."
        )
    marked: list[str] = []
    frames: list[int] = []
    for index, (symbol, duration) in enumerate(zip(symbols, durations, strict=True)):
        between_sounds = 0 < index < len(symbols) - 1 and all(
            is_sound(symbols[near]) or symbols[near] == "ː" for near in (index - 1, _after_stress(symbols, index))
        )
        if symbol == " " and duration >= min_frames and between_sounds:
            marked.append(",")
            frames.append(duration - 1)
            duration = 1
        marked.append(symbol)
        frames.append(duration)
    return marked, frames


def _after_stress(symbols: Sequence[str], index: int) -> int:
    """Index of the next symbol that is not a stress mark."""
    index += 1
    while index < len(symbols) - 1 and symbols[index] in "ˈˌ":
        index += 1
    return index


def _read_phones(path: str | Path) -> tuple[list[tuple[float, float, str]], float]:
    try:
        from praatio import textgrid
    except ImportError as error:
        raise ImportError('TextGrids need praatio: pip install "ns2-diffusers[train]".') from error
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    except Exception as error:  # praatio has no common type: a damaged file raises IndexError, KeyError ...
        raise ValueError(f"{path} cannot be read as a TextGrid ({error!r})") from error
    # For several speakers in a file the aligner names tiers "speaker - phones".
    tiers = [name for name in grid.tierNames if name.rsplit(" - ", 1)[-1] == "phones"]
    if len(tiers) != 1:
        raise ValueError(f"{path} has the tiers {list(grid.tierNames)}: exactly one of phones is wanted")
    tier = grid.getTier(tiers[0])
    return [(float(start), float(end), label.strip()) for start, end, label in tier.entries], float(tier.maxTimestamp)
