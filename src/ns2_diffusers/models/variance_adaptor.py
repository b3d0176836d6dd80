"""Durations, length regulator and pitch (NaturalSpeech 2, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from torch import nn

from .compact_weights import CompactModelMixin
from .lora import LoraModelMixin
from .modeling_outputs import VarianceAdaptorOutput
from .offloading import runs_like_forward
from .variance_predictor import VariancePredictor

# Upper limit of a predicted duration (hours), so that it stays finite.
MOST_FRAMES = 2**24


class VarianceAdaptor(LoraModelMixin, CompactModelMixin, ConfigMixin, AttentionMixin):
    """Predicts the duration and the pitch of phonemes, and repeats their states for each frame.

    Both predictors attend to the prompt: without it the prosody of the voice is lost (the paper's
    ablation, table 7).

    Args:
        hidden_size: D, of the phoneme states and of the prompt states.
        duration_kernel_size, pitch_kernel_size, num_predictor_layers, cross_attention_every: see
            `VariancePredictor`.
        pitch_bins: number of entries of the pitch embedding, spaced evenly in log F0.
        pitch_min, pitch_max: Hz at the first and last boundary between bins.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["VariancePredictor"]
    _repeated_blocks = ["VariancePredictor"]
    # With 8-bit weights, the last layer would have errors of half a semitone.
    _skip_layerwise_casting_patterns = ["norm", "proj_out"]
    _group_offload_block_modules = ["duration_predictor", "pitch_predictor"]

    @register_to_config
    def __init__(
        self,
        hidden_size: int = 512,
        num_predictor_layers: int = 30,
        duration_kernel_size: int = 3,
        pitch_kernel_size: int = 5,
        cross_attention_every: int = 3,
        num_attention_heads: int = 8,
        dropout: float = 0.5,
        pitch_bins: int = 512,
        pitch_min: float = 50.0,
        pitch_max: float = 1100.0,
    ):
        super().__init__()
        sizes: dict[str, Any] = {
            "hidden_size": hidden_size,
            "num_layers": num_predictor_layers,
            "cross_attention_every": cross_attention_every,
            "num_attention_heads": num_attention_heads,
            "dropout": dropout,
        }
        self.duration_predictor = VariancePredictor(kernel_size=duration_kernel_size, **sizes)
        self.pitch_predictor = VariancePredictor(kernel_size=pitch_kernel_size, **sizes)
        # Predictions start at a few frames and the middle of the range, instead of none and 1 Hz.
        nn.init.constant_(self.duration_predictor.proj_out.bias, math.log(1 + 4))
        nn.init.constant_(self.pitch_predictor.proj_out.bias, math.log(pitch_min * pitch_max) / 2)
        self.pitch_embedding = nn.Embedding(pitch_bins, hidden_size)

    def forward(
        self,
        phoneme_hidden_states: torch.Tensor,
        phoneme_mask: torch.Tensor | None,
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        durations: torch.Tensor | None = None,
        pitch: torch.Tensor | Callable[[torch.Tensor], torch.Tensor] | None = None,
        speaking_rate: float | torch.Tensor = 1.0,
        pitch_shift: float | torch.Tensor = 0.0,
        return_dict: bool = True,
        max_frames: int | None = None,
        pitch_range: float | torch.Tensor = 1.0,
    ) -> VarianceAdaptorOutput | tuple[torch.Tensor, ...]:
        """Make the denoiser's condition: `predict_durations`, `expand`, `add_pitch`.

        Both predictors always run, because the losses need them; given values replace the predicted ones.

        Args:
            phoneme_hidden_states: (B, N, D).
            phoneme_mask: (B, N) boolean.
            prompt_hidden_states, prompt_mask: (B, Tp, D) and (B, Tp) boolean.
            durations: (B, N) frames, in place of predicted ones (ground truth in training, a song).
            pitch: (B, T) F0 in Hz without gaps, in place of predicted pitch, where T is the sum of `durations`; or a
                function that returns it for the durations (B, N) that are used.
            speaking_rate: divides predicted durations (2 is twice as fast); a number, (B,), or (B, N) per phoneme.
            pitch_shift: semitones added to predicted pitch; same forms.
            max_frames: maximum number of frames of an item, checked before memory is used; no limit if None.
            pitch_range: factor of the distance of predicted log F0 from its mean; a number or (B,).

        Raises:
            ValueError: the given pitch does not have one value per frame; or there are more than `max_frames`, also
                if predicted durations are NaN or infinite.
        """
        prompt = prompt_hidden_states, prompt_mask
        predicted, log_durations = self._predict_durations(phoneme_hidden_states, phoneme_mask, *prompt, speaking_rate)
        if max_frames is not None:
            check_frames(predicted if durations is None else durations, max_frames)
        durations = predicted if durations is None else durations
        states, mask = self.expand(phoneme_hidden_states, durations)
        if callable(pitch):
            pitch = pitch(durations)
        if isinstance(pitch_shift, torch.Tensor) and pitch_shift.ndim == 2:
            pitch_shift = self.expand(pitch_shift.unsqueeze(-1), durations)[0].squeeze(-1)
        condition, pitch, log_pitch = self._add_pitch(states, mask, *prompt, pitch, pitch_shift, pitch_range)
        output = VarianceAdaptorOutput(condition, mask, durations, pitch, log_durations, log_pitch)
        return output if return_dict else output.to_tuple()

    @runs_like_forward
    def predict_durations(
        self,
        phoneme_hidden_states: torch.Tensor,
        phoneme_mask: torch.Tensor | None,
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        speaking_rate: float | torch.Tensor = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Durations (B, N) in whole frames, and the predicted log(1 + frames) (B, N), float32; see `forward`."""
        return self._predict_durations(
            phoneme_hidden_states, phoneme_mask, prompt_hidden_states, prompt_mask, speaking_rate
        )

    def _predict_durations(
        self, phoneme_hidden_states, phoneme_mask, prompt_hidden_states, prompt_mask, speaking_rate
    ):
        phoneme_hidden_states = phoneme_hidden_states.to(self.dtype)
        prompt_hidden_states = prompt_hidden_states.to(self.dtype)
        log_durations = self.duration_predictor(phoneme_hidden_states, phoneme_mask, prompt_hidden_states, prompt_mask)
        return round_durations(log_durations, phoneme_mask, speaking_rate), log_durations

    @staticmethod
    def expand(phoneme_hidden_states: torch.Tensor, durations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The length regulator: states (B, T, D) at frame rate, and their mask (B, T); see `regulate_length`."""
        return regulate_length(phoneme_hidden_states, durations)

    @runs_like_forward
    def add_pitch(
        self,
        states: torch.Tensor,
        mask: torch.Tensor,
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        pitch: torch.Tensor | None = None,
        pitch_shift: float | torch.Tensor = 0.0,
        pitch_range: float | torch.Tensor = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predict the pitch of frames and add its embedding.

        Args:
            states, mask: (B, T, D) and (B, T) from `expand`.
            prompt_hidden_states, prompt_mask, pitch, pitch_range: see `forward`.
            pitch_shift: a number, (B,), or (B, T) per frame.

        Returns: the condition (B, T, D), the F0 in Hz that was used (B, T), the predicted log F0 (B, T).

        Raises:
            ValueError: the given pitch does not have one value per frame.
        """
        return self._add_pitch(states, mask, prompt_hidden_states, prompt_mask, pitch, pitch_shift, pitch_range)

    def _add_pitch(self, states, mask, prompt_hidden_states, prompt_mask, pitch, pitch_shift, pitch_range=1.0):
        if pitch is not None and pitch.shape != mask.shape:
            raise ValueError(
                f"pitch has shape {tuple(pitch.shape)} and the durations sum to {mask.shape[1]} frames for "
                f"{mask.shape[0]} items: give one F0 value in Hz per frame, shape {tuple(mask.shape)}."
            )
        states, prompt_hidden_states = states.to(self.dtype), prompt_hidden_states.to(self.dtype)
        log_pitch = self.pitch_predictor(states, mask, prompt_hidden_states, prompt_mask)
        if pitch is None:
            shift = _per_item(pitch_shift, log_pitch.device) / 12
            wanted = log_pitch.float()
            if isinstance(pitch_range, torch.Tensor) or pitch_range != 1:
                mean = (wanted * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
                wanted = mean + _per_item(pitch_range, wanted.device) * (wanted - mean)
            pitch = torch.exp(wanted) * 2**shift
        pitch = pitch.float() * mask
        bins = torch.bucketize(pitch, self.pitch_boundaries(pitch.device))
        condition = (states + self.pitch_embedding(bins)) * mask.unsqueeze(-1)
        return condition, pitch, log_pitch

    def pitch_boundaries(self, device: torch.device | None = None) -> torch.Tensor:
        """Hz between the bins of the pitch embedding, (pitch_bins - 1,), in float32 whatever the model's dtype."""
        low, high = math.log(self.config.pitch_min), math.log(self.config.pitch_max)
        return torch.linspace(low, high, self.config.pitch_bins - 1, device=device).exp()


def round_durations(
    log_durations: torch.Tensor,
    phoneme_mask: torch.Tensor | None = None,
    speaking_rate: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    """Convert predicted log(1 + frames) (B, N) to whole frames, at least one per item; rates: one, (B,) or (B, N)."""
    rate = _per_item(speaking_rate, log_durations.device)
    frames = torch.round(torch.expm1(log_durations.float()) / rate).nan_to_num(MOST_FRAMES)
    frames = frames.clamp(min=0, max=MOST_FRAMES).long()
    if phoneme_mask is not None:
        frames = frames * phoneme_mask
    # The denoiser cannot attend to an item without frames.
    frames[:, 0] += (frames.sum(1) == 0).long()
    return frames


def _per_item(value: float | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Convert a number or (B,) to (B, 1); tensors with two dimensions are returned unchanged."""
    value = torch.as_tensor(value, device=device)
    return value if value.ndim == 2 else value.reshape(-1, 1)


def check_frames(durations: torch.Tensor, max_frames: int) -> None:
    """Raise a ValueError if the durations (B, N) of an item sum to more than `max_frames`."""
    if (frames := int(durations.sum(1).max())) > max_frames:
        raise ValueError(
            f"one sentence would have {frames} latent frames, and at most {max_frames} are spoken at once "
            "(max_utterance_seconds of the pipeline's config): shorten the text or speak it faster. A model that was "
            "not trained, or that is broken, predicts such durations too."
        )


def regulate_length(phoneme_hidden_states: torch.Tensor, durations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat each phoneme's state (B, N, D) for its frames (B, N): (B, T, D) and the mask (B, T)."""
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=durations.device)
    # Frame t belongs to the first phoneme that ends after t.
    owner = torch.searchsorted(ends, frames.expand(len(ends), -1).contiguous(), right=True)
    mask = frames < ends[:, -1:]
    owner = owner.clamp(max=durations.shape[1] - 1).unsqueeze(-1)
    states = torch.take_along_dim(phoneme_hidden_states, owner, dim=1)
    return states * mask.unsqueeze(-1), mask
