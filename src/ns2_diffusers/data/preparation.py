"""Preparation of a dataset: each row by itself, then shards of rows through the codec, then the whole.

`RowPreparer` reads, checks, phonemizes and finds F0, in as many processes as a DataLoader has workers. `encode_shard`
makes codes, in batches of like length. `Preparation` keeps account: a shard is there whole or not at all, whichever
process made it, so that after a kill only the shards that are missing are made.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from ..audio.loading import check_audible, find_speech, load_audio, seconds_in_header
from ..audio.pitch import estimate_f0
from ..files import remove_partial, whole_file, write_text
from ..masks import lengths_mask, pad
from .alignments import end_with_voice, read_textgrid, seconds_to_frames
from .prepared_dataset import (
    CARD_NAME,
    REJECTED_NAME,
    read_card,
    shard_name,
    write_parts_and_card,
    write_shard,
)
from .sources import Row, Source

WORK_NAME = ".preparing"
ARGUMENTS_NAME = "arguments.json"
FULL_SCALE = 0.999


class Rejection(Exception):
    """Why a row is left out: a `reason` of a word or two to count by, and the details."""

    def __init__(self, reason: str, detail: Any):
        super().__init__(reason, str(detail))


@dataclass(frozen=True)
class RowLimits:
    """What a recording must be like.

    Args:
        min_seconds, max_seconds: of speech, after trimming.
        min_sampling_rate: Hz of the recording; below that it has too little of a voice.
        max_clipped: share of samples at full scale; distorted recordings have more.
        trim_db: cut silence before and after the speech, which is so many dB below the loudest; None leaves it.
    """

    min_seconds: float = 0.3
    max_seconds: float = 30.0
    min_sampling_rate: int = 8000
    max_clipped: float = 0.001
    trim_db: float | None = None


class RowPreparer(torch.utils.data.Dataset):
    """Rows of a source to utterances that want only codes. What cannot be used comes back with a reason.

    Args:
        tokenizer: makes phonemes of texts, and says which there are.
        sampling_rate, hop_length: of the codec.
        limits: what is accepted.
        durations_hop_seconds: what a given duration counts in; None: durations in rows are ignored. With it, and for
            rows with a TextGrid, an utterance whose durations do not fit is rejected.
    """

    def __init__(
        self,
        tokenizer: Any,
        sampling_rate: int,
        hop_length: int,
        limits: RowLimits,
        durations_hop_seconds: float | None = None,
    ):
        self.tokenizer, self.limits, self.durations_hop_seconds = tokenizer, limits, durations_hop_seconds
        self.sampling_rate, self.hop_length = sampling_rate, hop_length

    def __getitem__(self, item: tuple[str, Row]) -> tuple[str, Row]:
        """(name of a shard, row) → (the same name, utterance).

        The utterance has `id`, `speaker`, `text`, `phonemes`, their `symbols` (N), `waveform` (samples,) and `f0`
        (ceil(samples / hop),) in float32, `start`, the first sample that was kept, `seconds` (N,) of the symbols or
        None, and `sung`; a rejected one `id`, `audio`, `reason` and `detail`. What is no row (the end of a shard)
        passes.
        """
        name, row = item
        if not isinstance(row, dict):
            return item
        try:
            return name, self._prepare(row)
        except Rejection as rejection:
            reason, detail = rejection.args
        except ImportError:
            raise
        except Exception as error:  # one odd row must not end a week's work: it is reported
            reason, detail = "unforeseen", repr(error)
        return name, rejected(row, reason, detail)

    def _prepare(self, row):
        if "error" in row:
            raise Rejection("unreadable row", row["error"])
        if row["id"] in (None, ""):
            raise Rejection("unreadable row", "it has no id")
        names = {key: str(row[key]) for key in ("id", "speaker")}
        text = row["text"] if isinstance(row["text"], str) else ""
        for key, value in {**names, "text": text}.items():
            if _as_utf8(value) != value:
                raise Rejection("unreadable row", f"its {key} is not UTF-8: save the file in that encoding")
        phonemes, seconds, symbols = self._read_text(row, text)
        speed = row.get("speed", 1.0)
        waveform, start, total = self._read_speech(row["audio"], speed)
        frames = math.ceil(len(waveform) / self.hop_length)
        if seconds is not None:
            seconds = np.asarray(seconds) / speed
            _check_durations(seconds, len(symbols), total / self.sampling_rate)
        elif frames < len(symbols):
            detail = f"{len(symbols)} symbols in {frames} frames: text and recording do not belong together"
            raise Rejection("too fast", detail)
        return {
            **names,
            "text": text,
            "phonemes": phonemes,
            "symbols": symbols,
            "waveform": waveform.numpy(),
            "f0": estimate_f0(waveform, self.sampling_rate, self.hop_length).numpy(),
            "seconds": seconds,
            "start": start,
            "sung": row.get("sung", False),
        }

    def _read_text(self, row, text):
        """Phonemes, seconds of each symbol or None, and the symbols."""
        phonemes, seconds = row.get("phonemes"), None
        if "textgrid" in row:
            try:
                phonemes, seconds = read_textgrid(row["textgrid"], self.tokenizer)
            except ValueError as error:
                raise Rejection("durations", error) from error
        elif self.durations_hop_seconds is not None:
            seconds = _numbers(row.get("durations")) * self.durations_hop_seconds
        if not phonemes and not text.strip():
            raise Rejection("empty text", f"the text is {row['text']!r}")
        try:
            phonemes = phonemes or self.tokenizer.phonemize(text)
            ids = self.tokenizer(phonemes, is_phonemes=True)["input_ids"]
        except (TypeError, ValueError) as error:
            raise Rejection("unspeakable", error) from error
        # As the tokenizer writes them: some signs have two spellings.
        return self.tokenizer.decode(ids), seconds, self.tokenizer.convert_ids_to_tokens(ids)

    def _read_speech(self, audio, speed):
        """Speech at the codec's rate (samples,), its first sample, and how many there were before trimming."""
        limits = self.limits
        # A lecture is not read into memory to find that it is one; with silence trimmed it may be no lecture.
        longest = limits.max_seconds * (1 if limits.trim_db is None else 10)
        file = io.BytesIO(audio["bytes"]) if isinstance(audio, dict) else audio
        if (seconds := seconds_in_header(file)) > longest:
            raise Rejection("too long", f"{seconds:.2f} s, at most {limits.max_seconds:g} s of speech are wanted")
        try:
            waveform, rate = load_audio(audio)
        except (OSError, TypeError, ValueError) as error:
            raise Rejection("unreadable audio", error) from error
        if rate < limits.min_sampling_rate:
            detail = f"it is sampled at {rate} Hz, at least {limits.min_sampling_rate} are wanted"
            raise Rejection("sampling rate", detail)
        clipped = (waveform.abs() >= FULL_SCALE).double().mean().item()
        if clipped > limits.max_clipped:
            raise Rejection("clipped", f"{clipped:.2%} of the samples are at full scale")
        if rate * speed != self.sampling_rate:
            waveform = torch.from_numpy(soxr.resample(waveform.numpy(), rate * speed, self.sampling_rate))
        total, start = len(waveform), 0
        if limits.trim_db is not None and total:
            start, stop = find_speech(waveform, self.sampling_rate, limits.trim_db)
            waveform = waveform[start:stop].clone()
        seconds = len(waveform) / self.sampling_rate
        if not limits.min_seconds <= seconds <= limits.max_seconds:
            reason = "too short" if seconds < limits.min_seconds else "too long"
            detail = f"{seconds:.2f} s of speech, {limits.min_seconds:g} to {limits.max_seconds:g} are wanted"
            raise Rejection(reason, detail)
        try:
            check_audible(waveform, self.sampling_rate, 0, "the recording")
        except ValueError as error:
            raise Rejection("silent", error) from error
        return waveform, start, total


