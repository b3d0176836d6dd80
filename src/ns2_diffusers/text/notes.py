"""Text on notes: the durations and the pitch that a pipeline sings by (NaturalSpeech 2, section 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from . import arpabet

# Misaki's, capitals being diphthongs, the IPA's, and ARPAbet's without their stress.
VOWELS = {*"AIOQWYaeiouyøɐɑɒæɔɘəɚɛɜɝɞɤɨɪɵœɶʉʊʌᵊᵻ", *arpabet.VOWELS}
NOTE = re.compile(r"([A-Ga-g])([#b]?)(-?\d)(?::(\d+(?:\.\d+)?))?")
SEMITONES = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
ACCIDENTALS = {"": 0, "#": 1, "b": -1}


def read_notes(text: str) -> list[tuple[float, float]]:
    """Notes to pairs of Hz and beats: `C4 F#4:2 Bb3:0.5` is middle C for a beat, F sharp for two, B flat for half.

    Raises:
        ValueError: there is none, or one that cannot be read.
    """
    notes = []
    for word in text.split():
        match = NOTE.fullmatch(word)
        if match is None or match[4] is not None and not float(match[4]):
            raise ValueError(f"{word!r} is no note: wanted a name, an octave and, if you like, beats, such as F#4:2.")
        letter, accidental, octave, beats = match.groups()
        semitones = 12 * (int(octave) - 4) + SEMITONES[letter.upper()] + ACCIDENTALS[accidental]
        notes.append((440 * 2 ** ((semitones - SEMITONES["A"]) / 12), float(beats or 1)))
    if not notes:
        raise ValueError(f"there is no note in {text!r}: wanted some, such as C4 D4 E4:2.")
    return notes


def set_to_notes(
    symbols: Sequence[str],
    durations: Sequence[int],
    notes: Sequence[tuple[float, float]],
    frames_a_beat: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Durations (N,) in frames and pitch (N,) in Hz that put a text on notes, a note a vowel.

    A note is its vowel and lasts until the next one's. The consonants between keep their durations, but for at most
    half of the note, and are sung as high as the note that they lead to.

    Args:
        symbols: of the text, start and end included: `tokenizer.convert_ids_to_tokens(input_ids)`. Two vowels in a row
            are two notes, so diphthongs that espeak writes as two are, too.
        durations: (N,) frames that they take when spoken.
        notes: Hz and beats of each, from `read_notes`.

    Raises:
        ValueError: there are not as many vowels as notes; a note has less than two frames.
    """
    vowels = [index for index, symbol in enumerate(symbols) if symbol.rstrip("012") in VOWELS]
    if len(vowels) != len(notes) or not notes:
        raise ValueError(
            f"{len(notes)} notes for the {len(vowels)} vowels of {''.join(symbols)!r}: give one note for each vowel."
        )
    hz, beats = np.array(notes, dtype=np.float64).T
    # Rounded where notes end, so that a long song keeps its tempo.
    lengths = np.diff(np.round(np.cumsum([0.0, *beats]) * frames_a_beat)).astype(int)
    if lengths.min() < 2:
        raise ValueError(f"the shortest note has {lengths.min()} frames and needs two: choose a slower tempo.")
    frames, pitch = np.array(durations), np.full(len(symbols), hz[0])
    for number, (vowel, length) in enumerate(zip(vowels, lengths, strict=True)):
        is_last = number + 1 == len(vowels)
        between = slice(vowel + 1, None if is_last else vowels[number + 1])
        pitch[vowel], pitch[between] = hz[number], hz[number if is_last else number + 1]
        # Symbols after the last vowel come after the song.
        taken = 0 if is_last else frames[between].sum()
        if taken > length // 2:
            frames[between] = frames[between] * (length // 2) // taken
            taken = frames[between].sum()
        frames[vowel] = length - taken
    return frames, pitch
