"""Preparation as a user runs the script: damaged input, kills, two processes and every source."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import prepare_dataset
from ns2_diffusers import NaturalSpeech2Tokenizer, load_codec
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset, read_card
from tests.data.test_alignments import PHONES, textgrid

pytest.importorskip("datasets", reason="the train extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")

ROOT = Path(__file__).parents[2]
RATE = 16000


@pytest.fixture
def codec(tmp_path, tiny_codec):
    tiny_codec.save_pretrained(tmp_path / "codec")
    return str(tmp_path / "codec")


@pytest.fixture
def metadata(tmp_path, clips, transcripts):
    """A table of six clips by two speakers."""
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "text", "speaker"])
        table.writerows([path, transcripts[path.name], f"s{index % 2}"] for index, path in enumerate(clips[:6]))
    return str(tmp_path / "metadata.csv")


def prepare(codec, output_dir, *options):
    arguments = ["--codec", codec, "--output_dir", str(output_dir), *map(str, options)]
    prepare_dataset.main(prepare_dataset.parse_args(arguments))


def load(folder):
    codec = load_codec(str(folder / "codec"))
    return load_prepared_dataset(folder, codec, NaturalSpeech2Tokenizer.from_pretrained(folder / "tokenizer"))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rejected(folder):
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text("utf-8").splitlines()]


def test_a_table_of_recordings(tmp_path, codec, metadata, clips, transcripts, capsys):
    prepare(codec, tmp_path / "set", "--metadata", metadata)
    assert "prepared 6 utterances" in capsys.readouterr().out
    dataset = load(tmp_path / "set")
    assert list(dataset["id"]) == [path.stem for path in clips[:6]]
    assert list(dataset["speaker"]) == ["s0", "s1"] * 3
    assert list(dataset["text"]) == [transcripts[path.name] for path in clips[:6]]
    assert list(dataset["durations"]) == [[]] * 6 and not read_card(tmp_path / "set")["aligned"]
    for row in dataset:
        assert np.shape(row["codes"]) == (4, row["n_frames"]) and len(row["f0"]) == row["n_frames"]
        assert 0.3 < np.mean(np.array(row["f0"]) > 0) < 0.9 and min(row["f0"]) == 0
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "codec",
        "data-00000.parquet",
        "dataset_card.json",
        "rejected.jsonl",
        "tokenizer",
    ]


def test_workers_and_shards_change_nothing_of_the_rows(tmp_path, codec, metadata):
    prepare(codec, tmp_path / "one", "--metadata", metadata)
    prepare(codec, tmp_path / "two", "--metadata", metadata, "--shard_size", 4, "--num_workers", 2)
    assert len(list((tmp_path / "two").glob("data-*.parquet"))) == 2
    assert list(load(tmp_path / "one")) == list(load(tmp_path / "two"))


# -- damaged input -------------------------------------------------------------------------------------------


def write_damaged(folder, speech):
    """Write a CSV with every kind of damaged recording; returns the expected result of each line."""
    sound = lambda name, samples=speech, rate=RATE, **kwargs: soundfile.write(folder / name, samples, rate, **kwargs)  # noqa: E731
    lines, wanted = ["file,text,speaker,id"], {}

    def line(name, reason, text="Please hold.", number=None):
        lines.append(f"{name},{text},,{number or ''}")
        wanted[number or Path(name).stem] = reason

    def cut(name, share):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    sound("whole.wav")
    line("whole.wav", None)
    for name in ("truncated.flac", "truncated_too.wav", "truncated_as_well.mp3"):
        sound(name)
        cut(name, 0.5)
        line(name, "unreadable audio")
    sound("header_only.wav")
    cut("header_only.wav", 0.0002)
    line("header_only.wav", "unreadable audio")
    (folder / "empty_file.wav").touch()
    line("empty_file.wav", "unreadable audio")
    (folder / "a_text.wav").write_text("I am no sound.")
    line("a_text.wav", "unreadable audio")
    (folder / "a_folder.wav").mkdir()
    line("a_folder.wav", "unreadable audio")
    line("missing.wav", "unreadable audio")
    sound("no_samples.wav", speech[:0])
    line("no_samples.wav", "unreadable audio")
    for name, value in (("not_a_number.wav", np.nan), ("infinite.wav", np.inf)):
        sound(name, np.where(np.arange(len(speech)) == 99, value, speech), subtype="FLOAT")
        line(name, "unreadable audio")
    sound("silence.wav", np.zeros(RATE))
    line("silence.wav", "silent")
    sound("distorted.wav", np.clip(speech * 20, -1, 1))
    line("distorted.wav", "clipped")
    sound("click.wav", speech[:1600])
    line("click.wav", "too short")
    sound("lecture.wav", np.tile(speech, 3))
    line("lecture.wav", "too long")
    sound("wrong_rate.wav", speech[::4], 4000)
    line("wrong_rate.wav", "sampling rate")
    sound("short.wav", speech[: RATE // 2])
    line("short.wav", "too fast", "This is by far too much text for half of a second.")
    for name, text, reason in (
        ("no_text", "", "empty text"),
        ("blank_text", "   ", "empty text"),
        ("no_word", "?!", "unspeakable"),
        ("chinese", "你好", "unspeakable"),
        ("emoji", "🙂", "unspeakable"),
    ):
        line("whole.wav", reason, text, name)
    # Unusual recordings that are accepted.
    sound("eight_bit.wav", subtype="PCM_U8")
    sound("stereo.wav", np.stack([speech, speech], 1))
    sound("other_rate.wav", rate=22050)
    for name in ("eight_bit.wav", "stereo.wav", "other_rate.wav"):
        line(name, None)
    return lines, wanted


def test_damaged_recordings_are_reported_and_the_rest_is_prepared(tmp_path, codec, clips, capsys):
    speech, _ = soundfile.read(clips[0])
    lines, wanted = write_damaged(tmp_path, speech)
    # The lines are damaged too; the last one is whole, and its id equals that of the first.
    content = "\n".join(lines).encode() + b"\nwhole.wav,caf\xe9,,latin\nwhole.wav,Too,many,fields,here\nwhole.wav"
    content += b"\nwhole.wav,Please hold.,,whole\nwhole.wav,Please hold.,,last\n"
    (tmp_path / "damaged.csv").write_bytes(content)
    prepare(codec, tmp_path / "set", "--metadata", tmp_path / "damaged.csv", "--shard_size", 7, "--max_seconds", 8)

    first = len(lines) + 1
    damaged_lines = {"latin": "unreadable row", f"damaged.csv:{first + 1}": "unreadable row"}
    reasons = {id_: reason for id_, reason in wanted.items() if reason} | damaged_lines
    report = rejected(tmp_path / "set")
    assert {row["id"]: row["reason"] for row in report if row["reason"] != "duplicate id"} == {
        **reasons,
        "whole": "empty text",  # a line with only a file
    }
    assert [row["id"] for row in report if row["reason"] == "duplicate id"] == ["whole"]
    assert all(len(row["detail"]) > 10 for row in report) and len(report) >= 20 + 5
    assert list(load(tmp_path / "set")["id"]) == [id_ for id_, reason in wanted.items() if not reason] + ["last"]
    card = read_card(tmp_path / "set")
    assert card["rejected"] == len(report) and card["utterances"] == 5
    assert "rejected: 11 unreadable audio" in capsys.readouterr().out


def test_damaged_lines_of_a_jsonl_are_reported(tmp_path, codec, clips):
    good = {"audio": str(clips[0]), "text": "Please hold."}
    lines = [good | {"id": "good", "durations": [1]}, good | {"id": "number", "text": 7}, good | {"audio": 7}]
    lines += [good | {"id": "surrogate", "text": "\ud800"}, good | {"id": "phonemes", "phonemes": "hˈI日"}, ["list"]]
    lines += [good | {"id": None, "speaker": None}]
    text = "\n".join(map(json.dumps, lines)) + '\n{"audio": "cut off'
    (tmp_path / "damaged.jsonl").write_text(text)
    prepare(codec, tmp_path / "set", "--metadata", tmp_path / "damaged.jsonl")
    assert [row["reason"] for row in rejected(tmp_path / "set")] == [
        "empty text",
        "unreadable row",
        "unreadable row",
        "unspeakable",
        "unreadable row",
        "unreadable row",
    ]
    assert list(load(tmp_path / "set")["id"]) == ["good", clips[0].stem]


def test_nothing_usable_is_an_error_that_says_why(tmp_path, codec):
    (tmp_path / "a.csv").write_text("file,text\n1.wav,One.\n2.wav,Two.\n")
    with pytest.raises(ValueError, match="no row of 2 could be used.*unreadable audio.*rejected.jsonl"):
        prepare(codec, tmp_path / "set", "--metadata", tmp_path / "a.csv")
    assert len(rejected(tmp_path / "set")) == 2


# -- kills, processes ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """A BaseException, so that no `except Exception` catches it."""


@pytest.mark.parametrize("after_renaming", [False, True])
def test_killed_at_every_write_it_ends_the_same(tmp_path, codec, metadata, clips, monkeypatch, after_renaming):
    """Each attempt gets one file further than the previous one. benchmarks/kill_and_resume.py uses real kills."""
    with open(metadata, "a") as file:
        file.write(f"{clips[0]},A duplicate.,\nmissing.flac,Missing.,\n")
    options = ("--metadata", metadata, "--shard_size", 3)
    prepare(codec, tmp_path / "whole", *options)
    replace, patience = os.replace, 0

    def replace_once(path, target):
        nonlocal patience
        patience -= 1
        if patience < 0 and not after_renaming:
            raise Killed
        replace(path, target)
        if patience < 0:
            raise Killed

    monkeypatch.setattr(os, "replace", replace_once)
    kills = 0
    while not (tmp_path / "killed" / "dataset_card.json").exists():
        patience = 1 if not after_renaming else 0
        patience += kills // 2
        try:
            prepare(codec, tmp_path / "killed", *options)
        except Killed:
            kills += 1
    monkeypatch.undo()
    prepare(codec, tmp_path / "killed", *options)
    assert kills >= 5 and contents(tmp_path / "whole") == contents(tmp_path / "killed")


def test_what_is_done_is_not_done_again(tmp_path, codec, metadata, capsys):
    prepare(codec, tmp_path / "set", "--metadata", metadata)
    before = (tmp_path / "set" / "data-00000.parquet").stat().st_mtime_ns
    prepare(codec, tmp_path / "set", "--metadata", metadata)
    assert "prepared already" in capsys.readouterr().out
    assert (tmp_path / "set" / "data-00000.parquet").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="max_seconds 30.0 → 3.0"):
        prepare(codec, tmp_path / "set", "--metadata", metadata, "--max_seconds", 3)


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path, codec, metadata):
    script = str(ROOT / "examples" / "prepare_dataset.py")
    # Without a GPU, accelerate's own launcher starts one process, whatever number is requested.
    launch = [sys.executable, "-m", "torch.distributed.run", "--master_port", "29613", "--nproc_per_node"]
    for number in ("1", "2"):
        options = ["--metadata", metadata, "--codec", codec, "--shard_size", "2", "--output_dir"]
        command = [*launch, number, script, *options, str(tmp_path / f"set{number}")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        # Each process has its share, and only the first prints the result.
        assert ended.stdout.count("prepared ") == 1
    assert contents(tmp_path / "set1") == contents(tmp_path / "set2")


# -- durations and statistics --------------------------------------------------------------------------------


def test_textgrids_give_phonemes_and_durations(tmp_path, codec):
    pytest.importorskip("praatio", reason="the train extra is not installed")
    (tmp_path / "wavs").mkdir()
    (tmp_path / "metadata.csv").write_text("LJ1|Hi, yes.|Hi, yes.\nLJ2|Hi, yes.|Hi, yes.\nLJ3|Yes.|Yes.\n")
    noise = np.random.default_rng(0).normal(0, 0.1, RATE * 5 // 4)
    for name in ("LJ1", "LJ2", "LJ3"):
        soundfile.write(tmp_path / "wavs" / f"{name}.wav", noise, RATE)
    textgrid(tmp_path / "LJ1.TextGrid", PHONES)
    textgrid(tmp_path / "LJ2.TextGrid", PHONES[:-3])
    options = ("--ljspeech_dir", tmp_path, "--textgrid_dir", tmp_path)
    with pytest.raises(ValueError, match="english backend"):
        prepare(codec, tmp_path / "set", *options)
    prepare(codec, tmp_path / "set", *options, "--backend", "arpabet")
    (row,) = load(tmp_path / "set")
    assert row["phonemes"] == "HH AY1 sp Y EH1 S" and row["n_frames"] == 63
    # Ends at 0.3, 0.42, 0.6, 0.75, 0.8, 0.95, 1.1 s are frames 15, 21, 30, 37.5, 40, 47.5, 55; then the end.
    assert row["durations"] == [15, 6, 9, 8, 2, 8, 7, 8]
    assert read_card(tmp_path / "set")["aligned"]
    assert [(item["id"], item["reason"]) for item in rejected(tmp_path / "set")] == [
        ("LJ2", "durations"),
        ("LJ3", "unreadable row"),
    ]


def test_durations_of_the_synthetic_corpus(tmp_path, codec, corpus):
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text("utf-8").splitlines()]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ("--audio_path", corpus / "audio" / "{id}.ogg", "--durations_hop_seconds", 0.025)
    prepare(codec, tmp_path / "set", "--metadata", tmp_path / "manifest.jsonl", *options, "--speeds", "0.9")
    prepared = list(load(tmp_path / "set"))
    assert [row["id"] for row in prepared] == [id_ for row in rows for id_ in (row["id"], row["id"] + "@0.9")]
    for given, row in zip(rows, prepared[::2], strict=True):
        assert row["phonemes"] == given["phonemes"] and row["speaker"] == given["speaker"]
        # 600 samples at 24 kHz are 25 ms; a frame has 20 ms. A last vowel, before "." and the end, may end earlier.
        late = np.cumsum(row["durations"]) * 0.02 - np.cumsum(given["durations"]) * 0.025
        assert np.abs(np.delete(late[:-1], -2)).max() < 0.0101 and late[-3] < 0.0101
        assert sum(row["durations"]) == row["n_frames"] == -(-given["samples"] * 2 // 3 // 320)


def test_a_codec_without_latent_statistics_gets_them(tmp_path, tiny_codec, metadata):
    tiny_codec.register_to_config(latents_mean=None, latents_std=None)
    tiny_codec.save_pretrained(tmp_path / "codec")
    prepare(str(tmp_path / "codec"), tmp_path / "set", "--metadata", metadata, "--shard_size", 2)
    codec = load_codec(str(tmp_path / "set" / "codec"))
    assert codec.fingerprint != tiny_codec.fingerprint
    latents = []
    for row in load(tmp_path / "set"):
        codes = np.array(row["codes"])
        latents.append(sum(codec.codebooks[level, codes[level]].double() for level in range(len(codes))))
    latents = np.concatenate(latents)
    np.testing.assert_allclose(codec.config.latents_mean, latents.mean(0), atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(codec.config.latents_std, latents.std(0), rtol=1e-5)


def test_statistics_stay_unless_they_shall_be_measured(tmp_path, codec, metadata):
    prepare(codec, tmp_path / "kept", "--metadata", metadata)
    prepare(codec, tmp_path / "measured", "--metadata", metadata, "--measure_latents")
    kept, measured = (read_card(tmp_path / name)["codec_fingerprint"] for name in ("kept", "measured"))
    assert kept == load_codec(codec).fingerprint != measured


def test_options_that_contradict_each_other_are_refused(capsys):
    for options in (
        ["--metadata", "a.csv", "--ljspeech_dir", "b"],
        [],
        ["--ljspeech_dir", "b", "--durations_hop_seconds", "0.01"],
    ):
        with pytest.raises(SystemExit):
            prepare_dataset.parse_args(["--codec", "c", "--output_dir", "d", *options])
    assert capsys.readouterr().err.count("error:") == 3


def test_shards_are_written_beside(tmp_path, codec, metadata, monkeypatch):
    """Unfinished files have names that are never read, and the card is written last."""
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: names.append(Path(new).name) or replace(old, new))
    prepare(codec, tmp_path / "set", "--metadata", metadata)
    assert names.index("00000-00000.parquet") < names.index("00000-00000.json") and names[-1] == "dataset_card.json"


def test_the_recipe_of_real_voices_never_sees_a_held_out_reader(tmp_path, codec, clips, transcripts, capsys):
    page = (ROOT / "docs" / "real_voices.md").read_text("utf-8").replace("\\\n", " ")
    commands = [line.split() for line in page.splitlines() if "prepare_dataset.py" in line]
    assert len(commands) == 2
    for command in commands:
        named = ROOT / command[command.index("--exclude_speakers") + 1]
        assert len(set(named.read_text("utf-8").split())) == 10
    held_out = named.read_text("utf-8").split()[0]
    for speaker, path in zip((held_out, "19"), clips, strict=False):
        chapter = tmp_path / "LibriSpeech" / speaker / "1"
        chapter.mkdir(parents=True)
        samples, rate = soundfile.read(path)
        soundfile.write(chapter / f"{speaker}-1-0000.flac", samples, rate)
        (chapter / f"{speaker}-1.trans.txt").write_text(f"{speaker}-1-0000 {transcripts[path.name].upper()}\n")
    options = ["--librispeech_dir", tmp_path / "LibriSpeech", "--exclude_speakers", named]
    prepare(codec, tmp_path / "set", *options)
    assert set(load(tmp_path / "set")["speaker"]) == {"19"}
