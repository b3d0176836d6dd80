"""Word error rates by hand, and transcripts of real recordings by whisper."""

import hashlib
import sys
import types

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
    """Numbers and abbreviations equal their words; errors are counted over all texts together."""
    assert WordReader().word_error_rate(texts, heard) == pytest.approx(rate)


def test_a_reading_a_text():
    with pytest.raises(ValueError, match="2 texts and 1 readings"):
        WordReader().word_error_rate(["a", "b"], ["a"])


def test_real_speech_is_read(reader, clips, transcripts):
    heard = [reader.read(path) for path in clips[:3]]
    assert reader.word_error_rate([transcripts[path.name] for path in clips[:3]], heard) == 0
    assert reader.word_error_rate([transcripts[path.name] for path in clips[3:6]], heard) > 0.7


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Two packages with a tiny model in place of whisper-base, and its checksums."""
    for number, part in enumerate(words.OFFLINE_PARTS, 1):
        data = tmp_path / "packages" / part / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"model.bin.part{number}").write_bytes(bytes([number] * 3))
        sys.modules.pop(part, None)
    (tmp_path / "packages" / words.OFFLINE_PARTS[0] / "data" / "config.json").write_text("{}")
    files = {"model.bin": bytes([1] * 3 + [2] * 3), "config.json": b"{}"}
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(words, "OFFLINE_SHA256", checksums)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delenv(words.MODEL_VARIABLE, raising=False)
    return tmp_path / "packages"


@pytest.fixture
def loaded(monkeypatch):
    """The models that faster-whisper is asked to load."""
    asked = []
    whisper = types.ModuleType("faster_whisper")
    whisper.WhisperModel = lambda name, **options: asked.append((name, options["revision"]))
    monkeypatch.setitem(sys.modules, "faster_whisper", whisper)
    return asked


def test_the_model_is_put_together_once(parts, loaded, tmp_path):
    """The folder appears complete or not at all, and the folder of another process is kept."""
    cache = tmp_path / "cache" / "whisper"
    for _ in range(2):
        _ = WordReader(cache=cache).model
        WordReader(cache=cache)._join_parts()
        assert (cache / "model.bin").read_bytes() == bytes([1] * 3 + [2] * 3)
        assert sorted(path.name for path in cache.iterdir()) == ["config.json", "model.bin"]
        assert list(cache.parent.iterdir()) == [cache]
    assert loaded == [(str(cache), None)] * 2


@pytest.mark.parametrize("name", ["model.bin.part1", "config.json"])
def test_other_files_than_the_published_ones_are_refused(parts, loaded, tmp_path, name):
    (parts / words.OFFLINE_PARTS[0] / "data" / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match="has SHA-256 .* wanted"):
        _ = WordReader(cache=tmp_path / "cache" / "whisper").model
    assert not loaded and not list((tmp_path / "cache").iterdir())


def test_users_load_a_pinned_download_or_what_they_name(loaded, monkeypatch, tmp_path):
    """Without the development packages: the pinned commit of base, the environment variable and the argument."""
    monkeypatch.setattr(words, "OFFLINE_PARTS", ("no_such_package_1", "no_such_package_2"))
    monkeypatch.delenv(words.MODEL_VARIABLE, raising=False)
    _ = WordReader().model
    monkeypatch.setenv(words.MODEL_VARIABLE, "distil-large-v3")
    _ = WordReader().model
    _ = WordReader("small", revision="abc").model
    _ = WordReader(tmp_path).model
    pinned = words.REVISIONS["base"]
    assert all(len(commit) == 40 for commit in words.REVISIONS.values())
    assert loaded == [("base", pinned), ("distil-large-v3", None), ("small", "abc"), (str(tmp_path), None)]


def test_without_faster_whisper(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ImportError, match=r"ns2-diffusers\[eval\]"):
        _ = WordReader("base").model
