"""Results, odds and statistics of sports."""

from __future__ import annotations

import re

from .common import rule

_ODDS_AFTER = re.compile(
    r"[ -](?:favou?rites?|odds|shots?|outsiders?|on|against|joint|underdogs?|longshots?|chance)(?!\w)"
)
_ODDS_BEFORE = re.compile(
    r"(?:\b(?:odds(?:[ ](?:of|are|is|were|at|on))?|priced at|out to|in to|was|returned|sp|starting price|bet(?:ting)?"
    r"|backed(?: at| from)?|drifted to|offered(?: at)?|favou?rite at)|@)[ ]\Z",
    re.IGNORECASE,
)


@rule("score", r"(?P<top>\d{1,4})/(?P<bottom>\d{1,2})(?![\w/%]|[.,]\d)")
def odds(match, context):
    """a 5/2 favorite, odds of 7/1"""
    top, bottom = int(match["top"]), int(match["bottom"])
    if not bottom or match["top"] == match["bottom"]:
        return None
    after = _ODDS_AFTER.match(context.text, match.end())
    sure = after and after[0].strip(" -") not in ("on", "against", "chance")  # "was 1/2 on" may be a fraction
    before = _ODDS_BEFORE.search(context.before(match.start(), 20))
    if not (sure or before and (after or top > bottom and before[0].strip().lower() not in ("was", "@"))):
        return None
    return f"{context.cardinal(top)} to {context.cardinal(bottom)}"


@rule("score", r"(?P<feet>[4-7])-(?P<inches>\d|1[01])(?=,[ ]\d{2,3}(?:[ -](?:pounds?|lbs?)|[ ][a-z]))")
def height(match, context):
    """the 6-2, 225-pound linebacker"""
    if not re.compile(r",[ ]\d{2,3}[ -](?:pounds?|lbs?)").match(context.text, match.end()):
        return None
    return f"{context.cardinal(match['feet'])} {context.cardinal(match['inches'])}"


@rule("score", r"(?P<runs>\d{1,3})[-–](?P<wickets>\d)(?=[ ](?:dec(?:lared|\.)?(?!\w)|\(?\d{1,3}(?:\.\d)?[ ]ov))")
def innings(match, context):
    """287-6 (50 ov)"""
    return f"{context.cardinal(match['runs'])} for {context.cardinal(match['wickets'])}"


@rule("score", r"dec\.?(?![\w'-])")
def declared(match, context):
    """324/7 dec"""
    return "declared" if re.search(r"\d[/-]\d[ ]\Z", context.before(match.start(), 5)) else None


_SCORE_AFTER = re.compile(r"[ ][^.!?\n]{2,60}\d")


@rule("score", r"(?:d\.|def\.|bt\.?)(?=[ ][A-Z])")
def defeated(match, context):
    """Nadal d. Federer 6-4"""
    if not re.search(r"\b[A-Z][\w'.-]*\)?[ ]\Z", context.before(match.start(), 20)):
        return None
    return ("beat" if match[0][0] == "b" else "defeated") if _SCORE_AFTER.match(context.text, match.end()) else None


_BASEBALL = re.compile(
    r"\b(?:RBIs?|batting|batted|hit(?:s|ting)?|homer(?:s|ed)?|avg|OPS|OBP|SLG|steals?|stolen|SB|AVG|AB|slugger|"
    r"outfielder|"
    r"shortstop|inning|season|career|led|leads|pitcher|belted|slugged|leader|record|runs|2B|3B)\b|(?<!\d)\.\d{3}\b"
)


@rule("score", r"(?P<number>\d{1,3}(?:st|nd|rd|th)?)(?P<space>[ -]?)HR(?P<s>s?)(?!\w)")
def home_runs(match, context):
    """24 HR, his 50th HR"""
    around = context.before(match.start(), 50), context.text[match.end() : match.end() + 40]
    if not match["s"] and not any(map(_BASEBALL.search, around)):
        return None
    number = match["number"]
    if not number.isdigit():
        return f"{context.ordinal(number[:-2])} home run"
    return f"{context.cardinal(number)} home run{'' if number == '1' or match['space'] == '-' else 's'}"


RULES = (height, innings, home_runs, odds)
WORD_RULES = {"dec": (declared,), **dict.fromkeys(("d", "def", "bt"), (defeated,))}
