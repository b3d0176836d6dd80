"""Sums, equations and comparisons."""

from __future__ import annotations

import re

from .common import NUM, join, rule

_OPERATORS = {
    "+": "plus",
    "-": "minus",
    "–": "minus",
    "−": "minus",
    "*": "times",
    "×": "times",
    "·": "times",
    "x": "times",
    "/": "divided by",
    "÷": "divided by",
    "^": "to the power of",
    "=": "equals",
    "==": "equals",
    "!=": "does not equal",
    "≠": "does not equal",
    "≈": "is about",
    "<": "is less than",
    ">": "is greater than",
    "<=": "is less than or equal to",
    ">=": "is greater than or equal to",
    "≤": "is less than or equal to",
    "≥": "is greater than or equal to",
    "±": "plus or minus",
}
_OPERAND = rf"(?:[-−]?{NUM}(?:\^\d{{1,3}}|[²³])?|[A-Za-zπ](?:\^\d{{1,3}}|[²³])?(?!\w))"
_OPERATOR = r"(?:[ ]?(?:==|!=|<=|>=|[=≠≈≤≥<>+*×·÷^±])[ ]?|[ ]?[-−–][ ]?|[ ]/[ ]|/|[ ]x[ ])"
_CHAIN = re.compile(rf"({_OPERAND})|({_OPERATOR})")
_RELATION = re.compile(r"[=≠≈≤≥<>]")


def _operand(text, context):
    from .counting import spoken_power

    match = re.fullmatch(rf"([-−]?)({NUM}|[A-Za-zπ])(?:\^(\d+)|([²³]))?", text)
    sign, base, caret, raised = match.groups()
    spoken = context.number(base) if base[0] in ".0123456789" else {"π": "pi"}.get(base, base.upper())
    exponent = caret or {"²": "2", "³": "3", None: ""}[raised]
    return join("minus" if sign else "", spoken, spoken_power(exponent, context) if exponent else "")


@rule("mathematics", rf"{_OPERAND}(?:{_OPERATOR}{_OPERAND}){{1,12}}(?![\w%])(?!\.\d|[-/:]\d)")
def equation(match, context):
    """1-2=5, 2*8, 3 × 4, y = x + 1"""
    from .measures import PIXELS, UNIT_FOLLOWS

    text = match[0]
    if text in ("I <3", "we <3", "We <3"):
        return None  # a heart
    if "<" in text and "</" in context.text[match.start() : match.end() + 300]:
        return None  # a tag
    parts, position = [], 0
    expects_operand = True
    while position < len(text):
        pattern = _OPERAND if expects_operand else _OPERATOR
        found = re.compile(pattern).match(text, position)
        if not found:
            return None
        parts.append((expects_operand, found[0]))
        position, expects_operand = found.end(), not expects_operand
    if {part for is_operand, part in parts if is_operand} <= PIXELS:
        return None
    operators = [part.strip() for is_operand, part in parts if not is_operand]
    if not operators or len(parts) != 2 * len(operators) + 1:
        return None
    if ({*operators} <= {"±"} or {*operators} <= {"×"}) and UNIT_FOLLOWS.match(context.text, match.end()):
        return None  # "3.0 ± 0.2 mm", "80×28×202 cm"
    if not _RELATION.search("".join(operators)):
        # Without a relation, hyphens are ranges, slashes are fractions, and letters are words.
        if any(op in "-–/x" for op in operators) and not any(op in "+*×÷^±" for op in operators):
            return None
        if any(is_operand and part[0].isalpha() for is_operand, part in parts) and not all(
            len(part) == 1 or not part.isalpha() for is_operand, part in parts if is_operand
        ):
            return None
        if operators[0] == "×" or operators == ["x"] * len(operators):
            return None if context.text[match.end() : match.end() + 1].isalpha() else _speak(parts, context)
    return _speak(parts, context)


def _speak(parts, context):
    words = []
    for is_operand, part in parts:
        words.append(_operand(part, context) if is_operand else _OPERATORS[part.strip()])
    return join(*words)


_COMPARISONS = {
    "<": "less than",
    ">": "greater than",
    "<=": "less than or equal to",
    ">=": "greater than or equal to",
    "≤": "less than or equal to",
    "≥": "greater than or equal to",
    "⩽": "less than or equal to",
    "⩾": "greater than or equal to",
    "≈": "about",
    "~": "about",
    "≃": "about",
    "∼": "about",
    "≠": "not equal to",
    "=": "equals",
    "±": "plus or minus",
    "≪": "much less than",
    "≫": "much greater than",
    "@": "at",
    "×": "times",
    "÷": "divided by",
    "*": "times",
}


@rule("mathematics", r"(?P<sign><=|>=|[<>≤≥⩽⩾≈~≃∼≠=±≪≫@×÷])[ ]?(?=[-−+$£€¥]?\.?\d)")
def comparison(match, context):
    """>90%, ~50, ≥ 5"""
    return _COMPARISONS[match["sign"]]


@rule("mathematics", r"(?P<sign><=|>=|==|!=|[<>≤≥⩽⩾≈≃≠=]|(?<=[ ])~)[ ]?(?=[\w\"'(-])")
def relation(match, context):
    """a < b"""
    sign = match["sign"]
    if sign in "<>" and not match[0].endswith(" ") and not context.before(match.start(), 1).isspace():
        return None
    return _COMPARISONS.get(sign) or _OPERATORS[sign]


@rule("mathematics", r"(?P<letters>[A-Za-z]{1,2})(?P<raised>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,4})(?!\w)")
def raised_letter(match, context):
    """x²"""
    from .counting import SUPERSCRIPTS, spoken_power

    return f"{match['letters'].upper()} {spoken_power(match['raised'].translate(SUPERSCRIPTS), context)}"


RULES = (equation,)
WORD_RULES = (raised_letter,)


@rule("mathematics", r"<3(?=[ ][a-z]|[.!?)]|\s*$)")
def heart(match, context):
    """I <3 you"""
    before = re.search(r"\b(?P<subject>I|we|We|you|You)[ ]\Z", context.before(match.start(), 5))
    return "love" if before else None


SYMBOL_RULES = (heart, comparison, relation)
