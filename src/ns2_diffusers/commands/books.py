"""Writes long texts to disk sentence by sentence; an interrupted process loses one sentence and can be resumed."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..audio.writing import write_blocks
from ..pipelines.utterances import SpokenWord

HEADER_BYTES = 44
_BLOCK = 1 << 16


class UnfinishedSpeech:
    """Unfinished speech on disk: `NAME.unfinished.wav`, which can be played, and `NAME.unfinished.jsonl`.

    The second file holds the request, and one line per sentence that the first file holds in full: samples and words.

    Args:
        path: path of the finished file.
        asked: settings on which the speech depends; unfinished speech with other settings is discarded.
        sampling_rate: Hz.
    """

    def __init__(self, path: Path, asked: dict[str, Any], sampling_rate: int):
        self.path, self.sampling_rate = path, sampling_rate
        self.audio_path = path.with_name(f"{path.stem}.unfinished.wav")
        self.log_path = path.with_name(f"{path.stem}.unfinished.jsonl")
        self.fingerprint = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self.seed: int | None = None
        self.sentences, self.samples, self.peak = 0, 0, 0.0
        self._audio: BinaryIO | None = None
        self._log: BinaryIO | None = None

    def find(self) -> bool:
        """Whether there is unfinished speech of the same request; reads its log."""
        try:
            lines = self.log_path.read_bytes().split(b"\n")
            first = json.loads(lines[0])
            length = self.audio_path.stat().st_size
        except (OSError, ValueError):
            return False
        if not isinstance(first, dict) or first.get("fingerprint") != self.fingerprint:
            return False
        self.seed, self._log_bytes = first["seed"], len(lines[0]) + 1
        # A line without a newline at its end is incomplete.
        for line in lines[1:-1]:
            entry = json.loads(line)
            if HEADER_BYTES + 4 * (self.samples + entry["samples"]) > length:
                break
            self.sentences += 1
            self.samples += entry["samples"]
            self.peak = max(self.peak, entry["peak"])
            self._log_bytes += len(line) + 1
        return True

    def open(self, seed: int) -> None:
        """Begin new speech, or continue after what `find` found."""
        if self.seed is None:
            self.seed = seed
            self._audio, self._log = open(self.audio_path, "wb"), open(self.log_path, "wb")
            self._audio.write(_float_header(self.sampling_rate))
            self._write_line({"fingerprint": self.fingerprint, "seed": seed})
            return
        self._audio, self._log = open(self.audio_path, "rb+"), open(self.log_path, "rb+")
        for file, length in ((self._audio, HEADER_BYTES + 4 * self.samples), (self._log, self._log_bytes)):
            file.truncate(length)
            file.seek(0, 2)

    def add(self, audio: np.ndarray, words: Sequence[SpokenWord]) -> None:
        """Add a sentence: floating (samples,), and its words with times from the start of the sentence."""
        assert self._audio is not None
        self._audio.write(np.asarray(audio, "<f4").tobytes())
        self._audio.flush()
        begins = self.samples / self.sampling_rate
        times = [asdict(SpokenWord(w.text, w.start + begins, w.end + begins)) for w in words]
        peak = float(np.abs(audio).max(initial=0.0))
        self._write_line({"samples": len(audio), "peak": peak, "words": times})
        self.sentences += 1
        self.samples += len(audio)
        self.peak = max(self.peak, peak)

    def close(self) -> None:
        for file in (self._audio, self._log):
            if file is not None:
                file.close()

    def words(self) -> list[SpokenWord]:
        lines = self.log_path.read_text(encoding="utf-8").splitlines()[1:]
        return [SpokenWord(**word) for line in lines for word in json.loads(line)["words"]]

    def finish(self) -> None:
        """Write the finished file. `remove` then deletes the unfinished ones."""
        self.close()
        write_blocks(self.path, self._blocks(), self.sampling_rate)

    def remove(self) -> None:
        self.audio_path.unlink()
        self.log_path.unlink()

    def _blocks(self) -> Iterator[np.ndarray]:
        scale = np.float32(1 / max(self.peak, 1.0))
        with open(self.audio_path, "rb") as file:
            file.seek(HEADER_BYTES)
            while data := file.read(4 * _BLOCK):
                yield np.frombuffer(data, "<f4") * scale

    def _write_line(self, content: dict[str, Any]) -> None:
        assert self._log is not None
        self._log.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")
        self._log.flush()


def speak_to_disk(
    pipe: Any,
    plan: Callable[[int], list[Any]],
    settings: Any,
    voice_matching: float,
    unfinished: UnfinishedSpeech,
    seed: int,
    max_batch_size: int,
    progress: Callable[[int, int], None],
) -> None:
    """Speak sentence by sentence into `unfinished`, after what it holds.

    Args:
        plan: returns the sentences for a seed.
        settings: settings from `pipe.check_sampling`.
        seed: seed of new speech; resumed speech keeps its own.
        progress: called with the number of finished sentences and of all sentences.
    """
    unfinished.find()
    utterances = plan(seed if unfinished.seed is None else unfinished.seed)
    unfinished.open(seed)
    try:
        progress(unfinished.sentences, len(utterances))
        while unfinished.sentences < len(utterances):
            batch = utterances[unfinished.sentences : unfinished.sentences + max_batch_size]
            for utterance, spoken in zip(batch, pipe.speak(batch, settings, voice_matching), strict=True):
                piece = pipe.finish(utterance, spoken)
                unfinished.add(piece.audios[0], piece.words[0])
            progress(unfinished.sentences, len(utterances))
    finally:
        unfinished.close()


def _float_header(sampling_rate: int) -> bytes:
    """The header of a mono 32-bit floating-point WAV file whose length is not known yet."""
    layout = struct.pack("<IHHIIHH", 16, 3, 1, sampling_rate, 4 * sampling_rate, 4, 32)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + layout + b"data\xff\xff\xff\xff"
