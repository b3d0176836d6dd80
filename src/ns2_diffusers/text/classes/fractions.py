"""Fractions and mixed numbers."""

from __future__ import annotations

import re

from ..numbers import plural
from .common import SIGN, SIGNS, Context, join, pairs, rule

# Fractions that are read as two numbers.
_PAIRS = {
    ("24", "7"): "twenty four seven",
    ("50", "50"): "fifty fifty",
    ("9", "11"): "nine eleven",
    ("7", "11"): "seven eleven",
}


def spoken_fraction(context: Context, top: str, bottom: str, after_whole: bool = False) -> str:
    """3/4 is "three quarters", 1/2 after a whole number "a half"."""
    above, below = int(top), int(bottom)
    if below <= 1:
        return f"{context.cardinal(above)} over {context.cardinal(below)}"
    if below == 2:
        if above == 1:
            return "a half" if after_whole else "one half"
        return f"{context.cardinal(above)} halves"
    if below == 4:
        unit = "quarter"
    else:
        unit = context.ordinal(below)
    return f"{context.cardinal(above)} {unit if above == 1 else plural(unit)}"


_NUMBERS = (
    r"(?<!\d/)(?P<top>\d{1,9})(?P<slash>[ ]?/[ ]?)(?P<bottom>\d{1,9})(?P<suffix>(?:st|nd|rd|"
    r"th|ST|ND|RD|TH)s?)?(?![\w])(?![./]\d)"
)
_OUT_OF = re.compile(
    r"[ ](?:stars?|points?|marks?|score|rating|correct|votes|attempts|times|right|questions)\b|"
    r"[ ](?:on|in|for)[ ](?:(?:the|my|a|her|his|our|their|this|that|last)[ ])?(?:\w+[ ]){0,2}"
    r"(?:quiz|test|exam|paper|final|midterm|assignment|homework|essay)\b",
    re.IGNORECASE,
)
_SCORED_BEFORE = re.compile(
    r"\b(?:scored?|scores|got|rated|rating|grade|graded|gave (?:it|him|her|them|this)( a)?|marks?|received|"
    r"earned)(?: an?| of|:)?[ ]\Z",
    re.IGNORECASE,
)
_FULL_MARKS = frozenset("10 20 25 30 40 50 60 80 100".split())


def _is_score(match, context):
    """Whether the numbers are points out of the most that can be scored, 18/20."""
    top, bottom = match["top"], match["bottom"]
    if match["suffix"] or int(top) > int(bottom):
        return False
    if _OUT_OF.match(context.text, match.end()) and top != "0":
        return True
    of = re.compile(r"[ ](?:of|inch|cup|mile)").match(context.text, match.end())
    return bottom in _FULL_MARKS and not of and bool(_SCORED_BEFORE.search(context.before(match.start(), 20)))


@rule("fraction", rf"{SIGN}?(?P<whole>\d{{1,9}})[ -]{_NUMBERS}")
def mixed(match, context):
    """2 1/2"""
    if " " in match["slash"]:
        return None
    if match["bottom"] == "0" or match["whole"].startswith("0") and len(match["whole"]) > 1:
        return None
    return join(
        SIGNS[match["sign"]],
        context.cardinal(match["whole"]),
        "and",
        spoken_fraction(context, match["top"], match["bottom"], True),
    )


@rule(
    "fraction",
    r"(?P<top>\d{1,2})/(?P<bottom>[23456789]|10|12|16|32|64)[ ]?[-–][ ]?"
    r"(?=\d{1,2}(?:/\d|[ ]\d/\d|[ ]?[\"A-Za-z]|[\"')]?\s*$))",
)
def first_of_span(match, context):
    """1/4-1/2 cup: what follows is read by itself"""
    if int(match["top"]) >= int(match["bottom"]):
        return None
    return f"{spoken_fraction(context, match['top'], match['bottom'])} to "


_PRESSURE_BEFORE = re.compile(
    r"\b(?:bp|blood pressure|b\.p\.)(?:[ ](?:of|is|was|at|now|reading))*:?[ ]\Z", re.IGNORECASE
)
_PRESSURE_AFTER = re.compile(r"[ ]?(?:mm[ ]?Hg|blood pressure|BP)(?!\w)")


def _is_pressure(match, context):
    """Whether the numbers are a blood pressure, 128/82."""
    top, bottom = match["top"], match["bottom"]
    if match["suffix"] or not (60 <= int(top) <= 300 and 30 <= int(bottom) <= 200 and int(top) > int(bottom)):
        return False
    return bool(
        _PRESSURE_BEFORE.search(context.before(match.start(), 40))
        or _PRESSURE_AFTER.match(context.text, match.end())
        or len(top) == 3
        and len(bottom) == 2
        and bottom[0] in "5678"
    )


_INNINGS_BEFORE = re.compile(r"(?:\b[A-Z][A-Za-z]+|\b(?:at|on|reached|made|were|to|from|are|closed on))[ ]\Z")
_INNINGS_AFTER = re.compile(
    r"[ ]?(?:dec\b|\(?\d{1,3}(?:\.\d)?[ ](?:ov|overs)\b|(?:in|off|after|from)[ ]\d{1,3}(?:\.\d)?[ ]ov)"
)


