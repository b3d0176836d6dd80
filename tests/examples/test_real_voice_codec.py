"""The weights in examples/real_voice_codec."""

import json
from pathlib import Path

import pytest
import torch

from ns2_diffusers import bundled, load_codec
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.audio.voice_filters import analyze_voice
from ns2_diffusers.data.recordings import read_span
from ns2_diffusers.training.codec_losses import envelope_loss
from ns2_diffusers.training.discriminators import CodecDiscriminator, SideBySide, load_discriminator

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def codec():
    return load_codec(EXAMPLES / "real_voice_codec").eval()


def test_it_is_the_codec_of_its_recipe(codec):
    recipe = json.loads((EXAMPLES / "configs" / "fitted_codec.json").read_text())["codec_config"]
    for name, value in recipe.items():
        saved = codec.config[name]
        assert (saved if not isinstance(value, dict) else {key: saved[key] for key in value}) == value
    assert codec.fingerprint == "e7e0d47ebe156bcf" and len(codec.config.latents_std) == 96


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
    load_discriminator(SideBySide(made), EXAMPLES / "real_voice_codec" / "discriminator.safetensors")
