"""Validation of a codec in training: latent statistics and reconstructed speech."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import torch
from matplotlib.figure import Figure

from ..audio.mel import LogMelSpectrogram
from ..data.latent_statistics import LatentSums
from ..data.recordings import read_span
from .tracking import log_picture, log_speech

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import ModelMixin


@torch.no_grad()
def measure_latents(
    codec: ModelMixin, files: Iterable[str | Path], seconds: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (C,) of the raw quantised latents of recordings, over about so many seconds."""
    codec.eval()
    sums = LatentSums(0, [], [])
    for file in files:
        # A minute at a time, so that an hour-long file fits.
        for start in itertools.count(step=60):
            audio = torch.from_numpy(read_span(file, codec.sampling_rate, codec.channels, start, 60))
            if not audio.shape[1]:
                break
            latents, _ = codec.quantize(codec.encode(audio[None].to(codec.device)))
            sums = LatentSums.total([sums, LatentSums.of(codec, latents)])
        if sums.frames / codec.frame_rate > seconds:
            break
    return sums.mean_and_std()


@torch.no_grad()
def reconstruct_samples(
    accelerator: Accelerator,
    codec: ModelMixin,
    files: Iterable[str | Path],
    loss: torch.nn.Module,
    directory: Path,
    step: int,
    seconds: float = 5.0,
) -> float:
    """Send recordings through the codec, for the trackers and as `<step>-<number>.wav` and `.png` in `directory`.

    Args:
        loss: of a reconstruction and its original, (1, channels, samples) each.
        seconds: of each recording, from its beginning.

    Returns: mean loss.
    """
    directory.mkdir(parents=True, exist_ok=True)
    training, losses = codec.training, []
    codec.eval()
    for number, file in enumerate(files):
        original = torch.from_numpy(read_span(file, codec.sampling_rate, codec.channels, 0, seconds))[None]
        original = original.to(codec.device)
        made = codec(original).waveform.float()
        losses.append(loss(made, original).item())
        path = directory / f"{step:08d}-{number}"
        audio = made[0].cpu().numpy()
        soundfile.write(path.with_suffix(".wav"), audio.T, codec.sampling_rate)
        figure = picture_reconstruction(original[0, 0].cpu(), made[0, 0].cpu(), codec.sampling_rate)
        figure.savefig(path.with_suffix(".png"), dpi=100)
        log_speech(accelerator, f"reconstruction/{number}", audio[0], codec.sampling_rate, step)
        log_picture(accelerator, f"spectrogram/{number}", figure, step)
    codec.train(training)
    return float(np.mean(losses))


def picture_reconstruction(original: torch.Tensor, made: torch.Tensor, sampling_rate: int) -> Figure:
    """Log-mel spectrograms of two waveforms (samples,), one above the other."""
    mel = LogMelSpectrogram(sampling_rate)
    figure = Figure(figsize=(max(6, len(original) / sampling_rate), 5), layout="tight")
    for axes, title, wave in zip(
        figure.subplots(2, 1), ("original", "through the codec"), (original, made), strict=True
    ):
        extent = (0, len(wave) / sampling_rate, 0, 80)
        axes.imshow(mel(wave[None])[0], origin="lower", aspect="auto", extent=extent, vmin=-9, vmax=2)
        axes.set(title=title, xlabel="seconds", ylabel="mel band")
    return figure
