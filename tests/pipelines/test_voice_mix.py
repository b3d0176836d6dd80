"""Several recordings of one voice, and mixes of voices."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ns2_diffusers import Voice
from ns2_diffusers.pipelines.voice import FORMAT, MOST_PARTS, VoiceMix, read_mix
from ns2_diffusers.pipelines.voice_matching import match_voice, match_voices

FINGERPRINT = "0123456789abcdef"


def made(frames, seed=0, lengths=()):
    generator = torch.Generator().manual_seed(seed)
    return Voice(torch.randn(4, frames, generator=generator), FINGERPRINT, lengths)


def weights_of(mix):
    return {
        voice.latents.shape[1]: pytest.approx(weight) for weight, voice in zip(mix.weights, parts(mix), strict=True)
    }


def parts(mix):
    return [voice for _, voice in mix.parts]


def test_arithmetic():
    a, b, c = made(7), made(9, 1), made(11, 2)
    assert weights_of(0.7 * a + 0.3 * b) == {7: 0.7, 9: 0.3}
    assert weights_of(a + b + c) == {7: 1 / 3, 9: 1 / 3, 11: 1 / 3}
    assert weights_of(2 * (0.25 * a + b * 0.75) + c) == {7: 0.5 / 3, 9: 0.5, 11: 1 / 3}


def test_a_mix_of_a_voice_with_itself_is_the_voice(tmp_path):
    a, again = made(7), made(7)
    mix = 0.7 * a + 0.3 * again
    assert parts(mix) == [a] and mix.weights == [1.0] and mix.digest == a.digest
    assert np.array_equal(mix.kept(100), np.arange(7))
    mix.save(tmp_path / "v.safetensors")
    assert isinstance(Voice.load(tmp_path / "v.safetensors"), Voice)


def test_frames_are_votes():
    """The number of frames that a voice keeps follows its weight; if weights are as the lengths, it keeps all."""
    a, b = made(60), made(40, 1)
    kept = (0.75 * a + 0.25 * b).kept(50)  # 50 and 40 frames are used
    assert len(kept) == 50 + 17 and (kept < 50).sum() == 50 and kept.max() < 90
    kept = (0.2 * a + 0.8 * b).kept(50)
    assert ((kept < 50).sum(), (kept >= 50).sum()) == (10, 40)
    assert np.array_equal(kept[:10], np.arange(0, 50, 5))
    assert np.array_equal(made(30, lengths=(10, 20)).kept(15), np.arange(25))


def test_recordings():
    voice = made(30, lengths=(10, 20))
    assert [each.shape[1] for each in voice.recordings] == [10, 20]
    assert torch.equal(torch.cat(voice.recordings, 1), voice.latents)
    assert [each.shape[1] for each in (voice + made(5, 1)).heard(15)] == [10, 15, 5]


@pytest.mark.parametrize("framework", ["pt", "np"])
def test_saved_and_loaded(tmp_path, framework):
    mix = 0.7 * made(30, lengths=(10, 20)) + 0.3 * made(9, 1)
    mix.save(tmp_path / "mix.safetensors")
    loaded = Voice.load(tmp_path / "mix.safetensors", framework)
    assert isinstance(loaded, VoiceMix) and loaded.digest == mix.digest and loaded.codec_fingerprint == FINGERPRINT
    assert [voice.lengths for voice in parts(loaded)] == [(10, 20), (9,)]


@pytest.mark.parametrize(
    ("metadata", "names", "message"),
    [
        ({"weights": "[1, 2]"}, ["latents.0", "latents.2"], "but no voice"),
        ({"weights": "[1, 2, 3]"}, ["latents.0", "latents.1"], "weights are"),
        ({"weights": "[1, NaN]"}, ["latents.0", "latents.1"], "wanted a number above 0"),
        ({"weights": "[1, 0]"}, ["latents.0", "latents.1"], "wanted a number above 0"),
        ({"weights": "[1, true]"}, ["latents.0", "latents.1"], r"wanted \(number, Voice\)"),
        ({"weights": "["}, ["latents.0", "latents.1"], "not JSON"),
        ({"lengths": "[[3, 3]]"}, ["latents"], "sum to its 7 frames"),
        ({"lengths": "[[7.0]]"}, ["latents"], "whole latent frames"),
        ({"lengths": "[[8, -1]]"}, ["latents"], "above 0"),
        ({"lengths": "[7]"}, ["latents"], "lengths are"),
        ({}, [f"latents.{index}" for index in range(MOST_PARTS + 1)], "but no voice"),
    ],
)
def test_files_that_hold_no_mix(tmp_path, metadata, names, message):
    tensors = {name: torch.full((4, 7), float(index)) for index, name in enumerate(names)}
    metadata = {"format": FORMAT, "codec_fingerprint": FINGERPRINT} | metadata
    save_file(tensors, tmp_path / "v.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=message):
        Voice.load(tmp_path / "v.safetensors")


def test_what_is_no_mix():
    a = made(7)
    with pytest.raises(ValueError, match="wanted a number above 0"):
        -0.5 * a
    with pytest.raises(ValueError, match="different codecs"):
        a + Voice(torch.ones(4, 7), "another")
    with pytest.raises(TypeError, match="unsupported operand"):
        a + 1
    with pytest.raises(TypeError):
        True * a
    with pytest.raises(ValueError, match="wanted 1 to 64"):
        VoiceMix(tuple((1.0, made(7, seed)) for seed in range(MOST_PARTS + 1)))


def test_written_mixes():
    assert read_mix("0.7*emma +.3 * my voice.wav") == [(0.7, "emma"), (0.3, "my voice.wav")]
    for text in ("emma * 0.5", "0.5 * ", "1e3 * emma", "0.5 * emma + george"):
        with pytest.raises(ValueError, match="cannot be read"):
            read_mix(text)


def test_matching_to_a_mix_is_the_mean_of_matchings():
    a, b = made(60), made(40, 1)
    latents, silence = made(50, 3).latents, torch.zeros(4)
    found = match_voices([latents], [0.75 * a + 0.25 * b], silence, [0.8], 10)[0]
    expected = 0.75 * match_voice(latents, a.latents, silence, 0.8) + 0.25 * match_voice(
        latents, b.latents, silence, 0.8
    )
    torch.testing.assert_close(found, expected)


@pytest.fixture
def speak(tiny_pipeline):
    def speak(voice):
        generator = torch.Generator().manual_seed(0)
        options = {"num_inference_steps": 2, "generator": generator, "voice_matching": 0.7}
        return tiny_pipeline("Please hold the line.", voice=voice, **options).audios[0]

    return speak


def test_speech_of_several_recordings(tiny_pipeline, clips, speak):
    voice = tiny_pipeline.encode_voice([clips[0], str(clips[1]), clips[2]])
    alone = [tiny_pipeline.encode_voice(clip) for clip in clips[:3]]
    assert voice.lengths == tuple(each.latents.shape[1] for each in alone)
    assert torch.equal(voice.latents, torch.cat([each.latents for each in alone], 1))
    states, mask = tiny_pipeline.encode_prompt([voice, alone[0]])
    own = [tiny_pipeline.encode_prompt([each])[0][0] for each in alone]
    torch.testing.assert_close(states[0], torch.cat(own), rtol=1e-4, atol=1e-4)
    assert mask.sum(1).tolist() == [sum(map(len, own)), len(own[0])]
    assert not np.allclose(speak(voice)[:4000], speak(alone[0])[:4000], atol=1e-4)
    # A list of one recording is the same as the recording.
    assert np.array_equal(speak(tiny_pipeline.encode_voice([clips[0]])), speak(alone[0]))


def test_speech_of_a_mix(tiny_pipeline, clips, speak, tmp_path, monkeypatch):
    a, b = (tiny_pipeline.encode_voice(clip) for clip in clips[:2])
    mixed = speak(0.7 * a + 0.3 * b)
    assert not np.allclose(mixed[:4000], speak(a)[:4000], atol=1e-4)
    assert np.array_equal(speak(0.7 * a + 0.3 * a), speak(a))
    (0.7 * a + 0.3 * b).save(tmp_path / "mix.safetensors")
    # The alignment in memory differs, and some kernels round accordingly.
    np.testing.assert_allclose(speak(tmp_path / "mix.safetensors"), mixed, atol=1e-6)
    monkeypatch.chdir(tmp_path)
    b.save("b.safetensors")
    a.save("a.safetensors")
    np.testing.assert_allclose(speak("0.7 * a.safetensors + 0.3 * b.safetensors"), mixed, atol=1e-6)
    assert json.loads(json.dumps(tiny_pipeline.load_voice("0.5 * emma + 0.5 * george").weights)) == [0.5, 0.5]


@pytest.mark.parametrize("given", [[], ["a.wav"] * 1025])
def test_no_recordings(tiny_pipeline, given):
    with pytest.raises(ValueError, match="wanted 1 to 1024"):
        tiny_pipeline.encode_voice(given)
