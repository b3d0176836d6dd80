"""Load audio of any supported form as a mono float waveform at a given sampling rate."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

AudioInput = str | os.PathLike | np.ndarray | torch.Tensor | tuple | Mapping
WANTED = (
    "give a path, a NumPy array or torch tensor with its sampling rate, a (rate, array) pair, or a dict with "
    "'array' and 'sampling_rate'"
)
# Root mean square below which nothing can be heard: -80 dB of full scale.
SILENCE = 1e-4
MOST_CHANNELS = 8
# libsndfile's frame count for a file of unknown length, such as a piped FLAC, which it cannot read.
UNKNOWN_FRAMES = 2**63 - 1


def load_audio(
    audio: AudioInput, sampling_rate: int | None = None, target_sampling_rate: int | None = None
) -> tuple[torch.Tensor, int]:
    """Read audio and make it mono, float32 in [-1, 1], at `target_sampling_rate`.

    Args:
        audio: path; array or tensor (samples,), (channels, samples) or (samples, channels), floating or
            integer; `(rate, array)`; a dict like those of `datasets`' Audio (`array` and `sampling_rate`, or
            `bytes` or `path`); or a decoder with `get_all_samples()` (torchcodec's, which `datasets` gives).
        sampling_rate: Hz, of a bare array; for a path it must agree with the file's, if given.
        target_sampling_rate: Hz wanted; the audio's own when None.

    Returns: waveform (samples,), and its sampling rate.

    Raises:
        TypeError: `audio` is none of these.
        ValueError: no such file or not audio; no sampling rate; empty, NaN or infinite samples.
    """
    samples, rate = _read(audio, sampling_rate)
    if not samples.size:
        raise ValueError("the audio has no samples: give audio with something in it.")
    waveform = _to_mono(_to_float(samples))
    if not np.isfinite(waveform).all():
        raise ValueError("the audio has NaN or infinite samples: look at how it was made or decoded.")
    if target_sampling_rate is not None and rate != target_sampling_rate:
        waveform = soxr.resample(waveform, rate, target_sampling_rate)
        rate = target_sampling_rate
    return torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)), rate


def seconds_in_header(file: str | os.PathLike | io.BytesIO) -> float:
    """Duration by the header of a file; 0 if unknown or unreadable (`load_audio` then raises the error)."""
    try:
        header = soundfile.info(file)
    except (OSError, TypeError, soundfile.LibsndfileError):
        return 0.0
    return 0.0 if header.frames == UNKNOWN_FRAMES else header.duration


def check_audible(waveform: torch.Tensor, sampling_rate: int, min_seconds: float, what: str) -> None:
    """Raise a ValueError if `waveform` (samples,) is silent or shorter than `min_seconds`."""
    seconds = len(waveform) / sampling_rate
    if seconds < min_seconds:
        raise ValueError(
            f"{what} lasts {seconds:.2f} s; at least {min_seconds:g} s of speech are wanted: give a longer recording."
        )
    level = waveform.square().mean().sqrt().item()
    if level < SILENCE:
        raise ValueError(f"{what} is silent (its level is {level:.1e} of full scale): give a recording of a voice.")


def find_speech(
    waveform: torch.Tensor, sampling_rate: int, threshold_db: float, margin_seconds: float = 0.1
) -> tuple[int, int]:
    """Find the speech in a recording with silence before and after it.

    Args:
        waveform: (samples,).
        threshold_db: a window of 20 ms is silence if it is so many dB below the loudest one; above 0.
        margin_seconds: of silence that stays on both sides.

    Returns: first sample and the one after the last.
    """
    window = max(1, round(0.02 * sampling_rate))
    padded = torch.nn.functional.pad(waveform.double(), (0, -len(waveform) % window))
    power = padded.view(-1, window).square().mean(1)
    loud = (power >= power.max() * 10 ** (-threshold_db / 10)).nonzero()
    margin = round(margin_seconds * sampling_rate)
    return max(0, int(loud[0]) * window - margin), min(len(waveform), (int(loud[-1]) + 1) * window + margin)


def _read(audio: Any, sampling_rate: int | None) -> tuple[np.ndarray, int]:
    if isinstance(audio, (str, os.PathLike)):
        return _read_file(audio, os.fspath(audio), sampling_rate)
    if isinstance(audio, Mapping):
        return _read_mapping(audio, sampling_rate)
    if hasattr(audio, "get_all_samples"):
        decoded = audio.get_all_samples()
        return decoded.data.numpy(), decoded.sample_rate
    if isinstance(audio, tuple) and len(audio) == 2 and np.isscalar(audio[0]):
        sampling_rate, audio = audio
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()
    if not isinstance(audio, np.ndarray):
        raise TypeError(f"audio is a {type(audio).__name__}: {WANTED}.")
    if sampling_rate is None:
        raise ValueError(
            f"the sampling rate of an array of shape {audio.shape} was not given: pass sampling_rate in Hz, or a "
            "(rate, array) pair."
        )
    if sampling_rate != int(sampling_rate) or sampling_rate <= 0:
        raise ValueError(f"sampling rate {sampling_rate!r} is not a positive whole number of Hz.")
    return audio, int(sampling_rate)


def _read_mapping(audio: Mapping, sampling_rate: int | None) -> tuple[np.ndarray, int]:
    if audio.get("array") is not None:
        return _read(np.asarray(audio["array"]), audio.get("sampling_rate", sampling_rate))
    if audio.get("bytes") is not None:
        return _read_file(io.BytesIO(audio["bytes"]), audio.get("path") or "the given bytes", sampling_rate)
    if audio.get("path") is not None:
        return _read_file(audio["path"], audio["path"], sampling_rate)
    raise ValueError(f"a dict with keys {sorted(audio)} holds no audio: {WANTED}.")


def _read_file(file: Any, name: str, sampling_rate: int | None) -> tuple[np.ndarray, int]:
    if not isinstance(file, io.BytesIO) and not os.path.isfile(file):
        raise ValueError(f"there is no audio file {name!r}: check the path.")
    try:
        with soundfile.SoundFile(file) as audio:
            rate, frames = audio.samplerate, audio.frames
            if frames == UNKNOWN_FRAMES:
                raise ValueError(
                    f"{name!r} does not say how long it is, as a FLAC that was piped into place: write it anew "
                    "(ffmpeg -i in.flac out.flac)."
                )
            samples = audio.read(dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{name!r} cannot be read as audio ({error}): give WAV, FLAC, Ogg or MP3, or convert it first "
            f"(ffmpeg -i in out.wav)."
        ) from error
    if len(samples) < frames or _is_cut_off(file):
        raise ValueError(
            f"{name!r} is cut off: its header promises more audio than there is. Copy or download it again."
        )
    if sampling_rate is not None and sampling_rate != rate:
        raise ValueError(
            f"{name!r} is sampled at {rate} Hz and {sampling_rate} Hz was given: leave the rate out for files."
        )
    return samples, rate


def _is_cut_off(file: Any) -> bool:
    """Whether a WAV file is shorter than its header says; libsndfile reads such a file without an error."""
    with io.BytesIO(file.getbuffer()) if isinstance(file, io.BytesIO) else open(file, "rb") as opened:
        header, length = opened.read(8), opened.seek(0, os.SEEK_END)
    promised = int.from_bytes(header[4:8], "little")
    # A WAV that was piped has no length in its header, but a placeholder near the largest one.
    return header[:4] == b"RIFF" and length < 8 + promised < 0x7FFFF000


def _to_float(samples: np.ndarray) -> np.ndarray:
    if np.issubdtype(samples.dtype, np.floating):
        return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        # Eight-bit audio is unsigned around 128.
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    raise TypeError(f"audio samples have dtype {samples.dtype}; wanted floating or integer samples.")


def _to_mono(samples: np.ndarray) -> np.ndarray:
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or min(samples.shape) > MOST_CHANNELS:
        raise ValueError(
            f"an audio array has shape {samples.shape}; wanted (samples,), (channels, samples) or (samples, "
            "channels): one recording at a time."
        )
    return samples.mean(axis=int(np.argmin(samples.shape)))
