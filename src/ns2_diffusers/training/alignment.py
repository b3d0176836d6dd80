"""Learned durations: what an aligner is trained on and how (arXiv 2108.10447)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from .losses import beta_binomial_prior, binarization_loss, forward_sum_loss, latents_of


def speech_clock(f0: torch.Tensor, longest_gap: int = 8) -> np.ndarray:
    """How much speech has gone by at the end of each frame, (T,), in frames; nearly none does in a pause.

    A pause is a stretch of more than `longest_gap` unvoiced frames, but for half of that next to voiced ones: there
    are consonants. Phonemes are spread evenly over speech, not over time, so a prior that goes by this clock starts
    out much nearer the truth where recordings begin or end in silence.

    Args:
        f0: (T,) Hz, 0 where unvoiced.
    """
    voiced = np.flatnonzero(f0.cpu().numpy() > 0)
    edges = np.concatenate([[-1], voiced, [len(f0)]])
    speech = np.ones(len(f0))
    for before, after in zip(edges[:-1], edges[1:], strict=True):
        if after - before - 1 > longest_gap:
            begin = before + 1 + (longest_gap // 2 if before >= 0 else 0)
            end = after - (longest_gap // 2 if after < len(f0) else 0)
            speech[begin:end] = 0.02
    # Where nothing is voiced there is no telling.
    return np.arange(1.0, len(f0) + 1) if len(voiced) == 0 else speech.cumsum()


def alignment_priors(num_phonemes: Iterable[int], f0: Iterable[torch.Tensor]) -> torch.Tensor:
    """Beta-binomial priors by the speech clock, padded with zeros: (B, T, N) probabilities.

    Args:
        num_phonemes: symbols of each item.
        f0: (T,) of each item, Hz.
    """
    priors = [beta_binomial_prior(n, speech_clock(item)) for n, item in zip(num_phonemes, f0, strict=True)]
    padded = torch.zeros(len(priors), max(len(p) for p in priors), max(p.shape[1] for p in priors))
    for row, prior in zip(padded, priors, strict=True):
        row[: prior.shape[0], : prior.shape[1]] = prior
    return padded


def align_batch(
    aligner: nn.Module, latents: torch.Tensor, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Durations (B, N) of a batch, and the aligner's losses.

    Args:
        aligner: a `PhonemeAligner` over the standardised latents.
        latents: (B, C, T) of the batch; nothing flows back into them.
        batch: of `PromptCollator`, with an `alignment_prior`.

    Returns: frames of each phoneme; `alignment` (forward sum) and `binarization`, scalars.
    """
    masks = batch["frame_mask"], batch["attention_mask"]
    inputs = (latents.detach(), batch["input_ids"], *masks, batch["alignment_prior"])
    # The losses' own pass comes first: autocast would remember the weights as `align` casts them, without gradients.
    soft = aligner(*inputs)
    durations = aligner.align(*inputs)
    return durations, {
        "alignment": forward_sum_loss(soft.scores, *masks),
        "binarization": binarization_loss(soft.log_probs, durations, batch["frame_mask"]),
    }


class AlignmentObjective(nn.Module):
    """An aligner with its losses, to be trained by itself.

    Args:
        aligner: a `PhonemeAligner` over the standardised latents.
        codebooks: (Q, K, C), `losses.standardized_codebooks(codec)`.
    """

    def __init__(self, aligner: nn.Module, codebooks: torch.Tensor):
        super().__init__()
        self.aligner = aligner
        self.register_buffer("codebooks", codebooks, persistent=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`alignment` and `binarization` of a batch of `PromptCollator`, scalars."""
        return align_batch(self.aligner, latents_of(batch["codes"], self.codebooks), batch)[1]

    def align(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Durations (B, N) of a batch."""
        latents = latents_of(batch["codes"], self.codebooks)
        masks = batch["frame_mask"], batch["attention_mask"]
        return self.aligner.align(latents, batch["input_ids"], *masks, batch["alignment_prior"])
