"""Gives abbreviations and units of a sentence in capitals the case in which the classes expect them."""

from __future__ import annotations

import re

from ..edits import Edit
from . import WORD_RULES, romans
from .abbreviations import BARE_WORDS, CHAT, CONTRACTED, LABELS, LETTERED, PERIODS, TEXTED
from .common import FUNCTION_WORDS, Context, any_of
from .dates import DAYS, MONTH_OF
from .letters import SPELLED, is_shouted, shouted_segments
from .measures import COOKED, UNITS
from .places import DOTTED_STATES, STATES

# Units of several letters by their form in capitals; "MIN" and other forms that UNITS holds are read already.
_UNITS = {
    u.upper(): u
    for u in UNITS
    if u.isalpha() and (len(u) > 2 or u in ("ov", "kW", "kJ", "kV", "bp")) and u.upper() not in UNITS
} | {"BPS": "bps"}
_STATES = frozenset(s.upper() for s in (*STATES, *DOTTED_STATES) if len(s) > 2)
# "IT" and "WHO" have a second reading; "NORTH" and "HIGH" are also parts of names.
_LOWER = FUNCTION_WORDS - frozenset(
    "it i who may a so north south east west worth deep wide long high tall thick early late less more".split()
)
# "HE SAT. THE SUN WAS OUT."
_AMBIGUOUS = frozenset("it us who may no sat sun".split())
# Words that are abbreviations before a stop. Units and numerals are read in capitals.
_DOTTED = frozenset(WORD_RULES) - {u.lower() for u in UNITS} - frozenset(romans.WORD_RULES) - _AMBIGUOUS
_BARE = frozenset((*BARE_WORDS, *CONTRACTED, *PERIODS, *LETTERED)) - CHAT - _AMBIGUOUS
_DATES = frozenset((*DAYS, *MONTH_OF)) - _AMBIGUOUS
_ON_A_DAY = re.compile(r"\b(?:ON|OTHER|EACH|NEXT|LAST|LATE|EARLY|OF|DUE|BY|UNTIL)[ ]\Z")
# Texted words of three characters and more; "M8" and "B4" are also roads and sizes of paper.
_TEXTED = [word.upper() for word in TEXTED if len(word) > 2]
_OWN_CASE = {"PH.D": "Ph.D", "YOY": "YoY", "QOQ": "QoQ", "GOV.-ELECT": "Gov.-elect"}
_SCALES = "HUNDRED|THOUSAND|MILLION|BILLION|TRILLION"
_STREETS = "ST|CT|LN|PL|TERR?|PLZ|CIR|DR|MT"
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_WEEKDAY = r"(?:MON|TUES|WEDNES|THURS|FRI|SATUR|SUN)DAY"
_LOWER_CASE = (
    r"(?<=\d)(?:ST|ND|RD|TH)\b",
    rf"(?<=\d[ -])(?:{_SCALES})\b",
    r"(?<=\d)[ ]?[BM]N(?!\w)",
    r"(?<=\d)[ ]?X[ ]?(?=\d)",
    # metres
    r"(?<=\d[ ])M(?=[ ](?:HIGH|TALL|LONG|DEEP|WIDE|RELAY|RACE|SPRINT|FREESTYLE|FINAL|IN|ABOVE|BELOW)\b)",
    r"(?<=\d,\d\d\d[ ])M(?![\w'&/.-])",
    r"(?<=\d[ ]M[ ])(?:RELAY|RACE|SPRINT|FREESTYLE|FINAL)\b",
    r"\bM/S\b|(?<=\d[ ])M(?=[²³])",
    # seconds, and hours with minutes
    r"(?<=\d\.\d)S(?![\w'/-])|(?<=\d\.\d\d)S(?![\w'/-])",
    r"(?<=\d)H(?![A-Z])|(?<=\dH)M\b|(?<=\dH[ ])\d\d?M\b|(?<=\dH\d)M\b|(?<=\dH\d\d)M\b",
    # grams and cups
    r"(?<=\d[ ])G(?=[ ][A-Z(])|(?<=\d\d)G(?=[ ]OF\b|[ ](?:FAT|PROTEIN|CARBS|SUGAR|FLOUR|BUTTER)\b)",
    r"(?<=\d[ ])C(?=\.?[ ])",
    r"(?<=\d-)(?:PK|CT|PC)\b",
    r"(?<=\d\d[ ])EA(?=\.|\b)",
    r"(?<=/)(?:MO|YR|WK|HR|MIN|DAY|SIDE|WEEK|MONTH|YEAR|HOUR)\b",
    r"(?<=[\dK%][ ])P\.?A(?=\.|[ ]|$)",
    r"(?<=[IVX])'S\b|(?<=')N(?=')",
    r"(?<=(?:ST|ND|RD|TH)[ ])FL(?=\.)",
    r"(?<![\w'/&.-])[A-Z]{2,6}N'T(?!\w)",
    r"\b(?:E\.G\.|I\.E\.)",
    r"\bW/(?:O\b|(?=[ ]))",
    r"(?<=\d)\(K\)",
    rf"(?<![\w'])(?:{any_of(_TEXTED)})(?![\w'-])",
)
_TITLE_CASE = (
    rf"(?<=[A-Z.][ ])(?:{_STREETS})(?=\.|,|\s*\Z)",
    r"(?:(?<=[.!?][ ])|(?<![\s\S][ ])(?<![^\s\"(]))(?:SAT|SUN)(?=\.[ ])",
    rf"\b(?:{_MONTHS})(?=[-–](?:{_MONTHS})\b)|(?<=(?:{_MONTHS})[-–])(?:{_MONTHS})\b",
    rf"\b{_WEEKDAY}(?=[ ]?[-–][A-Z])|"
    + "|".join(
        rf"(?<={day}[-–]){_WEEKDAY}" for day in "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY".split()
    ),
    r"\b(?:CTRL|[DHST]X(?=[ ](?:OF|WITH)\b|:)|SEC\.-GEN)\b",
)
_PATTERN = re.compile(
    rf"(?P<lower>{'|'.join(_LOWER_CASE)})"
    rf"|(?P<title>{'|'.join(_TITLE_CASE)})"
    rf"|(?P<own>\b(?:{any_of(_OWN_CASE)})\b)"
    rf"|(?P<unit>(?:(?<=\d)|(?<=\d[ ])|(?<=ION[ ]))(?:{any_of(_UNITS)})(?![\w'&]))"
    r"|(?P<party>(?<=\([DRI]-)[A-Z]{3,5}(?=\.?[),;]))"
    r"|(?P<word>(?<![\w'/&.-])[A-Z]{2,8}(?:'[DTLYN])?(?![\w'/&-]|[ ]\d{5}\b))"
)
_PRICE = re.compile(
    rf"[$£€¥][\d.,]{{1,15}}(?:(?:[ ]?[KMBT]N?|[ -](?:{_SCALES}))\b)?"
    r"(?P<noun>(?:-[A-Z]{1,12}){0,3}[ ][A-Z]{3,15}\b)"
)
_FOOD = re.compile(r"\d[ ]?(?:C|T|TBSP|TSP|OZ|PT|QT|G|ML)\.?(?P<noun>[ ](?:[A-Z-]{2,15},?[ ]){0,3}[A-Z]{2,15})\b")


