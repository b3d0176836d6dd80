"""Compares F0 contours (T,) in Hz at the same frame rate, 0 where unvoiced."""

from __future__ import annotations

import numpy as np
import torch

Contour = np.ndarray | torch.Tensor

# Voice that is more than this far below the loudest frames is inaudible.
AUDIBLE_DB = 30.0


def f0_correlation(f0: Contour, reference: Contour) -> float:
    """Pearson's correlation of log F0 over the frames that are voiced in both; NaN where it is undefined.

    Raises:
        ValueError: contours of different lengths.
    """
    ours, theirs = _log2_where_both_voiced(f0, reference)
    if len(ours) < 2 or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return float("nan")
    return float(np.corrcoef(ours, theirs)[0, 1])


def f0_median_error(f0: Contour, reference: Contour) -> float:
    """Median distance in cents (100 per semitone) over the frames that are voiced in both; NaN without any.

    Raises:
        ValueError: contours of different lengths.
    """
    ours, theirs = _log2_where_both_voiced(f0, reference)
    return float(np.median(1200 * np.abs(ours - theirs))) if len(ours) else float("nan")


def f0_range(f0: Contour) -> float:
    """Semitones from the 5th to the 95th percentile of the voiced frames; NaN without any."""
    f0 = np.asarray(f0, dtype=np.float64)
    voiced = f0[f0 > 0]
    return float(12 * np.ptp(np.log2(np.percentile(voiced, [5, 95])))) if len(voiced) else float("nan")


def audible_voice(waveform: np.ndarray | torch.Tensor, f0: Contour) -> np.ndarray:
    """Frames that are audibly voiced: at most 30 dB below the 95th percentile of all frames' levels.

    F0 alone does not show this, because the end of a note that has faded out still has an F0.

    Args:
        waveform: (samples,) in [−1, 1].
        f0: (T,) F0 in Hz, 0 where unvoiced.

    Returns: (T,) boolean.

    Raises:
        ValueError: there is less than one sample per frame.
    """
    waveform, f0 = np.asarray(waveform, dtype=np.float64), np.asarray(f0)
    if f0.ndim != 1 or waveform.ndim != 1 or not 0 < len(f0) <= len(waveform):
        raise ValueError(
            f"waveform has shape {waveform.shape} and f0 {f0.shape}; wanted one waveform (samples,) and its F0 (T,)."
        )
    # The last frame may be incomplete.
    hop_length = -(-len(waveform) // len(f0))
    padded = np.pad(waveform, (0, hop_length * len(f0) - len(waveform)))
    power = np.square(padded).reshape(len(f0), hop_length).mean(1)
    return (f0 > 0) & (power > 10 ** (-AUDIBLE_DB / 10) * np.percentile(power, 95))


def _log2_where_both_voiced(f0, reference):
    f0, reference = np.asarray(f0, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if f0.shape != reference.shape or f0.ndim != 1:
        raise ValueError(
            f"F0 contours have shapes {f0.shape} and {reference.shape}; wanted two of one length: estimate both with "
            "the same hop length and cut them to the shorter."
        )
    both = (f0 > 0) & (reference > 0)
    return np.log2(f0[both]), np.log2(reference[both])
