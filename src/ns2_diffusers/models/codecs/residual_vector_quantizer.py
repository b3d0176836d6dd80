"""Residual vector quantiser with codebooks learned by moving averages.

All codecs of the package use it (NaturalSpeech 2, section 3.1; SoundStream, arXiv 2107.03312, III-C).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from diffusers.utils import BaseOutput
from torch import nn

from ..offloading import runs_like_forward

# Settings of the k-means initialisation.
KMEANS_ITERATIONS = 10


@dataclass
class ResidualVectorQuantizerOutput(BaseOutput):
    """Output of `ResidualVectorQuantizer`.

    Args:
        latents: (B, C, T) sums of the chosen codebook vectors; gradients pass straight through to the input.
        codes: (B, Q, T) int64.
        commitment_loss: scalar, mean squared distance of each residual to its codebook vector.
    """

    latents: torch.Tensor
    codes: torch.Tensor
    commitment_loss: torch.Tensor


class ResidualVectorQuantizer(nn.Module):
    """Q codebooks; each quantises the residual of those before it.

    In training the codebooks start from the first batch (k-means) and follow the data by exponential moving
    averages; unused vectors move to random points of the data. In evaluation the module is deterministic and
    does not change. Under `torch.distributed` all processes keep the same codebooks.

    Args:
        latent_channels: C.
        num_codebooks: Q.
        codebook_size: K.
        decay: decay of the moving averages.
        dead_code_threshold: a vector with less than this share of the average use is replaced; 0 never does.
        quantizer_dropout: in training, share of items quantised with only the first n codebooks, n drawn
            from 1 … Q, so that one model supports several bit rates.
    """

    def __init__(
        self,
        latent_channels: int,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        decay: float = 0.99,
        dead_code_threshold: float = 0.05,
        quantizer_dropout: float = 0.0,
    ):
        super().__init__()
        self.num_codebooks, self.codebook_size = num_codebooks, codebook_size
        self.decay, self.dead_code_threshold = decay, dead_code_threshold
        self.quantizer_dropout = quantizer_dropout
        codebooks = torch.randn(num_codebooks, codebook_size, latent_channels) * latent_channels**-0.5
        self.codebooks: torch.Tensor
        self.cluster_size: torch.Tensor
        self.initialized: torch.Tensor
        self.register_buffer("codebooks", codebooks)
        # Moving average of the number of frames that choose each vector. The moving average of their sum, which other
        # implementations also store, is this times the vector.
        self.register_buffer("cluster_size", torch.zeros(num_codebooks, codebook_size))
        self.register_buffer("initialized", torch.tensor(False))

    @runs_like_forward
    def encode(self, latents: torch.Tensor, num_codebooks: int | None = None) -> torch.Tensor:
        """(B, C, T) → codes (B, Q, T) int64, Q = `num_codebooks` or all."""
        batch, channels, frames = latents.shape
        residual = latents.float().transpose(1, 2).reshape(-1, channels)
        codes = []
        for codebook in self.codebooks[:num_codebooks].float():
            index = nearest(residual, codebook)
            residual = residual - codebook[index]
            codes.append(index.view(batch, frames))
        return torch.stack(codes, dim=1)

    @runs_like_forward
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, Q, T), Q up to `num_codebooks` → latents (B, C, T), the sums of their vectors."""
        if codes.ndim != 3 or codes.shape[1] > self.num_codebooks:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)}; wanted (batch, codebooks, frames) with at most "
                f"{self.num_codebooks} codebooks."
            )
        vectors = [
            nn.functional.embedding(index, codebook)
            for index, codebook in zip(codes.unbind(1), self.codebooks, strict=False)
        ]
        return torch.stack(vectors).sum(0).transpose(1, 2)

    @runs_like_forward
    def read_codebooks(self) -> torch.Tensor:
        """The codebooks (Q, K, C), read where they are kept while the model runs, because they may be offloaded."""
        return self.codebooks.detach()

    @torch.no_grad()
    def initialize(self, latents: torch.Tensor) -> None:
        """Set the codebooks by k-means over all latents (B, C, T) that are given, instead of the first batch."""
        residual = latents.float().transpose(1, 2).flatten(0, 1)
        residual = residual[residual.isfinite().all(dim=1)]
        for level in range(self.num_codebooks):
            self._initialize(level, residual)
            residual = residual - self.codebooks[level][nearest(residual, self.codebooks[level])]
        self.initialized.fill_(True)

    def forward(self, latents: torch.Tensor, mask: torch.Tensor | None = None) -> ResidualVectorQuantizerOutput:
        """Quantise; in training mode also update the codebooks.

        Args:
            latents: (B, C, T).
            mask: (B, T) boolean, True where there is data; the rest is ignored and becomes zero.
        """
        with torch.autocast(latents.device.type, enabled=False):
            return self._forward(latents, mask)

    def _forward(self, latents, mask):
        batch, channels, frames = latents.shape
        inputs = latents.float().transpose(1, 2).reshape(-1, channels)
        valid = inputs.new_ones(batch * frames) if mask is None else mask.reshape(-1).to(inputs.dtype)
        learns = self.training and torch.is_grad_enabled()
        initialize = learns and not bool(self.initialized)
        codebooks_used = self._draw_codebooks_used(batch, frames, inputs.device)

        # A NaN would stay in the moving averages forever.
        finite = inputs.detach().isfinite().all(dim=1)

        residual, quantized = inputs, torch.zeros_like(inputs)
        codes, losses = [], []
        for level in range(self.num_codebooks):
            weight = valid * (level < codebooks_used)
            if initialize:
                self._initialize(level, residual.detach()[(weight > 0) & finite])
            codebook = self.codebooks[level].float()
            with torch.no_grad():
                index = nearest(residual, codebook)
            chosen = codebook[index] * weight.unsqueeze(1)
            distance = (residual - chosen).square().mean(dim=1)
            losses.append((distance * weight).sum() / weight.sum().clamp(min=1))
            if learns:
                vectors = residual.detach().masked_fill(~finite.unsqueeze(1), 0)
                self._update(level, vectors, index, weight * finite)
            residual, quantized = residual - chosen, quantized + chosen
            codes.append(index.masked_fill(valid == 0, 0).view(batch, frames))
        if initialize:
            self.initialized.fill_(True)

        straight_through = (inputs + (quantized - inputs).detach()) * valid.unsqueeze(1)
        return ResidualVectorQuantizerOutput(
            latents=straight_through.view(batch, frames, channels).transpose(1, 2).to(latents.dtype),
            codes=torch.stack(codes, dim=1),
            commitment_loss=torch.stack(losses).mean(),
        )

    def _draw_codebooks_used(self, batch: int, frames: int, device) -> torch.Tensor:
        """Number of codebooks for each frame, (B * T,): all, or in training a random number for some items."""
        used = torch.full((batch,), self.num_codebooks, device=device)
        if self.training and self.quantizer_dropout > 0:
            fewer = torch.randint(1, self.num_codebooks + 1, (batch,), device=device)
            used = torch.where(torch.rand(batch, device=device) < self.quantizer_dropout, fewer, used)
        return used.repeat_interleave(frames)

    @torch.no_grad()
    def _initialize(self, level: int, vectors: torch.Tensor):
        """k-means on the first batch; with fewer frames than codes, some codes are equal and are replaced later."""
        if len(vectors):
            draw = torch.randperm(len(vectors), device=vectors.device)
            centres = vectors[draw.repeat(-(-self.codebook_size // len(vectors)))[: self.codebook_size]]
            for _ in range(KMEANS_ITERATIONS if len(vectors) > self.codebook_size else 0):
                counts, sums = self._count(vectors, nearest(vectors, centres), vectors.new_ones(len(vectors)))
                centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
            self.codebooks[level].copy_(centres)
        self.cluster_size[level].fill_(max(1.0, len(vectors) / self.codebook_size))
        if is_distributed():
            dist.broadcast(self.codebooks[level], 0)
            dist.broadcast(self.cluster_size[level], 0)

    @torch.no_grad()
    def _update(self, level: int, vectors: torch.Tensor, index: torch.Tensor, weight: torch.Tensor):
        counts, sums = self._count(vectors, index, weight)
        if is_distributed():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        codebook, size = self.codebooks[level], self.cluster_size[level]
        size.lerp_(counts.to(size.dtype), 1 - self.decay)
        # (decay · n · e + (1 - decay) · sum) / n', written as a step from e.
        pull = (sums - counts.unsqueeze(1) * codebook) * (1 - self.decay)
        codebook.add_((pull / size.clamp(min=1e-5).unsqueeze(1)).to(codebook.dtype))
        self._revive(level, vectors, weight)

    def _revive(self, level: int, vectors: torch.Tensor, weight: torch.Tensor):
        codebook, size = self.codebooks[level], self.cluster_size[level]
        dead = size < self.dead_code_threshold * size.mean()
        if not dead.any():
            return
        if weight.any():
            drawn = torch.multinomial(weight, self.codebook_size, replacement=True)
            codebook.copy_(torch.where(dead.unsqueeze(1), vectors[drawn].to(codebook.dtype), codebook))
        # A new vector gets an average share of use, so that it has time to find its own.
        size.copy_(torch.where(dead, size.mean(), size))
        if is_distributed():
            dist.broadcast(codebook, 0)

    def _count(self, vectors, index, weight):
        """Number of times each code was chosen (K,), and the sum of the vectors that chose it (K, C)."""
        # As a product with one-hot rows: many times faster on CPUs than index_add_, and as large as the distances
        # that `nearest` has just computed.
        one_hot = nn.functional.one_hot(index, self.codebook_size).to(vectors.dtype) * weight.unsqueeze(1)
        return one_hot.sum(0), one_hot.T @ vectors


def nearest(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Index of the nearest row of codebook (K, C) for each row of vectors (M, C)."""
    # |v - e|² without |v|², which is the same for every e.
    return (2 * vectors @ codebook.T - codebook.square().sum(1)).argmax(dim=1)


def is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
