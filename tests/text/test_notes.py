"""Notes by hand, and texts set to them."""

import numpy as np
import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.text.notes import read_notes, set_to_notes


def test_notes_are_in_equal_temperament():
    notes = read_notes("A4 a3:2 C4:0.5 F#4 Bb-1 A#-1 C5")
    hz, beats = zip(*notes, strict=True)
    assert beats == (1, 2, 0.5, 1, 1, 1, 1)
    np.testing.assert_allclose(hz, [440, 220, 261.626, 369.994, 14.568, 14.568, 523.251], rtol=1e-4)


@pytest.mark.parametrize("text", ["H4", "C", "4", "C4:", "C4:0", "C4:-1", "C##4", "C4,D4"])
def test_what_is_no_note_is_named(text):
    with pytest.raises(ValueError, match=f"{text!r} is not a note"):
        read_notes(f"C4 {text}")


def test_no_notes():
    with pytest.raises(ValueError, match="there is no note"):
        read_notes(" ")


def test_a_note_is_a_vowel_with_what_follows_it():
    symbols = ["<s>", *"lˈɑ sˈi.", "</s>"]
    spoken = [5, 4, 1, 6, 1, 7, 1, 8, 3, 9]
    durations, pitch = set_to_notes(symbols, spoken, [(200.0, 1), (300.0, 2)], 20.5)
    # The first note, 20 frames (20.5 is rounded to even), gives 9 to the pause, the s and its stress.
    assert durations.tolist() == [5, 4, 1, 11, 1, 7, 1, 42, 3, 9]
    assert pitch.tolist() == [200] * 4 + [300] * 6
    assert spoken == [5, 4, 1, 6, 1, 7, 1, 8, 3, 9]


def test_consonants_leave_half_of_a_short_note():
    durations, _ = set_to_notes(["<s>", *"ɑstɹi", "</s>"], [1, 9, 4, 8, 12, 9, 1], [(200.0, 1), (200.0, 1)], 9)
    # Of 9 frames 4, in which 24 frames of consonants keep their proportions, rounded down.
    assert durations.tolist() == [1, 6, 0, 1, 2, 9, 1]


def test_a_long_song_keeps_its_tempo():
    symbols = ["<s>", *"la" * 99, "</s>"]
    durations, _ = set_to_notes(symbols, [3, *[1, 5] * 99, 3], [(200.0, 1)] * 99, 10.4)
    starts = np.cumsum(durations) - durations
    np.testing.assert_allclose(starts[2::2], 4 + 10.4 * np.arange(99), atol=0.51)


def test_symbols_of_every_alphabet():
    american = NaturalSpeech2Tokenizer()
    ids = american(american.phonemize("Twinkle, twinkle, little star, how I wonder what you are."), is_phonemes=True)
    symbols = american.convert_ids_to_tokens(ids["input_ids"])
    assert len(set_to_notes(symbols, [2] * len(symbols), [(200.0, 1)] * 14, 40)[0]) == len(symbols)
    arpabet = NaturalSpeech2Tokenizer(backend="arpabet")
    symbols = arpabet.convert_ids_to_tokens(arpabet("Hello there.")["input_ids"])
    durations, _ = set_to_notes(symbols, [2] * len(symbols), [(200.0, 1)] * 3, 40)
    assert [symbol for symbol, frames in zip(symbols, durations, strict=True) if frames > 2] == ["AH0", "OW1", "EH1"]


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="3 notes for the 2 vowels of '<s>lala</s>': give one note for each"):
        set_to_notes(["<s>", *"lala", "</s>"], [1] * 6, [(200.0, 1)] * 3, 10)
    with pytest.raises(ValueError, match="0 notes"):
        set_to_notes(["<s>", "l", "</s>"], [1] * 3, [], 10)
    with pytest.raises(ValueError, match="shortest note has 1 frames and needs two"):
        set_to_notes(["<s>", *"lala", "</s>"], [1] * 6, [(200.0, 1)] * 2, 1)
