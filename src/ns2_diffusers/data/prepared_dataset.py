"""Prepared datasets: Parquet shards, the codec and tokenizer that made them, and a card that is written last."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..files import whole_file, whole_folder, write_text

CARD_NAME = "dataset_card.json"
REJECTED_NAME = "rejected.jsonl"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class PreparedRow:
    """An utterance of a prepared dataset, with numbers as arrays, tensors or lists.

    Args:
        id: a unique id.
        speaker, text: strings.
        phonemes: a string.
        durations: (N,) frames of each symbol that the tokenizer makes from the phonemes, start and end included;
            empty if the dataset is not aligned.
        codes: (Q, T).
        f0: (T,) in Hz, 0 where unvoiced.
        n_frames: T.
        sung: whether durations and F0 are those of a song; a model that reads text must not learn them.
    """

    id: str
    speaker: str
    text: str
    phonemes: str
    durations: Any
    codes: Any
    f0: Any
    n_frames: int
    sung: bool = False


COLUMNS = tuple(field.name for field in fields(PreparedRow))


def write_prepared_dataset(rows: Iterable[PreparedRow], directory: str | Path, codec: Any, tokenizer: Any) -> None:
    """Write a small dataset from memory, completely or not at all.

    Args:
        rows: the rows; either all have durations or none has.
        directory: directory to write; a prepared dataset in it is replaced.
        codec, tokenizer: the ones that made the codes and the phonemes; they are saved with the rows.

    Raises:
        ValueError: there are no rows; a row's lengths disagree; `directory` is something else.
    """
    rows = [_checked(row, tokenizer) for row in rows]
    if not rows:
        raise ValueError(f"there is nothing to write to {directory}: no utterance was prepared.")
    aligned = {bool(row.durations) for row in rows}
    if len(aligned) > 1:
        raise ValueError("some utterances have durations and some have none: give all of them durations, or none.")
    directory = Path(directory)
    if directory.exists() and not (directory / CARD_NAME).exists():
        raise ValueError(f"{directory} exists and is not a prepared dataset: choose another directory.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    counts = {"utterances": len(rows), "frames": sum(row.n_frames for row in rows), "rejected": 0}
    with whole_folder(directory, replace=True) as partial:
        write_shard(rows, partial / shard_name(0))
        write_text(partial / REJECTED_NAME, "")
        write_parts_and_card(partial, codec, tokenizer, {"aligned": aligned.pop(), **counts})


def load_prepared_datasets(directories: Sequence[str | Path], codec: Any, tokenizer: Any) -> Any:
    """The `datasets.Dataset` of several directories, concatenated; see `load_prepared_dataset`.

    Raises:
        ValueError: one of them cannot be loaded, an id occurs in two of them, or only some of them have durations.
    """
    aligned = {bool(read_card(directory)["aligned"]) for directory in directories}
    if len(aligned) > 1:
        raise ValueError(
            "some of the datasets have durations and some have none: align those that have none with "
            "examples/align_dataset.py."
        )
    parts = [load_prepared_dataset(directory, codec, tokenizer) for directory in directories]
    if len(parts) == 1:
        return parts[0]
    together = import_datasets().concatenate_datasets(parts)
    repeated = [id_ for id_, count in Counter(together["id"]).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{len(repeated)} ids are in two of the datasets, such as {repeated[0]!r}: leave out one of them, or "
            "give the utterances of one other ids."
        )
    return together


def load_prepared_dataset(directory: str | Path, codec: Any, tokenizer: Any) -> Any:
    """The `datasets.Dataset` in `directory`, memory-mapped; it must fit this codec and this tokenizer.

    Raises:
        ValueError: there is none, or it was made with others; the message has both fingerprints.
    """
    card = read_card(directory)
    for key, wanted in describe(codec, tokenizer).items():
        if card.get(key) != wanted:
            raise ValueError(
                f"{directory} was prepared with {key} {card.get(key)!r} and the model has {wanted!r}: prepare it "
                "again with this model's codec and tokenizer, or train the model that fits it."
            )
    return import_datasets().Dataset.from_parquet([str(shard) for shard in shards(directory)])


def update_durations(
    directory: str | Path,
    durations: Mapping[str, Sequence[int]],
    phonemes: Mapping[str, str] | None = None,
    rejected: Mapping[str, str] | None = None,
) -> None:
    """Set the durations of every utterance and mark the dataset as aligned.

    Shards are rewritten one by one, each completely or not at all. Meanwhile the card says `aligned: false`: if the
    process is killed, call this again.

    Args:
        directory: a prepared dataset.
        durations: by id: frames of each symbol that the tokenizer makes from the phonemes, start and end included.
        phonemes: by id: the phonemes that the durations belong to, if they differ from those of the dataset.
        rejected: by id: reasons to remove utterances from the dataset; they are listed in `rejected.jsonl`.

    Raises:
        ValueError: an utterance has no durations, or they do not sum to its frames; no utterance would be left.
            Nothing is changed then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    card, rejected = read_card(directory), rejected or {}
    kept, gone = {}, set()
    for shard in shards(directory):
        table = pq.read_table(shard, columns=["id", "n_frames"])
        for id_, n_frames in zip(*(table[name].to_pylist() for name in ("id", "n_frames")), strict=True):
            if id_ in rejected:
                gone.add(id_)
                continue
            kept[id_], given = n_frames, durations.get(id_)
            if given is None or sum(given) != n_frames:
                what = "none were given" if given is None else f"those given sum to {sum(given)}"
                raise ValueError(f"utterance {id_!r} needs durations that sum to {n_frames} frames; {what}.")
    if not kept:
        raise ValueError(f"all {len(gone)} utterances of {directory} are rejected: there is nothing to align.")
    _write_card(directory, {**card, "aligned": False})
    if gone:
        path = Path(directory) / REJECTED_NAME
        lines = [json.dumps({"id": id_, "reason": rejected[id_]}, ensure_ascii=False) + "\n" for id_ in sorted(gone)]
        write_text(path, (path.read_text(encoding="utf-8") if path.exists() else "") + "".join(lines))
    for shard in shards(directory):
        table = pq.read_table(shard)
        table = table.filter(pa.array([id_ in kept for id_ in table["id"].to_pylist()]))
        ids = table["id"].to_pylist()
        values: dict[str, list[Any]] = {"durations": [[int(frames) for frames in durations[id_]] for id_ in ids]}
        if phonemes:
            before = table["phonemes"].to_pylist()
            values["phonemes"] = [phonemes.get(id_, own) for id_, own in zip(ids, before, strict=True)]
        for name, column in values.items():
            index = table.schema.get_field_index(name)
            field = table.schema.field(index)
            table = table.set_column(index, field, pa.array(column, type=field.type))
        with whole_file(shard) as partial:
            pq.write_table(table, partial)
    counts = {"utterances": len(kept), "frames": sum(kept.values()), "rejected": card["rejected"] + len(gone)}
    _write_card(directory, {**card, **counts, "aligned": True})


