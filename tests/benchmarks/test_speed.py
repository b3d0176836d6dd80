"""The table of speed: systems in turn, medians, ratios; and what one process measures of a tiny pipeline."""

import json

import pytest

speed = pytest.importorskip("speed")


def result(factor, **more):
    numbers = {"cold": 2.0, "load": 1.0, "first_sound": 0.5, "first_piece": None, "megabytes": 300.0}
    lengths = {"10": {"elapsed": factor, "seconds": 1.0, "rss": 400.0}}
    return numbers | {"real_time_factor": factor, "throughput": {"1": 1 / factor}, "length": lengths} | more


def test_medians_and_ratios_by_hand():
    results = {"onnx": [result(0.1), result(0.04), result(0.05)], "kokoro": [result(0.4)]}
    medians = speed.summarize(results)
    assert medians["onnx"]["real_time_factor"] == 0.05 and medians["onnx"]["ratio"] == pytest.approx(8)
    assert medians["kokoro"]["ratio"] == 1 and medians["onnx"]["first_piece"] is None
    assert medians["onnx"]["throughput"] == {"1": 10}  # of the first process
    table = speed.make_table(medians)
    assert "| onnx | 2.00 | 1.00 | 0.050 | 8.0 | 0.50 |  | 300 |" in table
    assert "| words | onnx | kokoro |" in table and "| 10 | 0.10 s | 0.40 s |" in table
    alone = speed.summarize({"onnx": [result(0.1)]})
    assert alone["onnx"]["ratio"] is None and "|  |" in speed.make_table(alone)


def test_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    speed.draw(speed.summarize({"onnx": [result(0.1)], "torch": [result(0.2, length={})]}), tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_kokoro_is_left_out_with_a_reason(tmp_path, capsys):
    args = speed.parse_args(["--kokoro_voices", str(tmp_path / "nothing")])
    assert not speed.has_kokoro(args) and "left out" in capsys.readouterr().out


def test_one_process_measures_a_tiny_pipeline(tiny_pipeline_dir, monkeypatch, capsys):
    pytest.importorskip("psutil")
    monkeypatch.setenv("SPEED_BEGAN", "0")
    options = [
        "--model",
        str(tiny_pipeline_dir),
        "--sentences",
        "1",
        "--batches",
        "2",
        "--words",
        "3",
        "--threads",
        "1",
    ]
    speed.work(speed.parse_args(["--worker", "torch", *options]))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["real_time_factor"] == pytest.approx(found["elapsed"][0] / found["seconds"][0])
    assert found["first_sound"] > 0 and found["first_piece"] > 0 and found["megabytes"] > 10
    assert list(found["throughput"]) == ["2"] and found["length"]["3"]["seconds"] > 0
    speed.make_table(speed.summarize({"torch": [found]}))


def test_a_table_of_quality_by_hand():
    def utterance(heard, cosine, distilmos):
        return {"text": "a b c d", "heard": heard, "cosine": cosine, "distilmos": distilmos}

    def errors(texts, heard):
        pairs = zip(" ".join(texts).split(), " ".join(heard).split(), strict=True)
        return sum(one != other for one, other in pairs) / len(" ".join(texts).split())

    rows = {
        "torch": speed.summarize_quality([utterance("a b c d", 0.8, 4.0), utterance("a b c x", 0.9, 4.2)], errors),
        "int8": speed.summarize_quality([utterance("a b x x", 0.8, 4.0), utterance("a b c x", 0.88, 4.1)], errors),
    }
    assert rows["torch"]["word_error_rate"] == 1 / 8 and rows["int8"]["word_error_rate"] == 3 / 8
    table = speed.make_quality_table(rows)
    assert "| torch | 12.5% | 0.850 | 4.10 |" in table
    assert "| int8 | 37.5% (+25.0%) | 0.840 (-0.010) | 4.05 (-0.05) |" in table


def test_audio_of_a_variant(tiny_pipeline_dir):
    args = speed.parse_args(["--model", str(tiny_pipeline_dir), "--threads", "1", "--worker", "torch"])
    system = speed.Ours(args)
    audio = system.audio("Hello there. Good night.", "emma", 3)
    wanted = system.pipe("Hello there. Good night.", voice="emma", generator=system.pipe.make_generator(3))
    assert len(audio) == len(wanted.audios[0]) and abs(audio - wanted.audios[0]).max() < 1e-4
