"""Dates, years, decades, weekdays."""

from __future__ import annotations

import re

from ..numbers import TENS, plural
from .common import MONTHS, Context, any_of, digits, join, rule

MONTH_OF = {
    **{month.lower(): month for month in MONTHS},
    **{month[:3].lower(): month for month in MONTHS},
    "sept": "September",
}
_MONTH = rf"(?P<month>{any_of(MONTH_OF)})"
# "may", "march", "mar" and "dec" are also words and names; a day next to them decides.
_DAY = r"(?P<day>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>1\d{3}|20\d\d|21\d\d)"
DAYS = {
    "mon": "Monday",
    "tue": "Tuesday",
    "tues": "Tuesday",
    "wed": "Wednesday",
    "weds": "Wednesday",
    "thu": "Thursday",
    "thur": "Thursday",
    "thurs": "Thursday",
    "fri": "Friday",
    "sat": "Saturday",
    "sun": "Sunday",
}
_WEEKDAY = rf"(?:{any_of(DAYS)})"
_END = r"(?![\w%])(?![.:/-]\d)"
_I = re.IGNORECASE


def month_name(text: str) -> str:
    return MONTH_OF[text.lower().rstrip(".")]


def _day_of(day, month, context, has_the=False):
    """A day before its month: "the fifth of May"; a "the" in the text is not repeated."""
    return f"{'' if has_the else 'the '}{context.ordinal(int(day))} of {month}"


def spoken_date(context: Context, month: str, day: str, year: str = "", day_first: bool = False, has_the=False) -> str:
    """A date in words; a `year` of two digits is read as two digits."""
    words = _day_of(day, month, context, has_the) if day_first else f"{month} {context.ordinal(int(day))}"
    if not year:
        return words
    spoken = context.year(year) if len(year) == 4 else short_year(year)
    return f"{words}, {spoken}" if not day_first else f"{words} {spoken}"


def _full_year(text: str) -> str:
    """The year of a date in digits: 25 is 2025; 05 and 98 stay "oh five" and "ninety eight"."""
    return f"20{text}" if len(text) == 2 and "10" <= text < "40" else text


def short_year(text: str) -> str:
    """'98 is "ninety eight", '05 "oh five", '00 "two thousand"."""
    if text[0] == "0":
        return "two thousand" if text == "00" else f"oh {digits(text[1])}"
    from .common import cardinal

    return cardinal(text)


def _months_year(match, context):
    return context.year(match["year"]) if match["year"] else ""


@rule(
    "date",
    rf"{_MONTH}\.?(?:[ ]|-|[ ]the[ ])(?P<from>0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?:[ "
    rf"]?[-–][ ]?|[ ]to[ ])(?:{_MONTH.replace('month', 'month2')}\.?[ ])?(?P<to>0?[1-9]|[12]\d|"
    rf"3[01])(?:st|nd|rd|th)?(?:,?[ ]{_YEAR})?(?!\w)(?!-\d)",
    _I,
)
def month_days(match, context):
    """May 5-7, 2020"""
    month = month_name(match["month"])
    second = f"{month_name(match['month2'])} " if match["month2"] else ""
    words = f"{month} {context.ordinal(int(match['from']))} to {second}{context.ordinal(int(match['to']))}"
    return words + (f", {context.year(match['year'])}" if match["year"] else "")


@rule(
    "date",
    rf"{_MONTH}\.?(?:[ ]|-|[ ]the[ ])?{_DAY}(?!\d)(?![:%]|[ ]?(?:[ap]\.?m\b|%)|\.\d)(?:(?:,?[ "
    rf"]|-){_YEAR}(?!\d))?(?![\w])(?!/\d)(?!-\d)",
    _I,
)
def month_day(match, context):
    """May 5, JAN. 15 2020, Jan-15-2020"""
    written = match["month"]
    if len(written) > 3 or written.lower() not in (
        "may",
        "mar",
        "dec",
        "sep",
        "jan",
        "jun",
        "aug",
        "apr",
        "feb",
        "oct",
    ):
        pass
    elif context.text[match.start() + len(written)].isdigit() and not written[0].isupper():
        return None
    if (
        written.lower() == "may"
        and written[0].islower()
        and re.search(
            r"\b(?:you|I|we|they|he|she|it|who|which|that|there|one|this)[ ]\Z", context.before(match.start(), 10), _I
        )
    ):
        return None
    if (
        written.lower() in ("mar", "dec", "sep", "march", "may")
        and written.islower()
        and re.compile(r"[ ](?!\d)(?:miles|km|kilometers|people|times|more|soldiers|men|steps)\b").match(
            context.text, match.end()
        )
    ):
        return None
    if match["year"] is None and re.compile(r"[ ]?[–-][ ]?\d").match(context.text, match.end()):
        return None
    words = f"{month_name(written)} {context.ordinal(int(match['day']))}"
    if match["year"]:
        has_comma = "," in match[0]
        words += f"{',' if has_comma else ''} {context.year(match['year'])}"
    return words


