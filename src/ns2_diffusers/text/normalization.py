"""Written English into words that a phonemizer reads right.

hibari already reads most of what is not a plain word: years, ordinals, decimals, dates, clock times,
titles, regnal numbers. The rules here stand in front of it and mend what it gets wrong (price ranges,
telephone numbers, mixed fractions, web addresses, compound units, ...). They run top to bottom, and each
one's place matters only where a comment says so.
"""

import re
import unicodedata

from hibari.g2p.normalize import FRACTIONS, MONTHS
from hibari.g2p.normalize import UNITS as HIBARI_UNITS
from hibari.g2p.normalize import normalize as hibari_normalize

NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"

# What English writing may hold and a voice passes over in silence, beside what hibari has a word for.
_SPOKEN_SYMBOLS = "&@%+#=<>~^/°¢§¶±×÷©½¼¾²³µ$£€¥₹₩|→"
_SILENT_SYMBOLS = "'’‘\"“”„«»()[]{}*_\\-–—‒―…,.;:!?¡¿•·™®←`´"
_READABLE = frozenset(_SPOKEN_SYMBOLS + _SILENT_SYMBOLS)

_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}  # full-width forms of ASCII
_WIDE |= {ord("。"): ". ", ord("、"): ", ", ord("\u3000"): " "}
_WIDE |= {ord(ligature): unicodedata.normalize("NFKC", ligature) for ligature in "ﬀﬁﬂﬃﬄﬅﬆ"}


def clean_text(text: str) -> str:
    """What holds in every language: composed characters, one kind of space, nothing invisible.

    Args:
        text: any text.

    Returns:
        The text in NFC with full-width ASCII and ligatures folded, control and format characters (zero-width
        joiners, soft hyphens, variation selectors, byte-order marks) gone, runs of whitespace made one space.
    """
    text = unicodedata.normalize("NFC", text).translate(_WIDE)
    return re.sub(r"\s+", " ", "".join(c for c in text if c.isspace() or not _is_invisible(c))).strip()


def _is_invisible(character):
    """Control and format characters; variation selectors and skin tones, which colour what they follow."""
    selects = "\ufe00" <= character <= "\ufe0f" or "\U0001f3fb" <= character <= "\U0001f3ff"
    return selects or unicodedata.category(character) in ("Cc", "Cf")


def unreadable_characters(text: str) -> list[str]:
    """The characters of a text that an English reader has no sound for, each once, in order.

    Letters of other scripts, emoji and rare symbols. hibari would pass over them without a word (or, worse,
    read Cyrillic as if it were Latin), so the tokenizer asks here first.
    """
    return list(dict.fromkeys(c for c in text if not _is_readable(c)))


def _is_readable(character):
    if character.isspace() or character in _READABLE:
        return True
    if character.isdigit():
        return character.isascii()
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN ")


# ---------------------------------------------------------------------------------------------- letters


def _fold_rare_letter(match):
    """hibari knows Latin-1 and Latin Extended-A; beyond them (Vietnamese, say) the bare letter must do."""
    bare = unicodedata.normalize("NFD", match[0])[0]
    return bare if bare.isascii() else match[0]


# In capitals these four would be spelled out as initials: "LET US GO", "IT IS".
_SHOUTED = re.compile(r"\b(?:IT|US|WHO|AM)\b")


def _quieten(text):
    shouted = not any(c.islower() for c in text) and len(re.findall(r"[A-Z]+", text)) > 2
    return _SHOUTED.sub(lambda m: m[0].lower(), text) if shouted else text


# ------------------------------------------------------------------------------------ web and mail addresses

_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s<>\"”]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b(?:[a-z0-9-]+\.)+(?:com|org|net|edu|gov|io|ai|dev|app|info|uk|de|fr)\b(?:/[^\s<>\"”]*)?"
)
_ADDRESS_SYMBOLS = {
    ".": "dot",
    "/": "slash",
    "@": "at",
    "-": "dash",
    "_": "underscore",
    "?": "question mark",
    "=": "equals",
    "&": "and",
    "#": "hash",
    ":": "colon",
    "~": "tilde",
    "%": "percent",
    "+": "plus",
}


