"""Times of day and durations."""

from __future__ import annotations

import re

from .common import NUM, SIGN, SIGNS, Context, any_of, join, rule

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


_DAY_WORD = r"(?:[Nn]oon|NOON|[Mm]idnight|MIDNIGHT|[Mm]idday|MIDDAY)"
_UNTIL = r"(?:[ ]?[-–—][ ]?|[ ]to[ ])"


@rule(
    "time",
    rf"(?P<h1>{_HOUR})(?:[:.](?P<m1>[0-5]\d))?(?:{_HALF.format(n=1)}|[ ]?(?P<bare>[AaPp]))?{_UNTIL}"
    rf"(?P<last>{_DAY_WORD}|[Cc]lose|[Cc]losing)(?![\w'])",
)
def span_to_noon(match, context):
    """10 a.m.-noon, 6:30–midnight, 9am-close"""
    half = match["half1"] or match["bare"]
    if not half and " " in match[0] and (" to " in match[0] or match["last"][0] in "cC" and not match["m1"]):
        return None
    if half or match["m1"] not in (None, "00"):
        first = _clock(context, match["h1"], match["m1"], half)
    else:
        first = context.cardinal(match["h1"])
    return f"{first} to {match['last'].lower()}"


@rule(
    "time",
    rf"(?P<first>{_DAY_WORD})[ ]?[-–—][ ]?(?:(?P<last>{_DAY_WORD}|[Cc]lose)(?![\w'])|"
    rf"(?P<h1>{_HOUR})(?:[:.](?P<m1>[0-5]\d))?(?!\d)"
    rf"(?:{_HALF.format(n=1)}|[ ]?(?P<bare>[AaPp])(?!\w))?(?![\w%/]){_ZONE})",
)
def span_from_noon(match, context):
    """noon-1 p.m., midnight–6, noon-midnight"""
    first = match["first"].lower()
    if match["last"]:
        return f"{first} to {match['last'].lower()}"
    half = match["half1"] or match["bare"]
    if half or match["m1"] not in (None, "00"):
        last = _clock(context, match["h1"], match["m1"], half)
    else:
        last = context.cardinal(match["h1"])
    return _finish(f"{first} to {last}", match, context)


_BARE_HALF = r"(?P<half{n}>[AaPp])(?![\w'])"
# "at 7p" is an evening in American English, a price in British.
_EVENING_BEFORE = re.compile(
    r"(?:\b(?:mon|tues?|weds?|thu|thurs?|fri|sat|sun|[a-z]{3,6}day|today|tonight|tomorrow|tmrw|until|till|til|"
    r"\d(?:st|nd|rd|th)|\d/\d{1,2}|(?P<at>at|by|from|after|before))\.?,?[ ]|@[ ]?)\Z",
    re.IGNORECASE,
)


@rule(
    "time",
    rf"(?P<h1>0?[1-9]|1[0-2])(?::(?P<m1>[0-5]\d))?(?P<half1>[AaPp])?[ ]?[-–—][ ]?"
    rf"(?P<h2>0?[1-9]|1[0-2])(?::(?P<m2>[0-5]\d))?{_BARE_HALF.format(n=2)}",
)
def short_span(match, context):
    """10a-2p, 7-9p"""
    if not match["half1"] and not match["m1"] and not match["m2"]:
        before = _EVENING_BEFORE.search(context.before(match.start(), 16))
        if before is None or before["at"] and context.british:
            return None
    first, second = (_clock(context, match[f"h{n}"], match[f"m{n}"], match[f"half{n}"]) for n in "12")
    if not match["half1"] and match["m1"] in (None, "00"):
        first = context.cardinal(match["h1"])
    return f"{first} to {second}"


@rule("time", rf"(?P<h1>0?[1-9]|1[0-2])(?::(?P<m1>[0-5]\d))?{_BARE_HALF.format(n=1)}(?!-\w)")
def short_half(match, context):
    """6:10a; 7p after a day"""
    if not match["m1"]:
        before = _EVENING_BEFORE.search(context.before(match.start(), 16))
        if before is None or before["at"] and (context.british or match["half1"] in "aA"):
            return None
    return _clock(context, match["h1"], match["m1"], match["half1"])


