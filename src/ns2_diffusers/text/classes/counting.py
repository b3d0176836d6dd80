"""Numbers by themselves: ordinals, ranges, scores, "No. 5", and numbers that no other rule reads."""

from __future__ import annotations

import re

from ..numbers import plural, to_ordinal
from .common import INT, LETTERED_BEFORE, NUM, SIGN, SIGNS, TO, digits, join, pairs, rule

_SCALE = r"(?:[ ]?(?P<scale>mn|bn|tn|(?:hundred|thousand|million|billion|trillion)(?![\w])))"
_SCALES = {
    "mn": "million",
    "bn": "billion",
    "tn": "trillion",
    "M": "million",
    "B": "billion",
    "K": "thousand",
    "T": "trillion",
}


def _is_ordinal(number, suffix):
    last = number[-1]
    if number[-2:] in ("11", "12", "13"):
        return suffix == "th"
    return suffix == {"1": "st", "2": "nd", "3": "rd"}.get(last, "th")


@rule(
    "ordinal",
    rf"{SIGN}?(?P<number>{INT})[ ]?(?P<suffix>(?<![ ])(?:st|nd|rd|th|ST|ND|RD|TH|St|Nd|Rd|Th)|"
    rf"(?<![ ])[ºª°](?![CFcf]))(?P<s>s?)(?![^\W_])",
)
def ordinal(match, context):
    number, suffix = match["number"].replace(",", ""), match["suffix"].lower()
    if len(number) > 36:
        return digits(number)
    if suffix in "ºª":
        return context.ordinal(number)
    if suffix == "°":
        return None
    if not _is_ordinal(number, suffix):
        return (
            f"{context.cardinal(number)} {suffix.upper() if suffix != 'th' else 'th'}"
            if suffix != "th"
            else f"{context.cardinal(number)}th"
        )
    words = to_ordinal(context.cardinal(number))
    return plural(words) if match["s"] else words


# The points of a game of tennis, which only the words around them tell from other scores.
_TENNIS = re.compile(r"\b(?:love|deuce|serv(?:e[ds]?|ing)|tennis|break point|break points|Wimbledon|aces?)\b")
_POINTS = frozenset("0 15 30 40".split())


def _is_tennis(match, context):
    first, second = match.group("from", "to")
    if not {first, second} <= _POINTS or first == second == "0":
        return False
    return bool(_TENNIS.search(context.before(match.start(), 60) + context.text[match.end() : match.end() + 30]))


@rule(
    "number",
    rf"(?P<from>{NUM})(?:[ ]?–[ ]?|-|[ ]-[ ])(?P<to>{NUM})(?:(?:[ ]?–[ ]?|-)"
    rf"(?P<third>\d{{1,4}}))?(?![\w%])(?![/:]\d)(?!-)(?!\.\d)",
)
def span(match, context):
    """5-10, 3-1, 1,000–2,000"""
    first, second, third = match.group("from", "to", "third")
    if re.search(r"\d\Z", context.before(match.start(), 1)):
        return None
    if re.compile(r"[ ]?=").match(context.text, match.end()):
        return None
    if third is None and _is_tennis(match, context):
        return f"{context.cardinal(first)} {context.cardinal(second) if second != '0' else 'love'}"
    if third:
        if any(len(n) > 3 or "." in n for n in (first, second, third)):
            return None
        return " ".join(context.cardinal(n) for n in (first, second, third))
    if first[0] == "0" and len(first) > 1 or second[0] == "0" and len(second) > 1 and "." not in second:
        return f"{digits(first)} {digits(second)}"
    if "-" in match[0] and " " not in match[0] and second == "0" and len(first) > 2:
        return f"{context.cardinal(first)} zero"
    if first == second == "50":
        return "fifty fifty"
    start, end = match.span()
    return f"{context.bare_number(first, start, match.end('from'))} to {context.bare_number(second, start, end)}"


@rule("number", rf"{SIGN}?(?P<number>{NUM}){_SCALE}(?P<s>s?)(?![\w])")
def scaled(match, context):
    """3bn, 2.5 million"""
    scale = match["scale"]
    return f"{context.number(match['number'], match['sign'])} {_SCALES.get(scale, scale)}{match['s']}"


