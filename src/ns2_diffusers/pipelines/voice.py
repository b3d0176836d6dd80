"""A voice: an encoded prompt, to be used again and kept in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..files import whole_file

FORMAT = "ns2_diffusers.voice"


@dataclass
class Voice:
    """Latents of some seconds of somebody's speech.

    Args:
        latents: (C, Tp) float32, standardised, quantised.
        codec_fingerprint: of the codec that made them; another codec's pipeline refuses them.
    """

    latents: torch.Tensor
    codec_fingerprint: str

    def save(self, path: str | os.PathLike) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            OSError: it cannot be written; the message says why.
        """
        metadata = {"format": FORMAT, "codec_fingerprint": self.codec_fingerprint}
        with whole_file(path) as partial:
            save_file({"latents": self.latents.cpu().float().contiguous()}, partial, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Voice:
        """Read a file that `save` wrote.

        Raises:
            ValueError: there is no such file, or it holds no voice.
        """
        if not os.path.isfile(path):
            raise ValueError(
                f"there is no voice file {os.fspath(path)!r}: make one with pipe.encode_voice(audio).save(path)."
            )
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                latents = file.get_tensor("latents") if metadata.get("format") == FORMAT else None
        except SafetensorError as error:
            raise ValueError(f"{os.fspath(path)!r} is not a safetensors file: {error}.") from error
        if latents is None:
            raise ValueError(
                f"{os.fspath(path)!r} is a safetensors file but no voice: pass audio as prompt_audio, or make a voice "
                "with pipe.encode_voice(audio).save(path)."
            )
        return cls(latents, metadata["codec_fingerprint"])
