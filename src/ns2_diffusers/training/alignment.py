"""Learned durations: training of the aligner (arXiv 2108.10447)."""

from __future__ import annotations

import torch
from torch import nn

from ..models.phoneme_aligner import PhonemeAligner
from .losses import binarization_loss, forward_sum_loss, latents_of


def align_batch(
    aligner: PhonemeAligner, latents: torch.Tensor, batch: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Durations (B, N) of a batch, and the aligner's losses.

    Args:
        aligner: a `PhonemeAligner` over the standardised latents.
        latents: (B, C, T) of the batch; they receive no gradient.
        batch: a batch from `PromptCollator`, with an `alignment_prior`.

    Returns: frames of each phoneme; `alignment` (forward sum) and `binarization`, scalars.
    """
    masks = batch["frame_mask"], batch["attention_mask"]
    inputs = (latents.detach(), batch["input_ids"], *masks, batch["alignment_prior"])
    # This pass comes before `align`: autocast would cache the weights that `align` casts, without gradients.
    soft = aligner(*inputs)
    durations = aligner.align(*inputs)
    return durations, {
        "alignment": forward_sum_loss(soft.scores, *masks),
        "binarization": binarization_loss(soft.log_probs, durations, batch["frame_mask"]),
    }


class AlignmentObjective(nn.Module):
    """An aligner with its losses, for training it alone.

    Args:
        aligner: a `PhonemeAligner` over the standardised latents.
        codebooks: (Q, K, C), `losses.standardized_codebooks(codec)`.
    """

    def __init__(self, aligner: PhonemeAligner, codebooks: torch.Tensor):
        super().__init__()
        self.aligner = aligner
        self.codebooks: torch.Tensor
        self.register_buffer("codebooks", codebooks, persistent=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`alignment` and `binarization` of a batch from `PromptCollator`, scalars."""
        return align_batch(self.aligner, latents_of(batch["codes"], self.codebooks), batch)[1]

    def align(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Durations (B, N) of a batch."""
        latents = latents_of(batch["codes"], self.codebooks)
        masks = batch["frame_mask"], batch["attention_mask"]
        return self.aligner.align(latents, batch["input_ids"], *masks, batch["alignment_prior"])
