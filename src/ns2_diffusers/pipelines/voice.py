"""A voice: an encoded prompt, to be used again and kept in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..arrays import as_array, is_tensor
from ..files import whole_file
from ..untrusted import check_safetensors_header

FORMAT = "ns2_diffusers.voice"
# An hour at 100 frames per second; standardised latents are around 1.
MOST_FRAMES, MOST_CHANNELS, MOST_LATENT = 360_000, 4_096, 1e4
MOST_HEADER_BYTES = 64 * 2**10
MOST_FINGERPRINT = 64


@dataclass
class Voice:
    """Latents of some seconds of somebody's speech.

    Args:
        latents: (C, Tp) float32, standardised, quantised; an array in pipelines without torch.
        codec_fingerprint: of the codec that made them; another codec's pipeline refuses them.

    Raises:
        TypeError, ValueError: latents that are no finite floating-point numbers of that shape within ±10,000, or more
            than an hour of them; no fingerprint.
    """

    latents: Any
    codec_fingerprint: str

    def __post_init__(self) -> None:
        check_latents(self.latents)
        if not isinstance(self.codec_fingerprint, str) or not 0 < len(self.codec_fingerprint) <= MOST_FINGERPRINT:
            raise ValueError(
                f"the codec's fingerprint of a voice is {self.codec_fingerprint!r:.80}; wanted pipe.codec.fingerprint."
            )
        if isinstance(self.latents, np.ndarray):
            self.latents = self.latents.astype(np.float32, copy=False)
        else:
            self.latents = self.latents.detach().float()

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            OSError: it cannot be written; the message says why.
        """
        self.__post_init__()  # it may have been changed
        metadata = {"format": FORMAT, "codec_fingerprint": self.codec_fingerprint}
        with whole_file(path) as partial:
            save_file({"latents": np.ascontiguousarray(as_array(self.latents))}, partial, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike, framework: str = "pt") -> Voice:
        """Read a file that `save` wrote.

        Args:
            framework: "pt" for a tensor, "np" for an array.

        Raises:
            ValueError: there is no such file, or it holds no voice.
        """
        if not os.path.isfile(path):
            raise ValueError(
                f"there is no voice file {os.fspath(path)!r}: make one with pipe.encode_voice(audio).save(path)."
            )
        check_safetensors_header(path, MOST_HEADER_BYTES)
        try:
            with safe_open(path, framework=framework) as file:
                metadata = file.metadata() or {}
                is_voice = metadata.get("format") == FORMAT and list(file.keys()) == ["latents"]
                if is_voice:
                    # Before it is read.
                    check_shape(tuple(file.get_slice("latents").get_shape()))
                latents = file.get_tensor("latents") if is_voice else None
        except SafetensorError as error:
            raise ValueError(f"{os.fspath(path)!r} is not a safetensors file: {error}.") from error
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r} holds no voice: {error}") from error
        if latents is None:
            raise ValueError(
                f"{os.fspath(path)!r} is a safetensors file but no voice: pass audio as prompt_audio, or make a voice "
                "with pipe.encode_voice(audio).save(path)."
            )
        try:
            return cls(latents, metadata.get("codec_fingerprint", ""))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no voice: {error}") from error


def check_latents(latents: Any) -> None:
    """Raise where latents are none of a voice."""
    if not isinstance(latents, np.ndarray) and not is_tensor(latents):
        raise TypeError(f"the latents of a voice are a {type(latents).__name__}; wanted a tensor or an array (C, Tp).")
    check_shape(tuple(latents.shape))
    if (values := as_array(latents)).dtype.kind != "f":
        raise TypeError(f"the latents of a voice have dtype {latents.dtype}; wanted floating-point numbers.")
    if not (peak := float(np.abs(values).max())) <= MOST_LATENT:  # False for NaN
        raise ValueError(f"the latents of a voice go up to {peak:g}; wanted finite numbers within ±{MOST_LATENT:g}.")


def check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or not (0 < shape[0] <= MOST_CHANNELS and 0 < shape[1] <= MOST_FRAMES):
        raise ValueError(
            f"the latents of a voice have shape {shape}; wanted (C, Tp), of 1 to {MOST_CHANNELS} channels and 1 to "
            f"{MOST_FRAMES} frames."
        )