@rule(
    "date",
    rf"{_MONTH}\.?,?(?:[ ]|-|'|[ ]')(?:{_YEAR}(?P<s>s?)|(?P<short>(?<=')\d\d))(?![\w%])(?![:/]\d|[.,]\d|-\d\d?\b)",
    _I,
)
def month_year(match, context):
    """Sept. 1998"""
    if match["short"]:
        return f"{month_name(match['month'])} {short_year(match['short'])}"
    words = context.year(match["year"])
    return f"{month_name(match['month'])} {plural(words) if match['s'] else words}"


@rule(
    "date",
    rf"(?:{_DAY.replace('day', 'from')}(?:[ ]?[-–][ ]?|[ ]to[ ]))?{_DAY}(?:[ ]of)?(?:[ ]|-|"
    rf"(?<=\d)(?=[A-Z])){_MONTH}\.?(?:,?(?:[ ]|-)(?:{_YEAR}|(?P<short>(?<=-)\d\d))"
    rf"(?![\d]))?(?!\w)",
    _I,
)
def day_month(match, context):
    """25 july 2012, 25th Jan., 3-5 May, 15-Jan-2020"""
    month = match["month"]
    if month.islower() and month in ("may", "mar", "march", "dec", "sep", "sat") and not match["year"]:
        # "17 may be", "12 march on"
        following = context.word_after(match.end()).lower()
        if following in ("be", "have", "not", "well", "also", "on", "to", "in", "past", "still", "or", "only"):
            return None
    if month == "May" and context.word_after(match.end()) in ("be", "have"):
        return None
    has_the = context.word_before(match.start()) == "the"
    name = month_name(month)
    words = _day_of(match["day"], name, context, has_the or bool(match["from"]))
    if match["from"]:
        words = f"{'' if has_the else 'the '}{context.ordinal(int(match['from']))} to the {words}"
    if match["year"]:
        words += f"{',' if ',' in match[0] else ''} {context.year(match['year'])}"
    elif match["short"]:
        words += f" {short_year(match['short'])}"
    stop = "." if match[0].endswith(".") and context.ends_sentence(match.end()) else ""
    return words + stop


@rule(
    "date",
    rf"(?P<year>1\d{{3}}|20\d\d|21\d\d)(?P<sep>[-/.])(?P<month>0?[1-9]|1[0-2])(?P=sep)(?P<day>0?[1-9]|[12]\d|"
    rf"3[01])(?:T(?=\d\d:))?{_END}|(?P<y2>1\d{{3}}|20\d\d)-(?P<m2>0[1-9]|1[0-2])-(?P<d2>0[1-9]|[12]\d|"
    rf"3[01])T(?=\d\d:\d\d)",
)
def iso(match, context):
    """2016-11-03, 2016/07/03"""
    year, month, day = (match["y2"], match["m2"], match["d2"]) if match["y2"] else match.group("year", "month", "day")
    words = spoken_date(context, MONTHS[int(month) - 1], day, year, context.british)
    return words + ("," if match[0].endswith("T") else "")