def _is_innings(match, context):
    """Whether the numbers are runs and wickets, England 287/6."""
    top, bottom = int(match["top"]), int(match["bottom"])
    if match["suffix"] or not (10 <= top and 1 <= bottom <= 9 and top > 4 * bottom):
        return False
    return bool(
        _INNINGS_AFTER.match(context.text, match.end())
        or top >= 25
        and _INNINGS_BEFORE.search(context.before(match.start(), 20))
    )


@rule("fraction", r"(?P<width>\d{3})/(?P<height>\d{2})(?=[ ]?Z?R[ ]?\d{2}(?!\d))")
def tyre(match, context):
    """205/55 R16"""
    return f"{pairs(match['width'])} {context.cardinal(match['height'])}"


@rule("fraction", rf"{SIGN}?{_NUMBERS}")
def fraction(match, context):
    """3/4, 5/5 stars"""
    top, bottom = match["top"], match["bottom"]
    sign = SIGNS[match["sign"]]
    if (top, bottom) in _PAIRS and not match["suffix"]:
        return _PAIRS[top, bottom]
    if int(top) + int(bottom) == 100 and min(len(top), len(bottom)) == 2 and not match["suffix"]:
        return f"{context.cardinal(top)} {context.cardinal(bottom)}"  # shares of a hundred, 60/40
    if top[0] == "0" and len(top) > 1 or bottom[0] == "0" and len(bottom) > 1:
        return f"{context.number(top)} slash {context.number(bottom)}"
    if len(top) == len(bottom) == 4 and top[:2] in ("19", "20") and int(bottom) == int(top) + 1:
        return f"{context.year(top)} {context.year(bottom)}"  # a season, 2019/2020
    if len(top) == 4 and len(bottom) == 2 and top[:2] in ("19", "20") and int(bottom) == (int(top) + 1) % 100:
        return f"{context.year(top)} {context.cardinal(bottom)}"
    if top == bottom and 1 < int(top) <= 100 or _is_score(match, context):
        return f"{context.cardinal(top)} out of {context.cardinal(bottom)}"
    if _is_pressure(match, context):
        return f"{context.cardinal(top)} over {context.cardinal(bottom)}"
    if _is_innings(match, context):
        return f"{context.cardinal(top)} for {context.cardinal(bottom)}"
    if top == "0":
        return f"{context.cardinal(top)} out of {context.cardinal(bottom)}" if bottom != "0" else None
    return join(sign, spoken_fraction(context, top, bottom))


@rule("fraction", r"(?P<top>\d{1,3}(?:\.\d{1,2})?)/(?P<bottom>\d{1,3}(?:\.\d)?)(?![\w%/])(?!\.\d)")
def rating(match, context):
    """4.5/5 stars, a GPA of 3.85/4.0"""
    top, bottom = match["top"], match["bottom"]
    if "." not in top or float(top) > float(bottom) or bottom not in ("4", "4.0", "5", "5.0", "10", "10.0", "100"):
        return None
    return f"{context.number(top)} out of {context.number(bottom)}"


_PRODUCT_BEFORE = re.compile(
    r"\b(?:Windows|iOS|Android|macOS|PS|Xbox|iPhone|Galaxy|Pixel|channels?|grades?|sizes?|rows?|gas|routes?)[ ]\Z"
)


@rule("fraction", r"(?P<first>\d{1,3})/(?P<second>\d{1,3})(?![\w%/])(?!\.\d)")
def either(match, context):
    """Windows 10/11"""
    if not _PRODUCT_BEFORE.search(context.before(match.start(), 12)) or int(match["first"]) >= int(match["second"]):
        return None
    return f"{context.cardinal(match['first'])} slash {context.cardinal(match['second'])}"


@rule(
    "fraction",
    r"(?P<first>\d{1,2})/(?P<second>\d{1,2})(?:[ ]?(?P<unit>hz|mpg)(?!\w)|(?![\w/])(?!\.\d))",
    re.IGNORECASE,
)
def paired(match, context):
    """50/60 Hz, 28/35 mpg, EPA MPG: 28/35"""
    unit = match["unit"] or ""
    if not unit and not _ECONOMY_BEFORE.search(context.before(match.start(), 12)):
        return None
    pair = f"{context.cardinal(match['first'])} slash {context.cardinal(match['second'])}"
    return join(pair, {"hz": "hertz", "mpg": "miles per gallon"}.get(unit.lower(), ""))


_ECONOMY_BEFORE = re.compile(r"\bmpg(?: is| of|:)?[ ]\Z", re.IGNORECASE)


@rule(
    "fraction", r"(?P<beats>[2-9]|12)/(?P<note>[248]|16)(?=[ ](?:time|meter|metre|time signature|beat|rhythm)(?!\w))"
)
def meter(match, context):
    """3/4 time"""
    return f"{context.cardinal(match['beats'])} {context.cardinal(match['note'])}"


@rule("fraction", r"(?P<top>\d{2,3})/(?P<bottom>\d{2,3})(?=[ ]?(?:mm[ ]?Hg)(?!\w))")
def pressure(match, context):
    """120/80 mmHg"""
    return f"{context.cardinal(match['top'])} over {context.cardinal(match['bottom'])} millimeters of mercury", (
        re.compile(r"[ ]?mm[ ]?Hg").match(context.text, match.end()).end()
    )


EARLY_RULES = (pressure, rating, paired, either, meter)
RULES = (first_of_span, mixed, tyre, fraction)
