"""The paper's denoiser: a WaveNet (NaturalSpeech 2, section 3.2, figure 3 and table 11)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from torch import nn

from .attention import Attention
from .compact_weights import CompactModelMixin
from .denoiser import DenoiserConditioning, DenoiserMixin
from .lora import LoraModelMixin
from .modeling_outputs import DenoiserOutput
from .offloading import runs_like_forward


class WaveNetLayer(nn.Module):
    """Dilated gated convolution with condition and time; FiLM by the prompt if `film` (section 3.3)."""

    def __init__(
        self,
        hidden_size: int,
        condition_dim: int,
        kernel_size: int,
        dilation: int,
        film: bool,
        num_attention_heads: int,
        dropout: float,
    ):
        super().__init__()
        self.dilated_conv = nn.Conv1d(
            hidden_size,
            2 * hidden_size,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
        )
        self.time_proj = nn.Linear(hidden_size, hidden_size)
        self.condition_proj = nn.Conv1d(condition_dim, 2 * hidden_size, 1)
        self.proj_out = nn.Conv1d(hidden_size, 2 * hidden_size, 1)
        self.dropout = nn.Dropout(dropout)
        self.attention = None
        if film:
            self.attention_norm = nn.LayerNorm(hidden_size)
            self.attention = Attention(hidden_size, num_attention_heads)
            self.film_gain = nn.Linear(hidden_size, 2 * hidden_size)
            self.film_bias = nn.Linear(hidden_size, 2 * hidden_size)

    @runs_like_forward
    def encode_conditioning(
        self, condition: torch.Tensor, queries: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """Condition (B, D', T) to (B, 2D, T); queries (B, Q, D) to keys and values, or None without FiLM."""
        keys_values = None if self.attention is None else self.attention.keys_values(queries)
        return self.condition_proj(condition), keys_values

    def forward(
        self,
        hidden_states: torch.Tensor,
        skips: torch.Tensor | float,
        time: torch.Tensor,
        condition: torch.Tensor,
        keys_values: tuple[torch.Tensor, torch.Tensor] | None,
        keep: torch.Tensor | float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`hidden_states` (B, D, T), the sum of earlier `skips`, `time` (B, D), `condition` (B, 2D, T) to the residual
        stream and the sum of skips, (B, D, T) each."""
        # Time is added before the convolution, so the padding must be set to zero again.
        states = (self.dropout(hidden_states) + self.time_proj(time).unsqueeze(-1)) * keep
        gates = self.dilated_conv(states) + condition
        if self.attention is not None:
            attended = self.attention(self.attention_norm(states.transpose(1, 2)), keys_values=keys_values)
            gain = self.film_gain(attended).transpose(1, 2)
            gates = gates * gain + self.film_bias(attended).transpose(1, 2)
        gate, signal = gates.chunk(2, dim=1)
        residual, skip = self.proj_out(torch.sigmoid(gate) * torch.tanh(signal)).chunk(2, dim=1)
        return (hidden_states + residual) / math.sqrt(2), skips + skip


class WaveNetDenoiser(LoraModelMixin, CompactModelMixin, ConfigMixin, AttentionMixin, DenoiserMixin):
    """Predicts clean latents from noisy ones with 40 gated convolutions.

    Args:
        latent_channels: C of the codec.
        hidden_size: residual and skip channels; the gates have twice as many.
        condition_dim: D of the condition and of the prompt states.
        dilation_cycle: layer i has dilation 2^(i mod cycle).
        num_query_tokens: number of learned queries for the prompt.
        cross_attention_every: layers 0, n, 2n … apply the queries by FiLM.
        continuous_time: embed t in (0, 1] instead of the timestep (Amphion's weights).
        guidance_embeds: take a distilled guidance scale.
        self_conditioning: take an earlier estimate of the clean latents (arXiv 2208.04202, section 3.2).
        guidance_range: least and greatest scale of the distillation; the pipeline refuses others.
        learned_nulls: False for weights that were never trained without condition and prompt (Amphion's). They can
            learn it; until then the pipeline refuses to guide them.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["WaveNetLayer", "PromptQueries", "TimeEmbedding"]
    _repeated_blocks = ["WaveNetLayer"]
    _skip_layerwise_casting_patterns = ["norm", "time_embedding", "^skip_proj$"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 256,
        hidden_size: int = 512,
        condition_dim: int = 512,
        num_layers: int = 40,
        kernel_size: int = 3,
        dilation_cycle: int = 2,
        num_query_tokens: int = 32,
        cross_attention_every: int = 3,
        num_attention_heads: int = 8,
        dropout: float = 0.2,
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
        self.proj_in = nn.Conv1d((1 + self_conditioning) * latent_channels, hidden_size, 1)
        self.condition_norm = nn.LayerNorm(condition_dim)
        self.layers = nn.ModuleList(
            WaveNetLayer(
                hidden_size,
                condition_dim,
                kernel_size,
                2 ** (index % dilation_cycle),
                index % cross_attention_every == 0,
                num_attention_heads,
                dropout,
            )
            for index in range(num_layers)
        )
        self.skip_proj = nn.Conv1d(hidden_size, hidden_size, 1)
        self.proj_out = nn.Conv1d(hidden_size, latent_channels, 1)
        # The last layer starts at zero, so training starts at the mean of the data.
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]
        self.gradient_checkpointing = False

    def _encode_conditioning(self, encoder_hidden_states: torch.Tensor, queries: torch.Tensor) -> DenoiserConditioning:
        condition = self.condition_norm(encoder_hidden_states).transpose(1, 2)
        layers: Any = self.layers
        encoded = [layer.encode_conditioning(condition, queries) for layer in layers]
        return DenoiserConditioning(
            tuple(condition for condition, _ in encoded),
            tuple(keys_values for _, keys_values in encoded if keys_values is not None),
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
        """Denoise.

        Args:
            sample: (B, C, T) noisy latents.
            timestep: in [0, 1000), a number or (B,).
            encoder_hidden_states: (B, T, D) condition; the learned null if None.
            prompt_hidden_states: (B, Tp, D); the learned null if None.
            sample_mask, prompt_mask: (B, T) and (B, Tp) boolean, True where there is data; None if nothing is
                padded, so that attention gets no mask.
            guidance: distilled guidance scale, a number or (B,).
            conditioning: from `encode_conditioning`, in place of condition and prompt.
            self_condition: (B, C, T), ẑ₀ of the previous step, for models with `self_conditioning`; zeros if None.

        Returns: (B, C, T) in the dtype of `sample`, whatever the dtype of the model.

        Raises:
            ValueError: the latents belong to another codec; guidance or an estimate for a model that takes none.
        """
        self._check_sample(sample)
        if conditioning is None:
            conditioning = self._make_conditioning(
                encoder_hidden_states, prompt_hidden_states, prompt_mask, sample.shape[0], None
            )
        dtype, sample = sample.dtype, sample.to(self.dtype)
        keep = 1.0 if sample_mask is None else sample_mask.unsqueeze(1).to(sample.dtype)
        time = self.time_embedding(timestep, guidance, sample.shape[0], sample)
        hidden_states = F.relu(self.proj_in(self._with_estimate(sample, self_condition)))
        skips = 0.0
        keys_values = iter(conditioning.prompt_keys_values)
        for layer, condition in zip(self.layers, conditioning.conditions, strict=True):
            pair = next(keys_values) if layer.attention is not None else None
            arguments = (hidden_states, skips, time, condition, pair, keep)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden_states, skips = self._gradient_checkpointing_func(layer, *arguments)
            else:
                hidden_states, skips = layer(*arguments)
        hidden_states = F.relu(self.skip_proj(skips / math.sqrt(len(self.layers))))
        output = (self.proj_out(hidden_states) * keep).to(dtype)
        return DenoiserOutput(output) if return_dict else (output,)
