import numpy as np
import pytest
from scipy.signal import freqz, lfilter

from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.audio.voice_filters import FLOOR, LARGEST_RATIO, analyze_voice

SIZES = {"hop_length": 320, "fine_hop_length": 80, "n_fft": 512}


def resonance(frequency, bandwidth):
    radius = np.exp(-np.pi * bandwidth / 16000)
    return [1, -2 * radius * np.cos(2 * np.pi * frequency / 16000), radius**2]


# A vowel: three resonances.
POLES = np.convolve(np.convolve(resonance(700, 130), resonance(1200, 150)), resonance(2600, 200))


def vowel(f0, seconds=1.0):
    """Pulses of unit power through the resonances; the response, natural log of 257 bins."""
    phase = np.cumsum(np.full(round(seconds * 16000), f0 / 16000))
    pulses = (np.diff(np.floor(phase), prepend=0) > 0) * np.sqrt(16000 / f0)
    return lfilter([0.01], POLES, pulses), np.log(np.abs(freqz([0.01], POLES, worN=257, include_nyquist=True)[1]))


@pytest.mark.parametrize("f0", [110.0, 210.0])
def test_a_vowel_has_its_f0_and_its_envelope(f0):
    waveform, response = vowel(f0)
    found = analyze_voice(waveform, 16000, ratio=True, **SIZES)
    assert found.f0.shape == (50,) and found.log_envelope.shape == found.log_ratio.shape == (257, 200)
    np.testing.assert_allclose(found.f0[5:-5], f0, rtol=1e-2)
    # Only up to 4 kHz, where the resonances are: the envelope between harmonics is interpolated.
    error = found.log_envelope[:128, 20:-20].mean(axis=1) - response[:128]
    assert np.abs(error).mean() < 0.35
    assert found.log_ratio[:64, 20:-20].mean() < -1.5


def test_f0_is_that_of_the_other_function():
    waveform, _ = vowel(150.0)
    import torch

    expected = estimate_f0(torch.from_numpy(waveform), 16000, 320).numpy()
    np.testing.assert_allclose(analyze_voice(waveform, 16000, **SIZES).f0[2:-2], expected[2:-2], rtol=1e-3)


def test_noise_is_noise_at_its_level_and_silence_is_the_floor():
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
    found = analyze_voice(noise, 16000, ratio=True, **SIZES)
    assert found.log_envelope.mean() == pytest.approx(np.log(0.1), abs=0.35)
    unvoiced = np.repeat(found.f0 == 0, 4)
    assert unvoiced.mean() > 0.8 and found.log_ratio[:, unvoiced].mean() > 0.8 * LARGEST_RATIO
    silent = analyze_voice(np.zeros(1000), 16000, ratio=True, **SIZES)
    assert (silent.f0 == 0).all() and (silent.log_envelope == FLOOR).all() and silent.log_envelope.shape == (257, 12)


def test_a_ratio_is_found_on_request_alone():
    assert analyze_voice(vowel(150.0)[0], 16000, **SIZES).log_ratio is None


@pytest.mark.parametrize("sizes", [{"fine_hop_length": 75}, {"n_fft": 768}])
def test_sizes_that_do_not_fit(sizes):
    with pytest.raises(ValueError, match="must"):
        analyze_voice(np.zeros(1600), 16000, **SIZES | sizes)
