"""Conversion and enhancement of recordings with a tiny pipeline."""

import math

import diffusers
import numpy as np
import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMInverseScheduler,
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DDPMScheduler,
    NaturalSpeech2DistilledScheduler,
    NaturalSpeech2EulerInverseScheduler,
    NaturalSpeech2EulerScheduler,
    NaturalSpeech2Pipeline,
)
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.pipelines.conversion import AUDIBLE, ode_schedulers
from ns2_diffusers.pipelines.inputs import METHODS, STRENGTH, check_method
from ns2_diffusers.pipelines.voice_matching import match_voice, presence

RATE = 16000


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.fixture
def convert(tiny_pipeline, clips, transcripts):
    voice = tiny_pipeline.encode_voice(clips[1])

    def convert(**options):
        options = {"text": transcripts[clips[0].name], "voice": voice, "num_inference_steps": 2} | options
        options = {"generator": torch.Generator().manual_seed(0)} | options
        return tiny_pipeline.convert(clips[0], **options)

    return convert


@pytest.mark.parametrize("method", METHODS)
def test_timing_is_that_of_the_recording(convert, clips, tiny_pipeline, transcripts, method):
    output = convert(method=method)
    waveform, latents, gain = tiny_pipeline.encode_speech(clips[0])
    assert output.audios[0].shape == waveform.shape and output.audios[0].dtype == np.float32
    assert output.sampling_rate == RATE and len(output.f0[0]) == latents.shape[1]
    assert np.array_equal(output.audios[0], convert(method=method).audios[0])
    if method == "matching":
        assert output.words == [[]] and not len(output.durations[0])
        return
    speech = tiny_pipeline.align(clips[0], transcripts[clips[0].name], num_inference_steps=None)
    assert output.durations[0].tolist() == speech.durations.tolist()
    assert [word.text for word in output.words[0]] == [word.text for word in speech.words]


def test_f0_moves_to_the_voice(convert, clips, tiny_pipeline):
    kept, moved = convert(move_f0=False).f0[0], convert().f0[0]
    _, latents, _ = tiny_pipeline.encode_speech(clips[0])
    np.testing.assert_allclose(kept, tiny_pipeline.codec.predict_f0(latents[None])[0].detach(), rtol=1e-5)
    ratio = moved / kept
    assert np.ptp(ratio) < 1e-5 and ratio[0] != 1
    voice, silence = tiny_pipeline.encode_voice(clips[1]), tiny_pipeline._silent_latents()[:, 0]
    medians = [
        np.median(np.log(tiny_pipeline._f0_of(each))[presence(each, silence).numpy() > AUDIBLE])
        for each in (voice.latents, latents)
    ]
    assert ratio[0] == pytest.approx(np.exp(medians[0] - medians[1]), rel=1e-4)


def test_a_codec_that_predicts_no_f0(convert, tiny_pipeline, clips, monkeypatch):
    """The result's F0 is measured with WORLD."""
    monkeypatch.setattr(tiny_pipeline.codec, "predict_f0", lambda latents: None)
    waveform, latents, gain = tiny_pipeline.encode_speech(clips[0])
    (decoded,) = tiny_pipeline.decode_latents([latents])
    expected = estimate_f0(decoded, RATE, 320).numpy()
    assert np.array_equal(convert(move_f0=False).f0[0], expected)


def test_matching_by_hand(convert, clips, tiny_pipeline):
    """Without a text, latents are matched completely to those of the voice."""
    output = convert(text=None, move_f0=False, limiter=False)
    waveform, latents, gain = tiny_pipeline.encode_speech(clips[0])
    voice, enough = tiny_pipeline.encode_voice(clips[1]), 100
    share = min(1.0, latents.shape[1] / enough)
    matched = match_voice(latents, voice.latents, tiny_pipeline._silent_latents()[:, 0], share)
    (expected,) = tiny_pipeline.decode_latents([matched])
    np.testing.assert_allclose(output.audios[0], expected[: len(waveform)] / gain, atol=1e-5)
    assert not np.allclose(
        convert(text=None, voice_matching=0.0, move_f0=False).audios[0], output.audios[0], atol=1e-3
    )


