import json
from dataclasses import asdict

import pytest
import torch

from ns2_diffusers.data.latent_statistics import LatentSums


class Codec:
    """Raw latents are twice the standardised ones, plus one."""

    def denormalize_latents(self, latents):
        return 2 * latents + 1


def test_they_are_those_of_all_frames():
    latents = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0))
    parts = [LatentSums.of(Codec(), latents[:1]), LatentSums(0, [], []), LatentSums.of(Codec(), latents[1:])]
    total = LatentSums.total(LatentSums(**json.loads(json.dumps(asdict(part)))) for part in parts)
    raw = (2 * latents + 1).double().movedim(1, 0).flatten(1)
    mean, std = total.mean_and_std()
    assert total.frames == 30 and mean.dtype == torch.float64
    torch.testing.assert_close(mean, raw.mean(1))
    torch.testing.assert_close(std, raw.std(1, correction=0))


def test_a_channel_that_never_moves_has_a_small_deviation():
    _, std = LatentSums.of(Codec(), torch.zeros(1, 2, 5)).mean_and_std()
    assert std.tolist() == pytest.approx([1e-3, 1e-3])


def test_no_frames_have_no_mean():
    total = LatentSums.total([])
    assert total == LatentSums(0, [], [])
    with pytest.raises(ValueError, match="no latent frame"):
        total.mean_and_std()
