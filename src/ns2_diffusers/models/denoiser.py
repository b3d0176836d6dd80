"""Parts shared by both denoisers: time, guidance, prompt queries, learned nulls, the per-utterance cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import nn

from .attention import Attention
from .offloading import runs_like_forward

NUM_TRAIN_TIMESTEPS = 1000


class DenoiserConditioning(NamedTuple):
    """Conditioning that is the same at every step of an utterance.

    Args:
        conditions: the condition in the form of each layer; a length of 1 applies to every frame.
        prompt_keys_values: keys and values of the prompt queries, one pair per attention.
        prompt_embedding: (B, D) added to the time embedding, for denoisers with modulation by the prompt.
    """

    conditions: tuple[torch.Tensor, ...]
    prompt_keys_values: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    prompt_embedding: torch.Tensor | None = None


class TimeEmbedding(nn.Module):
    """Sines and cosines of the timestep through an MLP; a guidance scale (arXiv 2210.03142) is added.

    Args:
        continuous: embed t = (timestep + 1) / 1000 in (0, 1], as Amphion does, instead of the timestep.
        guidance: also take a guidance scale.
    """

    def __init__(self, hidden_size: int, continuous: bool, guidance: bool):
        super().__init__()
        self.continuous = continuous
        self.sinusoids = Timesteps(hidden_size, flip_sin_to_cos=False, downscale_freq_shift=1)
        self.mlp = TimestepEmbedding(hidden_size, 4 * hidden_size, act_fn="mish", out_dim=hidden_size)
        self.guidance_mlp = None
        if guidance:
            self.guidance_mlp = TimestepEmbedding(hidden_size, 4 * hidden_size, act_fn="mish", out_dim=hidden_size)

    def forward(
        self,
        timestep: torch.Tensor | float,
        guidance: torch.Tensor | float | None,
        batch_size: int,
        like: torch.Tensor,
    ) -> torch.Tensor:
        """Embed one number or (B,) numbers: (B, D), in the dtype and on the device of `like`."""
        timestep = _per_item(timestep, batch_size, like.device)
        if self.continuous:
            timestep = (timestep + 1) / NUM_TRAIN_TIMESTEPS
        embedding = self.mlp(self.sinusoids(timestep).to(like.dtype))
        if self.guidance_mlp is None:
            if guidance is not None:
                raise ValueError(
                    "guidance was given to a denoiser that was not distilled to take it: leave it out, or "
                    "load a denoiser with guidance_embeds=True."
                )
            return embedding
        # A scale of 1 is off; it is the default of a guidance-distilled denoiser.
        guidance = _per_item(1.0 if guidance is None else guidance, batch_size, like.device)
        return embedding + self.guidance_mlp(self.sinusoids(guidance * NUM_TRAIN_TIMESTEPS).to(like.dtype))


def _per_item(value: torch.Tensor | float, batch_size: int, device: torch.device) -> torch.Tensor:
    value = torch.as_tensor(value, dtype=torch.float32, device=device)
    return value.reshape(-1).expand(batch_size)


class PromptQueries(nn.Module):
    """Learned query tokens that attend to the prompt states (the paper: 32; section 3.3 and figure 3, Q-K-V).

    The other layers attend only to these, so their cost does not depend on the length of the prompt.
    """

    def __init__(self, num_query_tokens: int, hidden_size: int, prompt_dim: int, num_attention_heads: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(num_query_tokens, hidden_size) * hidden_size**-0.5)
        self.attention = Attention(hidden_size, num_attention_heads, prompt_dim)

    def forward(self, prompt_hidden_states: torch.Tensor, prompt_mask: torch.Tensor | None) -> torch.Tensor:
        """(B, Tp, D') and (B, Tp) to (B, queries, D)."""
        tokens = self.tokens.expand(prompt_hidden_states.shape[0], -1, -1)
        return self.attention(tokens, prompt_hidden_states, prompt_mask)


class DenoiserMixin:
    """Learned nulls for missing conditions and prompts, and the rules for their use."""

    # Attributes of the model that uses this mixin.
    config: Any
    dtype: torch.dtype
    _encode_conditioning: Callable[[torch.Tensor, torch.Tensor], DenoiserConditioning]

    def _init_shared(
        self,
        hidden_size: int,
        condition_dim: int,
        num_query_tokens: int,
        num_attention_heads: int,
        continuous_time: bool,
        guidance_embeds: bool,
    ) -> None:
        self.null_condition = nn.Parameter(torch.zeros(condition_dim))
        self.null_prompt = nn.Parameter(torch.randn(condition_dim) * condition_dim**-0.5)
        self.time_embedding = TimeEmbedding(hidden_size, continuous_time, guidance_embeds)
        self.prompt_queries = PromptQueries(num_query_tokens, hidden_size, condition_dim, num_attention_heads)

    @runs_like_forward
    def encode_conditioning(
        self,
        encoder_hidden_states: torch.Tensor | None = None,
        prompt_hidden_states: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        batch_size: int = 1,
        sample_mask: torch.Tensor | None = None,
    ) -> DenoiserConditioning:
        """Compute everything that depends on the condition and the prompt once for all steps.

        Args:
            encoder_hidden_states: (B, T, D), the variance adaptor's condition; the learned null if None.
            prompt_hidden_states, prompt_mask: (B, Tp, D) and (B, Tp) boolean; the learned null if None.
            batch_size: only used if both are None.
            sample_mask: (B, T) boolean; padding of the condition is ignored.

        Returns: the argument `conditioning` of `forward`; it gives exactly the same result.
        """
        return self._make_conditioning(
            encoder_hidden_states, prompt_hidden_states, prompt_mask, batch_size, sample_mask
        )

    def _make_conditioning(
        self, encoder_hidden_states, prompt_hidden_states, prompt_mask, batch_size, sample_mask
    ) -> DenoiserConditioning:
        """`encode_conditioning` for use within `forward`."""
        for given in (encoder_hidden_states, prompt_hidden_states):
            if given is not None:
                # `len` would fix the size in an exported graph.
                batch_size = given.shape[0]
        if encoder_hidden_states is None:
            frames = 1 if sample_mask is None else sample_mask.shape[1]
            encoder_hidden_states = self.null_condition.expand(batch_size, frames, -1)
        if sample_mask is not None:
            encoder_hidden_states = encoder_hidden_states * sample_mask.unsqueeze(-1)
        if prompt_hidden_states is None:
            prompt_hidden_states, prompt_mask = self.null_prompt.expand(batch_size, 1, -1), None
        queries = self.prompt_queries(prompt_hidden_states.to(self.dtype), prompt_mask)
        return self._encode_conditioning(encoder_hidden_states.to(self.dtype), queries)

    @runs_like_forward
    def replace_with_nulls(
        self,
        encoder_hidden_states: torch.Tensor,
        prompt_hidden_states: torch.Tensor,
        drop_condition: torch.Tensor,
        drop_prompt: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace the condition and the prompt of some items of a batch by the learned nulls.

        Args:
            encoder_hidden_states: (B, T, D).
            prompt_hidden_states: (B, Tp, D).
            drop_condition, drop_prompt: (B,) boolean, True for items that get the null.
        """
        condition_dtype, prompt_dtype = encoder_hidden_states.dtype, prompt_hidden_states.dtype
        # Attention over copies of one vector equals attention to that vector, whatever the mask.
        return (
            torch.where(drop_condition[:, None, None], self.null_condition.to(condition_dtype), encoder_hidden_states),
            torch.where(drop_prompt[:, None, None], self.null_prompt.to(prompt_dtype), prompt_hidden_states),
        )

    def _with_estimate(self, sample: torch.Tensor, self_condition: torch.Tensor | None) -> torch.Tensor:
        """Append ẑ₀ of the previous step to the noisy latents, for a denoiser that takes it: (B, 2C, T)."""
        if not self.config.self_conditioning:
            if self_condition is not None:
                raise ValueError(
                    "self_condition was given to a denoiser that takes none: leave it out, or load one with "
                    "self_conditioning=True."
                )
            return sample
        if self_condition is None:
            self_condition = torch.zeros_like(sample)
        return torch.cat([sample, self_condition.to(sample.dtype)], dim=1)

    def _check_sample(self, sample: torch.Tensor) -> None:
        if sample.ndim != 3 or sample.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"sample has shape {tuple(sample.shape)}; wanted (batch, {self.config.latent_channels}, "
                "frames): the latents of the codec that this denoiser was trained with."
            )
