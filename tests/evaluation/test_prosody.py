"""Measures of contours, compared with numbers computed by hand."""

import math

import numpy as np
import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.evaluation.prosody import audible_voice, f0_correlation, f0_median_error, f0_range

RISE = np.array([100, 200, 400, 0, 400], dtype=np.float32)


def test_correlation_is_of_log_f0_where_both_are_voiced():
    assert f0_correlation(RISE, 3 * RISE) == pytest.approx(1)
    assert f0_correlation(RISE, [400, 200, 100, 50, 100]) == pytest.approx(-1)
    # log2 over the first three frames: (0, 1, 2) against (0, 2, 1), whose correlation is 1/2.
    assert f0_correlation(torch.tensor(RISE), torch.tensor([50.0, 200.0, 100.0, 90.0, 0.0])) == pytest.approx(0.5)


def test_median_error_is_in_cents():
    assert f0_median_error(RISE, RISE) == 0
    assert f0_median_error(RISE, RISE * 2 ** (1 / 12)) == pytest.approx(100)
    # The error of one frame is an octave and that of two is zero: the median is zero.
    assert f0_median_error([100, 100, 100, 0], [100, 200, 100, 100]) == 0


def test_range_is_in_semitones():
    assert f0_range([100] * 10 + [200] * 10 + [0] * 50) == pytest.approx(12)
    # One wrong frame in a hundred does not change the range.
    assert f0_range([100] * 99 + [800]) == 0


def test_a_voice_is_heard_if_it_is_loud_and_has_a_pitch():
    levels = np.array([0, -20, -29, -31, -60, 0, 0, 0])
    waveform = np.repeat(10 ** (levels / 20), 100)[:-30]  # the last frame is incomplete
    f0 = np.array([100, 100, 100, 100, 100, 0, 200, 100])
    assert audible_voice(waveform, f0).tolist() == [True, True, True, False, False, False, True, True]
    assert not audible_voice(np.zeros(800), f0).any()
    for wrong in (waveform[:5], waveform[None]):
        with pytest.raises(ValueError, match="wanted one waveform"):
            audible_voice(wrong, f0)


def test_where_nothing_is_voiced_there_is_no_number():
    assert math.isnan(f0_correlation([0, 100, 0], [100, 0, 100]))
    assert math.isnan(f0_correlation([100, 100], [100, 200]))
    assert math.isnan(f0_median_error([0], [100])) and math.isnan(f0_range([0, 0]))


@pytest.mark.parametrize("other", [RISE[:3], RISE[None]], ids=["shorter", "batch"])
def test_lengths_must_agree(other):
    for function in (f0_correlation, f0_median_error):
        with pytest.raises(ValueError, match="wanted two of one length"):
            function(RISE, other)


def test_of_real_speech(clips):
    pytest.importorskip("pyworld", reason="the train extra is not installed")
    waveform, rate = load_audio(clips[4])
    f0 = estimate_f0(waveform, rate, 320)
    quieter = estimate_f0(waveform / 2, rate, 320)
    assert f0_correlation(f0, quieter) > 0.99 and f0_median_error(f0, quieter) < 5
    assert 3 < f0_range(f0) < 24
    assert abs(f0_correlation(f0, f0.flip(0))) < 0.6
