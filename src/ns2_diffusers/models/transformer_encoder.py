"""The Transformer of the phoneme encoder and the prompt encoder (NaturalSpeech 2, table 11)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .attention import Attention, rotary_table

POSITION_EMBEDDINGS = ("rotary", "none")


class AdaptiveLayerNorm(nn.Module):
    """Layer norm whose scale and shift come from a condition (B, D')."""

    def __init__(self, hidden_size: int, condition_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.scale_shift = nn.Linear(condition_dim, 2 * hidden_size)
        nn.init.zeros_(self.scale_shift.bias[hidden_size:])
        nn.init.ones_(self.scale_shift.bias[:hidden_size])

    def forward(self, hidden_states: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        scale, shift = self.scale_shift(condition).unsqueeze(1).chunk(2, dim=-1)
        return scale * self.norm(hidden_states) + shift


class PlainLayerNorm(nn.LayerNorm):
    """Layer norm with the signature of `AdaptiveLayerNorm`."""

    def forward(self, hidden_states: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(hidden_states)


class ConvFeedForward(nn.Module):
    """Convolution over time, ReLU, linear layer back."""

    def __init__(self, hidden_size: int, filter_size: int, kernel_size: int, dropout: float):
        super().__init__()
        self.conv = nn.Conv1d(hidden_size, filter_size, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(filter_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        filtered = self.conv(hidden_states.transpose(1, 2)).transpose(1, 2)
        return self.linear(self.dropout(F.relu(filtered)))


class TransformerEncoderBlock(nn.Module):
    """Pre-norm self-attention, then convolutional feed-forward."""

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        filter_size: int,
        kernel_size: int,
        dropout: float,
        adaptive_norm_dim: int | None,
    ):
        super().__init__()
        self.norm1 = _norm(hidden_size, adaptive_norm_dim)
        self.attention = Attention(hidden_size, num_attention_heads)
        self.norm2 = _norm(hidden_size, adaptive_norm_dim)
        self.feed_forward = ConvFeedForward(hidden_size, filter_size, kernel_size, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
        rotary: tuple[torch.Tensor, torch.Tensor] | None,
        condition: torch.Tensor | None,
    ) -> torch.Tensor:
        attended = self.attention(self.norm1(hidden_states, condition), attention_mask=mask, rotary=rotary)
        hidden_states = hidden_states + self.dropout(attended)
        normed = self.norm2(hidden_states, condition)
        if mask is not None:
            # The norm makes the padding nonzero; the convolution must not read it.
            normed = normed * mask.unsqueeze(-1)
        return hidden_states + self.dropout(self.feed_forward(normed))


class TransformerEncoder(nn.Module):
    """A stack of blocks and a final norm.

    Args:
        position_embedding: "rotary", or "none" (the convolutions then distinguish positions).
        adaptive_norm_dim: width of the condition of every norm; plain norms if None.
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        num_attention_heads: int,
        filter_size: int,
        kernel_size: int,
        dropout: float,
        position_embedding: str,
        adaptive_norm_dim: int | None = None,
    ):
        super().__init__()
        if position_embedding not in POSITION_EMBEDDINGS:
            raise ValueError(f"position_embedding is {position_embedding!r}; it must be one of {POSITION_EMBEDDINGS}.")
        self.head_dim = hidden_size // num_attention_heads
        self.rotary = position_embedding == "rotary"
        self.blocks = nn.ModuleList(
            TransformerEncoderBlock(
                hidden_size, num_attention_heads, filter_size, kernel_size, dropout, adaptive_norm_dim
            )
            for _ in range(num_layers)
        )
        self.norm = _norm(hidden_size, adaptive_norm_dim)
        self.dropout = nn.Dropout(dropout)
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Callable[..., torch.Tensor]

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None = None,
        condition: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`hidden_states` (B, L, D), `mask` (B, L), `condition` (B, D') to (B, L, D)."""
        hidden_states = self.dropout(hidden_states)
        rotary = None
        if self.rotary:
            rotary = rotary_table(hidden_states.shape[1], self.head_dim, hidden_states.device)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, hidden_states, mask, rotary, condition)
            else:
                hidden_states = block(hidden_states, mask, rotary, condition)
        hidden_states = self.norm(hidden_states, condition)
        return hidden_states if mask is None else hidden_states * mask.unsqueeze(-1)


def _norm(hidden_size: int, adaptive_norm_dim: int | None) -> nn.Module:
    if adaptive_norm_dim is None:
        return PlainLayerNorm(hidden_size)
    return AdaptiveLayerNorm(hidden_size, adaptive_norm_dim)
