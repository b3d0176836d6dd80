import math

import pytest
import torch

from ns2_diffusers.audio.finishing import CEILING, limit, measure_loudness, set_loudness

RATE = 16000
TIME = torch.arange(2 * RATE) / RATE


def sine(hz, amplitude):
    return amplitude * torch.sin(2 * math.pi * hz * TIME)


def test_what_does_not_clip_is_left_as_it_is():
    for waveform in (sine(440, 1.0), sine(440, 0.3), torch.zeros(100), torch.zeros(0)):
        assert limit(waveform, RATE) is waveform


def test_a_peak_is_turned_down_for_some_milliseconds_and_the_rest_is_left():
    waveform = sine(440, 0.5)
    waveform[16000:16010] *= 6
    limited = limit(waveform, RATE)
    assert limited.abs().max() <= 1 and limited.abs().max() > 0.99
    apart = (torch.arange(len(waveform)) - 16005).abs() > 0.01 * RATE
    assert torch.equal(limited[apart], waveform[apart])
    # The gain changes slowly, so only the peak changes.
    gain = limited[15900:16100] / waveform[15900:16100].where(waveform[15900:16100] != 0, torch.ones(()))
    assert gain[waveform[15900:16100].abs() > 0.01].diff().abs().max() < 0.05


@pytest.mark.parametrize("scale", [1.001, 3.0, 1000.0])
@pytest.mark.parametrize("rate", [100, 8000, 48000])
def test_nothing_is_beyond_full_scale_afterwards(scale, rate):
    noise = scale * torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    limited = limit(noise, rate)
    assert limited.abs().max() <= 1 and limited.isfinite().all()
    # The gain keeps the ceiling; the final clamp does nothing.
    assert limited.abs().max() <= CEILING + 1e-6
    # One gain for all channels.
    assert torch.allclose((limited / noise)[0], (limited / noise)[1], rtol=1e-4)


def test_a_steady_tone_keeps_its_form():
    limited = limit(sine(440, 2.0), RATE)
    middle = slice(4000, -4000)
    torch.testing.assert_close(limited[middle], sine(440, CEILING)[middle], atol=2e-3, rtol=0)


def test_loudness_of_a_sine():
    """ITU-R BS.1770: a sine of 997 Hz at full scale, in one channel, has -3.01 LUFS."""
    pytest.importorskip("pyloudnorm")
    tone = torch.sin(2 * math.pi * 997 * torch.arange(2 * 48000) / 48000)
    assert measure_loudness(tone, 48000) == pytest.approx(-3.01, abs=0.05)
    assert measure_loudness(tone / 10, 48000) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("samples", [50, 1000, 6401, 32000])
@pytest.mark.parametrize("channels", [None, 2])
def test_loudness_is_set(samples, channels):
    pytest.importorskip("pyloudnorm")
    waveform = 0.01 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    waveform = waveform if channels is None else waveform.expand(channels, -1)
    for wanted in (-30.0, -16.0):
        louder = set_loudness(waveform, RATE, wanted)
        assert measure_loudness(louder, RATE) == pytest.approx(wanted, abs=0.1)
        ratio = louder / waveform
        assert torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-4)


def test_silence_stays_silence():
    pytest.importorskip("pyloudnorm")
    for waveform in (torch.zeros(RATE), torch.zeros(0), torch.full((RATE,), 1e-9)):
        assert torch.equal(set_loudness(waveform, RATE, -16.0), waveform)
