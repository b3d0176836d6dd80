import math

import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2EulerScheduler


def reference_slope(z, original, t):
    """½ β(t) (score + z) of the paper's schedule, in numpy's double precision."""
    c = 0.05 * t + 0.5 * (20 - 0.05) * t**2
    score = -(z - original * np.exp(-0.5 * c)) / (1 - np.exp(-c) + 1e-8)
    return 0.5 * (0.05 + (20 - 0.05) * t) * (score + z)


def test_timesteps_are_the_middles_of_the_steps():
    scheduler = NaturalSpeech2EulerScheduler()
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [874.0, 624.0, 374.0, 124.0]
    scheduler.set_timesteps()
    assert len(scheduler.timesteps) == 150
    assert scheduler.timesteps[0].item() == pytest.approx(1000 * (1 - 0.5 / 150) - 1)
    midpoint = NaturalSpeech2EulerScheduler(solver="midpoint")
    midpoint.set_timesteps(2)
    assert midpoint.timesteps.tolist() == [749.0, 749.0, 249.0, 249.0]
    assert (scheduler.order, midpoint.order) == (1, 2)


@pytest.mark.parametrize("steps", [1, 7, 150, 500])
def test_euler_against_numpy(steps):
    scheduler = NaturalSpeech2EulerScheduler()
    scheduler.set_timesteps(steps)
    z, original = np.random.default_rng(0).normal(size=(2, 2, 3, 4))
    for i in {0, steps // 2, steps - 1}:
        t = 1 - (i + 0.5) / steps
        expected = z + reference_slope(z, original, t) / steps
        result = scheduler.step(torch.tensor(original), scheduler.timesteps[i], torch.tensor(z)).prev_sample
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_euler_trajectory_against_numpy():
    scheduler = NaturalSpeech2EulerScheduler()
    scheduler.set_timesteps(20)
    z = np.random.default_rng(1).normal(size=(1, 3, 4)) / 1.2
    sample = torch.tensor(z)
    for i, timestep in enumerate(scheduler.timesteps):
        z = z + reference_slope(z, np.tanh(z), 1 - (i + 0.5) / 20) / 20
        sample = scheduler.step(sample.tanh(), timestep, sample).prev_sample
    np.testing.assert_allclose(sample.numpy(), z, rtol=1e-5, atol=1e-5)


def test_one_step_by_hand():
    # β = ln 4 throughout, so at t = ½ α² = σ² = ½. z = 2 and ẑ_0 = 1 have the score -2 (2 - √½) = √2 - 4,
    # and one step of length 1 adds ½ ln 4 (√2 - 4 + 2) = -ln 2 (2 - √2).
    constant = {"beta_start": math.log(4) / 1000, "beta_end": math.log(4) / 1000}
    sample, output = torch.full((1, 1, 1), 2.0), torch.ones(1, 1, 1)
    scheduler = NaturalSpeech2EulerScheduler(**constant)
    scheduler.set_timesteps(1)
    stepped = scheduler.step(output, scheduler.timesteps[0], sample).prev_sample.item()
    assert stepped == pytest.approx(2 - math.log(2) * (2 - math.sqrt(2)))

    # `midpoint` goes half that way, and from there the slope is ln 2 (√2 - z).
    midpoint = NaturalSpeech2EulerScheduler(solver="midpoint", **constant)
    midpoint.set_timesteps(1)
    half = midpoint.step(output, midpoint.timesteps[0], sample).prev_sample
    assert half.item() == pytest.approx((2 + stepped) / 2)
    whole = midpoint.step(output, midpoint.timesteps[1], half).prev_sample
    assert whole.item() == pytest.approx(2 + math.log(2) * (math.sqrt(2) - half.item()))


def test_midpoint_starts_afresh():
    scheduler = NaturalSpeech2EulerScheduler(solver="midpoint")
    sample, output = torch.randn(2, 1, 2, 3)
    scheduler.set_timesteps(5)
    first = scheduler.step(output, scheduler.timesteps[0], sample).prev_sample
    # A generation that was stopped within a step leaves no state.
    scheduler.set_timesteps(5)
    assert torch.equal(scheduler.step(output, scheduler.timesteps[0], sample).prev_sample, first)


def test_given_timesteps_by_hand():
    """Slopes at t = 0.9, 0.5 and 0.2: steps meet at 0.7 and 0.35, so their lengths are 0.3, 0.35 and 0.35."""
    times, lengths = [0.9, 0.5, 0.2], [0.3, 0.35, 0.35]
    scheduler = NaturalSpeech2EulerScheduler()
    scheduler.set_timesteps(timesteps=[1000 * t - 1 for t in times])
    assert scheduler.num_inference_steps == 3
    z, original = np.random.default_rng(0).normal(size=(2, 2, 3, 4))
    for timestep, t, length in zip(scheduler.timesteps, times, lengths, strict=True):
        result = scheduler.step(torch.tensor(original), timestep, torch.tensor(z)).prev_sample
        np.testing.assert_allclose(result.numpy(), z + length * reference_slope(z, original, t), rtol=1e-5, atol=1e-5)

    # `midpoint` first goes to the time of the slope: 0.1, 0.2 and 0.15 from the start of the step.
    midpoint = NaturalSpeech2EulerScheduler(solver="midpoint")
    midpoint.set_timesteps(timesteps=[1000 * t - 1 for t in times])
    assert len(midpoint.timesteps) == 6 and midpoint.num_inference_steps == 3
    for i, (t, to_slope, length) in enumerate(zip(times, [0.1, 0.2, 0.15], lengths, strict=True)):
        for part in (to_slope, length):
            timestep = midpoint.timesteps[2 * i]
            result = midpoint.step(torch.tensor(original), timestep, torch.tensor(z)).prev_sample
            expected = z + part * reference_slope(z, original, t)
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "midpoint"])
def test_the_papers_grid_written_out(gaussian, noise, solver):
    scheduler = NaturalSpeech2EulerScheduler(solver=solver, temperature=1.0)
    results = []
    for given in ({"num_inference_steps": 20}, {"timesteps": [1000 * (1 - (i + 0.5) / 20) - 1 for i in range(20)]}):
        scheduler.set_timesteps(**given)
        latents = noise[:, :, :9]
        for timestep in scheduler.timesteps:
            prediction = gaussian.predict(latents, *scheduler.alpha_sigma(timestep), "sample")
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        results.append(latents)
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_order_on_an_uneven_grid(gaussian, solver, order):
    """Slopes that are dense near the data, t = u²."""
    scheduler = NaturalSpeech2EulerScheduler(solver=solver, temperature=1.0)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).expand(1, 2, 9)
    start = math.exp(-10.025 / 2), math.sqrt(1 - math.exp(-10.025))
    expected, errors, steps = gaussian.flow(noise, start, (1.0, 0.0)), [], [8, 11, 15]
    for n in steps:
        times = ((n - 0.5 - torch.arange(n, dtype=torch.float64)) / n) ** 2
        scheduler.set_timesteps(timesteps=1000 * times - 1)
        latents = noise
        for timestep in scheduler.timesteps:
            prediction = gaussian.predict(latents, *scheduler.alpha_sigma(timestep), "sample")
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        errors.append((latents - expected).abs().max().item())
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert -slope > order - 0.3