@rule("time", rf"(?P<h>0\d)(?P<m>[0-5]\d)(?![\w:/-]|[.,]\d){_ZONE}")
def four_digits(match, context):
    """depart 0815, 0600 EST"""
    before = context.before(match.start(), 12)
    zone = _zone(match["zone"]) if match["zone"] else ""
    if not zone and not re.search(
        r"\b(?:depart(?:s|ing)?|arrive?(?:s|ing)?|dep\.?|arr\.?|at|by|until|from|before|after)[ ]\Z", before, re.I
    ):
        return None
    minutes = "hundred" if match["m"] == "00" else _minutes(match["m"], context)
    return join("zero", context.cardinal(match["h"][1]), minutes, zone), match.end() if zone else match.end("m")


@rule("time", r"(?P<h>\d|[01]\d|2[0-3])h[ ]?(?P<m>[0-5]\d)(?:m|min|mins)?(?![\w:])")
def hours_joined(match, context):
    """1h45, and 14h30 as a time of day"""
    hour, minutes = match["h"], match["m"]
    if int(hour) >= 13 or re.search(r"(?:\b(?:at|from|until|by|to)[ ]|@[ ]?)\Z", context.before(match.start(), 8)):
        return join(context.cardinal(hour), _minutes(minutes, context) or "hundred hours")
    words = f"{context.cardinal(hour)} hour{'' if int(hour) == 1 else 's'}"
    if minutes == "00":
        return words
    return f"{words} {context.cardinal(int(minutes))} minute{'' if minutes == '01' else 's'}"


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


@rule(
    "time",
    rf"(?P<h1>{_HOUR}):(?P<m1>[0-5]\d)[ ]?[-–—][ ]?(?P<h2>[1-9]|1[0-2])(?![\w:%/$]|[.,]\d|-\d)|"
    rf"(?P<from>[1-9]|1[0-2])[ ]?[-–—][ ]?(?P<h3>{_HOUR}):(?P<m3>[0-5]\d)(?![\d:])",
)
def uneven_span(match, context):
    """5:30-7, 7-8:30"""
    if match["from"]:
        return f"{context.cardinal(match['from'])} to {_clock(context, match['h3'], match['m3'], None)}"
    return f"{_clock(context, match['h1'], match['m1'], None)} to {context.cardinal(match['h2'])}"


# Books of the Bible by their short forms.
_SHORT_BOOKS = {
    "Gen": "Genesis",
    "Ex": "Exodus",
    "Exod": "Exodus",
    "Lev": "Leviticus",
    "Num": "Numbers",
    "Deut": "Deuteronomy",
    "Josh": "Joshua",
    "Judg": "Judges",
    "Sam": "Samuel",
    "Kgs": "Kings",
    "Chr": "Chronicles",
    "Chron": "Chronicles",
    "Neh": "Nehemiah",
    "Ps": "Psalm",
    "Pss": "Psalms",
    "Prov": "Proverbs",
    "Eccl": "Ecclesiastes",
    "Isa": "Isaiah",
    "Jer": "Jeremiah",
    "Lam": "Lamentations",
    "Ezek": "Ezekiel",
    "Dan": "Daniel",
    "Hos": "Hosea",
    "Mic": "Micah",
    "Hab": "Habakkuk",
    "Zech": "Zechariah",
    "Mal": "Malachi",
    "Matt": "Matthew",
    "Mt": "Matthew",
    "Mk": "Mark",
    "Lk": "Luke",
    "Jn": "John",
    "Rom": "Romans",
    "Cor": "Corinthians",
    "Gal": "Galatians",
    "Eph": "Ephesians",
    "Phil": "Philippians",
    "Col": "Colossians",
    "Thess": "Thessalonians",
    "Tim": "Timothy",
    "Heb": "Hebrews",
    "Jas": "James",
    "Pet": "Peter",
    "Rev": "Revelation",
}


@rule("verse", rf"(?P<book>{any_of(_SHORT_BOOKS)})\.?(?=[ ]\d{{1,3}}(?::\d{{1,3}}))|(?P<psalm>Ps)\.(?=[ ]\d)")
def book(match, context):
    """Matt. 5:3"""
    return "Psalm" if match["psalm"] else _SHORT_BOOKS[match["book"]]


_NUMBERED_BOOKS = (
    "Samuel Kings Chronicles Corinthians Thessalonians Timothy Peter John Sam Kgs Chr Chron Cor Thess Tim Pet Jn"
).split()


@rule("verse", rf"(?P<number>[123])[ ](?=(?:{any_of(_NUMBERED_BOOKS)})\.?[ ]\d{{1,3}}:\d)")
def numbered_book(match, context):
    """1 Cor. 13:4"""
    return {"1": "first", "2": "second", "3": "third"}[match["number"]] + " "


