"""Gives abbreviations and units of a sentence in capitals the case in which the classes expect them."""

from __future__ import annotations

import re

from ..edits import Edit
from .abbreviations import BARE_WORDS, CHAT
from .common import FUNCTION_WORDS, Context, any_of
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
_SCALES = "HUNDRED|THOUSAND|MILLION|BILLION|TRILLION"
_STREETS = "ST|CT|LN|PL|TERR?|PLZ|CIR|DR|MT"
_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_PATTERN = re.compile(
    rf"(?P<ordinal>(?<=\d)(?:ST|ND|RD|TH)\b)"
    rf"|(?P<scale>(?<=\d[ -])(?:{_SCALES})\b)"
    r"|(?P<factor>(?<=\d)[ ]?X[ ]?(?=\d))"
    rf"|(?P<metres>(?<=\d[ ])M(?=[ ](?:HIGH|TALL|LONG|DEEP|WIDE|RELAY|RACE|SPRINT|FREESTYLE|FINAL|IN|ABOVE|BELOW)\b)"
    rf"|(?<=\d,\d\d\d[ ])M(?![\w'&/.-]))"
    r"|(?P<seconds>(?<=\d\.\d)S(?![\w'/-])|(?<=\d\.\d\d)S(?![\w'/-]))"
    r"|(?P<grams>(?<=\d[ ])G(?=[ ][A-Z(])|(?<=\d\d)G(?=[ ]OF\b|[ ](?:FAT|PROTEIN|CARBS|SUGAR|FLOUR|BUTTER)\b))"
    rf"|(?P<unit>(?:(?<=\d)|(?<=\d[ ])|(?<=ION[ ]))(?:{any_of(_UNITS)})(?![\w'&]))"
    r"|(?P<cup>(?<=\d[ ])C(?=\.?[ ]))"
    rf"|(?P<street>(?<=[A-Z.][ ])(?:{_STREETS})(?=\.|,|\s*\Z))"
    r"|(?P<numeral>(?<=[IVX])'S\b)"
    r"|(?P<degree>\bPH\.D\b)"
    r"|(?P<day>(?:(?<=[.!?][ ])|(?<![\s\S][ ])(?<![^\s\"(]))(?:SAT|SUN)(?=\.[ ]))"
    rf"|(?P<month>\b(?:{_MONTHS})(?=[-–](?:{_MONTHS})\b)|(?<=(?:{_MONTHS})[-–])(?:{_MONTHS})\b)"
    r"|(?P<date>\b(?:JAN|FEB|APR|JUN|JUL|AUG|SEPT?|OCT|NOV|DEC|MON|TUES?|THU|THURS?|FRI)(?=\.|[ ]?[-–][ ]?[A-Z]{3}))"
    rf"|(?P<state>(?<=,[ ])(?:{any_of(s.upper() for s in DOTTED_STATES)})(?=\.))"
    r"|(?P<race>(?<=\d[ ]M[ ])(?:RELAY|RACE|SPRINT|FREESTYLE|FINAL)\b)"
    r"|(?P<floor>(?<=(?:ST|ND|RD|TH)[ ])FL(?=\.))"
    r"|(?P<not>(?<![\w'/&.-])[A-Z]{2,6}N'T(?!\w))"
    r"|(?P<weekday>\b(?:MON|TUES|WEDNES|THURS|FRI|SATUR|SUN)DAY(?=[ ]?[-–][A-Z]|(?<=[-–]MONDAY)"
    r"|(?<=[-–]TUESDAY)|(?<=[-–]WEDNESDAY)|(?<=[-–]THURSDAY)|(?<=[-–]FRIDAY)|(?<=[-–]SATURDAY)|(?<=[-–]SUNDAY)))"
    r"|(?P<latin>\b(?:E\.G\.|I\.E\.))"
    r"|(?P<per>(?<=/)(?:MO|YR|WK|HR|MIN|DAY|SIDE|WEEK|MONTH|YEAR|HOUR)\b)"
    r"|(?P<with>\bW/(?:O\b|(?=[ ])))"
    r"|(?P<plan>(?<=\d)\(K\))"
    r"|(?P<party>(?<=\([DRI]-)[A-Z]{3,5}(?=\.?[),;]))"
    r"|(?P<word>(?<![\w'/&.-])[A-Z]{2,8}(?![\w'/&-]|[ ]\d{5}\b))"
)
_PRICE = re.compile(
    rf"[$£€¥][\d.,]{{1,15}}(?:(?:[ ]?[KMBT]N?|[ -](?:{_SCALES}))\b)?"
    r"(?P<noun>(?:-[A-Z]{1,12}){0,3}[ ][A-Z]{3,15}\b)"
)
_FOOD = re.compile(r"\d[ ]?(?:C|T|TBSP|TSP|OZ|PT|QT|G|ML)\.?(?P<noun>[ ](?:[A-Z-]{2,15},?[ ]){0,3}[A-Z]{2,15})\b")
_TITLED = frozenset(("street", "day", "date", "month", "weekday", "state"))


def recased(context: Context) -> list[Edit]:
    """Edits that change the case of words in sentences in capitals; each keeps the length of the text."""
    if not any(shouted for _, shouted in shouted_segments(context)):
        return []
    text = context.text
    cases = {}
    for match in _PATTERN.finditer(text):
        if not is_shouted(context, match.start()):
            continue
        kind, found = match.lastgroup, match[0]
        if kind == "unit":
            cases[match.start()] = _UNITS[found]
        elif kind == "degree":
            cases[match.start()] = "Ph.D"
        elif kind == "word":
            lower = found.lower()
            if lower in _LOWER or _is_shortened(lower, context):
                cases[match.start()] = lower
        elif kind == "party":
            if found in _STATES:
                cases[match.start()] = found.title()
        else:
            cases[match.start()] = found.title() if kind in _TITLED else found.lower()
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
            cases = {p: w for p, w in cases.items() if not match.start("noun") <= p < match.end("noun")}
            cases[match.start("noun")] = lower
    context.cache["segment"] = 0
    return [Edit(p, p + len(w), w, "capitals") for p, w in sorted(cases.items()) if text[p : p + len(w)] != w]


def _is_shortened(word, context):
    """Whether a word in capitals is a shortening as in lower case, and not initials."""
    if word not in BARE_WORDS or word in CHAT or word in SPELLED or len(word) < 3 or context.known(word):
        return False
    return not context.cache["acronym"](word.upper())
