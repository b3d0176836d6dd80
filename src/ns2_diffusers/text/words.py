"""Which symbols of a text's phonemes belong to which of its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .phonemizers import Word
from .readings import READING

# Between two of these signs a word ends, though no space stands there.
_MARKS = frozenset(';:,.!?¡¿—…"«»“”() ')
_WRITTEN = re.compile(r"\S*\w\S*")


@dataclass(frozen=True)
class WordSymbols:
    """A word of a text and its symbols.

    Attributes:
        text: as it is written, with the punctuation that touches it.
        first, last: `symbols[first:last]` of the text's phonemes are the word, without its punctuation.
        start, end: `text[start:end]` of the text is the word as it is written; both 0 where that is not known.
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

    What was written as one and is said as several words ("$5") is one word.

    Args:
        text: that was read.
        read: how each word was read, in order; none where the backend does not tell.
        symbols: of the whole text.
        symbols_of: makes phonemes to the symbols that they have among `symbols`.
        is_pause: whether a symbol is punctuation or a space.

    Returns: the words in order. Where a backend does not tell how it read, and the words of the text are not as many
        as those of its phonemes, one word that stands for the whole text.
    """
    found = _match(text, _join(read), symbols, symbols_of, is_pause) if read else None
    return found if found is not None else _by_spaces(text, symbols, is_pause)


def _join(read: Sequence[Word]) -> list[tuple[int, int, str]]:
    """Start, end and phonemes of what is written as one word."""
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
    """None where the sounds are not those of the words, one after the other."""
    sounds = [index for index, symbol in enumerate(symbols) if not is_pause(symbol)]
    found, position, previous = [], 0, 0
    for index, (start, end, phonemes) in enumerate(words):
        wanted = [symbol for symbol in symbols_of(phonemes) if not is_pause(symbol)]
        own = sounds[position : position + len(wanted)]
        if [symbols[each] for each in own] != wanted:
            return None
        if not wanted:
            continue  # left out, as the vocabulary has none of its symbols
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
        # Marks of readings move what is behind them.
        spans = [word.span() if plain == text else (0, 0) for word in written]
        pairs = zip(written, groups, spans, strict=True)
        return [WordSymbols(word[0], *group, *span) for word, group, span in pairs]
    return [WordSymbols(" ".join(text.split()), groups[0][0], groups[-1][1], 0, len(text))] if groups else []
