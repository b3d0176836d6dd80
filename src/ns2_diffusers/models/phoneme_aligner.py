"""Learned alignment of phonemes and frames (One TTS Alignment To Rule Them All, arXiv 2108.10447)."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from .modeling_outputs import PhonemeAlignerOutput


class PhonemeAligner(ModelMixin, ConfigMixin):
    """Says which phoneme each frame belongs to, from the distance between their encodings.

    Args:
        vocab_size: symbols of the tokenizer.
        feature_channels: channels of the frames to align: mel bands or codec latents.
        hidden_size: width of the phoneme embedding.
        attention_channels: width in which distances are taken.
        temperature: factor on the squared distance (the paper's 5e-4).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 227,
        feature_channels: int = 80,
        hidden_size: int = 512,
        attention_channels: int = 80,
        temperature: float = 5e-4,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.phoneme_convs = nn.ModuleList(
            [
                nn.Conv1d(hidden_size, 2 * hidden_size, 3, padding=1),
                _pointwise(2 * hidden_size, attention_channels),
            ]
        )
        self.frame_convs = nn.ModuleList(
            [
                nn.Conv1d(feature_channels, 2 * feature_channels, 3, padding=1),
                _pointwise(2 * feature_channels, feature_channels),
                _pointwise(feature_channels, attention_channels),
            ]
        )
        self.gradient_checkpointing = False

    def forward(
        self,
        features: torch.Tensor,
        input_ids: torch.Tensor,
        feature_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        prior: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> PhonemeAlignerOutput | tuple[torch.Tensor, ...]:
        """Score every phoneme in every frame.

        Args:
            features: (B, C, T) frames, about unit variance.
            input_ids: (B, N) int64.
            feature_mask, attention_mask: (B, T) and (B, N) boolean, True where there is data.
            prior: (B, T, N) probabilities added as logarithms (`training.losses.beta_binomial_prior`).
        """
        if feature_mask is not None:
            features = features * feature_mask.unsqueeze(1)
        embedded = self.embedding(input_ids).transpose(1, 2)
        if attention_mask is not None:
            embedded = embedded * attention_mask.unsqueeze(1)
        phonemes, frames = self._stack(self.phoneme_convs, embedded), self._stack(self.frame_convs, features)
        distances = torch.cdist(frames.transpose(1, 2).float(), phonemes.transpose(1, 2).float()) ** 2
        scores = -self.config.temperature * distances
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask.bool().unsqueeze(1), -1e4)
        log_probs = scores.log_softmax(-1)
        if prior is not None:
            scores = log_probs = log_probs + torch.log(prior + 1e-8)
        return PhonemeAlignerOutput(log_probs, scores) if return_dict else (log_probs, scores)

    def _stack(self, convs: nn.ModuleList, states: torch.Tensor) -> torch.Tensor:
        for index, conv in enumerate(convs):
            states = torch.relu(states) if index else states
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                states = self._gradient_checkpointing_func(conv, states)
            else:
                states = conv(states)
        return states

    @torch.no_grad()
    def align(
        self,
        features: torch.Tensor,
        input_ids: torch.Tensor,
        feature_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        prior: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Frames of each phoneme, (B, N) int64, by monotonic alignment search over the scores."""
        log_probs = self(features, input_ids, feature_mask, attention_mask, prior).log_probs
        return monotonic_alignment_search(log_probs, feature_mask, attention_mask)


def monotonic_alignment_search(
    log_probs: torch.Tensor,
    feature_mask: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """The likeliest path that gives every phoneme, in order, at least one frame (Glow-TTS, arXiv 2005.11129).

    Dynamic programming over frames, for all items and phonemes of the batch at once.

    Args:
        log_probs: (B, T, N).
        feature_mask, attention_mask: (B, T) and (B, N) boolean.

    Returns: durations (B, N) int64, which sum to each item's frames.

    Raises:
        ValueError: an item has more phonemes than frames.
    """
    batch, frames, phonemes = log_probs.shape
    scores = log_probs.detach().float().cpu().numpy().astype(np.float64)
    num_frames = _lengths(feature_mask, batch, frames)
    num_phonemes = _lengths(attention_mask, batch, phonemes)
    for item in np.flatnonzero(num_phonemes > num_frames):
        raise ValueError(
            f"item {item} has {num_phonemes[item]} phonemes and only {num_frames[item]} frames: every phoneme "
            "needs one; is this the transcript of that audio?"
        )
    best = np.full((batch, phonemes), -np.inf)
    best[:, 0] = scores[:, 0, 0]
    advanced = np.zeros((frames, batch, phonemes), dtype=bool)
    for frame in range(1, frames):
        come = np.concatenate([np.full((batch, 1), -np.inf), best[:, :-1]], axis=1)
        advanced[frame] = come > best
        best = np.maximum(best, come) + scores[:, frame]
    durations = np.zeros((batch, phonemes), dtype=np.int64)
    items = np.arange(batch)
    current = num_phonemes - 1
    for frame in range(frames - 1, -1, -1):
        inside = frame < num_frames
        durations[items[inside], current[inside]] += 1
        current = current - (inside & advanced[frame, items, current])
    return torch.from_numpy(durations).to(log_probs.device)


def _lengths(mask: torch.Tensor | None, batch: int, full: int) -> np.ndarray:
    return np.full(batch, full) if mask is None else mask.sum(1).cpu().numpy().astype(np.int64)


def _pointwise(channels_in: int, channels_out: int) -> nn.Conv1d:
    return nn.Conv1d(channels_in, channels_out, 1)