class Gaussian:
    """The exact denoiser for latents of mean 0 and variance 1, which the ODE does not change."""

    levels = NaturalSpeech2DDIMScheduler()

    def __init__(self, *args):
        pass

    def __call__(self, sample, timestep, guidance_scale):
        return self.levels.alpha_sigma(timestep)[0] * sample


def test_the_ode_leads_to_noise_and_back(tiny_pipeline, clips, transcripts, monkeypatch):
    monkeypatch.setattr("ns2_diffusers.pipelines.latent_diffusion.GuidedDenoiser", Gaussian)
    options = {"voice": tiny_pipeline.encode_voice(clips[1]), "method": "ode", "voice_matching": 0.0}
    seen, follow = [], tiny_pipeline._follow
    monkeypatch.setattr(tiny_pipeline, "_follow", lambda *args: seen.append((args[0], follow(*args))) or seen[-1][1])
    monkeypatch.setattr(tiny_pipeline, "align", lambda *_, **__: speech)
    speech = NaturalSpeech2Pipeline.align(tiny_pipeline, clips[0], transcripts[clips[0].name], num_inference_steps=1)
    errors = []
    for steps in (20, 80):
        seen.clear()
        tiny_pipeline.convert(clips[0], "Its text.", num_inference_steps=steps, **options)
        (data, noise), (start, again) = seen
        assert torch.equal(noise, start) and torch.equal(data[0], speech.latents)
        errors.append(
            [((each - data).square().mean() / data.square().mean()).sqrt().item() for each in (noise, again)]
        )
    assert max(errors[1]) < 0.1 and errors[1][0] < 0.4 * errors[0][0] and errors[1][1] < 0.4 * errors[0][1]


# The strength of the resynthesis


@pytest.fixture
def denoised(tiny_pipeline, monkeypatch):
    """The arguments of `denoise` for the converted speech and its result, of the last conversion."""
    seen, denoise = [], NaturalSpeech2Pipeline.denoise

    def watched(*args, **options):
        result = denoise(tiny_pipeline, *args, **options)
        seen[:] = [(args[0], args[1], options.get("first", 0), result)]
        return result

    monkeypatch.setattr(tiny_pipeline, "denoise", watched)
    return seen


def matched(pipe, clips, share):
    latents, silence = pipe.encode_speech(clips[0])[1], pipe._silent_latents()[:, 0]
    return match_voice(latents, pipe.encode_voice(clips[1]).latents, silence, share) if share else latents


def noise_of(seed, length):
    """The noise of a generator with this seed: that of a generator with the first number that it draws."""
    inner = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed)))
    return torch.randn(16, length, generator=torch.Generator().manual_seed(inner))


def test_full_strength_begins_with_noise_alone(convert, clips, tiny_pipeline, denoised):
    convert(strength=1.0, temperature=4.0)
    ((start, scheduler, first, _),) = denoised
    assert first == 0 and scheduler.timesteps.tolist() == [999, 499]
    torch.testing.assert_close(start[0], noise_of(0, start.shape[2]) / 2)


@pytest.mark.parametrize(("steps", "strength", "start"), [(8, 0.5, 499), (8, 0.7, 624), (100, 0.01, 9)])
def test_it_begins_with_the_matched_latents_and_noise(convert, clips, tiny_pipeline, denoised, steps, strength, start):
    convert(strength=strength, num_inference_steps=steps, temperature=4.0, voice_matching=0.6)
    ((latents, scheduler, first, _),) = denoised
    assert scheduler.timesteps[first] == start and len(scheduler.timesteps) - first == int(steps * strength)
    alpha, sigma = NaturalSpeech2DDIMScheduler().alpha_sigma(start)
    expected = alpha * matched(tiny_pipeline, clips, 0.6) + sigma * noise_of(0, latents.shape[2]) / 2
    torch.testing.assert_close(latents[0], expected)


