"""Streets, house numbers, states and postal codes."""

from __future__ import annotations

import re

from .common import any_of, digits, join, pairs, rule

STREETS = {
    "st": "Street",
    "ave": "Avenue",
    "av": "Avenue",
    "blvd": "Boulevard",
    "rd": "Road",
    "dr": "Drive",
    "ln": "Lane",
    "ct": "Court",
    "pl": "Place",
    "plz": "Plaza",
    "sq": "Square",
    "ter": "Terrace",
    "terr": "Terrace",
    "cres": "Crescent",
    "hts": "Heights",
    "trl": "Trail",
    "tpke": "Turnpike",
    "cswy": "Causeway",
    "xing": "Crossing",
    "cir": "Circle",
    "hwy": "Highway",
    "pkwy": "Parkway",
    "expy": "Expressway",
    "fwy": "Freeway",
    "way": "Way",
    "aly": "Alley",
    "pk": "Park",
    "gdns": "Gardens",
    "cl": "Close",
    "bch": "Beach",
}
_FULL = {name.lower() for name in STREETS.values()}
STATES = {
    "AL": "Alabama",
    "AK": "Alaska",
    "AZ": "Arizona",
    "AR": "Arkansas",
    "CA": "California",
    "CO": "Colorado",
    "CT": "Connecticut",
    "DE": "Delaware",
    "FL": "Florida",
    "GA": "Georgia",
    "HI": "Hawaii",
    "ID": "Idaho",
    "IL": "Illinois",
    "IN": "Indiana",
    "IA": "Iowa",
    "KS": "Kansas",
    "KY": "Kentucky",
    "LA": "Louisiana",
    "ME": "Maine",
    "MD": "Maryland",
    "MA": "Massachusetts",
    "MI": "Michigan",
    "MN": "Minnesota",
    "MS": "Mississippi",
    "MO": "Missouri",
    "MT": "Montana",
    "NE": "Nebraska",
    "NV": "Nevada",
    "NH": "New Hampshire",
    "NJ": "New Jersey",
    "NM": "New Mexico",
    "NY": "New York",
    "NC": "North Carolina",
    "ND": "North Dakota",
    "OH": "Ohio",
    "OK": "Oklahoma",
    "OR": "Oregon",
    "PA": "Pennsylvania",
    "RI": "Rhode Island",
    "SC": "South Carolina",
    "SD": "South Dakota",
    "TN": "Tennessee",
    "TX": "Texas",
    "UT": "Utah",
    "VT": "Vermont",
    "VA": "Virginia",
    "WA": "Washington",
    "WV": "West Virginia",
    "WI": "Wisconsin",
    "WY": "Wyoming",
    "DC": "DC",
}
DOTTED_STATES = {
    "Ala": "Alabama",
    "Ariz": "Arizona",
    "Ark": "Arkansas",
    "Calif": "California",
    "Colo": "Colorado",
    "Conn": "Connecticut",
    "Del": "Delaware",
    "Fla": "Florida",
    "Ga": "Georgia",
    "Ill": "Illinois",
    "Ind": "Indiana",
    "Kan": "Kansas",
    "Ky": "Kentucky",
    "Md": "Maryland",
    "Mass": "Massachusetts",
    "Mich": "Michigan",
    "Minn": "Minnesota",
    "Mo": "Missouri",
    "Mont": "Montana",
    "Neb": "Nebraska",
    "Nev": "Nevada",
    "Okla": "Oklahoma",
    "Ore": "Oregon",
    "Penn": "Pennsylvania",
    "Pa": "Pennsylvania",
    "Tenn": "Tennessee",
    "Tex": "Texas",
    "Va": "Virginia",
    "Vt": "Vermont",
    "Wash": "Washington",
    "Wis": "Wisconsin",
    "Wyo": "Wyoming",
}
_SIDES = {
    "N": "North",
    "S": "South",
    "E": "East",
    "W": "West",
    "NE": "Northeast",
    "NW": "Northwest",
    "SE": "Southeast",
    "SW": "Southwest",
}
_STREET_WORD = rf"(?:{any_of([*STREETS, *_FULL])})"
_HOUSE = re.compile(
    rf"(?P<number>\d{{1,5}})(?P<letter>[A-Za-z]?)(?=(?:[ ](?:[NSEW]|NE|NW|SE|SW|North|South|East|West)\.?)?"
    rf"(?:[ ](?:[A-Z][\w'.]*|\d+(?:st|nd|rd|th))){{1,4}}?[ ]{_STREET_WORD}(?!\w))",
    re.IGNORECASE,
)


