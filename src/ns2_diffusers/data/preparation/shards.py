"""Writes shards of rows, and records which are complete.

A shard exists completely or not at all, whichever process made it. After a kill, only missing shards are made.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import tqdm

from ...files import remove_partial, whole_file, write_text
from ..latent_statistics import LatentSums
from ..prepared_dataset import (
    CARD_NAME,
    REJECTED_NAME,
    PreparedRow,
    read_card,
    shard_name,
    write_parts_and_card,
    write_shard,
)
from ..sources import Row, Source, UnreadableRow
from .encoding import encode_utterances, sum_row_latents
from .rows import RejectedRow, RowPreparer, Utterance

WORK_NAME = ".preparing"
ARGUMENTS_NAME = "arguments.json"
Item = TypeVar("Item")


@dataclass(frozen=True)
class ShardEnd:
    """Marks the end of a shard; `last` is True for the last shard of its part of the source."""

    last: bool


class Preparation:
    """State of a preparation, kept in `directory/.preparing`.

    A shard is a Parquet file, followed by a record once it is complete: rejected rows, whether it is the last shard of
    its part, and sums for the latent statistics. `finish` joins the shards and writes the card last.

    Args:
        directory: directory of the dataset.
        arguments: everything that determines the contents, for JSON; a preparation can only be resumed with the same
            arguments.
    """

    def __init__(self, directory: str | Path, arguments: dict[str, Any]):
        self.directory, self.work = Path(directory), Path(directory) / WORK_NAME
        self.arguments = json.loads(json.dumps(arguments))

    def begin(self) -> None:
        """Create or find the folder. One process calls this before the others continue.

        Raises:
            ValueError: the folder holds something else, or a dataset prepared with other arguments.
        """
        if self.is_complete():
            self._check_arguments(read_card(self.directory).get("arguments"))
            shutil.rmtree(self.work, ignore_errors=True)
            return
        if self.directory.exists() and any(self.directory.iterdir()) and not self.work.exists():
            raise ValueError(f"{self.directory} holds something else than a dataset: choose another directory.")
        self.work.mkdir(parents=True, exist_ok=True)
        for folder in (self.directory, self.work):
            remove_partial(folder)
        file = self.work / ARGUMENTS_NAME
        if file.exists():
            self._check_arguments(json.loads(file.read_text(encoding="utf-8")))
        else:
            write_text(file, json.dumps(self.arguments))

    def is_complete(self) -> bool:
        return (self.directory / CARD_NAME).exists()

    def _check_arguments(self, before: dict[str, Any] | None) -> None:
        if before is None:
            raise ValueError(f"{self.directory} holds another dataset: delete it, or choose another directory.")
        keys = sorted(key for key in {*before, *self.arguments} if before.get(key) != self.arguments.get(key))
        if keys:
            changes = ", ".join(f"{key} {before.get(key)!r} → {self.arguments.get(key)!r}" for key in keys)
            raise ValueError(
                f"{self.directory} was prepared with other arguments ({changes}): go on with the same ones, or delete "
                "it, or choose another directory."
            )

    def pending(
        self, source: Source, shard_size: int, process_index: int = 0, num_processes: int = 1
    ) -> Iterator[tuple[str, Row | UnreadableRow | ShardEnd]]:
        """Rows of the shards that this process still has to make, with the shard's name; a `ShardEnd` ends each.

        Processes share the parts of a source; if there are fewer parts than processes, they share the shards. The
        contents of a shard do not depend on the number of processes.
        """
        by_part, whole = source.num_parts >= num_processes, self._whole_parts()
        for part in range(source.num_parts):
            if (by_part and part % num_processes != process_index) or part in whole:
                continue
            for number, (rows, last) in enumerate(_cut(source.read(part), shard_size)):
                name = f"{part:05d}-{number:05d}"
                mine = by_part or number % num_processes == process_index
                if mine and not self._record(name).exists():
                    yield from ((name, row) for row in rows)
                    yield name, ShardEnd(last)

    def write(
        self,
        name: str,
        end: ShardEnd,
        rows: Sequence[PreparedRow],
        rejections: Sequence[RejectedRow],
        sums: LatentSums | None,
    ) -> None:
        """Store a shard: first its rows, then the record that marks it as complete."""
        if rows:
            write_shard(rows, self.work / f"{name}.parquet")
        lines = [asdict(rejection) for rejection in rejections]
        record = {"last": end.last, "rejected": lines, "sums": None if sums is None else asdict(sums)}
        write_text(self._record(name), json.dumps(record, ensure_ascii=False))

    def finish(self, source: Source, codec: Any, tokenizer: Any, aligned: bool) -> tuple[dict[str, Any], Counter]:
        """Join the shards, drop duplicate ids, and write the card. One process calls this.

        Args:
            codec: receives the latent statistics, computed from the sums of the shards.

        Returns: the card, and the number of rejected rows by reason.

        Raises:
            RuntimeError: a shard is missing.
            ValueError: no utterance is left.
        """
        whole = self._whole_parts()
        if len(whole) < source.num_parts:
            raise RuntimeError(f"shards are missing in {self.work}: start the preparation again to make them.")
        names = [name for part in sorted(whole) for name in whole[part]]
        records = [self._read_record(name) for name in names]
        counts, duplicates = self._join([self.work / f"{name}.parquet" for name in names])
        rejections = [RejectedRow(**row) for record in records for row in record["rejected"]] + duplicates
        lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rejections]
        write_text(self.directory / REJECTED_NAME, "".join(lines))
        reasons = Counter(row.reason for row in rejections)
        if not counts["utterances"]:
            raise ValueError(
                f"there is nothing to write: no row of {len(rejections)} could be used ({dict(reasons)}); "
                f"{self.directory / REJECTED_NAME} says why."
            )
        sums = LatentSums.total(LatentSums(**record["sums"]) for record in records if record["sums"])
        if sums.frames:
            codec.set_latent_statistics(*sums.mean_and_std())
        contents = {"aligned": aligned, **counts, "rejected": len(rejections), "arguments": self.arguments}
        write_parts_and_card(self.directory, codec, tokenizer, contents)
        shutil.rmtree(self.work)
        return read_card(self.directory), reasons

    def _join(self, paths: list[Path]) -> tuple[dict[str, int], list[RejectedRow]]:
        """Move the shards into `directory`, and reject rows with the id of an earlier utterance."""
        import pyarrow.parquet as pq

        seen: set[str] = set()
        duplicates: list[RejectedRow] = []
        counts, number = {"utterances": 0, "frames": 0}, 0
        for path in paths:
            if not path.exists():
                continue
            table = pq.read_table(path, columns=["id", "n_frames"]).to_pylist()
            keep = []
            for row in table:
                keep.append(row["id"] not in seen)
                seen.add(row["id"])
            kept = [row for row, wanted in zip(table, keep, strict=True) if wanted]
            again = [row for row, wanted in zip(table, keep, strict=True) if not wanted]
            detail = "an earlier utterance has it already"
            duplicates += [RejectedRow(row["id"], "", "duplicate id", detail) for row in again]
            if kept:
                target = self.directory / shard_name(number)
                if again:
                    whole = pq.read_table(path)
                    with whole_file(target) as partial:
                        pq.write_table(whole.filter(keep), partial)
                else:
                    _link(path, target)
                number += 1
            counts["utterances"] += len(kept)
            counts["frames"] += sum(row["n_frames"] for row in kept)
        return counts, duplicates

    def _whole_parts(self) -> dict[int, list[str]]:
        """The parts whose shards are complete, with the names of the shards."""
        found: dict[int, list[str]] = {}
        for path in sorted(self.work.glob("[0-9]*-*.json")):
            found.setdefault(int(path.stem.split("-")[0]), []).append(path.stem)
        return {part: names for part, names in found.items() if self._is_whole(names)}

    def _record(self, name: str) -> Path:
        return self.work / f"{name}.json"

    def _read_record(self, name: str) -> dict[str, Any]:
        return json.loads(self._record(name).read_text(encoding="utf-8"))

    def _is_whole(self, names: list[str]) -> bool:
        numbers = [int(name.split("-")[1]) for name in names]
        return numbers == list(range(len(names))) and self._read_record(names[-1])["last"]


def _cut(rows: Iterable[Item], size: int) -> Iterator[tuple[list[Item], bool]]:
    """Split rows into lists of `size`, each with whether it is the last; no rows give one empty list."""
    rows = iter(rows)
    piece = list(islice(rows, size))
    while following := list(islice(rows, size)):
        yield piece, False
        piece = following
    yield piece, True


def _link(path: Path, target: Path) -> None:
    """Make a hard link, or a copy if the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        with whole_file(target) as partial:
            shutil.copyfile(path, partial)


