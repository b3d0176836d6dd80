"""Fundamental frequency (F0) at the codec's frame rate."""

from __future__ import annotations

import numpy as np
import torch

from .contour import bridge_unvoiced
from .voice_filters import import_world


def estimate_f0(
    waveform: torch.Tensor,
    sampling_rate: int,
    hop_length: int,
    f0_min: float = 65.0,
    f0_max: float = 800.0,
) -> torch.Tensor:
    """F0 at the middle of every frame, estimated with WORLD's DIO and StoneMask, as in the paper (section 4).

    Args:
        waveform: (samples,).
        hop_length: samples per frame.
        f0_min, f0_max: range of F0, Hz.

    Returns: (ceil(samples / hop_length),) float32 in Hz, 0 where unvoiced.

    Raises:
        ImportError: pyworld is not installed.
    """
    pyworld = import_world()
    samples = waveform.double().cpu().numpy()
    num_frames = -(-len(samples) // hop_length)
    # Frames start at multiples of the hop; their middles are the odd half hops.
    half_hop_ms = 1000 * hop_length / sampling_rate / 2
    coarse, times = pyworld.dio(samples, sampling_rate, f0_floor=f0_min, f0_ceil=f0_max, frame_period=half_hop_ms)
    refined = pyworld.stonemask(samples, coarse, times, sampling_rate)[1::2][:num_frames]
    f0 = np.zeros(num_frames, dtype=np.float32)
    f0[: len(refined)] = refined
    return torch.from_numpy(f0)


def interpolate_unvoiced(f0: torch.Tensor) -> torch.Tensor:
    """`bridge_unvoiced` for a tensor (T,)."""
    return torch.from_numpy(bridge_unvoiced(f0.float().cpu().numpy())).to(f0)