@rule("address", _HOUSE.pattern, re.IGNORECASE)
def house(match, context):
    """The number of "1630 Elm St.", in pairs of digits"""
    number = match["number"]
    text = context.text
    # A number before a long name may be a count, so a capital, an ordinal or the street's suffix must follow.
    if not re.compile(r"[A-Za-z]?[ ](?:[A-Z]|\d)").match(text, match.end("number")):
        return None
    words = text[match.end() : match.end() + 60].split()
    if len(number) <= 2 and not words[0][0].isupper() and not words[0][0].isdigit():
        return None
    return join(pairs(number) if len(number) < 5 else digits(number), match["letter"].upper())


@rule(
    "address",
    r"(?P<side>NE|NW|SE|SW|N|S|E|W)\.?(?=[ ](?:[A-Z][a-z']+|\d+(?:st|nd|rd|th))(?:[ ][A-Z][a-z']+){0,2}[ ](?:"
    + any_of([*STREETS, *_FULL])
    + r")(?!\w))",
    re.IGNORECASE,
)
def side(match, context):
    """708 N 1st St"""
    return _SIDES[match["side"].upper()] if match["side"].isupper() else None


@rule(
    "address",
    r"(?P<side>NE|NW|SE|SW|N|S|E|W)(?!\w)(?:(?<=[NS][EW])|(?=\.?(?:[,;:?!)\"']|[ ](?:Apt|Suite|Ste|#)|\s*$|\.)))",
)
def side_after(match, context):
    """350 5th Ave SW"""
    if re.search(rf"\b(?:{_STREET_WORD})\.?[ ]\Z", context.before(match.start(), 14), re.IGNORECASE):
        return _SIDES[match["side"]]
    return None


@rule("address", rf"(?P<state>{any_of(STATES)})(?![\w'])(?:,?[ ](?P<zip>\d{{5}})(?:-(?P<four>\d{{4}}))?(?![\w]))?")
def state(match, context):
    """Santa Clara, CA 95051"""
    before = context.before(match.start(), 40)
    after_city = re.search(r"[A-Z][\w'.]+,[ ]\Z", before)
    if match["state"] == "MD" and (
        re.search(r"\bDr\.?[ ][^,]{1,30},[ ]\Z", before)
        or re.compile(r",[ ](?:[A-Z]{3,5}|PhD|Ph\.D)\b").match(context.text, match.end())
    ):
        return None
    if match["state"] == "WA" and re.search(r"\b(?:Perth|Fremantle|Broome|Bunbury|Albany|Kalgoorlie),?[ ]\Z", before):
        return "Western Australia" + (f" {digits(match['zip'])}" if match["zip"] else "")
    if not after_city and not (match["zip"] and re.search(r"[A-Z][\w'.]+[ ]\Z", before)):
        return None
    if not match["zip"]:
        if not re.compile(r"[,.;:!?)\"']|\s*$|[ ](?:[a-z(]|\d)").match(context.text, match.end()):
            return None
        if match["state"] in ("OK", "OH", "HI", "ME", "IN", "OR", "ID", "MA", "PA", "LA") and not re.search(
            r"\b(?:in|from|of|to|at|near|[A-Z]\w+),?[ ](?:[A-Z][\w'.]+[ ]?){1,3},[ ]\Z|^"
            r"(?:[A-Z][\w'.]+[ ]?){1,3},[ ]\Z|,[ ][A-Z]\w+,[ ]\Z",
            before,
        ):
            return None
    words = STATES[match["state"]]
    if match["zip"]:
        words += f" {digits(match['zip'])}"
    if match["four"]:
        words += f" {digits(match['four'])}"
    return words


# Behind these a state needs no city. At the end of a sentence some are also other words or names.
_IN_STATE = re.compile(
    r"\b(?:from|in|to|of|near|across|through|into|outside|throughout|(?:[Nn]orth|[Ss]outh|[Ee]ast|[Ww]est)ern)[ ]\Z"
)
_ALSO_WORDS = frozenset("Mass Miss Pa Penn Ore Wash Ill Ark Ala Cal Del Ind La Mo Md Ga Minn Mont Neb Me".split())


def _is_after_preposition(match, context):
    if not _IN_STATE.search(context.before(match.start(), 12)):
        return False
    text, end = context.text, match.end()
    return bool(re.compile(r"[ ][a-z(]|,").match(text, end)) or match["state"] not in _ALSO_WORDS


