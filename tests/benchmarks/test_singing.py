"""The table of songs, with stand-in evaluators that find no errors."""

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer

pytest.importorskip("jiwer", reason="the eval extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")
singing = pytest.importorskip("singing", reason="the eval extra is not installed")


class Evaluator:
    def read(self, audio, rate):
        return "heard"

    def word_error_rate(self, texts, heard):
        return 0.25

    def embed(self, audio, rate=None):
        return torch.ones(4)

    def similarity(self, a, b):
        return 0.5

    def score(self, audio, rate):
        return 3.0


def test_every_prompt_sings_every_song(tiny_pipeline_dir, tmp_path, monkeypatch, capsys):
    for name in ("WordReader", "SpeakerEvaluator", "NaturalnessEvaluator"):
        monkeypatch.setattr(singing, name, Evaluator)
    tone = 0.3 * np.sign(np.sin(np.arange(32000) * 2 * np.pi * 220 / 16000))
    for kind in ("a", "b"):
        (tmp_path / "prompts" / kind).mkdir(parents=True)
        soundfile.write(tmp_path / "prompts" / kind / f"{kind}.wav", tone, 16000)
    words = ["--model", str(tiny_pipeline_dir), "--prompts", str(tmp_path / "prompts"), "--steps", "1"]
    words += ["--tempo", "240", "--output_dir", str(tmp_path / "out")]
    results = singing.main(singing.parse_args(words))
    assert [(row["prompt"], row["song"]) for row in results] == [(p, s) for p in "ab" for s in ("scale", "tune")]
    assert all(0 <= row["held"] <= 1 and 0 <= row["last_held"] <= 1 and row["cosine"] == 0.5 for row in results)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| prompts | song | notes held | last note | F0 error")
    assert len(lines) == 6 and lines[2].startswith("| a | scale |") and "| 25% | 0.500 | 3.00 |" in lines[3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *(f"{p}-{song}.wav" for p in "ab" for song in ("scale", "tune")),
        "results.json",
    ]
    with pytest.raises(ValueError, match="there are no prompts"):
        singing.main(singing.parse_args([*words, "--prompts", str(tmp_path / "nothing")]))


def test_vowels_are_where_the_notes_are():
    durations = np.arange(1, 9)  # <s> l ˈ ɑ (space) l ˈ ɑ: no end
    assert singing.vowels(NaturalSpeech2Tokenizer(), "la la.", durations) == [slice(6, 10), slice(28, 36)]


def test_songs_come_within_reach(tmp_path):
    """Songs are moved by whole semitones: a tone of 220 Hz is A3, three semitones below C4."""
    tone = 0.3 * np.sign(np.sin(np.arange(32000) * 2 * np.pi * 220 / 16000))
    soundfile.write(tmp_path / "a.wav", tone, 16000)
    moved = singing.in_reach([(261.63, 1), (523.25, 2)], tmp_path / "a.wav")
    assert [hz for hz, _ in moved] == pytest.approx([220, 440], rel=1e-3) and [beats for _, beats in moved] == [1, 2]
