"""Pitch contours as arrays, without torch."""

from __future__ import annotations

import numpy as np


def bridge_unvoiced(f0: np.ndarray) -> np.ndarray:
    """Interpolate the unvoiced frames (F0 of 0) of `f0` (T,) on a logarithmic scale; all zeros stay zero.

    The predictor returns contours without gaps, because it is trained on voiced frames only. Therefore the pitch
    embedding is trained on such contours too.

    Returns: (T,) in the dtype of `f0`.
    """
    voiced = f0 > 0
    if not voiced.any():
        return f0
    frames = np.arange(len(voiced))
    log_f0 = np.log(f0[voiced].astype(np.float64))
    return np.exp(np.interp(frames, frames[voiced], log_f0)).astype(f0.dtype)
