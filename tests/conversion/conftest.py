"""Reference values of Amphion, and an EnCodec with its codebooks."""

import json

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def golden(amphion):
    return load_file(amphion / "golden.safetensors")


@pytest.fixture
def weights(amphion):
    """The reference checkpoint; a test may change it."""
    return torch.load(amphion / "pytorch_model.bin", weights_only=True)


@pytest.fixture
def config(amphion):
    return json.loads((amphion / "config.json").read_text())


@pytest.fixture
def codec(weights):
    """A random EnCodec with the 4 codebooks of 32 entries of the reference checkpoint."""
    from ns2_diffusers import EncodecCodec

    codec = EncodecCodec(
        sampling_rate=24000,
        latent_channels=16,
        num_codebooks=4,
        codebook_size=32,
        ratios=[8, 5],
        num_filters=2,
    ).eval()
    for layer in range(4):
        codec.codebooks[layer] = weights[f"quantizer.vq.layers.{layer}._codebook.embed"]
    return codec
