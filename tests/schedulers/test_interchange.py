"""diffusers' schedulers run with configs of this package and the reverse, and each finds the data."""

import inspect
import json

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from diffusers.utils import is_torchsde_available

from ns2_diffusers import (
    NaturalSpeech2DDIMInverseScheduler,
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DDPMScheduler,
    NaturalSpeech2DistilledScheduler,
    NaturalSpeech2EulerScheduler,
)
from ns2_diffusers.schedulers.interchange import (
    EPSILON_SAMPLERS,
    WHOLE_SAMPLERS,
    add_noise_of_step,
    begin_in_the_middle,
    convert_prediction,
    copy_for_sampling,
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
# All schedulers that diffusers counts as interchangeable, except the one for models with EDM's scaling.
KARRAS = [name for name in KarrasDiffusionSchedulers.__members__ if name != "EDMEulerScheduler"]
NO_TORCHSDE = pytest.mark.skipif(not is_torchsde_available(), reason="torchsde is not installed")
every_karras = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=NO_TORCHSDE if name == "DPMSolverSDEScheduler" else ()) for name in KARRAS]
)
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
    """The order is measured halfway, because the last step, to no noise, is always of first order."""
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
    """diffusers drops defaults; the `sample` of the paper would become `epsilon`, the default of diffusers."""
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


@every_karras
@pytest.mark.parametrize("ours", [*OURS, NaturalSpeech2DistilledScheduler])
def test_what_theirs_left_at_its_defaults_stays(ours, name):
    theirs = getattr(diffusers, name)()
    scheduler = ours.from_config(theirs.config)
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type")
    names += ("clip_sample", "clip_sample_range", "timestep_spacing", "steps_offset", "set_alpha_to_one")
    kept = {key: theirs.config[key] for key in names if key in theirs.config}
    assert kept["prediction_type"] == "epsilon"
    assert {key: scheduler.config[key] for key in kept} == kept
    torch.testing.assert_close(scheduler.betas, theirs.betas.float())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (NaturalSpeech2DDIMScheduler, diffusers.DDIMScheduler),
        (NaturalSpeech2DDPMScheduler, diffusers.DDPMScheduler),
    ],
)
@pytest.mark.parametrize("options", [{}, {"clip_sample": False, "steps_offset": 1}])
def test_ours_from_theirs_samples_the_same(ours, theirs, options):
    """The samples are compared, not only the configs."""
    theirs = theirs(**options)
    scheduler = ours.from_config(theirs.config)
    sample, output = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    for each in (scheduler, theirs):
        each.set_timesteps(20)
    assert torch.equal(scheduler.timesteps, theirs.timesteps)
    for timestep in theirs.timesteps[[0, 10, 18]]:
        results = [
            each.step(output, timestep, sample, generator=torch.Generator().manual_seed(1)).prev_sample
            for each in (scheduler, theirs)
        ]
        torch.testing.assert_close(*results, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("ours", OURS)
def test_their_file_with_values_left_out(ours, tmp_path):
    """A config that was saved before an argument existed has the default of its own class."""
    config = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_schedule": "scaled_linear"}
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    scheduler = ours.from_pretrained(tmp_path)
    assert scheduler.config.prediction_type == "epsilon"
    assert (scheduler.config.beta_start, scheduler.config.beta_end) == (0.00085, 0.02)
    assert scheduler.config.timestep_spacing == "leading"


@pytest.mark.parametrize("ours", OURS)
def test_their_sigmoid_is_another_curve_than_ours(ours):
    theirs = diffusers.DDPMScheduler(beta_schedule="sigmoid")
    torch.testing.assert_close(ours.from_config(theirs.config).betas, theirs.betas)
    assert not torch.allclose(ours(beta_schedule="sigmoid").betas, theirs.betas)
    assert torch.equal(
        ours.from_config(ours(beta_schedule="sigmoid").config).betas, ours(beta_schedule="sigmoid").betas
    )


@pytest.mark.parametrize("ours", [*OURS, NaturalSpeech2DistilledScheduler])
@pytest.mark.parametrize(
    ("theirs", "options", "message"),
    [
        ("DDIMScheduler", {"thresholding": True}, "`thresholding` is True.*no natural range"),
        ("DPMSolverMultistepScheduler", {"thresholding": True}, "`thresholding` is True"),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True}, "`rescale_betas_zero_snr` is True.*beta_end"),
        ("EulerDiscreteScheduler", {"rescale_betas_zero_snr": True}, "`rescale_betas_zero_snr` is True"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "`use_flow_sigmas` is True.*flow matching"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous"}, "`timestep_type` is 'continuous'"),
        ("DDPMScheduler", {"variance_type": "learned_range"}, "`variance_type` is 'learned_range'.*no variance"),
        ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "'flow_prediction'; it must be one"),
        ("DDPMScheduler", {"beta_schedule": "laplace"}, "'laplace'; it must be one"),
    ],
)
def test_options_that_would_be_ignored_are_refused(ours, theirs, options, message):
    config = getattr(diffusers, theirs)(**options).config
    with pytest.raises(ValueError, match=message):
        ours.from_config(config)


