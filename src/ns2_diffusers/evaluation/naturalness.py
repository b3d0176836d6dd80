"""Predicted naturalness: DistilMOS."""

from __future__ import annotations

import contextlib
import io
import sys
import types

import torch

from ..audio.loading import AudioInput, load_audio

SAMPLING_RATE = 16000


class NaturalnessEvaluator:
    """DistilMOS (arXiv 2502.05356): a predicted mean opinion score, whose weights are inside its package.

    Raises:
        ImportError: `distillmos` is not installed.
    """

    def __init__(self):
        self.model = _load_distillmos().eval()

    @torch.no_grad()
    def score(self, audio: AudioInput, sampling_rate: int | None = None) -> float:
        """Score of a recording, 1 (bad) to 5 (excellent); takes what `load_audio` takes and raises its errors."""
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        return self.model(waveform[None]).item()


def _load_distillmos():
    try:
        # Only its command line uses torchaudio, which cannot be imported with every build of torch.
        import torchaudio  # noqa: F401

        stand_in = {}
    except (ImportError, OSError):
        stand_in = {"torchaudio": types.ModuleType("torchaudio")}
    sys.modules.update(stand_in)
    try:
        from distillmos import ConvTransformerSQAModel
    except ImportError as error:
        raise ImportError('DistilMOS is not installed: pip install "ns2-diffusers[distillmos]".') from error
    finally:
        for name in stand_in:
            del sys.modules[name]
    with contextlib.redirect_stdout(io.StringIO()):
        return ConvTransformerSQAModel()
