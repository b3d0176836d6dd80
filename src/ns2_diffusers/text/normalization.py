"""Rewrites written English as words that a phonemizer reads correctly, in named steps.

`typography` normalises characters, `structure` turns line breaks into pauses, `characters` handles emoji and
characters without a reading, `capitals` restores the case of shortenings in capitals, `classes` writes numbers,
dates, money, abbreviations and the like as words. Each step is a list of edits, so every word of the result can be
traced to its place in the source.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .classes import Context, read_classes
from .classes.recasing import recased
from .classes.symbols import GREEK, SYMBOLS
from .edits import Edit, EditedText
from .structure import structure
from .typography import CHECK_MARKS, EMOJI, EMOJI_CHOICES, emoji_name, typography

NUMBER_FORMATS = ("point", "comma")
_EMOJI = re.compile(EMOJI)
_COMMA_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3})+(?:,\d+)?(?![\w.,]*\d)|(?<![\w.,])\d+,\d+(?![\w.,]*\d)")
# No thousands are grouped by two digits, so this is a decimal in either format.
_COMMA_QUANTITY = re.compile(
    r"(?<![\w.,])\d{1,6},\d{1,2}(?=[ ]?(?:[kcm]?m|[km]?g|km/h|m?[lL]|%|°[CF]?)(?![\w.,]\w|\w))"
)
_ODD = re.compile(rf"{EMOJI}|[^\n -~]")
_SPACES = re.compile(r"[ ]+(?=[,.;:!?…])(?![.:]\w|…\w)|[ ]{2,}|\n+")


@dataclass
class Normalized:
    """A text as words, with the steps that made them.

    Attributes:
        source: the text as given.
        text: the words.
        steps: name of each step and the text with the edits that it made, first to last.
        unreadable: characters without a reading, each once, in order; `text` leaves them out.
        emoji: emoji that were skipped, each once, in order.
        given: phonemes given in the text itself, by the placeholder names that replace their words in `text`.
        words: how each word was read, if the backend reports it.
    """

    source: str
    text: str
    steps: list[tuple[str, EditedText]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    emoji: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    words: list = field(default_factory=list)

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of `source` that characters `start` to `end` of `text` came from."""
        for _, step in reversed(self.steps):
            start, end = step.source_span(start, end)
        return start, end

    def rule_at(self, position: int) -> str | None:
        """The rule that wrote the character at `position` of `text`; None if the character is as written."""
        for name, step in reversed(self.steps):
            edit = step.edit_at(position)
            if edit is not None and name in ("classes", "rewritten"):
                return edit.rule
            position = step.source_span(position, position + 1)[0]
        return None


def _no_lexicon(word: str) -> bool:
    """Replaces a lexicon: accepts a word with a vowel and at most four consonants in a row."""
    return len(word) > 1 and bool(re.search("[aeiouy]", word)) and not re.search("[^aeiouy]{5}", word)


def normalize(
    text: str,
    language: str = "en-us",
    *,
    number_format: str = "point",
    emoji: str = "skip",
    known: Callable[[str], bool] = _no_lexicon,
    acronym: Callable[[str], bool] = lambda word: False,
    first: Sequence[Edit] = (),
    rewrite: Callable[[str], list[Edit]] | None = None,
) -> Normalized:
    """Rewrite a text as the words that are spoken.

    Args:
        text: any text.
        language: `en-us`, `en-gb` or any other; other languages pass only through the steps common to all languages.
        number_format: `point` (3.14, 1,000) or `comma` (3,14, 1.000).
        emoji: `skip` (the result's `emoji` lists them), `name` (read by their names) or `error` (they are unreadable).
        known: tells whether a lower-case word is in the lexicon.
        acronym: tells whether a word in capitals is in the lexicon as such (NASA).
        first: edits that are applied before all others.
        rewrite: function that returns edits of the text after all these steps.

    Raises:
        ValueError: if number_format or emoji is unknown.
    """
    if number_format not in NUMBER_FORMATS:
        raise ValueError(f"number_format is one of {', '.join(NUMBER_FORMATS)}, not {number_format!r}.")
    if emoji not in EMOJI_CHOICES:
        raise ValueError(f"emoji is one of {', '.join(EMOJI_CHOICES)}, not {emoji!r}.")
    english = language.startswith("en")
    result = Normalized(text, text)

    def step(name, edits):
        if edits:
            edited = EditedText(result.text, edits, are_words=name in ("classes", "rewritten"))
            result.steps.append((name, edited))
            result.text = edited.text

    step("readings", list(first))
    if rewrite is not None:
        step("rewritten", rewrite(result.text))
    step("typography", typography(result.text, english))
    if english:
        pattern = _COMMA_NUMBER if number_format == "comma" else _COMMA_QUANTITY
        step(
            "numbers",
            [
                Edit(*m.span(), m[0].translate({44: 46, 46: 44}), "number_format")
                for m in pattern.finditer(result.text)
            ],
        )
    step("structure", structure(result.text))
    if english:
        step("characters", _characters(result, emoji))
        context = Context(result.text, british=language.startswith("en-gb"), known=known)
        context.cache["acronym"] = acronym
        step("capitals", recased(context))
        context.text = result.text  # of the same length
        step("classes", read_classes(result.text, context))
    step("spaces", _spaces(result.text))
    step("ends", _ends(result.text))
    return result


