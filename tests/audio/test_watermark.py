import sys

import numpy as np
import pytest
import soundfile

from ns2_diffusers.audio import watermark
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.cli import main


class Quiet:
    """A stand-in for Perth: it adds a tone, and detects it."""

    TONE = 0.01 * np.sin(np.arange(10**6) * 0.7).astype(np.float32)

    def apply_watermark(self, audio, sample_rate):
        return (audio + self.TONE[: len(audio)])[: len(audio) // 320 * 320]

    def get_watermark(self, audio, sample_rate):
        tone = self.TONE[: len(audio)]
        return float((audio * tone).sum() > 0.5 * (tone**2).sum())


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(watermark, "watermarker", Quiet)
    monkeypatch.setattr("ns2_diffusers.pipelines.sampling.watermarker", Quiet)


@pytest.mark.parametrize("shape", [(0,), (100,), (1000,), (2, 1000)])
def test_shapes_are_kept(quiet, shape):
    marked = watermark.add_watermark(np.zeros(shape), 16000)
    assert marked.shape == shape and marked.dtype == np.float32


def test_speech_is_marked_where_that_is_asked_for(quiet, tiny_pipeline, clips, tmp_path, capsys):
    for name, options in (("plain", {}), ("marked", {"watermark": True})):
        audio = tiny_pipeline("Yes it is.", clips[0], num_inference_steps=2, **options).audios[0]
        soundfile.write(tmp_path / f"{name}.wav", audio, 16000)
    assert main(["detect", str(tmp_path / "plain.wav"), str(tmp_path / "marked.wav")]) == 0
    assert [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()] == ["not marked", "marked"]


def test_the_real_one(clips):
    pytest.importorskip("perth", reason="resemble-perth is not installed")
    waveform, rate = load_audio(clips[0])
    marked = watermark.add_watermark(waveform.numpy(), rate)
    assert watermark.has_watermark(marked, rate) and not watermark.has_watermark(waveform.numpy(), rate)


@pytest.fixture
def not_imported():
    def take():
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "perth"}

    real = take()
    watermark.watermarker.cache_clear()
    yield
    take()
    sys.modules.update(real)


def test_an_import_that_perth_lacks_is_named(not_imported, monkeypatch, tmp_path, capsys):
    folder = tmp_path / "perth" / "perth_net" / "perth_net_implicit"
    folder.mkdir(parents=True)
    (folder / "perth_watermarker.py").write_text("import torchaudio")
    (tmp_path / "perth" / "__init__.py").touch()
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["detect", "x.wav"]) == 2
    assert "import of torchaudio halted" in (error := capsys.readouterr().err) and "same build as torch" in error


def test_without_the_library_it_says_what_to_install(not_imported, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "perth", None)
    assert main(["detect", "x.wav"]) == 2
    assert 'pip install "ns2-diffusers[watermark]"' in capsys.readouterr().err
