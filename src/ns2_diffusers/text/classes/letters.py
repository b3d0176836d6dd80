"""Letters: initials, words in capitals, codes of letters and digits, single letters."""

from __future__ import annotations

import re

from ..numbers import cardinal, digits, pairs
from .addresses import FIRST_NAMES
from .common import NUM, Context, join, rule
from .counting import SUPERSCRIPTS, spoken_power
from .symbols import GREEK

# Words of the lexicon that are spelled if they are in capitals, unless the whole sentence is.
SPELLED = frozenset(
    "us led sec eta est doe ups acl als sos ira mit add act rip coo pow vat ata ama dna rna "
    "cia fbi irs nsa dvd cpu gpu "
    "usb atm abc bbc cnn nbc cbs hbo nfl nba mlb nhl ceo cfo cto hr pr tv pc cd ad bc ac dc "
    "ai ip id un eu uk uae ussr "
    "usa phd mba mri iq eq gdp ipo llc ltd faq diy html pdf url http wifi suv rv dj mc vip "
    "lgbt hiv std er icu iv ptsd "
    "adhd ocd nyc la sf dc nj ny pa ma mi mo va wv ga ky al ar az co ct de fl ia il ks md me mn ms mt nc nd ne nh nm "
    "nv oh ok ri sc sd tn tx ut vt wa wi wy bmw vw gm ge hp ibm ibs msg pms pta psi rpm sms tnt tba tbd asl esl gps "
    "api sdk ide ui ux os pe re rn pm am ms wc wwf ymca apr dns isp lan ssd ssh ssl tls tcp "
    "vpn fda fcc ftc epa osd cdc "
    "nih nra ufo gop dnc rnc mlk jfk fdr lbj tsa dmv dea dhs dod nypd lapd oj ed em fa gi ma "
    "na ta ti bo di el en es et "
    "ex ga ha iq lo mu nu od op pi si xi bs fm pt rt st ct cs dm dr fr ft hm ic ii im ir jr "
    "kg km lb mb nt oz pg pp qt "
    "sq sr tb ts vs ww xx ooo wfh cob lax".split()
)
# Acronyms that are spoken as words and are in no lexicon, with their readings.
ACRONYM_WORDS = {
    **{
        word: word
        for word in "ikea daca wada finra toefl tesco lidl aldi asda geico moma pimco suny cuny fafsa asos voip roku "
        "ebitda fisa cisa hulu anzac apec aipac bupa pemex seato tefl cites petco mensa acas ofgem ofwat camra".split()
    },
    "json": "jason",
    "noaa": "noah",
}
# Words of two letters that are words in capitals too.
_TWO = frozenset(
    "an as at be by do go he hi ho if in is it me my no of oh on or so to up us we am ah ha eh ow ox ma pa".split()
)
_NOUNS_AFTER_IT = frozenset(
    "department departments support team staff guy guys manager director consultant services service sector industry "
    "company companies professional professionals specialist infrastructure systems security budget admin equipment "
    "help desk skills job jobs project projects worker workers band movies course training".split()
)
_COUNTRY_AFTER = frozenset(
    "army navy government president dollar dollars senate congress troops military forces soldiers citizens citizen "
    "economy embassy marines open treasury senator election elections state states officials constitution".split()
)
_SPEECH = frozenset(
    "said says has warned declared is was announced recommends guidelines director chief officials".split()
)
_ARTICLES = ("the", "a", "an", "our", "their", "his", "her", "my", "your")
_LETTER_BEFORE = frozenset(
    "vitamin vitamins grade grades plan row section letter letters group type class hepatitis appendix exhibit point "
    "points option team hall block building side part level blood gate platform unit zone seat column key major minor "
    "an schedule flat apartment apt suite room figure table question answer sector line camp list series model drug "
    "variable node box player party company witness patient mr ms agent".split()
)
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_SIGNS = _RAISED + "".join(GREEK)
_NUMBER = re.compile(rf"\d+(?:[.,]\d+)*|[{_RAISED}]+|[{_SIGNS}]|[^\W\d_{_SIGNS}]+")
_VOWEL = re.compile("[aeiouy]", re.IGNORECASE)
_SEGMENT = re.compile(r"[^.!?\n]+")
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_LONGER = re.compile(r"(?<!\w)[^\W\d_]{2}")


