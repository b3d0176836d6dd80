import numpy as np
import pytest

from ns2_diffusers.data.augmentation import add_noise, degrade, make_pair, overdrive, reverberate

RATE = 16000


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def tones():
    """Two channels of one second: 440 Hz with two levels."""
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
    # One octave higher, the density is 3 dB lower for each unit of slope.
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
    # A quarter of a second is half of the time in which the sound decays by 60 dB.
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


def test_overdrive_clips_the_share_and_keeps_the_peak(tones):
    clipped = overdrive(tones, 0.25)
    assert clipped.dtype == np.float32
    for before, after in zip(tones, clipped, strict=True):
        assert np.abs(after).max() == pytest.approx(np.abs(before).max(), rel=1e-5)
        assert (np.abs(after) > 0.999 * np.abs(after).max()).mean() == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(overdrive(tones, 0.0), tones)
    with pytest.raises(ValueError, match="clipped_share is 1"):
        overdrive(tones, 1)


def test_a_pair(tones, random):
    degraded, done = make_pair(tones, RATE, random, snr_db=5.0, room_share=0.0, clipped_share=0.0)
    assert (done.snr_db, done.reverberation_seconds, done.clipped_share) == (5.0, None, 0.0)
    # If peaks exceed full scale, the whole is attenuated.
    clean = tones[0] * (degraded[0] @ tones[0]) / (tones[0] @ tones[0])
    noise = degraded[0] - clean
    assert degraded.shape == tones.shape and degraded.dtype == np.float32 and np.abs(degraded).max() <= 1
    assert 10 * np.log10(np.square(clean).mean() / np.square(noise).mean()) == pytest.approx(5, abs=0.1)
    degraded, done = make_pair(tones, RATE, random, room_share=1.0, clipped_share=1.0)
    assert 0 <= done.snr_db <= 20 and done.reverberation_seconds >= 0.2 and 0.001 <= done.clipped_share <= 0.02
    one, other = (make_pair(tones, RATE, np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one[0], other[0]) and one[1] == other[1]
