"""Damage lowers the naturalness score."""

import sys

import pytest
import torch

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation import naturalness

pytest.importorskip("distillmos", reason="the eval extra is not installed")


@pytest.fixture(scope="module")
def evaluator():
    return naturalness.NaturalnessEvaluator()


def test_noise_lowers_the_score(evaluator, clips):
    speech, rate = load_audio(clips[4])
    noise = torch.randn(len(speech), generator=torch.Generator().manual_seed(0)) * speech.std()
    clean, noisy, drowned = (evaluator.score(speech + level * noise, rate) for level in (0, 0.1, 1))
    assert 3.5 < clean <= 5
    assert clean > noisy + 0.5 and noisy > drowned + 0.5 and drowned >= 1


def test_rates_and_files(evaluator, clips):
    speech, _ = load_audio(clips[4], target_sampling_rate=48000)
    assert evaluator.score(speech, 48000) == pytest.approx(evaluator.score(clips[4]), abs=0.1)


def test_torchaudio_need_not_load(evaluator, clips, monkeypatch, capsys, tmp_path):
    wanted = evaluator.score(clips[4])
    (tmp_path / "torchaudio.py").write_text('raise OSError("libtorch_cuda.so: cannot open shared object file")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in ("distillmos", "torchaudio")]:
        monkeypatch.delitem(sys.modules, name)
    assert naturalness.NaturalnessEvaluator().score(clips[4]) == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(OSError, match="libtorch_cuda"):
        import torchaudio  # noqa: F401
    assert capsys.readouterr().out == ""