def spell(letters: str) -> str:
    """A run of letters in capitals, which marks it to be spelled."""
    return letters.upper()


# --------------------------------------------------------------------------------- words in capitals


def is_shouted(context: Context, position: int) -> bool:
    """Whether the sentence around a position is in capitals."""
    segments = shouted_segments(context)
    index = context.cache.get("segment", 0)  # positions only grow, so the search continues from the last one
    while index < len(segments) - 1 and segments[index][0] <= position:
        index += 1
    context.cache["segment"] = index
    return bool(segments) and segments[index][1]


def shouted_segments(context: Context) -> list[tuple[int, bool]]:
    """The end of each sentence or part of it before a stop, and whether it is in capitals."""
    if "shouted" not in context.cache:
        matches = list(_SEGMENT.finditer(context.text))
        segments = [(m.end(), _is_shouted_segment(m[0], context)) for m in matches]
        # One word between stops, of which one may be that of an abbreviation, is as what is before it, or after it.
        for order in (range(1, len(segments)), range(len(segments) - 2, -1, -1)):
            step = -1 if order.step > 0 else 1
            for i in order:
                stop = context.text[segments[min(i, i + step)][0]]
                if not segments[i][1] and segments[i + step][1] and stop == "." and _is_short(matches[i][0]):
                    segments[i] = segments[i][0], True
        context.cache["shouted"] = segments
    return context.cache["shouted"]


def _is_short(segment):
    """Whether a segment has no lower-case letter, and too few words to tell whether it is in capitals."""
    return segment == segment.upper() and len(_LONGER.findall(segment)) < 3


def _is_shouted_segment(segment, context):
    words = [w for w in _WORDS.findall(segment) if len(w) > 1]
    capitals = [w for w in words if w.isupper()]
    if len(capitals) < 2 or len(capitals) < 0.7 * len(words):
        return False
    real = [w for w in capitals if context.known(w.lower()) and w.lower() not in SPELLED or w.lower() in _TWO]
    return len(real) * 2 >= len(capitals) or len(real) >= 3


@rule("capitals", r"(?P<word>[^\W\d_a-z]{2,40}(?:'[A-Z]{1,2})?)(?P<s>s|'s)?(?![\w])")
def capitals(match, context):
    """A word of the lexicon in capitals is read as a word, unless it is one of those that are spelled."""
    word = match["word"]
    lower, suffix = word.lower(), match["s"] or ""
    if not word.replace("'", "").isupper():
        return None
    base = lower.removesuffix("'s")
    if lower.endswith("'s") and not suffix:
        suffix = "'s"
    shouted = is_shouted(context, match.start())
    reading = _read_capitals(base, suffix, shouted, match, context)
    if reading == "lexicon":
        return None
    return reading + suffix


