"""A distilled student in the pipeline: its numbers of steps, guidance in one call, refusal of other samplers."""

import diffusers
import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DistilledScheduler, NaturalSpeech2Pipeline
from ns2_diffusers.training.components import with_components
from ns2_diffusers.training.distillation import make_student

TEXT = "Hello there."


@pytest.fixture
def student(tiny_pipeline):
    """A pipeline whose denoiser is marked as distilled for 4 and 2 steps and scales of 1 to 3."""
    denoiser = make_student(tiny_pipeline.denoiser, (1.0, 3.0))
    torch.nn.init.normal_(denoiser.time_embedding.guidance_mlp.linear_2.weight)
    scheduler = NaturalSpeech2DistilledScheduler.from_config(tiny_pipeline.scheduler.config, student_steps=[4, 2])
    tiny_pipeline.register_modules(denoiser=denoiser, scheduler=scheduler)
    return tiny_pipeline


def speak(pipe, clips, **options):
    generator = torch.Generator().manual_seed(0)
    return pipe(TEXT, clips[0], generator=generator, output_type="latent", **options).audios[0]


def calls_of(pipe):
    calls = []
    pipe.denoiser.register_forward_pre_hook(lambda module, args: calls.append((len(args[0]), float(args[1]))))
    return calls


def test_steps_and_guidance_of_a_student(student, clips):
    calls = calls_of(student)
    latents = {scale: speak(student, clips, guidance_scale=scale) for scale in (1.0, 3.0)}
    assert calls == [(1, 999.0), (1, 749.0), (1, 499.0), (1, 249.0)] * 2
    assert (latents[1.0] - latents[3.0]).abs().max() > 1e-3
    calls.clear()
    speak(student, clips, num_inference_steps=2)
    assert calls == [(1, 999.0), (1, 499.0)]
    calls.clear()
    pieces = list(student.stream(TEXT, clips[0]))
    assert len(calls) == 4 and np.concatenate(pieces).any()


def test_saved_and_loaded(student, clips, tmp_path):
    student.save_pretrained(tmp_path)
    loaded = NaturalSpeech2Pipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.scheduler.config.student_steps == [4, 2] and "student_steps" not in loaded.denoiser.config
    torch.testing.assert_close(speak(loaded, clips, guidance_scale=2.0), speak(student, clips, guidance_scale=2.0))


def test_other_steps_are_refused(student, clips):
    for steps in (1, 3, 32):
        with pytest.raises(ValueError, match=rf"is {steps} and this denoiser was distilled for \[4, 2\]"):
            speak(student, clips, num_inference_steps=steps)


@pytest.mark.parametrize("cls", [NaturalSpeech2DDIMScheduler, diffusers.UniPCMultistepScheduler])
def test_other_samplers_are_refused_with_the_way_back(student, clips, cls, tmp_path):
    expected = speak(student, clips)
    student.scheduler = cls.from_config(student.scheduler.config)
    student.scheduler.save_pretrained(tmp_path)
    for scheduler in (student.scheduler, cls.from_pretrained(tmp_path)):
        student.scheduler = scheduler
        with pytest.raises(ValueError, match=rf"distilled for \[4, 2\].*{cls.__name__}.*from_config"):
            speak(student, clips, num_inference_steps=4)
    student.scheduler = NaturalSpeech2DistilledScheduler.from_config(student.scheduler.config)
    assert torch.equal(speak(student, clips), expected)


def test_guidance_out_of_range_is_refused(student, clips):
    for scale in (0.5, 3.5):
        with pytest.raises(ValueError, match=rf"is {scale}, and this denoiser was distilled.*1.0 to 3.0"):
            speak(student, clips, guidance_scale=scale)


def test_an_undistilled_pipeline_takes_32_steps_or_its_own_number(tiny_pipeline, clips, tmp_path):
    calls = calls_of(tiny_pipeline)
    speak(tiny_pipeline, clips)
    assert len(calls) == 32
    tiny_pipeline.register_to_config(default_num_inference_steps=3)
    tiny_pipeline.save_pretrained(tmp_path / "quick")
    loaded = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "quick")
    for quick in (loaded, with_components(loaded, scheduler=loaded.scheduler)):
        calls = calls_of(quick)
        speak(quick, clips)
        assert len(calls) == 3


def test_a_pipeline_may_have_its_own_guidance_scale(tiny_pipeline, clips, tmp_path):
    plain, guided = (speak(tiny_pipeline, clips, num_inference_steps=2, guidance_scale=scale) for scale in (1.0, 2.0))
    assert not torch.equal(plain, guided)
    tiny_pipeline.register_to_config(default_guidance_scale=2.0)
    tiny_pipeline.save_pretrained(tmp_path / "guided")
    loaded = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "guided")
    for own in (loaded, with_components(loaded, scheduler=loaded.scheduler)):
        # The alignment of the weights in memory differs now, and some kernels round accordingly.
        torch.testing.assert_close(speak(own, clips, num_inference_steps=2), guided, atol=1e-5, rtol=1e-5)
        found = speak(own, clips, num_inference_steps=2, guidance_scale=1.0)
        torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
