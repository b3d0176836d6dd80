"""The modern denoiser: a Transformer with adaptive norms, an alternative to the WaveNet."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin, FeedForward
from einops import rearrange
from torch import nn

from .attention import Attention, rotary_table
from .compact_weights import CompactModelMixin
from .denoiser import DenoiserConditioning, DenoiserMixin
from .lora import LoraModelMixin
from .modeling_outputs import DenoiserOutput
from .offloading import runs_like_forward


class RMSNorm(nn.RMSNorm):
    """torch's RMSNorm in the dtype of its input.

    Under autocast, or if norms are kept in float32, a weight of another dtype would prevent torch's fused kernel.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        weight = None if self.weight is None else self.weight.to(hidden_states.dtype)
        return nn.functional.rms_norm(hidden_states, self.normalized_shape, weight, self.eps)


class TransformerDenoiserBlock(nn.Module):
    """Depthwise convolution and rotary self-attention, cross-attention to the prompt queries, GEGLU.

    The norms before attention and feed-forward take their scale and shift from the time embedding. Gates start at zero
    (DiT, arXiv 2212.09748), so that a new block changes nothing.
    """

    def __init__(
        self,
        hidden_size: int,
        num_attention_heads: int,
        feed_forward_mult: int,
        kernel_size: int,
        dropout: float,
    ):
        super().__init__()
        self.modulation = nn.Linear(hidden_size, 6 * hidden_size)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.norm1 = RMSNorm(hidden_size, eps=1e-6)
        self.conv = nn.Conv1d(hidden_size, hidden_size, kernel_size, padding=kernel_size // 2, groups=hidden_size)
        self.attention = Attention(hidden_size, num_attention_heads)
        self.norm2 = RMSNorm(hidden_size, eps=1e-6)
        self.cross_attention = Attention(hidden_size, num_attention_heads)
        self.norm3 = RMSNorm(hidden_size, eps=1e-6)
        self.feed_forward = FeedForward(hidden_size, mult=feed_forward_mult, activation_fn="geglu", dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    @runs_like_forward
    def encode_conditioning(self, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Prompt queries (B, Q, D) to the keys and values of the cross-attention."""
        return self.cross_attention.keys_values(queries)

    def forward(
        self,
        hidden_states: torch.Tensor,
        time: torch.Tensor,
        keys_values: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor | None,
        rotary: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """`hidden_states` (B, T, D), `time` (B, D) after its activation, to (B, T, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(time).unsqueeze(1).chunk(6, dim=-1)
        states = self.norm1(hidden_states) * (1 + scale1) + shift1
        if mask is not None:
            states = states * mask.unsqueeze(-1)
        states = states + self.conv(states.transpose(1, 2)).transpose(1, 2)
        attended = self.attention(states, attention_mask=mask, rotary=rotary)
        hidden_states = hidden_states + gate1 * self.dropout(attended)
        hidden_states = hidden_states + self.cross_attention(self.norm2(hidden_states), keys_values=keys_values)
        states = self.norm3(hidden_states) * (1 + scale2) + shift2
        return hidden_states + gate2 * self.feed_forward(states)


class TransformerDenoiser(LoraModelMixin, CompactModelMixin, ConfigMixin, AttentionMixin, DenoiserMixin):
    """A Transformer over noisy latents and their condition, frame by frame.

    Args:
        latent_channels: C of the codec.
        hidden_size: D of the blocks.
        condition_dim: width of the condition and of the prompt states.
        kernel_size: kernel size of the depthwise convolution before each self-attention.
        num_query_tokens: number of learned queries for the prompt.
        patch_size: number of neighbouring frames that the blocks process as one (DiT, section 3.2), which divides the
            work by this number.
        prompt_modulation: whether the mean of the prompt queries scales and shifts every norm, like the time.
        continuous_time: embed t in (0, 1] instead of the timestep.
        guidance_embeds: take a distilled guidance scale.
        self_conditioning: take an earlier estimate of the clean latents (arXiv 2208.04202, section 3.2).
        guidance_range: least and greatest scale of the distillation; the pipeline refuses others.
        learned_nulls: False for weights that were never trained without condition and prompt (Amphion's). They can
            learn it; until then the pipeline refuses to guide them.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerDenoiserBlock", "PromptQueries", "TimeEmbedding"]
    _repeated_blocks = ["TransformerDenoiserBlock"]
    _skip_layerwise_casting_patterns = ["norm", "time_embedding", "modulation"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 256,
        hidden_size: int = 768,
        condition_dim: int = 512,
        num_layers: int = 12,
        num_attention_heads: int = 12,
        feed_forward_mult: int = 4,
        kernel_size: int = 5,
        num_query_tokens: int = 32,
        patch_size: int = 1,
        prompt_modulation: bool = False,
        dropout: float = 0.1,
        continuous_time: bool = False,
        guidance_embeds: bool = False,
        guidance_range: list[float] | None = None,
        learned_nulls: bool = True,
        self_conditioning: bool = False,
    ):
        super().__init__()
        self._init_shared(
            hidden_size,
            condition_dim,
            num_query_tokens,
            num_attention_heads,
            continuous_time,
            guidance_embeds,
        )
        self.proj_in = nn.Linear(patch_size * (1 + self_conditioning) * latent_channels, hidden_size)
        self.condition_norm = nn.LayerNorm(condition_dim)
        self.condition_proj = nn.Linear(patch_size * condition_dim, hidden_size)
        self.prompt_proj = nn.Linear(hidden_size, hidden_size) if prompt_modulation else None
        self.blocks = nn.ModuleList(
            TransformerDenoiserBlock(hidden_size, num_attention_heads, feed_forward_mult, kernel_size, dropout)
            for _ in range(num_layers)
        )
        self.head_dim = hidden_size // num_attention_heads
        self.norm_out = RMSNorm(hidden_size, eps=1e-6)
        self.modulation_out = nn.Linear(hidden_size, 2 * hidden_size)
        self.proj_out = nn.Linear(hidden_size, patch_size * latent_channels)
        for layer in (self.modulation_out, self.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.gradient_checkpointing = False

    def _encode_conditioning(self, encoder_hidden_states: torch.Tensor, queries: torch.Tensor) -> DenoiserConditioning:
        if encoder_hidden_states.shape[1] == 1:
            encoder_hidden_states = encoder_hidden_states.expand(-1, self.config.patch_size, -1)
        condition = self.condition_proj(self._fold(self.condition_norm(self._pad(encoder_hidden_states))))
        blocks: Any = self.blocks
        return DenoiserConditioning(
            (condition,),
            tuple(block.encode_conditioning(queries) for block in blocks),
            None if self.prompt_proj is None else self.prompt_proj(queries.mean(1)),
        )

    def _pad(self, states: torch.Tensor) -> torch.Tensor:
        """Pad (B, T, D) with zero frames to a whole number of patches."""
        return nn.functional.pad(states, (0, 0, 0, -states.shape[1] % self.config.patch_size))

    def _fold(self, states: torch.Tensor) -> torch.Tensor:
        """(B, T, D) of whole patches → (B, patches, patch_size * D)."""
        return rearrange(
            states, "batch (patches frames) dim -> batch patches (frames dim)", frames=self.config.patch_size
        )

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor | None = None,
        prompt_hidden_states: torch.Tensor | None = None,
        sample_mask: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        guidance: torch.Tensor | float | None = None,
        conditioning: DenoiserConditioning | None = None,
        self_condition: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> DenoiserOutput | tuple[torch.Tensor]:
        """Denoise; arguments, shapes and errors are those of `WaveNetDenoiser.forward`."""
        self._check_sample(sample)
        if conditioning is None:
            conditioning = self._make_conditioning(
                encoder_hidden_states, prompt_hidden_states, prompt_mask, sample.shape[0], sample_mask
            )
        dtype, sample = sample.dtype, sample.to(self.dtype)
        frames, patch = sample.shape[-1], self.config.patch_size
        keep: torch.Tensor | float = 1.0
        mask: torch.Tensor | None = None
        if sample_mask is not None:
            keep, mask = sample_mask.unsqueeze(-1).to(sample.dtype), sample_mask.bool()[:, ::patch]
        time = self.time_embedding(timestep, guidance, sample.shape[0], sample)
        if conditioning.prompt_embedding is not None:
            time = time + conditioning.prompt_embedding

        states = self._with_estimate(sample, self_condition).transpose(1, 2) * keep
        hidden_states = self.proj_in(self._fold(self._pad(states))) + conditioning.conditions[0]
        activated = nn.functional.silu(time)
        rotary = rotary_table(hidden_states.shape[1], self.head_dim, sample.device)
        for block, pair in zip(self.blocks, conditioning.prompt_keys_values, strict=True):
            arguments = (hidden_states, activated, pair, mask, rotary)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states = self._gradient_checkpointing_func(block, *arguments)
            else:
                hidden_states = block(*arguments)
        scale, shift = self.modulation_out(activated).unsqueeze(1).chunk(2, dim=-1)
        hidden_states = self.norm_out(hidden_states) * (1 + scale) + shift
        output = rearrange(
            self.proj_out(hidden_states), "batch patches (frames dim) -> batch (patches frames) dim", frames=patch
        )
        output = (output[:, :frames] * keep).transpose(1, 2).to(dtype)
        return DenoiserOutput(output) if return_dict else (output,)
