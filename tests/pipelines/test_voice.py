"""Invalid voices, on construction and in files: a clear error before use."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ns2_diffusers import Voice
from ns2_diffusers.pipelines.voice import FORMAT, MOST_FRAMES

FINGERPRINT = "0123456789abcdef"
METADATA = {"format": FORMAT, "codec_fingerprint": FINGERPRINT}


def test_saved_and_loaded(tmp_path):
    latents = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        voice = Voice(latents.to(dtype).requires_grad_(), FINGERPRINT)
        assert voice.latents.dtype == torch.float32 and not voice.latents.requires_grad
        voice.save(tmp_path / "v.safetensors")
        loaded = Voice.load(tmp_path / "v.safetensors")
        assert torch.equal(loaded.latents, latents.to(dtype).float()) and loaded.codec_fingerprint == FINGERPRINT


LATENTS = {
    "whole numbers": torch.ones(4, 7, dtype=torch.int64),
    "booleans": torch.ones(4, 7, dtype=torch.bool),
    "complex numbers": torch.ones(4, 7, dtype=torch.complex64),
    "one dimension": torch.ones(7),
    "a batch": torch.ones(1, 4, 7),
    "a number": torch.tensor(1.0),
    "no frames": torch.ones(4, 0),
    "no channels": torch.ones(0, 7),
    "NaN": torch.full((4, 7), float("nan")),
    "one NaN": torch.tensor([[0.0, float("nan")]]),
    "infinity": torch.full((4, 7), float("-inf")),
    "out of range": torch.full((4, 7), 1e5),
    "many channels": torch.ones(5000, 1),
    "hours": torch.ones(1, MOST_FRAMES + 1),
}


@pytest.mark.parametrize("what", LATENTS)
def test_latents_of_no_voice(tmp_path, what):
    with pytest.raises((TypeError, ValueError), match="the latents of a voice"):
        Voice(LATENTS[what], FINGERPRINT)
    path = tmp_path / "v.safetensors"
    save_file({"latents": LATENTS[what]}, path, metadata=METADATA)
    with pytest.raises(ValueError, match="v.safetensors' holds no voice: the latents of a voice"):
        Voice.load(path)


@pytest.mark.parametrize("latents", [None, [[0.0]], np.zeros((4, 7), np.int64), "latents"])
def test_latents_that_are_no_tensor(latents):
    with pytest.raises(TypeError, match="wanted (a tensor or an array|floating-point numbers)"):
        Voice(latents, FINGERPRINT)


def test_latents_in_an_array_are_those_of_a_tensor(tmp_path):
    latents = np.linspace(-1, 1, 28).reshape(4, 7)
    Voice(latents, FINGERPRINT).save(tmp_path / "array.safetensors")
    loaded = Voice.load(tmp_path / "array.safetensors")
    assert torch.equal(loaded.latents, torch.from_numpy(latents).float())
    again = Voice.load(tmp_path / "array.safetensors", framework="np").latents
    assert again.dtype == np.float32 and np.array_equal(again, loaded.latents.numpy())


@pytest.mark.parametrize("fingerprint", [None, "", 5, b"0123", "x" * 65])
def test_no_fingerprint(fingerprint):
    with pytest.raises(ValueError, match="wanted pipe.codec.fingerprint"):
        Voice(torch.zeros(4, 7), fingerprint)


@pytest.mark.parametrize(
    "metadata, tensors",
    [
        ({"format": FORMAT}, {"latents": torch.zeros(4, 7)}),
        ({"format": FORMAT, "codec_fingerprint": ""}, {"latents": torch.zeros(4, 7)}),
        (METADATA, {"something": torch.zeros(4, 7)}),
        (METADATA, {"latents": torch.zeros(4, 7), "more": torch.zeros(4)}),
        (METADATA, {}),
        ({"codec_fingerprint": FINGERPRINT}, {"latents": torch.zeros(4, 7)}),
        (None, {"latents": torch.zeros(4, 7)}),
    ],
)
def test_files_that_are_no_voice(tmp_path, metadata, tensors):
    path = tmp_path / "v.safetensors"
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match="v.safetensors' (holds no voice|is a safetensors file but no voice)"):
        Voice.load(path)


def test_files_that_are_cut_off_or_have_a_large_header(tmp_path):
    path = tmp_path / "v.safetensors"
    Voice(torch.zeros(4, 700), FINGERPRINT).save(path)
    content = path.read_bytes()
    for length in (0, 7, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="v.safetensors' is"):
            Voice.load(path)
    save_file({"latents": torch.zeros(4, 7)}, path, metadata={**METADATA, "comment": "x" * 2**16})
    with pytest.raises(ValueError, match="at most 65536"):
        Voice.load(path)


def test_a_header_that_promises_more_than_there_is(tmp_path):
    header = {"__metadata__": METADATA, "latents": {"dtype": "F32", "shape": [2**40, 4], "data_offsets": [0, 2**44]}}
    content = json.dumps(header).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(len(content).to_bytes(8, "little") + content)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        Voice.load(path)


def test_what_was_changed_is_checked_before_it_is_saved(tmp_path):
    voice = Voice(torch.zeros(4, 7), FINGERPRINT)
    voice.latents = torch.full((4, 7), float("nan"))
    with pytest.raises(ValueError, match="wanted finite numbers"):
        voice.save(tmp_path / "v.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_voice_of_other_channels(tiny_pipeline):
    voice = Voice(torch.zeros(3, 50), tiny_pipeline.codec.fingerprint)
    with pytest.raises(ValueError, match="has 3 channels and the pipeline's codec has 16"):
        tiny_pipeline("Yes.", voice=voice)
