"""The variance of the cepstrum, compared with known results."""

import math

import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.spectrum import global_variance, relative_variance

RATE = 16000


def tones(*frequencies):
    time = torch.arange(RATE // 2) / RATE
    return torch.cat([torch.sin(2 * math.pi * frequency * time) for frequency in frequencies])


def test_what_stays_the_same_has_no_variance():
    # The period of the tone divides the hop, so the spectrum changes only at the ends.
    steady, moving = global_variance(0.3 * tones(500, 500, 500, 500), RATE), global_variance(tones(500, 2000), RATE)
    assert steady.shape == (24,) and steady.sum() < 0.1 * moving.sum()


def test_loudness_and_pauses_do_not_count(clips):
    waveform, rate = load_audio(clips[0])
    expected = global_variance(waveform, rate)
    torch.testing.assert_close(global_variance(0.5 * waveform, rate), expected, rtol=0.02, atol=0)
    paused = torch.cat([waveform, torch.zeros(rate)])
    torch.testing.assert_close(global_variance(paused, rate), expected, rtol=0.02, atol=0)


def test_smoothing_over_time_leaves_less(clips):
    """The spectrum averaged over a fifth of a second, with the original phases."""
    waveform, rate = load_audio(clips[0])
    window = torch.hann_window(1024)
    spectrum = torch.stft(waveform, 1024, 256, window=window, return_complex=True)
    magnitude = spectrum.abs()[None].clamp(min=1e-5).log()
    smooth = torch.nn.functional.avg_pool1d(magnitude, 13, 1, 6, count_include_pad=False)[0].exp()
    smooth = torch.istft(torch.polar(smooth, spectrum.angle()), 1024, 256, window=window)
    assert relative_variance([global_variance(smooth, rate)], [global_variance(waveform, rate)]) < 0.9


def test_relative_variance_by_hand():
    one, two = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 4.0])
    # Means (2, 4) against (1, 1): the geometric mean of 2 and 4.
    assert relative_variance([one, two], [torch.ones(2)]) == pytest.approx(math.sqrt(8))
    assert relative_variance([one, two], [two, one]) == pytest.approx(1)
