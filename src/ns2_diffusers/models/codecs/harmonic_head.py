"""Converts frames of hidden states to a waveform by filtering pulses and noise, like a voice."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import nn

from ..single_value import SingleValue
from .codec import apply_mask
from .convnext import ConvNeXtBackbone
from .istft_head import overlap_add


class HarmonicHeadOutput(NamedTuple):
    """Output of `HarmonicHead`.

    Args:
        waveform: (B, T * hop_length).
        log_f0: (B, T) predicted log of Hz.
        log_magnitudes: (B, 2, bins, fine frames) natural log-magnitudes of the filters for pulses and for noise.
    """

    waveform: torch.Tensor
    log_f0: torch.Tensor
    log_magnitudes: torch.Tensor


class HarmonicHead(nn.Module):
    """A train of pulses at the voice's F0 and white noise, each through a filter that changes from frame to frame.

    The network predicts F0 and, per fine frame, two log-magnitudes; the filters have minimum phase. This is the neural
    homomorphic vocoder (Liu et al., Interspeech 2020) with magnitudes that are predicted directly. The pulses
    determine the phase, so spectral losses alone give a natural voice, while an inverse STFT needs discriminators to
    learn phase (neural source-filter models, arXiv 1904.12088, found the same).

    Args:
        dim: width of the hidden states.
        sampling_rate: Hz.
        hop_length: samples per frame of hidden states.
        fine_hop_length: samples from one filter to the next; divides `hop_length`.
        n_fft: number of taps of a filter.
        fine_dim, fine_layers: width and number of ConvNeXt blocks at the rate of the filters.
        f0_min, f0_max: range of the F0 of the pulses, Hz.
        linear_channels: number of latent channels of a linear part that is added to log F0 and the log-magnitudes.
            `training.codec_initialization` fits it before training. None for no linear part.
    """

    def __init__(
        self,
        dim: int,
        sampling_rate: int,
        hop_length: int,
        *,
        fine_hop_length: int = 80,
        n_fft: int = 512,
        fine_dim: int = 128,
        fine_layers: int = 2,
        f0_min: float = 40.0,
        f0_max: float = 1100.0,
        linear_channels: int | None = None,
    ):
        super().__init__()
        if hop_length % fine_hop_length or fine_hop_length % 2:
            raise ValueError(
                f"fine_hop_length must be even and divide hop_length; got {fine_hop_length} and {hop_length}."
            )
        if n_fft < 2 * fine_hop_length:
            raise ValueError(f"n_fft must be at least twice fine_hop_length; got {n_fft} and {fine_hop_length}.")
        self.sampling_rate, self.hop_length, self.fine_hop_length = sampling_rate, hop_length, fine_hop_length
        self.n_fft, self.f0_min, self.f0_max = n_fft, f0_min, f0_max
        # A mean over normalised states: with a sum, each training step would overshoot in F0.
        self.f0 = SingleValue(dim, mean=True)
        nn.init.normal_(self.f0.weight)
        nn.init.constant_(self.f0.bias, math.log(150))
        self.upsample = nn.Linear(dim, fine_dim * (hop_length // fine_hop_length))
        self.backbone = ConvNeXtBackbone(fine_dim, dim=fine_dim, intermediate_dim=3 * fine_dim, num_layers=fine_layers)
        self.out = nn.Linear(fine_dim, n_fft + 2)
        # Voices are pulses below 2 kHz and breath above 5 kHz; if both were alike at the start, losses would mix them.
        breath = ((torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1) - 2000) / 3000).clamp(0, 1)
        with torch.no_grad():
            self.out.bias.copy_(torch.cat([-4 - 3 * breath, -7 + 3 * breath]))
        self.linear_f0: SingleValue | None = None
        self.linear: nn.Linear | None = None
        if linear_channels is not None:
            self.linear_f0 = SingleValue(linear_channels)
            self.linear = nn.Linear(linear_channels, (n_fft + 2) * (hop_length // fine_hop_length))
            for part in (self.linear_f0, self.linear):
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None = None,
        f0: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
    ) -> HarmonicHeadOutput:
        """Convert (B, T, dim) to waveforms, with the F0 and the filters that made them.

        Args:
            mask: (B, T) boolean; samples of masked frames come out zero.
            f0: (B, T) in Hz, in place of the predicted F0; 0 where the prediction is used.
            latents: (B, T, linear_channels) that the hidden states were made from, if there is a linear part.
        """
        log_f0, pulses, noise = self.excite(hidden_states, mask, f0, latents)
        waveform, log_magnitudes = self.filter(hidden_states, pulses, noise, mask, latents)
        return HarmonicHeadOutput(waveform, log_f0, log_magnitudes)

    def excite(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None = None,
        f0: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Source signal: log F0 (B, T), pulses (B, samples) and noise (B or 1, samples); arguments of `forward`."""
        log_f0 = self.f0(hidden_states).squeeze(-1)
        if self.linear_f0 is not None:
            log_f0 = log_f0 + self.linear_f0(latents).squeeze(-1)
        used = log_f0.detach().exp()
        if f0 is not None:
            used = torch.where(f0 > 0, f0, used)
        pulses = self._pulses(used.clamp(self.f0_min, self.f0_max), mask)
        noise = self._noise(pulses)
        if mask is not None:
            sample_mask = mask.repeat_interleave(self.hop_length, dim=1)
            pulses, noise = pulses * sample_mask, noise * sample_mask
        return log_f0, pulses, noise

    def filter(
        self,
        hidden_states: torch.Tensor,
        pulses: torch.Tensor,
        noise: torch.Tensor,
        mask: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Filter pulses and noise from `excite`. Returns the waveform (B, samples), and the filters' log-magnitudes.

        A range of frames gives the same samples as in the whole, except for `margins` frames at its two ends.
        """
        log_magnitudes = self._log_magnitudes(hidden_states, mask, latents)
        harmonic_filter, noise_filter = self._filters(log_magnitudes, mask)
        spectrum = self._spectra(pulses) * harmonic_filter + self._spectra(noise) * noise_filter
        filtered = torch.fft.irfft(spectrum, self.n_fft, dim=1)
        waveform = overlap_add(filtered, self.fine_hop_length, self.fine_hop_length // 2)
        if mask is not None:
            waveform = waveform * mask.repeat_interleave(self.hop_length, dim=1)
        return waveform, log_magnitudes

    @property
    def margins(self) -> tuple[int, int]:
        """Frames before and after a range that `filter` also needs."""
        fine_per_frame = self.hop_length // self.fine_hop_length
        # The convolutions read this far on both sides; each filter rings for the length of its taps.
        seen = self.backbone.margin + 1
        rings = -(-self.n_fft // self.fine_hop_length)
        return -(-(seen + rings) // fine_per_frame), -(-(seen + 1) // fine_per_frame)

    @torch.no_grad()
    def _pulses(self, f0: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """F0 (B, T) in Hz → (B, samples): cosines of all harmonics below half the rate, of unit power together."""
        if mask is not None:
            # The last frame of a clip extends to its end, whatever the padding.
            f0 = torch.where(mask, f0, f0.gather(1, mask.sum(1, keepdim=True).clamp(min=1) - 1))
        f0 = interpolate_frames(f0, self.hop_length)
        phase = accumulate_phase(f0, self.sampling_rate)
        harmonics = (self.sampling_rate / 2 / f0).floor()
        # Dirichlet's kernel is their sum; in the middle of a pulse both of its sines are zero.
        below = 2 * (phase / 2).sin()
        summed = torch.where(below.abs() < 1e-4, harmonics, ((harmonics + 0.5) * phase).sin() / below - 0.5)
        return summed * (4 * f0 / self.sampling_rate).sqrt()

    def _noise(self, like: torch.Tensor) -> torch.Tensor:
        """White noise (1, samples): new each time in training, otherwise fixed, so that decoding is repeatable."""
        if self.training:
            return torch.randn_like(like[:1])
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, like.shape[1], generator=generator).to(like)

    def _log_magnitudes(self, hidden_states, mask, latents):
        """(B, T, dim) → (B, 2, bins, fine frames) float32 of the filters for pulses and for noise."""
        count = self.hop_length // self.fine_hop_length
        pattern = "batch time (fine dim) -> batch dim (time fine)"
        fine = rearrange(self.upsample(hidden_states), pattern, fine=count)
        log_magnitudes = self.out(self.backbone(fine, self._fine_mask(mask))).float().transpose(1, 2)
        if self.linear is not None:
            log_magnitudes = log_magnitudes + rearrange(self.linear(latents).float(), pattern, fine=count)
        return log_magnitudes.unflatten(1, (2, -1))

    def _filters(self, log_magnitudes: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Complex minimum-phase responses for pulses and for noise, (B, bins, fine frames) each."""
        # The ceiling prevents overflow early in training.
        harmonic, noise = minimum_phase(log_magnitudes.clamp(max=5.0), dim=2).unbind(1)
        fine_mask = self._fine_mask(mask)
        return apply_mask(harmonic, fine_mask), apply_mask(noise, fine_mask)

    def _fine_mask(self, mask):
        return None if mask is None else mask.repeat_interleave(self.hop_length // self.fine_hop_length, dim=1)

    def _spectra(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, samples) → (B, bins, fine frames) of centred windows two fine hops long, which sum to one."""
        hop = self.fine_hop_length
        frames = nn.functional.pad(waveform, (hop // 2, hop // 2)).unfold(1, 2 * hop, hop)
        window = torch.hann_window(2 * hop, device=waveform.device)
        return torch.fft.rfft(frames * window, self.n_fft, dim=2).transpose(1, 2)


def interpolate_frames(values: torch.Tensor, hop_length: int) -> torch.Tensor:
    """(B, T) → (B, T * hop_length), linear between the middles of frames, constant beyond the outermost.

    A sample is exactly the same wherever in a sequence its frames are, and in NumPy.
    """
    places = (torch.arange(hop_length, device=values.device, dtype=values.dtype) + 0.5) / hop_length
    before = torch.cat([values[:, :1], values[:, :-1]], dim=1).unsqueeze(-1)
    after = torch.cat([values[:, 1:], values[:, -1:]], dim=1).unsqueeze(-1)
    middle = values.unsqueeze(-1)
    rising = middle + (after - middle) * (places - 0.5)
    falling = before + (middle - before) * (places + 0.5)
    return torch.where(places < 0.5, falling, rising).flatten(1)


def accumulate_phase(f0: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """F0 (B, samples) in Hz → the phase of the fundamental after each sample, radians in [0, 2π), float32.

    Computed in integers, which are exact for hours: float32 would drift, and not every device supports float64.
    """
    # A float32 of at least 32 Hz is a multiple of 2^-18 Hz, and so is the sampling rate: integer sums are exact.
    steps = 2**18
    turn = sampling_rate * steps
    position = (f0.float() * steps).round().long().cumsum(1) % turn
    # 30 bits per turn, more than float32 has.
    return ((position << 30) // turn).float() * 2.0**-30 * (2 * math.pi)


def minimum_phase(log_magnitude: torch.Tensor, dim: int) -> torch.Tensor:
    """Natural log-magnitudes of n / 2 + 1 bins along `dim` → the complex minimum-phase response.

    Uses the cepstrum, whose negative half is folded onto the positive one (Oppenheim and Schafer, Discrete-Time Signal
    Processing, section 13.5).
    """
    bins = log_magnitude.shape[dim]
    cepstrum = torch.fft.irfft(log_magnitude, 2 * (bins - 1), dim=dim)
    fold = torch.zeros(2 * (bins - 1), device=cepstrum.device)
    fold[0] = fold[bins - 1] = 1.0
    fold[1 : bins - 1] = 2.0
    shape = [-1 if axis == dim % cepstrum.ndim else 1 for axis in range(cepstrum.ndim)]
    return torch.fft.rfft(cepstrum * fold.view(shape), dim=dim).exp()