@rule(
    "number",
    rf"{SIGN}?(?P<number>{NUM})[ ]?(?P<scale>[MBK])(?!\w|[.'-]\w)|"
    rf"(?P<n2>\d+\.\d+)(?P<s2>[mbkT])(?!\w)(?![ ](?:MRI|scan|magnet|field))",
)
def short_scale(match, context):
    """1.5M, 5K"""
    number, scale = match["number"] or match["n2"], (match["scale"] or match["s2"]).upper()
    if (
        match["scale"]
        and " " in match[0]
        and "." not in number
        or LETTERED_BEFORE.search(context.before(match.start()))
    ):
        return None
    if scale == "K" and number.isdigit() and len(number) >= 4:
        return join(SIGNS[match["sign"]], pairs(number) if len(number) == 4 else context.number(number), "K")  # kelvin
    if scale == "M" and number == "3" and not match["sign"] and " " not in match[0]:
        following = context.word_after(match.end())  # the company, unless things are counted
        if following and not (
            following.endswith("s") or following in ("people", "men", "women", "children", "in", "of")
        ):
            return "three M"
    word = "K" if scale == "K" and "." not in number and len(number) < 3 else _SCALES[scale]
    return f"{context.number(number, match['sign'])} {word}"


@rule("number", rf"(?P<mantissa>{SIGN}?(?P<number>\d+(?:\.\d+)?))[eE](?P<exponent>[-−+]?\d{{1,4}})(?!\w|\.\w)")
def scientific(match, context):
    """1e-5"""
    exponent = match["exponent"]
    sign = SIGNS[exponent[0]] if exponent[0] in "-−+" else ""
    if not sign and "." not in match["number"] and len(match["number"]) > 2:
        return None
    return join(
        context.number(match["number"], match["sign"]),
        "times ten to the power of",
        sign if sign != "plus" else "",
        context.cardinal(exponent.lstrip("-−+")),
    )


SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")


@rule(
    "number",
    rf"(?P<base>{SIGN}?(?P<number>{NUM}))(?:\^(?P<caret>[-−]?\d{{1,4}})|"
    rf"(?P<raised>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{{1,4}}))(?!\w|\.\w)",
)
def power(match, context):
    """10^6, 10⁶"""
    exponent = match["caret"] or match["raised"].translate(SUPERSCRIPTS)
    base = context.number(match["number"], match["sign"])
    return f"{base} {spoken_power(exponent, context)}"


def spoken_power(exponent: str, context) -> str:
    """ "squared", "cubed", "to the power of six"."""
    if exponent in ("2", "3"):
        return "squared" if exponent == "2" else "cubed"
    sign = "minus " if exponent[0] in "-−" else ""
    return f"to the power of {sign}{context.cardinal(exponent.lstrip('-−+'))}"


@rule("number", r"(?P<number>\d{1,3}(?:[ ]\d{3}){1,6})(?![\d,.]\d|\d)(?=[ ]?(?P<after>[A-Za-z€£$%]+|$)?)")
def spaced(match, context):
    """1 000 000, and 1 000 before a unit or currency"""
    from .measures import UNIT_FOLLOWS

    number = match["number"]
    if (
        number.count(" ") < 2
        and not UNIT_FOLLOWS.match(context.text, match.end())
        and not re.compile(
            r"[ ]?(?:[€£$]|euros?\b|dollars?\b|pounds?\b|people\b|kilometers?\b|kilometres?\b|EUR\b|USD\b)"
        ).match(context.text, match.end())
    ):
        return None
    if number[0] == "0" or re.search(r"[\d+][ -]?\Z", context.before(match.start(), 2)):
        return None
    return context.cardinal(number.replace(" ", "")), match.end("number")


@rule("number", r"(?P<whole>\d{1,3}(?:\.\d{3})+),(?P<fraction>\d{1,9})(?![\d,.]\d|\d)")
def continental(match, context):
    """1.234,56, which can only be a decimal with a comma"""
    return context.number(f"{match['whole'].replace('.', '')}.{match['fraction']}")


@rule("number", r"(?P<family>7[0-8]7)-(?P<variant>[1-9]00|8|9|10)(?P<letters>ER|LR|SP|F|MAX)?(?![\w%-])")
def airliner(match, context):
    """Boeing 737-800"""
    return join(pairs(match["family"]), pairs(match["variant"]), match["letters"] or "")


@rule("number", r"(?P<first>\d{1,4})(?:\.\d{1,4}){2,5}(?![\w]|\.\d)(?![-]\d)")
def version(match, context):
    """1.2.3"""
    return " point ".join(
        context.cardinal(part) if part[0] != "0" or part == "0" else digits(part) for part in match[0].split(".")
    )


