"""Sources of utterances; each yields plain rows.

A row that its source cannot read becomes an `UnreadableRow`. It is reported together with other damaged rows, and
reading continues with the next row.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .prepared_dataset import import_datasets

SPEAKER = "speaker"  # the speaker of rows without one


@dataclass(frozen=True)
class Row:
    """An unchecked utterance of a source.

    Args:
        id: id of the utterance; anything that can be converted to a string.
        speaker: name of the speaker; likewise.
        text: text that is spoken.
        audio: a path, or a dict with `bytes` and `path`.
        phonemes: phonemes of the text, if the source has them.
        durations: durations of the symbols, in a unit that the reader of the rows must know.
        textgrid: path of a TextGrid with phones and their durations.
        speed: playback speed of the recording.
        sung: whether it is a song.
    """

    id: Any
    speaker: Any
    text: Any
    audio: Any
    phonemes: str | None = None
    durations: Any = None
    textgrid: str | None = None
    speed: float = 1.0
    sung: bool = False


@dataclass(frozen=True)
class UnreadableRow:
    """A row that could not be read, with the reason."""

    id: Any
    error: str
    audio: Any = None


@dataclass(frozen=True)
class Source:
    """Rows in parts that can be read independently of each other.

    Args:
        read: function from the index of a part to its rows, the same in the same order each time.
        identity: a text that changes if the list of rows does.
        num_parts: number of parts.
    """

    read: Callable[[int], Iterator[Row | UnreadableRow]]
    identity: str
    num_parts: int = 1


def table_source(path: str | Path, audio_path: str | None = None) -> Source:
    """A CSV, or JSONL (any other suffix), with `audio` or `file`, `text`, and the optional columns of a row.

    Audio paths are relative to the file. `id` defaults to the path of the audio without suffix, and `speaker` to one
    speaker for all rows; `durations` are a list, or in a CSV numbers with spaces between them; `sung` is true for
    songs, in a CSV `true` or `false`.

    Args:
        audio_path: path of the audio of a row without `audio` and `file`, such as `audio/{id}.ogg`.

    Raises:
        ValueError: the file does not exist, or the header of the CSV lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no {path}: give a CSV or JSONL file of your recordings.")
    read = _csv_lines if path.suffix.lower() == ".csv" else _json_lines
    if read is _csv_lines:
        _check_header(path, audio_path)

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for line, fields in read(path):
            try:
                yield _table_row(fields, path.parent, audio_path)
            except (LookupError, TypeError, ValueError) as error:
                yield UnreadableRow(f"{path.name}:{line}", f"line {line} of {path.name}: {error}")

    return Source(rows, _digest(path.read_bytes()))