@pytest.mark.parametrize("strength", [0.01, 0.5, 0.9])
def test_gaussian_latents_in_closed_form(convert, clips, tiny_pipeline, denoised, monkeypatch, strength):
    """The flow of latents with mean 0 and variance 1 does not change what it begins with."""
    monkeypatch.setattr("ns2_diffusers.pipelines.latent_diffusion.GuidedDenoiser", Gaussian)
    output = convert(strength=strength, num_inference_steps=200, voice_matching=0.6, limiter=False)
    alpha, sigma = NaturalSpeech2DDIMScheduler().alpha_sigma(1000 * strength - 1)
    recording = matched(tiny_pipeline, clips, 0.6)
    expected = alpha * recording + sigma * noise_of(0, recording.shape[1]) * 1.44**-0.5
    ((_, _, _, result),) = denoised
    assert (result[0] - expected).square().mean().sqrt() < 0.02
    # The result is matched again, and decoded.
    voice, silence = tiny_pipeline.encode_voice(clips[1]).latents, tiny_pipeline._silent_latents()[:, 0]
    waveform, _, gain = tiny_pipeline.encode_speech(clips[0])
    (decoded,) = tiny_pipeline.decode_latents([match_voice(result[0], voice, silence, 0.6)])
    np.testing.assert_allclose(output.audios[0], decoded[: len(waveform)] / gain, atol=1e-5)
    if strength == 0.01:
        (decoded,) = tiny_pipeline.decode_latents([match_voice(recording, voice, silence, 0.6)])
        error = output.audios[0] - (decoded[: len(waveform)] / gain).numpy()
        assert np.sqrt(np.square(error).mean()) < 0.1 * decoded.std() / gain


@pytest.mark.parametrize(
    "scheduler",
    [NaturalSpeech2EulerScheduler, NaturalSpeech2DDPMScheduler, diffusers.DPMSolverMultistepScheduler]
    + [diffusers.EulerDiscreteScheduler, diffusers.HeunDiscreteScheduler],
)
def test_seeds_and_samplers(convert, tiny_pipeline, scheduler):
    tiny_pipeline.scheduler = scheduler.from_config(tiny_pipeline.scheduler.config)
    one = convert(strength=0.5, num_inference_steps=8).audios[0]
    assert np.isfinite(one).all() and np.array_equal(one, convert(strength=0.5, num_inference_steps=8).audios[0])
    other = convert(strength=0.5, num_inference_steps=8, generator=torch.Generator().manual_seed(1)).audios[0]
    assert not np.allclose(one, other, atol=1e-3)


def test_a_student_begins_on_its_grid(convert, tiny_pipeline, denoised):
    tiny_pipeline.scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    convert(strength=0.5, num_inference_steps=None)
    ((_, scheduler, first, _),) = denoised
    assert scheduler.timesteps[first:].tolist() == [499.0, 249.0]


def test_as_many_steps_as_speech_takes(convert, tiny_pipeline, denoised):
    tiny_pipeline.register_to_config(default_num_inference_steps=6)
    for strength, steps in ((None, math.ceil(6 / STRENGTH)), (1.0, 6), (0.4, 15), (0.002, 500)):
        convert(strength=strength, num_inference_steps=None)
        ((_, scheduler, first, _),) = denoised
        assert len(scheduler.timesteps) == steps and first == steps - int(steps * (strength or STRENGTH) + 1e-9)


def test_samplers_that_cannot_begin_in_the_middle(convert, tiny_pipeline):
    tiny_pipeline.scheduler = diffusers.PNDMScheduler.from_config(tiny_pipeline.scheduler.config)
    with pytest.raises(ValueError, match="strength is 0.5, and PNDMScheduler cannot begin in the middle"):
        convert(strength=0.5, num_inference_steps=8)


