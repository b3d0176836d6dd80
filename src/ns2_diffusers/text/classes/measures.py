"""Quantities with units, temperatures, percentages, sizes."""

from __future__ import annotations

import re

from ..numbers import plural
from .common import FUNCTION_WORDS, LETTERED_BEFORE, NUM, SIGN, SIGNS, TO, any_of, join, pairs, rule

_PREFIXES = {"k": "kilo", "M": "mega", "G": "giga", "T": "tera", "m": "milli", "µ": "micro", "n": "nano", "c": "centi"}


def _s(one):
    return one, one + "s"


def _same(word):
    return word, word


def _with_prefixes(unit, one, prefixes, many=None):
    many = many or one + "s"
    return {prefix + unit: (_PREFIXES[prefix] + one, _PREFIXES[prefix] + many) for prefix in prefixes}


_FOOT, _INCH = ("foot", "feet"), ("inch", "inches")
# Singular and plural of each unit, by its written form. Lower-case units may also be written in capitals.
UNITS: dict[str, tuple[str, str]] = {
    # length, area, volume
    **_with_prefixes("m", "meter", "kmµnc"),
    "m": _s("meter"),
    "dm": _s("decimeter"),
    "um": _s("micrometer"),
    "in": _INCH,
    "ft": _FOOT,
    "yd": _s("yard"),
    "yds": _s("yard"),
    "mi": _s("mile"),
    "nmi": _s("nautical mile"),
    "sq ft": ("square foot", "square feet"),
    "sq. ft.": ("square foot", "square feet"),
    "sqft": ("square foot", "square feet"),
    "sq in": ("square inch", "square inches"),
    "sq m": _s("square meter"),
    "sqm": _s("square meter"),
    "sq km": _s("square kilometer"),
    "sq mi": _s("square mile"),
    "sq yd": _s("square yard"),
    "cu ft": ("cubic foot", "cubic feet"),
    "cu in": ("cubic inch", "cubic inches"),
    "cu m": _s("cubic meter"),
    "ha": _s("hectare"),
    "ac": _s("acre"),
    "l": _s("liter"),
    "L": _s("liter"),
    **_with_prefixes("l", "liter", "mcµ"),
    **_with_prefixes("L", "liter", "mcµ"),
    "dl": _s("deciliter"),
    "dL": _s("deciliter"),
    "hl": _s("hectoliter"),
    "cc": _s("cubic centimeter"),
    "gal": _s("gallon"),
    "qt": _s("quart"),
    "qts": _s("quart"),
    "pt": _s("pint"),
    "pts": _s("point"),
    "fl oz": _s("fluid ounce"),
    "fl. oz.": _s("fluid ounce"),
    "floz": _s("fluid ounce"),
    "tsp": _s("teaspoon"),
    "tsps": _s("teaspoon"),
    "tbsp": _s("tablespoon"),
    "tbsps": _s("tablespoon"),
    "tbs": _s("tablespoon"),
    "Tbsp": _s("tablespoon"),
    "doz": ("dozen", "dozen"),
    # mass
    "g": _s("gram"),
    "gm": _s("gram"),
    **_with_prefixes("g", "gram", "kmµ"),
    "kgs": _s("kilogram"),
    "kilo": _s("kilo"),
    "mcg": _s("microgram"),
    "ug": _s("microgram"),
    "ng": _s("nanogram"),
    "lb": _s("pound"),
    "lbs": _s("pound"),
    "oz": _s("ounce"),
    "t": ("ton", "tons"),
    "kt": _s("knot"),
    # time
    "sec": _s("second"),
    "secs": _s("second"),
    "min": _s("minute"),
    "mins": _s("minute"),
    "hr": _s("hour"),
    "hrs": _s("hour"),
    "wk": _s("week"),
    "wks": _s("week"),
    "mo": _s("month"),
    "mos": _s("month"),
    "yr": _s("year"),
    "yrs": _s("year"),
    "ms": _s("millisecond"),
    "msec": _s("millisecond"),
    "µs": _s("microsecond"),
    "us": _s("microsecond"),
    "ns": _s("nanosecond"),
    # speed and rates
    "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"),
    "kmh": ("kilometer per hour", "kilometers per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"),
    "bpm": ("beat per minute", "beats per minute"),
    "mpg": ("mile per gallon", "miles per gallon"),
    "kn": _s("knot"),
    "kts": _s("knot"),
    "bps": ("bit per second", "bits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
    "gbps": ("gigabit per second", "gigabits per second"),
    "MBps": ("megabyte per second", "megabytes per second"),
    "wpm": ("word per minute", "words per minute"),
    # data
    "bit": _s("bit"),
    "kb": _s("kilobyte"),
    "KB": _s("kilobyte"),
    "kB": _s("kilobyte"),
    "Kb": _s("kilobit"),
    "mb": _s("megabyte"),
    "MB": _s("megabyte"),
    "Mb": _s("megabit"),
    "gb": _s("gigabyte"),
    "GB": _s("gigabyte"),
    "Gb": _s("gigabit"),
    "tb": _s("terabyte"),
    "TB": _s("terabyte"),
    "PB": _s("petabyte"),
    "KiB": _s("kibibyte"),
    "MiB": _s("mebibyte"),
    "GiB": _s("gibibyte"),
    "px": _s("pixel"),
    "MP": _s("megapixel"),
    "dpi": ("dot per inch", "dots per inch"),
    "ppi": ("pixel per inch", "pixels per inch"),
    # physics
    "Hz": _same("hertz"),
    "hz": _same("hertz"),
    **_with_prefixes("Hz", "hertz", "kMGT", "hertz"),
    "khz": _same("kilohertz"),
    "mhz": _same("megahertz"),
    "ghz": _same("gigahertz"),
    "W": _s("watt"),
    **_with_prefixes("W", "watt", "kMGTm"),
    "Wh": _s("watt hour"),
    "kWh": _s("kilowatt hour"),
    "kwh": _s("kilowatt hour"),
    "MWh": _s("megawatt hour"),
    "GWh": _s("gigawatt hour"),
    "V": _s("volt"),
    **_with_prefixes("V", "volt", "kmMµ"),
    "mA": _s("milliampere"),
    "µA": _s("microampere"),
    "Ah": ("amp hour", "amp hours"),
    "mAh": ("milliamp hour", "milliamp hours"),
    "Ω": _s("ohm"),
    "kΩ": _s("kilohm"),
    "MΩ": _s("megohm"),
    "dB": _s("decibel"),
    "db": _s("decibel"),
    "dBA": _s("A weighted decibel"),
    "Pa": _s("pascal"),
    "hPa": _s("hectopascal"),
    "kPa": _s("kilopascal"),
    "MPa": _s("megapascal"),
    "psi": ("pound per square inch", "pounds per square inch"),
    "mbar": _s("millibar"),
    "mmHg": ("millimeter of mercury", "millimeters of mercury"),
    "atm": _s("atmosphere"),
    "kJ": _s("kilojoule"),
    "MJ": _s("megajoule"),
    "kN": _s("kilonewton"),
    "Nm": ("newton meter", "newton meters"),
    "cal": _s("calorie"),
    "kcal": _s("kilocalorie"),
    "BTU": ("BTU", "BTUs"),
    "hp": _same("horsepower"),
    "eV": _s("electron volt"),
    "keV": _s("kiloelectron volt"),
    "MeV": _s("megaelectron volt"),
    "GeV": _s("gigaelectron volt"),
    "mol": _s("mole"),
    "mmol": _s("millimole"),
    "ppm": ("part per million", "parts per million"),
    "ppb": ("part per billion", "parts per billion"),
    "IU": ("international unit", "international units"),
    "lm": _s("lumen"),
    "lx": _same("lux"),
    "ly": _s("light year"),
    "AU": _s("astronomical unit"),
    "Mpc": _s("megaparsec"),
    "pct": _same("percent"),
    "bbl": _s("barrel"),
    "bbls": _s("barrel"),
    "mbd": ("million barrels per day", "million barrels per day"),
    "bpd": ("barrel per day", "barrels per day"),
    "boe": ("barrel of oil equivalent", "barrels of oil equivalent"),
    "pp": ("percentage point", "percentage points"),
    "ppt": ("percentage point", "percentage points"),
    "ppts": ("percentage point", "percentage points"),
    "fl.oz.": _s("fluid ounce"),
    "sq in.": ("square inch", "square inches"),
    "cu yd": _s("cubic yard"),
    "mW": _s("milliwatt"),
    "nit": _s("nit"),
    "yo": ("year old", "year old"),
    "y.o.": ("year old", "year old"),
    "y.o": ("year old", "year old"),
    "y/o": ("year old", "year old"),
    "%": _same("percent"),
    "‰": _same("per mille"),
    "°": ("degree", "degrees"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "° C": ("degree Celsius", "degrees Celsius"),
    "°c": ("degree Celsius", "degrees Celsius"),
    "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "° F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°f": ("degree Fahrenheit", "degrees Fahrenheit"),
    "°K": ("kelvin", "kelvin"),
    "°N": ("degree north", "degrees north"),
    "°S": ("degree south", "degrees south"),
    "°E": ("degree east", "degrees east"),
    "°W": ("degree west", "degrees west"),
    "° N": ("degree north", "degrees north"),
    "° S": ("degree south", "degrees south"),
    "° E": ("degree east", "degrees east"),
    "° W": ("degree west", "degrees west"),
}
_LOWER = [u for u in UNITS if u.islower() and u.upper() not in UNITS and len(u) > 1]
UNITS |= {u.upper(): UNITS[u] for u in _LOWER} | {
    u.capitalize(): UNITS[u] for u in _LOWER if u.capitalize() not in UNITS
}
# Written so only after a number; in capitals these are other words.
UNITS |= {
    "reb": _s("rebound"),
    "rebs": _s("rebound"),
    "ast": _s("assist"),
    "asts": _s("assist"),
    "stl": _s("steal"),
    "stls": _s("steal"),
    "blk": _s("block"),
    "blks": _s("block"),
    "rds": _s("round"),
    "wkts": _s("wicket"),
    "overs": _s("over"),
    "ov": _s("over"),
    "inn": ("inning", "innings"),
    "inn.": ("inning", "innings"),
    "inns": ("inning", "innings"),
    "pk": _s("pack"),
    "pks": _s("pack"),
    "pkt": _s("packet"),
    "pkts": _s("packet"),
    "pcs": _s("piece"),
    "ct": ("count", "count"),
    "btl": _s("bottle"),
    "btls": _s("bottle"),
    "bp": _s("basis point"),
    "sf": ("square foot", "square feet"),
    "pc": _s("piece"),
    "mya": ("million years ago", "million years ago"),
    "bya": ("billion years ago", "billion years ago"),
    "inHg": ("inch of mercury", "inches of mercury"),
    "in. Hg": ("inch of mercury", "inches of mercury"),
    "in Hg": ("inch of mercury", "inches of mercury"),
    "c.": _s("cup"),
    "C.": _s("cup"),
    "T.": _s("tablespoon"),
    "t.": _s("teaspoon"),
    "c": _s("cup"),
    "T": _s("tablespoon"),
}
# Words after "/": these include counted things and durations.
_PER = UNITS | {
    "s": _s("second"),
    "h": _s("hour"),
    "d": _s("day"),
    "y": _s("year"),
    "a": _s("year"),
    **{
        w: _s(w)
        for w in (
            "second minute hour day week month quarter year person kid student unit night game page side "
            "serving piece head visit ticket seat car user household employee guest couple child adult mile "
            "gallon pound ounce share acre barrel bottle box bag pack dozen item cup slice bed class session "
            "trip set round match plate dose tablet"
        ).split()
    },
}
_POWERS = {"²": "square ", "2": "square ", "^2": "square ", "³": "cubic ", "3": "cubic ", "^3": "cubic ", None: ""}
# Nouns behind a quantity of what they hold, make or run: the unit is singular.
_HOLDER_AFTER = re.compile(
    r"[ ](?:cans?|bottles?|bags?|box(?:es)?|jars?|packages?|pkgs?|packets?|tubs?|cartons?|pouch(?:es)?|"
    r"containers?|tins?|tubes?|glass(?:es)?|mugs?|blocks?|tumblers?|steaks?|fillets?|saucepan|skillet|"
    r"sachets?)(?![\w'])"
)
_RACE_AFTER = re.compile(
    r"[ ](?:relay|hurdles|finals?|dash|race|sprint|freestyle|backstroke|butterfly|breaststroke|medley|champion|"
    r"steeplechase|heats?|semi-?finals?|title|gold|silver|bronze)(?![\w'])"
)
_CHANGE_AFTER = re.compile(
    r"[ ](?:rate[ ])?(?:hike|cut|increase|rise|drop|decline|gain|move|spread|jump|reduction|raise|rally|swing|"
    r"lead)(?!\w)"
)
_POWERED = frozenset("MP W kW V Hz kHz MHz GHz mAh Ah lm cc px dpi L l in mm GB TB MB gal qt oz kWh hp".split())
_LENGTHS = frozenset("m km cm mm dm µm nm ft in yd mi".split())
_UNIT = any_of(UNITS)
_POWER = r"(?:\^?[23](?!\w|\.\w)|[²³])"
# Units that are also words or letters, and need more evidence than a number.
_ENDS = re.compile(
    r"(?:[.,;:!?)\"']|[ ]?$|[ ][x×]|[ ](?:long|wide|tall|high|deep|thick|by|of|and|in|from|at|for|to)\b)"
)
UNIT_FOLLOWS = re.compile(rf"[ ]?(?:{_UNIT})(?![\w'])")
_SCALE = r"(?:[ ](?P<scale>hundred|thousand|million|billion|trillion))?"
_FRACTION = r"(?P<mixed>[ -]?(?P<top>\d{1,3})/(?P<bottom>\d{1,3}))?"
_PER_PART = rf"(?:\.?[ ]?/[ ]?(?P<per>{any_of(_PER)})(?P<per_power>{_POWER}|-?²)?)?"


_BOMB = re.compile(
    r"[ -](?:(?:nuclear|atomic)[ ])?(?:bombs?|yields?|explosions?|warheads?|devices?|blasts?|of[ ]TNT)(?!\w)"
)
# "2 W, 1 D": won, drawn, lost, tied.
_RECORD_BEFORE = re.compile(r"\d[ ]?([WLDT])(?:,?[ ]|-)(?:and[ ])?\Z")
_RECORD_AFTER = re.compile(r"(?:,?[ ]|-)(?:and[ ])?\d{1,3}[ ]?([WLDT])(?![\w'])")


def _is_record(letter, context, start, end):
    beside = _RECORD_BEFORE.search(context.before(start, 10)), _RECORD_AFTER.match(context.text, end)
    return any(found and found[1] != letter for found in beside)


_MANY = re.compile(
    r"[ ](?:(?:new|more|other|young|American|British)[ ])?(?:people|men|women|children|adults|jobs|users|homes|"
    r"households|customers|workers|tons|tonnes|dollars|pounds|euros|views|viewers|copies|votes|voters|barrels|"
    r"doses|refugees|"
    r"subscribers|followers|shares|passengers|visitors|residents|patients|cases|deaths|students|members|vehicles|"
    r"cars)\b"
)


# "are 5.5 GB": games behind the leader of a table.
_TEAMS = (
    "Angels Astros Athletics A's Blue_Jays Jays Braves Brewers Cardinals Cubs Diamondbacks D-backs Dodgers Giants "
    "Guardians "
    "Mariners Marlins Mets Nationals Nats Orioles O's Padres Phillies Pirates Rangers Rays Red_Sox Reds Rockies "
    "Royals Tigers Twins "
    "White_Sox Sox Yankees Yanks 76ers Sixers Bucks Bulls Cavaliers Cavs Celtics Clippers Grizzlies Hawks Heat "
    "Hornets Jazz Kings "
    "Knicks Lakers Magic Mavericks Mavs Nets Nuggets Pacers Pelicans Pistons Raptors Rockets Spurs Suns Thunder "
    "Timberwolves "
    "Blazers Warriors Wizards"
).split()
_TEAM_BEFORE = re.compile(
    rf"\b(?:{any_of(team.replace('_', ' ') for team in _TEAMS)})[ ]"
    r"(?:are|sit|were|stand|remain|trail|fell|now|still|is|sits)(?:[ ](?:now|"
    r"just|still|only))?[ ]\Z"
)
_STANDINGS = re.compile(
    r"\b(?:games?|wild card|standings|division|first place|[AN]L (?:East|West|Central)|playoffs?)\b"
)


def _is_games_back(unit, number, context, start, end):
    if unit != "GB" or not re.fullmatch(r"\d{1,2}(?:\.[05])?", number):
        return False
    around = context.before(start, 60), context.text[end : end + 40]
    return bool(_TEAM_BEFORE.search(around[0]) or _STANDINGS.search(around[0]) or _STANDINGS.search(around[1]))


# What a cook measures in spoons and cups, behind up to two adjectives.
COOKED = re.compile(
    r"[ ](?:of[ ])?(?:[a-z-]{2,15},?[ ]){0,2}"
    r"(?:flour|sugar|butter|milk|water|oil|salt|vanilla|cream|rice|honey|broth|stock|cheese|"
    r"oats|pepper|vinegar|juice|syrup|cocoa|cornstarch|yeast|soda|powder|cinnamon|paprika|"
    r"cumin|ginger|garlic|onions?|nuts|walnuts|pecans|almonds|raisins|berries|blueberries|peas|"
    r"corn|beans|tomatoes|sauce|mayo|mayonnaise|mustard|yogurt|buttermilk|shortening|margarine|"
    r"lemon|lime|parsley|basil|oregano|thyme|chips|coconut|pasta|lentils|spinach|herbs|"
    r"spices?|seeds|breadcrumbs|crumbs|molasses|extract|zest|wine|coffee|tea|ketchup|salsa|"
    r"celery|carrots?|mushrooms|chicken)(?!\w)"
)


# "600 W. Main St." is the west side of a street.
_STREET_AFTER = re.compile(
    r"\.[ ](?:[A-Z][\w']*|\d+(?:st|nd|rd|th))(?:[ ][A-Z][\w']*){0,2}[ ]"
    r"(?:St|Ave|Blvd|Rd|Dr|Ln|Ct|Pl|Hwy|Pkwy|Way|Street|Avenue|Boulevard|Road|Drive|Lane|Court|Place|Highway)\b"
)


def _is_doubtful(unit, number, space, match, context):
    """Whether the unit is more likely a word or a letter here."""
    text, end = context.text, match.end()
    if len(unit) == 1 and unit.isalpha() and not space and number.isdigit():
        if LETTERED_BEFORE.search(context.before(match.start())):
            return True  # "Rte. 9W"
    if unit in ("c", "T", "c.", "C.", "T.", "t."):
        return not space or not COOKED.match(text, end)
    if unit == "pt" and space == "-":
        return number.isdigit() and not COOKED.match(text, end)  # points, not pints
    if unit in ("ct", "pk") and not space:
        return match["stop"] is None and not re.compile(r"[ ][a-z]|[,;:)]|\s*$").match(text, end)
    if unit.lower() == "in":
        if match["stop"]:
            return False
        if re.compile(r"-\d").match(text, end):
            return True  # "2-in-1"
        if space == "-" or not space:
            return unit != "in" and not unit.isupper()
        after = re.compile(
            r"\.[\"')?!]{0,2}(?:\s*$|\s+[\"'(]?[A-Z])|[ ]?[.,;:)][ ]?[a-z(]|[ ][x×][ ]|"
            r"[ ](?:long|wide|tall|high|deep|thick|in diameter)\b"
        ).match(text, end)
        return not after
    if unit.lower() in ("pp", "ppt"):
        return number.isdigit() and int(number) > 30 or unit != unit.lower()
    if unit.lower().startswith("y") and unit.lower() != "yo" and not unit.lower().startswith(("yr", "yd")):
        return False
    if unit in (
        "us",
        "US",
        "Us",
        "ac",
        "AC",
        "am",
        "AM",
        "pm",
        "mil",
        "AU",
        "MA",
        "PT",
        "IN",
        "Oz",
        "Min",
        "Gal",
        "DM",
        "HA",
        "KN",
        "NS",
    ):
        return True
    if unit == "m" and not space and _MANY.match(text, end):
        return True  # "1.2m people"
    if unit in ("m", "t", "g", "l", "L", "W", "V", "mo", "MO", "mi", "MI", "pt", "sec", "kn", "cal", "bit"):
        if unit == "mo" and not space:
            return False
        if unit == "W" and _STREET_AFTER.match(text, end):
            return True
        if unit in ("W", "L") and _is_record(unit, context, match.start(), end):
            return True
        if unit in ("W", "V") and re.compile(r"[ ](?!(?:AC|DC)(?!\w))[A-Z0-9]").match(text, end):
            return True
        if unit == "t" and (not space and number in ("1", "2")):
            return True
        return bool(re.compile(r"['.][a-z]").match(text, end))
    return False


def _named(unit, number, power, singular):
    one, many = UNITS[unit]
    word = one if singular or number in ("1", "1.0") else many
    return f"{_POWERS[power]}{word}"


_QUANTITY = (
    rf"{SIGN}?(?P<number>\d{{1,3}}(?:[ ]\d{{3}}){{1,4}}(?!\d)|{NUM}){_FRACTION}"
    rf"(?:(?P<range>{TO}|[ ]?to[ ]|[ ]?[x×][ ]?)(?P<number2>{NUM})(?P<mixed2>[ -]\d/\d{{1,2}})?)?"
    rf"(?P<plus>\+(?=[ ]?[A-Za-z°%]))?(?P<space>[ -]?){_SCALE}(?(scale)[ ]?)"
    rf"(?P<unit>{_UNIT})(?P<power>{_POWER})?{_PER_PART}"
    rf"(?![\w²³'])(?!/[^\W\d])(?P<stop>\.(?=[ ][a-z(]|[ ][NSEW]{{1,3}}[ ]of|[,)/]|-[a-z]|"
    rf"[ ]\d{{1,3}}(?:[ ]\d/\d)?[ ]?(?:mins?|secs?|oz|in)(?!\w)))?"
)


def _is_kind(match, context):
    """Whether the quantity tells the kind of what follows: "12 oz cans", "the 100m final", "50MP camera"."""
    end, unit = match.end(), match["unit"]
    if match["per"] or match["power"]:
        return False
    if _HOLDER_AFTER.match(context.text, end):
        return unit not in _DURATION_UNITS
    if unit in ("m", "km", "mi", "yd", "yds") and _RACE_AFTER.match(context.text, end):
        return True
    if unit in ("bp", "bps", "pp") and _CHANGE_AFTER.match(context.text, end):
        return True
    if match["space"] or unit not in _POWERED or context.text[end : end + 1] != " ":
        return False
    following = context.word_after(end)
    return bool(_DEVICE.fullmatch(following)) or following == "fast" and context.text[end + 5 : end + 7] == " c"


_DURATION_UNITS = frozenset("sec secs min mins hr hrs wk wks mo mos yr yrs ms".split())
_DEVICE = re.compile(
    r"(?:cameras?|charg(?:er|ing)|batter(?:y|ies)|display|screen|monitor|panel|model|version|drive|card|module|"
    r"disk|sensor|"
    r"lens|adapter|bulbs?|speakers?|amp|amplifier|motor|engine|outlet|refresh|microwave|blender|laptop|tablet|supply|"
    r"socket|cable|plug|backpack|tank|processor|projector|stick|bottle|kettle|drill|heater|turbo|diesel|hybrid|"
    r"blades?|pipes?|hoses?)"
)


@rule("measure", _QUANTITY)
def quantity(match, context):
    """5 km, -20 °C, 2-5lb, 3 million kg, 9.8 m/s², 4 1/2 lbs, 25 x 7 m"""
    from .fractions import spoken_fraction

    number, unit, power = match["number"].replace(" ", ""), match["unit"], match["power"]
    if _is_doubtful(unit, number, match["space"], match, context):
        return None
    if match["space"] == "-" and (unit in ("%", "°") or len(unit) == 1 and power is None and not unit.islower()):
        return None
    if power and power in "23" and unit not in _LENGTHS:
        return None
    words = context.number(number, match["sign"]) if not match["mixed"] else None
    top, bottom = match["top"], match["bottom"]
    is_fraction = False
    if match["mixed"]:
        if match["mixed"][0] == "/" or number.isdigit() is False:
            return None
        if match["mixed"][0].isdigit():
            return None
        words = join(
            SIGNS[match["sign"]], f"{context.cardinal(number)} and {spoken_fraction(context, top, bottom, True)}"
        )
    second = match["number2"]
    singular = context.is_attributive(match.start(), match.end()) or match["space"] == "-" or _is_kind(match, context)
    between = ""
    if second:
        between = "by" if "x" in match["range"] or "×" in match["range"] else "to"
        if between == "to" and match["sign"] is None and re.fullmatch(r"[ ]-[ ]", match["range"]) and unit == "%":
            between = "to"
        words = f"{words} {between} {context.number(second)}"
        if match["mixed2"]:
            words += f" and {spoken_fraction(context, *match['mixed2'][1:].split('/'), True)}"
        if between == "to" and number == "1":
            number = second
        elif between == "by":
            number = second
    if match["scale"]:
        words += f" {match['scale']}"
        number = "0"
    if _is_games_back(unit, number, context, match.start(), match.end()):
        return f"{words} game{'' if number == '1' else 's'} back"
    if unit == "kt" and _BOMB.match(context.text, match.end()):
        return f"{words} kiloton{'' if singular else 's'}"
    if unit == "bps" and float((second or number).replace(",", "")) < 1000:
        return f"{words} basis point{'' if (second or number) == '1' or singular else 's'}"
    if match["plus"]:
        words += " plus"
        number = second = "0"
    value = second or number
    if match["mixed"] or is_fraction:
        value = "0"
    words = f"{words} {_named(unit, value, power, singular and unit not in ('%',))}"
    if match["per"]:
        per = _PER[match["per"]][0]
        squared = match["per_power"]
        if squared:
            is_time = per in ("second", "hour", "minute")
            words += (
                f" per {per} {'squared' if '2' in squared or '²' in squared else 'cubed'}"
                if is_time
                else (f" per {_POWERS[squared.lstrip('-')]}{per}")
            )
        else:
            words += f" per {per}"
    return words


@rule("measure", r"(?P<number>\d)-pts?\.?(?=[ ][a-z]|er\b)")
def points(match, context):
    """a 3-pt. lead"""
    return f"{context.cardinal(match['number'])} point"


@rule(
    "measure",
    rf"(?P<number>{NUM})[ ]?[kK][ ]?(?P<unit>mi|miles|km|lbs?|ft|sq\.?[ ]?ft|hrs?|yds?|gal|sqft|steps|"
    rf"acres)(?P<stop>\.(?=[ ][a-z(]|[,)]))?(?![\w'])",
)
def thousands(match, context):
    """45k mi"""
    unit = re.sub(r"\.?[ ]", " ", match["unit"])
    words = UNITS[unit][1] if unit in UNITS else unit
    return f"{context.number(match['number'])} thousand {words}"


@rule(
    "measure",
    rf"(?P<top>\d{{1,3}})/(?P<bottom>\d{{1,3}})(?P<space>[ -]?)(?P<unit>{_UNIT})"
    rf"(?P<power>{_POWER})?(?![\w²³'/])(?P<stop>\.(?=[ ][a-z(]|,))?",
)
def fraction_of_unit(match, context):
    """1/2 tsp"""
    from .fractions import spoken_fraction

    unit = match["unit"]
    if unit in ("%", "°") or _is_doubtful(unit, "1", match["space"], match, context):
        return None
    words = spoken_fraction(context, match["top"], match["bottom"])
    is_less = int(match["top"]) <= int(match["bottom"])
    return f"{words} {_named(unit, '1' if is_less else '2', match['power'], False)}"


@rule(
    "measure", rf"(?P<number>{NUM})[ ]?/[ ]?(?P<per>{any_of(u for u in _PER if len(u) > 1 and u.isalpha())})(?![\w/'])"
)
def per_unit(match, context):
    """12/kg, 60/min"""
    per = match["per"]
    if per.lower() in ("in", "us"):
        return None
    return f"{context.number(match['number'])} per {_PER[per][0]}"


@rule(
    "measure",
    rf"(?P<number>{NUM})[ ]?°[ ]?(?P<min>\d{{1,2}}(?:\.\d+)?)[ ]?'(?:[ "
    rf"]?(?P<sec>\d{{1,2}}(?:\.\d+)?)[ ]?(?:\"|''))?(?:[ ]?(?P<side>[NSEW])\b)?",
)
def angle(match, context):
    """40° 26' 46" N"""
    sides = {"N": "north", "S": "south", "E": "east", "W": "west", None: ""}
    words = f"{context.number(match['number'])} degree{'' if match['number'] == '1' else 's'}"
    words += f" {context.number(match['min'])} minutes"
    if match["sec"]:
        words += f" {context.number(match['sec'])} seconds"
    return join(words, sides[match["side"]])


@rule(
    "measure",
    r"(?P<ft>\d{1,2})[ ]?'[ ]?(?P<in>\d{1,2}(?:\.\d)?)(?:[ -](?P<top>\d)/(?P<bottom>\d))?(?:[ ]?(?:\"|'')|(?![\w']))",
)
def feet_and_inches(match, context):
    """6'2\""""
    from .fractions import spoken_fraction

    end = match.end()
    inches = context.number(match["in"])
    if match["top"]:
        inches += f" and {spoken_fraction(context, match['top'], match['bottom'], True)}"
    is_adjective = context.is_attributive(match.start(), end)
    foot = "foot" if is_adjective or match["ft"] == "1" or '"' in match[0] or "''" in match[0] or True else "feet"
    return f"{context.cardinal(match['ft'])} {foot} {inches}"


@rule(
    "measure",
    rf"(?P<number>{NUM})(?:{TO}(?P<to>{NUM})|[ -](?P<top>\d{{1,2}})/(?P<bottom>\d{{1,2}}))?(?P<mark>\"|'')(?!\w)|"
    rf"(?P<lone>\d{{1,2}})/(?P<den>\d{{1,2}})(?P<mark2>\")(?!\w)",
)
def inches(match, context):
    """27" where no quotation is open that the sign could close"""
    from .fractions import spoken_fraction

    is_quoted = context.text.count('"', max(0, match.start() - 300), match.start()) % 2
    if match["lone"]:
        return None if is_quoted else f"{spoken_fraction(context, match['lone'], match['den'])} inch"
    if "'" not in match["mark"] and is_quoted:
        return None
    number = match["number"]
    words = context.number(number)
    if match["to"]:
        words += f" to {context.number(match['to'])}"
    if match["top"]:
        words += f" and {spoken_fraction(context, match['top'], match['bottom'], True)}"
    following = context.word_after(match.end())
    is_adjective = (
        following[:1].islower()
        and following not in FUNCTION_WORDS
        or following in _SCREENS
        or bool(_SCREEN_AFTER.match(context.text, match.end()))
        or following[:1].isupper()
        and context.word_before(match.start()) in ("a", "an")
    )
    singular = number == "1" and not match["top"] and not match["to"] or is_adjective
    return f"{words} {_INCH[0 if singular else 1]}"


@rule(
    "measure",
    r"(?P<number>\d{1,3}(?:,\d{3})*)'(?![\w'\"])(?=[ ](?:tall|long|wide|high|deep|x|by|above|"
    r"below|fence|ceiling|boat)|[ ]?[x×])",
)
def feet(match, context):
    """6' tall, a 10' fence"""
    singular = match["number"] == "1" or context.is_attributive(match.start(), match.end())
    return f"{context.cardinal(match['number'])} {_FOOT[0 if singular else 1]}"


_SCREEN_AFTER = re.compile(r"[ ](?:\d{1,4}[KkPp]|(?:Q?LED|QD|Neo|Smart|HD|FHD|QHD|Class|Touchscreen)(?!\w))")
_SCREENS = frozenset(("TV", "TVs", "HDTV", "LCD", "LED", "OLED", "UHD"))


@rule("measure", rf"{SIGN}?(?P<number>{NUM})%?(?:{TO}(?P<to>{NUM}))?[ ]?%(?P<unit>ile)?(?!\w)")
def percent(match, context):
    """5-10%, 5%-10%"""
    words = context.number(match["number"], match["sign"])
    if match["to"]:
        is_both = "%" in match[0][: match.start("to") - match.start()]
        words += f"{' percent' if is_both else ''} to {context.number(match['to'])}"
    return f"{words} percent{match['unit'] or ''}"


@rule(
    "measure",
    rf"(?P<a>{NUM})(?P<ua>[\"']?)[ ]?[x×][ ]?(?P<b>{NUM})(?P<ub>[\"']?)(?:[ ]?[x×][ "
    rf"]?(?P<c>{NUM})(?P<uc>[\"']?))?(?:[ ]?(?P<unit>{_UNIT})"
    rf"(?P<power>{_POWER})?(?![\w²³]))?(?!\w)",
)
def size(match, context):
    """2x8, 4 x 6 x 2 in, 8.5" x 11" """
    names = {'"': " inches", "'": " feet", "": ""}
    following = context.word_after(match.end())
    if not match["unit"] and following[:1].islower() and following not in FUNCTION_WORDS:
        names = {'"': " inch", "'": " foot", "": ""}
    is_quoted = context.text.count('"', max(0, match.start() - 300), match.start()) % 2
    parts = []
    for key in "abc":
        if match[key]:
            closes = match["u" + key] == '"' and is_quoted and match.end("u" + key) == match.end()
            is_screen = not match["c"] and match[key] in PIXELS and {match["a"], match["b"]} <= PIXELS
            number = pairs(match[key]) if is_screen else context.number(match[key])
            parts.append(number + ("" if closes else names[match["u" + key]]))
    words = " by ".join(parts)
    if match["unit"]:
        singular = context.is_attributive(match.start(), match.end()) or bool(
            _RACE_AFTER.match(context.text, match.end()) or _HOLDER_AFTER.match(context.text, match.end())
        )
        words += f" {_named(match['unit'], match['c'] or match['b'], match['power'], singular)}"
    return words


# Widths and heights of screens in pixels, which are read in pairs.
PIXELS = frozenset(
    "640 480 800 600 854 960 540 1024 768 1080 1152 1200 1280 720 1360 1366 1400 1440 900 1050 1600 1680 1920 "
    "2048 1536 "
    "2160 2560 3440 3840 4096 5120 2880".split()
)
_SIDES = {"L": "long", "W": "wide", "H": "high", "D": "deep"}


@rule(
    "measure",
    rf"(?P<a>{NUM})[ ]?(?P<unit>\"|in\.?|cm|mm|m|ft\.?|"
    rf"')?[ ]?(?P<sa>[LWHD])[ ]?[x×][ ]?(?P<b>{NUM})[ ]?(?:(?P=unit))?[ ]?(?P<sb>[LWHD])"
    rf"(?:[ ]?[x×][ ]?(?P<c>{NUM})[ ]?(?:(?P=unit))?[ ]?(?P<sc>[LWHD]))?(?!\w)",
)
def sides(match, context):
    """12"L x 8"W x 4"H"""
    unit = {'"': " inches", "'": " feet", None: ""}.get(match["unit"])
    if unit is None:
        unit = f" {UNITS[match['unit'].rstrip('.')][1]}"
    return " by ".join(f"{context.number(match[key])}{unit} {_SIDES[match['s' + key]]}" for key in "abc" if match[key])


@rule("measure", r"2[ ]?[x×][ ]?(?P<size>4|6|8|10|12)s(?!\w)")
def timber(match, context):
    """2x4s"""
    return f"two by {plural(context.cardinal(match['size']))}"


_HEAT = re.compile(
    r"\b(?:temps?|temperatures?|highs?|lows?|sunny|cloudy|warm(?:er)?|cold(?:er)?|hot(?:ter)?|cool(?:er)?|feels "
    r"like|frost|"
    r"weather|wash|below|above|fridge|freezer|fever|freezing|rain|snow|showers|humid)\b|\bT:?[ ]\Z",
    re.IGNORECASE,
)


@rule(
    "measure",
    r"(?P<sign>(?<![\w)])[-−]?)(?P<number>\d{1,3}(?:\.\d)?)(?:(?P<to>[-–]\d{1,3}))?(?P<unit>[CF])(?![\w'+-]|\.\w)",
)
def heat(match, context):
    """180C/160C fan"""
    around = context.before(match.start(), 40), context.text[match.end() : match.end() + 30]
    if not any(map(_HEAT.search, around)) or LETTERED_BEFORE.search(around[0]):
        return None
    words = context.number(match["number"], match["sign"] or None)
    if match["to"]:
        words += f" to {context.number(match['to'][1:])}"
    return f"{words} degrees {'Celsius' if match['unit'] == 'C' else 'Fahrenheit'}"


@rule("measure", rf"per[ ](?P<unit>{any_of(u for u in _PER if len(u) > 1 and u.isalpha())})(?![\w'/])", re.IGNORECASE)
def per_word(match, context):
    """per kWh"""
    unit = match["unit"]
    return f"{match[0][:3]} {_PER[unit][0]}" if unit in _PER and unit.lower() not in _NOT_AFTER_PER else None


_NOT_AFTER_PER = frozenset(
    "us in min max ms pt ac ha am second minute hour day week month quarter year person kid student unit "
    "night game page kilo bit".split()
)


@rule(
    "measure",
    r"(?P<unit>km|m|ft|cm|mi|mg|g|kg|µg|mcg|mmol|kWh|MB|GB|Mb|Gb)/"
    r"(?P<per>s|h|hr|sec|L|dL|ml|mL|kg|day|min)(?P<power>²|\^2)?(?![\w/'])",
)
def rate(match, context):
    """m/s without a number"""
    power = " squared" if match["power"] else ""
    return f"{UNITS[match['unit']][1]} per {_PER[match['per']][0]}{power}"


_STONE_BEFORE = re.compile(
    r"\b(?:weigh(?:s|ed|ing|t)?|lost|lose|gained|put on|at|is|was|now|about|over|under|nearly|almost|around|to|"
    r"from|am|i'm|a)"
    r"(?:[ ](?:in at|about|just|over|only|around|of))?[ ]\Z",
    re.IGNORECASE,
)


@rule(
    "measure",
    r"(?P<stone>[2-9]|[1-4]\d)(?P<half>(?:\.5|[ ]?1/2))?(?P<space>[ ]?)st\.?(?:[ ]?(?P<pounds>1?\d)"
    r"(?:[ ]?1/2)?[ ]?lbs?\.?)?(?![\w'-])",
)
def stones(match, context):
    """11st 4lb, 12½ st."""
    stone, pounds = match["stone"], match["pounds"]
    is_ordinal = stone.endswith("1") and stone != "11" and not match["half"] and not match["space"]
    is_weight = match["half"] or _STONE_BEFORE.search(context.before(match.start()))
    if not pounds and (is_ordinal or not is_weight):
        return None
    words = f"{context.cardinal(stone)}{' and a half' if match['half'] else ''} stone"
    if pounds:
        words += f" {context.cardinal(pounds)} {'pound' if pounds == '1' else 'pounds'}"
    is_last = match[0].endswith(".") and context.ends_sentence(match.end(), is_strong=True)
    return words + ("." if is_last else "")


RATES = {**dict.fromkeys("km m ft cm mi mg g kg µg mcg mmol kwh mb gb".split(), (rate,)), "per": (per_word,)}
RULES = (
    angle,
    points,
    thousands,
    stones,
    timber,
    sides,
    feet_and_inches,
    size,
    heat,
    percent,
    fraction_of_unit,
    quantity,
    per_unit,
    inches,
    feet,
)
