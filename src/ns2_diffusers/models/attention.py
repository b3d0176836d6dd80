"""The attention of all models of this package, with diffusers' backend dispatch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed
from einops import rearrange
from torch import nn


class AttnProcessor:
    """Computes `Attention` with the backend of `set_attention_backend`, otherwise with the active one."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        keys_values: tuple[torch.Tensor, torch.Tensor] | None = None,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Arguments and result as in `Attention.forward`."""
        query = attn.split_heads(attn.to_q(hidden_states))
        if keys_values is None:
            keys_values = attn.keys_values(hidden_states if encoder_hidden_states is None else encoder_hidden_states)
        key, value = keys_values
        dtype = query.dtype
        # On a CPU the backward pass is up to four times slower in half precision than in single precision.
        in_single = dtype.itemsize == 2 and query.device.type == "cpu" and torch.is_grad_enabled()
        if in_single:
            query, key, value = query.float(), key.float(), value.float()
        if rotary is not None:
            query = apply_rotary_emb(query, rotary, sequence_dim=1)
            key = apply_rotary_emb(key, rotary, sequence_dim=1)
        if attention_mask is not None:
            # Backends interpret a two-dimensional mask differently; all agree on four dimensions.
            attention_mask = rearrange(attention_mask, "batch keys -> batch 1 1 keys")
        with torch.autocast("cpu", enabled=False) if in_single else nullcontext():
            attended = dispatch_attention_fn(
                query,
                key,
                value,
                attn_mask=attention_mask,
                backend=self._attention_backend,
                parallel_config=self._parallel_config,
            )
        return attn.to_out(rearrange(attended.to(dtype), "batch length heads dim -> batch length (heads dim)"))


class Attention(nn.Module, AttentionModuleMixin):
    """Multi-head attention whose keys and values can be computed once and reused.

    Args:
        hidden_size: width of the queries and of the result.
        num_attention_heads: number of heads; must divide `hidden_size`.
        cross_attention_dim: width of the attended states; `hidden_size` if None.

    Raises:
        ValueError: the heads do not divide the width.
    """

    _default_processor_cls = AttnProcessor
    # Required by diffusers' mixin.
    processor: Callable[..., torch.Tensor]
    set_processor: Callable[..., None]
    _available_processors = [AttnProcessor]
    # In most layers keys and values are cached, so there is nothing to fuse.
    _supports_qkv_fusion = False

    def __init__(self, hidden_size: int, num_attention_heads: int, cross_attention_dim: int | None = None):
        super().__init__()
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"hidden size {hidden_size} cannot be split into {num_attention_heads} equal heads: "
                "choose a number of heads that divides it."
            )
        cross_attention_dim = cross_attention_dim or hidden_size
        self.heads = num_attention_heads
        self.to_q = nn.Linear(hidden_size, hidden_size)
        self.to_k = nn.Linear(cross_attention_dim, hidden_size)
        self.to_v = nn.Linear(cross_attention_dim, hidden_size)
        self.to_out = nn.Linear(hidden_size, hidden_size)
        self.set_processor(AttnProcessor())

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(B, L, D) to (B, L, heads, D / heads)."""
        return rearrange(states, "batch length (heads dim) -> batch length heads dim", heads=self.heads)

    def keys_values(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`states` (B, S, D') to keys and values, each (B, S, heads, D / heads)."""
        return self.split_heads(self.to_k(states)), self.split_heads(self.to_v(states))

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        keys_values: tuple[torch.Tensor, torch.Tensor] | None = None,
        rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Attend from `hidden_states` (B, L, D) to themselves, to `encoder_hidden_states` or to `keys_values`.

        Args:
            encoder_hidden_states: (B, S, D').
            attention_mask: (B, S) boolean, True where there is data; None if nothing is padded. Backends without masks
                (flash attention) need None.
            keys_values: from `keys_values()`, in place of `encoder_hidden_states`.
            rotary: cosines and sines from `rotary_table`, for self-attention.

        Returns: (B, L, D).
        """
        return self.processor(self, hidden_states, encoder_hidden_states, attention_mask, keys_values, rotary)


def rotary_table(length: int, head_dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines (length, head_dim) of rotary positions (arXiv 2104.09864)."""
    positions = torch.arange(length, device=device, dtype=torch.float32)
    return get_1d_rotary_pos_embed(head_dim, positions, use_real=True)
