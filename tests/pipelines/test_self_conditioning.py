"""A denoiser that gets its own last estimate of the clean latents (arXiv 2208.04202)."""

import diffusers
import pytest
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2DDIMScheduler

from ..conftest import fill_zeros

STEPS = 4


@pytest.fixture
def pipe(make_tiny_pipeline):
    plain = make_tiny_pipeline()
    denoiser = type(plain.denoiser).from_config(plain.denoiser.config, self_conditioning=True).eval()
    fill_zeros(denoiser)
    plain.register_modules(denoiser=denoiser)
    plain.set_progress_bar_config(disable=True)
    return plain


def recorded(pipe, clips, **options):
    """Each call of the denoiser: its noisy latents, timestep, estimate and output."""
    calls, forward = [], pipe.denoiser.forward

    def record(sample, timestep, **inputs):
        output = forward(sample, timestep, **inputs)
        calls.append((sample, timestep, inputs["self_condition"], output.sample))
        return output

    pipe.denoiser.forward = record
    output = pipe(
        ["Hello.", "Please hold the line."],
        prompt_audio=clips[0],
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
        **options,
    )
    return calls, output.audios


@pytest.mark.parametrize(
    "name", ["NaturalSpeech2DDIMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"]
)
@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_each_step_sees_the_estimate_of_the_one_before(pipe, clips, name, prediction_type, guidance_scale):
    config = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type).config
    scheduler = getattr(diffusers if hasattr(diffusers, name) else ns2_diffusers, name)
    pipe.scheduler = scheduler.from_config(config)
    calls, _ = recorded(pipe, clips, guidance_scale=guidance_scale)
    assert len(calls) == STEPS and calls[0][2] is None
    for (sample, timestep, _, answer), (_, _, estimate, _) in zip(calls, calls[1:], strict=False):
        # With and without guidance: each half of the batch gets its own estimate, as in training.
        alpha = NaturalSpeech2DDIMScheduler().alphas_cumprod[int(timestep)] ** 0.5
        wanted = answer if prediction_type == "sample" else alpha * sample - (1 - alpha**2) ** 0.5 * answer
        torch.testing.assert_close(estimate, wanted, atol=1e-4, rtol=1e-4)


def test_an_item_sounds_the_same_in_any_batch(pipe, clips):
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    options = {"prompt_audio": clips[0], "num_inference_steps": STEPS, "output_type": "latent"}
    both = pipe(["Hello.", "Please hold the line."], generator=generators, **options).audios
    alone = pipe("Hello.", generator=torch.Generator().manual_seed(1), **options).audios
    torch.testing.assert_close(both[0], alone[0], atol=1e-4, rtol=1e-4)


def test_saved_is_loaded(pipe, clips, tmp_path):
    _, before = recorded(pipe, clips)
    pipe.save_pretrained(tmp_path)
    loaded = ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    _, after = recorded(loaded, clips)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
