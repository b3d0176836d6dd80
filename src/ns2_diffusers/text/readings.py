"""Pronunciations within a text, in misaki's form: `[Kubernetes](/kˌubəɹnˈɛtɪs/)`."""

from __future__ import annotations

import re

from .edits import Edit

READING = re.compile(r"\[([^\[\]\n]{1,200})\]\(/([^/\n]{1,200})/\)")


def reading_mark(word: str, phonemes: str) -> str:
    """The mark that gives a word its phonemes, whatever signs are in the word."""
    word = re.sub(r"[\[\]\n]", " ", word).strip()[:200]
    return f"[{word or phonemes}](/{phonemes}/)"


def without_readings(text: str) -> list[Edit]:
    """Edits that leave the words of the marks and take their phonemes away."""
    return [Edit(*mark.span(), mark[1], "reading") for mark in READING.finditer(text)]


def hide_readings(text: str) -> tuple[list[Edit], dict[str, str]]:
    """Put a made-up name in the place of each mark, which no rule for written English touches.

    Returns: the edits of the text, and the phonemes of the names.
    """
    edits, phonemes = [], {}
    for index, mark in enumerate(READING.finditer(text)):
        name = "Zoqua" + "".join(chr(ord("a") + int(digit)) for digit in str(index)) + "o"
        edits.append(Edit(*mark.span(), name, "reading"))
        phonemes[name] = mark[2].strip()
    return edits, phonemes
