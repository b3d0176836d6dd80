"""The ConvNeXt backbone of Vocos (arXiv 2306.00814, section 3.2), with its parameter names."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .codec import apply_mask


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, then a feed-forward at each frame, scaled and added to the residual."""

    def __init__(self, dim: int, intermediate_dim: int, layer_scale: float):
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, intermediate_dim)
        self.pwconv2 = nn.Linear(intermediate_dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, D, T) → (B, D, T)."""
        update = self.norm(self.dwconv(hidden_states).transpose(1, 2))
        update = self.gamma * self.pwconv2(nn.functional.gelu(self.pwconv1(update)))
        # The next convolution reads beyond the end, where an unpadded clip has zeros.
        return apply_mask(hidden_states + update.transpose(1, 2), mask)


class ConvNeXtBackbone(nn.Module):
    """Blocks at one frame rate: (B, input_channels, T) → (B, T, dim).

    Args:
        input_channels: number of channels of the features.
        dim, intermediate_dim: width of the blocks, and within their feed-forward.
        num_layers: number of blocks.
    """

    def __init__(self, input_channels: int, *, dim: int = 384, intermediate_dim: int = 1152, num_layers: int = 8):
        super().__init__()
        self.embed = nn.Conv1d(input_channels, dim, kernel_size=7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(dim, intermediate_dim, 1 / num_layers) for _ in range(num_layers))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Callable[..., torch.Tensor]
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def margin(self) -> int:
        """Frames on either side that a frame of the result depends on."""
        return sum(module.padding[0] for module in self.modules() if isinstance(module, nn.Conv1d))  # type: ignore[misc]

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        hidden_states = self.norm(self.embed(apply_mask(features, mask)).transpose(1, 2)).transpose(1, 2)
        hidden_states = apply_mask(hidden_states, mask)
        for block in self.convnext:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, hidden_states, mask)
            else:
                hidden_states = block(hidden_states, mask)
        return self.final_layer_norm(hidden_states.transpose(1, 2))
