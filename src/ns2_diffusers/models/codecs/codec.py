"""Parts shared by all codecs: standardised latents, codes, masks, a fingerprint."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from diffusers.utils import BaseOutput

from ...arrays import piece_ranges
from ..offloading import runs_like_forward
from .residual_vector_quantizer import ResidualVectorQuantizer


@dataclass
class CodecOutput(BaseOutput):
    """Output of a codec's forward pass.

    All fields but the first have defaults, because accelerate's mixed precision rebuilds an output from a dict.

    Args:
        waveform: (B, channels, samples), as long as the input.
        codes: (B, Q, T) int64.
        commitment_loss: scalar from the quantiser.
        log_f0: (B, T) log of Hz, from decoders that predict it.
        log_magnitudes: (B, 2, bins, fine frames) of the filters for pulses and for noise, from a harmonic head.
    """

    waveform: torch.Tensor
    codes: torch.Tensor | None = None
    commitment_loss: torch.Tensor | None = None
    log_f0: torch.Tensor | None = None
    log_magnitudes: torch.Tensor | None = None


class DecoderOutput(NamedTuple):
    """Output of `_decode`; see `CodecOutput`."""

    waveform: torch.Tensor
    log_f0: torch.Tensor | None = None
    log_magnitudes: torch.Tensor | None = None


class CodecMixin:
    """The interface of every codec. A codec provides a `quantizer` and two methods.

    `_encode(waveform, sample_mask) -> (B, C, T)` and `_decode(latents, latent_mask) -> DecoderOutput` work on raw
    latents. The outputs of `encode`, `quantize` and `codes_to_latents` are standardised per channel with the config's
    `latents_mean` and `latents_std` (None: unchanged), like those of diffusers' VAEs; `decode` takes the same.

    Masks are boolean, True where there is audio, and must be a run of True followed by padding.
    """

    # Attributes of the model that uses this mixin.
    config: Any
    quantizer: ResidualVectorQuantizer
    register_to_config: Callable[..., None]
    _encode: Callable[..., torch.Tensor]
    _decode: Callable[..., DecoderOutput]

    @property
    def sampling_rate(self) -> int:
        """Sampling rate in Hz."""
        return self.config.sampling_rate

    @property
    def hop_length(self) -> int:
        """Samples per latent frame."""
        return self.config.hop_length

    @property
    def channels(self) -> int:
        """Number of audio channels."""
        return self.config.channels

    @property
    def latent_channels(self) -> int:
        """C, the number of latent channels."""
        return self.config.latent_channels

    @property
    def num_codebooks(self) -> int:
        """Q, the number of codebooks."""
        return self.quantizer.num_codebooks

    @property
    def codebook_size(self) -> int:
        """K, the number of vectors in a codebook."""
        return self.quantizer.codebook_size

    @property
    def codebooks(self) -> torch.Tensor:
        """(Q, K, C), in raw latents, not standardised. Changes to it change the quantiser."""
        return self._read_codebooks()

    @runs_like_forward
    def _read_codebooks(self) -> torch.Tensor:
        return self.quantizer.read_codebooks()

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sampling_rate / self.hop_length

    @property
    def takes_f0(self) -> bool:
        """Whether `decode` accepts F0."""
        return False

    def latent_length(self, samples: int) -> int:
        """Number of latent frames of `samples` samples."""
        return math.ceil(samples / self.hop_length)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that identify the space of the latents: SHA-256 of config and codebooks.

        Codebooks are rounded to bfloat16, so that a codec loaded in that precision has the same fingerprint.
        """
        digest = hashlib.sha256(json.dumps(self._fingerprinted_settings(), sort_keys=True).encode())
        codebooks = self.codebooks.detach().cpu().to(torch.bfloat16).contiguous()
        digest.update(codebooks.view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    def _fingerprinted_settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.config.items() if not name.startswith("_")}

    def set_latent_statistics(self, mean, std) -> None:
        """Store the mean and standard deviation of each raw latent channel in the config.

        Raises:
            ValueError: not one finite number per channel, or a standard deviation that is not positive.
        """
        # On the CPU, because not every device supports float64.
        mean, std = (torch.as_tensor(values, device="cpu").double().flatten() for values in (mean, std))
        if not len(mean) == len(std) == self.latent_channels:
            raise ValueError(
                f"wanted {self.latent_channels} means and standard deviations, one per latent channel; "
                f"got {len(mean)} and {len(std)}."
            )
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError("latent statistics must be finite, with standard deviations above 0.")
        self._register_settings(latents_mean=mean.tolist(), latents_std=std.tolist())

    def _register_settings(self, **settings) -> None:
        """Store settings in the config, in such a way that `from_config` does not take them for defaults."""
        defaults = [name for name in self.config.get("_use_default_values", ()) if name not in settings]
        self.register_to_config(**settings, _use_default_values=defaults)

    def normalize_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Raw (B, C, T) → standardised."""
        mean, std = self._latent_statistics(latents)
        return latents if mean is None else (latents - mean) / std

    def denormalize_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Standardised (B, C, T) → raw."""
        mean, std = self._latent_statistics(latents)
        return latents if mean is None else latents * std + mean

    def _latent_statistics(self, latents):
        if self.config.latents_mean is None:
            return None, None
        values = (self.config.latents_mean, self.config.latents_std)
        return (latents.new_tensor(value).view(1, -1, 1) for value in values)

    @runs_like_forward
    def encode(self, waveform: torch.Tensor, sample_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Waveform (B, channels, samples) in [-1, 1] → standardised latents (B, C, T), before quantisation.

        Args:
            sample_mask: (B, samples) boolean; frames without audio come out zero.

        Raises:
            ValueError: a wrong number of dimensions or channels, or a mask of the wrong shape.
        """
        self._check_waveform(waveform, sample_mask)
        latents = self.normalize_latents(self._encode(waveform, sample_mask))
        return apply_mask(latents, self.latent_mask(sample_mask))

    @runs_like_forward
    def quantize(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardised latents (B, C, T) → quantised latents, standardised, and the codes (B, Q, T)."""
        codes = self.quantizer.encode(self.denormalize_latents(latents.float()))
        return self.normalize_latents(self.quantizer.decode(codes)).to(latents.dtype), codes

    @runs_like_forward
    def codes_to_latents(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, Q, T) → standardised latents (B, C, T), the sum of the codes' vectors (section 3.1).

        Fewer codebooks than Q give a coarser result.
        """
        return self.normalize_latents(self.quantizer.decode(codes))

    @runs_like_forward
    def decode(
        self, latents: torch.Tensor, latent_mask: torch.Tensor | None = None, f0: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Standardised latents (B, C, T), quantised or not → waveform (B, channels, T * hop_length).

        Args:
            latent_mask: (B, T) boolean; samples of masked frames come out zero.
            f0: (B, T) Hz that the decoder follows; where it is 0, latents decide. For decoders with `takes_f0`.

        Raises:
            ValueError: latents of another codec; F0 of the wrong length, or for a decoder that takes none.
        """
        self._check_latents(latents)
        self._check_f0(f0, latents)
        inputs = {} if f0 is None else {"f0": f0}
        latents = apply_mask(self.denormalize_latents(latents), latent_mask)
        return self._decode(latents, latent_mask, **inputs).waveform

    def decode_in_pieces(
        self, latents: torch.Tensor, frames: int, f0: torch.Tensor | None = None, growth: int = 1
    ) -> Iterator[torch.Tensor]:
        """`decode` for `frames` frames of latents (B, C, T) at a time; the waveforms together equal the whole.

        Codecs whose decoder has limited context compute a piece when it is requested; others compute all at once.

        Args:
            f0: as for `decode`.
            growth: length of each piece as a multiple of the one before it.
        """
        waveform = self.decode(latents, f0=f0)
        for start, end in piece_ranges(latents.shape[2], frames, growth):
            yield waveform[..., start * self.hop_length : end * self.hop_length]

    def forward(
        self,
        waveform: torch.Tensor,
        sample_mask: torch.Tensor | None = None,
        return_dict: bool = True,
        quantize: bool = True,
        **decoder_inputs,
    ) -> CodecOutput | tuple:
        """Encode, quantise and decode; in training mode the codebooks learn.

        Args:
            waveform: (B, channels, samples) in [-1, 1].
            sample_mask: (B, samples) boolean.
            quantize: False decodes the latents without quantisation, for the start of training.
            decoder_inputs: further arguments of the codec's `_decode`.
        """
        self._check_waveform(waveform, sample_mask)
        mask = self.latent_mask(sample_mask)
        latents, codes, commitment_loss = self._encode(waveform, sample_mask), None, None
        if quantize:
            quantized = self.quantizer(latents, mask)
            latents, codes, commitment_loss = quantized.latents, quantized.codes, quantized.commitment_loss
        decoded = self._decode(latents, mask, **decoder_inputs)
        reconstruction = decoded.waveform[..., : waveform.shape[-1]]
        if sample_mask is not None:
            reconstruction = apply_mask(reconstruction, sample_mask)
        output = CodecOutput(reconstruction, codes, commitment_loss, decoded.log_f0, decoded.log_magnitudes)
        return output if return_dict else output.to_tuple()

    @runs_like_forward
    def predict_f0(self, latents: torch.Tensor) -> torch.Tensor | None:
        """F0 (B, T) in Hz that the decoder predicts from standardised latents (B, C, T); None if it has no F0.

        The contour has no gaps where nothing is voiced.

        Raises:
            ValueError: latents of another codec.
        """
        self._check_latents(latents)
        if not self.takes_f0:
            return None
        log_f0 = self._decode(self.denormalize_latents(latents), None).log_f0
        return None if log_f0 is None else log_f0.exp()

    def latent_mask(self, sample_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Mask of samples (B, samples) → mask of latent frames (B, T), True where a frame has any audio."""
        if sample_mask is None:
            return None
        frames = torch.arange(self.latent_length(sample_mask.shape[-1]), device=sample_mask.device)
        return frames * self.hop_length < sample_mask.sum(dim=-1, keepdim=True)

    def _check_waveform(self, waveform, sample_mask):
        if waveform.ndim != 3 or waveform.shape[1] != self.channels or waveform.shape[2] == 0:
            raise ValueError(f"waveform has shape {tuple(waveform.shape)}; wanted (batch, {self.channels}, samples).")
        if sample_mask is not None and sample_mask.shape != (waveform.shape[0], waveform.shape[2]):
            raise ValueError(
                f"sample_mask has shape {tuple(sample_mask.shape)}; wanted (batch, samples) = "
                f"{(waveform.shape[0], waveform.shape[2])}."
            )

    def _check_f0(self, f0, latents):
        if f0 is None:
            return
        if not self.takes_f0:
            raise ValueError("f0 was given to a codec whose decoder takes none: leave it out.")
        if f0.shape != (latents.shape[0], latents.shape[2]):
            raise ValueError(
                f"f0 has shape {tuple(f0.shape)}; wanted one value in Hz per latent frame, "
                f"{(latents.shape[0], latents.shape[2])}."
            )

    def _check_latents(self, latents):
        if latents.ndim != 3 or latents.shape[1] != self.latent_channels:
            raise ValueError(
                f"latents have shape {tuple(latents.shape)}; wanted (batch, {self.latent_channels}, frames)."
            )


def apply_mask(sequence: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zero (B, C, L) where mask (B, L) is False."""
    return sequence if mask is None else sequence * mask.unsqueeze(1)