@rule("number", r"[vV](?:\.[ ]?(?=\d+\.)|\.?)(?P<number>\d{1,4}(?:\.\d{1,4}){0,4})(?![\w]|\.\d)")
def version_word(match, context):
    """v2.3"""
    number = match["number"]
    if "." not in number:
        return f"version {context.cardinal(number)}" if match[0][0] == "v" else None
    return "version " + " point ".join(
        context.number("0." + p)[11:] if i and p[0] == "0" and len(p) > 1 else context.cardinal(p)
        for i, p in enumerate(number.split("."))
    )


@rule("number", r"(?P<word>[Nn][Oo]s?|№)\.?[ ]?(?P<number>\d{1,9})(?![\w])(?![:/]\d|[.,]\d)")
def numero(match, context):
    """No. 5"""
    if "." not in match[0] and (
        match["word"] in ("no", "nos", "NO", "NOS") or match["word"] == "No" and not context.word_before(match.start())
    ):
        return None
    plural_word = "numbers" if match["word"].lower() == "nos" else "number"
    if re.compile(r"[ -]\d{3}|[-–]\d").match(context.text, match.end()):
        return f"{_like(match['word'], plural_word)} ", match.start("number")  # a telephone number or a range
    number = context.bare_number(match["number"], match.start("number"), match.end())
    return f"{_like(match['word'], plural_word)} {number}"


def _like(written, word):
    return word.capitalize() if written[0].isupper() else word


# A code behind "#": with a hyphen, with many digits, or where a number is asked for.
CODE_AFTER_HASH = r"[A-Z]{1,5}(?:-\d|\d{4})"
_HASH_BEFORE = re.compile(
    r"\b(?:orders?|cases?|tickets?|invoice|inv\.?|ref\.?|reference|item|part|model|serial|tracking|confirmation|"
    r"conf\.?|policy|claim|po|account|acct\.?|flight|room|rm\.?|apt\.?|apartment|unit|suite|ste\.?|gate|seat|lot|bay|"
    r"locker)[ ]\Z",
    re.IGNORECASE,
)


@rule("number", r"(?<![\w&])#(?=[A-Fa-f\d]{0,5}\d)(?=\d{0,5}[A-Fa-f])(?P<code>[\dA-F]{6}|[\da-f]{6})(?!\w)")
def hex_color(match, context):
    """#FF5733"""
    if _HASH_BEFORE.search(context.before(match.start(), 20)):
        return None
    return "hash " + " ".join(digits(c) if c.isdigit() else c.upper() for c in match["code"])


@rule(
    "number",
    rf"(?<![\w&])#(?:[ ]?(?=\d)|(?={CODE_AFTER_HASH})|"
    rf"(?P<maybe>(?=[ ]?[A-Z]{{1,4}}\d)|(?=[A-Z]{{0,3}}\d)|(?=[A-Z](?!\w))))",
)
def hash_number(match, context):
    """#5, #A-10482, room #B12"""
    if match["maybe"] is not None and not _HASH_BEFORE.search(context.before(match.start(), 20)):
        return None
    return "number"


@rule(
    "number", rf"(?P<sign>(?<![\w)\]%°])[-–−+±])?(?P<number>{NUM})(?P<suffix>'?s(?![^\W_]))?(?P<plus>\+(?![\w=+-]))?"
)
def plain(match, context):
    """Any number"""
    number, sign = match["number"], match["sign"]
    if (
        sign
        and context.text[match.start() - 1 : match.start()] == " "
        and sign in "-–+"
        and re.search(r"[\d)\]%][ ]\Z", context.before(match.start(), 2))
    ):
        sign_word = "minus" if sign in "-–" else "plus"
        return join(sign_word, context.number(number))
    words = context.number(number, sign) if sign else context.bare_number(number, match.start(), match.end())
    if match["suffix"]:
        words = plural(words)
    return f"{words} plus" if match["plus"] else words


RULES = (airliner, continental, spaced, ordinal, scientific, power, version, span, scaled, short_scale, plain)
WORD_RULES = {"no": (numero,), "nos": (numero,), "v": (version_word,)}
SYMBOL_RULES = (hex_color, hash_number)
__all__ = ["RULES", "SYMBOL_RULES", "TO", "WORD_RULES", "spoken_power"]
