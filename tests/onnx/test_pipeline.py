"""An exported pipeline speaks like the one of torch."""

import copy
import functools
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from ns2_diffusers import OnnxNaturalSpeech2Pipeline, Voice
from ns2_diffusers.onnx.noise import generator_of
from ns2_diffusers.onnx.settings import SETTINGS_FILE, is_exported

TEXTS = ["Hello there. How are you today?", "Yes."]


def both(torch_pipeline, pipe, *args, seed=5, **options):
    """The results of torch and onnxruntime for a call."""
    wanted = torch_pipeline(*args, generator=torch.Generator().manual_seed(seed), **options)
    return wanted, pipe(*args, generator=generator_of(seed), **options)


def assert_same(wanted, found, atol=1e-4):
    for one, other in zip(wanted.durations, found.durations, strict=True):
        assert one.tolist() == other.tolist()
    for name in ("f0", "audios"):
        for one, other in zip(getattr(wanted, name), getattr(found, name), strict=True):
            np.testing.assert_allclose(other, np.asarray(one), rtol=1e-5, atol=atol)
    assert wanted.words == found.words and wanted.sampling_rate == found.sampling_rate


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"guidance_scale": 1.0, "voice_matching": 0.0, "num_inference_steps": 2},
        {"eta": 0.5, "speaking_rate": [0.7, 1.3], "pitch_shift": [3.0, 0.0]},
        {"timesteps": [900, 500, 100], "max_batch_size": 1, "temperature": 2.0},
    ],
)
def test_latents_are_those_of_torch(torch_pipeline, pipe, clips, options):
    assert_same(*both(torch_pipeline, pipe, TEXTS, str(clips[0]), output_type="latent", **options))


def test_sound_is_that_of_torch(torch_pipeline, pipe, clips):
    wanted, found = both(torch_pipeline, pipe, TEXTS, [str(clips[0]), str(clips[1])])
    for one, other in zip(wanted.audios, found.audios, strict=True):
        assert_same_sound(one, other)


def test_a_revision_of_an_export_on_the_hub(exported, tmp_path, caplog):
    repository = tmp_path / "models--me--graphs"
    for commit, scale in (("0" * 40, 1.0), ("1" * 40, 2.0)):
        shutil.copytree(exported, repository / "snapshots" / commit)
        path = repository / "snapshots" / commit / SETTINGS_FILE
        settings = json.loads(path.read_text())
        settings["pipeline"]["default_guidance_scale"] = scale
        path.write_text(json.dumps(settings))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("1" * 40)
    load = functools.partial(OnnxNaturalSpeech2Pipeline.from_pretrained, cache_dir=tmp_path)
    assert load("me/graphs", revision="0" * 40).config.default_guidance_scale == 1.0 and not caplog.records
    assert load("me/graphs").config.default_guidance_scale == 2.0
    assert f"me/graphs is at commit {'1' * 40} now" in caplog.text
    with pytest.raises(ValueError, match="revision is 'main', and .* is here and not on the hub"):
        load(exported, revision="main")


def assert_same_sound(one, other):
    """Rounding errors of F0 add up in the phase of the pulses, which shifts a few samples."""
    assert one.shape == other.shape and np.abs(one).max() > 0.01
    error = np.abs(one - other)
    assert error.mean() < 1e-4 * np.abs(one).max() and error.max() < 0.02 * np.abs(one).max()


def test_given_durations_pitch_and_latents_are_followed(torch_pipeline, pipe, clips):
    phonemes = "həlˈO ðˈɛɹ."
    durations = np.arange(2, 2 + len(phonemes) + 2)
    frames = int(durations.sum())
    pitch = np.linspace(120, 240, frames)
    pitch[5:9] = 0
    latents = np.random.RandomState(0).standard_normal((1, 16, frames)).astype(np.float32)
    given = {"phonemes": phonemes, "durations": durations, "pitch": pitch, "latents": latents}
    wanted, found = both(torch_pipeline, pipe, voice=str(clips[0]), **given)
    assert_same(wanted, found)
    assert found.durations[0].tolist() == durations.tolist()


