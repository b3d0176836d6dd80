"""Mean and standard deviation of a codec's raw latents, computed from sums over parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class LatentSums:
    """Sums for the computation of mean and standard deviation, as plain numbers for JSON.

    Args:
        frames: number of frames in the sums.
        sums, squares: (C,) sum and sum of squares of each raw channel; empty if `frames` is 0.
    """

    frames: int
    sums: list[float]
    squares: list[float]

    @classmethod
    def of(cls, codec: Any, latents: torch.Tensor) -> LatentSums:
        """Sums of a codec's standardised latents (B, C, T), in float64."""
        raw = codec.denormalize_latents(latents).cpu().double().movedim(1, 0).flatten(1)
        return cls(raw.shape[1], raw.sum(1).tolist(), raw.square().sum(1).tolist())

    @classmethod
    def total(cls, parts: Iterable[LatentSums]) -> LatentSums:
        parts = [part for part in parts if part.frames]
        columns = [list(zip(*(getattr(part, name) for part in parts), strict=True)) for name in ("sums", "squares")]
        return cls(sum(part.frames for part in parts), *([sum(channel) for channel in column] for column in columns))

    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each channel, (C,) float64.

        Raises:
            ValueError: there are no frames.
        """
        if not self.frames:
            raise ValueError("there is no latent frame to take a mean of: give recordings that hold speech.")
        mean, square = torch.tensor([self.sums, self.squares], dtype=torch.float64) / self.frames
        # A constant channel is divided by a small number, not by zero.
        return mean, (square - mean.square()).clamp(min=1e-6).sqrt()
