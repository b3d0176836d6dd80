"""The benchmark of word times: words in audio, and differences between two lists of words."""

import pytest

word_times = pytest.importorskip("word_times", reason="the train and eval extras are not installed")


def test_differences_pair_equal_words():
    ours = [("Two", 0.0, 0.5), ("words.", 0.5, 1.0), ("More", 1.5, 2.0)]
    theirs = [("two", 0.1, 0.4), ("birds", 0.4, 1.1), ("more", 1.4, 2.2)]
    found = word_times.differences(ours, theirs)
    assert found == [pytest.approx((-0.1, 0.1)), pytest.approx((0.1, -0.2))]


def test_report_counts_the_words_that_are_near(capsys):
    word_times.report("test", [(0.1, 0.0), (0.08, 0.05), (0.3, 0.1), (-0.07, -0.2)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "test, 4 words:"
    assert "median +0.090 s, 50.0% within 0.08 s" in lines[1]
    assert "median +0.025 s, 50.0% within 0.08 s" in lines[2]