def prepare_shards(
    preparation: Preparation,
    source: Source,
    preparer: RowPreparer,
    codec: Any,
    *,
    shard_size: int = 500,
    batch_seconds: float = 60.0,
    num_workers: int = 0,
    measure_latents: bool = False,
    process_index: int = 0,
    num_processes: int = 1,
) -> None:
    """Prepare the missing shards of this process.

    Args:
        preparation: a preparation after `begin`.
        preparer: a preparer with the sampling rate and hop of the codec.
        codec: the codec, on the device that runs it.
        shard_size: rows per shard; a kill loses at most so many.
        batch_seconds: seconds of audio in a batch of the codec, padding included.
        num_workers: number of processes that read, phonemize and estimate F0.
        measure_latents: whether to sum the latents for the codec's statistics.
        process_index, num_processes: index of this process and number of processes.
    """
    # The sampler passes the rows to the workers; the results come back in the same order.
    loader = torch.utils.data.DataLoader(
        preparer,
        batch_size=None,
        sampler=preparation.pending(source, shard_size, process_index, num_processes),
        num_workers=num_workers,
        prefetch_factor=16 if num_workers else None,
        collate_fn=_unchanged,
    )
    utterances: list[Utterance] = []
    rejections: list[RejectedRow] = []
    with tqdm(desc="preparing", unit=" rows") as progress:
        for name, item in loader:
            if isinstance(item, ShardEnd):
                rows, failed = encode_utterances(codec, utterances, batch_seconds)
                sums = sum_row_latents(codec, rows) if measure_latents else None
                preparation.write(name, item, rows, rejections + failed, sums)
                utterances, rejections = [], []
            else:
                (utterances if isinstance(item, Utterance) else rejections).append(item)
                progress.update()


def _unchanged(item: Item) -> Item:
    return item