_ANY_BOOK_BEFORE = re.compile(
    rf"\b(?:{any_of([*_BOOKS, *_SHORT_BOOKS])})\.?[ ]\Z|\b(?:Qur'an|Quran|Koran|Surah?)[ ]\Z"
)


@rule("verse", r"(?P<chapter>\d{1,3}):(?P<verse>\d{1,3})(?:[-–](?P<to>\d{1,3}))?(?![\d:])")
def verse(match, context):
    """John 3:16-18"""
    if not _ANY_BOOK_BEFORE.search(context.before(match.start(), 20)):
        return None
    words = f"{context.cardinal(match['chapter'])} {context.cardinal(match['verse'])}"
    return f"{words} to {context.cardinal(match['to'])}" if match["to"] else words


@rule("time", rf"(?P<h>{_HOUR}):(?P<m>[0-5]\d)(?![\d:]){_ZONE}")
def clock(match, context):
    """3:30, 23:00"""
    hour, minutes = match["h"], match["m"]
    is_military = hour[0] == "0" and len(hour) == 2 and int(hour) == 0
    words = join(context.cardinal(hour), _minutes(minutes, context))
    if minutes == "00":
        words = f"{words} o'clock" if not is_military else "midnight"
    zone = _zone(match["zone"]) if match["zone"] else ""
    return (join(words, zone), match.end()) if zone is not None else (words, match.end("m"))


@rule("time", r"(?P<a>2[5-9]|[3-5]\d):(?P<b>[0-5]\d)(?P<fraction>\.\d{1,3})?(?![\d:])(?![ ]?(?:ratio|split|mix|odds))")
def minutes_and_seconds(match, context):
    """a time of 38:45"""
    if not match["fraction"] and int(match["a"]) + int(match["b"]) in (100, 0):
        return None
    seconds = _minutes(match["b"], context) or "zero zero"
    fraction = match["fraction"]
    return join(context.cardinal(match["a"]), seconds, context.number("0" + fraction)[5:] if fraction else "")


@rule("time", r"(?P<zone>UTC|GMT)[ ]?(?P<sign>[-–−+])(?P<h>\d{1,2})(?::(?P<m>[0-5]\d))?(?![\w:])")
def offset(match, context):
    """UTC+2, GMT-05:30"""
    minutes = _minutes(match["m"] or "00", context)
    return join(match["zone"], SIGNS[match["sign"]], context.cardinal(int(match["h"])), minutes)


@rule("time", r"T[-−](?=\d{1,3}[ ](?:min|sec|hour|day|hr|and\b))")
def countdown(match, context):
    """T-10 minutes"""
    return "T minus "


@rule("time", r"(?P<a>\d{1,4}):(?P<b>\d{1,4})(?::(?P<c>\d{1,4}))?(?![\d:])")
def ratio(match, context):
    """16:9, 3:1"""
    parts = [context.cardinal(part) for part in match.group("a", "b", "c") if part]
    return " to ".join(parts)


@rule("time", r"(?P<h>0[1-9])\.(?P<m>[0-5]\d)(?![\w%]|[.,:]\d)")
def dotted(match, context):
    """leaves at 06.55"""
    if not re.search(
        r"\b(?:leaves?|departs?|arrives?|at|from|until|till|by|to)[ ]\Z", context.before(match.start(), 9)
    ):
        return None
    return _clock(context, match["h"], match["m"], None)


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


@rule("time", rf"{SIGN}?(?P<number>\d{{1,4}}(?:\.\d{{1,3}})?)[ ]?(?P<unit>s|h)(?![\w/^'])")
def short_duration(match, context):
    """30s, 5h; decades ("the 30s") have an earlier rule."""
    number = match["number"]
    unit = "second" if match["unit"] == "s" else "hour"
    if unit == "second" and " " not in match[0] and number.isdigit() and len(number) == 4:
        return None
    words = f"{context.number(number, match['sign'])} {unit}"
    return words if number == "1" or context.is_attributive(match.start(), match.end()) else f"{words}s"


RULES = (
    verse,
    numbered_book,
    span_to_noon,
    span,
    with_half,
    short_span,
    short_half,
    hours_joined,
    four_digits,
    with_seconds,
    clock_span,
    uneven_span,
    clock,
    minutes_and_seconds,
    ratio,
    dotted,
    military,
    duration,
)
WORD_RULES = {
    **dict.fromkeys(("noon", "midnight", "midday"), (span_from_noon,)),
    **dict.fromkeys(("utc", "gmt"), (offset,)),
    "t": (countdown,),
    **dict.fromkeys((name.lower() for name in _SHORT_BOOKS), (book,)),
}
LATE_RULES = (short_duration,)