def test_options_of_one_sampler_alone():
    config = diffusers.DDPMScheduler(variance_type="fixed_large").config
    with pytest.raises(ValueError, match="'fixed_large'.*draws from the posterior"):
        NaturalSpeech2DDPMScheduler.from_config(config)
    assert NaturalSpeech2DDIMScheduler.from_config(config).config.prediction_type == "epsilon"
    with pytest.raises(ValueError, match="`thresholding` is True"):
        NaturalSpeech2DDIMScheduler.from_config(NaturalSpeech2DDIMScheduler().config, thresholding=True)
    offset = diffusers.PNDMScheduler(steps_offset=1).config
    scheduler = NaturalSpeech2DDIMScheduler.from_config(offset)
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist() == list(range(901, 0, -100))
    assert scheduler.previous_timestep(1) == 0, "PNDM's `set_alpha_to_one` is False"


def generate(scheduler, gaussian, noise, steps=40):
    """The loop of a pipeline with the exact denoiser in the scheduler's `prediction_type`."""
    prediction_type = scheduler.config.prediction_type
    levels = NaturalSpeech2DDIMScheduler.from_config(scheduler.config)
    sampler = copy_for_sampling(scheduler)
    sampler.set_timesteps(steps)
    latents = noise * float(sampler.init_noise_sigma)
    random = "generator" in inspect.signature(sampler.step).parameters
    kwargs = {"generator": torch.Generator().manual_seed(1)} if random else {}
    for timestep in sampler.timesteps:
        noisy = sampler.scale_model_input(latents, timestep)
        prediction = gaussian.predict(noisy, *levels.alpha_sigma(timestep), prediction_type)
        prediction = convert_prediction(sampler, prediction_type, prediction, timestep, latents)
        latents = sampler.step(prediction, timestep, latents, **kwargs).prev_sample
    return latents


@every_karras
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_every_karras_sampler_takes_every_prediction(gaussian, noise, name, prediction_type, schedule):
    config = {"prediction_type": prediction_type, "beta_schedule": schedule, "temperature": 1.0}
    scheduler = getattr(diffusers, name).from_config(NaturalSpeech2DDIMScheduler(**config).config)
    latents = generate(scheduler, gaussian, noise[:, :, :256], steps=25)
    assert scheduler.config.prediction_type == prediction_type
    torch.testing.assert_close(latents.mean((0, 2)), gaussian.mean.flatten(), rtol=0, atol=0.1)
    torch.testing.assert_close(latents.std((0, 2)), gaussian.std.flatten(), rtol=0.25, atol=0)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=NO_TORCHSDE if name == "DPMSolverSDEScheduler" else ()) for name in EPSILON_SAMPLERS],
)
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_converting_a_prediction_is_exact(gaussian, noise, name, spacing):
    """ẑ_0 that is converted to ε, for samplers that take only ε, gives the same samples as ε itself."""
    options = {"timestep_spacing": spacing}
    if name == "DPMSolverSDEScheduler":
        options["noise_sampler_seed"] = 0
    results = []
    for kind in ("sample", "epsilon"):
        config = NaturalSpeech2DDIMScheduler(prediction_type=kind).config
        scheduler = getattr(diffusers, name).from_config(config, **options)
        results.append(generate(scheduler, gaussian, noise[:, :, :16], steps=8))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_converted_prediction_by_hand():
    """At σ / α = 2 latents are 5^½ z: ẑ_0 = 1 and z / α = 7 make ε = (7 - 1) / 2."""
    sampler = copy_for_sampling(diffusers.EulerAncestralDiscreteScheduler(prediction_type="sample"))
    sampler.set_timesteps(2)
    sampler.sigmas = torch.tensor([2.0, 1.0, 0.0])
    latents, original = torch.full((1, 1, 1), 7.0), torch.ones(1, 1, 1)
    sampler.scale_model_input(latents, sampler.timesteps[0])
    found = convert_prediction(sampler, "sample", original, sampler.timesteps[0], latents)
    assert found.item() == pytest.approx(3)
    assert found.dtype == torch.float32
    # PNDM scales latents as z: ᾱ = ¼ makes ε = (z - ½ ẑ_0) / √¾ there.
    sampler = copy_for_sampling(diffusers.PNDMScheduler(prediction_type="sample", trained_betas=[0.5, 0.5]))
    found = convert_prediction(sampler, "sample", original, torch.tensor(1), latents)
    assert found.item() == pytest.approx(6.5 / 0.75**0.5)


@pytest.mark.parametrize(
    "name", ["EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler"]
)
def test_samplers_of_other_models_are_refused(name):
    theirs = getattr(diffusers, name)()
    with pytest.raises(ValueError, match=rf"{name} has no variance-preserving noise schedule"):
        copy_for_sampling(theirs)


