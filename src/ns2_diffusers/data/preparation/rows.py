"""Reads rows of a source, checks and phonemizes them, and estimates F0, in the workers of a DataLoader."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import soxr
import torch

from ...audio.loading import check_audible, find_speech, load_audio, seconds_in_header
from ...audio.pitch import estimate_f0
from ..alignments import read_textgrid
from ..sources import Row, UnreadableRow

FULL_SCALE = 0.999
Other = TypeVar("Other")


class Rejection(Exception):
    """Raised for a rejected row, with a `reason` of one or two words, and details."""

    def __init__(self, reason: str, detail: Any):
        super().__init__(reason, str(detail))


@dataclass(frozen=True)
class RejectedRow:
    """A line of `rejected.jsonl`: the row's id and audio, the reason, and details."""

    id: str
    audio: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Utterance:
    """A row that was read and checked, ready to be encoded.

    Args:
        id, speaker, text: as in the row.
        phonemes: phonemes in the tokenizer's canonical form.
        symbols: (N,) symbols of the phonemes, start and end included.
        waveform: (samples,) float32 at the codec's sampling rate.
        f0: (ceil(samples / hop),) float32 in Hz, 0 where unvoiced.
        seconds: (N,) durations of the symbols, or None if unknown.
        start: first sample of the resampled recording that was kept.
        sung: whether durations and F0 are those of a song.
    """

    id: str
    speaker: str
    text: str
    phonemes: str
    symbols: Sequence[str]
    waveform: np.ndarray
    f0: np.ndarray
    seconds: np.ndarray | None = None
    start: int = 0
    sung: bool = False


@dataclass(frozen=True)
class RowLimits:
    """Limits that a recording must meet.

    Args:
        min_seconds, max_seconds: duration of speech, after trimming.
        min_sampling_rate: Hz of the recording; recordings at lower rates lack a part of the voice.
        max_clipped: maximum share of samples at full scale; distorted recordings have more.
        trim_db: level of silence below the loudest window, in dB, for trimming before and after the speech; None does
            not trim.
    """

    min_seconds: float = 0.3
    max_seconds: float = 30.0
    min_sampling_rate: int = 8000
    max_clipped: float = 0.001
    trim_db: float | None = None