@rule("address", rf"(?P<state>{any_of(DOTTED_STATES)})\.(?!\w)")
def dotted_state(match, context):
    """Hartford, Conn.; from Va. to N.C."""
    if not _is_after_preposition(match, context) and not re.search(
        r"[A-Z][\w'.]+,[ ]\Z|\b(?:(?:W|No|So)\.|(?:Univ\.?|University|U\.) "
        r"of)[ ]\Z",
        context.before(match.start(), 30),
    ):
        if not (match["state"] == "Wash" and re.compile(r",[ ]D\.?C").match(context.text, match.end())):
            return None
    return DOTTED_STATES[match["state"]] + context.stop(match)


_PROVINCES_DOTTED = {
    "Ont": "Ontario",
    "Que": "Quebec",
    "Alta": "Alberta",
    "Sask": "Saskatchewan",
    "Man": "Manitoba",
    "Vic": "Victoria",
    "Qld": "Queensland",
    "Tas": "Tasmania",
    "Nfld": "Newfoundland",
    "Eng": "England",
    "Mex": "Mexico",
    "Fr": "France",
    "Ger": "Germany",
}


@rule("address", rf"(?P<province>{any_of(_PROVINCES_DOTTED)})\.(?!\w)")
def dotted_province(match, context):
    """Ottawa, Ont."""
    if not re.search(r"[A-Z][a-z][\w'.]+,[ ]\Z", context.before(match.start(), 30)):
        return None
    if match["province"] in ("Man", "Fr") and not context.ends_sentence(match.end()):
        return None
    return _PROVINCES_DOTTED[match["province"]] + context.stop(match)


_PROVINCES = {
    "ON": "Ontario",
    "QC": "Quebec",
    "BC": "British Columbia",
    "AB": "Alberta",
    "MB": "Manitoba",
    "SK": "Saskatchewan",
    "NS": "Nova Scotia",
    "NB": "New Brunswick",
    "NL": "Newfoundland and Labrador",
    "PE": "Prince Edward Island",
    "YT": "Yukon",
    "NT": "Northwest Territories",
}


@rule(
    "address",
    rf"(?P<province>{any_of(_PROVINCES)})(?=(?P<code>[ ]{{1,2}}[A-Z]\d[A-Z][ ]?\d[A-Z]\d(?!\w))|"
    r"[.,;:)?!\"']|\s*$|[ ](?:and|or|is|was|in|on|to|for|at|by)\b)",
)
def province(match, context):
    """Toronto, ON M5V 2T6"""
    before = context.before(match.start(), 30)
    return _PROVINCES[match["province"]] if re.search(r"[A-Z][a-z][\w'.]*,[ ]\Z", before) else None


_WINDS = {
    "N": "north",
    "S": "south",
    "E": "east",
    "W": "west",
    "NE": "northeast",
    "NW": "northwest",
    "SE": "southeast",
    "SW": "southwest",
    "NNE": "north northeast",
    "NNW": "north northwest",
    "SSE": "south southeast",
    "SSW": "south southwest",
    "ENE": "east northeast",
    "ESE": "east southeast",
    "WNW": "west northwest",
    "WSW": "west southwest",
}


@rule("address", rf"(?P<side>{any_of(_WINDS)})(?![\w'.-])")
def wind(match, context):
    """5 mi. NW of town, winds WSW 10-15 mph"""
    before = context.before(match.start(), 20)
    if re.compile(r"[ ]of[ ]").match(context.text, match.end()) and re.search(
        r"\d[ ]?(?:mi|miles?|km|kilometers|kilometres|m|ft|nmi|blocks?|block|yds)\.?[ ]\Z", before
    ):
        return _WINDS[match["side"]]
    if re.search(r"\b[Ww]inds?:?[ ]\Z", before) or re.compile(
        r"(?:[ ]winds?|[ ](?:at[ ])?\d{1,3}(?:-\d{1,3})?[ ]?(?:mph|kts?|knots|km/h|kph)|[ ]breeze|[ ]gales?)(?!\w)"
    ).match(context.text, match.end()):
        return _WINDS[match["side"]]
    return None


_LANDS = (
    "Korea Koreas Africa America Carolina Dakota Ireland Yemen Macedonia Cyprus Vietnam Virginia Va Germany "
    "Berlin Timor Sudan "
    "Bank Asia Europe London Jerusalem Hollywood Sussex Yorkshire Wales Island Islands Palm Dallas Memphis Orange "
    "Lafayette "
    "Ossetia Sea Coast Side Shore Pole Atlantic Pacific Dak Car Australia Midlands Ham Brom Indies Texas "
    "California Jersey"
).split()


