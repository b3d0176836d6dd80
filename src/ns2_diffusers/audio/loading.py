"""Loads audio in any supported form as a mono float waveform at a given sampling rate."""

from __future__ import annotations

import io
import logging
import math
import numbers
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr

from ..arrays import as_array, is_tensor

if TYPE_CHECKING:
    import torch

    AudioInput = str | os.PathLike | np.ndarray | torch.Tensor | tuple | Mapping
else:
    AudioInput = Any

logger = logging.getLogger(__name__)

WANTED = (
    "give a path, a NumPy array or torch tensor with its sampling rate, a (rate, array) pair, or a dict with "
    "'array' and 'sampling_rate'"
)
# Root mean square below which audio is inaudible: -80 dB of full scale.
SILENCE = 1e-4
MOST_CHANNELS = 8
# Hz. Rates outside are errors in a header, and resampling from them would need too much memory.
LEAST_RATE, MOST_RATE = 1_000, 768_000
# Larger floating-point samples are integers that were not divided by 2^15 or the like.
MOST_PEAK = 32.0
# libsndfile's frame count for a file of unknown length, such as a piped FLAC.
UNKNOWN_FRAMES = 2**63 - 1
# Lines of libsndfile's log for lengths in a header that differ from those of the file, and for Ogg.
WRONG_LENGTH = re.compile(r"(\d+) \(should be (\d+)\)")
NO_LAST_PAGE = re.compile("Last page lacks an end-of-stream bit|Junk after the last page")
# Samples that are decoded at a time.
BLOCK = 2**18
# Seconds that are read in addition, so that the resampler's filter does not meet the end of the data.
MARGIN_SECONDS = 0.1


class _Reader(soundfile.SoundFile):
    """A file that is read from its beginning only.

    soundfile seeks to the current position after each read of a seekable file. This fails if the length in a FLAC
    header is missing or wrong.
    """

    def seekable(self) -> bool:
        return False


def load_audio(
    audio: AudioInput,
    sampling_rate: int | None = None,
    target_sampling_rate: int | None = None,
    max_seconds: float | None = None,
) -> tuple[torch.Tensor, int]:
    """`load_samples` as a tensor."""
    import torch

    samples, rate = load_samples(audio, sampling_rate, target_sampling_rate, max_seconds)
    return torch.from_numpy(samples), rate


def load_samples(
    audio: AudioInput,
    sampling_rate: int | None = None,
    target_sampling_rate: int | None = None,
    max_seconds: float | None = None,
) -> tuple[np.ndarray, int]:
    """Read audio as mono, float32 in [-1, 1], at `target_sampling_rate`.

    Args:
        audio: path; array or tensor (samples,), (channels, samples) or (samples, channels), floating or
            integer; `(rate, array)`; a dict in the form of `datasets`' Audio (`array` and `sampling_rate`, or
            `bytes` or `path`); or a decoder with `get_all_samples()` (torchcodec's, which `datasets` returns).
        sampling_rate: Hz of a bare array; if given for a file, it must equal the rate of the file.
        target_sampling_rate: Hz of the result; that of the audio if None.
        max_seconds: maximum duration, from the beginning; no limit if None. The rest is neither decoded nor checked.

    Returns: waveform (samples,), and its sampling rate.

    Raises:
        TypeError: `audio` has none of these forms.
        ValueError: the file does not exist, is not audio or is cut off; the sampling rate is missing or not between
            1 kHz and 768 kHz; there are no samples, or NaN, infinite or far too large ones.
    """
    if target_sampling_rate is not None:
        _check_rate(target_sampling_rate, "the sampling rate wanted")
    samples, rate = _read(audio, sampling_rate, None if max_seconds is None else max_seconds + MARGIN_SECONDS)
    if not samples.size:
        raise ValueError("the audio has no samples: give audio with something in it.")
    waveform = samples if samples.ndim == 1 else samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise ValueError("the audio has NaN or infinite samples: look at how it was made or decoded.")
    if (peak := float(np.abs(waveform).max())) > MOST_PEAK:
        raise ValueError(
            f"the audio has floating-point samples of up to {peak:.6g}; wanted samples in [-1, 1]: divide what was "
            "16-bit by 32768, or pass the integers themselves."
        )
    if target_sampling_rate is not None and rate != target_sampling_rate:
        waveform = soxr.resample(waveform, rate, target_sampling_rate)
        rate = target_sampling_rate
    if max_seconds is not None:
        waveform = waveform[: int(max_seconds * rate)]
    return np.ascontiguousarray(waveform, dtype=np.float32), rate


