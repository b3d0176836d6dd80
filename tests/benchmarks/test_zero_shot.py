"""Test sets and rows of the zero-shot table, with stand-in evaluators."""

import json
import shutil

import numpy as np
import pytest
import soundfile

zero_shot = pytest.importorskip("zero_shot", reason="the train and eval extras are not installed")


class Naturalness:
    def score(self, audio, rate):
        assert rate == 16000
        return 4.25


class Speaker:
    """A stand-in evaluator: a constant, and the rate of sign changes, which follows the pitch."""

    def embed(self, audio, rate):
        audio = np.asarray(audio, np.float64)
        if not audio.any():
            raise ValueError("silence")
        return np.array([1.0, np.abs(np.diff(np.sign(audio))).mean()])

    @staticmethod
    def similarity(a, b):
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class Words:
    def __init__(self, model, num_threads):
        pass

    def read(self, audio, rate):
        return "one two"

    def word_error_rate(self, texts, heard):
        return sum(text != said for text, said in zip(texts, heard, strict=True)) / len(texts)


@pytest.fixture
def evaluators(monkeypatch):
    monkeypatch.setattr(zero_shot, "NaturalnessEvaluator", Naturalness)
    monkeypatch.setattr(zero_shot, "SpeakerEvaluator", Speaker)
    monkeypatch.setattr(zero_shot, "CAMPlusPlusEvaluator", Speaker)
    monkeypatch.setattr(zero_shot, "WordReader", Words)


def tone(path, seconds, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * np.sin(np.arange(round(seconds * 16000)) / 5), 16000)


@pytest.fixture
def librispeech(tmp_path):
    """Two readers; one recording of the first is too short, and the second has only one."""
    for reader, seconds in {"1": [5, 6, 2], "2": [5]}.items():
        folder = tmp_path / "test-clean" / reader / "10"
        names = [f"{reader}-10-{index:04d}" for index in range(len(seconds))]
        for name, length in zip(names, seconds, strict=True):
            tone(folder / f"{name}.flac", length)
        lines = [f"{name} ONE TWO\n" for name in names]
        (folder / f"{reader}-10.trans.txt").write_text("".join(lines))
    return tmp_path / "test-clean"


def test_librispeech(librispeech):
    found = zero_shot.read_test_set(librispeech, 3.0)
    assert [(each.prompt.stem, each.reference.stem) for each in found] == [
        ("1-10-0001", "1-10-0000"),
        ("1-10-0000", "1-10-0001"),
    ]
    assert {(each.text, each.prompt_seconds, each.text_is_read) for each in found} == {("one two", 3.0, True)}
    assert len(zero_shot.read_prompt(found[0])) == 48000


def test_seed_tts(tmp_path):
    tone(tmp_path / "prompt-wavs" / "a.wav", 2)
    tone(tmp_path / "wavs" / "a.wav", 1)
    lines = ["a|hello|prompt-wavs/a.wav|one two|wavs/a.wav", "b|hello|prompt-wavs/a.wav|three"]
    (tmp_path / "meta.lst").write_text("\n".join(lines) + "\n")
    first, second = zero_shot.read_test_set(tmp_path, 3.0)
    assert first.text == "one two" and first.reference == tmp_path / "wavs" / "a.wav" and first.text_is_read
    assert second.text == "three" and second.reference is None
    assert len(zero_shot.read_prompt(first)) == 32000


def test_a_list(tmp_path):
    rows = [{"file": "a.wav", "speaker": "x"}, {"file": "b.wav", "speaker": "x", "text": "one"}]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = zero_shot.read_test_set(tmp_path / "list.jsonl", 3.0)
    assert first.text == zero_shot.read_sentences(zero_shot.HERE / "sentences.txt")[0] and not first.text_is_read
    assert second.text == "one" and second.text_is_read and second.prompt == tmp_path / "a.wav"


def test_what_is_no_test_set(tmp_path):
    with pytest.raises(ValueError, match="is no test set"):
        zero_shot.read_test_set(tmp_path, 3.0)
    (tmp_path / "list.jsonl").write_text(json.dumps({"file": "a.wav", "speaker": "x"}) + "\n")
    with pytest.raises(ValueError, match="no utterance of a reader with another one"):
        zero_shot.read_test_set(tmp_path / "list.jsonl", 3.0)


def test_the_table(librispeech, tiny_pipeline, tmp_path, evaluators, monkeypatch, capsys):
    monkeypatch.setattr(zero_shot, "load_pipeline", lambda folder, device: tiny_pipeline)
    options = ["--prompts", "clean", "quiet", "--steps", "2", "--output_dir", str(tmp_path / "out")]
    results = zero_shot.main(zero_shot.parse_args([str(librispeech), "--models", "tiny", *options]))
    assert [(row["model"], row["prompts"], len(row["details"])) for row in results] == [
        ("recordings", "clean", 2),
        ("tiny", "clean", 2),
        ("tiny", "quiet", 2),
    ]
    _, _, recordings, clean, _ = (tmp_path / "out" / "table.md").read_text().splitlines()
    # The same tone with another length.
    assert recordings == "| recordings | clean | 0.0% | 1.000 | 1.000 |  | 4.25 | -23.0 |  | 2 |"
    assert clean.startswith("| tiny | clean | 0.0% | ")
    assert recordings in capsys.readouterr().out


def test_damages():
    random = np.random.default_rng(0)
    waveform = (0.1 * np.sin(np.arange(48000) / 5)).astype(np.float32)
    waveform[:24000] *= 0.01
    damaged = {name: damage(waveform, random) for name, damage in zero_shot.DAMAGES.items()}
    np.testing.assert_array_equal(damaged["clean"], waveform)
    assert len(damaged["late"]) == 112000 and not damaged["late"][:64000].any()
    assert zero_shot.loudness(damaged["quiet"]) == pytest.approx(zero_shot.loudness(waveform) - 50.46, abs=0.01)
    assert (np.abs(damaged["clipped"]) == 1).mean() > 0.3
    assert len(damaged["short"]) == 9600 and zero_shot.loudness(damaged["short"]) == pytest.approx(-23, abs=0.1)
    for name, wanted in {"noise20": 20, "noise8": 8}.items():
        residual = damaged[name] - waveform
        assert 10 * np.log10(np.square(waveform).mean() / np.square(residual).mean()) == pytest.approx(
            wanted, abs=0.01
        )
    assert not np.allclose(damaged["reverberation"], waveform)


def test_a_reader_with_one_recording_has_no_prompt(librispeech):
    shutil.rmtree(librispeech / "1")
    with pytest.raises(ValueError, match="no utterance of a reader with another one"):
        zero_shot.read_test_set(librispeech, 3.0)
