"""Latents moved towards a prompt: statistics by hand, and their use in the pipeline."""

import numpy as np
import pytest
import torch

from ns2_diffusers import Voice
from ns2_diffusers.pipelines import voice_matching
from ns2_diffusers.pipelines.voice_matching import colour, match_voice, nearest, presence

SILENCE = torch.full((4,), -9.0)  # far from everything, so that all frames have nearly the same weight
TEXT = "The quick brown fox jumps over the lazy dog, and away it runs."


def frames(count, seed):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(4, 4, generator=generator)
    return mixing @ torch.randn(4, count, generator=generator) + torch.randn(4, 1, generator=generator)


def weighted(latents):
    """Mean and covariance in numpy, weighted by the squared distances from silence."""
    weight = ((latents - SILENCE[:, None]) ** 2).sum(0).numpy()
    return np.average(latents, axis=1, weights=weight), np.cov(latents, aweights=weight, ddof=0)


def test_of_one_channel_mean_and_spread_become_the_prompts():
    """By hand, with silence at infinity: (x - 2) / 1 · 3 + 10."""
    latents, prompt = torch.tensor([[1.0, 3.0]]), torch.tensor([[7.0, 13.0]])
    result = colour(latents, prompt, torch.tensor([-1e6]))
    torch.testing.assert_close(result, torch.tensor([[7.0, 13.0]]), atol=1e-3, rtol=0)


def test_covariance_becomes_the_prompts(monkeypatch):
    monkeypatch.setattr(voice_matching, "SHRINKAGE", 0.0)
    latents, prompt = frames(300, 0), frames(200, 1)
    weight = ((latents - SILENCE[:, None]) ** 2).sum(0).numpy()
    result = colour(latents, prompt, SILENCE)
    mean, covariance = weighted(prompt)
    # The weights are those before matching.
    np.testing.assert_allclose(np.average(result, axis=1, weights=weight), mean, atol=1e-4)
    np.testing.assert_allclose(np.cov(result, aweights=weight, ddof=0), covariance, rtol=1e-3, atol=1e-3)


def test_silence_counts_for_nothing():
    prompt, silence = frames(100, 1), torch.zeros(4)
    padded = torch.cat([prompt, torch.zeros(4, 500)], dim=1)
    torch.testing.assert_close(colour(frames(50, 0), padded, silence), colour(frames(50, 0), prompt, silence))


def test_nearest_are_those_of_the_same_direction(monkeypatch):
    monkeypatch.setattr(voice_matching, "NEAREST", 2)
    prompt = torch.tensor([[1.0, 2.0, 0.0, -5.0], [0.0, 0.1, 3.0, 0.0]])
    result = nearest(torch.tensor([[9.0, 0.0], [0.0, 1.0]]), prompt)
    torch.testing.assert_close(result, torch.tensor([[1.5, 1.0], [0.05, 1.55]]))
    assert nearest(torch.ones(2, 3), prompt[:, :1]).shape == (2, 3)


def test_like_the_prompt_already_it_stays_near_itself():
    prompt = frames(80, 3)
    torch.testing.assert_close(colour(prompt, prompt, SILENCE), prompt, atol=1e-3, rtol=1e-3)


def test_a_pause_has_no_voice_and_stays():
    """By hand: distances 0, 3, 4, 5 have a root mean square of √12.5."""
    silence = torch.tensor([1.0, 0.0])
    latents = torch.tensor([[1.0, 1.0, 5.0, 4.0], [0.0, 3.0, 0.0, 4.0]])
    wanted = torch.tensor([0.0, 2 * 3 / 12.5**0.5 - 1, 1.0, 1.0])
    torch.testing.assert_close(presence(latents, silence), wanted)
    moved = (match_voice(latents, frames(90, 1)[:2], silence) - latents).norm(dim=0)
    assert moved[0] == 0 and (moved[1:] > 0.1).all()


def test_share_is_of_the_way():
    latents, prompt = frames(60, 0), frames(90, 1)
    whole = match_voice(latents, prompt, SILENCE)
    assert torch.equal(match_voice(latents, prompt, SILENCE, 0.0), latents)
    torch.testing.assert_close(match_voice(latents, prompt, SILENCE, 0.25), 0.75 * latents + 0.25 * whole)


def test_silent_or_short_it_is_finite():
    for latents in (SILENCE[:, None].expand(4, 9), frames(1, 0)):
        assert match_voice(latents, frames(40, 1), SILENCE).isfinite().all()
        assert match_voice(frames(40, 1), latents, SILENCE).isfinite().all()


# ---------------------------------------------------------------------------------------------------- the pipeline


