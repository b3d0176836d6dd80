import numpy as np
import pytest

from ns2_diffusers.audio.prompts import LEVEL_DB, load_prompt, prepare_prompt, speech_level

RATE = 16000


@pytest.fixture
def speech():
    """Two seconds of noise whose level changes slowly, as the level of speech does."""
    random = np.random.default_rng(0)
    envelope = 0.05 * (1 + 0.5 * np.sin(np.arange(2 * RATE) / 800))
    return (envelope * random.standard_normal(2 * RATE)).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * RATE), np.float32)


def test_the_level_of_a_sine():
    waveform = 0.5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert speech_level(waveform, RATE) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1e-6)
    # Silence does not change the level.
    assert speech_level(np.concatenate([waveform, silence(3)]), RATE) == pytest.approx(-9.03, abs=0.01)


def test_any_level_becomes_the_same(speech):
    prepared = prepare_prompt(speech, RATE)
    assert speech_level(prepared, RATE) == pytest.approx(LEVEL_DB, abs=1e-3)
    for gain in (0.003, 3.0):
        np.testing.assert_allclose(prepare_prompt(gain * speech, RATE), prepared, rtol=1e-5, atol=1e-7)
    assert prepared.dtype == np.float32


def test_a_peak_stays_within_full_scale(speech):
    speech[RATE] = 40 * np.abs(speech).max()
    prepared = prepare_prompt(speech / np.abs(speech).max(), RATE)
    assert np.abs(prepared).max() == pytest.approx(0.99)


def test_silence_around_and_within_is_cut(speech):
    prepared = prepare_prompt(speech, RATE)
    late = prepare_prompt(np.concatenate([silence(4), speech, silence(2)]), RATE)
    assert len(late) == len(speech) + 2 * RATE // 10
    np.testing.assert_allclose(late[RATE // 10 : -RATE // 10], prepared, rtol=1e-5)
    halves = speech[:RATE], speech[RATE:]
    paused = prepare_prompt(np.concatenate([halves[0], silence(3), halves[1]]), RATE)
    assert len(paused) == len(speech) + RATE // 2
    np.testing.assert_allclose(paused[:RATE], prepared[:RATE], rtol=1e-5)
    np.testing.assert_allclose(paused[-RATE:], prepared[-RATE:], rtol=1e-5)
    # A pause of usual length does not change.
    short = np.concatenate([halves[0], silence(0.4), halves[1]])
    assert len(prepare_prompt(short, RATE)) == len(short)


def test_noise_is_not_taken_for_silence(speech):
    noisy = np.concatenate([speech, speech * 0.05])
    assert len(prepare_prompt(noisy, RATE)) == len(noisy)


def test_digital_silence_stays():
    np.testing.assert_array_equal(prepare_prompt(silence(1), RATE), silence(1))


def test_preparing_twice_changes_nothing(speech):
    once = prepare_prompt(np.concatenate([silence(1), speech]), RATE)
    np.testing.assert_allclose(prepare_prompt(once, RATE), once, rtol=1e-5)


def test_a_prompt_is_read_as_far_as_it_is_kept(speech):
    late = np.concatenate([silence(5), speech])
    waveform, rate = load_prompt(late, RATE, RATE, 0.5, 1.5)
    assert rate == RATE and len(waveform) == 1.5 * RATE
    np.testing.assert_allclose(waveform, prepare_prompt(late, RATE)[: len(waveform)], rtol=1e-5)
    with pytest.raises(ValueError, match="voice prompt lasts 0.12 s"):
        load_prompt(speech[:2000], RATE, RATE, 0.5, 1.5)
    with pytest.raises(ValueError, match="is silent"):
        load_prompt(silence(2), RATE, RATE, 0.5, 1.5)
