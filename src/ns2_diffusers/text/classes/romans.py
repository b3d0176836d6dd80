"""Roman numerals: valid tokens in capitals next to a word that takes a number."""

from __future__ import annotations

import re

from .common import rule

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_VALID = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_COUNTING = frozenset(
    "chapter part act scene section volume book phase article mark mk type level stage class grade bowl apollo gemini "
    "fantasy episode round rocky wars war axis figure table appendix title canto corps "
    "division group category schedule "
    "amendment annex season series vol ch sec art fig pt bk quest league factor lesson unit module question exhibit "
    "item step paragraph clause page theorem lemma zone region district area sector phase generation gen trimester "
    "symphony sonata concerto opus no number plan tier verse psalm olympiad dynasty century "
    "vatican saturn titan mission "
    "soyuz voyager tomb craft kombat soulcalibur civilization diablo doom quake hades vi factor godfather alien wwe "
    "creed halo sims fifa game kings crusade".split()
)
_COUNTING_WORDS = frozenset(
    "part chapter act scene section volume book phase article mark mk type level stage class war".split()
)
_NAMES = frozenset(
    "adolf adrian afonso albert alexander alexios alfonso andrew anne antiochus augustus baldwin basil benedict "
    "boniface boris carlos carol catherine charles christian clement constantine constantius "
    "darius david edgar edmund "
    "edward elizabeth eric ethelred ferdinand francis franz frederick friedrich gaius george gregory gustav haakon "
    "hassan henri henry honorius hussein innocent isabella ivan james joan john joseph juan julius karl king "
    "leo leopold lothar louis ludwig malcolm manuel margaret maria mary matthias maximilian mehmed michael "
    "mohammed murad napoleon nicholas olaf olav oscar otto paul pedro peter philip philippe "
    "pius pope prince ptolemy queen rama "
    "rameses ramses richard robert roger rudolf rudolph sam selim sigismund sixtus stephen suleiman sweyn theodosius "
    "thomas thutmose tsar umberto urban victor victoria vladimir walter wilhelm william "
    "xerxes yazdegerd emperor kaiser sultan "
    "emmanuel amenhotep cleopatra cyrus fredrik gustaf hadrian harald harold tudor".split()
)
_PRONOUN_VERBS = frozenset(
    "am was have had think know will would can could do did don't didn't played want wanted "
    "need say said saw went got "
    "like love hate believe feel felt mean meant found made took gave told heard wish hope never always also really "
    "just once must may might should shall ever live lived work worked use used wrote read bought came cannot can't "
    "won't couldn't".split()
)
# Letters, sizes and abbreviations that are also valid numerals.
_NOT_NUMERALS = frozenset(
    "CD MD DC MC DI MI LI CV MM DM CM XL XXL XXXL DL DIM MIX CIVIC MILD LCD DIV CC MMM ML DD CI LC MV DV MX LV".split()
)


def value(text: str) -> int | None:
    """The value of a Roman numeral in capitals; None if it is not valid."""
    if not text or not _VALID.fullmatch(text):
        return None
    numbers = [_VALUES[c] for c in text]
    return sum(-n if n < following else n for n, following in zip(numbers, [*numbers[1:], 0], strict=True))


# "Elizabeth I was queen", but "I told James I was late".
_BEFORE_SUBJECT = re.compile(
    r"(?:^\s*|[.!?;:\"(]\s*|\b(?:of|by|under|that|when|while|as|and|king|queen|emperor|tsar)\s)\Z", re.I
)


def _is_subject(context, start):
    return bool(_BEFORE_SUBJECT.search(context.before(start, 12)))


_BEFORE = re.compile(r"([^\W\d_]+)(?:\.?[ ]|-)\Z")


@rule(
    "numeral",
    r"(?P<numeral>[IVXLCDM]{1,12})(?P<s>'s|s(?!\w)|(?P<suffix>st|nd|rd|th)(?!\w))?(?![\w])(?!\.\w)"
    r"(?!'\w)(?:[ ]?(?P<dash>[-–])[ ]?(?P<to>[IVXLCDM]{1,12})(?![\w']))?",
)
def numeral(match, context):
    """Chapter IV, Henry VIII's, World War II"""
    text = match["numeral"]
    number = value(text)
    if number is None:
        return None
    before = _BEFORE.search(context.before(match.start(), 30))
    word = before[1] if before else ""
    lower = word.lower()
    end = match.end("s") if match["s"] else match.end("numeral")
    following = context.word_after(end)
    counting = lower in _COUNTING or lower.endswith("s") and lower[:-1] in _COUNTING_WORDS
    name = not counting and word[:1].isupper() and (lower in _NAMES)
    if not name and not counting and text in ("II", "III", "IV", "V") and word.istitle():
        # "J. P. Morgan III", "Robert Griffin III"
        first = re.search(r"([A-Z][a-z]*)(\.?)[ ][A-Z][a-z]+[ ]\Z", context.before(match.start(), 40))
        name = bool(first and (len(first[1]) == 1 and first[2] or first[1].lower() in _NAMES))
    if len(text) == 1:
        if not (counting or name) or text in "CDLM":
            return None
        if (
            counting
            and lower
            in (
                "table",
                "figure",
                "type",
                "class",
                "grade",
                "plan",
                "zone",
                "exhibit",
                "group",
                "item",
                "game",
                "question",
            )
            and text in "VX"
            and not word[0].isupper()
        ):
            return None
        if text == "I" and not match["s"]:
            if following.lower() in _PRONOUN_VERBS and not (
                name and _is_subject(context, match.start() - len(word) - 1)
            ):
                return None
            if context.text[end : end + 1] == "'":
                return None
            if counting and not word[0].isupper() and following and following.islower():
                return None
            if counting and lower in ("king", "kings", "no", "number", "game", "page", "item", "step", "question"):
                return None
            if name and lower in ("king", "queen", "pope", "prince", "emperor"):
                return None
            if name and following.islower() and following.endswith("ed") and lower in ("sam", "paul", "john", "mary"):
                return None
        elif lower in ("malcolm", "no", "vol", "series") and text == "X":
            return None
    elif text in _NOT_NUMERALS and not (counting or name and lower not in ("mary", "sam", "king")):
        return None
    elif not word and following and following.islower() and text in ("IV", "VI", "DIV"):
        return None
    if text == "IV" and re.search(r"\d[ ]?(?:mL|mg|g|mcg|cc|units|L|ml)[ ]\Z", context.before(match.start(), 10)):
        return None
    if text == "IV" and lower in ("an", "the", "by", "with", "via", "of", "on") and not counting:
        return None
    if match["suffix"]:
        return context.ordinal(number)
    possessive = "'s" if match["s"] == "'s" else "s" if match["s"] == "s" else ""
    if name and lower not in ("symphony",):
        has_the = lower == "the"
        words = f"{'' if has_the else 'the '}{context.ordinal(number)}"
    else:
        words = context.cardinal(number)
    if match["to"] and not match["s"]:
        second = value(match["to"])
        if second is not None:
            return f"{words} to {context.cardinal(second)}"
    return words + possessive, end


@rule("numeral", r"(?P<word>WW|ww)[ ]?(?P<numeral>III?|I|1|2|3)(?P<s>'s)?(?![\w])")
def world_war(match, context):
    numeral = match["numeral"]
    number = int(numeral) if numeral.isdigit() else value(numeral)
    return f"World War {context.cardinal(number)}{match['s'] or ''}"


RULES = (numeral,)
WORD_RULES = dict.fromkeys(("wwi", "wwii", "wwiii", "ww"), (world_war,))
