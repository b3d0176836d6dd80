"""Voice matching in NumPy is equal to that of torch."""

import numpy as np
import torch

from ns2_diffusers.onnx import voice_matching
from ns2_diffusers.pipelines import voice_matching as original


def test_the_constants_are_the_same():
    for name in ("SHRINKAGE", "NEAREST", "NEAREST_SHARE", "LEAST_VARIANCE", "PAUSE", "VOICE"):
        assert getattr(voice_matching, name) == getattr(original, name)


def test_matched_latents_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    silence = torch.randn(6, generator=generator)
    for frames, prompt_frames in ((90, 120), (20, 3)):
        latents = 2 * torch.randn(6, frames, generator=generator)
        latents[:, :5] = silence[:, None] + 0.01
        prompt = 1 + torch.randn(6, prompt_frames, generator=generator)
        wanted = original.match_voice(latents, prompt, silence, 0.8).numpy()
        found = voice_matching.match_voice(latents.numpy(), prompt.numpy(), silence.numpy(), 0.8)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
