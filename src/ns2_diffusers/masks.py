"""Padding and masks: a mask is boolean, True where there is data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def pad(items: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack tensors (L, ...) along a new first dimension, with zeros behind the shorter ones: (B, longest, ...)."""
    return pad_sequence(list(items), batch_first=True)


def lengths_mask(lengths: Sequence[int] | torch.Tensor, size: int | None = None) -> torch.Tensor:
    """Mask (B, size), True for the first `lengths` (B,) places of each row; `size` is the longest by default."""
    lengths = torch.as_tensor(lengths)
    size = int(lengths.max()) if size is None else size
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def masked_mean(values: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean, a scalar, of `values` where `mask` (broadcastable) is True; items weigh `weights` (B,).

    Zero where the mask keeps nothing.
    """
    mask = mask.expand_as(values)
    if weights is not None:
        values = values * weights.reshape(-1, *[1] * (values.ndim - 1))
    return (values * mask).sum() / mask.sum().clamp(min=1)


def mean_over_time(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean over time of `states` (B, L, D), of what `mask` (B, L) keeps: (B, D).

    Zero in rows of which the mask keeps nothing.
    """
    if mask is None:
        return states.mean(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def padding_mask(lengths: Sequence[int], device: torch.device | str | None = None) -> torch.Tensor | None:
    """`lengths_mask`, or None where nothing is padded.

    Attention kernels are quicker without a mask, and some take none.
    """
    if min(lengths) == max(lengths):
        return None
    return lengths_mask(torch.as_tensor(lengths, device=device))


def pad_batch(items: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`pad` of tensors (L, ...) and their `padding_mask`."""
    return pad(items), padding_mask([len(item) for item in items], items[0].device)
