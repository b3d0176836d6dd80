"""The benchmark of the fit of texts: its recordings, its other texts, and its rows."""

import pytest

text_fit = pytest.importorskip("text_fit", reason="the train and eval extras are not installed")


def test_recordings_have_their_texts():
    sets = text_fit.recordings()
    assert all(path.is_file() and text for items in sets.values() for path, text in items)
    assert {path.stem: text[:12] for path, text in sets["kokoro"]}["bm_george"] == "The carpente"
    assert len(sets["kokoro"]) == 5 and len(sets["asterisk"]) > 10


def test_the_other_text_is_that_of_the_nearest_length():
    assert text_fit.other_text(["one", "three", "four", "longer text"], "three") == "four"


def test_rows_of_a_tiny_model(tiny_pipeline, clips, transcripts):
    items = [(clip, transcripts[clip.name]) for clip in clips[:2]]
    own, other = text_fit.measure(tiny_pipeline, items)
    for index, (path, text) in enumerate(items):
        assert own[index][0] == pytest.approx(tiny_pipeline.align(path, text).fit)
        assert other[index][0] == pytest.approx(tiny_pipeline.align(path, items[1 - index][1]).fit)
    assert text_fit.measure(tiny_pipeline, items[:1] + items[1:], noise=0.0)[0][0][0] != own[0][0]
