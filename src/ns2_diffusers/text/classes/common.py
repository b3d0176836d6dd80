"""Code that all classes share: the text around a match, numbers in it, and the form of a rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ..numbers import cardinal, digits, number, ordinal, pairs, year

# A whole number, a decimal, or a decimal without its zero. "1914." is 1914 and a full stop.
NUM = r"(?:\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
INT = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
# A sign belongs to a number if nothing before it can be joined to it.
SIGN = r"(?:(?<![\w)\]%°])(?P<sign>[-–−+±])[ ]?(?=[\d.$£€¥₹]))"
# The separator of a range: a hyphen or dash without spaces or with one on both sides.
TO = r"(?:[ ]?[–−][ ]?|-|[ ]-[ ])"
SIGNS = {"-": "minus", "–": "minus", "−": "minus", "+": "plus", "±": "plus or minus", None: ""}
NOT_IN_WORD = r"(?![^\W_])"

MONTHS = "January February March April May June July August September October November December".split()
DETERMINERS = frozenset(
    "a an the this that these those my your his her its our their every each per another any one some no".split()
)
# Words that may follow a quantity but are not the noun it measures: "5 km of road", "a 5 km or so".
FUNCTION_WORDS = frozenset(
    "a an the of and or to in on at by for from with than as is are was were be been has "
    "have had will would can could "
    "may might must should do does did not but if so that this these those it he she they we you i who which when "
    "where while after before into over under off up down out away ago later each per apart less more worth only just "
    "total deep wide long high tall thick there here then because about around through across along until since "
    "between north south east west today tomorrow yesterday tonight now plus minus times equals overnight early late "
    "daily weekly monthly yearly annually possible expected likely thereafter apiece again already instead".split()
)
# Nouns that are counted: four digits before them are a count, not a year.
_COUNTED = (
    r"(?:people|men|women|children|persons?|students?|soldiers|troops|workers|employees|members|times|points|votes|"
    r"copies|miles|meters|metres|feet|inches|yards|kilometers|kilometres|pounds|dollars|euros|tons|tonnes|calories|"
    r"words|pages|steps|hours|minutes|seconds|days|weeks|months|years|users|customers|units|items|species|square|"
    r"cubic|cars|houses|homes|books|seats|rooms|jobs|acres|degrees|grams|kilograms|liters|litres|cases|deaths|"
    r"birds|horses|ships|of)\b"
)
_YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|since|by|until|till|from|to|of|before|after|during|around|circa|year|years|early|late|mid|and|spring|"
    r"summer|autumn|fall|winter|between|through|the|class|copyright|est)\s|[(,©]\s?)\Z",
    re.IGNORECASE,
)
_STRONG_YEAR_BEFORE = re.compile(
    r"\b(?:in|since|by|until|till|before|after|during|circa|year|ad|spring|summer|autumn|fall|winter)\s\Z",
    re.IGNORECASE,
)
_IDENTIFIER_BEFORE = re.compile(
    r"\b(?:codes?|pin|id|zip|postcode|ext|extension|accounts?|cards?|order|tickets?|serial|otp|passwords?|"
    r"passcode|ending in|ends in|"
    r"confirmation|tracking|pnr|ssn|ref|reference|invoice|cvv|combination|digits|isbn|issn|sku|upc|asin|iban)"
    r"\.?(?:[ ](?:numbers?|no\.?|codes?|id|is|are|was))*[ ]?[:#]?[ ]?\Z",
    re.IGNORECASE,
)
_PLACE_BEFORE = re.compile(
    r"\b(?:rooms?|flights?|routes?|buses|bus|highway|hwy|apartment|apt|suite|interstate|gate|channel|train|model|"
    r"area|boeing|airbus|lot|unit|platform|forms?|rtx|gtx|xbox|porsche|peugeot|ferrari|mclaren|nokia|marker|box)"
    r"\.?[ ](?:no\.?[ ]|number[ ])?\Z",
    re.IGNORECASE,
)
# "Apt. 4B", "Rte. 9W": a number before which a letter behind it is no unit.
LETTERED_BEFORE = re.compile(
    r"\b(?:apt|apartment|rm|room|unit|suite|ste|gate|seat|row|flat|section|sec|no|number|building|bldg|level|platform|"
    r"terminal|exit|door|house|class|form|page|question|route|rte|rt|bus|highway|hwy|interstate|us|sr|state road|"
    r"county road|lot|bay|box|locker|pier|track|stand|bed|ward|channel|model|size|type|part|group|district|zone|"
    r"block|plot|stage|phase|year|grade|appendix|table|tbl|fig|figure|chapter|rule|schedule|exhibit|item|line|"
    r"tram|train|"
    r"flight)\.?[ ](?:no\.?[ ]|number[ ]|#)?\Z",
    re.IGNORECASE,
)
_TAX_FORMS = frozenset("1040 1065 1095 1098 1099 1120".split())
_AFTER_WORD = re.compile(r"(?:[ ]|-)([^\W\d_]+)")
_BEFORE_WORD = re.compile(r"([^\W\d_]+)[ ]\Z")
_STARTER = re.compile(
    r"[\s\"'(\[]*(?:(?:The|A|An|He|She|It|We|They|You|I|In|On|At|By|For|But|And|So|Then|There|This|That|These|"
    r"Those|His"
    r"|Her|Its|Our|My|Your|Their|When|What|Who|Why|How|If|As|After|Before|While|Yes|No|Now|Not|Is|Are|Was|Were|Do|Does"
    r"|Did|Can|Could|Would|Will|Here|Where|Some|All|Many|Most|Both|Each|Every|One|Two|Another|However|Since|Once|Later"
    r"|Everyone|Nobody|Everything|Nothing|With|From|To|Of|Please|Let|Nor|Yet|Although|Because|Until)\b|$)"
)
_CLOSES = re.compile(r"[\"')\]]*\s*\Z")


@dataclass
class Context:
    """A text while it is read.

    Args:
        text: the text after the steps `typography` and `structure`.
        british: British English: day before month, "and" within numbers.
        known: tells whether a lower-case word is in the lexicon.
    """

    text: str
    british: bool = False
    known: Callable[[str], bool] = lambda word: True
    cache: dict = field(default_factory=dict)

    def before(self, position: int, length: int = 40) -> str:
        return self.text[max(0, position - length) : position]

    def word_before(self, position: int) -> str:
        """The word one space before a position, in lower case; "" if there is none."""
        match = _BEFORE_WORD.search(self.before(position))
        return match[1].lower() if match else ""

    def word_after(self, position: int) -> str:
        """The word after a position and one space or hyphen; "" if there is none."""
        match = _AFTER_WORD.match(self.text, position)
        return match[1] if match else ""

    def is_attributive(self, start: int, end: int) -> bool:
        """Whether a quantity is an adjective, as in "a $5 bill" and "10-kg weights"."""
        following = self.word_after(end)
        if not following or following.lower() in FUNCTION_WORDS:
            return False
        if self.text[end] == "-":
            return following[0].islower()
        before = self.word_before(start)
        return before in ("a", "an") or before in DETERMINERS and not following.endswith("ed") and following.islower()

    def ends_sentence(self, end: int, is_strong: bool = False) -> bool:
        """Whether the full stop of an abbreviation, before `end`, also ends the sentence.

        Args:
            end: position after the full stop.
            is_strong: whether any capital after it begins a sentence; otherwise only words that often do.
        """
        if _CLOSES.match(self.text, end):
            return True
        if is_strong:
            return bool(re.compile(r"[\"')\]]*\s+[\"'(\[]*[A-Z]").match(self.text, end))
        return self.text[end : end + 1].isspace() and bool(_STARTER.match(self.text, end))

    def stop(self, match: re.Match, is_strong: bool = False) -> str:
        """A full stop if the abbreviation ends its sentence, otherwise ""."""
        return "." if match[0].endswith(".") and self.ends_sentence(match.end(), is_strong) else ""

    # ------------------------------------------------------------------------------------------- numbers

    def cardinal(self, text) -> str:
        return cardinal(text, self.british)

    def ordinal(self, text) -> str:
        return ordinal(str(text).replace(",", ""), self.british)

    def number(self, text: str, sign: str | None = None) -> str:
        return f"{SIGNS[sign]} {number(text, self.british)}".strip()

    def year(self, text: str) -> str:
        return year(text, self.british)

    def bare_number(self, text: str, start: int, end: int) -> str:
        """A number without a unit, read by its context: a year, a count, a room or an identifier."""
        if "," in text or "." in text:
            return self.number(text)
        before = self.before(start, 60)
        if len(text) >= 3 and _IDENTIFIER_BEFORE.search(before):
            return digits(text)
        if 3 <= len(text) <= 4 and _PLACE_BEFORE.search(before) or text in _TAX_FORMS:
            return pairs(text)
        if len(text) > 1 and text[0] == "0" or len(text) >= 10:
            return digits(text)
        if len(text) == 4 and (text < "2100" or text.endswith("00") and text[1] != "0"):
            counted = re.compile(rf"[ ]{_COUNTED}").match(self.text, end)
            if text < "1100":
                is_year = text == "1066" or bool(_STRONG_YEAR_BEFORE.search(before)) and not counted
            else:
                is_year = not counted or text.endswith("00") or bool(_STRONG_YEAR_BEFORE.search(before))
            if is_year and text <= "2099":
                return self.year(text)
        return self.cardinal(text)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule for one written form.

    Args:
        name: the class that it belongs to, as `explain` shows it.
        pattern: the written form. It is matched at the start of a word, number or sign. Every repetition in it is
            bounded, so that reading stays linear.
        read: returns the words, or None if the rule does not apply; a tuple of words and end position if the rule
            read only part of the match. A run of capitals in the words is spelled.
    """

    name: str
    pattern: re.Pattern
    read: Callable[[re.Match, Context], str | tuple[str, int] | None]


def rule(name: str, pattern: str, flags: int = 0):
    """Decorator that makes a Rule of a reading function, whose docstring gives examples of what it reads."""

    def make(read):
        return Rule(name, re.compile(pattern, flags), read)

    return make


def any_of(words) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


def join(*words: str) -> str:
    """Words with one space between them; empty ones are left out."""
    return " ".join(word for word in words if word)


__all__ = [
    "DETERMINERS",
    "FUNCTION_WORDS",
    "INT",
    "LETTERED_BEFORE",
    "MONTHS",
    "NOT_IN_WORD",
    "NUM",
    "SIGN",
    "SIGNS",
    "TO",
    "Context",
    "Rule",
    "any_of",
    "cardinal",
    "digits",
    "join",
    "number",
    "ordinal",
    "pairs",
    "rule",
    "year",
]