def test_a_generator_changes_nothing():
    scheduler = NaturalSpeech2EulerScheduler()
    scheduler.set_timesteps(5)
    sample, output = torch.randn(2, 1, 2, 3)
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    result = scheduler.step(output, scheduler.timesteps[1], sample, generator=generator).prev_sample
    assert torch.equal(result, scheduler.step(output, scheduler.timesteps[1], sample).prev_sample)
    assert torch.equal(generator.get_state(), state)
    with pytest.raises(ValueError, match="one timestep for the whole batch"):
        scheduler.step(output, torch.tensor([499.0, 499.0]), sample)


def test_linear_levels_are_the_closed_form():
    scheduler = NaturalSpeech2EulerScheduler()
    t = np.array([0.001, 0.25, 0.5, 1.0])
    alpha, sigma = scheduler.alpha_sigma(torch.tensor(1000 * t - 1))
    c = 0.05 * t + 0.5 * 19.95 * t**2
    np.testing.assert_allclose(alpha.numpy(), np.exp(-c / 2), rtol=1e-6)
    np.testing.assert_allclose(sigma.numpy(), np.sqrt(1 - np.exp(-c)), rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "beta"),
    # -d log ᾱ / dt. For cos²(πt/2) that is π tan(πt/2); a discrete β takes log(1 - β) from log ᾱ in 1/1000.
    [
        ("cosine", lambda t: math.pi * math.tan(math.pi * t / 2)),
        ("linear", lambda t: -1000 * math.log1p(-(0.05 + 19.95 * t) / 1000)),
    ],
)
def test_beta_of_a_table(schedule, beta):
    table = NaturalSpeech2EulerScheduler(beta_schedule=schedule).betas.tolist()
    scheduler = NaturalSpeech2EulerScheduler(trained_betas=table)
    for t in (0.25, 0.5, 0.50025):
        assert scheduler._beta(torch.tensor(1000 * t - 1)).item() == pytest.approx(beta(t), rel=2e-3)


def test_refuses_steps_it_cannot_take():
    scheduler = NaturalSpeech2EulerScheduler()
    with pytest.raises(ValueError, match="501; .* takes 1 to 500 .*below the least noise of training"):
        scheduler.set_timesteps(501)
    scheduler.set_timesteps(500)
    assert scheduler.timesteps[-1] == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="'rk4'; it must be one of euler, midpoint"):
        NaturalSpeech2EulerScheduler(solver="rk4")
    with pytest.raises(ValueError, match="call `set_timesteps`"):
        NaturalSpeech2EulerScheduler().step(torch.zeros(1, 1, 1), 499.0, torch.zeros(1, 1, 1))


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_order(gaussian, solver, order, prediction_type):
    scheduler = NaturalSpeech2EulerScheduler(solver=solver, prediction_type=prediction_type, temperature=1.0)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).expand(1, 2, 9)
    start = math.exp(-10.025 / 2), math.sqrt(1 - math.exp(-10.025))
    expected = gaussian.flow(noise, start, (1.0, 0.0))
    steps = [20, 40, 80, 160]
    errors = [(gaussian.generate(scheduler, n, noise) - expected).abs().max().item() for n in steps]
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert slope == pytest.approx(-order, abs=0.12)
    assert errors[-1] < {1: 0.02, 2: 2e-3}[order]
