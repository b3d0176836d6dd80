"""The part of the codec that is computed outside its graphs."""

import copy

import numpy as np
import pytest
import torch

from ns2_diffusers.models.codecs import harmonic_head
from ns2_diffusers.models.codecs.harmonic_head import HarmonicHead
from ns2_diffusers.onnx import export
from ns2_diffusers.onnx.codec import OnnxCodec, interpolate_frames, make_pulses


def test_pulses_are_those_of_the_head():
    head = HarmonicHead(8, 16000, 320, fine_dim=8, fine_layers=1)
    f0 = 80 + 300 * torch.rand(2, 60, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(60) < torch.tensor([[60], [33]])
    wanted = head._pulses(f0, mask).numpy()
    found = make_pulses(f0.numpy(), mask.numpy(), 16000, 320)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3)
    assert np.abs(found - wanted).mean() < 1e-5


def test_interpolation_is_that_of_torch():
    """The same as torch's function up to rounding, and as that of the head to the last bit."""
    values = torch.rand(2, 7, generator=torch.Generator().manual_seed(1))
    found = interpolate_frames(values.numpy(), 10)
    wanted = torch.nn.functional.interpolate(values[:, None], size=70, mode="linear")[:, 0]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-5)
    assert np.array_equal(found, harmonic_head.interpolate_frames(values, 10).numpy())
    assert np.array_equal(found[:, 30:40], interpolate_frames(values[:, 2:5].numpy(), 10)[:, 10:20])


@pytest.mark.parametrize("head", ["harmonic", "istft"])
def test_pieces_are_the_whole(harmonic_codec, istft_codec, head, monkeypatch):
    original = harmonic_codec if head == "harmonic" else istft_codec
    graphs = export.codec_graphs(copy.deepcopy(original), torch.export.Dim("batch"))

    @torch.no_grad()
    def run(name, **arrays):
        # In double precision, because kernels round differently for each shape, and the phase adds up errors of F0.
        given = (torch.from_numpy(arrays[each]) for each in graphs[name].inputs)
        found = graphs[name].module.double()(*(each.double() if each.is_floating_point() else each for each in given))
        return [each.float().numpy() for each in (found if isinstance(found, tuple) else [found])]

    margins = export.codec_margins(original)
    settings = {"sampling_rate": 16000, "hop_length": 320, "latent_channels": 16, "channels": 1, "silence": [0.0] * 16}
    f0_range = (40.0, 1100.0) if head == "harmonic" else None
    codec = OnnxCodec({**settings, "fingerprint": "0", "f0_range": f0_range, "margins": margins}, run)
    latents = np.random.RandomState(0).standard_normal((1, 16, 61)).astype(np.float32)
    f0 = np.where(np.arange(61) % 7, 150, 0).astype(np.float32)[None] if codec.takes_f0 else None
    whole = codec.decode(latents, np.ones((1, 61), bool), f0)
    assert sum(margins) <= 14
    growing = list(codec.decode_in_pieces(latents, 9, f0, growth=2))
    assert [each.shape[1] // 320 for each in growing] == [9, 18, 34]
    np.testing.assert_allclose(np.concatenate(growing, 1), whole, rtol=0, atol=1e-6 * np.abs(whole).max())
    monkeypatch.setattr("ns2_diffusers.onnx.codec.PIECE_FRAMES", 13)
    several = np.concatenate([latents, latents])
    mask = np.arange(61) < np.array([[61], [40]])
    decoded = codec.decode(several, mask, None if f0 is None else np.concatenate([f0, f0]))
    assert not decoded[1, 40 * 320 :].any()
    np.testing.assert_allclose(decoded[0], whole[0], rtol=0, atol=1e-6 * np.abs(whole).max())
    alone = codec.decode(latents[..., :40], mask[1:, :40], None if f0 is None else f0[:, :40])
    np.testing.assert_allclose(decoded[1, : 40 * 320], alone[0], rtol=0, atol=1e-6 * np.abs(whole).max())
    for frames in (1, 25, 100):
        pieces = list(codec.decode_in_pieces(latents, frames, f0))
        assert len(pieces) == -(-61 // frames)
        np.testing.assert_allclose(np.concatenate(pieces, 1), whole, rtol=0, atol=1e-6 * np.abs(whole).max())