def rejected(row: Row, reason: str, detail: Any) -> Row:
    """The line of `rejected.jsonl` about a row."""
    audio = row.get("audio")
    path = audio.get("path") if isinstance(audio, dict) else audio
    line = {"id": row.get("id"), "audio": path or "", "reason": reason, "detail": detail}
    return {key: _as_utf8(str(value)) for key, value in line.items()}


def _as_utf8(text):
    """With question marks for what UTF-8 cannot hold: the bytes of a file or its name in another encoding."""
    return text.encode("utf-8", "replace").decode()


def _numbers(values):
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Rejection("durations", error) from error
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (values < 0).any():
        raise Rejection("durations", "there is not one number, zero or more, for each symbol")
    return values


def _check_durations(seconds, symbols, total):
    if len(seconds) != symbols:
        detail = f"{len(seconds)} durations for {symbols} symbols, start and end included"
        raise Rejection("durations", detail)
    # Aligners count in steps of 10 ms and more, and leave out or add one at the end.
    if abs(sum(seconds) - total) > 0.1:
        raise Rejection("durations", f"they sum to {sum(seconds):.2f} s, the recording lasts {total:.2f} s")


# -- codes ---------------------------------------------------------------------------------------------------


def encode_utterances(codec: Any, utterances: list[Row], batch_seconds: float) -> tuple[list[Row], list[Row]]:
    """Utterances of `RowPreparer` to rows of a prepared dataset.

    Args:
        codec: on the device where it shall run.
        batch_seconds: of audio in a batch, padding included; batches hold utterances of like length.

    Returns: rows in the same order, and what the codec could not take, for `rejected.jsonl`.
    """
    results = _encode(codec, [utterance["waveform"] for utterance in utterances], batch_seconds)
    rows, rejections = [], []
    for utterance, codes in zip(utterances, results, strict=True):
        if isinstance(codes, Exception):
            rejections.append(rejected(utterance, "unencodable", repr(codes)))
        else:
            rows.append(_finish(codec, utterance, codes))
    return rows, rejections


