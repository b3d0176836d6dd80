"""Lexicon files: one word and its reading per line."""

from __future__ import annotations

import os
from typing import Any

COMMENT = "#"


def read_lexicon(path: str | os.PathLike, tokenizer: Any) -> dict[str, str]:
    """Read a file of lines `word<TAB>reading`.

    A reading between slashes is phonemes in misaki's symbols (`/kˌubəɹnˈɛtɪs/`). Any other reading is a respelling in
    common words (`koober netties`). Blank lines and lines that begin with `#` are skipped.

    Args:
        path: path of a UTF-8 file.
        tokenizer: converts the respellings to phonemes and checks the given phonemes.

    Returns: phonemes by word, for the tokenizer's `lexicon`.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not UTF-8, or a line is wrong; the message gives the line number.
    """
    lexicon: dict[str, str] = {}
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name!r} is not a UTF-8 text file ({error.reason}).") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(COMMENT):
            continue
        word, tab, reading = line.rstrip("\r").partition("\t")
        word, reading = word.strip(), reading.strip()
        where = f"line {number} of {name!r}"
        if not tab or not word or not reading.strip("/ "):
            raise ValueError(f"{where} is {line!r:.80}; wanted a word, a tab, and /phonemes/ or a respelling.")
        if len(word.split()) > 1:
            raise ValueError(f"{where} has {len(word.split())} words, {word!r:.80}: give a line to each word.")
        is_phonemes = len(reading) > 2 and reading[0] == reading[-1] == "/"
        try:
            if is_phonemes:
                lexicon[word] = tokenizer.read(reading[1:-1].strip(), is_phonemes=True)[0]
            else:
                lexicon[word] = tokenizer.phonemize(reading).rstrip(".")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return lexicon
