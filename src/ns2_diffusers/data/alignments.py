"""Convert given alignments (TextGrids, or seconds per symbol) to latent frames per symbol."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..text.arpabet import SILENCES
from ..text.notes import VOWELS
from ..text.reader import is_sound

# Labels of silence of the Montreal Forced Aligner. `spn` is not silence, but an unknown word.
_SILENT = ("", "sil", "sp", "<eps>")


def check_phones_fit(tokenizer: Any) -> None:
    """Raise a ValueError if the tokenizer's symbols are not the phones of TextGrids.

    The phones themselves become the phonemes, and a model must be given the same symbols when it speaks.
    """
    if tokenizer.backend not in ("arpabet", "none"):
        raise ValueError(
            f"the phones of TextGrids are not the symbols that the {tokenizer.backend} backend reads text as: a model "
            'would learn symbols that it is never given. Use the backend "arpabet" for alignments in ARPAbet '
            '(english_us_arpa), or "none" if you will always give phonemes yourself.'
        )


def read_textgrid(path: str | Path, tokenizer: Any) -> tuple[str, list[float]]:
    """Read the phonemes and the seconds of each symbol from the `phones` tier of a TextGrid.

    Silence at the start and end is that of the tokenizer's start and end symbols, where it has them; silence between
    phones is `sp`, or a space in a vocabulary without that. A phone of several symbols shares its time among
    them.

    Returns: phonemes; seconds of every symbol, start and end included, which sum to the end of the tier.

    Raises:
        ImportError: praatio is not installed.
        ValueError: this is no TextGrid, it has no tier `phones` with something in it, or several.
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

    Boundaries are rounded, not durations, so that errors do not add up: none is off by more than half a frame, the
    last is the end, and a symbol shorter than a frame may get none.

    Args:
        seconds: (N,) of each symbol, from the start of the recording.
        sampling_rate, hop_length: of the codec, in Hz and samples.
        start: first sample that is left of the recording; what was before it is ignored.
        samples: how many are left.
        n_frames: of the codec for these.

    Returns: (N,) int64 that sum to `n_frames`.
    """
    ends = (np.cumsum(seconds) * sampling_rate - start).clip(0, samples)
    # A codec that works in overlapping chunks has slightly more frames than samples / hop_length.
    frames_per_hop = n_frames / math.ceil(samples / hop_length)
    ends = np.floor(ends / hop_length * frames_per_hop + 0.5).clip(max=n_frames).astype(np.int64)
    ends[-1] = n_frames
    return np.diff(ends, prepend=0)


def end_with_voice(symbols: Sequence[str], durations: np.ndarray, f0: np.ndarray) -> np.ndarray:
    """Shorten a last vowel to where the voice ends, by F0.

    Kokoro and some aligners let the last sound last through the silence after it. A model that learns so falls
    silent where it is asked to hold a last vowel, as singers do. Of consonants F0 cannot tell where they end: they
    stay.

    Args:
        symbols: N of them, start and end included.
        durations: (N,) int64, frames.
        f0: (T,) in Hz, 0 where there is no voice.

    Returns: (N,) with the same sum; what was silent is the next symbol's, behind a mark of length.
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
    """Share of a text's vowels that is voiced, each vowel counting alike: a sign of whether an alignment is right.

    Vowels of a right alignment are voiced, but for whispers and creaks; those of a wrong one lie anywhere.

    Args:
        symbols: N of them, start and end included.
        durations: N frames.
        f0: (T,) in Hz, 0 where there is no voice.

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
    """Put a comma before every space within a text that lasts as long as a pause.

    Transcripts without punctuation, such as LibriSpeech's, do not say where a reader paused. A model that learns from
    them would learn that pauses come at random.

    Args:
        symbols: N of them, start and end included.
        durations: N frames.
        min_frames: least duration of a pause, at least 2.

    Returns: symbols and durations with the commas. The comma takes the pause, but for one frame of the space.

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
    """Index of the next symbol that is no stress mark."""
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
    except Exception as error:  # praatio has no common type: a damaged file ends in IndexError, KeyError ...
        raise ValueError(f"{path} cannot be read as a TextGrid ({error!r})") from error
    # With several speakers in a file the aligner names tiers "speaker - phones".
    tiers = [name for name in grid.tierNames if name.rsplit(" - ", 1)[-1] == "phones"]
    if len(tiers) != 1:
        raise ValueError(f"{path} has the tiers {list(grid.tierNames)}: exactly one of phones is wanted")
    tier = grid.getTier(tiers[0])
    return [(float(start), float(end), label.strip()) for start, end, label in tier.entries], float(tier.maxTimestamp)
