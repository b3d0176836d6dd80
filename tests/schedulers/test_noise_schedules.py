"""The noise schedules, and the common parts of the three schedulers."""

import inspect
import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import AysSchedules

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DDPMScheduler,
    NaturalSpeech2EulerScheduler,
)
from ns2_diffusers.schedulers.noise_schedules import squared_error_ratio

OURS = [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler]
every_scheduler = pytest.mark.parametrize("cls", OURS)


def alpha_bars(scheduler):
    return torch.cumprod(1 - scheduler.betas.double(), 0).numpy()


def test_linear_is_the_papers_schedule():
    betas = NaturalSpeech2DDPMScheduler().betas.numpy()
    assert betas[0] * 1000 == pytest.approx(0.05)
    assert betas[-1] * 1000 == pytest.approx(20)
    np.testing.assert_allclose(np.diff(betas), 0.01995 / 999, rtol=1e-3)


@pytest.mark.parametrize(
    ("schedule", "quarter", "half"),
    # By hand: cos²(π/8), cos²(π/4); (σ(3) - σ(-1.5)) / (σ(3) - σ(-3)), and ½ by symmetry.
    [("cosine", 0.853553, 0.5), ("sigmoid", (0.952574 - 0.182426) / (0.952574 - 0.047426), 0.5)],
)
def test_seed_schedules(schedule, quarter, half):
    signal = alpha_bars(NaturalSpeech2DDPMScheduler(beta_schedule=schedule))
    assert signal[249] == pytest.approx(quarter, abs=3e-5)
    assert signal[499] == pytest.approx(half, abs=3e-5)
    assert (np.diff(signal) < 0).all()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_some_signal_is_always_left(schedule):
    assert alpha_bars(NaturalSpeech2DDPMScheduler(beta_schedule=schedule))[-1] == pytest.approx(4.4e-5, rel=0.07)


@every_scheduler
@pytest.mark.parametrize("schedule", ["cosine", "sigmoid", "scaled_linear"])
def test_integer_timesteps_are_the_table(cls, schedule):
    scheduler = cls(beta_schedule=schedule)
    alpha, sigma = scheduler.alpha_sigma(torch.arange(1000))
    np.testing.assert_allclose(alpha.numpy() ** 2, alpha_bars(scheduler), rtol=3e-6)
    np.testing.assert_allclose(sigma.numpy() ** 2, 1 - alpha_bars(scheduler), rtol=3e-6)
    assert torch.equal(alpha, scheduler.alpha_sigma(torch.arange(1000.0))[0])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "sigmoid"])
def test_float_timesteps_lie_geometrically_between(schedule):
    scheduler = NaturalSpeech2DDPMScheduler(beta_schedule=schedule)
    signal = alpha_bars(scheduler)
    alpha, _ = scheduler.alpha_sigma(torch.tensor([300.25, 998.5]))
    expected = [signal[300] ** 0.75 * signal[301] ** 0.25, math.sqrt(signal[998] * signal[999])]
    np.testing.assert_allclose(alpha.numpy() ** 2, expected, rtol=1e-5)
    clean, halfway = scheduler.alpha_sigma(-1.0), scheduler.alpha_sigma(-0.5)
    assert clean[0] == 1 and clean[1] == 0
    assert halfway[0].item() ** 4 == pytest.approx(signal[0], rel=1e-6)


@every_scheduler
def test_signal_to_noise_ratio(cls):
    scheduler = cls()
    timesteps = torch.tensor([0.0, 10.5, 500.0, 999.0])
    alpha, sigma = scheduler.alpha_sigma(timesteps)
    torch.testing.assert_close(scheduler.signal_to_noise_ratio(timesteps), (alpha / sigma) ** 2, rtol=1e-4, atol=0)


@every_scheduler
def test_add_noise_and_velocity(cls):
    scheduler = cls(beta_schedule="cosine")
    sample, noise = torch.randn(2, 3, 4, 5)
    timesteps = torch.tensor([0, 400, 999])
    signal = torch.tensor(alpha_bars(scheduler)[timesteps]).reshape(3, 1, 1)
    alpha, sigma = signal.sqrt().float(), (1 - signal).sqrt().float()
    noisy = scheduler.add_noise(sample, noise, timesteps)
    velocity = scheduler.get_velocity(sample, noise, timesteps)
    torch.testing.assert_close(noisy, alpha * sample + sigma * noise)
    torch.testing.assert_close(velocity, alpha * noise - sigma * sample)
    # One timestep as a number is the same as that timestep for each item.
    alone = scheduler.add_noise(sample, noise, 400)
    torch.testing.assert_close(alone[1], noisy[1])
    torch.testing.assert_close(alone[:1], scheduler.add_noise(sample[:1], noise[:1], torch.tensor([400.0])))