def seconds_in_header(file: str | os.PathLike | io.BytesIO) -> float:
    """Duration from the header of a file; 0 if unknown or unreadable (`load_audio` then raises the error)."""
    try:
        header = soundfile.info(file)
    except (OSError, TypeError, soundfile.LibsndfileError):
        return 0.0
    return 0.0 if header.frames == UNKNOWN_FRAMES else header.duration


def check_audible(waveform: np.ndarray | torch.Tensor, sampling_rate: int, min_seconds: float, what: str) -> None:
    """Raise a ValueError if `waveform` (samples,) is silent or shorter than `min_seconds`."""
    seconds = len(waveform) / sampling_rate
    if seconds < min_seconds:
        raise ValueError(
            f"{what} lasts {seconds:.2f} s; at least {min_seconds:g} s of speech are wanted: give a longer recording."
        )
    level = float(np.sqrt(np.square(as_array(waveform)).mean()))
    if level < SILENCE:
        raise ValueError(f"{what} is silent (its level is {level:.1e} of full scale): give a recording of a voice.")


def find_speech(
    waveform: torch.Tensor, sampling_rate: int, threshold_db: float, margin_seconds: float = 0.1
) -> tuple[int, int]:
    """Find the speech in a recording with silence before and after it.

    Args:
        waveform: (samples,).
        threshold_db: level of a 20 ms window of silence below the loudest window, in dB; above 0.
        margin_seconds: silence to keep on both sides.

    Returns: index of the first sample, and of the sample after the last.
    """
    import torch

    window = max(1, round(0.02 * sampling_rate))
    padded = torch.nn.functional.pad(waveform.double(), (0, -len(waveform) % window))
    power = padded.view(-1, window).square().mean(1)
    loud = (power >= power.max() * 10 ** (-threshold_db / 10)).nonzero()
    margin = round(margin_seconds * sampling_rate)
    return max(0, int(loud[0]) * window - margin), min(len(waveform), (int(loud[-1]) + 1) * window + margin)


def _read(audio: Any, sampling_rate: Any, seconds: float | None) -> tuple[np.ndarray, int]:
    """At most the first `seconds`, float32 (samples,) or (samples, channels), and the sampling rate."""
    if isinstance(audio, (str, os.PathLike)):
        return _read_file(audio, os.fspath(audio), sampling_rate, seconds)
    if isinstance(audio, Mapping):
        return _read_mapping(audio, sampling_rate, seconds)
    if hasattr(audio, "get_all_samples"):
        if seconds is not None and hasattr(audio, "get_samples_played_in_range"):
            decoded = audio.get_samples_played_in_range(0.0, seconds)
        else:
            decoded = audio.get_all_samples()
        sampling_rate, audio = decoded.sample_rate, decoded.data
    if isinstance(audio, tuple) and len(audio) == 2 and np.isscalar(audio[0]):
        sampling_rate, audio = audio
    if not isinstance(audio, np.ndarray) and not is_tensor(audio):
        raise TypeError(f"audio is a {type(audio).__name__}: {WANTED}.")
    if sampling_rate is None:
        raise ValueError(
            f"the sampling rate of an array of shape {tuple(audio.shape)} was not given: pass sampling_rate in Hz, or "
            "a (rate, array) pair."
        )
    rate = _check_rate(sampling_rate, "the sampling rate")
    return _to_float(_first_samples(audio, None if seconds is None else math.ceil(seconds * rate))), rate


def _read_mapping(audio: Mapping, sampling_rate: Any, seconds: float | None) -> tuple[np.ndarray, int]:
    if audio.get("array") is not None:
        return _read(np.asarray(audio["array"]), audio.get("sampling_rate", sampling_rate), seconds)
    if audio.get("bytes") is not None:
        if not isinstance(audio["bytes"], (bytes, bytearray, memoryview)):
            raise TypeError(f"'bytes' of a dict is a {type(audio['bytes']).__name__}; wanted the bytes of a file.")
        return _read_file(io.BytesIO(audio["bytes"]), audio.get("path") or "the given bytes", sampling_rate, seconds)
    if isinstance(audio.get("path"), (str, os.PathLike)):
        return _read_file(audio["path"], os.fspath(audio["path"]), sampling_rate, seconds)
    raise ValueError(f"a dict with keys {sorted(map(str, audio))} holds no audio: {WANTED}.")