def recased(context: Context) -> list[Edit]:
    """Edits that change the case of words in sentences in capitals; each keeps the length of the text."""
    if not any(shouted for _, shouted in shouted_segments(context)):
        return []
    text = context.text
    cases = {}
    for match in _PATTERN.finditer(text):
        if is_shouted(context, match.start()):
            cases[match.start()] = _case_of(match, context)
    for pattern in (_PRICE, _FOOD):
        context.cache["segment"] = 0
        for match in pattern.finditer(text):
            if not is_shouted(context, match.start()):
                continue
            lower = match["noun"].lower()
            words = re.findall(r"[a-z]{2,15}", lower)
            if (
                any(word in SPELLED or not context.known(word) for word in words)
                or pattern is _FOOD
                and not COOKED.match(lower)
            ):
                continue
            for position in range(*match.span("noun")):
                cases.pop(position, None)
            cases[match.start("noun")] = lower
    context.cache["segment"] = 0
    return [Edit(p, p + len(w), w, "capitals") for p, w in sorted(cases.items()) if text[p : p + len(w)] != w]


def _case_of(match, context):
    kind, found = match.lastgroup, match[0]
    if kind == "lower":
        return found.lower()
    if kind == "title":
        return found.title()
    if kind == "own":
        return _OWN_CASE[found]
    if kind == "unit":
        return _UNITS[found]
    if kind == "party":
        return found.title() if found in _STATES else found
    return _case_of_word(found, match.start(), match.end(), context)


def _case_of_word(word, start, end, context):
    """The case of a function word, an abbreviation, a day or a month; other words keep their capitals."""
    lower, following = word.lower(), context.text[end : end + 2]
    if lower in _LOWER:
        return lower
    if lower in LABELS and following in (": ", ".:"):
        return word.title()
    if lower in SPELLED or context.cache["acronym"](word):
        return word
    if following[:1] == "." and lower in _DOTTED:
        return word.title()
    known = context.known(lower)
    if lower in _DATES and (not known or _ON_A_DAY.search(context.before(start, 12))):
        return word.title()
    return lower if lower in _BARE and not known else word
