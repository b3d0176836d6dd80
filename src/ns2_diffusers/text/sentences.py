"""Splits long text into parts that can be spoken one at a time."""

import re
import unicodedata

from .edits import EditedText
from .readings import without_readings
from .structure import pause_between

# A full stop after these never ends a sentence: a name, a number or the rest of a list follows.
_ALWAYS_GO_ON = frozenset(
    "mr mrs ms mx dr prof st mt ft rev hon gen col capt cmdr lt sgt cpl maj adm gov sen rep pres supt fr "
    "messrs e.g i.e cf vs viz al ca approx".split()
)
# A full stop after these ends a sentence only if a capital follows.
_NUMBER_FOLLOWS = frozenset("no nos p art fig figs eq eqs ch sec vol vols pp ed eds ref tel ext pt app".split())
# A full stop after these ends a sentence only if a word that often begins sentences follows.
_ENDS_OR_GOES_ON = frozenset(
    "Inc Corp Ltd Co Bros Jr Sr Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec Mon Tue "
    "Tues Wed Thu Thurs Fri Ave Blvd "
    "Rd Ln Pkwy Hwy Dept Univ Assn Govt Apt Ste Bldg est".split()
)
_OPENERS = r"[\s\"'“‘«(\[¿¡]*"
_STARTERS = re.compile(
    rf"{_OPENERS}(?:The|A|An|He|She|It|We|They|You|I|In|On|At|By|For|But|And|So|Then|There|This|That|These|Those|His"
    r"|Her|Its|Our|My|When|What|Who|Why|How|If|As|After|Before|While|Yes|No|Now|Not)\b"
)
_END = re.compile(
    # Latin full stops need a space after them (3.5, example.com), but for "Wait.What?"; a citation stays with them.
    r"(?<![.!?…])[.!?…؟۔।॥։]+(?:[\"'”’»)\]]|\[\d{1,3}\])*(?:(?=\s|$)\s*|(?<=[a-z][a-z][.!?])(?=[A-Z][a-z]))"
    r"|[。！？｡]+[”’」』）]*\s*"  # CJK stops need none
    r"|\n[^\S\n]*\n\s*"  # a blank line ends a paragraph
    r"|\n[^\S\n]*"  # a line break may end an item or a heading
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
_CONTENT = re.compile(r"\S")
_SOUND = re.compile(r"[^\W_]")
# Places to cut a sentence that is too long, the best first. Each pattern ends at the cut.
_CUTS = [
    re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+"),
    re.compile(r"[;:；：]\s+|[；：]|(?<!\s)\s*[—–]\s*|\s-\s"),
    re.compile(r",[\"'”’»)\]]*\s+|[，、]"),
    re.compile(r"(?<!\s)\s+(?=(?:and|or|but|because|which|that|who|while|when|where|if|so|than)\s)"),
    re.compile(r"(?<!\s)\s+"),
]
_CLOSERS = " \"'”’»)]」』）"

PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE = 0.7, 0.4, 0.2


def split_sentences(text: str, max_length: int = 200, min_length: int = 12) -> list[str]:
    """Split text into sentences that are short enough to be spoken at once.

    No character is lost or moved: `"".join(parts) == text`; whitespace stays with the part before it. Abbreviations,
    initials, decimals and quotations do not end a sentence. A sentence that is too long is cut at a semicolon, colon
    or dash, else at a comma, else before a conjunction, else at a space, else anywhere. A word with its pronunciation
    (`[word](/phonemes/)`) counts with the length of the word and is not cut.

    Args:
        text: any text.
        max_length: maximum number of characters of a part, without the whitespace around it.
        min_length: a shorter part is joined to a neighbour if both fit together.

    Returns:
        The parts; none for an empty text. A part may contain nothing to speak (a long line of dashes): skip parts
        without a letter or a digit.

    Raises:
        ValueError: if max_length is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length counts characters and must be at least 1, not {max_length}.")
    if marks := without_readings(text):
        return _split_around_marks(EditedText(text, marks), max_length, min_length)
    spans = [span for start, end in _sentences(text) for span in _shorten(text, start, end, max_length)]
    return [text[start:end] for start, end in _merge(text, spans, max_length, min_length)]


def _split_around_marks(edited, max_length, min_length):
    """Split the text without its marks; a cut that falls within a mark is moved to its end."""
    parts, start, position = [], 0, 0
    for part in split_sentences(edited.text, max_length, min_length):
        position += len(part)
        end = edited.source_span(position - 1, position)[1] if position < len(edited.text) else len(edited.source)
        if end > start:
            parts.append(edited.source[start:end])
            start = end
    return parts


def pause_after(part: str) -> float:
    """Seconds of silence between a part of `split_sentences` and the next part.

    A paragraph ends with a longer pause than a sentence, and a sentence with a longer pause than a clause. A part that
    is cut within a phrase has no pause.
    """
    if _PARAGRAPH.search(part[len(part.rstrip()) :]):
        return PARAGRAPH_PAUSE
    last = part.rstrip().rstrip(_CLOSERS)[-1:]
    if last and last in ".!?…。！？｡؟۔।॥։" or part.rstrip() and "\n" in part[len(part.rstrip()) :]:
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if last and last in ",;:—–-，、；：" else 0.0


def _sentences(text):
    """Start and end of each sentence, with the white space after it."""
    start = 0
    for match in _END.finditer(text):
        if match.end() > start and _ends_sentence(text, start, match):
            yield start, match.end()
            start = match.end()
    if start < len(text):
        yield start, len(text)


def _ends_sentence(text, start, match):
    first = _CONTENT.search(text, start, match.end())
    if first is None:
        return False  # blank lines before the first word belong to the first sentence
    mark = match[0]
    if _PARAGRAPH.search(mark) or mark[0] in "。！？｡؟۔।॥։":
        return True
    if mark[0] == "\n":
        line = text[max(start, text.rfind("\n", max(0, match.start() - 500), match.start()) + 1) : match.start()]
        following = text[match.end() : match.end() + 200].split("\n", 1)[0]
        return pause_between(line, following) == ". "
    following = text[match.end() : match.end() + 40]
    if re.match(rf"{_OPENERS}[^\W\d_]", following):
        first_letter = re.search(r"[^\W\d_]", following)[0]
        if first_letter.islower() and not first[0].islower():
            return False  # the sentence goes on: "Really?" she said.
    if mark.strip() != ".":
        return True
    return not _is_abbreviation(
        text[max(start, match.start() - 40) : match.start()], following, first.start() < match.start() - 4
    )


def _is_abbreviation(before, following, is_within=True):
    """Whether the full stop between `before` and `following` belongs to an abbreviation."""
    word = re.search(r"[\w.]*$", before)[0]
    if not is_within and word.isdigit():
        return True  # "1. First item"
    if word.lower() in _ALWAYS_GO_ON:
        return word.lower() not in ("st", "mt", "ft") or not _STARTERS.match(following)  # "Main St. The house"
    if word.lower() in _NUMBER_FOLLOWS:
        return bool(re.match(r"[#\dIVXL]", following)) and not re.match(r"I\s", following)
    if word in _ENDS_OR_GOES_ON:
        return not _STARTERS.match(following) and not following[:1].isspace() and bool(following)
    if re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", word) and word != "I":
        return not _STARTERS.match(following)  # "J. R. Smith", "the U.S. Army", but "in the U.S. He ..."
    return False


def _core(text, start, end):
    """A span without white space at its ends."""
    first = _CONTENT.search(text, start, end)
    if first is None:
        return start, start
    while text[end - 1].isspace():
        end -= 1
    return first.start(), end


def _shorten(text, start, end, max_length):
    """Cut a span until every piece fits."""
    first, last = _core(text, start, end)
    while last - first > max_length:
        cut = _best_cut(text, first, last, max_length)
        yield start, cut
        start = cut
        following = _CONTENT.search(text, cut, last)
        first = following.start() if following else last
    yield start, end


def _best_cut(text, first, last, max_length):
    """The cut of the best available kind that is nearest to equal halves; equal halves leave no short remainder."""
    target = first + (last - first) / -(-(last - first) // max_length)
    end = first + max_length
    following = _CONTENT.search(text, end, last)
    end = following.start() if following else end
    for pattern in _CUTS:
        cuts = []
        for match in pattern.finditer(text, first, end):
            length = _core(text, first, match.end())[1] - first
            if max_length / 4 <= length <= max_length:
                cuts.append(match.end())
        if cuts:
            return min(cuts, key=lambda c: abs(c - target))
    cut = first + max_length
    while cut > first + 1 and _joins_to_previous(text[cut]):
        cut -= 1
    return cut


def _joins_to_previous(character):
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def _merge(text, spans, max_length, min_length):
    """Join spans that are too short, or have nothing to speak, to their neighbours."""
    merged = []
    for start, end in spans:
        first, last = _core(text, start, end)
        speaks = _SOUND.search(text, first, last) is not None
        if merged:
            before_start, before_end, before_first, before_last, before_speaks = merged[-1]
            joined_first = before_first if before_last > before_first else first
            joined_last = last if last > first else before_last
            fits = joined_last - joined_first <= max_length
            is_paragraph = _PARAGRAPH.search(text, before_last, before_end) is not None
            is_short = min(before_last - before_first, last - first) < min_length
            is_line = "\n" in text[before_last:before_end]
            if fits and (not (before_speaks and speaks) or is_short and not is_paragraph and not is_line):
                merged[-1] = (before_start, end, joined_first, joined_last, before_speaks or speaks)
                continue
        merged.append((start, end, first, last, speaks))
    return [(start, end) for start, end, *_ in merged]
