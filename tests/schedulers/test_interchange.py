"""Our configs run diffusers' schedulers, theirs run ours, and each finds the data."""

import diffusers
import numpy as np
import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DDPMScheduler,
    NaturalSpeech2EulerScheduler,
)

OURS = [NaturalSpeech2DDPMScheduler, NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler]
THEIRS = [
    diffusers.DPMSolverMultistepScheduler,
    diffusers.UniPCMultistepScheduler,
    diffusers.EulerDiscreteScheduler,
    diffusers.HeunDiscreteScheduler,
    diffusers.DDIMScheduler,
    diffusers.DDPMScheduler,
    diffusers.DEISMultistepScheduler,
]
SCHEDULES = ["linear", "cosine", "sigmoid"]
PREDICTION_TYPES = ["sample", "epsilon", "v_prediction"]


@pytest.fixture
def warnings_of_diffusers(monkeypatch):
    messages = []
    logger = diffusers.configuration_utils.logger
    monkeypatch.setattr(logger, "warning", lambda message, *args: messages.append(message))
    return messages


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("cls", OURS + THEIRS)
def test_lands_on_the_data(gaussian, noise, cls, prediction_type, schedule):
    origin = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type, beta_schedule=schedule, temperature=1.0)
    scheduler = cls.from_config(origin.config)
    stochastic = cls in (NaturalSpeech2DDPMScheduler, diffusers.DDPMScheduler)
    kwargs = {"generator": torch.Generator().manual_seed(1)} if stochastic else {}
    latents = gaussian.generate(scheduler, 200 if stochastic else 100, noise, **kwargs)
    mean, std = latents.mean((0, 2)), latents.std((0, 2))
    torch.testing.assert_close(mean, gaussian.mean.flatten(), rtol=0, atol=0.03)
    torch.testing.assert_close(std, gaussian.std.flatten(), rtol=0.04, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_variants_land_on_the_data(gaussian, noise, schedule):
    config = {"beta_schedule": schedule, "temperature": 1.0}
    runs = [
        gaussian.generate(NaturalSpeech2EulerScheduler(solver="midpoint", **config), 50, noise),
        *(
            gaussian.generate(
                NaturalSpeech2DDIMScheduler(**config),
                200,
                noise,
                eta=eta,
                generator=torch.Generator().manual_seed(1),
            )
            for eta in (0.5, 1.0)
        ),
    ]
    for latents in runs:
        torch.testing.assert_close(latents.mean((0, 2)), gaussian.mean.flatten(), rtol=0, atol=0.03)
        torch.testing.assert_close(latents.std((0, 2)), gaussian.std.flatten(), rtol=0.04, atol=0)


@pytest.mark.parametrize(
    ("cls", "order"),
    [
        (NaturalSpeech2DDIMScheduler, 1),
        (diffusers.DDIMScheduler, 1),
        (diffusers.EulerDiscreteScheduler, 1),
        (diffusers.HeunDiscreteScheduler, 2),
        (diffusers.DPMSolverMultistepScheduler, 2),
        (diffusers.DEISMultistepScheduler, 2),
        (diffusers.UniPCMultistepScheduler, 2),
    ],
)
def test_order(gaussian, cls, order):
    """Halfway: their very last step, to no noise at all, is always a first-order one."""
    scheduler = cls.from_config(NaturalSpeech2DDIMScheduler(temperature=1.0).config)
    noise = torch.linspace(-2, 2, 9).expand(1, 2, 9)
    start, end = (gaussian.levels(scheduler, timestep) for timestep in (999, 199))
    expected = gaussian.flow(noise, start, end)
    steps = [20, 40, 50, 100]
    errors = [(gaussian.generate(scheduler, n, noise, stop_at=199) - expected).abs().max().item() for n in steps]
    slope, _ = np.polyfit(np.log(steps), np.log(errors), 1)
    assert -slope > order - 0.3
    assert errors[-1] < {1: 0.03, 2: 2e-3}[order]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("ours", OURS)
def test_there_and_back(ours, theirs, schedule, warnings_of_diffusers):
    origin = ours(beta_schedule=schedule, prediction_type="v_prediction")
    there = theirs.from_config(origin.config)
    assert there.config.prediction_type == "v_prediction"
    assert there.config.timestep_spacing == "trailing"
    assert not there.config.get("clip_sample", False)
    torch.testing.assert_close(there.betas, origin.betas, rtol=1e-6, atol=0)
    back = ours.from_config(there.config)
    assert torch.equal(back.betas, origin.betas)
    for key in ("prediction_type", "beta_schedule", "timestep_spacing", "clip_sample", "temperature"):
        assert back.config[key] == origin.config[key]
    assert warnings_of_diffusers == []


@pytest.mark.parametrize("ours", OURS)
def test_our_defaults_reach_them(ours):
    """diffusers drops defaults on the way; the paper's `sample` would arrive as diffusers' `epsilon`."""
    scheduler = diffusers.DPMSolverMultistepScheduler.from_config(ours().config)
    assert scheduler.config.prediction_type == "sample"
    assert (scheduler.config.beta_start, scheduler.config.beta_end) == (5e-5, 0.02)
    scheduler.set_timesteps(32)
    assert scheduler.timesteps[0] == 999


@pytest.mark.parametrize("origin", OURS)
@pytest.mark.parametrize("target", OURS)
def test_among_ours(origin, target):
    scheduler = target.from_config(origin(prediction_type="epsilon", beta_schedule="cosine", temperature=2.0).config)
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.temperature == 2
    assert torch.equal(scheduler.betas, origin(beta_schedule="cosine").betas)


def test_temperature_and_solver_survive_a_swap():
    origin = NaturalSpeech2EulerScheduler(temperature=2.0, solver="midpoint")
    there = diffusers.UniPCMultistepScheduler.from_config(origin.config)
    assert there.config.temperature == 2
    back = NaturalSpeech2EulerScheduler.from_config(there.config)
    assert (back.config.temperature, back.config.solver) == (2, "midpoint")


@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("ours", OURS)
def test_ours_from_theirs(ours, theirs, warnings_of_diffusers):
    config = theirs(beta_start=1e-4, beta_end=0.01, prediction_type="v_prediction").config
    scheduler = ours.from_config(config)
    assert scheduler.config.prediction_type == "v_prediction"
    assert (scheduler.config.beta_start, scheduler.config.beta_end) == (1e-4, 0.01)
    assert warnings_of_diffusers == []


@pytest.mark.parametrize("theirs", THEIRS)
@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_saved_config_loads_as_theirs(theirs, schedule, tmp_path):
    NaturalSpeech2EulerScheduler(beta_schedule=schedule).save_pretrained(tmp_path)
    scheduler = theirs.from_pretrained(tmp_path)
    assert scheduler.config.prediction_type == "sample"
    torch.testing.assert_close(
        scheduler.betas, NaturalSpeech2DDPMScheduler(beta_schedule=schedule).betas, rtol=1e-6, atol=0
    )