@rule("address", rf"(?P<side>[NSEW])\.(?=[ ](?:{any_of(_LANDS)})(?!\w)|[ ](?:{any_of(_LANDS)})n?s?(?!\w))")
def side_of_land(match, context):
    """N. Korea, S. Africans"""
    return _SIDES[match["side"]]


@rule("address", rf"(?P<side>NE|NW|SE|SW|N|S|E|W)\.?(?=[ ](?:{any_of(s.capitalize() for s in STREETS)})(?:\.|(?!\w)))")
def side_before_street(match, context):
    """Cherry Creek S. Dr."""
    return _SIDES[match["side"]] if re.search(r"[A-Z][a-z']+[ ]\Z", context.before(match.start(), 20)) else None


_ZIP_BEFORE = re.compile(
    rf"(?:\b(?:{any_of(STATES.values())}|zip(?:[ ]code)?),?"
    rf"|,[ ](?:[A-Z]\.[A-Z]\.|(?:{any_of(DOTTED_STATES)})\.))[ ]\Z",
    re.IGNORECASE,
)


@rule("address", r"(?P<zip>\d{5})(?:-(?P<four>\d{4}))?(?![\w,.-]\d|\w)")
def zip_code(match, context):
    """95051 after a state, 95051-1234"""
    if not match["four"] and not _ZIP_BEFORE.search(context.before(match.start(), 30)):
        return None
    return join(digits(match["zip"]), digits(match["four"] or ""))


@rule(
    "address",
    r"(?P<road>US|I|SR|CR|M|A|B|E)-?[ ]?(?P<number>\d{1,4})(?P<side>[NSEW])?(?![\w])(?=[ ]"
    r"(?:north|south|east|west|near|exit|highway|motorway|junction)\b)",
)
def road(match, context):
    """I-95 north"""
    return join(match["road"], pairs(match["number"]), _SIDES.get(match["side"] or "", ""))


@rule("address", r"(?P<side>[NSEW])\.?(?![\w'])")
def road_side(match, context):
    """I-80 W"""
    before = context.before(match.start(), 20)
    if re.search(r"\b(?:I|US|SR|[Hh]ighway|Hwy\.?|[Rr]oute|Rte\.?|[Ii]nterstate)[ -]?\d{1,4}[ ]\Z", before):
        return _SIDES[match["side"]] + context.stop(match)
    return None


@rule(
    "address",
    rf"(?P<party>[DRI])-(?P<state>[A-Z]\.[A-Z](?=\.)|(?:{any_of(DOTTED_STATES)})(?=\.)|"
    rf"(?:{any_of(STATES)})(?!\w))\.?(?=[),;])",
)
def party(match, context):
    """Sen. Lopez (D-Calif.)"""
    state = match["state"].replace(".", "")
    if state not in STATES and state not in DOTTED_STATES:
        return None
    return (
        f"{match['party']} {STATES.get(state) or DOTTED_STATES[state]}"
        if context.before(match.start(), 1) == "("
        else None
    )


@rule(
    "address",
    r"(?P<area>[A-Z]{1,2})(?P<district>\d{1,2}[A-Z]?)[ ](?P<sector>\d)(?P<unit>[ABD-HJLNP-UW-Z]{2})(?![\w'])",
)
def postcode(match, context):
    """Bristol BS8 1QT"""
    district = re.fullmatch(r"(\d+)([A-Z]?)", match["district"])
    return join(
        match["area"],
        context.cardinal(district[1]),
        district[2],
        context.cardinal(match["sector"]),
        match["unit"],
    )


RULES = (zip_code, house)
WORD_RULES = {
    **dict.fromkeys((s.lower() for s in STATES), (state,)),
    **dict.fromkeys((w.lower() for w in _WINDS), (wind,)),
    **dict.fromkeys((s.lower() for s in _SIDES), (side, wind, side_after, side_before_street)),
    **dict.fromkeys("nsew", (side, side_of_land, wind, side_after, side_before_street, road_side)),
    "us": (road,),
    "i": (road, party),
    "d": (party,),
    "r": (party,),
    **dict.fromkeys((p.lower() for p in _PROVINCES_DOTTED), (dotted_province,)),
}
for _word in _PROVINCES:
    WORD_RULES[_word.lower()] = (*WORD_RULES.get(_word.lower(), ()), province)
for _word in DOTTED_STATES:
    WORD_RULES[_word.lower()] = (*WORD_RULES.get(_word.lower(), ()), dotted_state)
