"""A linear layer of one output that computes in float32."""

from __future__ import annotations

import torch
from torch import nn


class SingleValue(nn.Linear):
    """Returns one value per position, in float32 whatever the dtype of the model and autocast.

    Args:
        in_features: D.
        mean: divide the weighted sum by D, which keeps the output near its bias at the start of training.
    """

    def __init__(self, in_features: int, mean: bool = False):
        super().__init__(in_features, 1)
        self.mean = mean

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(B, L, D) to (B, L, 1) float32."""
        weighted = hidden_states.float() * self.weight.float()
        return (weighted.mean(-1, keepdim=True) if self.mean else weighted.sum(-1, keepdim=True)) + self.bias.float()