def ljspeech_source(directory: str | Path) -> Source:
    """An LJSpeech folder: `metadata.csv` with lines `id|text|normalised text`, and `wavs/id.wav`. One speaker.

    Raises:
        ValueError: there is no `metadata.csv`.
    """
    directory = Path(directory)
    metadata = directory / "metadata.csv"
    if not metadata.is_file():
        raise ValueError(f"{directory} has no metadata.csv: give the folder that LJSpeech unpacks to.")

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        with open(metadata, "rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    fields = line.decode("utf-8-sig").strip().split("|")
                except UnicodeDecodeError as error:
                    yield UnreadableRow(f"{metadata.name}:{number}", f"line {number} is not UTF-8 ({error})")
                    continue
                text = next((field for field in fields[:0:-1] if field.strip()), "")
                yield Row(fields[0], SPEAKER, text, f"{directory}/wavs/{fields[0]}.wav")

    return Source(rows, _digest(metadata.read_bytes()))


def librispeech_source(directory: str | Path) -> Source:
    """A LibriSpeech folder, such as train-clean-100 or Mini LibriSpeech's train-clean-5.

    Its transcripts, `speaker/chapter/*.trans.txt` with lines `ID TEXT` next to the audio `ID.flac`, are in capitals
    and without punctuation; they are read in lower case. Missing audio is an unreadable row.

    Raises:
        ValueError: there is no transcript.
    """
    directory = Path(directory)
    transcripts = sorted(directory.rglob("*.trans.txt"))
    if not transcripts:
        raise ValueError(f"{directory} has no *.trans.txt: give a folder of LibriSpeech, such as train-clean-100.")

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for transcript in transcripts:
            speaker = transcript.parent.parent.name or SPEAKER
            for line in transcript.read_text(encoding="utf-8").splitlines():
                id_, _, text = line.partition(" ")
                audio = transcript.parent / f"{id_}.flac"
                if not audio.exists():
                    yield UnreadableRow(id_, f"there is no {audio.name} beside {transcript.name}", str(audio))
                else:
                    yield Row(id_, speaker, text.strip().lower(), str(audio))

    return Source(rows, _digest(b"".join(transcript.read_bytes() for transcript in transcripts)))


def libritts_source(directory: str | Path) -> Source:
    """A LibriTTS folder: `speaker/chapter/*.wav` (or flac) next to `.normalized.txt`, at any depth.

    Raises:
        ValueError: there is no text.
    """
    directory = Path(directory)
    suffixes = (".normalized.txt", ".wav", ".flac")
    stems: dict[str, set[str]] = {}
    for path in directory.rglob("*"):
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix:
            stems.setdefault(str(path)[: -len(suffix)], set()).add(suffix)
    if not any(suffixes[0] in found for found in stems.values()):
        raise ValueError(f"{directory} has no *.normalized.txt: give a folder of LibriTTS, such as train-clean-100.")
    order = sorted(stems)

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for stem in order:
            id_, speaker = Path(stem).name, Path(stem).parent.parent.name or SPEAKER
            audio = stem + (".flac" if ".flac" in stems[stem] else ".wav")
            try:
                text = Path(stem + suffixes[0]).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                yield UnreadableRow(id_, f"{stem}{suffixes[0]} cannot be read ({error})", audio)
            else:
                yield Row(id_, speaker, text, audio)

    listing = "\n".join(str(Path(stem).relative_to(directory)) for stem in order)
    return Source(rows, _digest(os.fsencode(listing)))


def hub_source(
    name: str,
    rows_per_part: int,
    config_name: str | None = None,
    split: str = "train",
    revision: str | None = None,
    streaming: bool = False,
    audio_column: str = "audio",
    text_column: str = "text",
    speaker_column: str | None = None,
    id_column: str | None = None,
) -> Source:
    """A dataset on the hub, or anything else that `datasets.load_dataset` accepts.

    Its parts are slices of `rows_per_part` rows; for a stream they are its files.

    Args:
        revision: commit of the hub's repository; without it the dataset may change during a long preparation.
        streaming: read the audio when it is needed, instead of downloading all of it first.
        id_column: column of the ids; if None, ids are made from part and row.

    Raises:
        ValueError: a column does not exist.
    """
    datasets = import_datasets()
    dataset = datasets.load_dataset(name, config_name, split=split, revision=revision, streaming=streaming)
    given = {"audio": audio_column, "text": text_column, "speaker": speaker_column, "id": id_column}
    columns = {key: column for key, column in given.items() if column is not None}
    known = dataset.column_names or next(iter(dataset)).keys()
    unknown = sorted(set(columns.values()) - set(known))
    if unknown:
        raise ValueError(f"{name} has the columns {sorted(known)} and no {', '.join(unknown)}: name the right ones.")
    # Audio is not decoded here, because a file that cannot be decoded would end the iteration.
    dataset = dataset.select_columns(list(columns.values())).cast_column(audio_column, datasets.Audio(decode=False))
    num_parts = dataset.num_shards if streaming else max(1, -(-len(dataset) // rows_per_part))

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for index, fields in enumerate(dataset.shard(num_parts, part, contiguous=True)):
            defaults = {"id": f"{split}-{part:05d}-{index:06d}", "speaker": SPEAKER}
            yield Row(**(defaults | {key: fields[column] for key, column in columns.items()}))

    return Source(rows, _digest(f"{num_parts} {dataset.info.splits}".encode()), num_parts)


def without_speakers(source: Source, speakers: Collection[str]) -> Source:
    """Leave out the rows of some speakers, such as speakers for evaluation."""
    left_out = set(map(str, speakers))

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for row in source.read(part):
            if not (isinstance(row, Row) and str(row.speaker) in left_out):
                yield row

    return replace(source, read=rows, identity=_digest(f"{source.identity} {sorted(left_out)}".encode()))


def with_speeds(source: Source, speeds: Sequence[float]) -> Source:
    """Add every row again at other speeds, with changed pitch, as additional speakers (Ko et al., 2015).

    Args:
        speeds: playback speeds; 1.1 is 10 % faster and higher.

    Raises:
        ValueError: a speed is not between 0.5 and 2, is 1, or occurs twice.
    """
    if any(not 0.5 <= speed <= 2 or speed == 1 for speed in speeds) or len(set(speeds)) < len(speeds):
        raise ValueError(f"speeds are {list(speeds)}: give different ones between 0.5 and 2, without 1.")

    def rows(part: int) -> Iterator[Row | UnreadableRow]:
        for row in source.read(part):
            yield row
            if isinstance(row, Row):
                for speed in speeds:
                    yield replace(row, id=f"{row.id}@{speed:g}", speaker=f"{row.speaker}@{speed:g}", speed=speed)

    return replace(source, read=rows, identity=_digest(f"{source.identity} {list(speeds)}".encode()))


def with_textgrids(source: Source, directory: str | Path) -> Source:
    """Add to each row the TextGrid below `directory` whose name is the end of the row's id.

    Raises:
        ValueError: there is no TextGrid.
    """
    directory = Path(directory)
    found = defaultdict(list)
    for path in sorted(directory.rglob("*.TextGrid")):
        found[path.stem].append(path)
    if not found:
        raise ValueError(f"{directory} has no *.TextGrid: give the folder that the aligner wrote.")

    def find(row: Row | UnreadableRow) -> Row | UnreadableRow:
        if isinstance(row, UnreadableRow):
            return row
        id_ = str(row.id)
        paths = found.get(id_.rsplit("/", 1)[-1], [])
        if len(paths) > 1:
            paths = [path for path in paths if str(path.with_suffix("")).endswith(f"/{id_}")]
        if len(paths) != 1:
            error = f"{len(paths)} files in {directory} are named {id_}.TextGrid: one is needed"
            return UnreadableRow(row.id, error, row.audio)
        return replace(row, textgrid=str(paths[0]))

    identity = _digest(os.fsencode("\n".join([source.identity, *sorted(found)])))
    return replace(source, read=lambda part: map(find, source.read(part)), identity=identity)


def _check_header(path: Path, audio_path: str | None) -> None:
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file), [])
    if "text" not in header or not ({"audio", "file"} & set(header) or audio_path):
        raise ValueError(f"{path} has the columns {header}; wanted `text` and `audio` (or `file`).")


def _csv_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number at the end of each row, and its fields; bytes that are not UTF-8 become surrogates."""
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        while True:
            fields: Any
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                fields = error
            else:
                if any("\n" in value for value in fields.values() if isinstance(value, str)):
                    fields = ValueError("a text goes over several lines: is a quotation mark not closed?")
            yield reader.line_num, fields


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line.decode("utf-8-sig"))
                except ValueError as error:
                    yield number, error


def _table_row(fields: Any, folder: Path, audio_path: str | None) -> Row:
    if isinstance(fields, Exception):
        raise ValueError(f"it cannot be read ({fields})")
    if not isinstance(fields, dict):
        raise ValueError(f"it holds a {type(fields).__name__}: wanted an object with `audio` and `text`")
    if None in fields:
        raise ValueError("it has more fields than the header: put a text with commas in quotation marks")
    audio = fields.get("audio") or fields.get("file")
    if not audio and audio_path:
        audio = audio_path.format_map(fields)
    if not audio:
        raise ValueError("it names no audio: wanted a path in `audio` or `file`")
    # Files in the folders of different speakers often have the same names.
    name = Path(audio).stem if Path(audio).is_absolute() else Path(audio).with_suffix("").as_posix()
    durations = fields.get("durations") or None
    if isinstance(durations, str):
        durations = [float(value) for value in durations.split()]
    return Row(
        fields.get("id") or name,
        fields.get("speaker") or SPEAKER,
        fields.get("text"),
        str(folder / audio),
        fields.get("phonemes") or None,
        durations,
        sung=_as_bool(fields.get("sung")),
    )


def _as_bool(value: Any) -> bool:
    if value in ("true", "false", ""):
        return value == "true"
    if value not in (True, False, None):
        raise ValueError(f"its `sung` is {value!r}: wanted true or false")
    return bool(value)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
