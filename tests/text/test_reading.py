"""The tables of tests/text/cases, `written<TAB>spoken`: each line alone and within sentences."""

import random
import re
import sys
from pathlib import Path

import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.text.phonemizers import explain, normalize_for

from .work import count, counting_package

TABLES = sorted((Path(__file__).parent / "cases").glob("*.tsv"))
FRAMES = (
    "{}",
    "{}.",
    "{}?",
    "{}, and so on",
    '"{}"',
    "({})",
    "We said {} and left.",
    "They saw it: {}!",
    "{}\n",
)
# A whole sentence has its own stop, and stands in fewer places.
SENTENCE_FRAMES = (
    "{}",
    '"{}"',
    "({})",
    "{}\n",
    "So it was. {}",
    "{} Then it rained.",
    "  {}  ",
    "{}\n\nThen it rained.",
)
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text):
    return WORD.findall(text.lower().replace("-", " "))


def cases(path):
    for line in path.read_text(encoding="utf-8").splitlines():
        written, spoken = line.split("\t")
        yield written, spoken


def frames(path, written):
    is_sentence = path.stem == "sentences" or path.stem == "everyday" and written[-1] in ".?!"
    frames = SENTENCE_FRAMES if is_sentence else FRAMES
    for frame in frames:
        if '"' in written.replace("″", '"') and frame.startswith('"'):
            continue  # an inch before a quotation mark
        if frame == "{} Then it rained." and written[-1:] not in ".?!":
            continue
        if written.endswith(".") and frame == "{}.":
            continue
        yield frame


def read(text):
    return normalize_for(text, "english", "en-us").text


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_every_line_is_read_in_every_frame(path):
    wrong, count = [], 0
    for written, spoken in cases(path):
        for frame in frames(path, written):
            count += 1
            found, expected = words(read(frame.format(written))), words(frame.format(spoken))
            if found != expected:
                wrong.append(f"{frame.format(written)!r}: {' '.join(found)!r}, not {' '.join(expected)!r}")
    assert not wrong, f"{len(wrong)} of {count} are read wrong:\n" + "\n".join(wrong)


def test_the_tables_are_large():
    assert sum(1 for path in TABLES for _ in cases(path)) >= 1200


# ------------------------------------------------------------------------------------------- properties

