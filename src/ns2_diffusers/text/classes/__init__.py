"""Classes of written forms that are spoken in other words; each module holds the rules of one class.

A text is read once, from left to right. At the start of each word, number or sign, its rules are tried in order. The
first one that applies makes an edit, and reading continues after it. So no rule sees the output of another, each edit
has one rule, and the time is linear in the length of the text.
"""

from __future__ import annotations

import re
from functools import lru_cache

from ..edits import Edit
from . import (
    abbreviations,
    addresses,
    counting,
    dates,
    fractions,
    letters,
    mathematics,
    measures,
    money,
    places,
    romans,
    shortenings,
    sports,
    symbols,
    telephones,
    times,
)
from .common import Context, Rule

# `\\w` matches raised digits and Greek letters; here they are signs.
_SIGNS = "".join(symbols.GREEK) + "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LETTER = rf"[^\W\d_{_SIGNS}]"
_TOKEN = re.compile(rf"{_LETTER}+(?:'{_LETTER}+)*|\d+|[^\s\w]|[_{_SIGNS}]")

# Classes that begin with a digit, a sign or a currency, the most specific first.
NUMBER_RULES: tuple[Rule, ...] = (
    *addresses.RULES[1:2],
    *telephones.RULES,
    *sports.RULES,
    *abbreviations.NUMBER_RULES,
    *fractions.EARLY_RULES,
    *dates.RULES,
    *times.RULES,
    *mathematics.RULES,
    *money.RULES,
    *letters.NUMBER_RULES,
    *measures.RULES,
    *places.RULES,
    *fractions.RULES,
    *times.LATE_RULES,
    *counting.RULES[:-1],
    *addresses.RULES[3:4],
    *letters.CODE_RULES,
    counting.RULES[-1],
)
SYMBOL_RULES: tuple[Rule, ...] = (
    addresses.in_angles,
    symbols.menu_path,
    symbols.tag,
    symbols.masked,
    *addresses.RULES[2:3],
    *addresses.RULES[4:],
    *counting.SYMBOL_RULES,
    *money.SYMBOL_RULES,
    *mathematics.SYMBOL_RULES,
    *symbols.RULES,
)
# Rules for words, by word in lower case.
WORD_RULES: dict[str, tuple[Rule, ...]] = {}
for _table in (
    romans.WORD_RULES,
    sports.WORD_RULES,
    money.WORD_RULES,
    money.NATION_RULES,
    dates.WORD_RULES,
    times.WORD_RULES,
    letters.AIRPORT_RULES,
    letters.AIRCRAFT_RULES,
    counting.WORD_RULES,
    places.WORD_RULES,
    shortenings.WORD_RULES,
    abbreviations.WORD_RULES,
    measures.RATES,
):
    for _word, _rules in _table.items():
        WORD_RULES[_word] = (*WORD_RULES.get(_word, ()), *_rules)
# Words that a sign or digit may follow without a space.
JOINED_RULES: tuple[Rule, ...] = (
    addresses.url,
    addresses.email,
    addresses.domain,
    letters.language,
    letters.hyphenated,
    places.postcode,
    addresses.windows_path,
    *letters.CODE_RULES,
    *mathematics.WORD_RULES,
    *mathematics.RULES,
)
DOTTED_RULES: tuple[Rule, ...] = (letters.dotted, letters.initials, letters.spaced_initials)
CAPITAL_RULES: tuple[Rule, ...] = (*romans.RULES, letters.capitals)
LETTER_RULES: tuple[Rule, ...] = (letters.single,)
_JOINERS = frozenset("@._-/:+#&%0123456789'?=^<>⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
_DIGITS = frozenset("0123456789")
_NUMBER_STARTS = frozenset("0123456789.-–−+±~'$£€¥₹₩₽₺₪₫₱₦₴₿฿(")


@lru_cache(maxsize=50_000)
def _rules_of(token: str, following: str) -> tuple[Rule, ...]:
    """The rules of a word or sign.

    Args:
        token: a match of `_TOKEN` that is no number.
        following: the characters after it: one after a word, three after a colon or a sign.
    """
    first = token[0]
    if first.isalpha() and first not in _SIGNS:
        lower, after = token.lower(), following[:1]
        rules = WORD_RULES.get(lower, ())
        if after and after in _JOINERS or "'" in token:
            rules = (*rules, *DOTTED_RULES, *JOINED_RULES) if len(token) == 1 else (*rules, *JOINED_RULES)
            if after == ":" and not following.startswith(("://", ":\\")) and lower != "mailto":
                rules = WORD_RULES.get(lower, ())
        if len(token) == 1:
            sums = mathematics.RULES if after == " " else ()
            rules = (*rules, *sums, *CAPITAL_RULES[:1], *LETTER_RULES)
        elif token.isupper() or first.isupper() and token[1:2].isupper():
            rules = (*rules, *CAPITAL_RULES)
        return rules
    if first in _NUMBER_STARTS:
        after = following[:2].lstrip(" -–−+")[:1]
        is_number = after.isdigit() or after in _NUMBER_STARTS - {"'", "("}
        return (*NUMBER_RULES, *SYMBOL_RULES) if is_number else SYMBOL_RULES
    if token.isdigit() and first not in _SIGNS:
        return ()  # a digit of another script that `typography` left unchanged
    return SYMBOL_RULES


def read_classes(text: str, context: Context) -> list[Edit]:
    """Edits that rewrite a text as it is spoken.

    Args:
        text: text after the steps `typography` and `structure`.
        context: the same text, with its language and lexicon.
    """
    edits: list[Edit] = []
    position = 0
    while match := _TOKEN.search(text, position):
        position = match.end()
        token = match[0]
        if token[0] in _DIGITS:
            rules = NUMBER_RULES
        else:
            following = text[position : position + 1]
            if following == ":" or not token[0].isalpha():
                following = text[position : position + 3]
            rules = _rules_of(token, following)
            if not rules:
                continue  # most words have none
        start = match.start()
        for rule in rules:
            found = rule.pattern.match(text, start)
            if found is None:
                continue
            words = rule.read(found, context)
            if words is None:
                continue
            words, end = words if isinstance(words, tuple) else (words, found.end())
            edits.append(Edit(start, end, words, rule.name))
            position = max(end, start + 1)
            break
    return edits


__all__ = ["Context", "Rule", "read_classes"]