def _address(match):
    address = match[0].rstrip(".,;:!?)'’/")
    rest = match[0][len(address) :].lstrip("/")
    spoken = re.sub(r"^https?://", "", address)
    spoken = re.sub(r"^www\b", "W W W", spoken)
    spoken = re.sub(r"[^\w\s]|_", lambda m: f" {_ADDRESS_SYMBOLS.get(m[0], '')} ", spoken)
    return spoken + rest


# ----------------------------------------------------------------------------------------------- money

_COINS = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion"}
_SCALE = r"(?:\s?(hundred|thousand|million|billion|trillion|[kK]|[mM]n?|[bB]n?)\b)"
_MONEY = re.compile(rf"(US)?([$£€])\s?({NUMBER})(?:\s?[-–—]\s?[$£€]?({NUMBER}))?{_SCALE}?")
_MONEY_AFTER = re.compile(rf"(?<![\w.,])({NUMBER})\s?([$£€])(?!\w)")


def _amount(number, symbol, nation=""):
    one, many, coin, coins = _COINS[symbol]
    whole, _, hundredths = number.partition(".")
    if len(hundredths) != 2:
        return f"{number} {nation}{one if number == '1' else many}"
    parts = []
    if whole.strip("0,") or not int(hundredths):
        parts.append(f"{whole} {nation}{one if whole == '1' else many}")
    if int(hundredths):
        parts.append(f"{int(hundredths)} {coin if int(hundredths) == 1 else coins}")
    return " and ".join(parts)


def _money(match):
    nation, symbol, number, upto, scale = match.groups()
    nation = "U.S. " if nation else ""
    if scale:
        scale = _SCALES.get(scale.lower(), scale)
        span = f"{number} to {upto}" if upto else number
        return f"{span} {scale} {nation}{_COINS[symbol][1]}"
    if not upto:
        return _amount(number, symbol, nation)
    # "5 to 10 dollars", but "5 dollars and 50 cents to ..." once there are cents.
    start = _amount(number, symbol, nation) if "." in number else number
    return f"{start} to {_amount(upto, symbol, nation)}"


# ---------------------------------------------------------------------------------------------- numbers


def _digits(number):
    return " ".join(number)


def _telephone(match):
    groups = ", ".join(_digits(group) for group in re.findall(r"\d+", match[0]))
    return f"plus {groups}" if match[0].startswith("+") else groups


def _dotted_numbers(match):
    """Four parts are an internet address, three a version."""
    parts = match[0].split(".")
    return (" dot " if len(parts) == 4 else " point ").join(parts)


def _decimal_with_final_zero(match):
    """hibari counts in floats: it reads 2.0 as two and 3.50 as three point five."""
    return f"{match[1]} point {_digits(match[2])}"