def _read_file(file: Any, name: str, sampling_rate: Any, seconds: float | None) -> tuple[np.ndarray, int]:
    if not isinstance(file, io.BytesIO):
        if not os.path.isfile(file):
            raise ValueError(f"there is no audio file {name!r}: check the path.")
        file = os.fsencode(file) if os.name == "posix" else file  # names need not be UTF-8
    try:
        with _Reader(_with_length(file)) as audio:
            rate, frames = _check_rate(audio.samplerate, f"the sampling rate of {name!r}"), audio.frames
            samples = _read_blocks(audio, None if seconds is None else math.ceil(seconds * rate))
            log = audio.extra_info
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a file without a header, such as .raw
        raise ValueError(
            f"{name!r} cannot be read as audio ({error}): give WAV, FLAC, Ogg or MP3, or convert it first "
            f"(ffmpeg -i in out.wav)."
        ) from error
    is_whole = seconds is None or len(samples) < math.ceil(seconds * rate)
    if is_whole and (len(samples) < frames != UNKNOWN_FRAMES or _is_cut_off(log)):
        raise ValueError(
            f"{name!r} is cut off: its header promises more audio than there is. Copy or download it again."
        )
    if is_whole and NO_LAST_PAGE.search(log):
        # Ogg does not store its length, and a recorded broadcast ends in the same way, so this is no error.
        logger.warning(
            "%r does not end with a last page and may be cut off: %.2f s of it are read.", name, len(samples) / rate
        )
    if sampling_rate is not None and sampling_rate != rate:
        raise ValueError(
            f"{name!r} is sampled at {rate} Hz and {sampling_rate} Hz was given: leave the rate out for files."
        )
    return samples, rate


def _read_blocks(audio: soundfile.SoundFile, wanted: int | None) -> np.ndarray:
    """At most `wanted` samples, float32 mono. Memory use depends on the audio, not on the length in the header."""
    blocks, count, size = [np.zeros(0, np.float32)], 0, max(1, BLOCK // audio.channels)
    while wanted is None or count < wanted:
        block = audio.read(size if wanted is None else min(size, wanted - count), dtype="float32", always_2d=True)
        if not len(block):
            break
        blocks.append(block.mean(axis=1))
        count += len(block)
    return np.concatenate(blocks)


def _check_rate(rate: Any, what: str) -> int:
    if (
        isinstance(rate, (bool, np.bool_))
        or not isinstance(rate, numbers.Real)
        or not LEAST_RATE <= float(rate) <= MOST_RATE  # False for NaN
        or not float(rate).is_integer()
    ):
        raise ValueError(f"{what} is {rate!r}; wanted a whole number of Hz from {LEAST_RATE} to {MOST_RATE}.")
    return int(float(rate))


def _opened(file: Any) -> Any:
    return io.BytesIO(file.getbuffer()) if isinstance(file, io.BytesIO) else open(file, "rb")


def _with_length(file: Any) -> Any:
    """A WAV file whose header has the length 0, with one that means "to the end"; other files unchanged."""
    with _opened(file) as opened:
        header = opened.read(4096)
        data = header.find(b"data\0\0\0\0")
        if header[:4] != b"RIFF" or data < 0:
            return file
        unknown = b"\xff" * 4
        header = header[:4] + unknown + header[8 : data + 4] + unknown + header[data + 8 :]
        return io.BytesIO(header + opened.read())


def _is_cut_off(log: str) -> bool:
    """Whether a WAV, AIFF, AU, W64 or RF64 file is shorter than its header says, according to libsndfile's log.

    The header of piped audio has no length, but a placeholder near the largest number of 31, 32 or 63 bits.
    """
    lengths = [(int(promised), int(found)) for promised, found in WRONG_LENGTH.findall(log)]
    return any(
        found < promised and (promised < 0x7FFFF000 or 2**32 <= promised < 2**62) for promised, found in lengths
    )


def _first_samples(audio: Any, wanted: int | None) -> np.ndarray:
    """At most `wanted` samples of an array or tensor, unchanged: (samples,) or (samples, channels)."""
    if audio.ndim == 2:
        audio = audio.T if audio.shape[0] <= audio.shape[1] else audio
    if audio.ndim not in (1, 2) or (audio.ndim == 2 and audio.shape[1] > MOST_CHANNELS):
        raise ValueError(
            f"an audio array has shape {tuple(audio.shape)}; wanted (samples,), (channels, samples) or (samples, "
            "channels): one recording at a time."
        )
    return as_array(audio[:wanted])


def _to_float(samples: np.ndarray) -> np.ndarray:
    if np.issubdtype(samples.dtype, np.floating):
        with np.errstate(over="ignore"):  # overflow becomes infinity, which is reported
            return samples.astype(np.float32)
    if samples.dtype == np.uint8:
        # 8-bit audio is unsigned with a mean of 128.
        return (samples.astype(np.float32) - 128) / 128
    if np.issubdtype(samples.dtype, np.signedinteger):
        return samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    raise TypeError(f"audio samples have dtype {samples.dtype}; wanted floating or integer samples.")
