"""Losses of codec training: spectral reconstruction and adversarial losses.

Reconstruction: multi-resolution log-mel (as in DAC, arXiv 2306.06546) and STFT magnitude (Parallel WaveGAN,
arXiv 1910.11480). Adversarial: hinge and relative feature matching (EnCodec, arXiv 2210.13438, section 3.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..audio.mel import LogMelSpectrogram, same_padded_stft


class MultiResolutionMelLoss(nn.Module):
    """Mean absolute difference of log-mel spectrograms, averaged over window lengths.

    Args:
        sampling_rate: Hz.
        n_ffts: window lengths in samples; the hop is a quarter of each.
        n_mels: number of bands for each window; few for short ones, whose low bands would otherwise be empty.
    """

    def __init__(
        self,
        sampling_rate: int,
        n_ffts: Sequence[int] = (256, 512, 1024, 2048),
        n_mels: Sequence[int] = (16, 32, 64, 128),
    ):
        super().__init__()
        self.mels = nn.ModuleList(
            LogMelSpectrogram(sampling_rate, n_fft, n_fft // 4, bands)
            for n_fft, bands in zip(n_ffts, n_mels, strict=True)
        )

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Two waveforms (B, channels, samples) → scalar; channels are compared separately."""
        prediction, target = prediction.flatten(0, 1), target.flatten(0, 1)
        return torch.stack([(mel(prediction) - mel(target)).abs().mean() for mel in self.mels]).mean()


def multi_resolution_stft_loss(
    prediction: torch.Tensor,
    target: torch.Tensor,
    n_ffts: Sequence[int] = (512, 1024, 2048),
    floor: float = 1e-5,
) -> torch.Tensor:
    """Spectral convergence ‖|T| − |P|‖ / ‖|T|‖ plus mean |log|T| − log|P||, averaged over window lengths.

    Args:
        prediction, target: (B, channels, samples).
        floor: smaller magnitudes are raised to this, in both terms.
    """
    losses = []
    for n_fft in n_ffts:
        p, t = (
            same_padded_stft(wave.flatten(0, 1), n_fft, n_fft // 4).abs().clamp(min=floor)
            for wave in (prediction, target)
        )
        losses.append((t - p).norm() / t.norm() + (t.log() - p.log()).abs().mean())
    return torch.stack(losses).mean()


def bin_weights(n_fft: int, sampling_rate: int) -> torch.Tensor:
    """Weights of the bins of a spectral envelope, (n_fft / 2 + 1,) float32 with a mean of one.

    A weight is half constant and half proportional to the density of mel bands.
    """
    frequencies = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1)
    density = 1 / (1 + frequencies / 700)
    return 0.5 + 0.5 * density / density.mean()


def envelope_loss(log_magnitudes: torch.Tensor, log_envelope: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Mean |difference| between the envelope of the two filters together and that of the voice, in nats.

    A spectrogram of pulses and noise is partly random. The filters are not, so this loss trains them faster.

    Args:
        log_magnitudes: (B, 2, bins, fine frames) of the filters for pulses and for noise.
        log_envelope: (B, bins, fine frames) of the recording, see `analyze_voice`; may have fewer frames.
        sampling_rate: Hz.
    """
    pulses, noise = log_magnitudes[..., : log_envelope.shape[-1]].unbind(1)
    made = 0.5 * torch.logaddexp(2 * pulses, 2 * noise)
    weights = bin_weights(2 * (made.shape[1] - 1), sampling_rate).to(made.device)[:, None]
    # Frames are weighted by loudness; silence has a tenth of the weight of speech.
    loudness = 0.1 + torch.sigmoid(1.5 * (log_envelope.mean(dim=1, keepdim=True) + 7.5))
    return ((made - log_envelope).abs() * weights * loudness).mean() / loudness.mean()


def discriminator_loss(real_scores: Sequence[torch.Tensor], fake_scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hinge: mean of max(0, 1 − real) + max(0, 1 + fake), averaged over discriminators."""
    losses = [
        (1 - real.float()).relu().mean() + (1 + fake.float()).relu().mean()
        for real, fake in zip(real_scores, fake_scores, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(fake_scores: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hinge for the codec: mean of max(0, 1 − fake), averaged over discriminators."""
    return torch.stack([(1 - fake.float()).relu().mean() for fake in fake_scores]).mean()


def feature_matching_loss(
    real_features: Sequence[Sequence[torch.Tensor]], fake_features: Sequence[Sequence[torch.Tensor]]
) -> torch.Tensor:
    """Mean |real − fake| over mean |real| of a hidden layer, averaged over layers and discriminators."""
    losses = []
    for real_layers, fake_layers in zip(real_features, fake_features, strict=True):
        for real, fake in zip(real_layers, fake_layers, strict=True):
            # These are the largest tensors of a step, so they keep the layer's precision; means accumulate in float32.
            real = real.detach()
            difference = nn.functional.l1_loss(fake, real).float()
            losses.append(difference / real.abs().mean().float().clamp(min=1e-8))
    return torch.stack(losses).mean()


class LossBalancer:
    """Turns weights into shares of the gradient, independent of the size of each loss (EnCodec, section 3.4).

    A loss l with weight λ is multiplied by λ / Σλ · total_norm / E‖∂l/∂output‖, where E is a moving average.

    Args:
        weights: λ of each loss, by name.
        total_norm: norm of the gradient if all losses had the same direction.
        decay: decay of the moving averages, per measurement.
        interval: number of calls between measurements. A measurement costs one backward pass per loss.
    """

    def __init__(self, weights: Mapping[str, float], total_norm: float = 1.0, decay: float = 0.9, interval: int = 10):
        self.weights, self.total_norm, self.decay, self.interval = dict(weights), total_norm, decay, interval
        self.calls = 0
        self.norms: dict[str, Any] = {}

    def __call__(self, losses: Mapping[str, torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """Sum of the scaled losses: a scalar whose gradient at `output` is balanced.

        Args:
            losses: scalars that depend on `output`, each with a name in `weights`.
            output: the tensor that the losses were computed from, such as a reconstruction.
        """
        if self.calls % self.interval == 0 or any(name not in self.norms for name in losses):
            self._measure(losses, output)
        self.calls += 1
        total = sum(self.weights[name] for name in losses)
        scale = self.total_norm / total
        # A loss without a norm has never been finite; this step will be skipped.
        return sum(scale * self.weights[name] / self.norms.get(name, 1.0) * loss for name, loss in losses.items())

    def _measure(self, losses, output):
        gradients = [torch.autograd.grad(loss, output, retain_graph=True)[0] for loss in losses.values()]
        norms = torch.stack([gradient.float().norm() for gradient in gradients])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(norms)
            norms /= dist.get_world_size()
        for name, norm in zip(losses, norms.clamp(min=1e-12).tolist(), strict=True):
            if math.isfinite(norm):
                self.norms[name] = self.decay * self.norms.get(name, norm) + (1 - self.decay) * norm

    def state_dict(self) -> dict:
        return {"calls": self.calls, "norms": dict(self.norms)}

    def load_state_dict(self, state: Mapping) -> None:
        self.calls, self.norms = state["calls"], dict(state["norms"])
