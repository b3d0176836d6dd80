import math

import pytest
import torch
from diffusers import DDPMScheduler

from ns2_diffusers import NaturalSpeech2DDPMScheduler


def test_one_step_by_hand():
    # ᾱ is ½, then ¼. From ¼ to ½ with z = 2 and ẑ_0 = 1 the mean is √½ ⅔ (1 + 2) = √2,
    # the variance ½ · ½ / ¾ = ⅓.
    scheduler = NaturalSpeech2DDPMScheduler(num_train_timesteps=2, trained_betas=[0.5, 0.5])
    scheduler.set_timesteps(2)
    assert scheduler.timesteps.tolist() == [1, 0]
    sample, output = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)
    still = scheduler.step(output, 1, sample, variance_noise=torch.zeros(1, 1, 1)).prev_sample
    moved = scheduler.step(output, 1, sample, variance_noise=torch.ones(1, 1, 1)).prev_sample
    assert still.item() == pytest.approx(math.sqrt(2))
    assert (moved - still).item() == pytest.approx(math.sqrt(1 / 3))
    last = scheduler.step(output, 0, sample, variance_noise=torch.ones(1, 1, 1)).prev_sample
    assert last.item() == pytest.approx(1)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_step_agrees_with_diffusers(prediction_type):
    kwargs = {"prediction_type": prediction_type, "timestep_spacing": "trailing"}
    ours = NaturalSpeech2DDPMScheduler(**kwargs)
    theirs = DDPMScheduler(beta_start=5e-5, beta_end=0.02, clip_sample=False, **kwargs)
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(150)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    sample, output = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for timestep in ours.timesteps[[0, 75, 149]]:
        expected = theirs.step(output, timestep, sample, generator=torch.Generator().manual_seed(1))
        result = ours.step(output, timestep, sample, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(result.prev_sample, expected.prev_sample, rtol=1e-3, atol=2e-4)


def test_first_timestep_is_the_noisiest_for_any_number_of_steps():
    scheduler = NaturalSpeech2DDPMScheduler()
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps
        assert len(timesteps) == steps and timesteps[0] == 999 and timesteps[-1] >= 0
        assert (timesteps[1:] < timesteps[:-1]).all()


def test_step_from_a_float_timestep():
    scheduler = NaturalSpeech2DDPMScheduler()
    scheduler.set_timesteps(10)
    assert scheduler.previous_timestep(500.5) == 499
    assert scheduler.previous_timestep(499) == 399
    assert scheduler.previous_timestep(torch.tensor(99)) == -1
    now, after = scheduler.alpha_sigma(500.5)[0] ** 2, scheduler.alpha_sigma(499)[0] ** 2
    sample, output = torch.randn(2, 1, 2, 3)
    result = scheduler.step(output, 500.5, sample, variance_noise=torch.zeros(1, 2, 3)).prev_sample
    expected = after.sqrt() * (1 - now / after) * output + (now / after).sqrt() * (1 - after) * sample
    torch.testing.assert_close(result, expected / (1 - now), rtol=1e-4, atol=1e-5)


def test_generators():
    scheduler = NaturalSpeech2DDPMScheduler()
    scheduler.set_timesteps(10)
    sample, output = torch.randn(2, 3, 2, 4)

    def step(items, generator):
        return scheduler.step(output[items], 499, sample[items], generator=generator).prev_sample

    def seeded(seed):
        return torch.Generator().manual_seed(seed)

    every = slice(None)
    assert torch.equal(step(every, seeded(5)), step(every, seeded(5)))
    assert not torch.equal(step(every, seeded(5)), step(every, seeded(6)))
    together = step(every, [seeded(0), seeded(1), seeded(2)])
    for i in range(3):
        assert torch.equal(together[i : i + 1], step(slice(i, i + 1), seeded(i)))
    with pytest.raises(ValueError, match="2 generators for a batch of 3"):
        step(every, [seeded(0), seeded(1)])
    with pytest.raises(ValueError, match="variance_noise"):
        scheduler.step(output, 499, sample, variance_noise=torch.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="one timestep for the whole batch"):
        scheduler.step(output, torch.tensor([499, 499, 499]), sample)


def test_error_falls_with_more_steps(gaussian):
    """For Gaussian data the sampler is affine in z and in its noise, so its variance can be computed exactly."""
    scheduler = NaturalSpeech2DDPMScheduler(temperature=1.0)

    def variance_error(steps):
        zero = gaussian.generate(scheduler, steps, torch.zeros(1, 2, 1), variance_noise=torch.zeros(1, 2, 1))
        one = gaussian.generate(scheduler, steps, torch.ones(1, 2, 1), variance_noise=torch.zeros(1, 2, 1))
        variance = (one - zero) ** 2
        # The contributions of a unit of noise at each step i add up as squares.
        noise = torch.zeros(steps, 2, 1)
        scheduler.set_timesteps(steps)
        for i, timestep in enumerate(scheduler.timesteps):
            levels = gaussian.levels(scheduler, timestep)
            prediction = gaussian.predict(noise, *levels, "sample")
            injected = torch.zeros_like(noise)
            injected[i] = 1
            noise = scheduler.step(prediction, timestep, noise, variance_noise=injected).prev_sample
        variance = variance + ((noise - zero) ** 2).sum(0, keepdim=True)
        return (variance / gaussian.std**2 - 1).abs().max().item()

    errors = [variance_error(steps) for steps in (25, 50, 100, 200)]
    assert all(later < 0.65 * earlier for earlier, later in zip(errors[:-1], errors[1:], strict=True))
    assert errors[-1] < 0.06
