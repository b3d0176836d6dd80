"""Sets a text to notes: durations and pitch with which a pipeline sings (NaturalSpeech 2, section 5)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from . import arpabet

# The vowels of misaki (capitals are diphthongs), of the IPA, and of ARPAbet without stress.
VOWELS = {*"AIOQWYaeiouyøɐɑɒæɔɘəɚɛɜɝɞɤɨɪɵœɶʉʊʌᵊᵻ", *arpabet.VOWELS}
NOTE = re.compile(r"([A-Ga-g])([#b]?)(-?\d)(?::(\d+(?:\.\d+)?))?")
SEMITONES = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
ACCIDENTALS = {"": 0, "#": 1, "b": -1}


def read_notes(text: str) -> list[tuple[float, float]]:
    """Parse notes to (Hz, beats). `C4 F#4:2 Bb3:0.5` is middle C for 1 beat, F sharp for 2 and B flat for 0.5.

    Raises:
        ValueError: there is no note, or a note cannot be read.
    """
    notes = []
    for word in text.split():
        match = NOTE.fullmatch(word)
        if match is None or match[4] is not None and not float(match[4]):
            raise ValueError(f"{word!r} is not a note: wanted a name, an octave and optional beats, such as F#4:2.")
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
    """Durations (N,) in frames and pitch (N,) in Hz that set a text to notes, one note per vowel.

    A note begins at its vowel and lasts until the vowel of the next note. The consonants between keep their durations,
    limited to half of the note, and have the pitch of the following note.

    Args:
        symbols: symbols of the text, with start and end: `tokenizer.convert_ids_to_tokens(input_ids)`. Two vowels in a
            row are two notes, so a diphthong that espeak writes as two vowels is two notes.
        durations: (N,) durations of the symbols in frames, as spoken.
        notes: Hz and beats of each note, from `read_notes`.

    Raises:
        ValueError: the numbers of vowels and notes differ, or a note is shorter than two frames.
    """
    vowels = [index for index, symbol in enumerate(symbols) if symbol.rstrip("012") in VOWELS]
    if len(vowels) != len(notes) or not notes:
        raise ValueError(
            f"{len(notes)} notes for the {len(vowels)} vowels of {''.join(symbols)!r}: give one note for each vowel."
        )
    hz, beats = np.array(notes, dtype=np.float64).T
    # The ends of the notes are rounded, not their lengths, so that a long song keeps its tempo.
    lengths = np.diff(np.round(np.cumsum([0.0, *beats]) * frames_a_beat)).astype(int)
    if lengths.min() < 2:
        raise ValueError(f"the shortest note has {lengths.min()} frames and needs two: choose a slower tempo.")
    frames, pitch = np.array(durations), np.full(len(symbols), hz[0])
    for number, (vowel, length) in enumerate(zip(vowels, lengths, strict=True)):
        is_last = number + 1 == len(vowels)
        between = slice(vowel + 1, None if is_last else vowels[number + 1])
        pitch[vowel], pitch[between] = hz[number], hz[number if is_last else number + 1]
        # Symbols after the last vowel take no time from the last note; they follow it.
        taken = 0 if is_last else frames[between].sum()
        if taken > length // 2:
            frames[between] = frames[between] * (length // 2) // taken
            taken = frames[between].sum()
        frames[vowel] = length - taken
    return frames, pitch