def _read_capitals(lower, suffix, shouted, match, context):
    before, after = context.word_before(match.start()), context.word_after(match.end()).lower()
    if "'" in lower:
        return lower  # DON'T
    if lower == "us":
        is_country = (
            before == "the"
            or after in _COUNTRY_AFTER
            or not shouted
            and (
                before not in ("for", "let", "with", "to", "of", "told", "give", "all")
                or not _is_emphasis(match, context)
            )
        )
        return "US" if is_country or suffix else "us"
    if lower == "it":
        is_trade = (
            after in _NOUNS_AFTER_IT
            or not shouted
            and (
                before in (*_ARTICLES, "in", "and", "of", "for", "works", "work")
                and after not in ("is", "was", "will", "has")
            )
        )
        return "IT" if is_trade else "it"
    if lower == "who":
        if context.before(match.start(), 1) == "(" and context.text[match.end() : match.end() + 1] == ")":
            return "WHO"
        return (
            "WHO"
            if before == "the" and (after in _SPEECH or not shouted) or not shouted and after in _SPEECH and not before
            else "who"
        )
    if lower == "am":
        return "am"
    if lower == "era" and not shouted:
        after_it = re.compile(r"[ ](?:of[ ]|was[ ]|is[ ])?\.?\d").match(context.text, match.end())
        return "ERA" if after_it or before in ("an", "his", "her", "team", "career") else "era"
    if lower in AIRPORTS and not shouted and (before in _TO_AN_AIRPORT or after in ("airport", "terminal")):
        return lower.upper()
    if re.compile(r"&[A-Z]").match(context.text, match.end()) and len(lower) == 2:
        return lower.upper()  # AT&T
    if lower in _TWO:
        return lower
    if len(lower) == 2 and not shouted:
        return lower.upper()
    known = context.known(lower)
    if lower in ACRONYM_WORDS or lower in FIRST_NAMES and len(lower) > 2 and lower not in SPELLED:
        return ACRONYM_WORDS.get(lower, lower)
    if lower in SPELLED and not (
        shouted
        and known
        and len(lower) > 2
        and lower in ("act", "add", "led", "rip", "pow", "ups", "doe", "cob", "lax")
    ):
        return lower.upper()
    if context.cache.get("acronym", _never)(lower.upper()):
        return lower if shouted and known and lower not in ("aids", "sars", "nato") else "lexicon"
    if known:
        return lower
    if shouted and len(lower) > 3 and _VOWEL.search(lower) and not suffix == "s":
        return lower if len(lower) > 5 or _pronounceable(lower) else lower.upper()
    return lower.upper() if len(lower) <= 5 or not _pronounceable(lower) else lower


# Airports whose codes are words too are spelled beside another, and behind these words.
AIRPORTS = frozenset(
    "atl dfw den ord lax jfk las mco mia clt sea phx ewr sfo iah bos fll msp lga dtw phl slc dca san bwi tpa "
    "aus iad bna mdw hnl dal pdx stl rdu hou smf msy sjc sna oak mci sat cle ind pit cvg cmh bur jax rsw lhr "
    "lgw cdg ams fra mad bcn muc zrh dub fco cph osl arn hel lis vie bru ath ist dxb doh auh hnd nrt icn pek "
    "pvg hkg sin bkk kul del bom syd mel akl yyz yvr yul mex cun gru eze bog lim scl jnb cai nbo man edi".split()
)
_TO_AN_AIRPORT = frozenset("to from via into at dep arr departing arriving".split())


@rule("letters", r"F/A-?(?P<number>\d{2})(?P<s>s?)(?!\w)")
def fighter(match, context):
    """F/A-18s"""
    return f"F A {context.cardinal(match['number'])}{match['s']}"


@rule("letters", r"A(?P<number>3\d\d)(?=neo(?!\w))")
def airliner(match, context):
    """A320neo"""
    return f"A {pairs(match['number'])} "


AIRCRAFT_RULES = {"f": (fighter,), "a": (airliner,)}


@rule(
    "letters",
    r"(?P<from>[A-Z]{3})[ ]?(?:-|–|→|>)[ ]?(?P<to>[A-Z]{3})(?:[ ]?(?:-|–|→|>)[ ]?(?P<on>[A-Z]{3}))?(?![\w-])",
)
def flight(match, context):
    """JFK-LHR, LAX → SFO"""
    stops = [code for code in match.group("from", "to", "on") if code]
    return " to ".join(stops) if all(code.lower() in AIRPORTS for code in stops) else None


def _never(word):
    return False


def _pronounceable(word):
    return bool(_VOWEL.search(word)) and not re.search(r"[^aeiouy]{4}|^[^aeiouy]{3}", word)


def _is_emphasis(match, context):
    return bool(re.compile(r"[.!?,;:]|\s*$").match(context.text, match.end()))


# ----------------------------------------------------------------------------------------- initials


