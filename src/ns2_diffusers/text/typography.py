"""Normalises characters: one kind of space, hyphen and quote, no invisible characters, composed letters."""

from __future__ import annotations

import re
import unicodedata

from .edits import Edit

# Characters that have several forms in every language.
_SAME: dict[str, str] = {
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width forms of ASCII
    **{ligature: unicodedata.normalize("NFKC", ligature) for ligature in "ﬀﬁﬂﬃﬄﬅﬆ"},
    **dict.fromkeys("。｡", ". "),
    **dict.fromkeys("、､", ", "),
    **dict.fromkeys("\u2010\u2011\u2012\u2043\ufe63", "-"),
    **dict.fromkeys("\u2015\u2e3a\u2e3b", "—"),
    "؟": "?",
    "،": ",",
    "؛": ";",
    "۔": ".",
    "।": ".",
    "॥": ".",
    "։": ".",
    "՞": "?",
    "፧": "?",
    "።": ".",
    "\u2044": "/",
    "\u2215": "/",
}
# Characters that English writes in another way.
_ENGLISH: dict[str, str] = {
    **dict.fromkeys("‘’‛ʼʹ′‵´`", "'"),
    **dict.fromkeys("“”„‟″‶«»‹›〝〞", '"'),
    **{c: unicodedata.normalize("NFKC", c).replace("\u2044", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒↉"},
    **{c: unicodedata.normalize("NFKC", c) for c in "₀₁₂₃₄₅₆₇₈₉₊₋"},
    "℃": "°C",
    "℉": "°F",
    "º": "°",
    "ª": "a",
    "№": "No.",
    "℅": "c/o",
    "μ": "µ",
    "Ω": "Ω",
    "∙": "·",
    "⋅": "·",
    "⋯": "…",
    "‥": "…",
    "‼": "!!",
    "⁇": "??",
    "⁈": "?!",
    "⁉": "!?",
    "﷼": "rial ",
}
_FRACTIONS = frozenset("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒↉")
# Spaces that hold a number together: "1 000" with any of these is one number.
_TIGHT_SPACES = "\u00a0\u202f\u2009\u2007"
_ANSI = r"\x1b(?:\[[0-9;?]{0,20}[ -/]?[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?)"
_MARKS = r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ef\ufe20-\ufe2f]"
_EMOJI_BASE = r"[\u231a\u231b\u23e9-\u23fa\u2600-\u2712\u2716-\u27bf\u2b05-\u2b07\u2b1b-\u2b55\U0001f000-\U0001faff]"
_EMOJI_TAIL = r"[\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
EMOJI = rf"(?:[\U0001f1e6-\U0001f1ff]{{2}}|{_EMOJI_BASE}{_EMOJI_TAIL}(?:\u200d{_EMOJI_BASE}{_EMOJI_TAIL})*)"
_EMOJI = re.compile(EMOJI)
_ODD = re.compile(
    rf"{_ANSI}"
    r"|[^\S\n]*(?:\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029])|[^\S\n]{2,}"
    rf"|(?<=\d)[{_TIGHT_SPACES}](?=\d\d\d(?!\d))"
    rf"|{EMOJI}|[ -~]{_MARKS}+|[^\n -~]{_MARKS}*"
)
EMOJI_CHOICES = ("skip", "name", "error")
# Signs that an English reader has a word or a pause for; see `classes.symbols`.
CHECK_MARKS = {**dict.fromkeys("✓✔☑✅", "check"), **dict.fromkeys("✗✘☒❌❎", "cross"), "★": "star", "⭐": "star"}
EMOJI_NAMES = {
    "❤": "red heart",
    "♥": "heart",
    "👍": "thumbs up",
    "👎": "thumbs down",
    "🔥": "fire",
    "😂": "laughing face",
}


def typography(text: str, english: bool = True) -> list[Edit]:
    """Edits that normalise the characters of a text.

    In every language: NFC; one kind of space and line break; full-width ASCII and ligatures become plain letters;
    non-breaking hyphens become hyphens; control and format characters and ANSI escape codes are removed. In English
    also: straight quotes; fractions, subscripts, digits of other scripts and decorative letters in ASCII.

    Args:
        text: any text.
        english: whether to apply the rules for English.
    """
    if text.isascii() and text.isprintable() and "  " not in text:
        return []
    edits = []
    for match in _ODD.finditer(text):
        new = _plain(match[0], text, match.start(), english)
        if new != match[0]:
            edits.append(Edit(match.start(), match.end(), new, "typography"))
    return edits


def _plain(old, text, start, english):
    first = old[0]
    if first == "\x1b":
        return ""
    if old.isspace():
        if any(c in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029" for c in old):
            return "\n"
        joins = old in _TIGHT_SPACES and text[start - 1 : start].isdigit() and len(old) == 1
        return "," if english and joins and re.match(r"\d{3}(?!\d)", text[start + 1 : start + 5]) else " "
    if english and (first in CHECK_MARKS or _EMOJI.fullmatch(old)):
        return old
    old = unicodedata.normalize("NFC", old)
    return "".join(_plain_character(c, text, start, english) for c in old)


def _plain_character(c, text, start, english):
    if " " <= c <= "~" or c == "\n":
        return c
    if c in _SAME:
        return _SAME[c]
    if c.isspace():
        return " "
    if is_invisible(c):
        return ""
    if not english:
        return c
    if c in _ENGLISH:
        new = _ENGLISH[c]
        return " " + new if c in _FRACTIONS and text[start - 1 : start].isdigit() else new
    category = unicodedata.category(c)
    if category == "Nd":
        return str(unicodedata.digit(c))
    if category in ("Lu", "Ll", "Lo", "Nl", "No", "So", "Lm") and c not in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ©®™":
        plain = unicodedata.normalize("NFKC", c)
        if plain.isascii() and plain.isalnum():
            return plain
    if "\u0180" <= c <= "\u024f" or "\u1e00" <= c <= "\u1eff":
        # The lexicons know Latin-1 and Latin Extended-A. Other letters (Vietnamese, for example) lose their accents.
        bare = unicodedata.normalize("NFD", c)[0]
        return bare if bare.isascii() else c
    return c


def is_invisible(character: str) -> bool:
    """Whether a character is a control or format character, variation selector, skin tone or combining keycap."""
    selects = "\ufe00" <= character <= "\ufe0f" or "\U0001f3fb" <= character <= "\U0001f3ff" or character == "\u20e3"
    return selects or unicodedata.category(character) in ("Cc", "Cf") and character != "\n"


def emoji_name(emoji: str) -> str:
    """The spoken form of an emoji: its Unicode name in lower case, or the letters of a flag."""
    if "\U0001f1e6" <= emoji[0] <= "\U0001f1ff":
        return "flag " + "".join(chr(ord(c) - 0x1F1E6 + 65) for c in emoji if "\U0001f1e6" <= c <= "\U0001f1ff")
    names = []
    for c in emoji:
        if c != "\u200d" and not is_invisible(c):
            names.append(EMOJI_NAMES.get(c) or re.sub(r"[^a-z ]+", " ", unicodedata.name(c, "emoji").lower()))
    return " ".join(" ".join(names).split())
