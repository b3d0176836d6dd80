"""Rows one by one, codes in batches, and the account of shards. The script is tested in tests/examples."""

import itertools

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.preparation import (
    Preparation,
    RowLimits,
    RowPreparer,
    ShardEnd,
    encode_utterances,
    mean_and_std,
    sum_latents,
)
from ns2_diffusers.data.sources import Source

pytest.importorskip("datasets", reason="the train extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")

RATE = 16000


def preparer(durations_hop_seconds=None, **limits):
    return RowPreparer(NaturalSpeech2Tokenizer(), RATE, 320, RowLimits(**limits), durations_hop_seconds)


def row(audio, **fields):
    return {"id": "a", "speaker": "s", "text": "Hello there.", "audio": audio, **fields}


def prepared(clips, **limits):
    make = preparer(**limits)
    return [make[("shard", row(str(clip), id=clip.stem))][1] for clip in clips]


def test_an_utterance_is_what_the_recording_says(clips, transcripts):
    given = row(str(clips[0]), text=transcripts[clips[0].name], speaker=7)
    name, utterance = preparer()[("00000-00000", given)]
    waveform, _ = load_audio(clips[0])
    assert name == "00000-00000" and utterance["speaker"] == "7"
    assert utterance["phonemes"] == NaturalSpeech2Tokenizer().phonemize(given["text"])
    assert np.array_equal(utterance["waveform"], waveform.numpy())
    assert np.array_equal(utterance["f0"], estimate_f0(waveform, RATE, 320).numpy())
    assert utterance["seconds"] is None


def test_a_song_stays_marked(clips):
    marked = [preparer()[("", row(str(clips[0]), **fields))][1]["sung"] for fields in ({}, {"sung": True})]
    assert marked == [False, True]


