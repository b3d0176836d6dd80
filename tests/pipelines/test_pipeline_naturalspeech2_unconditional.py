"""Generation without text and prompt."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

from ns2_diffusers import NaturalSpeech2UnconditionalPipeline


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
def test_items_are_the_same_in_any_batch_and_after_saving(make_tiny_pipeline, tmp_path, denoiser):
    pipe = make_tiny_pipeline(denoiser, unconditional=True)
    ask = {"audio_length_in_s": 0.8, "num_inference_steps": 3}
    output = pipe(**ask, batch_size=2, generator=[seeded(0), seeded(1)])
    assert [audio.shape for audio in output.audios] == [(12800,)] * 2
    assert output.durations is None and not np.array_equal(*output.audios)
    alone = pipe(**ask, generator=seeded(1))
    np.testing.assert_allclose(alone.audios[0], output.audios[1], atol=1e-5)
    pipe.save_pretrained(tmp_path)
    loaded = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(loaded) is NaturalSpeech2UnconditionalPipeline
    # The alignment of the weights in memory differs now, and some kernels round accordingly.
    np.testing.assert_allclose(loaded(**ask, generator=seeded(1)).audios[0], alone.audios[0], atol=1e-6)


def test_the_length_is_exact(make_tiny_pipeline):
    """The length is not a whole number of frames of 20 ms."""
    pipe = make_tiny_pipeline(unconditional=True)
    assert pipe(audio_length_in_s=0.513, num_inference_steps=1).audios[0].shape == (8208,)
    latents = pipe(audio_length_in_s=0.513, num_inference_steps=1, output_type="latent").audios[0]
    assert latents.shape == (16, 26)


def test_latents_are_the_scheduler_loop_written_out(make_tiny_pipeline):
    pipe = make_tiny_pipeline(unconditional=True)
    noise = torch.randn(1, 16, 30, generator=seeded())
    found = pipe(latents=noise, audio_length_in_s=0.6, num_inference_steps=4, output_type="latent").audios[0]
    z = noise / 1.2
    pipe.scheduler.set_timesteps(4)
    with torch.no_grad():
        for t in pipe.scheduler.timesteps:
            z = pipe.scheduler.step(pipe.denoiser(z, t).sample, t, z).prev_sample
    torch.testing.assert_close(found, z[0], atol=1e-5, rtol=1e-5)


def test_a_pipeline_that_reads_text_becomes_one(tiny_pipeline):
    pipe = NaturalSpeech2UnconditionalPipeline.from_pipe(tiny_pipeline)
    assert pipe.denoiser is tiny_pipeline.denoiser and pipe.codec is tiny_pipeline.codec
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    assert pipe(audio_length_in_s=0.5, num_inference_steps=2).audios[0].shape == (8000,)
