"""Numbers as English words: cardinals, ordinals, years, decimals, digits.

American English leaves out the "and" of "one hundred and five"; British English has it.
"""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = (
    "_ thousand million billion trillion quadrillion quintillion sextillion septillion octillion nonillion decillion"
).split()
# Longer numbers have no name that a listener knows; they are read as digits.
MAX_DIGITS = 3 * len(SCALES)
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def digits(number: str) -> str:
    """Read every digit separately: "007" is "zero zero seven"; other characters are left out."""
    return " ".join(ONES[int(c)] for c in number if "0" <= c <= "9")


def _hundreds(number, british):
    words = []
    if number >= 100:
        words += [ONES[number // 100], "hundred"]
        number %= 100
        if number and british:
            words.append("and")
    if number >= 20:
        words.append(TENS[number // 10])
        number %= 10
        if number:
            words.append(ONES[number])
    elif number or not words:
        words.append(ONES[number])
    return words


def cardinal(number: str | int, british: bool = False) -> str:
    """A whole number, with or without commas; numbers of more than 36 digits are read as digits."""
    text = str(number).replace(",", "").lstrip("0") or "0"
    if len(text) > MAX_DIGITS:
        return digits(text)
    text = text.zfill(-(-len(text) // 3) * 3)
    groups = [int(text[i : i + 3]) for i in range(0, len(text), 3)]
    words: list[str] = []
    for scale, group in zip(range(len(groups) - 1, -1, -1), groups, strict=True):
        if group or len(groups) == 1:
            if british and scale == 0 and words and group < 100:
                words.append("and")
            words += _hundreds(group, british)
            if scale:
                words.append(SCALES[scale])
    return " ".join(words)


def to_ordinal(words: str) -> str:
    """The ordinal of spoken words: "twenty one" is "twenty first"."""
    head, _, last = words.rpartition(" ")
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return f"{head} {last}" if head else last


def ordinal(number: str | int, british: bool = False) -> str:
    """The ordinal of a whole number: 21 is "twenty first"."""
    return to_ordinal(cardinal(number, british))


def year(number: str | int, british: bool = False) -> str:
    """A year: 1905 is "nineteen oh five", 2005 "two thousand five", 2024 "twenty twenty four"."""
    number = int(number)
    high, low = divmod(number, 100)
    if not 10 <= high < 100 or (high % 10 == 0 and low < 10):
        return cardinal(number, british)
    if low == 0:
        return f"{cardinal(high)} hundred"
    return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def pairs(number: str) -> str:
    """Digits as house, room and flight numbers are read: 123 is "one twenty three", 405 "four oh five"."""
    if number[0] == "0" or len(number) > 4:
        return digits(number)
    if len(number) < 3 or number.endswith("00") and len(number) == 3 or number.endswith("000"):
        return cardinal(number)
    head, tail = number[:-2], number[-2:]
    if tail == "00":
        return f"{cardinal(head)} hundred"
    return f"{cardinal(head)} {'oh ' + ONES[int(tail[1])] if tail[0] == '0' else cardinal(tail)}"


def number(text: str, british: bool = False) -> str:
    """A whole number or a decimal, with or without commas: ".50" is "point five zero"."""
    whole, point, fraction = text.partition(".")
    if not whole.replace(",", "").isascii():
        raise ValueError(f"{text!r} is not a number in digits 0 to 9.")
    has_zeros = len(whole) > 1 and whole[0] == "0" and not point
    words = [digits(whole) if has_zeros else cardinal(whole, british)] if whole else []
    if point:
        words += ["point", digits(fraction)]
    return " ".join(words)


def plural(words: str) -> str:
    """The plural of spoken numbers: "nineteen nineties", "sixes", "hundreds"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")
