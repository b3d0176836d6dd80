"""The comparison of written and spoken forms, with stand-ins for the voice and for whisper."""

from types import SimpleNamespace

import numpy as np
import pytest

import ns2_diffusers

reading = pytest.importorskip("reading", reason="the train extra is not installed")


@pytest.fixture
def heard(monkeypatch):
    """Stand-ins: the voice speaks its text, and the recogniser returns it, except for changes in the returned dict."""
    import ns2_diffusers.evaluation.words as words

    mistakes = {}

    class Pipe:
        @classmethod
        def from_pretrained(cls, folder):
            return cls()

        def set_progress_bar_config(self, disable):
            pass

        def __call__(self, text, voice, generator):
            return SimpleNamespace(audios=[np.frombuffer(text.encode(), np.uint8)], sampling_rate=16000)

    class Reader:
        def read(self, audio, rate):
            text = audio.tobytes().decode()
            return mistakes.get(text, text)

    monkeypatch.setattr(ns2_diffusers, "NaturalSpeech2Pipeline", Pipe)
    monkeypatch.setattr(words, "WordReader", Reader)
    return mistakes


def test_forms_that_are_heard_alike(heard, tmp_path, capsys):
    table = tmp_path / "table.tsv"
    table.write_text("$5\tfive dollars\n3 km\tthree kilometres\nMr. Hill\tmister Hill\nno\tno\n")
    heard |= {"$5": "five dollars", "3 km": "three kilometers", "three kilometres": "three kilometres"}
    counts = reading.score_heard([table], 10, True)
    # "Mr. Hill" and "mister Hill" are the same words.
    assert counts == {"lines": 4, "alike": 3, "right": 3, "spoken right": 4}
    assert "3 km" in capsys.readouterr().err
    assert reading.score_heard([table], 2, False)["lines"] == 2
