"""Signs that no other rule reads: named signs, and signs that become a pause or nothing."""

from __future__ import annotations

import re

from ..typography import CHECK_MARKS
from .common import digits, rule

SPOKEN = {
    "&": "and",
    "@": "at",
    "%": "percent",
    "‰": "per mille",
    "+": "plus",
    "=": "equals",
    "#": "hash",
    "$": "dollar",
    "£": "pound",
    "€": "euro",
    "¥": "yen",
    "₹": "rupee",
    "₩": "won",
    "₽": "ruble",
    "₺": "lira",
    "₪": "shekel",
    "₫": "dong",
    "₱": "peso",
    "₦": "naira",
    "₴": "hryvnia",
    "₿": "bitcoin",
    "฿": "baht",
    "¢": "cents",
    "°": "degrees",
    "§": "section",
    "¶": "paragraph",
    "©": "copyright",
    "±": "plus or minus",
    "×": "times",
    "÷": "divided by",
    "−": "minus",
    "≥": "greater than or equal to",
    "≤": "less than or equal to",
    "≠": "not equal to",
    "≈": "about",
    "∞": "infinity",
    "√": "square root of",
    "∑": "sum",
    "∏": "product",
    "∫": "integral",
    "∂": "partial",
    "∆": "delta",
    "∇": "nabla",
    "∈": "in",
    "∴": "therefore",
    "∵": "because",
    "→": "to",
    "⇒": "implies",
    "←": "from",
    "↔": "to and from",
    "↑": "up",
    "↓": "down",
    "<": "less than",
    ">": "greater than",
    "µ": "micro",
    "π": "pi",
    "²": "squared",
    "³": "cubed",
    "♯": "sharp",
    "♭": "flat",
    "♀": "female",
    "♂": "male",
    "†": "dagger",
    "‡": "double dagger",
    **CHECK_MARKS,
}
SILENT = "'\"()[]{}*_\\-–—…,.;:!?¡¿•·™®`´^~|‹›«»¬¦¨¯¸-"
_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "sigma sigma tau upsilon phi "
    "chi psi omega"
).split()
GREEK = {chr(0x3B1 + i): name for i, name in enumerate(_GREEK)} | {
    chr(0x391 + i): name for i, name in enumerate(_GREEK) if i != 17
}
GREEK |= {"ϕ": "phi", "ϵ": "epsilon", "ϑ": "theta", "µ": "micro"}
_GREEK_LETTERS = "".join(GREEK)


@rule("symbol", rf"(?P<letter>[{_GREEK_LETTERS}])(?![{_GREEK_LETTERS}\u0370-\u03ff])")
def greek(match, context):
    """A single Greek letter is read by its name; a word of them is another language."""
    if match.start() and "\u0370" <= context.text[match.start() - 1] <= "\u03ff":
        return None
    return GREEK[match["letter"]]


@rule("symbol", r"(?:\*{4,16}|•{2,16})[ -]?(?P<digits>\d{4})(?![\w*]|[.,]\d)")
def masked(match, context):
    """A card ****1234"""
    return digits(match["digits"])


_HTML = frozenset(
    "a b blockquote body center cite code dd del div dl dt em figure font h1 h2 h3 h4 h5 h6 head html i ins kbd "
    "label li "
    "main mark nav ol p pre q s samp section small span strike strong sub sup table tbody td th thead title tr tt "
    "u ul var".split()
)


@rule(
    "symbol",
    r"</?(?P<name>[A-Za-z][a-z]{1,30}|[bipqsuaBIPQSUA]|h[1-6]|"
    r"[A-Z]{2,10})(?P<attributes>(?:[ ][\w:-]{1,40})?=[^<>\n]{1,300}?)?[ ]?/?>",
)
def tag(match, context):
    """go <noise/> home, press <Enter>; a tag with attributes is markup, and silent"""
    if match["attributes"] or match["name"] in ("br", "hr"):
        return " "
    if match["name"].lower() in _HTML:
        closes = match[0][1] == "/"
        beside = context.before(match.start(), 400) if closes else context.text[match.end() : match.end() + 400]
        if f"<{'' if closes else '/'}{match['name']}" in beside:
            return ""  # "<b>bold</b>"
    if len(match["name"]) == 1:
        return None
    if match[0][1] == "/" and re.search(rf"<{match['name']}[ =]", context.before(match.start(), 400)):
        return " "  # closes such a tag
    return f", {match['name']}, " if match.start() and "/" in match[0] else f" {match['name']} "


@rule("symbol", r"(?P<mark>[-_*=~#.·•–—^|+<>/\\]{3,200})(?![\w])")
def line(match, context):
    """A row of equal signs is an ornament or an ellipsis."""
    text = match["mark"]
    if set(text) == {"."}:
        return "…"
    return " — " if set(text) <= {"-", "–", "—"} else " "


