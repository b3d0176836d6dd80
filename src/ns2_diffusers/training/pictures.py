"""Plots of speech and of alignments, for the trackers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from ..audio.mel import LogMelSpectrogram


def picture_speech(
    waveform: torch.Tensor,
    sampling_rate: int,
    hop_length: int,
    f0: Sequence[float],
    durations: Sequence[int],
    symbols: Sequence[str],
) -> Figure:
    """Plot a log-mel spectrogram with F0 and the spoken symbols.

    Args:
        waveform: (samples,).
        hop_length: samples per frame.
        f0: Hz, one value per frame, 0 where unvoiced.
        durations: frames of each of `symbols`.
    """
    mel = LogMelSpectrogram(sampling_rate, n_fft=1024 * -(-sampling_rate // 24000), n_mels=80)(waveform[None].cpu())[0]
    seconds = len(waveform) / sampling_rate
    figure = Figure(figsize=(max(6, 3 * seconds), 3), layout="tight")
    axes = figure.subplots()
    axes.imshow(mel, origin="lower", aspect="auto", extent=(0, seconds, 0, 80), vmin=-9, vmax=2)
    axes.set(xlabel="seconds", ylabel="mel band")
    _mark_symbols(axes, durations, symbols, hop_length / sampling_rate)
    pitch_axes = axes.twinx()
    times = (np.arange(len(f0)) + 0.5) * hop_length / sampling_rate
    pitch_axes.plot(times, np.where(np.asarray(f0) > 0, f0, np.nan), color="white", linewidth=1)
    pitch_axes.set(ylim=(0, 500), ylabel="F0 (Hz)")
    return figure


def picture_alignment(probabilities: torch.Tensor, durations: Sequence[int], symbols: Sequence[str]) -> Figure:
    """Plot the probability of each symbol per frame, and the chosen path.

    Args:
        probabilities: (T, N).
        durations: (N,) frames of each symbol on the path.
        symbols: N symbols.
    """
    figure = Figure(figsize=(max(6, len(probabilities) / 30), max(3, len(symbols) / 8)), layout="tight")
    axes = figure.subplots()
    axes.imshow(probabilities.T.cpu(), origin="lower", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    path = np.repeat(np.arange(len(symbols)), durations)
    axes.step(np.arange(len(path)), path, where="mid", color="red", linewidth=1)
    axes.set_yticks(range(len(symbols)), symbols, fontsize=6)
    axes.set_xlabel("frame")
    return figure


def _mark_symbols(axes, durations: Sequence[int], symbols: Sequence[str], frame_seconds: float) -> None:
    ends = np.cumsum(durations) * frame_seconds
    for end in ends[:-1]:
        axes.axvline(end, color="white", linewidth=0.3)
    axes.secondary_xaxis("top").set_xticks(ends - np.asarray(durations) * frame_seconds / 2, symbols, fontsize=7)