def test_pauses_are_those_of_torch(torch_pipeline, pipe, clips, monkeypatch):
    """Sentences begin with silence, as those of trained models; it is not added to a given pause."""
    hop = pipe.codec.hop_length

    def soften(decode, latents, f0=None):
        waveforms = [copy.deepcopy(each) for each in decode(latents, f0)]
        for each in waveforms:
            each[..., : 5 * hop] *= 1e-3
        return waveforms

    for each in (torch_pipeline, pipe):
        monkeypatch.setattr(each, "decode_latents", functools.partial(soften, each.decode_latents))
    wanted, found = both(torch_pipeline, pipe, "Hold on. [pause 0.5s] Now go.", clips[0])
    assert wanted.durations[0].tolist() == found.durations[0].tolist() and wanted.words == found.words
    parts = [pipe(each, clips[0]).audios[0] for each in ("Hold on.", "Now go.")]
    for audio in (wanted.audios[0], found.audios[0]):
        assert len(audio) == sum(map(len, parts)) + round(0.5 * pipe.sampling_rate) - 5 * hop


def test_streams_are_the_whole(pipe, clips):
    voice = pipe.encode_voice(clips[0])
    text = TEXTS[0]
    whole = pipe(text, voice=voice, generator=generator_of(1), max_batch_size=1).audios[0]
    pieces = list(pipe.stream(text, voice=voice, generator=generator_of(1)))
    assert len(pieces) == 2
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize("text", [TEXTS[0], list(TEXTS[0])])
def test_streams_of_pieces_are_the_whole(pipe, clips, text):
    voice = pipe.encode_voice(clips[0])
    whole = pipe(TEXTS[0], voice=voice, generator=generator_of(1), max_batch_size=1).audios[0]
    pieces = list(pipe.stream(text, voice=voice, generator=generator_of(1), chunk_seconds=0.1))
    assert len(pieces) > 4
    np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=0, atol=1e-4 * np.abs(whole).max())


def test_a_first_clause_is_that_of_torch(torch_pipeline, pipe, clips, monkeypatch):
    monkeypatch.setattr("ns2_diffusers.pipelines.streaming.LEAST_CLAUSE", 0.02)
    monkeypatch.setattr("ns2_diffusers.pipelines.streaming.LEAST_PAUSE", 0.0)
    options = {"prompt_audio": str(clips[0]), "first_clause": True}
    wanted = list(torch_pipeline.stream("Hello there.", generator=torch.Generator().manual_seed(1), **options))
    found = list(pipe.stream("Hello there.", generator=generator_of(1), **options))
    assert len(wanted) == len(found) == 2
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=0.02 * np.abs(one).max())


def test_items_of_a_batch_are_as_alone(pipe, clips):
    voices = [pipe.encode_voice(clip) for clip in clips[:2]]
    together = pipe(TEXTS, voice=voices, generator=[generator_of(1), generator_of(2)])
    for index, seed in enumerate((1, 2)):
        alone = pipe(TEXTS[index], voice=voices[index], generator=generator_of(seed))
        assert_same_sound(together.audios[index], alone.audios[0])


def test_a_voice_is_encoded_once(pipe, clips, monkeypatch):
    """It is found by its latents: an equal voice is not encoded again, and a changed one is."""
    runs, run = [], pipe._run
    monkeypatch.setattr(pipe, "_run", lambda graph, **arrays: runs.append(graph) or run(graph, **arrays))
    one, other = pipe.encode_voice(clips[0]), pipe.encode_voice(clips[1])
    one.latents[0, 0] += 1  # no other test has this voice
    both_states, both_mask = pipe.encode_prompt([one, other])
    before = runs.count("prompt_encoder")
    again, _ = pipe.encode_prompt([Voice(one.latents.copy(), one.codec_fingerprint)])
    assert runs.count("prompt_encoder") == before
    np.testing.assert_array_equal(again[0], both_states[0, both_mask[0]])
    one.latents[0, 0] += 1
    changed, _ = pipe.encode_prompt([one])
    assert runs.count("prompt_encoder") == before + 1 and np.abs(changed - again).max() > 1e-4