def test_add_noise_agrees_with_diffusers():
    ours = NaturalSpeech2DDPMScheduler()
    theirs = DDPMScheduler(beta_start=5e-5, beta_end=0.02)
    sample, noise, timesteps = torch.randn(8, 2, 3), torch.randn(8, 2, 3), torch.arange(0, 1000, 125)
    torch.testing.assert_close(
        ours.add_noise(sample, noise, timesteps),
        theirs.add_noise(sample, noise, timesteps),
        rtol=1e-4,
        atol=1e-5,
    )
    torch.testing.assert_close(
        ours.get_velocity(sample, noise, timesteps),
        theirs.get_velocity(sample, noise, timesteps),
        rtol=1e-4,
        atol=1e-5,
    )


@every_scheduler
@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_what_is_predicted(cls, prediction_type):
    """The target of training, ẑ_0 from it, and the way back, compared with the definitions."""
    scheduler = cls(prediction_type=prediction_type)
    sample, noise = torch.randn(2, 3, 4, 5)
    timesteps = torch.tensor([0.5, 500, 999])
    alpha, sigma = (level.reshape(3, 1, 1) for level in scheduler.alpha_sigma(timesteps))
    expected = {"sample": sample, "epsilon": noise, "v_prediction": alpha * noise - sigma * sample}[prediction_type]
    target = scheduler.training_target(sample, noise, timesteps)
    torch.testing.assert_close(target, expected)
    noisy = scheduler.add_noise(sample, noise, timesteps)
    # At the last timestep α is 0.0067, so the rounding error of z_t is 150 times larger.
    original = scheduler.predict_original_sample(target, timesteps, noisy)
    torch.testing.assert_close(original, sample, rtol=1e-4, atol=1e-4)
    # At the first timestep σ is 0.0087, and the error is divided by it.
    torch.testing.assert_close(scheduler.model_output_for(sample, timesteps, noisy), target, rtol=1e-4, atol=1e-4)
    half = scheduler.model_output_for(sample.half(), timesteps, noisy.half())
    assert half.dtype == torch.float32
    with pytest.raises(ValueError, match=r"`original_samples` is \(2, 4, 5\) but `sample` is \(3, 4, 5\)"):
        scheduler.model_output_for(sample[:2], timesteps, noisy)


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_squared_error_ratio(prediction_type):
    scheduler = NaturalSpeech2DDPMScheduler(prediction_type=prediction_type)
    timesteps = torch.tensor([10.0, 300.0, 700.0])
    original, error, noisy = torch.randn(3, 3, 4, 5, dtype=torch.float64)
    outputs = [scheduler.model_output_for(each, timesteps, noisy) for each in (original, original + error)]
    found = (outputs[1] - outputs[0]).pow(2).mean((1, 2)) / error.pow(2).mean((1, 2))
    expected = squared_error_ratio(scheduler.signal_to_noise_ratio(timesteps), prediction_type)
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="'flow'; it must be one of sample"):
        squared_error_ratio(torch.ones(1), "flow")


@every_scheduler
def test_clip_sample(cls):
    scheduler = cls(clip_sample=True, clip_sample_range=0.5)
    output = torch.tensor([[[-2.0, 0.25, 2.0]]])
    clipped = scheduler.predict_original_sample(output, 500, torch.zeros(1, 1, 3))
    assert clipped.tolist() == [[[-0.5, 0.25, 0.5]]]
    assert cls().predict_original_sample(output, 500, torch.zeros(1, 1, 3)).max() == 2


@every_scheduler
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(cls, dtype):
    scheduler = cls(prediction_type="epsilon")
    scheduler.set_timesteps(20)
    wide, output = torch.randn(2, 2, 3, 4, dtype=torch.float64).to(dtype).double()
    for timestep in scheduler.timesteps[[0, 10, 19]]:
        kwargs = {"variance_noise": torch.ones(2, 3, 4)} if cls is NaturalSpeech2DDPMScheduler else {}
        narrow = scheduler.step(output.to(dtype), timestep, wide.to(dtype), **kwargs)
        exact = scheduler.step(output, timestep, wide, **kwargs)
        assert narrow.prev_sample.dtype == narrow.pred_original_sample.dtype == dtype
        tolerance = torch.finfo(dtype).eps if dtype != torch.float64 else 1e-12
        torch.testing.assert_close(narrow.prev_sample.double(), exact.prev_sample, rtol=tolerance, atol=1e-4)
    noisy = scheduler.add_noise(wide.to(dtype), output.to(dtype), torch.tensor([3, 700]))
    assert noisy.dtype == dtype
    exact = scheduler.add_noise(wide, output, torch.tensor([3, 700]))
    torch.testing.assert_close(noisy.double(), exact, rtol=tolerance, atol=1e-6)


