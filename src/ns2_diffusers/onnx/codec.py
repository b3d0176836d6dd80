"""The codec as ONNX graphs; the pulses of a harmonic head are computed between two of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..arrays import piece_ranges
from .noise import generator_of, randn

# Latent frames that are decoded at once; more would only need more memory.
PIECE_FRAMES = 200


class OnnxCodec:
    """The methods of a codec that a pipeline uses.

    Args:
        settings: `sampling_rate`, `hop_length`, `latent_channels`, `channels`, `fingerprint`, `silence` (a latent
            frame of silence), `margins` (frames before and after a piece that its samples depend on), and `f0_range`
            in Hz (None for a decoder without pulses).
        run: function that runs a graph, given its name and its inputs by name.
    """

    def __init__(self, settings: dict[str, Any], run: Callable[..., list[np.ndarray]]):
        self.sampling_rate: int = settings["sampling_rate"]
        self.hop_length: int = settings["hop_length"]
        self.latent_channels: int = settings["latent_channels"]
        self.channels: int = settings["channels"]
        self.fingerprint: str = settings["fingerprint"]
        self.silence = np.asarray(settings["silence"], np.float32)[:, None]
        self.f0_range: tuple[float, float] | None = settings["f0_range"]
        self._margins: tuple[int, int] = settings["margins"]
        self._run = run
        self._noise = np.zeros(0, np.float32)

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def takes_f0(self) -> bool:
        """Whether `decode` accepts F0."""
        return self.f0_range is not None

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        """Waveform (samples,) float32 → quantised latents (C, T), standardised."""
        whole = np.pad(waveform, (0, -len(waveform) % self.hop_length))
        return self._run("codec_encoder", waveform=whole.reshape(1, -1, self.hop_length))[0][0]

    def decode(self, latents: np.ndarray, mask: np.ndarray, f0: np.ndarray | None = None) -> np.ndarray:
        """Latents (B, C, T) and their mask (B, T) → waveforms (B, T * hop_length), zero where the mask is False.

        Args:
            f0: (B, T) Hz that the decoder follows; where it is 0, latents decide. For codecs with `takes_f0`.
        """
        return np.concatenate(list(self._pieces(latents, mask, PIECE_FRAMES, f0)), axis=1)

    def decode_in_pieces(
        self, latents: np.ndarray, frames: int, f0: np.ndarray | None = None, growth: int = 1
    ) -> Iterator[np.ndarray]:
        """`decode` for `frames` frames of latents (B, C, T) at a time; the waveforms together equal the whole.

        With `growth` each piece is that many times as long as the one before it.
        """
        return self._pieces(latents, np.ones((len(latents), latents.shape[2]), bool), frames, f0, growth)

    def _pieces(
        self, latents: np.ndarray, mask: np.ndarray, frames: int, f0: np.ndarray | None, growth: int = 1
    ) -> Iterator[np.ndarray]:
        # The phase is computed for the whole, so that pieces join without a step.
        states = {"latents": latents.transpose(0, 2, 1)} if self.f0_range is None else self._excite(latents, mask, f0)
        before, after = self._margins
        for start, end in piece_ranges(mask.shape[1], frames, growth):
            first = max(0, start - before)
            part = {name: each[..., first : end + after, :] for name, each in states.items()}
            within = mask[:, first : end + after]
            if self.f0_range is None:
                waveform = self._run("codec_decoder", latents=part["latents"].transpose(0, 2, 1), mask=within)[0]
            else:
                waveform = self._run("codec_synthesis", **part, mask=within)[0]
            yield waveform[:, (start - first) * self.hop_length : (end - first) * self.hop_length]

    def _excite(self, latents: np.ndarray, mask: np.ndarray, f0: np.ndarray | None) -> dict[str, np.ndarray]:
        """The inputs of the graph that makes samples, (B, T, …) each, except noise (T, hop_length)."""
        assert self.f0_range is not None
        hidden_states, raw_latents, log_f0 = self._run("codec_decoder", latents=latents, mask=mask)
        used = np.exp(log_f0)
        if f0 is not None:
            used = np.where(f0 > 0, f0, used).astype(np.float32)
        pulses = make_pulses(used.clip(*self.f0_range), mask, self.sampling_rate, self.hop_length)
        return {
            "hidden_states": hidden_states,
            "raw_latents": raw_latents,
            "pulses": pulses.reshape(*mask.shape, self.hop_length),
            "noise": self._white_noise(pulses.shape[1]).reshape(-1, self.hop_length),
        }

    def _white_noise(self, samples: int) -> np.ndarray:
        """White noise (samples,), the same each time."""
        if samples % 16:
            return randn((samples,), generator_of(0))
        if samples > len(self._noise):
            self._noise = randn((samples,), generator_of(0))
        # Complete blocks of 16 numbers are the same, however many follow.
        return self._noise[:samples] if len(self._noise) % 16 == 0 else randn((samples,), generator_of(0))


def make_pulses(f0: np.ndarray, mask: np.ndarray, sampling_rate: int, hop_length: int) -> np.ndarray:
    """F0 (B, T) in Hz → (B, samples): `HarmonicHead._pulses`, operation by operation."""
    last = np.take_along_axis(f0, mask.sum(1, keepdims=True).clip(1) - 1, axis=1)
    f0 = interpolate_frames(np.where(mask, f0, last), hop_length)
    # A float32 of at least 32 Hz is a multiple of 2^-18 Hz, and so is the sampling rate: integer sums are exact.
    steps = np.float32(2**18)
    turn = sampling_rate * 2**18
    position = np.round(f0 * steps).astype(np.int64).cumsum(1) % turn
    phase = ((position << 30) // turn).astype(np.float32) * np.float32(2.0**-30) * np.float32(2 * math.pi)
    harmonics = np.floor(np.float32(sampling_rate / 2) / f0)
    below = 2 * np.sin(phase / 2)
    middle = np.abs(below) < 1e-4
    summed = np.sin((harmonics + np.float32(0.5)) * phase) / np.where(middle, 1, below) - np.float32(0.5)
    return np.where(middle, harmonics, summed) * np.sqrt(4 * f0 / np.float32(sampling_rate))


def interpolate_frames(values: np.ndarray, hop_length: int) -> np.ndarray:
    """(B, T) float32 → (B, T * hop_length): `harmonic_head.interpolate_frames`, operation by operation."""
    places = (np.arange(hop_length, dtype=np.float32) + np.float32(0.5)) / np.float32(hop_length)
    before = np.concatenate([values[:, :1], values[:, :-1]], axis=1)[..., None]
    after = np.concatenate([values[:, 1:], values[:, -1:]], axis=1)[..., None]
    middle, half = values[..., None], np.float32(0.5)
    rising = middle + (after - middle) * (places - half)
    falling = before + (middle - before) * (places + half)
    return np.where(places < half, falling, rising).reshape(len(values), -1)
