"""The codec by ONNX graphs; the pulses of a harmonic head are computed between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .noise import generator_of, randn


class OnnxCodec:
    """The methods of a codec that a pipeline uses.

    Args:
        settings: `sampling_rate`, `hop_length`, `latent_channels`, `channels`, `fingerprint`, `silence` (a latent
            frame of silence), and `f0_range` in Hz, None of a decoder without pulses.
        run: runs a graph by its name, with arrays by the names of its inputs.
    """

    def __init__(self, settings: dict[str, Any], run: Callable[..., list[np.ndarray]]):
        self.sampling_rate: int = settings["sampling_rate"]
        self.hop_length: int = settings["hop_length"]
        self.latent_channels: int = settings["latent_channels"]
        self.channels: int = settings["channels"]
        self.fingerprint: str = settings["fingerprint"]
        self.silence = np.asarray(settings["silence"], np.float32)[:, None]
        self.f0_range: tuple[float, float] | None = settings["f0_range"]
        self._run = run
        self._noise = np.zeros(0, np.float32)

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def takes_f0(self) -> bool:
        """Whether `decode` can be told the F0."""
        return self.f0_range is not None

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Samples (samples,) float32 → the latents of their codes (C, T), standardised."""
        whole = np.pad(waveform, (0, -len(waveform) % self.hop_length))
        return self._run("codec_encoder", waveform=whole.reshape(1, -1, self.hop_length))[0][0]

    def decode(self, latents: np.ndarray, mask: np.ndarray, f0: np.ndarray | None = None) -> np.ndarray:
        """Latents (B, C, T) and their mask (B, T) → waveforms (B, T * hop_length), zero where the mask is False.

        Args:
            f0: (B, T) Hz to speak at, 0 where the latents shall say it; for codecs with `takes_f0`.
        """
        if self.f0_range is None:
            return self._run("codec_decoder", latents=latents, mask=mask)[0]
        hidden_states, raw_latents, log_f0 = self._run("codec_decoder", latents=latents, mask=mask)
        used = np.exp(log_f0)
        if f0 is not None:
            used = np.where(f0 > 0, f0, used).astype(np.float32)
        pulses = make_pulses(used.clip(*self.f0_range), mask, self.sampling_rate, self.hop_length)
        by_frame = (*mask.shape, self.hop_length)
        return self._run(
            "codec_synthesis",
            hidden_states=hidden_states,
            raw_latents=raw_latents,
            pulses=pulses.reshape(by_frame),
            noise=self._white_noise(pulses.shape[1]).reshape(by_frame[1:]),
            mask=mask,
        )[0]

    def _white_noise(self, samples: int) -> np.ndarray:
        """The same (samples,) each time."""
        if samples % 16:
            return randn((samples,), generator_of(0))
        if samples > len(self._noise):
            self._noise = randn((samples,), generator_of(0))
        # Whole sixteens are the same however many follow.
        return self._noise[:samples] if len(self._noise) % 16 == 0 else randn((samples,), generator_of(0))


def make_pulses(f0: np.ndarray, mask: np.ndarray, sampling_rate: int, hop_length: int) -> np.ndarray:
    """F0 (B, T) in Hz → (B, samples): `HarmonicHead._pulses`, operation by operation."""
    last = np.take_along_axis(f0, mask.sum(1, keepdims=True).clip(1) - 1, axis=1)
    f0 = interpolate(np.where(mask, f0, last), f0.shape[1] * hop_length)
    # A float32 from 32 Hz up is a multiple of 2^-18 Hz, and so is the sampling rate: integer sums are exact.
    steps = np.float32(2**18)
    turn = sampling_rate * 2**18
    position = np.round(f0 * steps).astype(np.int64).cumsum(1) % turn
    phase = ((position << 30) // turn).astype(np.float32) * np.float32(2.0**-30) * np.float32(2 * math.pi)
    harmonics = np.floor(np.float32(sampling_rate / 2) / f0)
    below = 2 * np.sin(phase / 2)
    middle = np.abs(below) < 1e-4
    summed = np.sin((harmonics + np.float32(0.5)) * phase) / np.where(middle, 1, below) - np.float32(0.5)
    return np.where(middle, harmonics, summed) * np.sqrt(4 * f0 / np.float32(sampling_rate))


def interpolate(values: np.ndarray, size: int) -> np.ndarray:
    """(B, T) float32 → (B, size), linearly between the middles of what each value stands for.

    Rounded where torch rounds, which multiplies and adds in one: a difference in the last digit of F0 adds up over a
    sentence.
    """
    count = values.shape[1]
    scale = np.float64(np.float32(count) / np.float32(size))
    middles = np.arange(size, dtype=np.float32) + np.float32(0.5)
    places = np.maximum((scale * middles - 0.5).astype(np.float32), 0)
    below = places.astype(np.int64)
    share = (places - below.astype(np.float32)).clip(0, 1)
    first, second = values[:, below].astype(np.float64), values[:, np.minimum(below + 1, count - 1)] * share
    return (first * (1 - share) + second).astype(np.float32)