@rule(
    "date",
    r"(?P<a>0?[1-9]|[12]\d|3[01])(?P<sep>[-/.])(?P<b>0?[1-9]|[12]\d|3[01])(?P=sep)(?P<year>1\d{3}|20\d\d|21\d\d|"
    r"(?<=/)\d\d|(?<=\.)\d\d(?=\.?(?:\s|$)))(?![\w%])(?![./-]\d)",
)
def numeric(match, context):
    """11/17/05, 10/31/25, 15.01.2020, 15-01-2020; if both could be the month, the language decides the order."""
    a, b = int(match["a"]), int(match["b"])
    day_first = a > 12 or b <= 12 and context.british
    day, month = (a, b) if day_first else (b, a)
    if month > 12:
        return None
    return spoken_date(context, MONTHS[month - 1], str(day), _full_year(match["year"]), day_first)


_DATE_BEFORE = re.compile(
    rf"(?:\b(?:on|by|before|after|until|till|since|due|dated|date|avail|available|wk of|week of|as of|w/e|w/c|eff|"
    rf"exp|{any_of(DAYS)}|"
    rf"{any_of(d for d in set(DAYS.values()))})"
    r"\.?,?[ ]\(?)\Z",
    _I,
)


# "Tickets for 7/4", "booked for 3/8".
_PLANNED_BEFORE = re.compile(
    r"\b(?:e-?mails?|letter|call|message|invoice|order|meeting|memo|report|statement|week|night|morning|evening|"
    r"weekend|visit)"
    r"[ ](?:of|from|on|dated)[ ]\Z|"
    r"\b(?:tickets?|tix|reservations?|res|book(?:ed|ing)?|scheduled?|set|appointments?|appts?\.?|slated|due|meetings?|"
    r"mtgs?\.?|flights?|invites?|plans?|planned|rsvp|game|show|concert|party)[ ](?:(?:is|are|was|were)[ ])?for[ ]\Z|"
    r"\b(?:starts?|started|starting|begins?|began|beginning|ends?|ended|ending|opens?|opened|opening|closes?|"
    r"closed|closing|"
    r"expires?|expired|expiring|exp\.?|ships?|shipped|shipping|arrives?|arriving|leaves?|leaving|returns?|"
    r"returning|due|"
    r"filed|born|d\.?o\.?b\.?:?|effective|eff\.?|deadline|deadline:|delivered|delivery|checkout|checkin|today|"
    r"tomorrow|thru|through)"
    r"[ ]\Z",
    _I,
)
# "Our 5/2 call": the noun of an occasion.
_OWNERS = frozenset("the our my your his her their this that its".split())
_OCCASION_AFTER = re.compile(
    r"[ ](?:calls?|meetings?|mtg|e-?mails?|games?|letters?|invoices?|appointments?|appt|deadline|shows?|concerts?|"
    r"flights?|class|visits?|tests?|exams?|launch|releases?|elections?|orders?|sessions?|interviews?|hearings?|"
    r"rally|update|statement|party|"
    r"dinner|lunch|payment|delivery|shipment|agenda|minutes|webinar|attacks?)(?!\w)"
)
_TIME_AFTER = re.compile(
    r",?[ ](?:(?:at|@)[ ]?)?(?:1[0-2]|[1-9])(?::[0-5]\d)?[ ]?[ap]\.?m\b|,?[ ](?:at|@)[ ]?(?:1[0-2]|[1-9])(?::[0-5]\d)?"
    r"(?![\w.,:$%])|,?[ ](?:at[ ]|@[ ]?)?(?:noon|midnight)\b",
    _I,
)


_NUMERIC = (
    r"(?P<{0}a>0?[1-9]|[12]\d|3[01])(?P<{0}sep>[-/.])(?P<{0}b>0?[1-9]|[12]\d|3[01])(?P={0}sep)(?P<{0}y>\d{{4}}|\d\d)"
)


@rule("date", rf"{_NUMERIC.format('f')}[ ]?(?:[-–]|to|thru)[ ]?{_NUMERIC.format('t')}(?![\w%])(?![./-]\d)")
def numeric_days(match, context):
    """12/24/23-1/2/24"""
    spoken = []
    for key in "ft":
        a, b, year = (match[key + part] for part in "aby")
        day_first = int(a) > 12 or int(b) <= 12 and context.british
        day, month = (int(a), int(b)) if day_first else (int(b), int(a))
        if month > 12 or len(year) == 4 and not "1000" <= year < "2200":
            return None
        spoken.append(spoken_date(context, MONTHS[month - 1], str(day), _full_year(year), day_first))
    return " to ".join(spoken)


