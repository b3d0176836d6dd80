"""Padding and masks. A mask is boolean and True where there is data."""

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
    """The scalar mean of `values` where `mask` (broadcastable) is True; items have the weights `weights` (B,).

    It is zero if the mask is all False.
    """
    mask = mask.expand_as(values)
    if weights is not None:
        values = values * weights.reshape(-1, *[1] * (values.ndim - 1))
    return (values * mask).sum() / mask.sum().clamp(min=1)


def mean_over_time(states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean (B, D) over time of `states` (B, L, D) where `mask` (B, L) is True.

    It is zero in rows whose mask is all False.
    """
    if mask is None:
        return states.mean(1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def padding_mask(lengths: Sequence[int], device: torch.device | str | None = None) -> torch.Tensor | None:
    """The result of `lengths_mask`, or None if all lengths are equal.

    Attention kernels are faster without a mask, and some do not support one.
    """
    if min(lengths) == max(lengths):
        return None
    return lengths_mask(torch.as_tensor(lengths, device=device))


def pad_batch(items: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The results of `pad` and `padding_mask` for tensors (L, ...)."""
    return pad(items), padding_mask([len(item) for item in items], items[0].device)
