"""F0 and the filters of a voice, from an analysis with the vocoder WORLD."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

# Lowest natural log of an amplitude; it is 87 dB below full scale.
FLOOR = -10.0
# The ratio of noise to pulses is clipped to ± 35 dB.
LARGEST_RATIO = 4.0


class VoiceFilters(NamedTuple):
    """Result of WORLD's analysis of a recording (Morise et al., IEICE Transactions E99-D, 2016).

    Args:
        f0: (T,) Hz at the middle of every frame, 0 where unvoiced.
        log_envelope: (bins, fine frames) natural log of the amplitude, at the middle of every fine frame.
        log_ratio: the same shape, natural log of the amplitude of noise over that of pulses; None if not asked for.
    """

    f0: np.ndarray
    log_envelope: np.ndarray
    log_ratio: np.ndarray | None


def analyze_voice(
    waveform: np.ndarray,
    sampling_rate: int,
    hop_length: int,
    fine_hop_length: int,
    n_fft: int,
    ratio: bool = False,
    f0_min: float = 65.0,
    f0_max: float = 800.0,
) -> VoiceFilters:
    """F0 per frame and spectral envelope per fine frame of a recording.

    Args:
        waveform: (samples,) floating point; samples after the last whole frame are left out.
        sampling_rate: Hz.
        hop_length: samples per frame.
        fine_hop_length: samples per fine frame; divides `hop_length`.
        n_fft: twice the number of bins, less one; a power of two.
        ratio: also estimate the ratio of noise to pulses, which takes three times as long.
        f0_min, f0_max: range of F0, Hz.

    Raises:
        ImportError: pyworld is not installed.
        ValueError: the hop or n_fft does not fit.
    """
    world = import_world()
    count, transform = hop_length // fine_hop_length, world.get_cheaptrick_fft_size(sampling_rate, f0_min)
    if hop_length % fine_hop_length or transform % n_fft:
        raise ValueError(
            f"hop_length {hop_length} must be a multiple of fine_hop_length {fine_hop_length}, and n_fft {n_fft} must "
            f"divide {transform}, the transform that WORLD needs at {sampling_rate} Hz for F0 down to {f0_min:g} Hz."
        )
    samples = np.ascontiguousarray(waveform, dtype=np.float64)
    frames = len(samples) // hop_length
    # CheapTrick needs a signal that varies, so noise 120 dB below full scale is added.
    samples = samples + 1e-6 * np.random.default_rng(0).standard_normal(len(samples))
    # Middles of fine frames are odd multiples of half a fine hop; middles of frames, of half a hop.
    half_hop_ms = 1000 * fine_hop_length / sampling_rate / 2
    coarse, times = world.dio(samples, sampling_rate, f0_floor=f0_min, f0_ceil=f0_max, frame_period=half_hop_ms)
    dense = world.stonemask(samples, coarse, times, sampling_rate)
    dense = np.pad(dense, (0, max(0, 2 * count * frames - len(dense))))
    f0, fine_f0 = dense[count :: 2 * count][:frames], dense[1::2][: count * frames].copy()
    times = (np.arange(count * frames) + 0.5) * fine_hop_length / sampling_rate
    step = transform // n_fft
    power = world.cheaptrick(samples, fine_f0, times, sampling_rate, f0_floor=f0_min)[:, ::step]
    log_envelope = np.maximum(0.5 * np.log(np.maximum(power, 1e-30)), FLOOR).T
    log_ratio = None
    if ratio:
        share = world.d4c(samples, fine_f0, times, sampling_rate, fft_size=transform)[:, ::step]
        share = np.where(fine_f0[:, None] > 0, np.clip(share, 1e-6, 1 - 1e-6), 1 - 1e-6)
        log_ratio = (np.log(share) - 0.5 * np.log1p(-(share**2))).clip(-LARGEST_RATIO, LARGEST_RATIO).T
    return VoiceFilters(f0, log_envelope, log_ratio)


def import_world():
    """The module pyworld.

    Raises:
        ImportError: it is not installed; the message has the command.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its import of pkg_resources causes warnings
            import pyworld
    except ImportError as error:
        raise ImportError('F0 needs pyworld: pip install "ns2-diffusers[train]".') from error
    return pyworld