@rule("date", r"(?P<a>0?[1-9]|[12]\d|3[01])/(?P<b>0?[1-9]|[12]\d|3[01])(?![\w%])(?![./-]\d)")
def month_slash_day(match, context):
    """12/25, "on 5/16"; other pairs of numbers with a slash are fractions."""
    a, b = int(match["a"]), int(match["b"])
    if (a, b) in ((9, 11), (7, 11), (24, 7), (50, 50)):
        return f"{context.cardinal(a)} {context.cardinal(b)}"
    day_first = a > 12 or b <= 12 and context.british
    day, month = (a, b) if day_first else (b, a)
    if month > 12 or day > (29 if month == 2 else 31):
        return None
    is_date = bool(_DATE_BEFORE.search(context.before(match.start(), 14))) or bool(
        _PLANNED_BEFORE.search(context.before(match.start(), 40))
        or _TIME_AFTER.match(context.text, match.end())
        or context.word_before(match.start()) in _OWNERS
        and _OCCASION_AFTER.match(context.text, match.end())
    )
    # Halves, quarters, eighths and the like are fractions; twenty-fourths are not, so they are days.
    if b == 1 < a and not day_first and not context.british:
        is_date = True  # nothing is cut in ones
    if not is_date and (a >= b or b in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 20) or day_first):
        return None
    if re.compile(r"[ ](?:of|inch|inches|cup|cups|mile|miles|full|teaspoons?|tablespoons?)\b").match(
        context.text, match.end()
    ):
        return None
    return spoken_date(context, MONTHS[month - 1], str(day), "", day_first)


@rule(
    "date",
    r"(?P<m1>0?[1-9]|1[0-2])/(?P<d1>0?[1-9]|[12]\d|3[01])[ ]?[-–][ ]?"
    r"(?P<m2>0?[1-9]|1[0-2])/(?P<d2>0?[1-9]|[12]\d|3[01])(?![\w%])(?![./-]\d)",
)
def slash_days(match, context):
    """12/24-1/2, where at least one part cannot be a fraction"""
    if context.british or not any(int(day) > 12 and day not in ("16", "20") for day in match.group("d1", "d2")):
        return None
    first, second = (spoken_date(context, MONTHS[int(match[f"m{n}"]) - 1], match[f"d{n}"], "", False) for n in "12")
    return f"{first} to {second}"


@rule(
    "date",
    r"(?P<month>0?[1-9]|1[0-2])/(?P<from>0?[1-9]|[12]\d|3[01])[ ]?[-–][ ]?(?P<to>[12]?\d|3[01])(?![\w%])(?![./:-]\d)",
)
def slash_span(match, context):
    """11/27-28"""
    first, last = int(match["from"]), int(match["to"])
    is_date = bool(_DATE_BEFORE.search(context.before(match.start(), 14))) or bool(
        _PLANNED_BEFORE.search(context.before(match.start(), 40)) or _TIME_AFTER.match(context.text, match.end())
    )
    if context.british or last <= first or not is_date and (first <= 12 or first in (16, 20)):
        return None
    month = MONTHS[int(match["month"]) - 1]
    return f"{month} {context.ordinal(first)} to {context.ordinal(last)}"


# Days as their first letters, before a time.
_LETTER_DAYS = {
    "M": "Monday",
    "T": "Tuesday",
    "Tu": "Tuesday",
    "W": "Wednesday",
    "Th": "Thursday",
    "R": "Thursday",
    "F": "Friday",
    "Sa": "Saturday",
    "Su": "Sunday",
}
_LETTER_DAY = r"(?:Tu|Th|Sa|Su|[MTWRF])"


@rule(
    "date",
    rf"(?P<days>{_LETTER_DAY}(?:/{_LETTER_DAY}){{1,5}}|M-(?:F|Th|Sa|Su)|MWF|TTh|TR|MW)"
    r"(?=:?,?[ ](?:at[ ]|@[ ]?|from[ ])?(?:1[0-2]|0?[1-9])(?:(?::[0-5]\d)|[ ]?[ap]\.?m|[ap]?[ ]?[-–]))",
)
def letter_days(match, context):
    """M/W/F 9-10, M-F 9am-5pm"""
    names = [_LETTER_DAYS[day] for day in re.findall(_LETTER_DAY, match["days"])]
    if len({*names}) < len(names):
        return None
    return f"{names[0]} to {names[1]}" if "-" in match["days"] else ", ".join(names)


