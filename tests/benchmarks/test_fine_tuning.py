import csv
import types

import pytest
import torch

pytest.importorskip("jiwer", reason="the eval extra is not installed")
import fine_tuning


class Evaluator:
    """A stand-in evaluator that identifies a voice by its loudness."""

    def embed(self, audio, rate=None):
        waveform = fine_tuning.load_audio(audio, rate)[0] if rate is None else torch.as_tensor(audio)
        return waveform.abs().mean().item()

    def similarity(self, a, b):
        return min(a, b) / max(a, b)


def test_a_row_for_each_pipeline_and_the_codec(tiny_pipeline, tmp_path, clips, transcripts, capsys):
    tiny_pipeline.save_pretrained(tmp_path / "one")
    with torch.no_grad():
        tiny_pipeline.codec.head.out.bias.add_(0.5)
    tiny_pipeline.save_pretrained(tmp_path / "two")
    with open(tmp_path / "held_out.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["file", "text"], *([clip, transcripts[clip.name][:12]] for clip in clips[:2])])
    reader = types.SimpleNamespace(
        read=lambda audio, rate: f"{rate}", word_error_rate=lambda texts, heard: len(texts) / 8 * (heard[0] == "16000")
    )
    options = [f"before={tmp_path}/one", f"{tmp_path}/two", "--held_out", f"{tmp_path}/held_out.csv"]
    options += ["--prompt", str(clips[3]), "--num_inference_steps", "2"]
    scores = fine_tuning.main(fine_tuning.parse_args(options), Evaluator(), reader)
    assert list(scores) == ["recordings through the codec", "before", "two"]
    assert all(0 < similarity <= 1 and errors == 0.25 for similarity, errors in scores.values())
    assert scores["before"][0] != scores["two"][0]
    assert f"| before | {scores['before'][0]:.3f} | 25.0% | 2 |" in capsys.readouterr().out
