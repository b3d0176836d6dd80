"""Encodes utterances to rows of a prepared dataset, in batches of similar length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...masks import lengths_mask, pad
from ..alignments import end_with_voice, seconds_to_frames
from ..latent_statistics import LatentSums
from ..prepared_dataset import PreparedRow
from .rows import RejectedRow, Utterance, rejected


def encode_utterances(
    codec: Any, utterances: Sequence[Utterance], batch_seconds: float
) -> tuple[list[PreparedRow], list[RejectedRow]]:
    """Encode utterances of `RowPreparer` to rows of a prepared dataset.

    Args:
        codec: the codec, on the device that runs it.
        batch_seconds: seconds of audio in a batch, padding included; the utterances of a batch have similar lengths.

    Returns: rows in the same order, and the rows that the codec failed on, for `rejected.jsonl`.
    """
    results = _encode(codec, [utterance.waveform for utterance in utterances], batch_seconds)
    rows, rejections = [], []
    for utterance, codes in zip(utterances, results, strict=True):
        if isinstance(codes, Exception):
            rejections.append(rejected(utterance, "unencodable", repr(codes)))
        else:
            rows.append(_finish(codec, utterance, codes))
    return rows, rejections


def _finish(codec: Any, utterance: Utterance, codes: np.ndarray) -> PreparedRow:
    n_frames = codes.shape[1]
    # A codec that works in overlapping chunks has slightly more frames than samples / hop_length.
    nearest = np.arange(n_frames) * len(utterance.f0) // n_frames
    f0, durations = utterance.f0[nearest], np.zeros(0, dtype=np.int64)
    if utterance.seconds is not None:
        place = utterance.start, len(utterance.waveform), n_frames
        durations = seconds_to_frames(utterance.seconds, codec.sampling_rate, codec.hop_length, *place)
        durations = end_with_voice(utterance.symbols, durations, f0)
    names = {name: getattr(utterance, name) for name in ("id", "speaker", "text", "phonemes", "sung")}
    return PreparedRow(**names, durations=durations, codes=codes, f0=f0, n_frames=n_frames)


def _encode(codec: Any, waveforms: Sequence[np.ndarray], batch_seconds: float) -> list[np.ndarray | Exception]:
    """Codes (Q, T) int16 of each waveform, or the exception that was raised."""
    results: list[Any] = [None] * len(waveforms)
    budget = batch_seconds * codec.sampling_rate
    order = sorted(range(len(waveforms)), key=lambda index: len(waveforms[index]))
    while order:
        # The longest first: a batch that does not fit into memory fails at once.
        size = max(1, int(budget // len(waveforms[order[-1]])))
        batch, order = order[-size:], order[:-size]
        for index, codes in zip(batch, _encode_batch(codec, [waveforms[i] for i in batch]), strict=True):
            results[index] = codes
    return results


def _encode_batch(codec: Any, waveforms: Sequence[np.ndarray]) -> Sequence[np.ndarray | Exception]:
    try:
        return _codes(codec, waveforms)
    except (RuntimeError, ValueError) as error:
        if len(waveforms) == 1:
            return [error]
    results = [_encode_batch(codec, [waveform])[0] for waveform in waveforms]
    failures = [result for result in results if isinstance(result, Exception)]
    if len(failures) == len(results):  # the recordings are not the cause
        raise failures[0]
    return results


@torch.no_grad()
def _codes(codec: Any, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
    lengths = [len(waveform) for waveform in waveforms]
    mask = lengths_mask(lengths)
    padded = pad([torch.from_numpy(waveform) for waveform in waveforms])[:, None].expand(-1, codec.channels, -1)
    _, codes = codec.quantize(codec.encode(padded.to(codec.device, codec.dtype), mask.to(codec.device)))
    codes = codes.cpu().numpy().astype(np.int16)
    return [item[:, : codec.latent_length(length)].copy() for item, length in zip(codes, lengths, strict=True)]


@torch.no_grad()
def sum_row_latents(codec: Any, rows: Sequence[PreparedRow]) -> LatentSums:
    """Sums of the raw latents of the codes of `rows`."""
    codes = (torch.from_numpy(np.asarray(row.codes, dtype=np.int64))[None] for row in rows)
    return LatentSums.total(LatentSums.of(codec, codec.codes_to_latents(item.to(codec.device))) for item in codes)
