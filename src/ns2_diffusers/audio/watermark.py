"""An inaudible watermark of synthetic speech, by Perth (Resemble AI, MIT), whose weights are in its wheel."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


def add_watermark(audio: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Mark audio (samples,) or (channels, samples); the result has the same shape.

    Raises:
        ImportError: resemble-perth is not installed.
    """
    if audio.ndim == 2:
        return np.stack([add_watermark(channel, sampling_rate) for channel in audio])
    if not audio.size:
        return audio.astype(np.float32)
    marked = watermarker().apply_watermark(audio.astype(np.float32), sample_rate=sampling_rate)
    # Perth works on whole frames of a transform.
    marked = np.pad(marked[: len(audio)], (0, max(0, len(audio) - len(marked))))
    return marked.astype(np.float32)


def has_watermark(audio: np.ndarray, sampling_rate: int) -> bool:
    """Whether audio (samples,) has the watermark.

    Raises:
        ImportError: resemble-perth is not installed.
    """
    return bool(watermarker().get_watermark(audio.astype(np.float32), sample_rate=sampling_rate) >= 0.5)


@cache
def watermarker() -> Any:
    try:
        # The package `perth` hides why this module cannot be imported.
        from perth.perth_net.perth_net_implicit.perth_watermarker import PerthImplicitWatermarker
    except ImportError as error:
        raise ImportError(
            f'watermarks need Perth and what it imports ({error}): pip install "ns2-diffusers[watermark]", and a '
            "torchaudio of the same build as torch."
        ) from error
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()):  # it prints a message while it loads
        return PerthImplicitWatermarker()