@rule(
    "letters",
    r"(?P<letters>(?:[^\W\d_]\.){2,12}[^\W\d_]?)(?P<s>'?s)?(?![\w])|"
    r"(?P<pair>[A-Z](?:\.[A-Z]){1,6})(?P<s2>'?s)?(?!\w|\.\w)",
)
def dotted(match, context):
    """U.S.A., e.s.t"""
    letters = (match["letters"] or match["pair"]).replace(".", "").upper()
    text = match[0]
    suffix = match["s"] or match["s2"] or ""
    return letters + suffix + ("." if text.endswith(".") and context.ends_sentence(match.end()) else "")


@rule("letters", r"(?P<initials>(?:[A-Z]\.[ ]?){1,4})(?=[A-Z][a-z'])")
def initials(match, context):
    """J. R. R. Tolkien"""
    letters = re.findall("[A-Z]", match["initials"])
    if len(letters) == 1:
        before = context.before(match.start(), 12)
        word = context.word_before(match.start())
        if (
            letters == ["I"]
            or match[0].endswith(".")
            or word in _LETTER_BEFORE
            or word
            and not re.search(r"\b[A-Z][\w'.-]*[ ]\Z", before)
        ):
            if not (
                word == ""
                or re.search(r"\b(?:by|and|of|with|to|from|for|mr|mrs|dr|president)\.?[ ]\Z", before, re.IGNORECASE)
            ) or letters == ["I"]:
                return None
        if context.ends_sentence(match.end() - 1) and word:
            return None
    stop = "." if len(letters) > 1 and context.ends_sentence(match.end() - 1) and match[0].endswith(" ") else ""
    return " ".join(letters) + stop + (" " if match[0].endswith(" ") else "")


@rule("letters", r"[A-Z]\.(?:[ ][A-Z]\.){1,4}(?!\w)")
def spaced_initials(match, context):
    """T. X. and J. R."""
    return " ".join(re.findall("[A-Z]", match[0])) + ("." if context.ends_sentence(match.end()) else "")


@rule("letters", r"(?P<letters>[^\W\d_](?:-[^\W\d_]){2,30})(?![\w-])")
def hyphenated(match, context):
    """S-M-I-T-H"""
    letters = match["letters"].replace("-", "")
    if not letters.isupper() and not letters.islower():
        if len(set(letters.lower())) == 1:
            return None
    if letters.islower() and len(set(letters)) == 1:
        return None  # a stutter
    return " ".join(letters.upper())


@rule("letters", r"(?P<letter>[A-Za-z])(?P<sign>\+{1,2}|-)?(?P<s>'s(?!\w))?(?![\w+#&@]|[-']\w|\.\w)")
def single(match, context):
    """row B, vitamin A, an A, straight A's"""
    letter, sign = match["letter"], match["sign"]
    start, end = match.span()
    text = context.text
    if start and text[start - 1] in "'-&" or (start and text[start - 1].isdigit()):
        return None
    before = context.word_before(start)
    if sign:
        if letter == "C" and sign == "++":
            return "C plus plus"
        if sign == "-" and (
            not letter.isupper() or not re.compile(r"[\s.,;:!?)\"'/]|$").match(text, end) or letter == "I"
        ):
            return None
        if match["s"]:
            return f"{letter.upper()} {'minuses' if sign == '-' else 'pluses'}" if len(sign) == 1 else None
        return f"{letter.upper()} {'minus' if sign == '-' else 'plus' if sign == '+' else 'plus plus'}"
    if match["s"]:
        return f"{letter.upper()}s" if letter.upper() != "I" else None
    if letter in "Aa":
        if (
            context.before(start, 1) == "("
            and text[end : end + 1] == ")"
            and context.before(start, 2)[:-1].strip() == ""
        ):
            return "A"  # an item (a)
        if letter == "A" and (
            before in _LETTER_BEFORE
            or before == "the"
            and re.compile(r"[ ](?:side|list|team|train)\b").match(text, end)
        ):
            following = context.word_after(end)
            return (
                "A"
                if not following
                or not following[0].islower()
                or following.lower() in FUNCTION
                or before in ("an", "vitamin", "grade", "hepatitis")
                else None
            )
        if letter == "a" and before in ("letter", "an", "variable"):
            return "A"
        if letter == "A" and before and not re.search(r"[.!?:;\"'(][ ]?\Z", context.before(start, 2)):
            if re.compile(r"[.,;:!?)\"']|\s*$").match(text, end) or context.word_after(end).lower() in (
                "or",
                "and",
                "to",
                "is",
                "was",
            ):
                return "A"
        if letter == "A" and re.compile(r"[ ]?(?:,|and|or|to|through|=|/)[ ]?[B-Z](?!\w)").match(text, end):
            return "A"
        return None
    if letter == "I":
        following = context.word_after(end)
        is_letter = before in ("letter", "vitamin", "an", "capital", "hepatitis")
        return "I" if is_letter and not following.islower() else None
    if letter.islower() and letter not in "aio" and not before and not context.word_after(end):
        return spell(letter)
    return spell(letter) if letter not in "o" else None


