"""The tables of conversion, enhancement, editing and prompts, with stand-ins for the measurements."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from ns2_diffusers.pipelines.editing import NaturalSpeech2EditOutput

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
pytest.importorskip("jiwer", reason="the eval extra is not installed")
beyond = pytest.importorskip("beyond", reason="the eval extra is not installed")


def test_voices_by_kind_and_speaker(tmp_path):
    for name in ("prompts/real/ann.en.ogg", "prompts/real/ann.es.ogg", "prompts/real/bob.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "readers").mkdir()
    for name in ("12_1_1.ogg", "12_1_2.ogg", "7_1_1.ogg"):
        (tmp_path / "readers" / name).touch()
    args = ["--prompts", str(tmp_path / "prompts"), "--readers", str(tmp_path / "readers")]
    kinds = beyond.find_voices(beyond.parse_args(args))
    assert {kind: {name: len(paths) for name, paths in speakers.items()} for kind, speakers in kinds.items()} == {
        "real": {"ann": 2, "bob": 1},
        "readers": {"12": 2, "7": 1},
    }


def test_kinds_that_are_measured(tmp_path):
    for name in ("prompts/real/ann.ogg", "unseen/audio/af_bella_0.ogg", "unseen/audio/af_bella_1.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    args = ["--prompts", str(tmp_path / "prompts"), "--unseen", str(tmp_path / "unseen"), "--kinds"]
    kinds = beyond.find_voices(beyond.parse_args([*args, "unseen"]))
    names = {
        kind: {name: [path.name for path in paths] for name, paths in each.items()} for kind, each in kinds.items()
    }
    assert names == {"unseen": {"af_bella": ["af_bella_0.ogg", "af_bella_1.ogg"]}}
    with pytest.raises(ValueError, match="no voices of kind readers; there are real, unseen"):
        beyond.find_voices(beyond.parse_args([*args, "readers"]))


def test_speakers_in_turn():
    assert beyond.in_turn({"a": [1, 2, 3], "b": [4]}, 3) == [("a", 0), ("b", 0), ("a", 1)]
    assert len(beyond.in_turn({"a": [1, 2, 3], "b": [4]}, 9)) == 4 and beyond.in_turn({}, 2) == []


def test_ways_with_a_strength():
    assert beyond.way_options("ode", "A.") == {"method": "ode", "text": "A."}
    assert beyond.way_options("resynthesis:0.25", "A.") == {"method": "resynthesis", "text": "A.", "strength": 0.25}
    assert beyond.way_options("matching", "A.") == {"method": "matching", "text": None}


class Contour:
    """Evaluators of a rate of 1000 Hz and frames of 10 samples, with a given F0 contour."""

    rate, hop = 1000, 10
    melody = beyond.Evaluators.melody

    def __init__(self, f0):
        self.contour = torch.tensor(f0)

    def f0(self, audio):
        return self.contour


def test_the_melody_of_an_edit_by_hand():
    # Two seconds at 100 Hz, with an edit of half a second from 1 s on, an octave higher and partly unvoiced.
    contour = [100.0] * 100 + [200.0] * 20 + [0.0] * 5 + [200.0] * 25 + [100.0] * 50
    scores = Contour(contour).melody(np.zeros(2000), 1000, 1500)
    assert scores == {"f0_of_the_edit": 12.0, "f0_at_seams": 12.0}
    # At its end the contour is unvoiced, so only the first seam is measured.
    contour[140:160] = [0.0] * 20
    contour[100:110] = [100.0] * 10
    assert Contour(contour).melody(np.zeros(2000), 1000, 1500)["f0_at_seams"] == 0.0
    assert np.isnan(Contour([0.0] * 200).melody(np.zeros(2000), 1000, 1500)["f0_of_the_edit"])


def test_where_an_edit_was_made():
    edited = NaturalSpeech2EditOutput(np.zeros(1200), 16000, [(300, 700)])
    assert beyond.replaced(edited, 1000) == (300, 500)


def test_pairs_are_of_different_speakers():
    speakers = {"a": [1, 2], "b": [3], "c": [4]}
    pairs = list(beyond.pairs_of(speakers, 6))
    owner = {1: "a", 2: "a", 3: "b", 4: "c"}
    assert pairs[:3] == [(1, 3), (3, 4), (4, 1)] and all(owner[one] != owner[other] for one, other in pairs)
    assert list(beyond.pairs_of({"a": [1]}, 3)) == []


def test_a_table_has_the_columns_that_were_measured():
    rows = [
        {"voices": "real", "way": "noisy", "word_errors": 0.125, "distilmos": 3.0, "utterances": 2},
        {"voices": "real", "way": "ode", "word_errors": 0.0, "distilmos": 4.0, "stoi": float("nan"), "utterances": 2},
    ]
    assert beyond.render(rows) == (
        "| voices | way | word errors | DistilMOS | utterances |\n|---|---|---|---|---|\n"
        "| real | noisy | 12.5% | 3.00 | 2 |\n| real | ode | 0.0% | 4.00 | 2 |\n"
    )


class Aligning:
    """Aligns a clean recording to 10, 20 and 30 frames, and a noisy one with a voice or without it to others."""

    durations = {("clean", None): [10, 20, 30], ("noisy", None): [15, 5, 40], ("noisy", "voice"): [11, 19, 30]}

    def encode_voice(self, path):
        return "voice"

    def align(self, audio, text, voice=None):
        kind = "clean" if np.array_equal(audio[1], np.ones(600)) else "noisy"
        return types.SimpleNamespace(durations=np.array(self.durations[kind, voice]))


def test_how_far_noise_moves_the_boundaries(monkeypatch):
    monkeypatch.setattr(beyond, "load_clean", lambda *args: (np.ones(600, np.float32), "A."))
    evaluators = Contour([0.0])
    evaluators.summary = types.MethodType(beyond.Evaluators.summary, evaluators)
    args = types.SimpleNamespace(number=2, levels=[0, 10])
    rows = beyond.alignment(Aligning(), {"real": {"a": ["a1", "a2"], "b": ["b1"]}}, evaluators, args)
    # Frames of 10 ms: the ends 10, 30, 60 become 15, 20, 60 and 11, 30, 60.
    expected = {"the noisy recording": (50.0, 0.0), "another recording": (10 / 3, 0.0)}
    assert [(row["level"], row["way"]) for row in rows] == [(f"{db} dB", way) for db in (0, 10) for way in expected]
    for row in rows:
        assert (row["milliseconds"], row["far"]) == pytest.approx(expected[row["way"]]) and row["utterances"] == 2


def test_the_last_recording_of_a_speaker_is_the_voice():
    speakers = {"a": [1, 2, 3], "b": [4]}
    assert beyond.with_voices(speakers, 9) == [(1, 3), (4, 4), (2, 3)]