def test_voices_are_those_of_torch(torch_pipeline, pipe, clips, tmp_path):
    wanted = torch_pipeline.encode_voice(clips[2])
    found = pipe.encode_voice(clips[2])
    np.testing.assert_allclose(found.latents, wanted.latents.numpy(), rtol=0, atol=1e-4)
    wanted.save(tmp_path / "torch.safetensors")
    found.save(tmp_path / "onnx.safetensors")
    assert np.array_equal(pipe.load_voice(tmp_path / "torch.safetensors").latents, wanted.latents.numpy())
    assert torch.equal(torch_pipeline.load_voice(tmp_path / "onnx.safetensors").latents, torch.tensor(found.latents))
    named = torch_pipeline.load_voice("george").latents.numpy()
    np.testing.assert_allclose(pipe.load_voice("george").latents, named, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="made with codec"):
        pipe.load_voice(Voice(found.latents, "another"))


def test_callbacks_change_and_end_a_call(pipe, clips):
    seen = []

    def callback(pipe, step, timestep, tensors):
        seen.append(timestep)
        pipe._guidance_scale = 1.0
        pipe._interrupt = step == 1
        return {"latents": np.zeros_like(tensors["latents"])}

    output = pipe("Yes.", clips[0], callback_on_step_end=callback, output_type="latent", voice_matching=0.0)
    assert len(seen) == 2 and not output.audios[0].any()


def test_bad_input_is_refused_as_with_torch(torch_pipeline, pipe, clips):
    for options in (
        {"text": ""},
        {"text": "Yes.", "num_inference_steps": 0},
        {"text": "Yes.", "guidance_scale": -1},
        {"text": "Yes.", "max_seconds": 0.01},
        {"text": "Yes.", "latents": np.zeros((1, 16, 3), np.float32)},
    ):
        for each in (torch_pipeline, pipe):
            with pytest.raises(ValueError):
                each(**options, voice=str(clips[0]))
    with pytest.raises(ValueError, match="output_type is 'pt'"):
        pipe("Yes.", clips[0], output_type="pt")


def test_no_torch_is_imported(exported, clips):
    program = f"""
import sys
from ns2_diffusers import OnnxNaturalSpeech2Pipeline
pipe = OnnxNaturalSpeech2Pipeline.from_pretrained({str(exported)!r})
audio = pipe("Hello there.", {str(clips[0])!r}).audios[0]
assert len(audio) > 1000 and next(pipe.stream("Yes.", voice="emma")).size
print([name for name in ("torch", "diffusers", "transformers") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "[]\n"


def test_other_directories_are_refused(tmp_path, exported):
    assert is_exported(exported) and not is_exported(tmp_path)
    with pytest.raises(ValueError, match="holds no exported pipeline"):
        OnnxNaturalSpeech2Pipeline.from_pretrained(tmp_path)
    (tmp_path / SETTINGS_FILE).write_text(json.dumps({"_class_name": "NaturalSpeech2Pipeline"}))
    with pytest.raises(ValueError, match="holds no exported pipeline"):
        OnnxNaturalSpeech2Pipeline.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no file or directory"):
        OnnxNaturalSpeech2Pipeline.from_pretrained(tmp_path / "nothing")


def test_several_recordings_and_mixes_are_those_of_torch(torch_pipeline, pipe, clips):
    recordings = [str(clip) for clip in clips[:3]]
    voices = [
        each.encode_voice(recordings) + 0.4 * each.encode_voice(str(clips[3])) for each in (torch_pipeline, pipe)
    ]
    wanted = torch_pipeline(TEXTS, voice=voices[0], generator=torch.Generator().manual_seed(5), output_type="latent")
    found = pipe(TEXTS, voice=voices[1], generator=generator_of(5), output_type="latent")
    assert_same(wanted, found)


def test_style_is_that_of_torch(torch_pipeline, pipe, clips):
    text = "<speak>I <emphasis level='strong'>never</emphasis> said that.</speak>"
    options = {"pitch_range": [1.0, 2.0], "energy": [0.5, 1.0], "output_type": "latent"}
    assert_same(*both(torch_pipeline, pipe, [text, TEXTS[1]], str(clips[0]), **options))
