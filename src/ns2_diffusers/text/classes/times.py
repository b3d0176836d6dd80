"""Times of day and durations."""

from __future__ import annotations

import re

from .common import NUM, Context, any_of, join, rule

_HALF = r"(?:[ ]?(?P<half{n}>[AaPp])(?:\.[ ]?[Mm]\.|(?:\.[ ]?)?[Mm](?![A-Za-z])))"
_ZONES = {
    "est": "EST",
    "edt": "EDT",
    "cst": "CST",
    "cdt": "CDT",
    "mst": "MST",
    "mdt": "MDT",
    "pst": "PST",
    "pdt": "PDT",
    "gmt": "GMT",
    "utc": "UTC",
    "bst": "BST",
    "cet": "CET",
    "cest": "CEST",
    "ist": "IST",
    "jst": "JST",
    "aest": "AEST",
    "et": "ET",
    "pt": "PT",
    "ct": "CT",
}
_ZONE = (
    r"(?:[ ]?\(?(?P<zone>(?:[A-Z]{2,4}|est|edt|cst|cdt|pst|pdt|gmt|utc|bst|cet|"
    r"(?:[A-Za-z]\.){2,3}[A-Za-z]?\.?))\)?(?![\w]))?"
)
_HOUR = r"(?:[01]?\d|2[0-4])"
_BOOKS = (
    "Genesis Exodus Leviticus Numbers Deuteronomy Joshua Judges Ruth Samuel Kings Chronicles Ezra Nehemiah Esther Job "
    "Psalm Psalms Proverbs Ecclesiastes Isaiah Jeremiah Lamentations Ezekiel Daniel Hosea "
    "Joel Amos Obadiah Jonah Micah "
    "Nahum Habakkuk Zephaniah Haggai Zechariah Malachi Matthew Mark Luke John Acts Romans Corinthians Galatians "
    "Ephesians Philippians Colossians Thessalonians Timothy Titus Philemon Hebrews James Peter Jude Revelation"
).split()
_VERSE_BEFORE = re.compile(rf"\b(?:{any_of(_BOOKS)})[ ]\Z")


def _zone(text):
    if not text:
        return ""
    key = text.replace(".", "").lower()
    return _ZONES.get(key)


def _minutes(minutes, context):
    if minutes == "00":
        return ""
    return f"oh {context.cardinal(minutes[1])}" if minutes[0] == "0" else context.cardinal(minutes)


def _clock(context: Context, hour: str, minutes: str | None, half: str | None) -> str:
    """An hour and minutes; a full hour without a.m. or p.m. is "o'clock"."""
    words = join(context.cardinal(hour), _minutes(minutes or "00", context))
    if half:
        return f"{words} {half.upper()}M"
    return words if minutes and minutes != "00" else f"{words} o'clock"


def _time(group):
    return rf"(?P<h{group}>{_HOUR})(?:[:.](?P<m{group}>[0-5]\d))?(?!\d)" + _HALF.format(n=group)


@rule(
    "time",
    rf"(?P<h1>{_HOUR})(?:[:.](?P<m1>[0-5]\d))?(?:{_HALF.format(n=1)})?(?:[ ]?[-–—][ ]?|[ ]to[ ]){_time(2)}{_ZONE}",
)
def span(match, context):
    """10am-2pm, 5-7 pm, 4:00 am - 8:12 pm"""
    second = _clock(context, match["h2"], match["m2"], match["half2"])
    if match["half1"] or match["m1"] not in (None, "00"):
        first = _clock(context, match["h1"], match["m1"], match["half1"])
    else:
        first = context.cardinal(match["h1"])
    return _finish(f"{first} to {second}", match, context)


def _finish(words, match, context):
    """Add the time zone, and the full stop if p.m. ends its sentence."""
    zone = _zone(match["zone"]) if match["zone"] else ""
    if zone is None:
        # Capitals that are not a time zone are left to other rules.
        end = match.start("zone")
        while context.text[end - 1] in " (":
            end -= 1
        return _with_stop(words, context, end)
    words = join(words, zone)
    return _with_stop(words, context, match.end())


def _with_stop(words, context, end):
    if context.text[end - 1] == "." and context.ends_sentence(end):
        words += "."
    return words, end


@rule("time", rf"{_time(1)}{_ZONE}")
def with_half(match, context):
    """10am, 8.30am, 1:59 p.m. EST"""
    return _finish(_clock(context, match["h1"], match["m1"], match["half1"]), match, context)


