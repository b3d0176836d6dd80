import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from ns2_diffusers.data.alignment_prior import alignment_priors, beta_binomial_prior, elapsed_speech


@pytest.mark.parametrize(("phonemes", "frames", "scaling"), [(5, 9, 1.0), (12, 40, 0.5), (1, 3, 1.0)])
def test_prior_is_beta_binomial(phonemes, frames, scaling):
    prior = beta_binomial_prior(phonemes, frames, scaling)
    for t in range(1, frames + 1):
        expected = betabinom(phonemes - 1, scaling * t, scaling * (frames - t + 1)).pmf(range(phonemes))
        assert prior[t - 1].numpy() == pytest.approx(expected, abs=1e-6)


def test_the_elapsed_speech_stands_still_in_pauses():
    f0 = torch.tensor([0.0] * 20 + [100.0] * 5 + [0.0] * 4 + [100.0] * 5 + [0.0] * 12 + [100.0])
    elapsed = np.diff(elapsed_speech(f0), prepend=0)
    wanted = np.ones(47)
    wanted[:16] = 0.02  # the silence before speech, except for four frames of consonants
    wanted[38:42] = 0.02  # the middle of the long gap; the short gap counts in full
    np.testing.assert_allclose(elapsed, wanted)


def test_without_a_voice_the_clock_is_time():
    np.testing.assert_array_equal(elapsed_speech(torch.zeros(3)), [1, 2, 3])


def test_priors_are_padded_beta_binomials_of_the_clock():
    voiced, late = torch.full((10,), 100.0), torch.tensor([0.0] * 20 + [100.0] * 10)
    priors = alignment_priors([3, 4], [voiced, late])
    assert priors.shape == (2, 30, 4)
    assert torch.equal(priors[0, :10, :3], beta_binomial_prior(3, 10))
    assert not priors[0, 10:].any() and not priors[0, :, 3].any()
    torch.testing.assert_close(priors[1].sum(1), torch.ones(30))
    # By time alone the third phoneme would be expected in the middle, but speech has not begun there.
    assert priors[1, 14].argmax() == 0
    assert beta_binomial_prior(4, 30)[14].argmax() > 0
