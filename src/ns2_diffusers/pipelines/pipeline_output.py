"""What the pipeline returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.utils import BaseOutput


@dataclass
class NaturalSpeech2PipelineOutput(BaseOutput):
    """Speech, and how it was spoken; a list entry a text.

    Args:
        audios: waveforms (samples,), NumPy arrays or tensors; latents (C, T) for `output_type="latent"`.
        sampling_rate: Hz.
        durations: latent frames of start, each phoneme and end, sentence after sentence; None where nothing
            was read out (unconditional generation).
        f0: Hz, a value a latent frame, sentence after sentence (the pauses between them are not in it); None
            likewise.
    """

    audios: list[np.ndarray] | list[torch.Tensor]
    sampling_rate: int
    durations: list[np.ndarray] | None = None
    f0: list[np.ndarray] | None = None