@rule(
    "time",
    rf"(?P<h>\d{{1,3}}):(?P<m>[0-5]\d):(?P<s>[0-5]\d)(?P<fraction>[.,]\d{{1,6}})?(?P<half>{_HALF.format(n=1)})?(?![\d:]){_ZONE}",
)
def with_seconds(match, context):
    """1:01:01, 14:10:30"""
    words = []
    for number, unit in zip(match.group("h", "m", "s"), ("hour", "minute", "second"), strict=True):
        spoken = context.cardinal(number)
        if unit == "second" and match["fraction"]:
            spoken = context.number(
                number.lstrip("0") + "." + match["fraction"][1:] if number != "00" else "0." + match["fraction"][1:]
            )
        if int(number) or unit != "hour":
            words.append(f"{spoken} {unit}{'' if spoken == 'one' else 's'}")
    spoken = f"{' '.join(words[:-1])} and {words[-1]}"
    half = match["half1"]
    return _finish(f"{spoken} {half.upper()}M" if half else spoken, match, context)


@rule("time", rf"(?P<h1>{_HOUR}):(?P<m1>[0-5]\d)[ ]?[-–—][ ]?(?P<h2>{_HOUR}):(?P<m2>[0-5]\d)(?![\d:])")
def clock_span(match, context):
    """9:30-10:15"""
    first, second = (_clock(context, match[f"h{n}"], match[f"m{n}"], None) for n in "12")
    return f"{first} to {second}"


@rule("time", rf"(?P<h>{_HOUR}):(?P<m>[0-5]\d)(?![\d:]){_ZONE}")
def clock(match, context):
    """3:30, 23:00"""
    hour, minutes = match["h"], match["m"]
    if _VERSE_BEFORE.search(context.before(match.start(), 20)):
        return f"{context.cardinal(hour)} {context.cardinal(minutes)}", match.end("m")
    is_military = hour[0] == "0" and len(hour) == 2 and int(hour) == 0
    words = join(context.cardinal(hour), _minutes(minutes, context))
    if minutes == "00":
        words = f"{words} o'clock" if not is_military else "midnight"
    zone = _zone(match["zone"]) if match["zone"] else ""
    return (join(words, zone), match.end()) if zone is not None else (words, match.end("m"))


@rule("time", r"(?P<a>\d{1,4}):(?P<b>\d{1,4})(?::(?P<c>\d{1,4}))?(?![\d:])")
def ratio(match, context):
    """16:9, 3:1"""
    if _VERSE_BEFORE.search(context.before(match.start(), 20)):
        return f"{context.cardinal(match['a'])} {context.cardinal(match['b'])}"
    parts = [context.cardinal(part) for part in match.group("a", "b", "c") if part]
    return " to ".join(parts)


@rule("time", r"(?P<h>[01]\d|2[0-3])(?P<m>[0-5]\d)[ ]?(?:hours|hrs|h)\b")
def military(match, context):
    """1430 hours"""
    hour, minutes = match["h"], match["m"]
    first = f"zero {context.cardinal(hour[1])}" if hour[0] == "0" else context.cardinal(hour)
    second = "hundred" if minutes == "00" else _minutes(minutes, context)
    return f"{first} {second} hours"


_DURATIONS = {
    "d": "day",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "m": "minute",
    "min": "minute",
    "mins": "minute",
    "s": "second",
    "sec": "second",
    "secs": "second",
}
_PART = r"\d{1,4}(?:\.\d{1,3})?[ ]?(?:hrs?|h|mins?|m|secs?|s|d)"


@rule("time", rf"{_PART}(?:[ ]?{_PART}){{1,3}}(?![\w])")
def duration(match, context):
    """2h 30m, 1 hr 5 min"""
    parts = re.findall(rf"({NUM})[ ]?([a-z]+)", match[0])
    units = [_DURATIONS[unit] for _, unit in parts]
    if [*dict.fromkeys(units)] != units or sorted(units, key=["day", "hour", "minute", "second"].index) != units:
        return None
    if "hour" not in units and "second" not in units:
        return None
    return " ".join(
        f"{context.number(number)} {unit}{'' if number == '1' else 's'}"
        for (number, _), unit in zip(parts, units, strict=True)
    )


@rule("time", r"(?P<number>\d{1,4}(?:\.\d{1,3})?)[ ]?(?P<unit>s|h)(?![\w/^'])")
def short_duration(match, context):
    """30s, 5h; decades ("the 30s") have an earlier rule."""
    number = match["number"]
    unit = "second" if match["unit"] == "s" else "hour"
    if unit == "second" and " " not in match[0] and len(number) == 4:
        return None
    if context.is_attributive(match.start(), match.end()):
        return f"{context.number(number)} {unit}"
    return f"{context.number(number)} {unit}{'' if number == '1' else 's'}"


RULES = (span, with_half, with_seconds, clock_span, clock, ratio, military, duration)
LATE_RULES = (short_duration,)
