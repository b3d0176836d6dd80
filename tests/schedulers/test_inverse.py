"""The samplers from data to noise, on Gaussian data, whose probability flow is known."""

import numpy as np
import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMInverseScheduler,
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2EulerInverseScheduler,
    NaturalSpeech2EulerScheduler,
)

PAIRS = {
    "ddim": (NaturalSpeech2DDIMScheduler, NaturalSpeech2DDIMInverseScheduler, {}, 1),
    "euler": (NaturalSpeech2EulerScheduler, NaturalSpeech2EulerInverseScheduler, {}, 1),
    "midpoint": (NaturalSpeech2EulerScheduler, NaturalSpeech2EulerInverseScheduler, {"solver": "midpoint"}, 2),
}
# The last time of each: the last timestep of training for DDIM, else t = 1.
END = 999.0
DATA = torch.linspace(-2, 2, 9).expand(1, 2, 9)


def run(gaussian, scheduler, steps, latents):
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        prediction = gaussian.predict(latents, *scheduler.alpha_sigma(timestep), scheduler.config.prediction_type)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize("name", PAIRS)
def test_order_towards_noise(gaussian, name, prediction_type):
    _, inverse, options, order = PAIRS[name]
    scheduler = inverse(prediction_type=prediction_type, **options)
    expected = gaussian.flow(DATA, (1.0, 0.0), scheduler.alpha_sigma(END))
    steps = [25, 50, 100, 200]
    errors = [(run(gaussian, scheduler, n, DATA) - expected).abs().max().item() for n in steps]
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert slope == pytest.approx(-order, abs=0.25), errors
    assert errors[-1] < (0.03 if order == 1 else 2e-3)


@pytest.mark.parametrize("name", PAIRS)
def test_there_and_back(gaussian, name):
    sampler, inverse, options, order = PAIRS[name]
    errors = []
    for steps in (50, 100, 200):
        noise = run(gaussian, inverse(**options), steps, DATA)
        errors.append((run(gaussian, sampler(**options), steps, noise) - DATA).abs().max().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < (0.04 if order == 1 else 4e-3)
    assert errors[0] / errors[2] == pytest.approx(4**order, rel=0.5)


def test_timesteps_are_those_of_sampling_in_the_other_direction():
    for sampler, inverse, options, _ in PAIRS.values():
        for given in ({"num_inference_steps": 7}, {"timesteps": [900.0, 500.0, 20.0]}):
            forward, backward = sampler(**options), inverse(**options)
            forward.set_timesteps(**given)
            backward.set_timesteps(**given)
            assert torch.equal(forward.timesteps.flip(0), backward.timesteps)


def test_ddim_by_hand():
    """ᾱ is ½, then ¼: from clean data z = 2 with ẑ_0 = 1, ε = (2 - √½) / √½; z at ½ is √½ (2 + ε)."""
    scheduler = NaturalSpeech2DDIMInverseScheduler(num_train_timesteps=2, trained_betas=[0.5, 0.5])
    scheduler.set_timesteps(2)
    sample, output = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)
    noise = (2 - 0.5**0.5) / 0.5**0.5
    first = scheduler.step(output, 0, sample).prev_sample
    assert first.item() == pytest.approx(0.5**0.5 * (2 + noise))
    # From ½ to ¼: ε = (z - ½) / √¾, and z / √½ - ε is the data.
    noise = (first.item() - 0.5) / 0.75**0.5
    expected = 0.5 * (first.item() - 0.5**0.5 * noise) / 0.5**0.5 + 0.75**0.5 * noise
    assert scheduler.step(output, 1, first).prev_sample.item() == pytest.approx(expected)


def test_known_noise_is_found_again():
    """If the denoiser knows the noise, inverse DDIM ends at it with any number of steps."""
    scheduler = NaturalSpeech2DDIMInverseScheduler(prediction_type="epsilon")
    scheduler.set_timesteps(5)
    original, noise = torch.randn(2, 1, 2, 3)
    latents = original
    for timestep in scheduler.timesteps:
        latents = scheduler.step(noise, timestep, latents).prev_sample
        torch.testing.assert_close(latents, scheduler.add_noise(original, noise, timestep), rtol=1e-4, atol=1e-4)


def test_a_pipeline_runs_one_from_the_samplers_config():
    config = NaturalSpeech2DDIMScheduler(beta_schedule="cosine", prediction_type="v_prediction").config
    inverse = NaturalSpeech2DDIMInverseScheduler.from_config(config)
    assert inverse.config.beta_schedule == "cosine" and inverse.config.prediction_type == "v_prediction"
    with pytest.raises(ValueError, match="one timestep for the whole batch"):
        inverse.set_timesteps(2)
        inverse.step(torch.zeros(2, 1, 1), torch.tensor([1.0, 2.0]), torch.zeros(2, 1, 1))