FUNCTION = frozenset(
    "is was and or to of in on at for with has had are were the a as but if from by that which will can".split()
)


# -------------------------------------------------------------------------------------------- codes


def _letters(run, context):
    """Letters of a code: read as a word if they are one in lower case, otherwise spelled."""
    if len(run) == 1:
        return run.upper()
    lower = run.lower()
    if run.islower() or run[0].isupper() and run[1:].islower():
        return (
            run
            if context.known(lower) and (len(run) > 2 or lower in _TWO)
            else (run if len(run) > 3 and _VOWEL.search(run) else run.upper())
        )
    if run.isupper():
        if len(run) > 3 and context.known(lower) and lower not in SPELLED:
            return lower
        return run
    return (
        " ".join(
            _letters(piece, context) for piece in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\Wa-zA-Z\d_]+", run)
        )
        or run
    )


def _code_number(run, is_alone):
    if run[0] == "0" and len(run) > 1 or len(run) > 4:
        return digits(run)
    if len(run) == 3 and is_alone and not run.endswith("00"):
        return pairs(run)
    if len(run) == 4:
        return cardinal(run) if run.endswith("000") else pairs(run)
    return cardinal(run)


_IS_CODE = re.compile(r"\d{4}-[A-Z]{1,3}")
# "5-day/40-hr": quantities, which other rules read.
_QUANTITY_IN_CODE = re.compile(
    r"(?:\d-(?:hr|min|sec|yr|mo|wk|day|hour|week|month|year|mile|lb|oz|ft|in|km|mi)/|/\d+-[a-z]{2})"
)