# ---------------------------------------------------------------------------------------------- years


def _decade(text, context):
    """The words that `plural` makes a decade of: 1990 is "nineteen ninety", 2000 "two thousand"."""
    return context.year(text) if len(text) == 4 else TENS[int(text[0])] if text[0] > "1" else context.cardinal(text)


_DECADE = r"(?P<decade>(?:1\d|20)\d0)(?:'?[sS]|[ ]s(?=[\s.,;:?!)]|$))"


@rule("date", rf"{_DECADE}(?:[ ]?[-–][ ]?'?(?P<to>(?:(?:1\d|20)\d0)|\d0)'?[sS])?{_END}")
def decades(match, context):
    words = plural(_decade(match["decade"], context))
    return join(words, match["to"] and f"to {plural(_decade(match['to'], context))}" or "")


@rule("date", r"'?(?P<decade>[2-9]0)'?[sS](?![\w])|'(?P<ten>[01]0)[sS](?![\w])")
def short_decades(match, context):
    """'80s, mid-80s; "30s" alone is thirty seconds."""
    if match["ten"]:
        return "tens" if match["ten"] == "10" else "two thousands"
    is_marked = "'" in match[0]
    before = context.before(match.start(), 20)
    if (
        not is_marked
        and not re.compile(r"[ ](?:&|and|or|to)[ ][2-9]0s(?!\w)").match(context.text, match.end())
        and not re.search(
            r"(?:\b(?:the|early|mid|late|his|her|my|their|our|your|in|of|and|to|low|high|upper|lower)[ -]|"
            r"[2-9]0s[ ]&[ ]"
            r"|\d0'?s[ ]?[-–][ ]?)\Z",
            before,
            _I,
        )
    ):
        return None
    return plural(TENS[int(match["decade"][0])])


@rule("date", r"'(?P<year>\d\d)(?![\w'])(?![.,:/]\d)")
def apostrophe_year(match, context):
    """the class of '98"""
    if match.start() and context.text[match.start() - 1].isalnum():
        return None
    return short_year(match["year"])


@rule("date", r"(?P<from>1\d{3}|20\d\d)[ ]?[-–][ ]?(?P<to>1\d{3}|20\d\d|\d\d)(?![\w%])(?![.,/:-]\d)")
def years(match, context):
    """1914-1918, 1914-18"""
    first, second = match["from"], match["to"]
    if re.search(r"[$£€]\Z|\b(?:pages?|pp|\d{3})[ -]?\Z", context.before(match.start(), 6), _I):
        return None
    if len(second) == 2:
        if second <= first[2:] and second != "00":
            return None
        spoken = short_year(second) if second != "00" else context.year(str(int(first[:2]) + 1) + "00")
    else:
        spoken = context.year(second)
    from .measures import UNIT_FOLLOWS

    if UNIT_FOLLOWS.match(context.text, match.end()):
        return None
    return f"{context.year(first)} to {spoken}"


_ERA = r"(?P<era>A\.?[ ]?D|B\.?[ ]?C(?:\.?[ ]?E)?|C\.?[ ]?E|a\.d|b\.c(?:\.e)?|c\.e)(?P<stop>\.?)(?!\w)"


@rule("date", rf"(?P<number>\d{{1,6}}(?:,\d{{3}})*)(?P<s>'?s)?[ ]?{_ERA}")
def era(match, context):
    """340 A.D., 44 BC"""
    number = match["number"]
    words = context.year(number) if len(number) == 4 else context.cardinal(number)
    if len(number) == 3 and number[1:] != "00":
        words = f"{context.cardinal(number[0])} {'oh ' if number[1] == '0' else ''}{context.cardinal(number[1:])}"
    era = re.sub(r"[. ]", "", match["era"]).upper()
    return f"{plural(words) if match['s'] else words} {era}{context.stop(match)}"


