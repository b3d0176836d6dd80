"""The codecs' table, of a codec that changes nothing, judged by stand-ins."""

import numpy as np
import pytest

codec_benchmark = pytest.importorskip("codec", reason="the train and eval extras are not installed")


class Naturalness:
    def score(self, audio, rate):
        assert rate == 16000
        return 4.25


class Speaker:
    def embed(self, audio, rate):
        return np.asarray(audio)[:1000]

    @staticmethod
    def similarity(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_perfect_codec_has_perfect_scores(tiny_codec, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codec_benchmark, "NaturalnessJudge", Naturalness)
    monkeypatch.setattr(codec_benchmark, "SpeakerJudge", Speaker)
    monkeypatch.setattr(codec_benchmark, "reconstruct", lambda codec, waveform: waveform)
    tiny_codec.save_pretrained(tmp_path / "tiny")
    (tmp_path / "prompts" / "real").mkdir(parents=True)
    for clip in clips[:2]:
        (tmp_path / "prompts" / "real" / clip.name).write_bytes(clip.read_bytes())
    arguments = [str(tmp_path / "tiny"), "--recordings", str(tmp_path / "prompts")]
    codec_benchmark.main(codec_benchmark.parse_args(arguments))
    *_, recordings, reconstructed = capsys.readouterr().out.splitlines()
    assert recordings == "| none | real | 4.25 |  |  |  |  |"
    assert reconstructed.startswith("| tiny | real | 4.25 | 1.000 | 1.000 | 0 | 0.0")
