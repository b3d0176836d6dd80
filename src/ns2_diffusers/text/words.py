"""Finds the phoneme symbols of each word of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .phonemizers import Word
from .readings import READING

# A word ends between two of these signs, even without a space.
_MARKS = frozenset(';:,.!?¡¿—…"«»“”() ')
_WRITTEN = re.compile(r"\S*\w\S*")


@dataclass(frozen=True)
class WordSymbols:
    """A word of a text and its symbols.

    Attributes:
        text: the word as written, with the punctuation that touches it.
        first, last: `symbols[first:last]` of the text's phonemes are the word, without its punctuation.
        start, end: `text[start:end]` of the text is the word as written; both 0 if the position is unknown.
    """

    text: str
    first: int
    last: int
    start: int = 0
    end: int = 0


def find_words(
    text: str, read: Sequence[Word], symbols: Sequence[str], symbols_of: Callable[[str], list[str]], is_pause: Callable
) -> list[WordSymbols]:
    """Find the symbols of each word.

    Text that is written as one word and spoken as several ("$5") is one word.

    Args:
        text: the text that was read.
        read: how each word was read, in order; none if the backend does not report it.
        symbols: phoneme symbols of the whole text.
        symbols_of: converts phonemes to symbols as they occur in `symbols`.
        is_pause: whether a symbol is punctuation or a space.

    Returns: the words in order. If the backend does not report how it reads, and the numbers of words in the text and
        in its phonemes differ, one word that stands for the whole text.
    """
    found = _match(text, _join(read), symbols, symbols_of, is_pause) if read else None
    return found if found is not None else _by_spaces(text, symbols, is_pause)


def _join(read: Sequence[Word]) -> list[tuple[int, int, str]]:
    """Start, end and phonemes of each group of words that is written as one."""
    joined: list[tuple[int, int, str]] = []
    touches = False
    for word in read:
        if word.source == "silent":
            touches = touches and not _MARKS.intersection(word.phonemes) and not word.space
            continue
        if not word.phonemes.strip():
            continue
        if joined and (touches or word.start < joined[-1][1]):
            start, end, phonemes = joined[-1]
            gap = "" if touches else " "
            joined[-1] = (start, max(end, word.end), phonemes + gap + word.phonemes)
        else:
            joined.append((word.start, word.end, word.phonemes))
        touches = not word.space
    return joined


def _match(text, words, symbols, symbols_of, is_pause):
    """The words with their symbols; None if the sounds of the words do not match the symbols."""
    sounds = [index for index, symbol in enumerate(symbols) if not is_pause(symbol)]
    found, position, previous = [], 0, 0
    for index, (start, end, phonemes) in enumerate(words):
        wanted = [symbol for symbol in symbols_of(phonemes) if not is_pause(symbol)]
        own = sounds[position : position + len(wanted)]
        if [symbols[each] for each in own] != wanted:
            return None
        if not wanted:
            continue  # the vocabulary has none of its symbols, so the word was left out
        following = words[index + 1][0] if index + 1 < len(words) else len(text)
        first, last = _with_punctuation(text, start, end, previous, following)
        written = " ".join(READING.sub(r"\1", text[first:last]).split())
        found.append(WordSymbols(written, own[0], own[-1] + 1, first, last))
        position += len(wanted)
        previous = last
    return found


def _with_punctuation(text, start, end, least, most):
    while start > least and not (text[start - 1].isspace() or text[start - 1].isalnum()):
        start -= 1
    while end < most and not (text[end].isspace() or text[end].isalnum()):
        end += 1
    return start, end


def _by_spaces(text, symbols, is_pause):
    groups, start = [], None
    for index, symbol in enumerate([*symbols, " "]):
        if not is_pause(symbol):
            start = index if start is None else start
        elif start is not None:
            groups.append((start, index))
            start = None
    plain = READING.sub(r"\1", text)
    written = list(_WRITTEN.finditer(plain))
    if len(written) == len(groups):
        # With marked readings the positions in `plain` are not those in `text`.
        spans = [word.span() if plain == text else (0, 0) for word in written]
        pairs = zip(written, groups, spans, strict=True)
        return [WordSymbols(word[0], *group, *span) for word, group, span in pairs]
    return [WordSymbols(" ".join(text.split()), groups[0][0], groups[-1][1], 0, len(text))] if groups else []