@rule("date", r"(?P<era>AD|A\.D\.)[ ](?P<year>\d{1,4})(?![\w.,]\d)(?!\w)")
def era_before(match, context):
    number = match["year"]
    return f"AD {context.year(number) if len(number) == 4 else context.cardinal(number)}"


@rule("date", r"(?P<letters>Q|FY|H)(?P<from>\d{1,2})[-–](?P=letters)?(?P<to>\d{1,2})(?![\w%]|[.:]\d)")
def periods(match, context):
    """Q1–Q3, FY23–24"""
    first, last = int(match["from"]), int(match["to"])
    if first >= last or match["letters"] != "FY" and last > 4:
        return None
    letters = match["letters"]
    again = f"{letters} " if match[0].count(match["letters"]) == 2 else ""
    return f"{letters} {context.cardinal(first)} to {again}{context.cardinal(last)}"


@rule("date", r"'(?P<from>\d\d)[-–]'?(?P<to>\d\d)(?![\w'])(?![.,:/]\d)")
def apostrophe_years(match, context):
    """the '99-'00 season"""
    if match.start() and context.text[match.start() - 1].isalnum():
        return None
    return f"{short_year(match['from'])} to {short_year(match['to'])}"


@rule("date", r"(?:Q(?P<q>[1-4])|(?P<q2>[1-4])Q)[ ]?(?P<year>(?:20|19)\d\d|'?\d\d)?(?!\w)(?![.]\d)")
def quarter(match, context):
    """Q3 2022, 2Q22"""
    number, year = match["q"] or match["q2"], match["year"]
    if not year:
        return f"Q {context.cardinal(number)}"
    spoken = context.year(year) if len(year) == 4 else context.cardinal(int(year.lstrip("'")))
    return (
        f"the {context.ordinal(number)} quarter of {spoken}"
        if not match["q"]
        else f"Q {context.cardinal(number)} {spoken}"
    )


# ------------------------------------------------------------------------------------------- weekdays


@rule("date", rf"(?P<from>{_WEEKDAY})\.?[ ]?[-–/][ ]?(?P<to>{_WEEKDAY})(?P<stop>\.?)(?!\w)", _I)
def weekdays(match, context):
    """Mon-Fri"""
    first, second = DAYS[match["from"].lower()], DAYS[match["to"].lower()]
    return f"{first} {'to' if '/' not in match[0] else 'or'} {second}{context.stop(match)}"


@rule(
    "date",
    rf"(?P<first>{_WEEKDAY})\.?(?P<rest>(?:(?:,?[ ](?:&|and|or)[ ]|,[ ]|/){_WEEKDAY}\.?){{1,6}})(?!\w)",
    _I,
)
def weekday_list(match, context):
    """Mon/Wed/Fri, Tue & Thu, Mon., Wed. and Fri."""
    days = re.findall(r"[A-Za-z]+", match[0])
    days = [day for day in days if day.lower() not in ("and", "or")]
    if "/" not in match[0] and not all(day[0].isupper() for day in days):
        return None
    if len({*map(str.lower, days)}) < len(days):
        return None
    names = [DAYS[day.lower()] for day in days]
    between = (
        " or " if re.search(r"[ ]or[ ]", match[0], _I) else " and " if re.search(r"&|[ ]and[ ]", match[0], _I) else ""
    )
    if "/" in match[0] and not between and len(names) == 2:
        between = " or "
    stop = "." if match[0].endswith(".") and context.ends_sentence(match.end()) else ""
    return (", ".join(names[:-1]) + (between or ", ") + names[-1]) + stop


# Before a weekday, not before the sun or what sat.
_ON_A_DAY = re.compile(r"\b(?:on|every|each|this|next|last|other|until|till|til|thru|by)[ ]\Z", _I)


_FULL_DAYS = [*dict.fromkeys(DAYS.values())]


@rule(
    "date",
    rf"(?P<from>{any_of(_FULL_DAYS)})[ ]?[-–][ ]?(?P<to>{any_of(_FULL_DAYS)})(?!\w)|"
    rf"(?P<first>{any_of(MONTHS)})[ ]?[-–][ ]?(?P<last>{any_of(MONTHS)})(?!\w)",
)
def names(match, context):
    """Monday–Friday, April-June"""
    first, last = (match["from"], match["to"]) if match["from"] else (match["first"], match["last"])
    return f"{first} to {last}" if first != last else None