def _finish(codec, utterance, codes):
    n_frames = codes.shape[1]
    # A codec that works in overlapping chunks has slightly more frames than samples / hop_length.
    nearest = np.arange(n_frames) * len(utterance["f0"]) // n_frames
    f0, durations = utterance["f0"][nearest], []
    if utterance["seconds"] is not None:
        place = utterance["start"], len(utterance["waveform"]), n_frames
        durations = seconds_to_frames(utterance["seconds"], codec.sampling_rate, codec.hop_length, *place)
        durations = end_with_voice(utterance["symbols"], durations, f0)
    return {**utterance, "codes": codes, "f0": f0, "durations": durations, "n_frames": n_frames}


def _encode(codec, waveforms, batch_seconds):
    """Codes (Q, T) int16 of each waveform, or the exception that came instead."""
    results: list[Any] = [None] * len(waveforms)
    budget = batch_seconds * codec.sampling_rate
    order = sorted(range(len(waveforms)), key=lambda index: len(waveforms[index]))
    while order:
        # The longest first: what does not fit into memory fails at once.
        size = max(1, int(budget // len(waveforms[order[-1]])))
        batch, order = order[-size:], order[:-size]
        for index, codes in zip(batch, _encode_batch(codec, [waveforms[i] for i in batch]), strict=True):
            results[index] = codes
    return results


def _encode_batch(codec, waveforms):
    try:
        return _codes(codec, waveforms)
    except (RuntimeError, ValueError) as error:
        if len(waveforms) == 1:
            return [error]
    results = [_encode_batch(codec, [waveform])[0] for waveform in waveforms]
    failures = [result for result in results if isinstance(result, Exception)]
    if len(failures) == len(results):  # not the recordings' fault
        raise failures[0]
    return results


@torch.no_grad()
def _codes(codec, waveforms):
    lengths = [len(waveform) for waveform in waveforms]
    mask = lengths_mask(lengths)
    padded = pad([torch.from_numpy(waveform) for waveform in waveforms])[:, None].expand(-1, codec.channels, -1)
    _, codes = codec.quantize(codec.encode(padded.to(codec.device, codec.dtype), mask.to(codec.device)))
    codes = codes.cpu().numpy().astype(np.int16)
    return [item[:, : codec.latent_length(length)].copy() for item, length in zip(codes, lengths, strict=True)]


@torch.no_grad()
def sum_latents(codec: Any, rows: Iterable[Row]) -> list:
    """Frames, and the sum and sum of squares of each raw channel of the quantised latents (C,)."""
    count, (sums, squares) = 0, torch.zeros(2, codec.latent_channels, dtype=torch.float64)
    for row in rows:
        codes = torch.from_numpy(row["codes"].astype(np.int64))[None].to(codec.device)
        latents = codec.denormalize_latents(codec.codes_to_latents(codes))[0].double().cpu()
        count += latents.shape[1]
        sums, squares = sums + latents.sum(1), squares + latents.square().sum(1)
    return [count, sums.tolist(), squares.tolist()]


def mean_and_std(sums: Iterable[list]) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel (C,) float64, from what `sum_latents` gave for every shard."""
    count, total, squares = (np.sum([np.asarray(part[i]) for part in sums], axis=0) for i in range(3))
    mean = total / count
    # A channel that never moves is divided by a small number, not by zero.
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 1e-6))


# -- shards --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardEnd:
    """Follows the rows of a shard; `last` of its part of the source."""

    last: bool


class Preparation:
    """The account of a dataset that is being made, in `directory/.preparing`.

    A shard is a Parquet file and then, when it is whole, a record: what was rejected, whether it is the last one of
    its part, and sums for the latent statistics. `finish` joins them; the card comes last.

    Args:
        directory: where the dataset shall be.
        arguments: all that decides what will be in it, for JSON; a preparation begun with others is not gone on with.
    """

    def __init__(self, directory: str | Path, arguments: dict[str, Any]):
        self.directory, self.work = Path(directory), Path(directory) / WORK_NAME
        self.arguments = json.loads(json.dumps(arguments))

    def begin(self) -> None:
        """Make the folder or find what is there; by one process, before the others go on.

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

    def _check_arguments(self, before):
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
    ) -> Iterator[tuple[str, Row | ShardEnd]]:
        """Rows of the shards that this process still has to make, each with the shard's name; `ShardEnd`s between.

        Processes share out the parts of a source, or, of one with fewer parts than there are processes, the shards.
        What a shard holds does not depend on how many they are.
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

    def write(self, name: str, end: ShardEnd, rows: list[Row], rejections: list[Row], sums: list | None) -> None:
        """Store a shard: the rows first, the record that makes it whole after them."""
        if rows:
            write_shard(rows, self.work / f"{name}.parquet")
        record = {"last": end.last, "rejected": rejections, "sums": sums}
        write_text(self._record(name), json.dumps(record, ensure_ascii=False))

    def finish(self, source: Source, codec: Any, tokenizer: Any, aligned: bool) -> tuple[dict[str, Any], Counter]:
        """Join the shards, leave out what has the id of an earlier one, and write the card; by one process.

        Args:
            codec: gets the latent statistics that the shards have sums for.

        Returns: the card, and how many rows were rejected for which reason.

        Raises:
            RuntimeError: a shard is missing.
            ValueError: there was not one utterance to keep.
        """
        whole = self._whole_parts()
        if len(whole) < source.num_parts:
            raise RuntimeError(f"shards are missing in {self.work}: start the preparation again to make them.")
        names = [name for part in sorted(whole) for name in whole[part]]
        records = [self._read_record(name) for name in names]
        counts, duplicates = self._join([self.work / f"{name}.parquet" for name in names])
        rejections = [row for record in records for row in record["rejected"]] + duplicates
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rejections]
        write_text(self.directory / REJECTED_NAME, "".join(lines))
        reasons = Counter(row["reason"] for row in rejections)
        if not counts["utterances"]:
            raise ValueError(
                f"there is nothing to write: no row of {len(rejections)} could be used ({dict(reasons)}); "
                f"{self.directory / REJECTED_NAME} says why."
            )
        sums = [record["sums"] for record in records if record["sums"]]
        if sums:
            codec.set_latent_statistics(*mean_and_std(sums))
        contents = {"aligned": aligned, **counts, "rejected": len(rejections), "arguments": self.arguments}
        write_parts_and_card(self.directory, codec, tokenizer, contents)
        shutil.rmtree(self.work)
        return read_card(self.directory), reasons

    def _join(self, paths: list[Path]) -> tuple[dict[str, int], list[Row]]:
        """Put the shards into `directory`, and what has the id of an earlier utterance among the rejected."""
        import pyarrow.parquet as pq

        seen, duplicates, counts, number = set(), [], {"utterances": 0, "frames": 0}, 0
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
            duplicates += [rejected(row, "duplicate id", "an earlier utterance has it already") for row in again]
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
        """The parts of which every shard is there, and the shards' names."""
        found: dict[int, list[str]] = {}
        for path in sorted(self.work.glob("*-*.json")):
            found.setdefault(int(path.stem.split("-")[0]), []).append(path.stem)
        return {part: names for part, names in found.items() if self._is_whole(names)}

    def _record(self, name: str) -> Path:
        return self.work / f"{name}.json"

    def _read_record(self, name: str) -> dict[str, Any]:
        return json.loads(self._record(name).read_text(encoding="utf-8"))

    def _is_whole(self, names: list[str]) -> bool:
        numbers = [int(name.split("-")[1]) for name in names]
        return numbers == list(range(len(names))) and self._read_record(names[-1])["last"]


def _cut(rows: Iterator[Row], size: int) -> Iterator[tuple[list[Row], bool]]:
    """Rows in lists of `size`, each with whether it is the last; of no rows, one empty list."""
    rows = iter(rows)
    piece = list(islice(rows, size))
    while following := list(islice(rows, size)):
        yield piece, False
        piece = following
    yield piece, True


def _link(path: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        with whole_file(target) as partial:
            shutil.copyfile(path, partial)
