"""The part of the codec that is computed outside of its graphs."""

import numpy as np
import torch

from ns2_diffusers.models.codecs.harmonic_head import HarmonicHead
from ns2_diffusers.onnx.codec import interpolate, make_pulses


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
    values = torch.rand(2, 7, generator=torch.Generator().manual_seed(1))
    wanted = torch.nn.functional.interpolate(values[:, None], size=70, mode="linear")[:, 0]
    np.testing.assert_allclose(interpolate(values.numpy(), 70), wanted.numpy(), rtol=1e-6)
    assert np.array_equal(interpolate(np.full((1, 1), 3, np.float32), 4), np.full((1, 4), 3))