@rule("date", rf"(?P<day>{_WEEKDAY})(?P<stop>\.?)(?!\w)", _I)
def weekday(match, context):
    """Mon., Jan. 5 and "Tues at 5"; "sun" and "sat" are also words."""
    text, name = match["day"], DAYS[match["day"].lower()]
    if text in ("tue", "tues", "thu", "thur", "thurs", "fri"):
        return name + context.stop(match)
    if not text[0].isupper():
        return None
    if text.lower() in ("tues", "thurs", "thur", "weds") and text[0].isupper():
        return name + context.stop(match)
    rest = context.text[match.end() : match.end() + 16]
    if not text.isupper() and _ON_A_DAY.search(context.before(match.start(), 10)):
        return name + context.stop(match)
    if re.match(
        rf",?[ ](?:\d|{_MONTH}\b|at[ ]\d|(?:noon|midnight|mornings?|evenings?|nights?|afternoons?)\b)", rest, _I
    ):
        return name
    if text.isupper():
        return None
    if match["stop"] and re.match(r"[,;)]|[ ][a-z&]", rest):
        return name
    if match["stop"] and text not in ("Sat", "Sun", "Wed"):
        return name + context.stop(match)
    return None


@rule("date", r"(?P<month>Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\.(?!\w)")
def month_alone(match, context):
    """in Jan."""
    if match["month"] == "Jan" and context.ends_sentence(match.end()):
        # "a friend of Jan.", "I met Jan." is a name.
        before = context.before(match.start(), 20)
        in_month = _IN_A_MONTH.search(before)
        if not (in_month and not in_month["name"]) and not re.search(
            r"(?:^|[\n\d(:,/-]|\b(?:by|from|to|for|on|mid|of|st|nd|rd|th|[A-Z][a-z]{2}\.?|and|or|[a-z]+day),?)[ ]?\Z",
            before,
        ):
            return None
        if in_month and in_month["name"] or re.search(r"\b(?:[a-z]+ (?:by|to|for|and|or|on|from))[ ]\Z", before):
            return None
    return month_name(match["month"]) + context.stop(match)


_IN_A_MONTH = re.compile(
    r"\b(?:in|mid|early|late|since|until|till|next|last|this|every|thru|through|"
    r"(?:end|start|middle|half|beginning|wk|week|day|part|mo|month|(?P<name>\w+))[ ]of)[ -]\Z",
    _I,
)


@rule("date", r"(?P<month>Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)(?![\w'-]|\.\w)")
def month_bare(match, context):
    """late Feb, end of Oct"""
    before = _IN_A_MONTH.search(context.before(match.start(), 20))
    if before is None or before["name"] and match["month"] == "Jan":
        return None
    return month_name(match["month"])


@rule(
    "date",
    r"(?P<month>Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\.?(?:[-–/](?P<to>Jan|Feb|Mar|Apr|May|Jun|Jul|"
    r"Aug|Sept|"
    r"Sep|Oct|Nov|Dec))\.?(?!\w)(?![ ]?\d)",
)
def months(match, context):
    """Nov.–Feb."""
    return f"{month_name(match['month'])} to {month_name(match['to'])}{context.stop(match)}"


# Rules that begin with a digit or apostrophe, and rules that begin with a word.
RULES = (
    numeric_days,
    iso,
    numeric,
    era,
    decades,
    years,
    day_month,
    slash_days,
    slash_span,
    month_slash_day,
    short_decades,
    apostrophe_years,
    apostrophe_year,
    quarter,
)
WORD_RULES = {
    **dict.fromkeys((day.lower() for day in _FULL_DAYS), (names,)),
    **dict.fromkeys([*MONTH_OF], (names, month_days, month_day, month_year, months, month_alone, month_bare)),
    **dict.fromkeys(DAYS, (weekday_list, weekdays, weekday)),
    "q": (periods, quarter),
    "fy": (periods,),
    "h": (periods,),
    "ad": (era_before,),
    "a": (era_before,),
    **dict.fromkeys("m t w f tu th sa su mwf tth tr mw".split(), (letter_days,)),
}
