"""The output of the pipelines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput

from .utterances import SpokenWord


@dataclass
class NaturalSpeech2PipelineOutput(BaseOutput):
    """Speech with its durations and F0; one list entry per text.

    Args:
        audios: waveforms (samples,), NumPy arrays or tensors; latents (C, T) for `output_type="latent"`.
        sampling_rate: Hz.
        durations: latent frames of start, each phoneme and end, sentence after sentence. A pause is part of the last
            symbol before it; a pause before all text is part of the first symbol. None for unconditional generation.
        f0: Hz, one value per latent frame, 0 where unvoiced and in pauses. None for unconditional generation.
        words: the words with their times, in order. None for unconditional generation.
    """

    audios: list[np.ndarray] | list[torch.Tensor]
    sampling_rate: int
    durations: list[np.ndarray] | None = None
    f0: list[np.ndarray] | None = None
    words: list[list[SpokenWord]] | None = None
