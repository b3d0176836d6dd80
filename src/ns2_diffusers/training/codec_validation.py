"""Validation of a codec during training: latent statistics and reconstructed speech."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
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
    """Mean and standard deviation (C,) of the raw quantised latents of recordings, from about `seconds` of audio."""
    codec.eval()
    sums = LatentSums(0, [], [])
    for file in files:
        # Read a minute at a time, so that files of hours fit into memory.
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
def measure_audibility(
    codec: ModelMixin, files: Sequence[str | Path], clips: int = 24, seconds: float = 3.0, seed: int = 0
) -> torch.Tensor:
    """Measure how much of each latent channel is heard.

    Noise of half the standard deviation of a channel is added to the latents of recordings. The audibility of the
    channel is the fourth root of the mean squared change of the decoded log-mel spectrogram. Latents that are
    multiplied by it have a squared error, and a share of the noise at each timestep, that follow what is heard; the
    fourth root keeps quiet channels from vanishing.

    Args:
        codec: codec whose standardised latents have a standard deviation of about 1.
        files: recordings; clips are read from their beginnings, and files shorter than a clip are left out.
        clips, seconds: number and length of the clips.
        seed: seed of the random order of the files and of the noise.

    Returns: (C,) float64, with a mean square of 1.

    Raises:
        ValueError: no file is as long as a clip, or the decoder does not depend on the latents.
    """
    codec.eval()
    draw = torch.Generator().manual_seed(seed)
    samples = round(seconds * codec.sampling_rate) // codec.hop_length * codec.hop_length
    found: list[torch.Tensor] = []
    for index in torch.randperm(len(files), generator=draw).tolist():
        if len(found) < clips:
            audio = torch.from_numpy(read_span(files[index], codec.sampling_rate, codec.channels, 0, seconds))
            found += [audio[:, :samples]] if audio.shape[1] >= samples else []
    if not found:
        raise ValueError(f"none of {len(files)} recordings has {seconds} s: give longer ones, or take fewer seconds.")
    latents, _ = codec.quantize(codec.encode(torch.stack(found).to(codec.device)))
    # Differences below this magnitude are inaudible, and a log without a floor would count them.
    mel = LogMelSpectrogram(codec.sampling_rate, floor=1e-3).to(codec.device)
    reference = mel(codec.decode(latents).flatten(0, 1))
    changes = []
    for channel in range(latents.shape[1]):
        noisy = latents.clone()
        noisy[:, channel] += 0.5 * torch.randn(noisy[:, channel].shape, generator=draw).to(latents)
        changes.append((mel(codec.decode(noisy).flatten(0, 1)) - reference).square().mean().item())
    heard = torch.tensor(changes, dtype=torch.float64).pow(0.25)
    if not heard.any():
        raise ValueError("no latent channel changes what the codec decodes: train the codec first.")
    # The least audible channel keeps a tenth of the root mean square.
    heard = heard.clamp(min=0.1 * heard.square().mean().sqrt().item())
    return heard / heard.square().mean().sqrt()


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
    """Encode and decode recordings, for the trackers and as `<step>-<number>.wav` and `.png` in `directory`.

    Args:
        loss: loss of a reconstruction and its original, (1, channels, samples) each.
        seconds: duration of each recording, from its beginning.

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