def test_it_is_resampled_to_the_codecs_rate(clips):
    make = RowPreparer(NaturalSpeech2Tokenizer(), 24000, 320, RowLimits())
    _, utterance = make[("", row(str(clips[0])))]
    samples = soundfile.info(clips[0]).frames
    assert len(utterance["waveform"]) == samples * 3 // 2
    assert len(utterance["f0"]) == -(-samples * 3 // 2 // 320)


def test_silence_is_trimmed_and_durations_with_it(tmp_path, clips):
    speech, _ = soundfile.read(clips[0])
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([np.zeros(RATE), speech, np.zeros(RATE // 2)]), RATE)
    total = 1 + len(speech) / RATE + 0.5
    seconds = [1.0, total - 2.0, 0.5, 0.5]
    given = row(str(path), phonemes="hI", durations=[value / 0.001 for value in seconds])
    _, whole = preparer(durations_hop_seconds=0.001)[("", given)]
    _, trimmed = preparer(durations_hop_seconds=0.001, trim_db=50)[("", given)]
    assert len(whole["waveform"]) == round(total * RATE) and whole["start"] == 0
    # All but a tenth of a second of the added silence is gone.
    assert RATE - 1600 <= trimmed["start"] < RATE + 8000
    assert len(trimmed["waveform"]) <= len(speech) + 2 * 1600
    np.testing.assert_allclose(trimmed["seconds"], seconds)


def test_another_speed_is_heard_and_shortens_durations(clips):
    total = soundfile.info(clips[0]).duration
    durations = np.array([0.1, 0.5, 0.2, 0.2]) * total / 0.02
    make = preparer(durations_hop_seconds=0.02)
    given = row(str(clips[0]), phonemes="hI", durations=durations)
    plain, fast = make[("", given)][1], make[("", {**given, "speed": 1.25})][1]
    assert len(fast["waveform"]) == pytest.approx(len(plain["waveform"]) / 1.25, abs=2)
    np.testing.assert_allclose(fast["seconds"], plain["seconds"] / 1.25)
    pitch = [np.median(utterance["f0"][utterance["f0"] > 0]) for utterance in (plain, fast)]
    assert pitch[1] == pytest.approx(1.25 * pitch[0], rel=0.03)


def test_silence_is_not_the_last_vowels(tmp_path, tiny_codec, clips):
    """Half a second after the voice, given to the vowel, is the end's."""
    speech, _ = soundfile.read(clips[0])
    soundfile.write(tmp_path / "a.wav", np.concatenate([speech, np.zeros(RATE // 2)]), RATE)
    seconds = np.array([0.1, 0.2, len(speech) / RATE + 0.1, 0.1])
    given = row(str(tmp_path / "a.wav"), phonemes="hi", durations=seconds / 0.01)
    _, utterance = preparer(durations_hop_seconds=0.01)[("", given)]
    (encoded,), _ = encode_utterances(tiny_codec, [utterance], 60.0)
    voice = np.flatnonzero(encoded["f0"])[-1] + 1
    assert sum(encoded["durations"]) == encoded["n_frames"]
    assert sum(encoded["durations"][:3]) == voice <= len(speech) / RATE * 50 + 1
    assert encoded["durations"][3] >= 24


def test_durations_are_ignored_unless_asked_for(clips):
    assert preparer()[("", row(str(clips[0]), durations=[1]))][1]["seconds"] is None


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
    assert result["reason"] == "durations" and detail in result["detail"]


def test_phonemes_are_written_as_the_tokenizer_writes_them(clips):
    """g is ɡ, and a composed letter two symbols."""
    _, utterance = preparer()[("", row(str(clips[0]), phonemes="gã", text=""))]
    assert utterance["phonemes"] == "ɡa\u0303"


def test_a_long_recording_is_not_even_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE * 3), RATE)
    monkeypatch.setattr("ns2_diffusers.data.preparation.load_audio", lambda audio: pytest.fail("it was read"))
    for audio in (str(tmp_path / "a.wav"), {"bytes": (tmp_path / "a.wav").read_bytes(), "path": None}):
        _, result = preparer(max_seconds=2.9)[("", row(audio))]
        assert result["reason"] == "too long" and "3.00 s" in result["detail"]


def test_names_in_another_encoding_are_reported(clips):
    for key in ("id", "speaker", "text"):
        _, result = preparer()[("", row(str(clips[0])) | {key: "caf\udce9"})]
        assert result["reason"] == "unreadable row" and key in result["detail"]
        assert all(value.encode() for value in result.values())


def test_what_nobody_foresaw_is_reported_too(clips, monkeypatch):
    make = preparer()
    monkeypatch.setattr(make.tokenizer, "phonemize", lambda text: 1 / 0)
    _, result = make[("", row(str(clips[0])))]
    assert result["reason"] == "unforeseen" and "ZeroDivisionError" in result["detail"]


def test_batches_encode_like_single_recordings(tiny_codec, clips):
    utterances = prepared(clips[:6])
    together, failed = encode_utterances(tiny_codec, utterances, batch_seconds=9)
    assert not failed and [item["id"] for item in together] == [clip.stem for clip in clips[:6]]
    for utterance, item in zip(utterances, together, strict=True):
        latents = tiny_codec.encode(torch.from_numpy(utterance["waveform"])[None, None])
        _, codes = tiny_codec.quantize(latents)
        assert item["codes"].dtype == np.int16 and np.array_equal(item["codes"], codes[0].numpy())
        assert item["n_frames"] == codes.shape[2] == len(item["f0"])
        assert len(item["durations"]) == 0


def test_batches_keep_to_the_budget(tiny_codec, clips, monkeypatch):
    encode, sizes = tiny_codec.encode, []
    monkeypatch.setattr(tiny_codec, "encode", lambda x, mask: sizes.append(x.shape) or encode(x, mask))
    encode_utterances(tiny_codec, prepared(clips[:6]), batch_seconds=8)
    assert sum(shape[0] for shape in sizes) == 6 and max(shape[0] for shape in sizes) > 1
    assert all(shape[0] * shape[2] <= 8 * RATE for shape in sizes)


def test_what_the_codec_cannot_take_is_reported_and_its_batch_goes_on(tiny_codec, clips, monkeypatch):
    utterances = prepared(clips[:3])
    wanted, _ = encode_utterances(tiny_codec, utterances, batch_seconds=60)
    encode, odd = tiny_codec.encode, len(utterances[1]["waveform"])

    def fails(waveform, mask):
        if odd in mask.sum(1):
            raise RuntimeError("padding size should be less than the input")
        return encode(waveform, mask)

    monkeypatch.setattr(tiny_codec, "encode", fails)
    done, failed = encode_utterances(tiny_codec, utterances, batch_seconds=60)
    assert [item["id"] for item in done] == [clips[0].stem, clips[2].stem]
    assert failed[0]["id"] == clips[1].stem and "padding size" in failed[0]["detail"]
    assert np.array_equal(done[1]["codes"], wanted[2]["codes"])


def test_a_broken_device_is_not_the_recordings_fault(tiny_codec, clips, monkeypatch):
    def fails(waveform, mask):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(tiny_codec, "encode", fails)
    with pytest.raises(RuntimeError, match="CUDA error"):
        encode_utterances(tiny_codec, prepared(clips[:2]), batch_seconds=60)


def test_latent_statistics_are_those_of_all_frames(tiny_codec, clips):
    rows, _ = encode_utterances(tiny_codec, prepared(clips[:4]), batch_seconds=60)
    mean, std = mean_and_std([sum_latents(tiny_codec, rows[:1]), sum_latents(tiny_codec, rows[1:])])
    codes = np.concatenate([item["codes"] for item in rows], axis=1)
    vectors = sum(tiny_codec.codebooks[level, codes[level].astype(int)].double() for level in range(len(codes)))
    np.testing.assert_allclose(mean, vectors.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(std, vectors.std(0, correction=0), rtol=1e-5)


# -- shards --------------------------------------------------------------------------------------------------


def source(*lengths):
    return Source(lambda part: iter([{"id": f"{part}.{n}"} for n in range(lengths[part])]), "it", len(lengths))


def pending(preparation, rows, shard_size, *process):
    """Ids by shard, and whether each is the last of its part."""
    items = itertools.groupby(preparation.pending(rows, shard_size, *process), key=lambda item: item[0])
    shards = {name: [item for _, item in group] for name, group in items}
    assert all(isinstance(items[-1], ShardEnd) for items in shards.values())
    return {name: ([item["id"] for item in items[:-1]], items[-1].last) for name, items in shards.items()}


def test_rows_are_cut_into_shards(tmp_path):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    assert pending(preparation, source(5, 0, 2), 2) == {
        "00000-00000": (["0.0", "0.1"], False),
        "00000-00001": (["0.2", "0.3"], False),
        "00000-00002": (["0.4"], True),
        "00001-00000": ([], True),
        "00002-00000": (["2.0", "2.1"], True),
    }


@pytest.mark.parametrize("lengths", [(7,), (3, 2), (1, 5, 0, 2)])
@pytest.mark.parametrize("num_processes", [2, 3])
def test_processes_share_out_the_same_shards(tmp_path, lengths, num_processes):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    alone = pending(preparation, source(*lengths), 2)
    shares = [pending(preparation, source(*lengths), 2, index, num_processes) for index in range(num_processes)]
    assert {name: shard for share in shares for name, shard in share.items()} == alone
    assert sum(map(len, shares)) == len(alone)


def test_whole_shards_are_not_made_again_and_whole_parts_not_read(tmp_path):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    preparation.write("00000-00001", ShardEnd(False), [], [], None)
    preparation.write("00001-00000", ShardEnd(True), [], [], None)
    read = []
    rows = source(5, 2)
    watched = Source(lambda part: read.append(part) or rows.read(part), "it", 2)
    assert sorted(pending(preparation, watched, 2)) == ["00000-00000", "00000-00002"]
    assert read == [0]


def test_a_dataset_with_missing_shards_is_not_finished(tmp_path, tiny_codec):
    preparation = Preparation(tmp_path / "set", {})
    preparation.begin()
    preparation.write("00000-00001", ShardEnd(True), [], [], None)
    with pytest.raises(RuntimeError, match="shards are missing"):
        preparation.finish(source(4), tiny_codec, NaturalSpeech2Tokenizer(), False)


def test_two_preparations_are_not_mixed(tmp_path):
    Preparation(tmp_path / "set", {"trim_db": None, "backend": "english"}).begin()
    Preparation(tmp_path / "set", {"trim_db": None, "backend": "english"}).begin()
    with pytest.raises(ValueError, match="trim_db None → 40"):
        Preparation(tmp_path / "set", {"trim_db": 40, "backend": "english"}).begin()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="something else"):
        Preparation(tmp_path, {}).begin()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
