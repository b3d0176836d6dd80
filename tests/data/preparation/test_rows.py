"""Preparation of single rows. The tests of the script are in tests/examples."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import soundfile

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.preparation.rows import RowLimits, RowPreparer
from ns2_diffusers.data.sources import Row

pytest.importorskip("datasets", reason="the train extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")

RATE = 16000


def preparer(durations_hop_seconds=None, **limits):
    return RowPreparer(NaturalSpeech2Tokenizer(), RATE, 320, RowLimits(**limits), durations_hop_seconds)


def row(audio, **fields):
    return replace(Row("a", "s", "Hello there.", audio), **fields)


def test_an_utterance_is_what_the_recording_says(clips, transcripts):
    given = row(str(clips[0]), text=transcripts[clips[0].name], speaker=7)
    name, utterance = preparer()[("00000-00000", given)]
    waveform, _ = load_audio(clips[0])
    assert name == "00000-00000" and utterance.speaker == "7"
    assert utterance.phonemes == NaturalSpeech2Tokenizer().phonemize(given.text)
    assert np.array_equal(utterance.waveform, waveform.numpy())
    assert np.array_equal(utterance.f0, estimate_f0(waveform, RATE, 320).numpy())
    assert utterance.seconds is None


def test_a_song_stays_marked(clips):
    marked = [preparer()[("", row(str(clips[0]), **fields))][1].sung for fields in ({}, {"sung": True})]
    assert marked == [False, True]


def test_it_is_resampled_to_the_codecs_rate(clips):
    make = RowPreparer(NaturalSpeech2Tokenizer(), 24000, 320, RowLimits())
    _, utterance = make[("", row(str(clips[0])))]
    samples = soundfile.info(clips[0]).frames
    assert len(utterance.waveform) == samples * 3 // 2
    assert len(utterance.f0) == -(-samples * 3 // 2 // 320)


def test_silence_is_trimmed_and_durations_with_it(tmp_path, clips):
    speech, _ = soundfile.read(clips[0])
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([np.zeros(RATE), speech, np.zeros(RATE // 2)]), RATE)
    total = 1 + len(speech) / RATE + 0.5
    seconds = [1.0, total - 2.0, 0.5, 0.5]
    given = row(str(path), phonemes="hI", durations=[value / 0.001 for value in seconds])
    _, whole = preparer(durations_hop_seconds=0.001)[("", given)]
    _, trimmed = preparer(durations_hop_seconds=0.001, trim_db=50)[("", given)]
    assert len(whole.waveform) == round(total * RATE) and whole.start == 0
    # The added silence is removed except for a tenth of a second.
    assert RATE - 1600 <= trimmed.start < RATE + 8000
    assert len(trimmed.waveform) <= len(speech) + 2 * 1600
    np.testing.assert_allclose(trimmed.seconds, seconds)


def test_another_speed_is_heard_and_shortens_durations(clips):
    total = soundfile.info(clips[0]).duration
    durations = np.array([0.1, 0.5, 0.2, 0.2]) * total / 0.02
    make = preparer(durations_hop_seconds=0.02)
    given = row(str(clips[0]), phonemes="hI", durations=durations)
    plain, fast = make[("", given)][1], make[("", replace(given, speed=1.25))][1]
    assert len(fast.waveform) == pytest.approx(len(plain.waveform) / 1.25, abs=2)
    np.testing.assert_allclose(fast.seconds, plain.seconds / 1.25)
    pitch = [np.median(utterance.f0[utterance.f0 > 0]) for utterance in (plain, fast)]
    assert pitch[1] == pytest.approx(1.25 * pitch[0], rel=0.03)


def test_durations_are_ignored_unless_asked_for(clips):
    assert preparer()[("", row(str(clips[0]), durations=[1]))][1].seconds is None


@pytest.mark.parametrize(
    ("durations", "detail"),
    [
        (None, "one number"),
        ([1, 2], "2 durations for 4 symbols"),
        ([1, 1, 1, -1], "zero or more"),
        ([1, 1, 1, float("nan")], "zero or more"),
        ([1, 1, 1, "x"], "could not convert"),
        ([1, 1, 1, 1], "sum to 0.10 s"),
    ],
)
def test_durations_that_do_not_fit_are_reported(clips, durations, detail):
    _, result = preparer(durations_hop_seconds=0.025)[("", row(str(clips[0]), phonemes="hI", durations=durations))]
    assert result.reason == "durations" and detail in result.detail


def test_phonemes_are_written_as_the_tokenizer_writes_them(clips):
    """g becomes ɡ, and a composed letter becomes two symbols."""
    _, utterance = preparer()[("", row(str(clips[0]), phonemes="gã", text=""))]
    assert utterance.phonemes == "ɡa\u0303"


def test_a_long_recording_is_not_even_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 3), RATE)
    monkeypatch.setattr("ns2_diffusers.data.preparation.rows.load_audio", lambda audio: pytest.fail("it was read"))
    for audio in (str(tmp_path / "a.wav"), {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None}):
        _, result = preparer(max_seconds=2.9)[("", row(audio))]
        assert result.reason == "too long" and "3.00 s" in result.detail


def test_names_in_another_encoding_are_reported(clips):
    for key in ("id", "speaker", "text"):
        _, result = preparer()[("", row(str(clips[0]), **{key: "caf\udce9"}))]
        assert result.reason == "unreadable row" and key in result.detail
        assert all(value.encode() for value in asdict(result).values())


def test_what_nobody_foresaw_is_reported_too(clips, monkeypatch):
    make = preparer()
    monkeypatch.setattr(make.tokenizer, "phonemize", lambda text: 1 / 0)
    _, result = make[("", row(str(clips[0])))]
    assert result.reason == "unforeseen" and "ZeroDivisionError" in result.detail
