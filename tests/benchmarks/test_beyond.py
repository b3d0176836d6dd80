"""The tables of conversion, enhancement, editing and prompts, with stand-ins for the measurements."""

import sys
from pathlib import Path

import pytest

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