@every_scheduler
def test_temperature(cls):
    assert cls().init_noise_sigma == pytest.approx(1 / 1.2)
    scheduler = cls(temperature=4.0)
    assert scheduler.init_noise_sigma == 0.5
    scheduler.set_timesteps(10)
    assert scheduler.init_noise_sigma == 0.5
    # The pipeline handles the temperature of a call, as several calls share the scheduler.
    assert not hasattr(scheduler, "set_temperature")


@every_scheduler
@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_save_and_load(cls, schedule, tmp_path):
    saved = cls(beta_schedule=schedule, prediction_type="v_prediction", temperature=2.0)
    saved.save_pretrained(tmp_path)
    loaded = cls.from_pretrained(tmp_path)
    assert dict(loaded.config) == {
        **saved.config,
        "_use_default_values": loaded.config["_use_default_values"],
    }
    assert torch.equal(loaded.betas, saved.betas)
    assert loaded.init_noise_sigma == saved.init_noise_sigma
    for scheduler in (saved, loaded):
        scheduler.set_timesteps(7)
    sample, output = torch.randn(2, 1, 2, 3)
    kwargs = {"generator": torch.manual_seed(1)} if cls is NaturalSpeech2DDPMScheduler else {}
    expected = saved.step(output, saved.timesteps[3], sample, **kwargs).prev_sample
    kwargs = {"generator": torch.manual_seed(1)} if kwargs else {}
    assert torch.equal(loaded.step(output, loaded.timesteps[3], sample, **kwargs).prev_sample, expected)


@every_scheduler
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prediction_type": "noise"}, "noise.*sample, v_prediction, epsilon"),
        ({"beta_schedule": "exp"}, "exp.*linear, cosine, sigmoid.*trained_betas"),
        ({"trained_betas": [0.1, 0.2]}, "2 values.*1000"),
        ({"beta_end": 1.5}, "1.5.*above 0 and below 1"),
        ({"trained_betas": [0.1, 1.0], "num_train_timesteps": 2}, "below 1"),
        ({"temperature": 0.0}, "temperature.*0.0.*positive"),
        ({"temperature": -1.0}, "positive"),
        ({"temperature": float("nan")}, "positive"),
    ],
)
def test_bad_config(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(**kwargs)


@every_scheduler
def test_bad_arguments(cls):
    scheduler = cls()
    sample = torch.zeros(3, 2, 4)
    for steps in (0, -5, 1001):
        with pytest.raises(ValueError, match=f"is {steps}; {cls.__name__} takes 1 to"):
            scheduler.set_timesteps(steps)
    with pytest.raises(TypeError, match="integer"):
        scheduler.set_timesteps(10.5)
    scheduler.set_timesteps(10)
    for timestep in (1000, -1.5, float("nan")):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1000\)"):
            scheduler.add_noise(sample, sample, timestep)
    with pytest.raises(ValueError, match="2 timesteps for a batch of 3"):
        scheduler.add_noise(sample, sample, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"\(3, 4, 4\).*\(3, 2, 4\)"):
        scheduler.step(torch.zeros(3, 4, 4), scheduler.timesteps[0], sample)


@every_scheduler
def test_return_tuple(cls):
    scheduler = cls()
    scheduler.set_timesteps(10)
    sample = torch.ones(1, 2, 3)
    prev_sample, original = scheduler.step(sample, scheduler.timesteps[0], sample, return_dict=False)
    assert prev_sample.shape == sample.shape
    assert torch.equal(original, sample)


@every_scheduler
def test_custom_timesteps(cls):
    scheduler = cls(beta_schedule="cosine")
    for timesteps in ([999, 600, 100, 0], [998.5, 400.25, 3.0], torch.tensor([700, 20]), np.array([500.5, 1.5])):
        scheduler.set_timesteps(timesteps=timesteps)
        assert scheduler.timesteps.tolist() == list(timesteps)
        assert scheduler.num_inference_steps == len(timesteps)
        for now, after in zip(timesteps[:-1], timesteps[1:], strict=True):
            assert scheduler.previous_timestep(now) == after
        assert scheduler.previous_timestep(timesteps[-1]) == -1


