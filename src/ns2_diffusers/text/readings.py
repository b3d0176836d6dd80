"""Pronunciations within a text, in misaki's form: `[Kubernetes](/kˌubəɹnˈɛtɪs/)`."""

from __future__ import annotations

import re

from .edits import Edit

READING = re.compile(r"\[([^\[\]\n]{1,200})\]\(/([^/\n]{1,200})/\)")


def reading_mark(word: str, phonemes: str) -> str:
    """The markup that gives a word its phonemes; the word may contain any characters."""
    word = re.sub(r"[\[\]\n]", " ", word).strip()[:200]
    return f"[{word or phonemes}](/{phonemes}/)"


def without_readings(text: str) -> list[Edit]:
    """Edits that remove the phonemes of marked words and keep the words."""
    return [Edit(*mark.span(), mark[1], "reading") for mark in READING.finditer(text)]


def hide_readings(text: str) -> tuple[list[Edit], dict[str, str]]:
    """Replace each marked word by a made-up name that no rule for written English changes.

    Returns: the edits of the text, and the phonemes of each name.
    """
    edits, phonemes = [], {}
    for index, mark in enumerate(READING.finditer(text)):
        name = "Zoqua" + "".join(chr(ord("a") + int(digit)) for digit in str(index)) + "o"
        edits.append(Edit(*mark.span(), name, "reading"))
        phonemes[name] = mark[2].strip()
    return edits, phonemes