def speak(pipe, clips, text=TEXT, **options):
    options = {"num_inference_steps": 2, "output_type": "latent", "prompt_audio": str(clips[0])} | options
    return pipe(text, generator=torch.Generator().manual_seed(0), **options).audios


def silence(pipe):
    return pipe.codec.encode(torch.zeros(1, 1, pipe.sampling_rate))[0].mean(1)


def test_it_is_the_prompts_statistics_that_are_matched(tiny_pipeline, clips):
    voice = tiny_pipeline.encode_voice(str(clips[0]))
    off, half, on = (speak(tiny_pipeline, clips, voice_matching=share)[0] for share in (0, 0.5, 1))
    torch.testing.assert_close(on, match_voice(off, voice.latents, silence(tiny_pipeline)))
    assert (on - off).norm() > 0.1 * off.norm()
    torch.testing.assert_close(half, (off + on) / 2)


def test_none_is_what_the_config_says(tiny_pipeline, clips, tmp_path):
    off, on = (speak(tiny_pipeline, clips, voice_matching=share)[0] for share in (0.0, 0.6))
    assert torch.equal(speak(tiny_pipeline, clips)[0], off)
    tiny_pipeline.register_to_config(default_voice_matching=0.6)
    tiny_pipeline.save_pretrained(tmp_path)
    loaded = type(tiny_pipeline).from_pretrained(tmp_path)
    # The alignment of the weights in memory differs now, and some kernels round accordingly.
    torch.testing.assert_close(speak(loaded, clips)[0], on, atol=1e-5, rtol=1e-5)


def test_a_batch_is_as_its_items(tiny_pipeline, clips):
    texts, prompts = [TEXT, "Yes, it is."], [str(clips[0]), str(clips[1])]
    together = speak(tiny_pipeline, clips, texts, prompt_audio=prompts, voice_matching=1.0)
    generator = torch.Generator().manual_seed(0)
    options = {"num_inference_steps": 2, "output_type": "latent", "voice_matching": 1.0}
    assert len(together) == 2
    alone = tiny_pipeline(texts, prompts, generator=generator, **options).audios
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_a_word_is_moved_less(tiny_pipeline, clips):
    symbols = len(tiny_pipeline.tokenizer("hi")["input_ids"])

    def moved(frames_each):
        options = {"durations": [frames_each] * symbols}
        off, half = (speak(tiny_pipeline, clips, "hi", voice_matching=share, **options)[0] for share in (0.0, 0.5))
        whole = match_voice(off, tiny_pipeline.encode_voice(str(clips[0])).latents, silence(tiny_pipeline))
        return ((half - off).norm() / (whole - off).norm()).item()

    assert moved(100) == pytest.approx(0.5, abs=1e-3)  # more than 2 s
    assert moved(5) == pytest.approx(0.5 * 5 * symbols / 100, abs=1e-3)


@pytest.mark.parametrize("melody", [{"pitch_shift": 2.0}, {"pitch": True}])
def test_melodies_are_left_alone(tiny_pipeline, clips, melody):
    symbols = len(tiny_pipeline.tokenizer(TEXT)["input_ids"])
    melody = {name: [220.0] * symbols if value is True else value for name, value in melody.items()}
    off, on = (speak(tiny_pipeline, clips, voice_matching=share, **melody)[0] for share in (0.0, 1.0))
    assert torch.equal(off, on)


def test_a_stream_is_matched_too(tiny_pipeline, clips):
    text = TEXT + " And then it sleeps, for as long as it likes to sleep there."
    options = {"prompt_audio": str(clips[0]), "num_inference_steps": 2, "voice_matching": 1.0}
    whole = tiny_pipeline(text, generator=torch.Generator().manual_seed(0), **options).audios[0]
    pieces = list(tiny_pipeline.stream(text, generator=torch.Generator().manual_seed(0), **options))
    assert len(pieces) == 2
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-4)


def test_encoders_hear_a_part_of_what_is_matched(make_tiny_pipeline, clips):
    pipe = make_tiny_pipeline(max_prompt_seconds=1.0)
    pipe.set_progress_bar_config(disable=True)
    voice = pipe.encode_voice(str(clips[0]))
    assert voice.latents.shape[1] > 60
    part = Voice(voice.latents[:, :50], voice.codec_fingerprint)
    for share, same in ((0.0, True), (1.0, False)):
        one, other = (
            speak(pipe, clips, prompt_audio=None, voice=each, voice_matching=share)[0] for each in (voice, part)
        )
        assert torch.equal(one, other) is same


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_other_shares_are_refused(tiny_pipeline, clips, share):
    with pytest.raises(ValueError, match="voice_matching is .*wanted 0"):
        speak(tiny_pipeline, clips, voice_matching=share)
