"""Word error rates by hand, and what whisper hears in real recordings."""

import pytest

pytest.importorskip("jiwer", reason="the eval extra is not installed")

from ns2_diffusers.evaluation import words
from ns2_diffusers.evaluation.words import WordReader


@pytest.fixture(scope="module")
def reader():
    pytest.importorskip("faster_whisper", reason="the eval extra is not installed")
    return WordReader()


@pytest.mark.parametrize(
    "texts, heard, rate",
    [
        (["Press 4, please."], ["press four please"], 0),
        (["You will now be placed."], ["you'll now be placed"], 0),
        (["the red door opens"], ["a red door"], 2 / 4),
        (["come in", "and close the door"], ["come in", "and close the door now"], 1 / 6),
        (["nothing was heard"], [""], 1),
    ],
)
def test_word_error_rate(texts, heard, rate):
    """Numbers and short forms are the same as words; errors count over all texts together."""
    assert WordReader().word_error_rate(texts, heard) == pytest.approx(rate)


def test_a_reading_a_text():
    with pytest.raises(ValueError, match="2 texts and 1 readings"):
        WordReader().word_error_rate(["a", "b"], ["a"])


def test_real_speech_is_read(reader, clips, transcripts):
    heard = [reader.read(path) for path in clips[:3]]
    assert reader.word_error_rate([transcripts[path.name] for path in clips[:3]], heard) == 0
    assert reader.word_error_rate([transcripts[path.name] for path in clips[3:6]], heard) > 0.7


def test_the_model_is_put_together_once(tmp_path, monkeypatch):
    """The folder appears whole, and another process' folder is left as it is."""
    cache = tmp_path / "cache" / "whisper"
    for number, part in enumerate(words.PARTS, 1):
        data = tmp_path / part / "data"
        data.mkdir(parents=True)
        (data / f"model.bin.part{number}").write_bytes(bytes([number] * 3))
    (data / "config.json").write_text("{}")
    monkeypatch.setattr(words.importlib.resources, "files", lambda part: tmp_path / part)
    for _ in range(2):
        WordReader(cache)._join_parts()
        assert (cache / "model.bin").read_bytes() == bytes([1] * 3 + [2] * 3)
        assert sorted(path.name for path in cache.iterdir()) == ["config.json", "model.bin"]
        assert list(cache.parent.iterdir()) == [cache]