@rule("symbol", r"(?P<marks>[.!?,;:…]{4,200})")
def marks(match, context):
    """A row of full stops counts as one."""
    text = match["marks"]
    return next((mark for mark in "?!…;:," if mark in text), "…")


@rule("symbol", r"(?P<bracket>[()\[\]{}])(?:[ ]?(?P=bracket)){2,200}")
def brackets(match, context):
    return _OPENERS.get(match["bracket"], match["bracket"])


@rule("symbol", r"(?:\.[ ]){2,20}\.|\.{2,200}|…{2,200}")
def ellipsis(match, context):
    return "…" if len(match[0]) > 2 else "."


_DAY_NAMES = r"(?:Mon|Tues?|Weds?|Wednes|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?"
_DATED_BEFORE = re.compile(rf"(?:\d(?:st|nd|rd|th)?|[ap]\.?m\.?|\b{_DAY_NAMES}\.?)[ ]\Z")
_DATED_AFTER = re.compile(rf"[ ](?:\d|{_DAY_NAMES}\b)")


@rule("symbol", r"[ ]?(?:--|——|---)[ ]?|(?<=[ ])[-–](?=[ ])")
def dash(match, context):
    """corner – the one, Tues 3rd – Thurs 5th"""
    if match[0] == "–" and _DATED_BEFORE.search(context.before(match.start(), 14)):
        if _DATED_AFTER.match(context.text, match.end()):
            return "to"
    return " — " if len(match[0]) > 1 else "—"


@rule("symbol", r"[–−](?=[^\W\d_])")
def joining_dash(match, context):
    """word–word"""
    start = match.start()
    if start and context.text[start - 1].isalpha():
        return "-" if match[0] == "–" and context.text[start + 1].islower() else " — "
    return " "


_OPENERS = {"[": "(", "{": "(", "]": ")", "}": ")"}


@rule("symbol", r"[\[\]{}]")
def bracket(match, context):
    return _OPENERS[match[0]]


@rule("symbol", r"'n'(?!\w)")
def and_sign(match, context):
    """rock 'n' roll"""
    return "and"


@rule("symbol", r"[\"]|(?<![\w.])'(?=[\W]|$)|(?<=\w)'(?!\w)|(?<=[.,;:!?…)])'|''|(?<![\w'])'(?=\w)")
def quote(match, context):
    """Quotation marks are silent."""
    text, start = context.text, match.start()
    if (
        match[0] == "'"
        and start
        and text[start - 1] in "sSnN"
        and text[start + 1 : start + 2] == " "
        and not _opened(text, start)
    ):
        # The apostrophe of dogs' and rockin' stays; it is silent.
        return ""
    if match[0] == "'" and _ELIDED.match(text, start):
        return None
    return ""


_ELIDED = re.compile(r"'(?:tis|twas|em|til|cause|bout|round|neath|cuz|ere)\b", re.IGNORECASE)


def _opened(text, position):
    return text.rfind("'", max(0, position - 200), position) >= 0


_OBJECTS = re.compile(r"(?:him|her|them|theirs|his|hers)\b", re.IGNORECASE)


# "7 days/wk", "posts/week": things per time, person or place.
RATE_PERIODS = {
    "wk": "week",
    "mo": "month",
    "mth": "month",
    "yr": "year",
    "hr": "hour",
    "hrs": "hour",
    "min": "minute",
    "sec": "second",
    "qtr": "quarter",
}
_RATE_BEFORE = re.compile(
    r"(?:\d[x%]|\b(?:once|twice)|\d[ -][a-z]{2,15}|[a-z]{2,15}(?<!s)s|(?<!\w)[km]iles)\Z", re.IGNORECASE
)
_RATE_AFTER = re.compile(
    rf"({'|'.join(RATE_PERIODS)}|second|minute|hour|day|week|month|quarter|year|night|person|player|student|customer|"
    r"user|household|capita|game|match|season|serving|page|mile|gallon|acre|side|session|class|head|ticket|unit|"
    r"room|visit)"
    r"(?![\w'/])\.?(?![\w/])",
    re.IGNORECASE,
)


_ITEM = r"(?:[A-Z][\w&'-]*[ ]){1,3}"
# A menu and its items so far: "Tap General > About > ".
_MENU_BEFORE = re.compile(
    rf"\b(?:(?:[Oo]pen|[Gg]o to|[Tt]ap|[Cc]lick|[Ss]elect|[Cc]hoose|[Uu]nder|[Mm]enu:?|[Pp]ath:?)[ ](?:on[ ])?{_ITEM}"
    r"|(?:Settings|File|Edit|View|Tools|Insert|Preferences|Options|Format|Help|Window|System|Home)[ ])"
    rf"(?:>[ ]{_ITEM}){{0,4}}\Z"
)