class RowPreparer(torch.utils.data.Dataset):
    """Converts rows of a source to utterances without codes. Unusable rows are returned with a reason.

    Args:
        tokenizer: converts texts to phonemes and checks phonemes.
        sampling_rate, hop_length: values of the codec.
        limits: limits of accepted recordings.
        durations_hop_seconds: unit of given durations in seconds; None ignores the durations of rows. With it, and for
            rows with a TextGrid, an utterance is rejected if its durations do not fit.
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

    def __getitem__(
        self, item: tuple[str, Row | UnreadableRow | Other]
    ) -> tuple[str, Utterance | RejectedRow | Other]:
        """(name of a shard, row) → (the same name, utterance or rejected row); a `ShardEnd` is returned unchanged."""
        name, row = item
        if not isinstance(row, (Row, UnreadableRow)):
            return name, row
        try:
            return name, self._prepare(row)
        except Rejection as rejection:
            reason, detail = rejection.args
        except ImportError:
            raise
        except Exception as error:  # an unexpected row is reported; it must not end a preparation of days
            reason, detail = "unforeseen", repr(error)
        return name, rejected(row, reason, detail)

    def _prepare(self, row: Row | UnreadableRow) -> Utterance:
        if isinstance(row, UnreadableRow):
            raise Rejection("unreadable row", row.error)
        if row.id in (None, ""):
            raise Rejection("unreadable row", "it has no id")
        names: dict[str, Any] = {"id": str(row.id), "speaker": str(row.speaker)}
        text = row.text if isinstance(row.text, str) else ""
        for key, value in {**names, "text": text}.items():
            if _as_utf8(value) != value:
                raise Rejection("unreadable row", f"its {key} is not UTF-8: save the file in that encoding")
        phonemes, seconds, symbols = self._read_text(row, text)
        waveform, start, total = self._read_speech(row.audio, row.speed)
        frames = math.ceil(len(waveform) / self.hop_length)
        if seconds is not None:
            seconds = np.asarray(seconds) / row.speed
            _check_durations(seconds, len(symbols), total / self.sampling_rate)
        elif frames < len(symbols):
            detail = f"{len(symbols)} symbols in {frames} frames: text and recording do not belong together"
            raise Rejection("too fast", detail)
        f0 = estimate_f0(waveform, self.sampling_rate, self.hop_length).numpy()
        given: dict[str, Any] = {
            "text": text,
            "phonemes": phonemes,
            "symbols": symbols,
            "seconds": seconds,
            "sung": row.sung,
        }
        return Utterance(**names, **given, waveform=waveform.numpy(), f0=f0, start=start)

    def _read_text(self, row: Row, text: str) -> tuple[str, Any, list[str]]:
        """Phonemes, seconds of each symbol or None, and the symbols."""
        phonemes = row.phonemes
        seconds: Any = None
        if row.textgrid is not None:
            try:
                phonemes, seconds = read_textgrid(row.textgrid, self.tokenizer)
            except ValueError as error:
                raise Rejection("durations", error) from error
        elif self.durations_hop_seconds is not None:
            seconds = _numbers(row.durations) * self.durations_hop_seconds
        if not phonemes and not text.strip():
            raise Rejection("empty text", f"the text is {row.text!r}")
        try:
            phonemes = phonemes or self.tokenizer.phonemize(text)
            ids = self.tokenizer(phonemes, is_phonemes=True)["input_ids"]
        except (TypeError, ValueError) as error:
            raise Rejection("unspeakable", error) from error
        # In the tokenizer's form, because some signs have two spellings.
        return self.tokenizer.decode(ids), seconds, self.tokenizer.convert_ids_to_tokens(ids)

    def _read_speech(self, audio: Any, speed: float) -> tuple[torch.Tensor, int, int]:
        """Speech at the codec's rate (samples,), its first sample, and the number of samples before trimming."""
        limits = self.limits
        # A recording that is far too long is not read; one that is slightly too long may fit after trimming.
        longest = limits.max_seconds * (1 if limits.trim_db is None else 10)
        file = io.BytesIO(audio["bytes"]) if isinstance(audio, dict) else audio
        if (seconds := seconds_in_header(file)) > longest:
            raise Rejection("too long", f"{seconds:.2f} s, at most {limits.max_seconds:g} s of speech are wanted")
        try:
            # This only limits files without a length in their header; a longer file is rejected.
            waveform, rate = load_audio(audio, max_seconds=longest + 1)
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


def rejected(row: Row | UnreadableRow | Utterance, reason: str, detail: Any) -> RejectedRow:
    audio = getattr(row, "audio", None)
    path = audio.get("path") if isinstance(audio, dict) else audio
    return RejectedRow(*(_as_utf8(str(value)) for value in (row.id, path or "", reason, detail)))


def _as_utf8(text: str) -> str:
    """The text with question marks for bytes of another encoding, which UTF-8 cannot represent."""
    return text.encode("utf-8", "replace").decode()


def _numbers(values: Any) -> np.ndarray:
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Rejection("durations", error) from error
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or (values < 0).any():
        raise Rejection("durations", "there is not one number, zero or more, for each symbol")
    return values


def _check_durations(seconds: np.ndarray, symbols: int, total: float) -> None:
    if len(seconds) != symbols:
        detail = f"{len(seconds)} durations for {symbols} symbols, start and end included"
        raise Rejection("durations", detail)
    # Aligners work in steps of 10 ms or more, and may leave out or add one at the end.
    if abs(sum(seconds) - total) > 0.1:
        raise Rejection("durations", f"they sum to {sum(seconds):.2f} s, the recording lasts {total:.2f} s")
