"""Output dataclasses of the models, as in diffusers.

Fields after the first have defaults, because accelerate rebuilds an output field by field when it casts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput


@dataclass
class EncoderOutput(BaseOutput):
    """Output of `PhonemeEncoder` and `SpeechPromptEncoder`.

    Args:
        last_hidden_state: (B, L, D); zero where the mask is False.
    """

    last_hidden_state: torch.Tensor


@dataclass
class DenoiserOutput(BaseOutput):
    """Output of a denoiser.

    Args:
        sample: (B, C, T), the scheduler's `prediction_type`; zero where the mask is False.
    """

    sample: torch.Tensor


@dataclass
class VarianceAdaptorOutput(BaseOutput):
    """Output of `VarianceAdaptor`.

    Args:
        condition: (B, T, D), phoneme states at frame rate with pitch added.
        condition_mask: (B, T) boolean, True where there is a frame.
        durations: (B, N) int64, frames per phoneme that were used.
        pitch: (B, T) F0 in Hz that was used; 0 outside the mask.
        log_durations: (B, N) predicted log(1 + frames).
        log_pitch: (B, T) predicted log F0 in Hz.
    """

    condition: torch.Tensor
    condition_mask: torch.Tensor | None = None
    durations: torch.Tensor | None = None
    pitch: torch.Tensor | None = None
    log_durations: torch.Tensor | None = None
    log_pitch: torch.Tensor | None = None


@dataclass
class PhonemeAlignerOutput(BaseOutput):
    """Output of `PhonemeAligner`.

    Args:
        log_probs: (B, T, N) log-probability of each phoneme in each frame, prior included.
        scores: (B, T, N) the same before normalisation over phonemes, prior included; input of the
            forward-sum loss.
    """

    log_probs: torch.Tensor
    scores: torch.Tensor | None = None