def _spaces(text):
    """Edits that leave one space between words and none before punctuation."""
    edits = []
    for match in _SPACES.finditer(text):
        following = text[match.end() : match.end() + 1]
        edits.append(Edit(*match.span(), "" if following and following in ",.;:!?…" else " ", "spaces"))
    return edits


def _ends(text):
    """Edits that remove white space at both ends."""
    stripped = text.strip()
    if not stripped:
        return [Edit(0, len(text), "", "ends")] if text else []
    start = len(text) - len(text.lstrip())
    end = start + len(stripped)
    edits = [Edit(0, start, "", "ends")] if start else []
    return edits + ([Edit(end, len(text), "", "ends")] if end < len(text) else [])


def _characters(result, emoji):
    """Edits of emoji and of characters without a reading, which `result` records."""
    text, edits = result.text, []
    if text.isascii():
        return edits
    for match in _ODD.finditer(text):
        found = match[0]
        if is_readable(found[0]) and (len(found) == 1 or found[0] in CHECK_MARKS):
            if found in GREEK and _is_greek_word(text, match.start()):
                edits.append(_unread(result.unreadable, found, match))
            continue
        if _EMOJI.fullmatch(found) and emoji != "error":
            if emoji == "name":
                edits.append(Edit(*match.span(), f" {emoji_name(found)} ", "emoji"))
            else:
                edits.append(_unread(result.emoji, found, match, "emoji"))
        else:
            edits.append(_unread(result.unreadable, found, match))
    return edits


def _unread(seen, found, match, rule="unreadable"):
    # An emoji may be a sequence of characters: a flag, a family, a skin tone.
    for sign in [found] if rule == "emoji" else [c for c in found if not _is_mark(c)]:
        if sign not in seen:
            seen.append(sign)
    return Edit(*match.span(), "", rule)


def _is_mark(character):
    return unicodedata.category(character) in ("Mn", "Me", "Cf") or "\ufe00" <= character <= "\ufe0f"


def _is_greek_word(text, position):
    def greek(c):
        return "\u0370" <= c <= "\u03ff" or "\u1f00" <= c <= "\u1fff"

    return greek(text[position - 1 : position] or " ") or greek(text[position + 1 : position + 2] or " ")


def is_readable(character: str) -> bool:
    """Whether an English reader has a sound, a word or a pause for a character."""
    if character.isspace() or character in SYMBOLS:
        return True
    if character.isdigit():
        return character.isascii()
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN ")


def unreadable_characters(text: str) -> list[str]:
    """The characters of a text that an English reader has no sound for, each once, in order.

    They are letters of other scripts, emoji and rare symbols.
    """
    return list(dict.fromkeys(c for c in text if not is_readable(c)))


def normalize_english(text: str, language: str = "en-us", **options) -> str:
    """The words of an English text; the options are those of `normalize`."""
    return normalize(text, language, **options).text


def clean_text(text: str) -> str:
    """Apply the steps common to all languages: NFC, one kind of space, no invisible characters, lines as pauses."""
    return normalize(text, "und").text
