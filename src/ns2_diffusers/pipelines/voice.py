"""Voices: encoded prompts that can be reused, mixed and saved to a file."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..arrays import as_array, is_tensor
from ..files import whole_file
from ..untrusted import check_safetensors_header

FORMAT = "ns2_diffusers.voice"
# One hour at 100 frames per second; values of standardised latents are around 1.
MOST_FRAMES, MOST_CHANNELS, MOST_LATENT = 360_000, 4_096, 1e4
MOST_HEADER_BYTES = 64 * 2**10
MOST_FINGERPRINT = 64
_TERM = r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*\*\s*(\S.*)"
# Maximum number of voices in a mix, and of recordings in a voice.
MOST_PARTS, MOST_RECORDINGS = 64, 1024


class VoiceArithmetic:
    """Weighted sums of voices, such as `0.7 * emma + 0.3 * george`; the result is a mix."""

    # Attributes of the classes that use this mixin.
    parts: tuple[tuple[float, Voice], ...]

    def __mul__(self, weight: float) -> VoiceMix:
        if isinstance(weight, bool) or not isinstance(weight, numbers.Real):
            return NotImplemented
        return VoiceMix(tuple((float(weight) * share, voice) for share, voice in self.parts))

    __rmul__ = __mul__

    def __add__(self, other: Voice | VoiceMix) -> Voice | VoiceMix:
        if not isinstance(other, VoiceArithmetic):
            return NotImplemented
        return VoiceMix(self.parts + other.parts)

    @property
    def weights(self) -> list[float]:
        """The weights of the parts, normalised to a sum of 1."""
        total = sum(weight for weight, _ in self.parts)
        return [weight / total for weight, _ in self.parts]

    def heard(self, frames: int) -> list[Any]:
        """The latents (C, n) that the encoders use: at most the first `frames` of each recording of each voice."""
        return [recording[:, :frames] for _, voice in self.parts for recording in voice.recordings]

    def kept(self, frames: int) -> np.ndarray:
        """Indices (int64) of the frames that represent the voice, among the concatenated frames of `heard`.

        Attention gives every frame the same weight, so each voice of a mix keeps a number of evenly spaced frames in
        proportion to its weight.
        """
        lengths = [sum(recording[:, :frames].shape[1] for recording in voice.recordings) for _, voice in self.parts]
        weights = [weight for weight, _ in self.parts]
        votes = min(length / weight for length, weight in zip(lengths, weights, strict=True))
        counts = [max(1, round(votes * weight)) for weight in weights]
        begins = np.cumsum([0, *lengths[:-1]])
        return np.concatenate(
            [
                begin + np.arange(count) * length // count
                for begin, count, length in zip(begins, counts, lengths, strict=True)
            ]
        )

    @property
    def digest(self) -> str:
        """A digest of the contents of the voice."""
        found = hashlib.sha256()
        for weight, (_, voice) in zip(self.weights, self.parts, strict=True):
            found.update(repr((round(weight, 9), voice.lengths)).encode())
            found.update(np.ascontiguousarray(as_array(voice.latents)).tobytes())
        return found.hexdigest()

    def save(self, path: str | os.PathLike) -> None:
        """Write the voice to a safetensors file, completely or not at all.

        Raises:
            OSError: the file cannot be written; the message has the reason.
        """
        for _, voice in self.parts:
            voice.__post_init__()  # checks again, because the voice may have been changed
        metadata = {"format": FORMAT, "codec_fingerprint": self.parts[0][1].codec_fingerprint}
        if len(self.parts) == 1:
            names = ["latents"]
        else:
            names = [f"latents.{index}" for index in range(len(self.parts))]
            metadata["weights"] = json.dumps([weight for weight, _ in self.parts])
        if any(len(voice.lengths) > 1 for _, voice in self.parts):
            metadata["lengths"] = json.dumps([voice.lengths for _, voice in self.parts])
        tensors = {
            name: np.ascontiguousarray(as_array(voice.latents))
            for name, (_, voice) in zip(names, self.parts, strict=True)
        }
        with whole_file(path) as partial:
            save_file(tensors, partial, metadata=metadata)


@dataclass(eq=False)
class Voice(VoiceArithmetic):
    """Latents of some seconds of speech of one person, from one recording or several.

    `0.7 * emma + 0.3 * george` mixes two voices to a `VoiceMix`, which can be used like a voice.

    Args:
        latents: (C, Tp) float32, standardised, quantised; an array in pipelines without torch. Several recordings
            are concatenated.
        codec_fingerprint: fingerprint of the codec that made them; pipelines with another codec refuse the voice.
        lengths: latent frames of each recording, which sum to Tp; one recording if not given.

    Raises:
        TypeError, ValueError: latents are not finite floating-point numbers of that shape within ±10,000, or exceed
            an hour; the fingerprint is missing; lengths do not fit.
    """

    latents: Any
    codec_fingerprint: str
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_latents(self.latents)
        if not isinstance(self.codec_fingerprint, str) or not 0 < len(self.codec_fingerprint) <= MOST_FINGERPRINT:
            raise ValueError(
                f"the codec's fingerprint of a voice is {self.codec_fingerprint!r:.80}; wanted pipe.codec.fingerprint."
            )
        self.lengths = check_lengths(self.lengths, self.latents.shape[1])
        if isinstance(self.latents, np.ndarray):
            self.latents = self.latents.astype(np.float32, copy=False)
        else:
            self.latents = self.latents.detach().float()

    @property
    def parts(self) -> tuple[tuple[float, Voice], ...]:  # type: ignore[override]
        """Weights and voices of the mix: only this voice."""
        return ((1.0, self),)

    @property
    def recordings(self) -> list[Any]:
        """The latents (C, n) of each recording."""
        ends = np.cumsum(self.lengths).tolist()
        return [self.latents[:, end - length : end] for end, length in zip(ends, self.lengths, strict=True)]

    @classmethod
    def load(cls, path: str | os.PathLike, framework: str = "pt") -> Voice | VoiceMix:
        """Read a file that `save` wrote.

        Args:
            framework: "pt" for a tensor, "np" for an array.

        Raises:
            ValueError: the file does not exist, or holds no voice.
        """
        if not os.path.isfile(path):
            raise ValueError(
                f"there is no voice file {os.fspath(path)!r}: make one with pipe.encode_voice(audio).save(path)."
            )
        check_safetensors_header(path, MOST_HEADER_BYTES)
        try:
            with safe_open(path, framework=framework) as file:
                metadata = file.metadata() or {}
                names = sorted(file.keys(), key=lambda name: (len(name), name))
                wanted = [["latents"], [f"latents.{index}" for index in range(len(names))]]
                is_voice = metadata.get("format") == FORMAT and 0 < len(names) <= MOST_PARTS and names in wanted
                if is_voice:
                    # Checked before the tensors are read.
                    for name in names:
                        check_shape(tuple(file.get_slice(name).get_shape()))
                latents = [file.get_tensor(name) for name in names] if is_voice else None
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
            weights = _read_list(metadata, "weights", [1.0] * len(latents))
            lengths = _read_list(metadata, "lengths", [()] * len(latents))
            fingerprint = metadata.get("codec_fingerprint", "")
            voices = [cls(each, fingerprint, own) for each, own in zip(latents, lengths, strict=True)]
            return voices[0] if len(voices) == 1 else VoiceMix(tuple(zip(weights, voices, strict=True)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds no voice: {error}") from error


@dataclass(eq=False)
class VoiceMix(VoiceArithmetic):
    """A weighted mix of voices, such as `0.7 * emma + 0.3 * george`.

    A voice that occurs twice counts once, with the sum of its weights, so a mix of a voice with itself is that voice.

    Args:
        parts: pairs of a weight above 0 and a `Voice`. Only the ratios of weights matter.

    Raises:
        TypeError, ValueError: invalid weights or voices; no voice; more than 64; voices of different codecs.
    """

    parts: tuple[tuple[float, Voice], ...]

    def __post_init__(self) -> None:
        merged: list[tuple[float, Voice]] = []
        for weight, voice in self.parts:
            if isinstance(weight, bool) or not isinstance(weight, numbers.Real) or not isinstance(voice, Voice):
                raise TypeError(
                    f"a mix of voices has ({weight!r:.40}, {type(voice).__name__}); wanted (number, Voice)."
                )
            check_weight(float(weight))
            for index, (share, other) in enumerate(merged):
                if voice is other or voice.digest == other.digest:
                    merged[index] = (share + float(weight), other)
                    break
            else:
                merged.append((float(weight), voice))
        if not 0 < len(merged) <= MOST_PARTS:
            raise ValueError(f"a mix has {len(merged)} voices; wanted 1 to {MOST_PARTS}.")
        kinds = {(voice.codec_fingerprint, voice.latents.shape[0]) for _, voice in merged}
        if len(kinds) > 1:
            codecs = ", ".join(sorted(kind for kind, _ in kinds))
            raise ValueError(
                f"the voices of a mix were made with different codecs ({codecs}): encode their recordings with one "
                "pipeline."
            )
        self.parts = tuple(merged)

    @property
    def codec_fingerprint(self) -> str:
        """Fingerprint of the codec that made the voices."""
        return self.parts[0][1].codec_fingerprint


def check_latents(latents: Any) -> None:
    """Raise an error if latents are not valid for a voice."""
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


def check_lengths(lengths: Sequence[int], frames: int) -> tuple[int, ...]:
    """Latent frames of each recording; a ValueError or TypeError if they do not sum to `frames`."""
    lengths = tuple(lengths) or (frames,)
    if any(isinstance(length, bool) or not isinstance(length, numbers.Integral) for length in lengths):
        raise TypeError(f"the lengths of a voice's recordings are {lengths!r:.80}; wanted whole latent frames.")
    if len(lengths) > MOST_RECORDINGS or min(lengths) < 1 or sum(lengths) != frames:
        raise ValueError(
            f"the lengths of a voice's recordings are {lengths!r:.80}; wanted at most {MOST_RECORDINGS} numbers above "
            f"0 that sum to its {frames} frames."
        )
    return tuple(int(length) for length in lengths)


def read_mix(text: str) -> list[tuple[float, str]]:
    """Parse a mix such as "0.7 * emma + 0.3 * george" to weights and names.

    Raises:
        ValueError: the text is not a mix, or a weight is 0.
    """
    terms = [re.fullmatch(_TERM, term.strip()) for term in text.split("+")]
    if not all(terms):
        raise ValueError(f'the mix of voices {text!r:.80} cannot be read: write "0.7 * emma + 0.3 * george".')
    mix = [(float(term[1]), term[2]) for term in terms if term]
    for weight, _ in mix:
        check_weight(weight)
    return mix


def load_mix(text: str, load: Callable[[str], Voice | VoiceMix]) -> VoiceMix:
    """The mix of voices that `read_mix` parses, with a function that loads the voice of a name."""
    loaded = [(weight, load(name)) for weight, name in read_mix(text)]
    return VoiceMix(tuple((weight * share, part) for weight, voice in loaded for share, part in voice.parts))


def check_weight(weight: float) -> None:
    """Raise a ValueError if the weight of a voice in a mix is not above 0."""
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"the weight of a voice is {weight!r}; wanted a number above 0.")


def _read_list(metadata: dict[str, str], name: str, otherwise: list[Any]) -> list[Any]:
    """A list from the metadata of a file, with the length of `otherwise`, which is returned if it is missing."""
    if name not in metadata:
        return otherwise
    try:
        read = json.loads(metadata[name])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {name} are not JSON ({error}).") from error
    if (
        not isinstance(read, list)
        or len(read) != len(otherwise)
        or not all(isinstance(each, (int, float) if name == "weights" else list) for each in read)
    ):
        raise ValueError(f"its {name} are {metadata[name]!r:.80}; wanted a list of {len(otherwise)}.")
    return read
