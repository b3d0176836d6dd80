"""Telephone numbers, and other numbers that are read as digits in groups."""

from __future__ import annotations

import re

from .common import digits, rule

_END = r"(?![\w])(?![-.]\d)"


def groups(text: str) -> str:
    """Digits in groups with commas between them; letters in capitals stay."""
    words = []
    for group in re.findall(r"\d+|[A-Za-z]+", text):
        words.append(digits(group) if group.isdigit() else group.upper())
    spoken = ", ".join(words)
    return f"plus {spoken}" if text.lstrip().startswith("+") else spoken


def _extension(match):
    return f", extension {digits(match['ext'])}" if match["ext"] else ""


_EXT = r"(?:,?[ ]?(?:x|ext\.?|extension)[ ]?(?P<ext>\d{1,6}))?"


@rule(
    "telephone",
    rf"(?P<number>(?:\+?\d{{1,2}}[ .-]?)?(?:\(\d{{3}}\)[ -]?|\d{{3}}[ .-])\d{{3}}[ "
    rf".-]\d{{4}}(?:-\d{{1,6}})?){_EXT}{_END}",
    re.I,
)
def american(match, context):
    return groups(match["number"]) + _extension(match)


@rule(
    "telephone",
    rf"(?P<number>\+\d{{1,3}}(?!\.\d{{1,2}}(?!\d|\.))(?:[ .-]?(?:\(\d{{1,5}}\)|\d{{1,5}})){{1,6}}){_EXT}{_END}",
    re.I,
)
def international(match, context):
    if sum(c.isdigit() for c in match["number"]) < 7:
        return None
    return groups(match["number"]) + _extension(match)


@rule("telephone", rf"(?P<number>(?:\(0\d{{1,4}}\)|0\d{{1,4}})(?:[ .-]\d{{2,8}}){{1,5}}){_EXT}{_END}", re.I)
def national(match, context):
    """Numbers of countries where they begin with zero: 020 7946 0958, 01 23 45 67 89."""
    parts = re.findall(r"\d+", match["number"])
    if sum(map(len, parts)) < 8 or len(parts) == 3 and all(len(p) <= 2 for p in parts[:2]) and len(parts[2]) == 4:
        return None  # 01-02-2020 is a date
    return groups(match["number"]) + _extension(match)


@rule("telephone", rf"1-(?P<code>8\d\d|900)-(?P<name>[A-Z0-9]{{1,10}}(?:-[A-Z0-9]{{1,10}}){{0,4}}){_END}")
def vanity(match, context):
    if not any(c.isalpha() for c in match["name"]):
        return None
    code = match["code"]
    code = f"{digits(code[0])} hundred" if code.endswith("00") else digits(code)
    words = re.findall(r"\d+|[A-Z]+", match["name"])
    return f"one, {code}, " + " ".join(
        digits(w) if w.isdigit() else w.lower() if context.known(w.lower()) and len(w) > 1 else w for w in words
    )


@rule("telephone", rf"(?!1)\d{{3}}-\d{{4}}{_EXT}{_END}", re.I)
def local(match, context):
    return groups(match[0].split("x")[0].split(",")[0][:8]) + _extension(match)


@rule(
    "telephone",
    rf"\d{{3}}-\d{{2}}-\d{{4}}{_END}|\d{{2}}-\d{{7}}{_END}|\d{{4}}(?:([ -])\d{{4}})(?:\1\d{{4}}){{1,3}}{_END}|"
    rf"\d{{4}}[ -]\d{{6}}[ -]\d{{5}}{_END}|\d{{3}}(?P<gap>[ -])\d{{4}}(?P=gap)\d{{4}}{_END}",
)
def identity(match, context):
    """Numbers of social security, of taxpayers (12-3456789), card numbers and meeting numbers"""
    return groups(match[0])


@rule("telephone", rf"(?:97[89][- ]?)?\d{{1,5}}-\d{{1,7}}-\d{{1,7}}-[\dX]{_END}|97[89]\d{{10}}{_END}|\d{{9}}X{_END}")
def book(match, context):
    if sum(c.isalnum() for c in match[0]) not in (10, 13):
        return None
    return groups(match[0])


@rule("telephone", rf"(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?P<port>:\d{{2,5}})?(?:/(?P<net>\d{{1,2}}))?{_END}")
def internet(match, context):
    address = match[0].split("/")[0].split(":")[0]
    spoken = " dot ".join(digits(part) for part in address.split("."))
    if match["port"]:
        spoken += f" colon {digits(match['port'])}"
    return spoken + (f" slash {context.cardinal(match['net'])}" if match["net"] else "")


@rule("telephone", r"\d{5,6}(?![\w,.:/%-]\d|[\w%])")
def short_code(match, context):
    """text STOP to 40404"""
    before = context.before(match.start(), 40)
    return digits(match[0]) if _MESSAGE_BEFORE.search(before) else None


_MESSAGE_BEFORE = re.compile(
    r"\b(?:text|txt|sms|message|send|reply)(?:s|ing)?[ ](?:[\"']?[\w]{1,15}[\"']?[ ]){0,3}(?:to|at)[ ]\Z|"
    r"\b(?:text|txt|sms)[ ]\Z",
    re.IGNORECASE,
)
_EMERGENCY = re.compile(r"\b(?:call|dial|phone|ring|calling|called|dialed|dialled|text|to|a|the)[ ]\Z", re.I)


# "Ring 999 in an emergency, 111 otherwise."
_OTHER_EMERGENCY = re.compile(
    r"\b(?:call|dial|phone|ring)[ ](?:911|999|112|101|111)\b(?![.?!])[^.?!\d]{1,40}\Z", re.IGNORECASE
)


@rule("telephone", r"(?:911|999|112|988|411|311|101|111)(?![\w])(?![.,:/%-]\d)")
def emergency(match, context):
    before = context.before(match.start(), 60)
    if match[0] != "911" and _OTHER_EMERGENCY.search(before):
        return digits(match[0])
    if not _EMERGENCY.search(before):
        return None
    if re.search(r"\b(?:to|a|the)[ ]\Z", before, re.I) and not (
        match[0] == "911" and re.compile(r"[ ](?:call|operator|dispatch|emergency)").match(context.text, match.end())
    ):
        return None
    return digits(match[0])


RULES = (vanity, short_code, identity, american, international, national, book, internet, local, emergency)