@rule("symbol", r">(?=[ ][A-Z][\w-])")
def menu_path(match, context):
    """Settings > Wi-Fi"""
    before = context.before(match.start(), 80)
    return "," if re.search(r"\w\w[ ]\Z", before) and _MENU_BEFORE.search(before) else None


@rule("symbol", r"/")
def slash(match, context):
    """upgrade/update"""
    if match.start() and context.text[match.start() - 1] in "</" or context.text[match.end() : match.end() + 1] == ">":
        return " "
    before = context.before(match.start(), 20)
    word = re.search(r"[^\W\d_]+\Z", before)
    if _RATE_BEFORE.search(before) and (period := _RATE_AFTER.match(context.text, match.end())):
        return f"per {RATE_PERIODS.get(period[1].lower(), period[1].lower())}", period.end(1)
    if word and word[0].lower() in ("he", "she", "they") and _OBJECTS.match(context.text, match.end()):
        return " "  # he/him
    if word and (word[0].lower() in ("and", "he", "his", "him", "she")):
        return " " if word[0].lower() == "and" else "or"
    return "slash"


@rule("symbol", r"(?P<raised>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,4})")
def raised(match, context):
    """x² is squared; a raised number after a word is the mark of a note"""
    from .counting import SUPERSCRIPTS, spoken_power

    before = re.search(r"[^\W\d_]+\Z", context.before(match.start(), 20))
    if before and len(before[0]) > 2:
        return ""
    if not match.start() or context.text[match.start() - 1].isspace() or context.text[match.start() - 1] in '.,;:!?"(':
        # The mass number of an isotope, ¹⁴C; otherwise the mark of a note.
        is_mass = context.text[match.end() : match.end() + 1].isupper()
        return context.cardinal(match["raised"].translate(SUPERSCRIPTS)) if is_mass else ""
    return spoken_power(match["raised"].translate(SUPERSCRIPTS), context)


@rule("symbol", r"\^(?P<exponent>[-−]?\d{1,4}|[A-Za-z](?!\w))")
def caret(match, context):
    from .counting import spoken_power

    exponent = match["exponent"]
    if exponent.isalpha():
        return f"to the power of {exponent.upper()}" if exponent != "n" else "to the power of N"
    return spoken_power(exponent, context)


@rule("symbol", r"\*(?=[ ]?\d)(?<=\d\*)")
def star(match, context):
    return "times"


@rule("symbol", r"\*(?=\d{1,3}(?!\w)|(?!\S)|[.,;:!?)\"])")
def star_key(match, context):
    """dial *67, press *"""
    return (
        "star"
        if re.search(r"\b(?:dial|press|hit|enter|punch|push)[ ]\Z", context.before(match.start(), 9), re.I)
        else None
    )


@rule("symbol", r"(?P<sign>[§¶])(?:(?P=sign)){1,2}[ ]?")
def paragraphs(match, context):
    """§§ 12-15"""
    return {"§": "sections ", "¶": "paragraphs "}[match["sign"]]


@rule("symbol", r"#(?![\w])")
def hash_sign(match, context):
    return "hash"


_SIGNS = "".join(re.escape(sign) for sign in SPOKEN)


@rule("symbol", rf"(?P<sign>[{_SIGNS}])\ufe0f?")
def named(match, context):
    sign = match["sign"]
    if (
        sign == "+"
        and (match.start() == 0 or context.text[match.start() - 1] in " (")
        and not re.compile(r"\+[ ]?\w").match(context.text, match.start())
    ):
        return "plus"
    return SPOKEN[sign]


@rule("symbol", r"[*_\\`´^~|¬¦¨¯¸™®·•]")
def silent(match, context):
    between_words = (
        match.start()
        and context.text[match.start() - 1].isalnum()
        and context.text[match.end() : match.end() + 1].isalnum()
    )
    if match[0] in "|•·":
        return ", " if not context.text[match.end() : match.end() + 1].isalnum() or not between_words else " "
    if (
        match[0] == "*"
        and match.start()
        and context.text[match.start() - 1] == " "
        and context.text[match.end() : match.end() + 1] == " "
    ):
        return "times" if re.search(r"\d[ ]\Z", context.before(match.start(), 3)) else ""
    return " " if between_words else ""


RULES = (
    greek,
    line,
    marks,
    brackets,
    ellipsis,
    dash,
    joining_dash,
    bracket,
    and_sign,
    raised,
    caret,
    star,
    star_key,
    quote,
    slash,
    paragraphs,
    hash_sign,
    named,
    silent,
)
SYMBOLS = frozenset(SPOKEN) | frozenset(SILENT) | frozenset(GREEK) | frozenset("/⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")
