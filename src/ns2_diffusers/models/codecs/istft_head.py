"""Converts frames of hidden states to a waveform by an inverse STFT (Vocos, arXiv 2306.00814, section 3.3)."""

from __future__ import annotations

import torch
from torch import nn


class ISTFTHead(nn.Module):
    """A linear layer predicts log-magnitude and phase of every bin; overlap-add makes the samples.

    "Same" padding: T frames become exactly T * hop_length samples. torch.istft does not support this, because it
    checks the sum of the windows at edges that are cut off here.

    Args:
        dim: width of the hidden states.
        hop_length: samples per frame of hidden states.
        n_fft: length of window and transform, samples.
    """

    def __init__(self, dim: int, hop_length: int, *, n_fft: int = 1280):
        super().__init__()
        if n_fft < 2 * hop_length or n_fft % 2:
            raise ValueError(
                f"n_fft must be even and at least twice hop_length, or frames leave gaps; got n_fft={n_fft}, "
                f"hop_length={hop_length}."
            )
        self.n_fft, self.hop_length = n_fft, hop_length
        self.out = nn.Linear(dim, n_fft + 2)

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, dim) → (B, T * hop_length), zero where mask (B, T) is False."""
        log_magnitude, phase = self.out(hidden_states).float().transpose(1, 2).chunk(2, dim=1)
        # The ceiling prevents overflow early in training.
        magnitude = log_magnitude.exp().clamp(max=1e2)
        if mask is not None:
            magnitude = magnitude * mask.unsqueeze(1)
        return self._istft(torch.polar(magnitude, phase), mask)

    @property
    def margins(self) -> tuple[int, int]:
        """Frames before and after a range whose windows overlap it."""
        reach = -(-(self.n_fft - self.hop_length) // (2 * self.hop_length))
        return reach, reach

    def _istft(self, spectrum: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        batch, _, frames = spectrum.shape
        window = torch.hann_window(self.n_fft, device=spectrum.device).view(1, -1, 1)
        skip = (self.n_fft - self.hop_length) // 2
        waveform = overlap_add(torch.fft.irfft(spectrum, self.n_fft, dim=1) * window, self.hop_length, skip)
        # Masked frames must not count in the sum of the windows either; the last real frame would fade out.
        present = window.new_ones(1, 1, frames) if mask is None else mask.unsqueeze(1).to(window.dtype)
        envelope = overlap_add(window.square() * present, self.hop_length, skip)
        waveform = waveform / envelope.clamp(min=1e-11)
        if mask is not None:
            waveform = waveform * mask.repeat_interleave(self.hop_length, dim=1)
        return waveform


def overlap_add(frames: torch.Tensor, hop_length: int, skip: int) -> torch.Tensor:
    """Overlap-add frames (B, n, T) with a hop, and cut: (B, T * hop_length) after `skip` samples."""
    length, count = frames.shape[1:]
    summed = nn.functional.fold(
        frames,
        output_size=(1, (count - 1) * hop_length + length),
        kernel_size=(1, length),
        stride=(1, hop_length),
    )[:, 0, 0]
    return summed[:, skip : skip + count * hop_length]
