"""Attention as every model here uses it, through diffusers' backend dispatch."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed
from torch import nn


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be computed once and reused.

    Args:
        hidden_size: width of the queries and of the result.
        num_attention_heads: heads; must divide `hidden_size`.
        cross_attention_dim: width of what is attended to; `hidden_size` when None.
        dropout: dropout on the attention weights.
    """

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        cross_attention_dim: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"hidden size {hidden_size} cannot be split into {num_attention_heads} equal heads: "
                "choose a number of heads that divides it."
            )
        cross_attention_dim = cross_attention_dim or hidden_size
        self.heads = num_attention_heads
        self.dropout = dropout
        self.to_q = nn.Linear(hidden_size, hidden_size)
        self.to_k = nn.Linear(cross_attention_dim, hidden_size)
        self.to_v = nn.Linear(cross_attention_dim, hidden_size)
        self.to_out = nn.Linear(hidden_size, hidden_size)

    def keys_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`states` (B, S, D') to keys and values, each (B, S, heads, D / heads)."""
        return self._split(self.to_k(states)), self._split(self.to_v(states))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.heads, -1))

    def forward(
        self,
        hidden_states: torch.Tensor,
        keys_values: tuple[torch.Tensor, torch.Tensor] | None = None,
        mask: torch.Tensor | None = None,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend from `hidden_states` (B, L, D) to themselves, or to `keys_values`.

        Args:
            keys_values: from `keys_values()`; self-attention when None.
            mask: (B, S) boolean, True where there is something to attend to.
            rotary: cosines and sines of `rotary_table`, for self-attention.

        Returns: (B, L, D).
        """
        query = self._split(self.to_q(hidden_states))
        key, value = keys_values if keys_values is not None else self.keys_values(hidden_states)
        dtype = query.dtype
        # The backward pass of a CPU is up to four times slower in half precision than in single.
        in_single = dtype.itemsize == 2 and query.device.type == "cpu" and torch.is_grad_enabled()
        if in_single:
            query, key, value = query.float(), key.float(), value.float()
        if rotary is not None:
            query = apply_rotary_emb(query, rotary, sequence_dim=1)
            key = apply_rotary_emb(key, rotary, sequence_dim=1)
        with torch.autocast("cpu", enabled=False) if in_single else nullcontext():
            attended = dispatch_attention_fn(
                query, key, value, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
            )
        return self.to_out(attended.to(dtype).flatten(2))


def rotary_table(length: int, head_dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (length, head_dim) of rotary positions (arXiv 2104.09864)."""
    positions = torch.arange(length, device=device, dtype=torch.float32)
    return get_1d_rotary_pos_embed(head_dim, positions, use_real=True)
