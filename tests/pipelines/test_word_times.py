"""Word times from durations, and beside pauses from the sound; frames of 20 ms."""

import numpy as np
import pytest

from ns2_diffusers.pipelines.word_times import find_sound, time_words
from ns2_diffusers.text.words import WordSymbols

RATE, HOP = 1000, 20
# Start, two symbols, space, two symbols, full stop, end.
DURATIONS = np.array([10, 5, 5, 4, 5, 20, 6, 2])
WORDS = [WordSymbols("one", 1, 3), WordSymbols("two.", 4, 6)]
FRAMES = int(DURATIONS.sum())


def frames_of(words):
    return [(round(word.start * RATE / HOP), round(word.end * RATE / HOP)) for word in words]


def sound(*runs):
    """Noise in these frames, and a much lower level elsewhere."""
    waveform = 1e-4 * np.random.default_rng(0).standard_normal(FRAMES * HOP)
    for start, end in runs:
        waveform[start * HOP : end * HOP] *= 1e3
    return find_sound(waveform.astype(np.float32), HOP, RATE)


def timed(sounding=None, begins=0, delay=0, durations=DURATIONS):
    return frames_of(time_words(WORDS, durations, begins, HOP / RATE, delay, sounding))


def test_by_durations_alone():
    assert timed() == [(10, 20), (24, 49)]
    assert timed(begins=7, delay=3) == [(14, 24), (28, 53)]
    assert timed(delay=12)[0] == (0, 8)


def test_half_of_a_space_is_of_each_word():
    assert timed(sound((10, 49))) == [(10, 22), (22, 49)]
    odd = DURATIONS.copy()
    odd[3] = 5
    assert timed(sound((10, 50)), durations=odd) == [(10, 23), (23, 50)]


def test_sound_begins_and_ends_words_beside_silence():
    """Sound begins in the start symbol and ends in the long last symbol; the closure of a plosive is not a pause."""
    assert timed(sound((7, 14), (17, 35))) == [(7, 22), (22, 35)]
    assert timed(sound((12, 35))) == [(12, 22), (22, 35)]
    assert timed(sound((7, 35)), begins=100) == [(107, 122), (122, 135)]


@pytest.mark.parametrize("pause", [(17, 23), (17, 26), (20, 28), (21, 24 + 2)])
def test_a_pause_between_words_is_of_neither(pause):
    assert timed(sound((10, pause[0]), (pause[1], 49))) == [(10, pause[0]), (pause[1], 49)]


def test_words_stay_in_order_whatever_is_heard():
    for runs in ([], [(0, 2)], [(60, FRAMES)], [(0, FRAMES)], [(11, 12)], [(30, 31)]):
        (start, end), (following, last) = timed(sound(*runs), delay=4)
        assert 0 <= start < end <= following < last <= FRAMES


def test_silence_all_over_has_no_sound():
    assert not find_sound(np.zeros(10 * HOP, np.float32), HOP, RATE).any()
    stereo = np.stack([np.zeros(10 * HOP), np.ones(10 * HOP)])
    assert find_sound(stereo, HOP, RATE).tolist() == [True] * 10
