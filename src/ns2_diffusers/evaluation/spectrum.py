"""Global variance of the spectrum: it reveals oversmoothing, which no other evaluator detects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.fft import dct

from ..audio.loading import AudioInput, load_audio
from ..audio.mel import LogMelSpectrogram

NUM_COEFFICIENTS = 24
# Frames this far below the loudest one are pauses, which contain noise and no speech.
PAUSE_DECIBELS = 40.0


def global_variance(audio: AudioInput, sampling_rate: int | None = None) -> torch.Tensor:
    """Variance over time of the mel cepstrum (Toda & Tokuda 2007, IEICE E90-D(5), section 3).

    Args:
        audio: any input of `load_audio`, with its errors.
        sampling_rate: Hz; only for a bare array.

    Returns: (24,) float64, variance of coefficients 1 to 24 (0 is loudness), over frames that are not pauses.
    """
    waveform, rate = load_audio(audio, sampling_rate)
    spectrum = LogMelSpectrogram(rate)(waveform[None])[0].double()
    loudness = spectrum.exp().square().sum(0).log10() * 10
    cepstrum = dct(spectrum[:, loudness > loudness.max() - PAUSE_DECIBELS].numpy(), axis=0, norm="ortho")
    return torch.from_numpy(cepstrum[1 : NUM_COEFFICIENTS + 1]).var(1, correction=0)


def relative_variance(variances: Sequence[torch.Tensor], references: Sequence[torch.Tensor]) -> float:
    """Global variance of some speech relative to other speech: less than 1 is smoother.

    Args:
        variances, references: from `global_variance`, one per recording; the texts may differ.

    Returns: the geometric mean over coefficients of the ratio of means.
    """
    ratio = torch.stack(list(variances)).mean(0) / torch.stack(list(references)).mean(0)
    return ratio.log().mean().exp().item()
