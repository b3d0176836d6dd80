import json

import pytest

from ns2_diffusers.data.sources import (
    Row,
    UnreadableRow,
    hub_source,
    librispeech_source,
    libritts_source,
    ljspeech_source,
    table_source,
    with_speeds,
    with_textgrids,
    without_speakers,
)

datasets = pytest.importorskip("datasets", reason="the train extra is not installed")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def rows(source):
    return [row for part in range(source.num_parts) for row in source.read(part)]


def test_csv(tmp_path):
    (tmp_path / "a.csv").write_text('\ufefffile,text,speaker\nx/1.wav,"Hi, you.",ann\n/y/2.wav,Yes.,\n', "utf-8")
    assert rows(table_source(tmp_path / "a.csv")) == [
        Row("x/1", "ann", "Hi, you.", str(tmp_path / "x/1.wav")),
        Row("2", "speaker", "Yes.", "/y/2.wav"),
    ]


def test_a_csv_has_phonemes_and_durations_too(tmp_path):
    (tmp_path / "a.csv").write_text("id,audio,text,phonemes,durations\nu1,1.wav,Hi.,hˈI.,1 2 3 4 5 6\n", "utf-8")
    (row,) = rows(table_source(tmp_path / "a.csv"))
    assert row.id == "u1" and row.phonemes == "hˈI." and row.durations == [1, 2, 3, 4, 5, 6]


