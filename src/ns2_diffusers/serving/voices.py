"""Voices by name: those of the package, and those of a folder, where voices can be added and deleted."""

from __future__ import annotations

import io
import os
import re
import threading
from pathlib import Path
from typing import Any

from ..audio.loading import seconds_in_header
from ..pipelines.named_voices import named_voices
from ..pipelines.voice import Voice, VoiceMix, load_mix

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
SUFFIXES = (".safetensors", ".wav", ".flac", ".ogg", ".mp3")
# Voices that requests added, and only they, have this ending, which no name of another voice has.
UPLOADED = ".uploaded.safetensors"
# The names of OpenAI's voices, for clients that know no others.
OPENAI_VOICES = {
    "alloy": "emma",
    "ash": "michael",
    "ballad": "george",
    "cedar": "michael",
    "coral": "bella",
    "echo": "michael",
    "fable": "george",
    "marin": "bella",
    "nova": "bella",
    "onyx": "puck",
    "sage": "emma",
    "shimmer": "bella",
    "verse": "puck",
}
MAX_VOICES = 1000


class UnknownVoiceError(KeyError):
    """No voice has that name."""


class VoiceError(Exception):
    """A voice cannot be added or deleted. `status` is the HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class VoiceStore:
    """Voices by name.

    Args:
        pipe: the pipeline that encodes the recordings.
        folder: folder of voices: `NAME.safetensors` or recordings, which are never deleted, and
            `NAME.uploaded.safetensors`, which requests added and can delete; None: only the voices of the package.
        max_prompt_seconds: maximum duration of a recording; longer ones are refused.
    """

    def __init__(self, pipe: Any, folder: str | os.PathLike | None = None, max_prompt_seconds: float = 60.0):
        self.pipe, self.folder, self.max_prompt_seconds = (
            pipe,
            None if folder is None else Path(folder),
            max_prompt_seconds,
        )
        self._encoded: dict[Path, tuple[float, Voice | VoiceMix]] = {}
        self._lock = threading.Lock()

    def own(self) -> dict[str, Path]:
        """The voices of the folder, by name; a file that its owner put there comes before an uploaded one."""
        if self.folder is None:
            return {}
        paths = sorted(path for path in self.folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        given = {path.stem: path for path in paths if NAME.fullmatch(path.stem)}
        return self.uploaded() | given

    def uploaded(self) -> dict[str, Path]:
        """The voices of the folder that requests added, by name."""
        if self.folder is None:
            return {}
        paths = {path.name.removesuffix(UPLOADED): path for path in sorted(self.folder.glob("*" + UPLOADED))}
        return {name: path for name, path in paths.items() if NAME.fullmatch(name) and path.is_file()}

    def names(self) -> list[str]:
        return list(named_voices() | self.own())

    def get(self, name: str) -> Voice | VoiceMix:
        """A voice by its name, or a mix such as "0.7 * emma + 0.3 * george"; it is encoded at its first use.

        Raises:
            UnknownVoiceError: no voice has that name.
            ValueError: its file holds no voice, or a voice of another codec; the mix cannot be read.
        """
        if "*" in name:
            return load_mix(name, self._load)
        return self._load(name)

    def _load(self, name: str) -> Voice | VoiceMix:
        known = named_voices() | self.own()
        path = known.get(name) or known.get(OPENAI_VOICES.get(name, ""))
        if path is None:
            raise UnknownVoiceError(name)
        with self._lock:
            changed = path.stat().st_mtime
            kept = self._encoded.get(path)
            if kept is None or kept[0] != changed:
                kept = self._encoded[path] = (changed, self.pipe.load_voice(path))
            return kept[1]

    def encode(self, recording: bytes, file_name: str = "the recording") -> Voice:
        """Make a voice from the bytes of an audio file, which are not stored.

        Raises:
            ValueError: the file is not audio; or the audio contains NaN, or is silent, too short or too long.
        """
        seconds = seconds_in_header(io.BytesIO(recording))
        if seconds > self.max_prompt_seconds:
            raise ValueError(
                f"{file_name} lasts {seconds:.0f} s and at most {self.max_prompt_seconds:g} s are taken: cut it; a "
                "few seconds of clean speech are enough."
            )
        return self.pipe.encode_voice({"bytes": recording, "path": file_name})

    def add(self, name: str, recording: bytes, file_name: str = "the recording") -> None:
        """Store a voice under a new name.

        Raises:
            VoiceError: there is no folder, the name is invalid or taken, or the folder is full.
            ValueError: as `encode`.
        """
        if self.folder is None:
            raise VoiceError(403, "this server keeps no voices: it was started without --voices DIR.")
        if not NAME.fullmatch(name):
            raise VoiceError(
                400, f"the name {name!r:.80} is not 1 to 64 letters, digits, - and _, a letter or digit first."
            )
        voice = self.encode(recording, file_name)
        with self._lock:
            known = self.names()
            if name in known or name in OPENAI_VOICES:
                raise VoiceError(409, f"there is a voice {name!r} already: take another name, or delete it first.")
            if len(known) >= MAX_VOICES:
                raise VoiceError(409, f"there are {len(known)} voices, the most that are kept: delete some first.")
            voice.save(self.folder / f"{name}{UPLOADED}")

    def delete(self, name: str) -> None:
        """Delete a voice that a request added.

        Raises:
            UnknownVoiceError: no voice has that name.
            VoiceError: the voice belongs to the package, or to the owner of the folder.
        """
        with self._lock:
            path = self.own().get(name)
            if path is None and name in named_voices():
                raise VoiceError(403, f"the voice {name!r} comes with the server and cannot be deleted.")
            if path is None:
                raise UnknownVoiceError(name)
            if path != self.uploaded().get(name):
                raise VoiceError(
                    403, f"the voice {name!r} was not added by a request: only the owner of the folder can delete it."
                )
            path.unlink()
            self._encoded.pop(path, None)