def test_which_samplers_follow_the_ode():
    ddim = NaturalSpeech2DDIMScheduler(beta_schedule="cosine")
    back, forth = ode_schedulers(ddim)
    assert type(back) is NaturalSpeech2DDIMInverseScheduler and type(forth) is NaturalSpeech2DDIMScheduler
    assert back.config.beta_schedule == forth.config.beta_schedule == "cosine"
    back, forth = ode_schedulers(NaturalSpeech2EulerScheduler(solver="midpoint"))
    assert type(back) is NaturalSpeech2EulerInverseScheduler and forth.config.solver == "midpoint"
    with pytest.raises(ValueError, match="a distilled student"):
        ode_schedulers(NaturalSpeech2DistilledScheduler(student_steps=[4]))


def test_methods():
    assert check_method(None, None) == "matching" and check_method(None, "a") == "resynthesis"
    with pytest.raises(ValueError, match="wanted one of resynthesis, ode, matching"):
        check_method("magic", "a")
    with pytest.raises(ValueError, match="'ode' needs the text"):
        check_method("ode", None)


def test_enhancement_is_conversion_to_a_clean_voice_of_the_speaker(tiny_pipeline, clips, convert):
    voice = tiny_pipeline.encode_voice(clips[1])
    expected = convert(text=None, move_f0=False).audios[0]
    options = {"num_inference_steps": 2}
    assert np.array_equal(tiny_pipeline.enhance(clips[0], voice=voice, **options).audios[0], expected)
    own = tiny_pipeline.encode_voice(clips[0])
    expected = convert(text=None, move_f0=False, voice=own).audios[0]
    np.testing.assert_allclose(tiny_pipeline.enhance(clips[0], **options).audios[0], expected, atol=1e-4)


@pytest.mark.parametrize("student", [False, True])
def test_speech_with_a_text_is_enhanced_by_resynthesis(tiny_pipeline, clips, transcripts, convert, student):
    if student:
        tiny_pipeline.scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    text, voice = transcripts[clips[0].name], tiny_pipeline.encode_voice(clips[1])
    for given, wanted in (({}, {"strength": STRENGTH}), ({"strength": 1.0}, {"strength": 1.0})):
        options = {"num_inference_steps": 4, "generator": torch.Generator().manual_seed(0)}
        enhanced = tiny_pipeline.enhance(clips[0], text, voice=voice, **options, **given)
        expected = convert(method="resynthesis", move_f0=False, num_inference_steps=4, source_voice=voice, **wanted)
        assert np.array_equal(enhanced.audios[0], expected.audios[0])
    if not student:
        enhanced = tiny_pipeline.enhance(clips[0], text, voice=voice, method="ode", num_inference_steps=4)
        expected = convert(method="ode", move_f0=False, num_inference_steps=4, source_voice=voice)
        assert np.array_equal(enhanced.audios[0], expected.audios[0])


def test_the_voice_of_the_source_aligns_it(tiny_pipeline, clips, transcripts, convert):
    text, voice = transcripts[clips[0].name], tiny_pipeline.encode_voice(clips[1])
    own, other = (tiny_pipeline.align(clips[0], text, voice=given).durations for given in (None, voice))
    assert not np.array_equal(own, other)
    for source, durations in ((None, own), (voice, other), (clips[1], other)):
        assert np.array_equal(convert(source_voice=source).durations[0], durations)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voice_matching": 2.0}, "voice_matching is 2.0"),
        ({"source_voice": "nobody"}, "neither a file nor one of the voices"),
        ({"voice": "nobody"}, "neither a file nor one of the voices"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"strength": 0.0}, "strength is 0.0; wanted a number above 0, to 1"),
        ({"strength": 1.01}, "strength is 1.01; wanted a number above 0, to 1"),
        ({"strength": float("nan")}, "strength is nan"),
        ({"strength": 0.3}, "strength is 0.3, which is less than one of 2 steps: give at least 0.5"),
        ({"strength": 0.5, "method": "ode"}, "strength is for method 'resynthesis', and the method is 'ode'"),
        ({"strength": 0.5, "text": None}, "strength is for method 'resynthesis', and the method is 'matching'"),
    ],
)
def test_bad_options(convert, options, message):
    with pytest.raises(ValueError, match=message):
        convert(**options)
