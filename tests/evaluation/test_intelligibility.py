import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.intelligibility import stoi

pytest.importorskip("pystoi", reason="the eval extra is not installed")


def test_damage_lowers_it(clips):
    speech, rate = load_audio(clips[4])
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0)) * speech.std()
    scores = [stoi(speech + level * noise, speech, rate) for level in (0, 0.3, 1, 10)]
    assert scores[0] == pytest.approx(1, abs=1e-4)
    assert scores == sorted(scores, reverse=True) and scores[2] < 0.85 and scores[3] < 0.5


def test_lengths_and_rates_may_differ(clips):
    speech, rate = load_audio(clips[4])
    padded = torch.nn.functional.pad(speech, (0, 200))
    assert stoi(padded, speech, rate) == pytest.approx(1, abs=1e-4)
    faster, _ = load_audio(clips[4], target_sampling_rate=24000)
    assert stoi((24000, faster.numpy()), clips[4]) > 0.999
