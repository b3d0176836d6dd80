"""Learned alignment of phonemes and frames (One TTS Alignment To Rule Them All, arXiv 2108.10447)."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from .compact_weights import CompactModelMixin
from .lora import LoraModelMixin
from .modeling_outputs import PhonemeAlignerOutput


class PhonemeAligner(LoraModelMixin, CompactModelMixin, ConfigMixin):
    """Assigns frames to phonemes, by the distance between their encodings.

    Frames are standardised within each utterance, which removes most of the influence of speaker and microphone. They
    are then encoded with a little context; the paper has one convolution of 3 frames there.

    Args:
        vocab_size: number of symbols of the tokenizer.
        feature_channels: channels of the frames to align: mel bands or codec latents.
        hidden_size: width of the phoneme embedding and of both stacks of convolutions.
        attention_channels: width in which distances are computed.
        frame_kernel_sizes: kernel sizes of the convolutions over frames. More context identifies the phoneme better
            and its time less precisely.
        temperature: factor of the squared distance (the paper's 5e-4 is for much wider vectors).
        dropout: dropout between convolutions.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["Conv1d"]
    _repeated_blocks = ["Conv1d"]
    _skip_layerwise_casting_patterns: list[str] = []

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 227,
        feature_channels: int = 80,
        hidden_size: int = 192,
        attention_channels: int = 80,
        frame_kernel_sizes: tuple[int, ...] = (5, 5, 5),
        temperature: float = 0.02,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.phoneme_convs = nn.ModuleList(
            [_convolution(hidden_size, hidden_size, 3), _convolution(hidden_size, attention_channels, 1)]
        )
        widths = [feature_channels] + [hidden_size] * len(frame_kernel_sizes)
        self.frame_convs = nn.ModuleList(
            _convolution(width, hidden_size, size) for width, size in zip(widths, frame_kernel_sizes, strict=False)
        )
        self.frame_convs.append(_convolution(hidden_size, attention_channels, 1))
        self.drop = nn.Dropout(dropout)
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
            features: (B, C, T) frames.
            input_ids: (B, N) int64.
            feature_mask, attention_mask: (B, T) and (B, N) boolean, True where there is data.
            prior: (B, T, N) probabilities added as logarithms (`data.alignment_prior`).
        """
        features = standardize(features.to(self.dtype), feature_mask)
        phonemes = self._stack(self.phoneme_convs, self.embedding(input_ids).transpose(1, 2), attention_mask)
        frames = self._stack(self.frame_convs, features, feature_mask)
        distances = torch.cdist(frames.transpose(1, 2).float(), phonemes.transpose(1, 2).float()) ** 2
        scores = -self.config.temperature * distances
        if attention_mask is not None:
            scores = scores.masked_fill(~attention_mask.bool().unsqueeze(1), -1e4)
        log_probs = scores.log_softmax(-1)
        if prior is not None:
            scores = log_probs = log_probs + torch.log(prior + 1e-8)
        return PhonemeAlignerOutput(log_probs, scores) if return_dict else (log_probs, scores)

    def _stack(self, convs: nn.ModuleList, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        for index, conv in enumerate(convs):
            states = self.drop(torch.relu(states)) if index else states
            # Convolutions read beyond the end, so the padding must be zero.
            states = states if mask is None else states * mask.unsqueeze(1)
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
        """Frames of each phoneme, (B, N) int64, by monotonic alignment search over the scores, without dropout."""
        was_training = self.training
        log_probs = self.eval()(features, input_ids, feature_mask, attention_mask, prior).log_probs
        self.train(was_training)
        return monotonic_alignment_search(log_probs, feature_mask, attention_mask)


def standardize(features: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Standardise every channel over the frames of each item (mean 0, deviation 1), (B, C, T); 0 in the padding."""
    mask = torch.ones_like(features[:, :1]) if mask is None else mask.unsqueeze(1).to(features.dtype)
    count = mask.sum(2, keepdim=True)
    centred = (features - (features * mask).sum(2, keepdim=True) / count) * mask
    return centred / (centred.square().sum(2, keepdim=True) / count + 1e-5).sqrt()


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


def _convolution(channels_in: int, channels_out: int, kernel_size: int) -> nn.Conv1d:
    return nn.Conv1d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