def read_card(directory: str | Path) -> dict[str, Any]:
    """The card of a dataset: `describe`, `aligned`, `utterances`, `frames`, `rejected`; for a large one also the
    `arguments` that it was prepared with.

    Raises:
        ValueError: there is no complete dataset.
    """
    card = Path(directory) / CARD_NAME
    if not card.exists():
        raise ValueError(
            f"{directory} holds no prepared dataset (no {CARD_NAME}): make one with examples/prepare_dataset.py."
        )
    return json.loads(card.read_text(encoding="utf-8"))


def shards(directory: str | Path) -> list[Path]:
    """The Parquet files of a dataset, in order."""
    return sorted(Path(directory).glob("data-*.parquet"))


def shard_name(number: int) -> str:
    return f"data-{number:05d}.parquet"


def describe(codec: Any, tokenizer: Any) -> dict[str, Any]:
    """The properties that a dataset and a model must have in common."""
    return {
        "format_version": FORMAT_VERSION,
        "sampling_rate": codec.sampling_rate,
        "hop_length": codec.hop_length,
        "codec_fingerprint": codec.fingerprint,
        "tokenizer_fingerprint": tokenizer.fingerprint,
    }


def write_shard(rows: Sequence[PreparedRow], path: Path) -> None:
    """Write rows to a Parquet file, completely or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = dict.fromkeys(COLUMNS, pa.string()) | {"durations": pa.list_(pa.int32()), "n_frames": pa.int32()}
    types |= {"codes": pa.list_(pa.list_(pa.int16())), "f0": pa.list_(pa.float32()), "sung": pa.bool_()}
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns["codes"] = [list(codes) for codes in columns["codes"]]
    table = pa.table(columns, schema=pa.schema(types))
    with whole_file(path) as partial:
        pq.write_table(table, partial)


def write_parts_and_card(directory: Path, codec: Any, tokenizer: Any, contents: dict[str, Any]) -> None:
    """Save codec and tokenizer into `directory`, then the card, which marks the dataset as complete.

    Args:
        contents: entries of the card in addition to `describe`.
    """
    codec.save_pretrained(directory / "codec")
    tokenizer.save_pretrained(directory / "tokenizer")
    _write_card(directory, {**describe(codec, tokenizer), **contents})


def import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError('prepared datasets need `datasets`: pip install "ns2-diffusers[train]".') from error
    return datasets


def _write_card(directory: str | Path, card: dict[str, Any]) -> None:
    write_text(Path(directory) / CARD_NAME, json.dumps(card, indent=2, ensure_ascii=False) + "\n")


def _checked(row: PreparedRow, tokenizer: Any) -> PreparedRow:
    """The row with lists in place of arrays and tensors; raises if its lengths disagree."""
    row = PreparedRow(**{column: _plain(getattr(row, column)) for column in COLUMNS})
    lengths = {"frames of codes": len(row.codes[0]), "frames of f0": len(row.f0)}
    if row.durations:
        lengths["sum of durations"] = sum(row.durations)
    if set(lengths.values()) != {row.n_frames}:
        raise ValueError(f"utterance {row.id!r} has {row.n_frames} frames, but {lengths}: they must agree.")
    symbols = len(tokenizer(row.phonemes, is_phonemes=True)["input_ids"])
    if row.durations and len(row.durations) != symbols:
        raise ValueError(
            f"utterance {row.id!r} has {symbols} symbols, start and end included, and {len(row.durations)} durations: "
            "wanted one each."
        )
    return row


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
