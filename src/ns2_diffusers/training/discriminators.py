"""Small discriminators of waveforms, on STFTs and on samples folded by a period."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from ..audio.mel import same_padded_stft
from ..files import whole_file

Output = tuple[torch.Tensor, list[torch.Tensor]]  # scores, and the hidden layers


class STFTDiscriminator(nn.Module):
    """Convolutions over real and imaginary parts of an STFT (EnCodec, arXiv 2210.13438, section 3.4).

    Convolutions reduce frequency by 4, 2, 2 and 2 and keep the rate of time, with growing context; windows overlap by
    half. The first layer takes most of the time of a discriminator, so it is narrow and has large strides.
    """

    def __init__(self, n_fft: int, channels: int = 16):
        super().__init__()
        self.n_fft = n_fft
        sizes = [2, channels, 2 * channels, 4 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    a, b, (9 if i == 0 else 5, 3), (4 if i == 0 else 2, 1), (4 if i == 0 else 2, 2**i), (1, 2**i)
                )
            )
            for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))
        )
        self.out = weight_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, waveform: torch.Tensor) -> Output:
        """(N, samples) → scores, and the hidden layers."""
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = same_padded_stft(waveform, self.n_fft, self.n_fft // 2)
            # Speech spans 60 dB; the square root of the magnitude raises quiet parts.
            hidden = torch.stack([spectrum.real, spectrum.imag], dim=1)
            hidden = hidden / (spectrum.abs().unsqueeze(1) + 1e-4).sqrt()
        return run_layers(self.layers, self.out, hidden)


class PeriodDiscriminator(nn.Module):
    """Convolutions over the waveform folded to rows of one period (HiFi-GAN, arXiv 2010.05646, section 2.3)."""

    def __init__(self, period: int, channels: int = 16):
        super().__init__()
        self.period = period
        sizes = [1, channels, 2 * channels, 4 * channels, 4 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), stride=(3, 1), padding=(2, 0)))
            for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.out = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> Output:
        """(N, samples) → scores, and the hidden layers."""
        waveform = nn.functional.pad(waveform, (0, -waveform.shape[-1] % self.period))
        return run_layers(self.layers, self.out, waveform.unflatten(1, (-1, self.period)).unsqueeze(1))


def run_layers(layers: nn.ModuleList, out: nn.Module, hidden: torch.Tensor) -> Output:
    features = []
    for layer in layers:
        hidden = nn.functional.leaky_relu(layer(hidden), 0.1, inplace=True)
        features.append(hidden)
    return out(hidden), features


class CodecDiscriminator(nn.Module):
    """All discriminators in one module.

    Args:
        n_ffts: window lengths of the STFT discriminators, samples.
        periods: periods of the period discriminators, samples; prime numbers, so that they examine different samples.
        channels: width of the first layer of each.
    """

    def __init__(
        self,
        n_ffts: Sequence[int] = (256, 512, 1024, 2048),
        periods: Sequence[int] = (2, 3, 5),
        channels: int = 16,
    ):
        super().__init__()
        self.discriminators = nn.ModuleList(
            [STFTDiscriminator(n_fft, channels) for n_fft in n_ffts]
            + [PeriodDiscriminator(period, channels) for period in periods]
        )

    def forward(self, waveform: torch.Tensor) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
        """Waveforms (B, channels, samples) → scores and hidden layers of each discriminator."""
        outputs = [discriminator(waveform.flatten(0, 1)) for discriminator in self.discriminators]
        return [scores for scores, _ in outputs], [features for _, features in outputs]


class SideBySide(nn.Module):
    """A discriminator for real and generated waveforms in one call, which DistributedDataParallel requires.

    Args:
        discriminator: converts waveforms (B, channels, samples) to scores and hidden layers: `CodecDiscriminator`, or
            `MultiScaleSTFTDiscriminator` of the encodec package.
    """

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: torch.Tensor, fake: torch.Tensor):
        """Two of (B, channels, samples) → scores and hidden layers of `real`, and of `fake`."""
        return self.discriminator(real), self.discriminator(fake)


def save_discriminator(discriminator: nn.Module, file: str | Path) -> None:
    """Save the weights for `load_discriminator`, as safetensors.

    Raises:
        OSError: the file cannot be written.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in discriminator.state_dict().items()}
    with whole_file(file) as partial:
        save_file(state, partial)


def load_discriminator(discriminator: nn.Module, file: str | Path) -> None:
    """Load the weights that an earlier run saved.

    Raises:
        ValueError: the weights belong to a discriminator with other options.
    """
    state, expected = load_file(file), discriminator.state_dict()
    differing = sorted(
        name
        for name in state.keys() | expected.keys()
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    )
    if differing:
        raise ValueError(
            f"--pretrained_discriminator {file} does not fit the discriminator of this run ({differing[0]} and "
            f"{len(differing) - 1} other tensors differ): give the --discriminator options of the run that saved it."
        )
    discriminator.load_state_dict(state)
