"""Log-mel spectrogram as a differentiable module on the device of its input."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers.audio_utils import mel_filter_bank


def same_padded_stft(waveform: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """Complex Hann-window STFT of (B, samples) with one frame per started hop: (B, n_fft // 2 + 1, T).

    Frame i is centred on the middle of its hop. The audio is padded with zeros, not by reflection, so that a padded
    clip has the same frames as the clip alone.
    """
    samples = waveform.shape[-1]
    frames = math.ceil(samples / hop_length)
    left = (n_fft - hop_length) // 2
    total = (frames - 1) * hop_length + n_fft
    padded = nn.functional.pad(waveform.float(), (left, total - left - samples))
    window = torch.hann_window(n_fft, device=waveform.device)
    return torch.stft(padded, n_fft, hop_length, window=window, center=False, return_complex=True)


class LogMelSpectrogram(nn.Module):
    """Natural log of a magnitude mel spectrogram (Slaney's scale and normalisation).

    Args:
        sampling_rate: sampling rate of the waveforms, Hz.
        n_fft: length of window and transform, samples; at least `hop_length`.
        hop_length: samples between frames.
        n_mels: number of bands.
        f_min, f_max: range of the bands, Hz; half the sampling rate if `f_max` is None.
        floor: smaller magnitudes are raised to this before the logarithm.
    """

    def __init__(
        self,
        sampling_rate: int,
        n_fft: int = 1024,
        hop_length: int = 256,
        n_mels: int = 80,
        f_min: float = 0.0,
        f_max: float | None = None,
        floor: float = 1e-5,
    ):
        super().__init__()
        if n_fft < hop_length:
            raise ValueError(f"n_fft ({n_fft}) is below hop_length ({hop_length}): audio would be skipped.")
        self.n_fft, self.hop_length, self.floor = n_fft, hop_length, floor
        filters = mel_filter_bank(
            n_fft // 2 + 1, n_mels, f_min, f_max or sampling_rate / 2, sampling_rate, "slaney", "slaney"
        )
        self.filters: torch.Tensor
        self.register_buffer("filters", torch.from_numpy(filters.T).float().contiguous(), persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, samples) float → (B, n_mels, T) float32 with T = ceil(samples / hop_length)."""
        with torch.autocast(waveform.device.type, enabled=False):
            magnitude = same_padded_stft(waveform, self.n_fft, self.hop_length).abs()
            return (self.filters.float() @ magnitude).clamp(min=self.floor).log()
