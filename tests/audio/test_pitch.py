import math

import numpy as np
import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0, interpolate_unvoiced

pytest.importorskip("pyworld", reason="the train extra is not installed")


def glide(seconds, rate, low, high):
    """Harmonics of a fundamental that glides from `low` to `high` Hz, and that fundamental."""
    t = np.arange(int(seconds * rate)) / rate
    f0 = low + (high - low) * t / seconds
    phase = 2 * np.pi * np.cumsum(f0) / rate
    return torch.tensor(sum(np.sin(k * phase) / k for k in range(1, 8)) * 0.2, dtype=torch.float32), f0


@pytest.mark.parametrize(("rate", "hop"), [(16000, 320), (16000, 200), (24000, 300)])
def test_f0_of_a_glide_is_right_in_the_middle_of_each_frame(rate, hop):
    waveform, truth = glide(1.5, rate, 120, 300)
    f0 = estimate_f0(waveform, rate, hop)
    assert len(f0) == math.ceil(len(waveform) / hop)
    frames = np.arange(10, len(f0) - 10)
    expected = truth[frames * hop + hop // 2]
    # An error of one frame would be 0.8 % at the start.
    assert np.abs(f0.numpy()[frames] / expected - 1).max() < 0.004


def test_noise_and_silence_have_no_voice():
    assert not estimate_f0(torch.zeros(16000), 16000, 320).any()
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0)) * 0.1
    assert (estimate_f0(noise, 16000, 320) > 0).float().mean() < 0.3


def test_real_speech_is_voiced_in_part_and_in_a_womans_range(clips):
    waveform, rate = load_audio(clips[0])
    f0 = estimate_f0(waveform, rate, 320)
    voiced = f0[f0 > 0]
    assert 0.3 < len(voiced) / len(f0) < 0.9
    assert 150 < voiced.median() < 280


def test_gaps_are_bridged_on_a_logarithmic_scale():
    bridged = interpolate_unvoiced(torch.tensor([0.0, 100.0, 0.0, 400.0, 0.0]))
    torch.testing.assert_close(bridged, torch.tensor([100.0, 100.0, 200.0, 400.0, 400.0]))


def test_nothing_voiced_stays_unvoiced():
    assert not interpolate_unvoiced(torch.zeros(5)).any()