@rule(
    "code",
    r"(?=[A-Za-z\d/-]{0,200}\d)(?=[\d/-]{0,200}[A-Za-z])(?P<code>[^\W_]{1,100}(?:[-/][^\W_]{1,100}){0,20})(?P<s>(?<=\d)'s)?(?![\w])(?!\.\w)",
)
def code(match, context):
    """A7B14, mp3, B-29s, H2O, mid-1990s"""
    text = match["code"]
    if not re.search(r"\d", text):
        return None
    words = []
    end = match.end()
    if _QUANTITY_IN_CODE.search(text):
        return None
    span = re.fullmatch(r"(?P<letter>[A-Z]{1,2})(?P<from>\d{1,3})-(?P=letter)(?P<to>\d{1,3})", text)
    if span and int(span["from"]) < int(span["to"]):  # gates, rows, pages
        letter, first, last = span["letter"], _code_number(span["from"], True), _code_number(span["to"], True)
        return f"{letter} {first} to {letter} {last}"
    span = re.fullmatch(r"(?P<letter>[JQSL])(?P<from>\d{1,2})-(?P<to>\d{1,2})", text)
    if span and int(span["from"]) < int(span["to"]):  # junctions, quarters, seasons
        return f"{span['letter']} {cardinal(span['from'])} to {cardinal(span['to'])}"
    if "/" in text and re.fullmatch(r"[A-Za-z]+/\d+", text):
        from .measures import UNIT_FOLLOWS

        if UNIT_FOLLOWS.match(context.text, end):
            return None  # "RAM/512 GB"
    parts = re.split(r"([-/])", text)
    for index, part in enumerate(parts):
        if part in ("-", "/"):
            if part == "/" and len(parts) > 1:
                words.append("slash")
            continue
        runs = _NUMBER.findall(part)
        for number, run in enumerate(runs):
            if run[0].isdecimal():
                is_last = number == len(runs) - 1
                following = runs[number + 1] if not is_last else ""
                spoken = (
                    _code_number(run, len(runs) > 1 or len(parts) > 1)
                    if len(run) < 4 or len(runs) > 1 or index or _IS_CODE.fullmatch(text)
                    else context.bare_number(run, match.start(), end)
                )
                if following in ("s", "S") and number + 1 == len(runs) - 1:
                    from ..numbers import plural

                    decade = re.fullmatch(r"(?:1\d|20)?\d0", run)
                    spoken = plural(context.year(run) if decade and len(run) == 4 else spoken)
                    words.append(spoken)
                    break
                if following.lower() in ("st", "nd", "rd", "th") and number + 1 == len(runs) - 1:
                    words.append(context.ordinal(run))
                    break
                words.append(spoken)
            elif run[0] in _RAISED:
                words.append(spoken_power(run.translate(SUPERSCRIPTS), context))
            elif run in GREEK:
                words.append(GREEK[run])
            else:
                words.append(_letters(run, context))
    words = join(*words)
    return words + "'s" if match["s"] else words


@rule("code", r"(?P<letters>[A-Z][A-Za-z]{0,9})(?P<sign>#|\+\+)(?!\w)")
def language(match, context):
    """C#, F#, C++, and PO# before a number"""
    if (
        match["sign"] == "#"
        and len(match["letters"]) > 1
        and re.compile(r"[ ]?[\dA-Z*]").match(context.text, match.end())
    ):
        letters = match["letters"]
        return f"{letters.upper() if letters.isupper() else _letters(letters, context)} number", match.end()
    return f"{_letters(match['letters'], context)} {'sharp' if match['sign'] == '#' else 'plus plus'}"


@rule("letters", r"(?P<number>\d{1,4})\((?P<letter>[a-z])\)(?:\((?P<number2>\d{1,3})\))?")
def subsection(match, context):
    """401(k), 501(c)(3)"""
    words = f"{pairs(match['number'])} {match['letter'].upper()}"
    return words + (f" {cardinal(match['number2'])}" if match["number2"] else "")


@rule("letters", rf"(?:(?P<from>{NUM})[xX]?[-–])?(?P<number>{NUM})(?P<x>[xX×])(?![\w])")
def times(match, context):
    """10x, 5-10x; 3x/week is "three times per week"."""
    first = f"{context.number(match['from'])} to " if match["from"] else ""
    often = match["number"].isdigit() and re.compile(
        r"[ ](?:daily|weekly|monthly|yearly|an?[ ](?:day|week|month|year|wk)|per[ ]|each)|/(?:day|week|wk|month|"
        r"mo|year|yr)\b"
    ).match(context.text, match.end())
    return f"{first}{context.number(match['number'])} {'times' if often else 'X'}"


AIRPORT_RULES = dict.fromkeys(AIRPORTS, (flight,))
WORD_RULES = (capitals, dotted, initials, hyphenated, language, single)
CODE_RULES = (code,)


@rule("letters", r"802\.(?P<part>11|3|15|1)(?P<letters>[a-z]{0,2}|[xX])(?!\w|\.\w)")
def network(match, context):
    """802.11ac"""
    return join(f"eight oh two dot {cardinal(match['part'])}", *match["letters"].upper())


NUMBER_RULES = (subsection, times, network)
