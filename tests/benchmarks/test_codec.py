"""The table of codecs for a codec that changes nothing, with stand-in evaluators."""

import json
import re

import numpy as np
import pytest
import torch

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


class Words:
    """A stand-in that recognises one word in every tenth of a second that is not digital silence."""

    def __init__(self, num_threads):
        self.normalize = str.lower

    def read(self, audio, rate):
        tenths = np.asarray(audio)[: len(audio) // 1600 * 1600].reshape(-1, rate // 10)
        return " ".join("A" * int(tenths.any(axis=1).sum()))

    def word_error_rate(self, texts, heard):
        words = sum(len(text.split()) for text in texts)
        return sum(abs(len(a.split()) - len(b.split())) for a, b in zip(texts, heard, strict=True)) / words


@pytest.fixture
def run(tiny_codec, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(codec_benchmark, "NaturalnessEvaluator", Naturalness)
    monkeypatch.setattr(codec_benchmark, "SpeakerEvaluator", Speaker)
    monkeypatch.setattr(codec_benchmark, "CAMPlusPlusEvaluator", Speaker)
    monkeypatch.setattr(codec_benchmark, "WordReader", Words)
    monkeypatch.setattr(codec_benchmark, "reconstruct", lambda codec, waveform, codes: waveform)
    tiny_codec.save_pretrained(tmp_path / "tiny")
    (tmp_path / "real").mkdir()
    for clip in clips[:5]:
        (tmp_path / "real" / clip.name).write_bytes(clip.read_bytes())

    def run(*extra):
        arguments = [str(tmp_path / "tiny"), "--recordings", str(tmp_path / "real"), *map(str, extra)]
        codec_benchmark.main(codec_benchmark.parse_args(arguments))
        return capsys.readouterr().out.splitlines()

    return run


def test_a_perfect_codec_has_perfect_scores(run):
    *_, recordings, reconstructed = run()
    assert recordings == "| none | real |  |  | 4.25 |  |  |  |  |"
    assert re.fullmatch(r"\| tiny \| real \| 1.000 \| 1.000 \| 4.25 \| 1.000 \|  \| 0 \| 0.0\d\d \|", reconstructed)


def test_some_seconds_of_some_recordings_of_a_list(run, clips, tmp_path, monkeypatch):
    listed = tmp_path / "readers.jsonl"
    listed.write_text("".join(json.dumps({"file": f"real/{clip.name}"}) + "\n" for clip in clips[:5]))
    # This codec loses the last of five tenths of a second.
    kept = torch.arange(8000) < 6400
    monkeypatch.setattr(codec_benchmark, "reconstruct", lambda codec, waveform, codes: waveform * kept)
    monkeypatch.setattr(codec_benchmark, "stoi", lambda decoded, waveform, rate: len(waveform) / rate)
    output = tmp_path / "scores.jsonl"
    extra = ["--recordings", listed, "--num_recordings", 2, "--seconds", 0.5, "--words", "--output", output]
    *_, recordings, reconstructed = run(*extra)
    assert recordings == "| none | readers |  |  | 4.25 |  |  |  |  |"
    assert reconstructed.startswith("| tiny | readers | 1.000 | 1.000 | 4.25 | 0.500 | 20.0% | ")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["codec"] for row in rows] == ["none"] * 2 + ["tiny"] * 2
    assert [row["file"] for row in rows[2:]] == [str(tmp_path / "real" / clips[i].name) for i in (1, 3)]
    assert all(row["CAM++"] == pytest.approx(1) for row in rows[2:])


@pytest.mark.parametrize("words, quantized", [([], True), (["--without_codes"], False)])
def test_latents_are_quantised_unless_that_is_switched_off(run, monkeypatch, words, quantized):
    seen = []
    monkeypatch.setattr(codec_benchmark, "reconstruct", lambda codec, wave, codes: seen.append(codes) or wave)
    run(*words)
    assert seen and set(seen) == {quantized}


def test_a_reconstruction_without_codes_decodes_the_latents(tiny_codec, clips):
    from common import reconstruct

    waveform = torch.randn(4000, generator=torch.Generator().manual_seed(0)) / 10
    with torch.no_grad():
        latents = tiny_codec.encode(waveform[None, None])
        for codes, decoded in ((True, tiny_codec.quantize(latents)[0]), (False, latents)):
            expected = tiny_codec.decode(decoded)[0, 0, :4000]
            torch.testing.assert_close(reconstruct(tiny_codec, waveform, codes), expected)
