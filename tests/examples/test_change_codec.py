"""Moving a pipeline to another codec."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2Pipeline

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import change_codec as script

ORDER = torch.tensor([3, 0, 11, 7, 1, 15, 2, 14, 4, 13, 5, 12, 6, 10, 8, 9])


@pytest.fixture
def reordered(tiny_codec):
    """The same codec with its latent channels in another order, and the sign of every second one inverted."""
    codec = copy.deepcopy(tiny_codec)
    sign = 1.0 - 2.0 * (torch.arange(16) % 2)
    with torch.no_grad():
        for parameter in (codec.encoder.out.weight, codec.encoder.out.bias):
            parameter.copy_(parameter[ORDER] * sign.view(-1, *[1] * (parameter.ndim - 1)))
        embed = codec.backbone.embed.weight
        embed.copy_(embed[:, ORDER] * sign.view(1, -1, 1))
        codec.quantizer.codebooks.copy_(codec.quantizer.codebooks[..., ORDER] * sign)
    mean, std = (torch.tensor(codec.config[f"latents_{name}"])[ORDER] for name in ("mean", "std"))
    codec.set_latent_statistics(mean * sign, std)
    return codec


def speak(pipe, prompt, **arguments):
    return pipe("One two.", prompt_audio=str(prompt), num_inference_steps=2, **arguments).audios[0]


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
def test_on_a_codec_of_the_same_latents_in_another_order_it_says_the_same(
    make_tiny_pipeline, reordered, clips, denoiser, tmp_path, capsys
):
    pipe = make_tiny_pipeline(denoiser)
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(default_voice_matching=0.25)
    pipe.save_pretrained(tmp_path / "pipeline")
    reordered.save_pretrained(tmp_path / "codec")
    words = ["--pipeline", str(tmp_path / "pipeline"), "--codec", str(tmp_path / "codec"), "--clips", "12"]
    words += ["--train_data", str(clips[0].parent), "--output_dir", str(tmp_path / "moved")]
    script.main(script.parse_args(words))
    assert "% of the variance of the latents is explained" in capsys.readouterr().out
    moved = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "moved")
    moved.set_progress_bar_config(disable=True)
    assert moved.config.default_voice_matching == 0.25
    frames = (
        pipe("One two.", prompt_audio=str(clips[0]), num_inference_steps=2, output_type="latent").audios[0].shape[-1]
    )
    latents = torch.randn(1, 16, frames, generator=torch.Generator().manual_seed(0))
    sign = 1.0 - 2.0 * (torch.arange(16) % 2)
    expected = speak(pipe, clips[0], latents=latents)
    got = speak(moved, clips[0], latents=latents[:, ORDER] * sign.view(1, -1, 1))
    # Ridge regression makes the map smaller by a thousandth.
    assert abs(got - expected).max() < 0.02 * abs(expected).max()


def test_what_cannot_be_moved(tiny_pipeline, reordered, clips):
    other = copy.deepcopy(reordered)
    other.register_to_config(hop_length=160)
    with pytest.raises(ValueError, match="a frame of one must be a frame of the other"):
        script.change_codec(tiny_pipeline, other, clips, 2, 1, 0)
    tiny_pipeline.scheduler = NaturalSpeech2DDIMScheduler(prediction_type="epsilon")
    with pytest.raises(ValueError, match="predicts epsilon"):
        script.change_codec(tiny_pipeline, reordered, clips, 2, 1, 0)
