import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DDPMScheduler


def test_one_step_by_hand():
    # ᾱ is ½, then ¼. z = 2 and ẑ_0 = 1 at ¼ make ε = (2 - ½) / √¾ = √3; at ½ that is √½ (1 + √3).
    scheduler = NaturalSpeech2DDIMScheduler(num_train_timesteps=2, trained_betas=[0.5, 0.5])
    scheduler.set_timesteps(2)
    sample, output = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)
    assert scheduler.step(output, 1, sample).prev_sample.item() == pytest.approx((1 + math.sqrt(3)) / math.sqrt(2))
    assert scheduler.step(output, 0, sample).prev_sample.item() == 1
    # η = ½: the noise has ¼ of the ancestral variance ⅓, the rest of σ² = ½ stays with ε.
    kwargs = {"eta": 0.5, "variance_noise": torch.full((1, 1, 1), 2.0)}
    expected = math.sqrt(1 / 2) + math.sqrt(1 / 2 - 1 / 12) * math.sqrt(3) + 2 * math.sqrt(1 / 12)
    assert scheduler.step(output, 1, sample, **kwargs).prev_sample.item() == pytest.approx(expected)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_step_agrees_with_diffusers(prediction_type, eta):
    kwargs = {"prediction_type": prediction_type, "timestep_spacing": "trailing"}
    ours = NaturalSpeech2DDIMScheduler(**kwargs)
    theirs = DDIMScheduler(beta_start=5e-5, beta_end=0.02, clip_sample=False, **kwargs)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(50)
    sample, output, noise = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for timestep in ours.timesteps[[0, 25, 49]]:
        expected = theirs.step(output, timestep, sample, eta=eta, variance_noise=noise)
        result = ours.step(output, timestep, sample, eta=eta, variance_noise=noise)
        torch.testing.assert_close(result.prev_sample, expected.prev_sample, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_eta_1_is_ancestral_sampling(prediction_type):
    ddim = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type)
    ddpm = NaturalSpeech2DDPMScheduler(prediction_type=prediction_type)
    sample, output, noise = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for scheduler in (ddim, ddpm):
        scheduler.set_timesteps(30)
    for timestep in ddim.timesteps:
        torch.testing.assert_close(
            ddim.step(output, timestep, sample, eta=1.0, variance_noise=noise).prev_sample,
            ddpm.step(output, timestep, sample, variance_noise=noise).prev_sample,
            rtol=1e-4,
            atol=1e-4,
        )


def test_each_step_arrives_where_the_next_begins():
    """Exactly known noise is followed exactly, also if the number of steps does not divide 1000."""
    scheduler = NaturalSpeech2DDIMScheduler()
    original, noise = torch.randn(2, 1, 2, 3)
    scheduler.set_timesteps(61)
    noisy = scheduler.add_noise(original, noise, scheduler.timesteps[0])
    for timestep, following in zip(scheduler.timesteps[:-1], scheduler.timesteps[1:], strict=True):
        noisy = scheduler.step(original, timestep, noisy).prev_sample
        torch.testing.assert_close(noisy, scheduler.add_noise(original, noise, following), rtol=1e-3, atol=1e-4)
    assert torch.equal(scheduler.step(original, scheduler.timesteps[-1], noisy).prev_sample, original)


def test_steps_between_float_timesteps():
    scheduler = NaturalSpeech2DDIMScheduler(beta_schedule="cosine")
    scheduler.set_timesteps(4)
    scheduler.timesteps = torch.tensor([999.0, 600.25, 33.3])
    original, noise = torch.randn(2, 1, 2, 3)
    noisy = scheduler.add_noise(original, noise, 600.25)
    result = scheduler.step(original, 600.25, noisy).prev_sample
    torch.testing.assert_close(result, scheduler.add_noise(original, noise, 33.3), rtol=1e-4, atol=1e-5)


def test_generators():
    scheduler = NaturalSpeech2DDIMScheduler()
    scheduler.set_timesteps(10)
    sample, output = torch.randn(2, 2, 2, 4)
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    together = scheduler.step(output, 499, sample, eta=0.5, generator=generators).prev_sample
    for i, seed in enumerate((3, 4)):
        alone = scheduler.step(
            output[i : i + 1],
            499,
            sample[i : i + 1],
            eta=0.5,
            generator=torch.Generator().manual_seed(seed),
        ).prev_sample
        assert torch.equal(together[i : i + 1], alone)
    with pytest.raises(ValueError, match="3 generators for a batch of 2"):
        scheduler.step(output, 499, sample, eta=0.5, generator=generators + generators[:1])
    # Deterministic sampling does not use the generator.
    generator = torch.Generator().manual_seed(3)
    before = generator.get_state()
    scheduler.step(output, 499, sample, generator=generator)
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("use_clipped_model_output", [False, True])
@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_clipping_agrees_with_diffusers(prediction_type, use_clipped_model_output):
    kwargs = {"prediction_type": prediction_type, "timestep_spacing": "trailing", "clip_sample": True}
    ours, theirs = NaturalSpeech2DDIMScheduler(**kwargs), DDIMScheduler(beta_start=5e-5, beta_end=0.02, **kwargs)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(50)
    sample, output = 2 * torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for timestep in ours.timesteps[[0, 25, 49]]:
        expected = theirs.step(output, timestep, sample, use_clipped_model_output=use_clipped_model_output)
        result = ours.step(output, timestep, sample, use_clipped_model_output=use_clipped_model_output)
        torch.testing.assert_close(result.prev_sample, expected.prev_sample, rtol=1e-3, atol=2e-4)
        assert result.pred_original_sample.abs().max() <= 1


def test_set_alpha_to_one():
    """The end of the last step: clean data, or the noise of timestep 0."""
    sample, output = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    kwargs = {"set_alpha_to_one": False, "prediction_type": "epsilon", "timestep_spacing": "leading"}
    ours = NaturalSpeech2DDIMScheduler(**kwargs)
    theirs = DDIMScheduler(beta_start=5e-5, beta_end=0.02, clip_sample=False, **kwargs)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(10)
    for timestep in (900, 100, 0):
        expected = theirs.step(output, timestep, sample).prev_sample
        torch.testing.assert_close(ours.step(output, timestep, sample).prev_sample, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(ours.step(output, 0, sample).prev_sample, sample)
    ours.set_timesteps(timesteps=[100])
    noisy = ours.add_noise(sample, output, 100)
    expected = ours.add_noise(sample, output, 0)
    torch.testing.assert_close(ours.step(output, 100, noisy).prev_sample, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("eta", [-0.1, 1.5])
def test_bad_eta(eta):
    scheduler = NaturalSpeech2DDIMScheduler()
    scheduler.set_timesteps(10)
    with pytest.raises(ValueError, match=rf"`eta` is {eta}; it must lie in \[0, 1\]"):
        scheduler.step(torch.zeros(1, 1, 1), 499, torch.zeros(1, 1, 1), eta=eta)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_first_order(gaussian, schedule):
    scheduler = NaturalSpeech2DDIMScheduler(beta_schedule=schedule, temperature=1.0)
    noise = torch.linspace(-2, 2, 9).expand(1, 2, 9)
    expected = gaussian.flow(noise, gaussian.levels(scheduler, 999), (1.0, 0.0))
    steps = [25, 50, 100, 200]
    errors = [(gaussian.generate(scheduler, n, noise) - expected).abs().max().item() for n in steps]
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert slope == pytest.approx(-1, abs=0.12)
    assert errors[-1] < 0.03
