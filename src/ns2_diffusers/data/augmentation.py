"""Adds noise, reverberation and clipping to recordings, to train models that tolerate or remove them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def add_noise(waveform: np.ndarray, snr_db: float, random: np.random.Generator, slope: float = 1.0) -> np.ndarray:
    """Add stationary noise to a waveform.

    Args:
        waveform: (channels, samples) floating point; every channel gets different noise.
        snr_db: power of the waveform over power of the noise, in each channel, dB.
        random: source of the noise.
        slope: the power of the noise is 1 / frequency^slope: 0 is white, 1 pink, 2 brown.

    Returns: (channels, samples) of the same dtype. A silent channel stays silent.

    Raises:
        ValueError: the waveform does not have two dimensions.
    """
    _check_waveform(waveform)
    samples = waveform.shape[1]
    spectrum = np.fft.rfft(random.standard_normal(waveform.shape), axis=1)
    # Frequency 0 is treated as the first bin, because its power would be infinite.
    spectrum *= np.maximum(np.arange(spectrum.shape[1]), 1.0) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, samples, axis=1)
    power = np.square(noise).mean(axis=1, keepdims=True)
    wanted = np.square(waveform, dtype=np.float64).mean(axis=1, keepdims=True) * 10 ** (-snr_db / 10)
    return (waveform + noise * np.sqrt(wanted / np.maximum(power, 1e-30))).astype(waveform.dtype)


def reverberate(
    waveform: np.ndarray,
    sampling_rate: int,
    reverberation_seconds: float,
    direct_to_reverberant_db: float,
    random: np.random.Generator,
) -> np.ndarray:
    """Add the diffuse reverberation of a room; the direct sound stays unchanged.

    The tail is Gaussian noise that decays exponentially (Polack's statistical model of late reverberation, PhD thesis,
    Université du Maine, 1988), the same for all channels.

    Args:
        waveform: (channels, samples) floating point.
        sampling_rate: Hz.
        reverberation_seconds: time in which the tail decays by 60 dB (RT60), above 0.
        direct_to_reverberant_db: energy of the direct sound over energy of the tail, dB.
        random: source of the tail.

    Returns: (channels, samples) of the same dtype; the tail is cut at the end.

    Raises:
        ValueError: the waveform does not have two dimensions, or the reverberation time is not above 0.
    """
    _check_waveform(waveform)
    if not reverberation_seconds > 0:
        raise ValueError(f"reverberation_seconds must be above 0, got {reverberation_seconds}.")
    samples, length = waveform.shape[1], max(1, round(reverberation_seconds * sampling_rate))
    # 60 dB is a factor of 1000 in amplitude.
    tail = random.standard_normal(length) * 1000.0 ** (-np.arange(length) / length)
    tail *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt(np.square(tail).sum())
    # The tail begins one sample after the direct sound.
    size = samples + length + 1
    response = np.fft.rfft(np.concatenate([[0.0], tail]), size)
    reverberation = np.fft.irfft(np.fft.rfft(waveform, size, axis=1) * response, size, axis=1)[:, :samples]
    return (waveform + reverberation).astype(waveform.dtype)


def degrade(waveform: np.ndarray, sampling_rate: int, random: np.random.Generator) -> np.ndarray:
    """Add random noise and reverberation of an ordinary room to a waveform (channels, samples).

    Noise is 10 to 40 dB below the speech, white to brown; reverberation lasts 0.1 to 0.6 s, 0 to 15 dB below the
    direct sound. A third of the waveforms gets only noise, a third only reverberation, a third both. Samples stay in
    [-1, 1].
    """
    kind = random.integers(3)
    if kind != 0:
        seconds, ratio = random.uniform(0.1, 0.6), random.uniform(0, 15)
        waveform = reverberate(waveform, sampling_rate, seconds, ratio, random)
    if kind != 1:
        waveform = add_noise(waveform, random.uniform(10, 40), random, random.uniform(0, 2))
    return np.clip(waveform, -1, 1)


def overdrive(waveform: np.ndarray, clipped_share: float) -> np.ndarray:
    """Clip a waveform (channels, samples) like an input with too much gain.

    Args:
        clipped_share: share of the samples of each channel that are clipped, 0 to 1.

    Returns: (channels, samples) of the same dtype and peak.

    Raises:
        ValueError: the waveform does not have two dimensions, or the share is out of range.
    """
    _check_waveform(waveform)
    if not 0 <= clipped_share < 1:
        raise ValueError(f"clipped_share is {clipped_share}; wanted at least 0 and less than 1.")
    peaks = np.abs(waveform)
    ceiling = np.quantile(peaks, 1 - clipped_share, axis=1, keepdims=True)
    gain = peaks.max(axis=1, keepdims=True, initial=0) / np.maximum(ceiling, 1e-9)
    return (waveform.clip(-ceiling, ceiling) * gain).astype(waveform.dtype)


@dataclass(frozen=True)
class Degradation:
    """The degradation that `make_pair` applied to a recording.

    Attributes:
        snr_db: power of the speech over that of the noise, dB.
        slope: slope of the noise, whose power is proportional to 1 / frequency^slope.
        reverberation_seconds, direct_to_reverberant_db: values of the room; both None without one.
        clipped_share: share of samples that are clipped.
    """

    snr_db: float
    slope: float
    reverberation_seconds: float | None
    direct_to_reverberant_db: float | None
    clipped_share: float


def make_pair(
    waveform: np.ndarray,
    sampling_rate: int,
    random: np.random.Generator,
    snr_db: float | None = None,
    room_share: float = 0.5,
    clipped_share: float = 0.2,
) -> tuple[np.ndarray, Degradation]:
    """The degraded half of a training pair for enhancement; the waveform itself is the clean half.

    Args:
        waveform: (channels, samples) floating point, clean.
        sampling_rate: Hz.
        random: source of all random draws.
        snr_db: dB; drawn from 0 to 20 if None.
        room_share: probability of a room of 0.2 to 0.8 s, 0 to 12 dB below the direct sound.
        clipped_share: probability that 0.1% to 2% of the samples are clipped.

    Returns: (channels, samples) of the same dtype, within [-1, 1]; and the degradation.
    """
    _check_waveform(waveform)
    snr_db = float(random.uniform(0, 20) if snr_db is None else snr_db)
    slope, degraded = float(random.uniform(0, 2)), waveform
    seconds = ratio = None
    if random.uniform() < room_share:
        seconds, ratio = float(random.uniform(0.2, 0.8)), float(random.uniform(0, 12))
        degraded = reverberate(degraded, sampling_rate, seconds, ratio, random)
    degraded = add_noise(degraded, snr_db, random, slope)
    clipped = float(random.uniform(0.001, 0.02)) if random.uniform() < clipped_share else 0.0
    degraded = overdrive(degraded, clipped) if clipped else degraded
    peak = np.abs(degraded).max(initial=0)
    degraded = degraded if peak <= 1 else (degraded / peak).astype(waveform.dtype)
    return degraded, Degradation(snr_db, slope, seconds, ratio, clipped)


def _check_waveform(waveform):
    if waveform.ndim != 2:
        raise ValueError(f"waveform has shape {waveform.shape}; wanted (channels, samples).")