def test_jsonl_with_audio_by_id(tmp_path):
    line = {"id": "u1", "text": "Hi.", "speaker": "ann", "durations": [1, 2], "f0": [0], "lang": "en-us"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n\n", "utf-8")
    (row,) = rows(table_source(tmp_path / "a.jsonl", audio_path="audio/{id}.ogg"))
    audio = str(tmp_path / "audio" / "u1.ogg")
    assert row == Row("u1", "ann", "Hi.", audio, durations=[1, 2])


def test_songs_are_marked(tmp_path):
    (tmp_path / "a.csv").write_text(
        "file,text,sung\n1.wav,La.,true\n2.wav,Hi.,false\n3.wav,Hi.,\n4.wav,Hi.,yes\n", "utf-8"
    )
    first, *others, odd = rows(table_source(tmp_path / "a.csv"))
    assert first.sung is True and not any(row.sung for row in others)
    assert "its `sung` is 'yes': wanted true or false" in odd.error
    lines = [json.dumps({"file": "1.wav", "text": "La.", "sung": sung}) for sung in (True, False, None, 7)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    first, *others, odd = rows(table_source(tmp_path / "a.jsonl"))
    assert first.sung is True and not any(row.sung for row in others) and "is 7" in odd.error


def test_damaged_lines_of_a_csv_are_named_and_the_rest_is_read(tmp_path):
    lines = [b"file,text", b"1.wav,One.", b"2.wav,caf\xe9", b"3.wav,Three, or more.", b",No file."]
    lines += [b'5.wav,"Five', b"6.wav,Six.", b'7.wav,Seven."', b"8.wav,Eight."]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    found = rows(table_source(tmp_path / "a.csv"))
    # Bytes that are not UTF-8 become surrogates, and the row is rejected with its id.
    assert [row.text for row in found if isinstance(row, Row)] == ["One.", "caf\udce9", "Eight."]
    errors = {row.id: row.error for row in found if isinstance(row, UnreadableRow)}
    assert set(errors) == {"a.csv:4", "a.csv:5", "a.csv:8"}
    for line, words in {4: "more fields", 5: "names no audio", 8: "quotation mark"}.items():
        assert words in errors[f"a.csv:{line}"]


def test_damaged_lines_of_a_jsonl_are_named_and_the_rest_is_read(tmp_path):
    lines = [b'{"file": "1.wav", "text": "One."', b"[1]", b'{"file": 3, "text": "Three."}', b'{"text": "Four."}']
    lines += [b'{"file": "5.wav", "text": "\\ud800"}', b'{"file": "6.wav", "text": "caf\xe9"}']
    lines += [b'{"file": "7.wav", "text": "Seven."}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    found = rows(table_source(tmp_path / "a.jsonl"))
    assert [isinstance(row, UnreadableRow) for row in found] == [True] * 4 + [False, True, False]


def test_tables_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no"):
        table_source(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("path,transcript\n1.wav,One.\n")
    with pytest.raises(ValueError, match="'transcript'.*wanted `text` and `audio`"):
        table_source(tmp_path / "a.csv")


def test_ljspeech(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b'LJ1|Dr. "X"|Doctor "X"\nLJ2|Only this|\n\nLJ3|caf\xe9|cafe\n')
    found = rows(ljspeech_source(tmp_path))
    assert [getattr(row, "text", None) for row in found] == ['Doctor "X"', "Only this", None]
    assert found[0].audio == f"{tmp_path}/wavs/LJ1.wav" and found[0].id == "LJ1"
    assert "not UTF-8" in found[2].error
    with pytest.raises(ValueError, match="no metadata.csv"):
        ljspeech_source(tmp_path / "wavs")


def test_librispeech(tmp_path):
    folder = tmp_path / "train-clean-5" / "1088" / "134315"
    folder.mkdir(parents=True)
    (folder / "1088-134315-0000.flac").touch()
    (folder / "1088-134315.trans.txt").write_text("1088-134315-0000 AS YOU KNOW\n1088-134315-0001 IT'S GONE\n")
    first, second = rows(librispeech_source(tmp_path / "train-clean-5"))
    assert first == Row("1088-134315-0000", "1088", "as you know", str(folder / "1088-134315-0000.flac"))
    assert second.id == "1088-134315-0001" and "no 1088-134315-0001.flac" in second.error
    with pytest.raises(ValueError, match="no \\*.trans.txt"):
        librispeech_source(folder / "1088-134315-0000.flac")


def test_libritts(tmp_path):
    folder = tmp_path / "train-clean-100" / "103" / "1241"
    folder.mkdir(parents=True)
    for name, text in (("103_1241_0", "One."), ("103_1241_1", None), ("103_1241_2", "Two.")):
        (folder / f"{name}.wav").touch()
        if text:
            (folder / f"{name}.normalized.txt").write_text(text + "\n")
            (folder / f"{name}.original.txt").write_text("another text")
    found = rows(libritts_source(tmp_path))
    assert [row.id for row in found] == ["103_1241_0", "103_1241_1", "103_1241_2"]
    assert {row.speaker for row in found if isinstance(row, Row)} == {"103"}
    assert found[2].text == "Two." and found[2].audio == str(folder / "103_1241_2.wav")
    assert "1241_1.normalized.txt" in found[1].error
    with pytest.raises(ValueError, match="no \\*.normalized.txt"):
        libritts_source(folder / "103_1241_0.wav")


@pytest.fixture
def hub_folder(tmp_path, clips):
    """A dataset in the format of the hub: two files with three recordings each."""
    text, number = datasets.Value("string"), datasets.Value("int32")
    features = datasets.Features({"sound": datasets.Audio(), "transcript": text, "voice": number})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for number in range(2):
        sounds = [{"bytes": path.read_bytes(), "path": path.name} for path in clips[3 * number : 3 * number + 3]]
        columns = {"sound": sounds, "transcript": ["Hello."] * 3, "voice": [number] * 3}
        file = tmp_path / "hub" / "data" / f"train-{number:05d}-of-00002.parquet"
        pq.write_table(pa.table(columns, schema=features.arrow_schema), file)
    return str(tmp_path / "hub")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_of_the_hub(hub_folder, clips, streaming):
    columns = {"audio_column": "sound", "text_column": "transcript", "speaker_column": "voice"}
    source = hub_source(hub_folder, rows_per_part=4, streaming=streaming, **columns)
    assert source.num_parts == 2
    found = rows(source)
    assert [row.speaker for row in found] == [0, 0, 0, 1, 1, 1]
    assert len({row.id for row in found}) == 6 and found == rows(source)
    assert [row.audio["bytes"] for row in found] == [path.read_bytes() for path in clips[:6]]
    part = [row.id for row in source.read(1)]
    assert part == [row.id for row in found[-3:]]


def test_columns_that_the_hub_does_not_have_are_named(hub_folder):
    with pytest.raises(ValueError, match="'transcript'.*no audio, text"):
        hub_source(hub_folder, rows_per_part=4)


def test_textgrids_are_found_by_id(tmp_path):
    (tmp_path / "a.csv").write_text("file,text\ns1/1.wav,One.\ns2/1.wav,Two.\ns1/2.wav,Three.\ns1/3.wav,Four.\n")
    for name in ("out/s1/1", "out/s2/1", "out/2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.TextGrid").touch()
    found = rows(with_textgrids(table_source(tmp_path / "a.csv"), tmp_path / "out"))
    assert [row.textgrid for row in found[:3]] == [
        str(tmp_path / f"out/{name}.TextGrid") for name in ("s1/1", "s2/1", "2")
    ]
    assert "0 files" in found[3].error
    with pytest.raises(ValueError, match="no \\*.TextGrid"):
        with_textgrids(table_source(tmp_path / "a.csv"), tmp_path / "wavs")


def test_speeds_are_further_speakers(tmp_path):
    (tmp_path / "a.csv").write_text("id,speaker,file,text\nx,ann,x.wav,Hello.\ny,bob,,None.\n")
    source = table_source(tmp_path / "a.csv")
    rows = list(with_speeds(source, [0.9, 1.1]).read(0))
    assert [row.id for row in rows if isinstance(row, Row)] == ["x", "x@0.9", "x@1.1"]
    assert [row.speaker for row in rows if isinstance(row, Row)] == ["ann", "ann@0.9", "ann@1.1"]
    assert [row.speed for row in rows if isinstance(row, Row)] == [1.0, 0.9, 1.1]
    assert sum(isinstance(row, UnreadableRow) for row in rows) == 1
    assert len({with_speeds(source, speeds).identity for speeds in ([0.9], [0.9, 1.1])} | {source.identity}) == 3
    for speeds in ([1.0], [0.1], [0.9, 0.9]):
        with pytest.raises(ValueError, match="speeds are"):
            with_speeds(source, speeds)


def test_speakers_can_be_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("id,speaker,file,text\nx,ann,x.wav,Hello.\ny,bob,,None.\nz,237,z.wav,No.\n")
    source = table_source(tmp_path / "a.csv")
    left = without_speakers(source, ["237", "carl"])
    found = list(left.read(0))
    assert [row.id for row in found if isinstance(row, Row)] == ["x"] and len(found) == 2
    assert left.identity != source.identity


def test_identity_changes_with_the_rows(tmp_path):
    identities = set()
    for text in ("One.", "Two."):
        (tmp_path / "a.csv").write_text(f"file,text\n1.wav,{text}\n")
        identities |= {table_source(tmp_path / "a.csv").identity for _ in range(2)}
    assert len(identities) == 2
