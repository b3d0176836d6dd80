"""Amounts of money."""

from __future__ import annotations

import re

from ..numbers import cardinal, pairs
from .common import NUM, SIGNS, Context, any_of, join, rule

# Singular, plural, singular of the hundredth, plural of the hundredth.
_DOLLAR = ("dollar", "dollars", "cent", "cents")
CURRENCIES = {
    "$": _DOLLAR,
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"),
    "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₫": ("dong", "dong", "", ""),
    "₱": ("peso", "pesos", "centavo", "centavos"),
    "₦": ("naira", "naira", "kobo", "kobo"),
    "₴": ("hryvnia", "hryvnias", "kopiyka", "kopiykas"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "฿": ("baht", "baht", "satang", "satang"),
}
_NATIONS = {
    "US": "US",
    "U.S.": "US",
    "U.S. ": "US",
    "C": "Canadian",
    "CA": "Canadian",
    "CDN": "Canadian",
    "A": "Australian",
    "AU": "Australian",
    "NZ": "New Zealand",
    "HK": "Hong Kong",
    "S": "Singapore",
    "SG": "Singapore",
    "NT": "New Taiwan",
    "R": "Brazilian",
}
_CODES = {
    "USD": ("US dollar", "US dollars", "cent", "cents"),
    "EUR": CURRENCIES["€"],
    "GBP": CURRENCIES["£"],
    "JPY": CURRENCIES["¥"],
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
    "NZD": ("New Zealand dollar", "New Zealand dollars", "cent", "cents"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "INR": CURRENCIES["₹"],
    "CNY": ("yuan", "yuan", "fen", "fen"),
    "RMB": ("yuan", "yuan", "fen", "fen"),
    "RUB": CURRENCIES["₽"],
    "KRW": CURRENCIES["₩"],
    "SEK": ("Swedish krona", "Swedish kronor", "öre", "öre"),
    "NOK": ("Norwegian krone", "Norwegian kroner", "øre", "øre"),
    "DKK": ("Danish krone", "Danish kroner", "øre", "øre"),
    "PLN": ("zloty", "zlotys", "grosz", "groszy"),
    "BRL": ("real", "reais", "centavo", "centavos"),
    "MXN": ("Mexican peso", "Mexican pesos", "centavo", "centavos"),
    "Rs": CURRENCIES["₹"],
    "Rs.": CURRENCIES["₹"],
}
SCALES = {
    "k": "thousand",
    "m": "million",
    "mn": "million",
    "mm": "million",
    "mio": "million",
    "mil": "million",
    "b": "billion",
    "bn": "billion",
    "t": "trillion",
    "tn": "trillion",
    "trn": "trillion",
    **{word: word for word in "hundred thousand million billion trillion quadrillion lakh crore".split()},
}
_SYMBOLS = rf"[{''.join(CURRENCIES)}]"
_SCALE = (
    rf"(?:(?:[ ]|-(?=[a-z]{{4}}))?(?P<scale>{any_of(s for s in SCALES if len(s) > 3)}|"
    rf"[kKmMbBtT]|[mM][nNmM]|mio|mil|[bB][nN]|[tT]r?[nN])(?![\w]))"
)
PERIODS = {
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "wk": "week",
    "mo": "month",
    "mth": "month",
    "qtr": "quarter",
    "y": "year",
    "yr": "year",
    "ea": "each",
    "pp": "person",
    "sqft": "square foot",
    "sf": "square foot",
    "sh": "share",
    "shr": "share",
    "bbl": "barrel",
    "mt": "metric ton",
    "pc": "piece",
    "pk": "pack",
    "pt": "point",
    "bu": "bushel",
    "ct": "carat",
    "cwt": "hundredweight",
    "pn": "night",
    "pw": "week",
    "pcm": "calendar month",
}
_PER = r"(?:[ ]?/[ ]?(?P<per>[A-Za-z]{1,12})\.?(?![\w]))"
_TO = r"(?:[ ]?[-–—][ ]?)"
_NATION = r"(?P<nation>US|CA|CDN|AU|NZ|HK|SG|NT|[ACSR]|U\.S\.[ ]?)"


def _normal(text):
    """Replace a decimal comma by a point: 1,50 is 1.50, because thousands are not grouped by two digits."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{3})*|\d+),(\d{1,2})", text)
    return f"{match[1].replace('.', '')}.{match[2]}" if match else text


def amount(context: Context, number: str, names, nation: str = "", singular: bool = False) -> str:
    """An amount in words: "42.50" in dollars is "forty two dollars and fifty cents"."""
    one, many, coin, coins = names
    number = _normal(number)
    whole, _, fraction = number.partition(".")
    value = int(whole.replace(",", "") or 0)
    unit = one if value == 1 or singular else many
    hundredths = (fraction.rstrip("0") or "0").ljust(2, "0")
    if not fraction or not int(fraction):
        return join(context.cardinal(whole or "0"), nation, unit)
    if len(hundredths) > 2 or not coin or singular:
        return join(context.number(number), nation, one if singular else many)
    cents = f"{cardinal(hundredths)} {coin if int(hundredths) == 1 else coins}"
    return f"{join(context.cardinal(whole), nation, unit)} and {cents}" if value else cents


def _per(match, context):
    text = match["per"]
    if not text:
        return ""
    from .measures import UNITS

    name = PERIODS.get(text.lower())
    if name is None:
        unit = UNITS.get(text) or UNITS.get(text.lower())
        name = unit[0] if unit else text.lower()
    words = "each" if name == "each" else f"per {name}"
    return words + context.stop(match, is_strong=name == text.lower())


_MONEY = (
    rf"(?P<sign>(?<![\w)\]%$£€])[-–−+±~]?){_NATION}?(?P<symbol>{_SYMBOLS})[ ]?(?P<minus>[-–−]?)"
    rf"(?P<number>\d{{1,9}},\d\d(?![\d,])|\d{{1,3}}(?:\.\d{{3}})+,\d\d(?!\d)|{NUM})"
    rf"(?:{_TO}(?:{_SYMBOLS})?(?P<to>{NUM})(?![-\d]|/\d))?{_SCALE}?(?P<plus>\+?){_PER}?(?![\w])(?!\.\d)"
)


# Nouns that follow their price: "a three-year, $1.4bn deal".
_PRICED = re.compile(
    r"-(?:an?|per|the)-[a-z]|[ -](?:deal|fund|loan|bid|contract|plan|budget|package|takeover|project|programme|"
    r"program|lawsuit|settlement|"
    r"merger|buyout|bond|bill|fine|bonus|ticket|upgrade|investment|grant|prize|stake|note|donation|fee|deposit|"
    r"stimulus|home|house|mansion|jackpot|verdict|award|offering|round|facility|portfolio|penalty|gift|pledge|"
    r"surplus|deficit|"
    r"shortfall|campaign|valuation|acquisition|expansion|renovation|estate|yacht|painting|salary|extension|market|"
    r"industry|gap|loss|"
    r"profit|bail|reward|initiative|bailout|rescue|aid|coupon|discount|rebate|minimum|limit|copay|co-pay|"
    r"deductible|tip|bet|buy-in|"
    r"lunch|cocktail|haircut|store|fundraiser|judgment|theft|heist|venture|charge)(?!\w)"
)


def _spoken(match, context, names, nation):
    number, to, scale = match["number"], match["to"], match["scale"]
    sign = match["sign"] or match["minus"] or None
    sign = "about" if sign == "~" else SIGNS[sign]
    # A price with a scale is an adjective too: "a $5 million deal".
    singular = context.is_attributive(match.start(), match.end()) and not match["per"] and match["plus"] != "+"
    singular = singular or not match["per"] and bool(_PRICED.match(context.text, match.end()))
    unit = names[0] if singular else names[1]
    if scale:
        span = context.number(_normal(number))
        if to:
            span = f"{span} to {context.number(to)}"
        words = join(span, SCALES[scale.lower()], nation, unit)
    elif to:
        # "five to ten dollars", but "five dollars and fifty cents to ..." if the first amount has cents.
        start = amount(context, number, names, nation) if "." in number else context.number(number)
        words = f"{start} to {amount(context, to, names, nation)}"
    else:
        words = amount(context, number, names, nation, singular)
    return join(sign, words, "plus" if match["plus"] else "", _per(match, context))


@rule(
    "money",
    rf"(?P<nation>US|CA|AU|NZ|HK|[ACS])?(?P<symbol>{_SYMBOLS})(?P<number>{NUM}){_SCALE.replace('<scale>', '<scale1>')}"
    rf"{_TO}(?:(?P=symbol))?(?P<to>{NUM}){_SCALE}(?P<plus>\+?){_PER}?(?![\w])(?!\.\d)",
)
def scaled_span(match, context):
    """$10K-$15K/yr, £1.2m–£1.5m"""
    names, nation = CURRENCIES[match["symbol"]], _NATIONS.get(match["nation"] or "", "")
    first = f"{context.number(match['number'])} {SCALES[match['scale1'].lower()]}"
    second = f"{context.number(match['to'])} {SCALES[match['scale'].lower()]}"
    return join(f"{first} to {second}", nation, names[1], "plus" if match["plus"] else "", _per(match, context))


@rule("money", _MONEY)
def money(match, context):
    """$5, £2bn, US$20, $5-10 million, $20/mo, -$5"""
    nation = _NATIONS[match["nation"]] if match["nation"] else ""
    symbol = match["symbol"]
    if match["nation"] and symbol != "$":
        return None
    names = CURRENCIES[symbol]
    if nation == "Brazilian":
        nation, names = "", _CODES["BRL"]
    return _spoken(match, context, names, nation)


@rule(
    "money",
    rf"(?P<sign>(?<![\w)\]%])[-–−]?)(?P<number>\d{{1,9}},\d\d(?![\d,])|\d{{1,3}}(?:\.\d{{3}})+,\d\d(?!\d)|"
    rf"{NUM})(?:{_TO}(?P<to>{NUM}))?(?P<plus>)(?P<minus>)"
    rf"{_SCALE}?[ ]?(?P<symbol>{_SYMBOLS})(?![\w$£€]){_PER}?",
)
def money_after(match, context):
    """50 €, 1,50 €"""
    if re.compile(r"[ ]?\.?\d").match(context.text, match.end("symbol")):
        return None
    return _spoken(match, context, CURRENCIES[match["symbol"]], "")


# "1 USD = 0.92 EUR" is a rate, not an amount in coins.
_RATE_BEFORE = re.compile(r"[A-Z]{3}[ ]?[=≈][ ]?\Z")


@rule(
    "money",
    rf"(?P<sign>(?<![\w)\]%])[-–−]?)(?P<number>{NUM})(?:{_TO}(?P<to>{NUM}))?(?P<plus>)(?P<minus>){_SCALE}?[ ]?"
    rf"(?P<code>{any_of(c for c in _CODES if c.isupper())})(?!\w)(?P<per>)",
)
def code_after(match, context):
    """50 EUR"""
    if match["number"].startswith("0.") and _RATE_BEFORE.search(context.before(match.start(), 8)):
        return join(context.number(match["number"]), _CODES[match["code"]][1])
    return _spoken(match, context, _CODES[match["code"]], "")


@rule(
    "money",
    rf"(?<!/)(?P<code>{any_of(_CODES)})[ ]?(?P<sign>[-–−]?)(?P<minus>)(?P<number>{NUM})(?:{_TO}"
    rf"(?P<to>{NUM}))?(?P<plus>){_SCALE}?{_PER}?(?![\w])",
)
def code_before(match, context):
    """USD 50, Rs. 500"""
    return _spoken(match, context, _CODES[match["code"]], "")


@rule(
    "money",
    rf"(?P<sign>(?<![\w)\]%])[-–−]?)(?P<number>{NUM})(?:{_TO}(?P<to>{NUM}))?[ ]?(?P<unit>¢|c"
    rf"(?=[ ]?(?:each|per|a)\b)|p(?!\w|\.\w))(?!\w){_PER}?",
)
def cents(match, context):
    """99¢, 50p"""
    number, to, pence = match["number"], match["to"], match["unit"] == "p"
    if pence and number in ("240", "360", "480", "720", "1080", "1440", "2160", "4320") and not to:
        return f"{pairs(number)} P"  # lines of a screen
    if pence and (" " in match[0] or "." in number):
        return None
    singular = context.is_attributive(match.start(), match.end()) or (number == "1" and not to)
    unit = ("penny" if number == "1" else "pence") if pence else "cent" if singular else "cents"
    words = context.number(number) + (f" to {context.number(to)}" if to else "")
    return join(SIGNS[match["sign"] or None], words, unit, _per(match, context))


_PRICE_BEFORE = re.compile(
    r"\b(?:for|at|only|just|now|save|under|cost|costs|from|up|down|by|to|was|fell|rose|of)[ ]\Z", re.I
)


@rule("money", r"(?P<number>[1-9]\d?)c(?![\w.'-])")
def cents_letter(match, context):
    """for 99c"""
    if not _PRICE_BEFORE.search(context.before(match.start(), 6)):
        return None
    return f"{context.cardinal(match['number'])} {'cent' if match['number'] == '1' else 'cents'}"


@rule("money", rf"\$(?P<nation>US|AU?|NZ|CA?|HK|S)(?P<number>{NUM}){_SCALE}?(?!\w)")
def nation_after(match, context):
    """$US50, $A20"""
    number, nation = match["number"], _NATIONS[match["nation"]]
    if match["scale"]:
        return join(context.number(number), SCALES[match["scale"].lower()], nation, "dollars")
    return amount(context, number, _DOLLAR, nation)


@rule("money", rf"(?P<count>[2-9]|1\d)/(?={_SYMBOLS}\d)")
def several_for(match, context):
    """2/$5"""
    return f"{context.cardinal(match['count'])} for "


@rule("money", rf"(?P<symbol>{_SYMBOLS})\((?P<number>{NUM})\){_SCALE}?(?!\w)")
def loss(match, context):
    """$(1.2) million: a negative amount in the books"""
    names, scale = CURRENCIES[match["symbol"]], match["scale"]
    if scale:
        return join(SIGNS["-"], context.number(match["number"]), SCALES[scale.lower()], names[1])
    return join(SIGNS["-"], amount(context, match["number"], names))


SYMBOL_RULES = (nation_after, loss)
RULES = (several_for, scaled_span, money, money_after, code_after, cents, cents_letter)
WORD_RULES = {code.lower().rstrip("."): (code_before,) for code in _CODES}
NATION_RULES = dict.fromkeys(("us", "ca", "cdn", "au", "nz", "hk", "sg", "nt", "a", "c", "s", "r", "u"), (money,))