PROSE = [
    "The bus to the airport leaves every twenty minutes from outside the town hall.",
    "I don't think that she'd want to go, but we can ask her mother-in-law.",
    "It was a well-known fact; nobody else cared about it (or so they said).",
    "Heavy rain is expected across the north this evening, with the worst of it after nine.",
    "We read the letter, folded it and put it back into its old envelope.",
    "My uncle's neighbours had three dogs, two cats and one very old parrot.",
    "Who is it that you want to see? It is us, the people of the house.",
    "He said no, then yes, and may go in the end.",
]
CHANGES = {
    "upper case": str.upper,
    "double spaces": lambda text: text.replace(" ", "  "),
    "curly quotes": lambda text: "“" + text.replace("'", "’") + "”",
    "no-break hyphens": lambda text: text.replace("-", "\u2011"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "a trailing newline": lambda text: text + "\n",
    "broken lines": lambda text: text.replace(", ", ",\n"),
    "zero-width joiners": lambda text: text.replace(" ", "\u200b \u2060"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_no_word(change):
    for text in PROSE:
        assert words(read(change(text))) == words(read(text)), text


def in_a_sentence(path, written):
    is_sentence = path.stem == "sentences" or path.stem == "everyday" and written[-1] in ".?!"
    return f"So it was then. {written}" if is_sentence else f"We said {written} and left."


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_sentences_in_capitals_are_read_alike(path):
    """`ambiguous_in_capitals.txt` lists the rows that capitals change, such as "10M", which may be ten million."""
    listed = (Path(__file__).parent / "ambiguous_in_capitals.txt").read_text(encoding="utf-8").splitlines()
    different = [
        written
        for written, _ in cases(path)
        if words(read(in_a_sentence(path, written).upper())) != words(read(in_a_sentence(path, written)))
    ]
    assert different == [written for written, _ in cases(path) if written in listed]


PIECES = (
    "the cat sat on a mat and I don't you're it's U.S. Dr. St. No. Mr. e.g. etc. p.m. AM "
    "NASA IT US WHO iPhone mid- B-29s "
    "3.14 -5 1,000 007 .5 1/2 5/16 2x8 $5 £3.20 €1,50 5€ 99¢ 10% >90% ~50 1e-5 10^6 20°C 5km "
    '10-kg 27" 6\'2" 5-10 1914-18 '
    "1990s '90s 3:30 10am-2pm 30s May 5 Jan. 25/12/2020 2016-11-03 Mon-Fri 555-1234 +44 "
    "123-45-6789 192.168.0.1 IV VIII I "
    "a@b.com example.com file.txt .NET #tag @me C# C++ R&D AT&T H2O x² ½ ⅝ µ π ≥ ≠ ± × ÷ → № "
    "§ © ™ • … — – - -- ' \" “ ” ( ) "
    "[ ] { } / \\ | * _ ^ ~ ` ! ? . , ; : = + < > & @ # % $ ° naïve Zürich Łódź S-M-I-T-H w/ "
    "w/o and/or [1] - * 1. a) \n "
    "\n\n \t \u00a0 \u200b 12345678901234567890123456789012345678901234567 antidisestablishmentarianismically"
).split(" ")


# Which mixtures are read: a few each time, and 100,000 in slices of a few minutes.
SLICE = 10_000
SLICES = [
    range(1500),
    *(pytest.param(range(start, start + SLICE), marks=pytest.mark.slow) for start in range(0, 100_000, SLICE)),
]


def mixtures(numbers, seed):
    generator = random.Random(seed)
    for number in range(numbers.stop):
        pieces = (generator.choice(PIECES) for _ in range(generator.randrange(1, 12)))
        text = "".join(piece + generator.choice(["", " ", " ", " "]) for piece in pieces)
        if number >= numbers.start:
            yield text


@pytest.mark.parametrize("numbers", SLICES, ids=lambda numbers: f"{numbers.start}-{numbers.stop}")
def test_random_mixtures_leave_no_token_silent(numbers):
    """Whatever has a letter or a digit is heard, and every word can be traced to where it is written."""
    for text in mixtures(numbers, seed=22):
        position, read_words = 0, explain(text, "english", "en-us")
        for word in read_words:
            assert 0 <= word.start <= word.end <= len(text), text
            assert word.written == text[word.start : word.end], text
            assert word.start >= position or word.rule is not None, text
            position = max(position, word.start)
            if any(c.isalnum() for c in word.spoken):
                assert any(c.isalpha() for c in word.phonemes) or word.spoken in ("'s", "'"), (text, word)
        heard = covered(text, read_words)
        for token in re.finditer(r"[^\W_]+", text):
            if token[0].isascii():
                assert any(heard[token.start() : token.end()]), (text, token[0])


def covered(text, read_words):
    """For each character: is it part of what a word was read from, or of a reference that is passed over?"""
    heard = [False] * len(text)
    for word in read_words:
        if word.source != "silent":
            heard[word.start : word.end] = [True] * (word.end - word.start)
    for note in re.finditer(r"\[\d+\]", text):
        heard[note.start() : note.end()] = [True] * len(note[0])
    return heard


@pytest.mark.parametrize("numbers", SLICES, ids=lambda numbers: f"{numbers.start}-{numbers.stop}")
def test_random_mixtures_raise_nothing_else(numbers):
    tokenizer = NaturalSpeech2Tokenizer(unknown="drop")
    for text in mixtures(numbers, seed=23):
        try:
            tokenizer.phonemize(text)
        except ValueError as error:
            assert "nothing to speak" in str(error), text


# ------------------------------------------------------------------------------------------------ work

COSTLY = {
    "prose": "The cat sat on the mat, and it was 5 km from No. 3. ",
    "hyphens": "well-known-",
    "camel case": "CamelCase",
    "hexadecimal": "0a1B",
    "letters": "aeiou",
    "capitals": "ABCD",
    "digits": "1234567890",
    "spaced digits": "123 ",
    "dotted digits": "12.",
    "slashes": "1/2/",
    "dots": "a.",
    "initials": "J. R. ",
    "blanks": " ",
    "line breaks": "\n",
    "items": "- a\n",
    "quotes": "\"'",
    "brackets": "([",
    "address": "a@b.c/",
    "apostrophes": "a'b'",
    "minus": "-5 - ",
    "equations": "a+b=",
    "times": "3:30-",
    "money": "$5-",
    "commas": "1,000,",
    "numerals": "Henry VIII ",
    "abbreviations": "St. Dr. No. ",
    "emoji": "😀",
    "accents": "e\u0301",
    "escapes": "\x1b[",
    "stops": ".!?",
    "underscores": "_a",
    "links": "[a](",
    "phonetic": "[kæt] /ə",
    "open phonetic": "[kæ ",
    "tags": "<b> <a x=1 ",
    "short forms": "exp. rev. avail. ",
    "heteronyms": "they read a row and close. ",
    "scores": "5/2 4.5/5 24 HR ",
    "verses": "Matt. 5:3-12 ",
    "winds": "W. NW of 5 mi. ",
    "shouts": "TURN ON 5TH ST. AND PAY $5 MILLION. ",
    "menus": "Open File > Edit > ",
}


@pytest.fixture(scope="module")
def counted():
    """`ns2_diffusers.text` with patterns that count their steps, its first lookups behind it."""
    package, work = counting_package()
    package.phonemizers.phonemize("A word.", "english", "en-us")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield package, work
    sys.setrecursionlimit(limit)


@pytest.mark.parametrize("unit", COSTLY.values(), ids=COSTLY.keys())
@pytest.mark.parametrize("step", ["phonemize", "split"])
def test_work_is_linear_in_the_text(unit, step, counted):
    """Twice the text takes twice the lines of Python and twice the steps of each pattern; quadratic would be four."""
    package, work = counted
    if step == "phonemize":  # normalization too
        size, function = 120, lambda text: package.phonemizers.phonemize(text, "english", "en-us")
    else:  # several times the length at which sentences are cut
        size, function = 400, package.sentences.split_sentences
    text = unit * (size // len(unit))
    one, two, four = (count(function, text * times, work) for times in (1, 2, 4))
    # Increments, so that what is done once, or up to a length, does not matter.
    grown = {
        place: (four[place] - two[place]) / max(2 * (two[place] - one[place]), 1)
        for place in four
        if four[place] > 1000
    }
    assert sum(four.values()) > 1000
    assert {place: growth for place, growth in grown.items() if growth > 1.5} == {}