_GLYPH_FRACTIONS = {c: unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒"}


def _mixed_number(match):
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if not 0 < top < bottom <= 10:
        return match[0]
    if (top, bottom) == (1, 2):
        return f"{whole} and a half"
    return f"{whole} and {'one' if top == 1 else top} {FRACTIONS[bottom]}{'' if top == 1 else 's'}"


# ------------------------------------------------------------------------------------------------ units

_UNITS = HIBARI_UNITS | {
    "m": ["meter", "meters"],
    "g": ["gram", "grams"],
    "l": ["liter", "liters"],
    "L": ["liter", "liters"],
    "mL": ["milliliter", "milliliters"],
    "W": ["watt", "watts"],
    "V": ["volt", "volts"],
    "kV": ["kilovolt", "kilovolts"],
    "mA": ["milliampere", "milliamperes"],
    "dB": ["decibel", "decibels"],
    "Pa": ["pascal", "pascals"],
    "kPa": ["kilopascal", "kilopascals"],
    "hPa": ["hectopascal", "hectopascals"],
    "kJ": ["kilojoule", "kilojoules"],
    "Mb": ["megabit", "megabits"],
    "Gb": ["gigabit", "gigabits"],
    "kbps": ["kilobits per second", "kilobits per second"],
    "kcal": ["kilocalorie", "kilocalories"],
    "rpm": ["revolutions per minute", "revolutions per minute"],
    "bpm": ["beats per minute", "beats per minute"],
}
_PER = _UNITS | {"s": ["second"], "h": ["hour"], "day": ["day"], "week": ["week"], "year": ["year"]}
_POWERS = {"²": "square ", "³": "cubic ", None: ""}


def _any_of(words):
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


# A full stop after a unit belongs to the abbreviation when the sentence goes on: "5 ft. tall".
_QUANTITY = re.compile(
    rf"(?<![\w.])({NUMBER})\s?({_any_of(_UNITS)})([²³])?(?:/({_any_of(_PER)})(²)?)?(?![\w²³/'])(?:\.(?=\s[a-z]))?"
)


def _quantity(match):
    number, unit, power, per, per_power = match.groups()
    words = f"{number} {_POWERS[power]}{_UNITS[unit][0 if number == '1' else 1]}"
    if per:
        words += f" per {_PER[per][0]}" + (" squared" if per_power else "")
    return words


# ---------------------------------------------------------------------------------------- abbreviations

_MONTH_ALONE = re.compile(r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\.? (?=(?:1[5-9]|20)\d\d\b)")
_NOT_A_STREET = r"(?!(?:The|A|My|Our|Your|His|Her|Their|This|That|Dear|And|But|Hi|Hello|Yes|No|With|To|See)\b)"
_DRIVE = re.compile(
    rf"(\d (?:[A-Z][a-z]+ )*[A-Z][a-z]+) Dr\b\.?|\b{_NOT_A_STREET}([A-Z][a-z]+) Dr\b\.?(?=$|[,;]|\s[a-z])"
)


def _drive(match):
    """'Elm Dr.' is a street where no name follows; the sentence keeps its full stop."""
    ends = match.end() == len(match.string) and match[0].endswith(".")
    return f"{match[1] or match[2]} Drive" + ("." if ends else "")


_RULES = [
    (re.compile(r"[\u0180-\u024f\u1e00-\u1eff]"), _fold_rare_letter),
    (re.compile(r"\b(?:MRS?|MS|DR|PROF)\."), lambda m: m[0].capitalize()),
    (_ADDRESS, _address),
    # Feet and inches come before quotation marks are taken away.
    (re.compile(r"(?<![\w.])(\d{1,2})\s?['’′]\s?(\d{1,2})(?:\s?[\"”″]|'')?(?!\w)"), r"\1 foot \2"),
    (re.compile(r"(?<=\d)\s?in\.(?=\s[a-z])"), " inches"),
    # Nothing is heard of a quotation mark, and hibari writes it or leaves it out by guesswork.
    (re.compile(r"(?<!\w)['’]n['’](?!\w)"), "and"),
    (re.compile(r"[\"“”„«»`´‘]|(?<![\w.])['’]|['’](?!\w)"), ""),
    (re.compile(r"[\[{]"), "("),
    (re.compile(r"[\]}]"), ")"),
    (re.compile(r"\.{3,}|(?:\. ){2,}\."), "…"),
    (re.compile(r"\s?-{2,3}\s?|(?<=\D)\s[-–]\s"), " — "),
    # Telephone numbers come before anything that takes a number by itself.
    (re.compile(r"(?<![\w.-])(?:\+?1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"), _telephone),
    (re.compile(r"(?<!\w)\+\d{1,3}(?:[ .-]\(?\d{1,5}\)?){2,5}(?!\w)"), _telephone),
    (
        re.compile(r"\b((?i:call|dial|phone|ring)(?:s|ed|l?ing|led)?) (911|999|112|988|411)\b"),
        lambda m: f"{m[1]} {_digits(m[2])}",
    ),
    (re.compile(r"([$£€])(\d+)-(?=[a-z])"), lambda m: f"{m[2]}-{_COINS[m[1]][0]}-"),
    (_MONEY, _money),
    (_MONEY_AFTER, lambda m: _amount(m[1], m[2])),
    (re.compile(r"\b24/7\b"), "twenty four seven"),
    (re.compile(r"\b50/50\b"), "fifty fifty"),
    (re.compile(r"\b9/11\b"), "nine eleven"),
    (
        re.compile(r"(\d?)([½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒])"),
        lambda m: f"{m[1]} {_GLYPH_FRACTIONS[m[2]]}" if m[1] else _GLYPH_FRACTIONS[m[2]],
    ),
    (re.compile(r"(?<![\w./])(\d+)[ -](\d{1,2})/(\d{1,2})(?![\w/])"), _mixed_number),
    # Ranges: an en dash between numbers always is one; a hyphen where %, a.m. or a clock says so.
    (re.compile(r"(\d(?:%|°[CF]?|\s?[ap]\.?m\.?)?)\s?–\s?(?=\d)"), r"\1 to "),
    (re.compile(r"(\d(?::\d\d|%|\s?[ap]\.?m\.?))\s?-\s?(?=\d)"), r"\1 to "),
    (re.compile(r"(?<![\w.,-])(\d+(?:\.\d+)?)-(?=\d+(?:\.\d+)?\s?(?:%|[ap]\.?m\b))"), r"\1 to "),
    (re.compile(r"(?<![\w.,-])(\d+\.\d+)-(?=\d+\.\d)"), r"\1 to "),
    (re.compile(r"(?<![\d:])(\d+):(\d)(?![\d:])"), r"\1 to \2"),
    (re.compile(rf"(?<![\w.])({NUMBER})\s?(mn|bn)\b"), lambda m: f"{m[1]} {_SCALES[m[2]]}"),
    (re.compile(r"(?<![\w.])(\d+\.\d+)\s?([MB])\b"), lambda m: f"{m[1]} {_SCALES[m[2].lower()]}"),
    (_QUANTITY, _quantity),
    (re.compile(r"(?<![\w.])v(?=\d+\.\d)"), "version "),
    (re.compile(r"(?<![\w.])\d+(?:\.\d+){2,}(?![\w.]\w)"), _dotted_numbers),
    (re.compile(r"(?<![\w.,])(\d+)\.(\d*0)(?![\d%]|\.\d)"), _decimal_with_final_zero),
    (re.compile(r"(?<![\w.,:/$£€-])0\d+(?![\d.,:/-]*\d)"), lambda m: _digits(m[0])),
    (_MONTH_ALONE, lambda m: f"{MONTHS[m[1].lower()[:3]]} "),
    (_DRIVE, _drive),
    # hibari would pause at the full stop of these though the sentence goes on.
    (re.compile(r"\betc\.(?=[,;:)]|\s[a-z])"), "etc"),
    (re.compile(r"\ba\.k\.a\.?(?!\w)"), "also known as"),
    (re.compile(r"\b(?:ca|c)\.\s?(?=\d{3,4}\b)"), "circa "),
    (re.compile(r"\bp\.\s?(?=\d)"), "page "),
    (re.compile(r"\bext\.\s?(?=\d)"), "extension "),
    (re.compile(r"\bCtrl\b"), "Control"),
    (re.compile(r"\b([A-G])#"), r"\1 sharp"),
]


def normalize_english(text: str) -> str:
    """Spells out what hibari would misread, then lets hibari's own normalisation do the rest.

    Args:
        text: English text; what `clean_text` does is done here too.

    Returns:
        Text in which times, dates, money, units, abbreviations and symbols are words. Plain numbers, which
        hibari and espeak both read, and characters without a reading (`unreadable_characters`) stay.
    """
    text = _quieten(clean_text(text))
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return hibari_normalize(text)
