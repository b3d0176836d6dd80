"""Samplers of diffusers in the pipeline: those that run, and those whose speech depends on the rest of the batch."""

import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from diffusers.utils import is_torchsde_available

from ns2_diffusers import NaturalSpeech2DDIMScheduler

NAMES = [name for name in KarrasDiffusionSchedulers.__members__ if name != "EDMEulerScheduler"]
# These samplers draw noise themselves, for the batch as a whole; docs/schedulers.md names them.
DEPEND_ON_THE_BATCH = {
    "DDPMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
}
NO_TORCHSDE = pytest.mark.skipif(not is_torchsde_available(), reason="torchsde is not installed")


@pytest.fixture
def voice(tiny_pipeline, clips):
    return tiny_pipeline.encode_voice(clips[0])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=NO_TORCHSDE if name == "DPMSolverSDEScheduler" else ()) for name in NAMES]
)
def test_every_karras_sampler_runs_and_the_named_ones_depend_on_the_batch(tiny_pipeline, voice, name):
    config = NaturalSpeech2DDIMScheduler(prediction_type="sample").config
    scheduler = tiny_pipeline.scheduler = getattr(diffusers, name).from_config(config)

    def speak(texts, **options):
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(texts))]
        options = {"num_inference_steps": 6, "output_type": "latent"} | options
        return tiny_pipeline(texts, voice=voice, generator=generators, **options).audios[0]

    alone, in_a_batch = speak(["Yes."]), speak(["Yes.", "Please hold the line."])
    assert alone.isfinite().all() and alone.std() > 0
    alike = torch.allclose(alone, in_a_batch, rtol=1e-3, atol=1e-3)
    assert alike == (name not in DEPEND_ON_THE_BATCH)
    assert scheduler.config.prediction_type == "sample" and scheduler is tiny_pipeline.scheduler


def test_random_dpm_solver_does_not_depend_on_the_batch(tiny_pipeline, voice):
    """This sampler takes the noise that the pipeline draws for each item."""
    tiny_pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(
        NaturalSpeech2DDIMScheduler().config, algorithm_type="sde-dpmsolver++"
    )
    results = []
    for texts in (["Yes."], ["Yes.", "Please hold the line."]):
        generators = [torch.Generator().manual_seed(seed) for seed in range(len(texts))]
        output = tiny_pipeline(texts, voice=voice, generator=generators, num_inference_steps=6, output_type="latent")
        results.append(output.audios[0])
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def test_a_sampler_for_another_kind_of_model_is_refused(tiny_pipeline, voice):
    tiny_pipeline.scheduler = diffusers.EDMEulerScheduler()
    with pytest.raises(ValueError, match="EDMEulerScheduler has no variance-preserving noise schedule.*use_karras"):
        tiny_pipeline("Yes.", voice=voice, num_inference_steps=6)


def test_a_call_leaves_the_scheduler_as_it_is(tiny_pipeline, voice):
    scheduler = tiny_pipeline.scheduler
    scheduler.set_timesteps(5)
    timesteps, sigma = scheduler.timesteps, scheduler.init_noise_sigma
    tiny_pipeline("Yes.", voice=voice, num_inference_steps=3, temperature=4.0)
    assert tiny_pipeline.scheduler is scheduler and scheduler.timesteps is timesteps
    assert scheduler.init_noise_sigma == sigma