@pytest.mark.parametrize("cls", [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler])
def test_custom_timesteps_are_the_ones_sampled(cls):
    """The same timesteps, from a number of steps or given one by one, give the same samples."""
    sample, output = torch.randn(2, 2, 3, 4)
    results = []
    for given in ({"num_inference_steps": 4}, {"timesteps": [999, 749, 499, 249]}):
        scheduler, latents = cls(), sample
        scheduler.set_timesteps(**given)
        for timestep in scheduler.timesteps:
            kwargs = {"variance_noise": output} if cls is NaturalSpeech2DDPMScheduler else {}
            latents = scheduler.step(output, timestep, latents, **kwargs).prev_sample
        results.append(latents)
    assert torch.equal(*results)


@every_scheduler
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_sigmas(cls, schedule):
    scheduler = cls(beta_schedule=schedule)
    wanted = torch.tensor([999.0, 700.25, 300.0, 12.5])
    alpha, sigma = scheduler.alpha_sigma(wanted)
    for sigmas in (sigma / alpha, [*(sigma / alpha).tolist(), 0.0]):
        scheduler.set_timesteps(sigmas=sigmas)
        torch.testing.assert_close(scheduler.timesteps, wanted, rtol=0, atol=0.01)
    # By hand: σ / α = 1 is ᾱ = ½, in the middle of the cosine.
    if schedule == "cosine":
        scheduler.set_timesteps(sigmas=[1.0])
        assert scheduler.timesteps.item() == pytest.approx(499, abs=0.05)


@every_scheduler
def test_sigmas_of_diffusers(cls):
    """A table of diffusers (align your steps) gives the same timesteps here and in diffusers' samplers."""
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    ours, theirs = cls(**config), EulerDiscreteScheduler(**config)
    sigmas = AysSchedules["StableDiffusionXLSigmas"]
    for scheduler in (ours, theirs):
        scheduler.set_timesteps(sigmas=sigmas)
    torch.testing.assert_close(ours.timesteps.float(), theirs.timesteps, rtol=0, atol=0.05)


@every_scheduler
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"timesteps": [999, 5], "sigmas": [1.0]}, "one of .*`timesteps` and `sigmas` was given"),
        ({"timesteps": [999, 5], "num_inference_steps": 2}, "`num_inference_steps` and `timesteps` was given"),
        ({"timesteps": [5, 999]}, r"\[5, 999\]; they must fall"),
        ({"timesteps": [5, 5]}, "must fall"),
        ({"timesteps": [1000, 5]}, r"must lie in \[0, 999\]"),
        ({"timesteps": [5, -1]}, r"must lie in \[0, 999\]"),
        ({"timesteps": [float("nan")]}, "must lie"),
        ({"timesteps": []}, "at least one"),
        ({"timesteps": [[5, 4]]}, r"shape \(1, 2\)"),
        ({"sigmas": [1000.0, 1.0]}, "1000.*the σ / α of training"),
        ({"sigmas": [1.0, 1e-4]}, "of training"),
        ({"sigmas": [1.0, 2.0]}, "must fall"),
        ({"sigmas": [0.0]}, "of training"),
    ],
)
def test_bad_custom_grids(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls().set_timesteps(**kwargs)


@pytest.mark.parametrize("cls", [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler])
def test_no_grid_is_asked_for(cls):
    with pytest.raises(ValueError, match="none of them was given"):
        cls().set_timesteps()


@pytest.mark.parametrize("cls", [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler])
def test_steps_offset(cls):
    scheduler = cls(timestep_spacing="leading", steps_offset=1)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [801, 601, 401, 201, 1]
    trailing = cls(steps_offset=1)
    trailing.set_timesteps(5)
    assert trailing.timesteps[0] == 999
    with pytest.raises(ValueError, match="1000 steps of .*'leading' with `steps_offset` 1 begin at timestep 1000"):
        scheduler.set_timesteps(1000)


@every_scheduler
def test_what_pipelines_of_diffusers_read(cls):
    scheduler = cls(beta_schedule="cosine")
    reference = DDPMScheduler(trained_betas=scheduler.betas.tolist())
    assert len(scheduler) == 1000
    torch.testing.assert_close(scheduler.alphas_cumprod, reference.alphas_cumprod)
    assert scheduler.alphas_cumprod.shape == (1000,)
    assert {"timesteps", "sigmas"} <= set(inspect.signature(scheduler.set_timesteps).parameters)
    assert "generator" in inspect.signature(scheduler.step).parameters
