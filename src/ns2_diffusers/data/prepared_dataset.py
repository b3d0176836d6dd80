"""Prepared datasets: Parquet rows and a card that says which codec and tokenizer made them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COLUMNS = ("id", "speaker", "text", "phonemes", "durations", "codes", "f0", "n_frames")
CARD_NAME = "dataset_card.json"
PARQUET_NAME = "data.parquet"
FORMAT_VERSION = 1


def write_prepared_dataset(rows: Iterable[dict[str, Any]], directory: str | Path, codec: Any, tokenizer: Any) -> None:
    """Write rows and card beside `directory`, then rename: it is there whole or not at all.

    Args:
        rows: dicts with `COLUMNS`: `phonemes` a string; `durations` frames of each symbol that
            the tokenizer makes of them; `codes`
            (Q, T); `f0` (T,) in Hz, 0 unvoiced; `n_frames` T.
        directory: replaced if it holds a prepared dataset already.
        codec, tokenizer: what made the codes and the phonemes; their fingerprints go into the card.

    Raises:
        ValueError: there are no rows; a row's lengths disagree; `directory` is something else.
    """
    datasets = _import_datasets()
    rows = [_checked(row, tokenizer) for row in rows]
    if not rows:
        raise ValueError(f"there is nothing to write to {directory}: no utterance was prepared.")
    directory = Path(directory)
    if directory.exists() and not (directory / CARD_NAME).exists():
        raise ValueError(f"{directory} exists and is no prepared dataset: choose another directory.")
    beside = directory.with_name(directory.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    datasets.Dataset.from_list(rows).to_parquet(beside / PARQUET_NAME)
    card = {**describe(codec, tokenizer), "utterances": len(rows), "frames": sum(r["n_frames"] for r in rows)}
    (beside / CARD_NAME).write_text(json.dumps(card, indent=2) + "\n")
    shutil.rmtree(directory, ignore_errors=True)
    beside.rename(directory)


def load_prepared_dataset(directory: str | Path, codec: Any, tokenizer: Any) -> Any:
    """The `datasets.Dataset` in `directory`, if it was made with this codec and this tokenizer.

    Raises:
        ValueError: there is none, or it was made with others; the message has both fingerprints.
    """
    datasets = _import_datasets()
    directory = Path(directory)
    if not (directory / CARD_NAME).exists():
        raise ValueError(
            f"{directory} holds no prepared dataset (no {CARD_NAME}): make one with examples/prepare_dataset.py."
        )
    card = json.loads((directory / CARD_NAME).read_text())
    for key, wanted in describe(codec, tokenizer).items():
        if card.get(key) != wanted:
            raise ValueError(
                f"{directory} was prepared with {key} {card.get(key)!r} and the model has {wanted!r}: prepare it "
                "again with this model's codec and tokenizer, or train the model that fits it."
            )
    return datasets.Dataset.from_parquet(str(directory / PARQUET_NAME), keep_in_memory=True)


def describe(codec: Any, tokenizer: Any) -> dict[str, Any]:
    """What a dataset and a model must agree on."""
    return {
        "format_version": FORMAT_VERSION,
        "sampling_rate": codec.sampling_rate,
        "hop_length": codec.hop_length,
        "codec_fingerprint": codec.fingerprint,
        "tokenizer_fingerprint": tokenizer.fingerprint,
    }


def _checked(row: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    missing = [column for column in COLUMNS if column not in row]
    if missing:
        raise ValueError(f"utterance {row.get('id')!r} lacks {missing}: a row has {COLUMNS}.")
    row = {column: _plain(row[column]) for column in COLUMNS}
    lengths = {
        "sum of durations": sum(row["durations"]),
        "frames of codes": len(row["codes"][0]),
        "frames of f0": len(row["f0"]),
    }
    if set(lengths.values()) != {row["n_frames"]}:
        raise ValueError(f"utterance {row['id']!r} has {row['n_frames']} frames, but {lengths}: they must agree.")
    symbols = len(tokenizer(row["phonemes"], is_phonemes=True)["input_ids"])
    if len(row["durations"]) != symbols:
        raise ValueError(
            f"utterance {row['id']!r} has {symbols} symbols, start and end included, and {len(row['durations'])} "
            "durations: wanted one each."
        )
    return row


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ImportError('prepared datasets need `datasets`: pip install "ns2-diffusers[train]".') from error
    return datasets
