"""The left half of figure 1: from a prompt and phonemes to the denoiser's condition (NaturalSpeech 2, section 3.2).

The pipeline, the training objective and distillation all condition the denoiser through these functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch

from .modeling_outputs import VarianceAdaptorOutput


class ConditioningModels(Protocol):
    """An object with the three models of the condition as attributes: a pipeline, or a training objective."""

    prompt_encoder: Any
    phoneme_encoder: Any
    variance_adaptor: Any


class Condition(NamedTuple):
    """The conditioning of the denoiser.

    Args:
        frames: phoneme states at frame rate with pitch, and the durations and pitch that were used.
        prompt_hidden_states: (B, Tp, D).
        prompt_mask: (B, Tp) boolean, or None if no prompt is padded.
    """

    frames: VarianceAdaptorOutput
    prompt_hidden_states: torch.Tensor
    prompt_mask: torch.Tensor | None


def encode_prompt(
    models: ConditioningModels, prompt_latents: torch.Tensor, prompt_mask: torch.Tensor | None
) -> torch.Tensor:
    """Prompt latents (B, C, Tp) and their mask (B, Tp) to prompt states (B, Tp, D) (section 3.3)."""
    encoder = models.prompt_encoder
    return encoder(prompt_latents.to(encoder.dtype), prompt_mask).last_hidden_state


def encode_text(
    models: ConditioningModels,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prompt_hidden_states: torch.Tensor,
    prompt_mask: torch.Tensor | None,
    **controls,
) -> VarianceAdaptorOutput:
    """Convert phonemes to durations, pitch and the per-frame condition (section 3.2).

    Args:
        input_ids, attention_mask: (B, N) from the tokenizer.
        prompt_hidden_states, prompt_mask: prompt states from `encode_prompt`.
        controls: `durations`, `pitch`, `speaking_rate`, `pitch_shift`, `pitch_range` of `VarianceAdaptor.forward`.
    """
    encoder, adaptor = models.phoneme_encoder, models.variance_adaptor
    states = encoder(input_ids, attention_mask, prompt_hidden_states.to(encoder.dtype), prompt_mask).last_hidden_state
    prompt = prompt_hidden_states.to(adaptor.dtype)
    return adaptor(states.to(adaptor.dtype), attention_mask, prompt, prompt_mask, **controls)


def encode_condition(
    models: ConditioningModels,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    prompt_latents: torch.Tensor,
    prompt_mask: torch.Tensor | None,
    **controls,
) -> Condition:
    """`encode_prompt`, then `encode_text`, with their arguments."""
    prompt = encode_prompt(models, prompt_latents, prompt_mask)
    frames = encode_text(models, input_ids, attention_mask, prompt, prompt_mask, **controls)
    return Condition(frames, prompt, prompt_mask)