def test_a_copy_leaves_the_scheduler_as_it_is():
    scheduler = diffusers.PNDMScheduler.from_config(NaturalSpeech2DDIMScheduler().config)
    before = scheduler.timesteps
    copy = copy_for_sampling(scheduler)
    copy.set_timesteps(10)
    assert scheduler.timesteps is before and scheduler.config.prediction_type == "sample"
    assert copy.config.prediction_type == "epsilon"


def samplers():
    """Every sampler, with steps, by name."""
    config = NaturalSpeech2DDIMScheduler(prediction_type="epsilon").config
    ours = [NaturalSpeech2DDIMScheduler, NaturalSpeech2DDPMScheduler, NaturalSpeech2EulerScheduler]
    classes = [getattr(diffusers, name) for name in KARRAS if name not in ("DPMSolverSDEScheduler", *WHOLE_SAMPLERS)]
    makers = {cls.__name__: (cls, {}) for cls in [*ours, *classes]}
    makers["midpoint"] = (NaturalSpeech2EulerScheduler, {"solver": "midpoint"})
    return {
        name: (lambda cls=cls, options=options: cls.from_config(config, **options))
        for name, (cls, options) in makers.items()
    }


@pytest.mark.parametrize("name", samplers())
def test_from_the_middle_to_where_the_flow_leads(gaussian, noise, name):
    """Samplers that draw noise reach the distribution of the data."""
    scheduler = samplers()[name]()
    scheduler.set_timesteps(200)
    first = begin_in_the_middle(scheduler, 0.5)
    assert len(scheduler.timesteps) - first in (100, 2 * 100, 2 * 100 - 1)
    data = gaussian.mean + gaussian.std * noise
    fresh = torch.randn(noise.shape, generator=torch.Generator().manual_seed(7))
    latents = add_noise_of_step(scheduler, data, fresh, first)
    random = {"generator": torch.Generator().manual_seed(1)}
    draws = "DDPM" in name or "Ancestral" in name
    for timestep in scheduler.timesteps[first:]:
        noisy = scheduler.scale_model_input(latents, timestep)
        prediction = gaussian.predict(noisy, *gaussian.levels(scheduler, timestep), "epsilon")
        latents = scheduler.step(prediction, timestep, latents, **(random if draws else {})).prev_sample
    if draws:
        torch.testing.assert_close(latents.mean((0, 2)), gaussian.mean.flatten(), rtol=0, atol=0.03)
        torch.testing.assert_close(latents.std((0, 2)), gaussian.std.flatten(), rtol=0.04, atol=0)
        return
    # Half of the steps: t = 1/2, timestep 499, except where the grid of the sampler is another.
    start = {"DPMSolverSinglestepScheduler": 500.0}.get(name, 499.0)
    levels = NaturalSpeech2DDIMScheduler().alpha_sigma(start)
    expected = gaussian.flow(levels[0] * data + levels[1] * fresh, levels, (1.0, 0.0))
    assert (latents - expected).square().mean().sqrt() < 0.02


@pytest.mark.parametrize(
    ("steps", "strength", "taken"), [(8, 1.0, 8), (8, 0.5, 4), (8, 0.6, 4), (8, 0.99, 7), (100, 0.29, 29), (1, 1.0, 1)]
)
def test_the_share_of_the_steps(steps, strength, taken):
    scheduler = NaturalSpeech2DDIMScheduler()
    scheduler.set_timesteps(steps)
    assert begin_in_the_middle(scheduler, strength) == steps - taken


def test_a_step_of_euler_begins_before_its_slope():
    scheduler = NaturalSpeech2EulerScheduler(solver="midpoint")
    scheduler.set_timesteps(4)
    # Slopes are at t = 7/8, 5/8 …, and steps begin at 1, 3/4 …
    assert [scheduler.start_of_step(index).item() for index in range(4)] == pytest.approx([999.0, 874.0, 749.0, 624.0])
    ddim = NaturalSpeech2DDIMScheduler()
    ddim.set_timesteps(4)
    assert [ddim.start_of_step(index).item() for index in range(4)] == [999, 749, 499, 249]


@pytest.mark.parametrize(
    "cls", [diffusers.PNDMScheduler, diffusers.DDIMInverseScheduler, NaturalSpeech2DDIMInverseScheduler]
)
def test_samplers_that_cannot_begin_in_the_middle(cls):
    scheduler = cls.from_config(NaturalSpeech2DDIMScheduler().config)
    scheduler.set_timesteps(8)
    assert begin_in_the_middle(scheduler, 1.0) == 0
    with pytest.raises(ValueError, match=f"strength is 0.5, and {cls.__name__} cannot begin in the middle"):
        begin_in_the_middle(scheduler, 0.5)


def test_less_than_one_step():
    scheduler = NaturalSpeech2DDIMScheduler()
    scheduler.set_timesteps(4)
    with pytest.raises(ValueError, match="strength is 0.2, which is less than one of 4 steps: give at least 0.25"):
        begin_in_the_middle(scheduler, 0.2)


def test_a_student_begins_on_its_grid():
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    scheduler.set_timesteps()
    first = begin_in_the_middle(scheduler, 0.5)
    assert scheduler.timesteps[first:].tolist() == [499.0, 249.0]
