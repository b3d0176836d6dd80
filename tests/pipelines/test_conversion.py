"""Conversion and enhancement of recordings with a tiny pipeline."""

import numpy as np
import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMInverseScheduler,
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DistilledScheduler,
    NaturalSpeech2EulerInverseScheduler,
    NaturalSpeech2EulerScheduler,
    NaturalSpeech2Pipeline,
)
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.pipelines.conversion import AUDIBLE, METHODS, check_method, ode_schedulers
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
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline.convert(clips[0], generator=generator, **options)

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


def test_how_speech_with_a_text_is_enhanced(tiny_pipeline, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "convert", lambda *args, **options: options["method"])
    assert tiny_pipeline.enhance("a.wav", "Its text.", voice="b.wav") == "ode"
    assert tiny_pipeline.enhance("a.wav", "Its text.", voice="b.wav", method="resynthesis") == "resynthesis"
    tiny_pipeline.scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    assert tiny_pipeline.enhance("a.wav", "Its text.", voice="b.wav") == "resynthesis"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voice_matching": 2.0}, "voice_matching is 2.0"),
        ({"voice": "nobody"}, "neither a file nor one of the voices"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
    ],
)
def test_bad_options(convert, options, message):
    with pytest.raises(ValueError, match=message):
        convert(**options)
