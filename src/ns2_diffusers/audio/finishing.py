"""The last steps before audio leaves the pipeline: loudness, and a limiter so that nothing clips."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import as_array, like

# The limiter's ceiling: one step of 16 bits below full scale.
CEILING = 1 - 2**-15
# Seconds in which the limiter's gain falls and rises.
LIMITER_SECONDS = 0.005
# Allowed LUFS. EBU R128 sets -23 for broadcasts; speech on the web is at -16.
LEAST_LOUDNESS, MOST_LOUDNESS = -60.0, -5.0
# Seconds of a block of ITU-R BS.1770.
BLOCK_SECONDS = 0.4


def limit(waveform: Any, sampling_rate: int) -> Any:
    """Reduce the gain of a waveform (samples,) or (channels, samples) for a few milliseconds where it exceeds [-1, 1].

    The waveform is an array or a tensor; one within the range is returned unchanged. The gain is the same for all
    channels, 1 at more than 5 ms from a peak, and low enough to keep every sample below the ceiling: the minimum of
    the required gain within 5 ms, averaged over 5 ms.
    """
    samples = as_array(waveform)
    peaks = np.abs(samples) if samples.ndim == 1 else np.abs(samples).max(0)
    if not len(peaks) or peaks.max() <= 1:
        return waveform
    wanted = (CEILING / np.maximum(peaks, 1e-9)).clip(max=1.0).astype(np.float64)
    reach = max(1, round(LIMITER_SECONDS * sampling_rate))
    # The minimum of each window of 2 * reach + 1 samples, then the mean over windows within those.
    lowest = _sliding_min(np.pad(wanted, reach, constant_values=1.0), 2 * reach + 1)
    half = reach // 2
    sums = np.cumsum(np.pad(lowest, (half + 1, half), mode="edge"))
    gain = (sums[2 * half + 1 :] - sums[: -2 * half - 1]) / (2 * half + 1)
    return like((samples * gain).astype(samples.dtype).clip(-1, 1), waveform)


class StreamingLimiter:
    """`limit` for a waveform in pieces, (samples,) or (channels, samples); joined, they equal the result of `limit`.

    The output is 10 ms behind the input, because the gain depends on later samples.
    """

    def __init__(self, sampling_rate: int):
        self.sampling_rate = sampling_rate
        reach = max(1, round(LIMITER_SECONDS * sampling_rate))
        self._context = reach + reach // 2 + 1
        self._kept: np.ndarray | None = None
        self._done = 0  # number of buffered samples that were returned

    def __call__(self, piece: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Add a piece and return the next samples."""
        whole = piece if self._kept is None else np.concatenate([self._kept, piece], axis=-1)
        samples = whole.shape[-1]
        end = samples if is_last else max(self._done, samples - self._context)
        out = limit(whole, self.sampling_rate)[..., self._done : end]
        first = max(0, end - self._context)
        self._kept, self._done = whole[..., first:], end - first
        return out


def _sliding_min(values: np.ndarray, width: int) -> np.ndarray:
    """The minimum of each `width` neighbours, (samples - width + 1,)."""
    span = 1
    while 2 * span <= width:
        values = np.minimum(values[:-span], values[span:])
        span *= 2
    rest = width - span
    return np.minimum(values[: len(values) - rest], values[rest:])


def set_loudness(waveform: Any, sampling_rate: int, loudness: float) -> Any:
    """Scale a waveform (samples,) or (channels, samples) to an integrated loudness in LUFS (EBU R128, ITU-R BS.1770).

    Silence is returned unchanged.

    Raises:
        ImportError: pyloudnorm is not installed.
    """
    measured = measure_loudness(waveform, sampling_rate)
    return waveform if measured is None else waveform * 10 ** ((loudness - measured) / 20)


def measure_loudness(waveform: Any, sampling_rate: int) -> float | None:
    """Integrated loudness in LUFS of a waveform (samples,) or (channels, samples); None for silence.

    Audio shorter than a block of 0.4 s is repeated to fill one.

    Raises:
        ImportError: pyloudnorm is not installed.
    """
    meter = loudness_meter(sampling_rate)
    samples = as_array(waveform).T.astype(np.float64)
    wanted = int(BLOCK_SECONDS * sampling_rate) + 1
    if 0 < len(samples) < wanted:
        samples = np.concatenate([samples] * -(-wanted // len(samples)))
    if not samples.any():
        return None
    with np.errstate(divide="ignore"):
        measured = float(meter.integrated_loudness(samples))
    return measured if np.isfinite(measured) else None


def loudness_meter(sampling_rate: int):
    """pyloudnorm's meter.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyloudnorm
    except ImportError as error:
        raise ImportError(f'loudness needs pyloudnorm ({error}): pip install "ns2-diffusers[loudness]"') from error
    return pyloudnorm.Meter(sampling_rate, block_size=BLOCK_SECONDS)
