"""The predictor of durations and of pitch (NaturalSpeech 2, sections 3.2 and 3.3, table 11)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .attention import Attention
from .single_value import SingleValue


class VariancePredictor(nn.Module):
    """Convolutions with attention to the prompt every few layers; predicts one value per position.

    Args:
        hidden_size: D of the states and of the prompt states.
        num_layers: number of convolution layers (the paper: 30).
        kernel_size: 3 for durations, 5 for pitch.
        cross_attention_every: number of convolutions after each attention to the prompt
            (the paper: 10 attention layers, so 3).
    """

    def __init__(
        self,
        hidden_size: int,
        num_layers: int,
        kernel_size: int,
        cross_attention_every: int,
        num_attention_heads: int,
        dropout: float,
    ):
        super().__init__()
        self.cross_attention_every = cross_attention_every
        self.convs = nn.ModuleList(
            nn.Conv1d(hidden_size, hidden_size, kernel_size, padding=kernel_size // 2) for _ in range(num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(num_layers))
        num_attentions = math.ceil(num_layers / cross_attention_every)
        self.attentions = nn.ModuleList(Attention(hidden_size, num_attention_heads) for _ in range(num_attentions))
        self.attention_norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(num_attentions))
        self.dropout = nn.Dropout(dropout)
        self.proj_out = SingleValue(hidden_size)
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Callable[..., torch.Tensor]

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None,
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """`hidden_states` (B, L, D) and prompt states (B, Tp, D) to (B, L) in float32, zero where `mask` is
        False."""
        keep = 1.0 if mask is None else mask.unsqueeze(-1).to(hidden_states.dtype)
        for index in range(len(self.convs)):
            arguments = (index, hidden_states, keep, prompt_hidden_states, prompt_mask)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(self._layer, *arguments)
            else:
                hidden_states = self._layer(*arguments)
        # In float32, because near log 200 Hz the resolution of bfloat16 is half a semitone.
        values = self.proj_out(hidden_states).squeeze(-1)
        return values if mask is None else values * mask

    def _layer(self, index, hidden_states, keep, prompt_hidden_states, prompt_mask):
        # The first layer has no residual, because phoneme states are not yet predictor states.
        residual = hidden_states if index else 0.0
        which, between = divmod(index, self.cross_attention_every)
        if between == 0:
            attention, norm = self.attentions[which], self.attention_norms[which]
            attended = attention(norm(hidden_states), prompt_hidden_states, prompt_mask)
            hidden_states = (hidden_states + attended) / math.sqrt(2)
        convolved = self.convs[index]((hidden_states * keep).transpose(1, 2)).transpose(1, 2)
        return residual + self.dropout(self.norms[index](F.relu(convolved)))
