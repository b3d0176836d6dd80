"""The weights in examples/real_voice_model."""

import json
from pathlib import Path

import pytest
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, PhonemeAligner, bundled, load_codec
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.audio.prompts import speech_level
from ns2_diffusers.audio.voice_filters import analyze_voice
from ns2_diffusers.data.recordings import read_span
from ns2_diffusers.training.codec_losses import envelope_loss
from ns2_diffusers.training.discriminators import CodecDiscriminator, SideBySide, load_discriminator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def codec():
    return load_codec(EXAMPLES / "real_voice_model" / "codec").eval()


def test_it_is_the_codec_of_its_recipe(codec):
    recipe = json.loads((EXAMPLES / "configs" / "fitted_codec.json").read_text())["codec_config"]
    # The recipe starts with more channels and removes some at its end (`--keep_channels 64`).
    recipe |= {"latent_channels": 64, "head_config": recipe["head_config"] | {"linear_channels": 64}}
    for name, value in recipe.items():
        saved = codec.config[name]
        assert (saved if not isinstance(value, dict) else {key: saved[key] for key in value}) == value
    assert codec.fingerprint == "a91e3bbf4ec845bf" and len(codec.config.latents_std) == 64


def test_envelope_and_f0_of_a_voice_that_was_not_in_training(codec, clips):
    errors = {codec: [], load_codec(bundled(), subfolder="codec").eval(): []}
    for clip in clips[:4]:
        waveform = read_span(clip, 16000, seconds=4)
        waveform = waveform[:, : waveform.shape[1] // 320 * 320]
        found = torch.from_numpy(analyze_voice(waveform[0], 16000, 320, 80, 512).log_envelope).float()[None]
        for each, values in errors.items():
            with torch.no_grad():
                output = each(torch.from_numpy(waveform)[None])
            values.append(envelope_loss(output.log_magnitudes, found, 16000).item())
            if each is codec:
                f0 = estimate_f0(torch.from_numpy(waveform[0]), 16000, 320)
                cents = 1200 * (output.log_f0[0] - f0.clamp(min=1).log()).abs() / torch.tensor(2.0).log()
                assert cents[f0 > 0].median() < 50
    ours, theirs = (sum(values) / len(values) for values in errors.values())
    assert ours < 0.5 and ours < 0.75 * theirs


def test_discriminators_go_on_with_the_options_of_the_recipe():
    recipe = json.loads((EXAMPLES / "configs" / "fitted_codec_adversarial.json").read_text())
    made = CodecDiscriminator(recipe["discriminator_n_ffts"], recipe["discriminator_periods"], 16)
    load_discriminator(SideBySide(made), EXAMPLES / "real_voice_model" / "codec" / "discriminator.safetensors")


@pytest.fixture(scope="module")
def pipe():
    made = NaturalSpeech2Pipeline.from_pretrained(EXAMPLES / "real_voice_model")
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("text", ["Two.", "Why?", "The plane landed an hour late."])
def test_it_speaks_at_the_level_of_speech(pipe, text):
    audio = pipe(text, voice="emma", generator=torch.Generator().manual_seed(0)).audios[0]
    assert 0.25 < len(audio) / 16000 < 4
    assert -30 < speech_level(audio, 16000) < -12


def test_its_aligner_is_of_its_codec_and_tokenizer(pipe):
    aligner = PhonemeAligner.from_pretrained(EXAMPLES / "real_voice_model" / "aligner")
    assert aligner.config.feature_channels == pipe.codec.latent_channels
    assert aligner.config.vocab_size == len(pipe.tokenizer)


def test_its_files_name_no_place_where_it_was_made():
    folder = EXAMPLES / "real_voice_model"
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl"), *folder.rglob("*.log")]:
        assert "_name_or_path" not in path.read_text("utf-8") and '"/' not in path.read_text("utf-8"), path
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 35e6
