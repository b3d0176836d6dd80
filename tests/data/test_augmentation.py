import numpy as np
import pytest

from ns2_diffusers.data.augmentation import add_noise, degrade, reverberate

RATE = 16000


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def tones():
    """Two channels of one second: 440 Hz at two levels."""
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    return np.stack([0.5 * tone, 0.01 * tone]).astype(np.float32)


@pytest.mark.parametrize("snr_db", [0, 20])
def test_noise_has_its_level_in_each_channel(tones, random, snr_db):
    noisy = add_noise(tones, snr_db, random)
    assert noisy.shape == tones.shape and noisy.dtype == np.float32
    noise = noisy.astype(float) - tones
    measured = 10 * np.log10(np.square(tones).mean(axis=1) / np.square(noise).mean(axis=1))
    np.testing.assert_allclose(measured, snr_db, atol=0.05)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.1
    assert not add_noise(np.zeros((1, 100)), snr_db, random).any()


@pytest.mark.parametrize("slope", [0, 2])
def test_noise_has_its_slope(random, slope):
    white = random.standard_normal((1, 2**16))
    power = np.square(np.abs(np.fft.rfft(add_noise(white, -90, random, slope)[0])))
    # An octave higher the density is lower by 3 dB for each unit of slope.
    low, high = power[2048:4096].mean(), power[4096:8192].mean()
    assert 10 * np.log10(low / high) == pytest.approx(3.01 * slope, abs=0.4)


def test_reverberation_is_a_tail_behind_the_direct_sound(random):
    click = np.zeros((2, RATE))
    click[:, 1000] = 1.0
    wet = reverberate(click, RATE, 0.5, 6.0, random)
    assert np.abs(wet[:, :1000]).max() < 1e-12
    np.testing.assert_allclose(wet[:, 1000], 1.0, atol=1e-12)
    np.testing.assert_allclose(wet[0], wet[1], atol=1e-12)
    tail = wet[0, 1001:]
    assert 10 * np.log10(np.square(tail).sum()) == pytest.approx(-6.0, abs=0.01)
    early, late = (np.square(tail[start : start + 1600]).mean() for start in (0, 4000))
    # A quarter of a second is half of the time in which it decays by 60 dB.
    assert 10 * np.log10(early / late) == pytest.approx(30.0, abs=1.0)
    assert np.abs(tail[8000:]).max() < 1e-12


def test_degraded_speech_is_another_each_time_and_stays_in_range(random):
    loud = np.random.default_rng(1).uniform(-1, 1, (2, RATE)).astype(np.float32)
    seen = [degrade(loud, RATE, random) for _ in range(12)]
    for waveform in seen:
        assert waveform.dtype == np.float32 and np.abs(waveform).max() <= 1
        assert 0.6 < np.corrcoef(waveform[0], loud[0])[0, 1] < 1 - 1e-6
    assert len({float(waveform[0, 100]) for waveform in seen}) == 12
    again = np.random.default_rng(0)
    np.testing.assert_array_equal(degrade(loud, RATE, again), seen[0])


def test_wrong_inputs_are_errors(random):
    with pytest.raises(ValueError, match="wanted \\(channels, samples\\)"):
        add_noise(np.zeros(10), 10, random)
    with pytest.raises(ValueError, match="wanted \\(channels, samples\\)"):
        reverberate(np.zeros(10), RATE, 0.5, 0, random)
    with pytest.raises(ValueError, match="above 0, got 0"):
        reverberate(np.zeros((1, 10)), RATE, 0, 0, random)
