"""Long text in pieces that can be spoken one at a time."""

import re
import unicodedata

# No sentence ends at the full stop of these: a name, a number or the rest of a list follows.
_ALWAYS_GO_ON = frozenset(
    "mr mrs ms mx dr prof st mt ft rev hon gen col capt cmdr lt sgt cpl maj adm gov sen rep pres supt fr "
    "messrs e.g i.e cf vs viz al ca approx fig figs eq ch sec vol pp ed eds ref tel ext".split()
)
# These end a sentence where a capital follows, and only there.
_NUMBER_FOLLOWS = frozenset("no nos p art".split())
_OPENERS = r"[\s\"'“‘«(\[¿¡]*"
_STARTERS = re.compile(
    rf"{_OPENERS}(?:The|A|An|He|She|It|We|They|You|I|In|On|At|By|For|But|And|So|Then|There|This|That|These|Those|His"
    r"|Her|Its|Our|My|When|What|Who|Why|How|If|As|After|Before|While|Yes|No|Now|Not)\b"
)
_END = re.compile(
    r"(?<![.!?…])[.!?…]+[\"'”’»)\]]*(?=\s|$)\s*"  # Latin stops need a space after them: 3.5, example.com
    r"|[。！？｡]+[”’」』）]*\s*"  # CJK stops need none
    r"|\n[^\S\n]*\n\s*"  # a blank line ends a paragraph
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")
# Where to cut a sentence that is too long, the best places first. Each pattern ends where the cut goes.
_CUTS = [
    re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？｡]+"),
    re.compile(r"[;:；：]\s+|[；：]|\s*[—–]\s*|\s-\s"),
    re.compile(r",[\"'”’»)\]]*\s+|[，、]"),
    re.compile(r"\s+(?=(?:and|or|but|because|which|that|who|while|when|where|if|so|than)\s)"),
    re.compile(r"\s+"),
]
_CLOSERS = " \"'”’»)]」』）"

PARAGRAPH_PAUSE, SENTENCE_PAUSE, CLAUSE_PAUSE = 0.7, 0.4, 0.2


def split_sentences(text: str, max_length: int = 200, min_length: int = 12) -> list[str]:
    """Splits text into sentences that are short enough to be spoken in one go.

    Not a character is lost or moved: `"".join(parts) == text`; whitespace stays with the part before it.
    Abbreviations, initials, decimals and quotations are seen through; a sentence that is too long is cut at a
    semicolon, colon or dash, else at a comma, else before a conjunction, else at a space, else anywhere.

    Args:
        text: any text.
        max_length: the most characters of a part, whitespace around it not counted.
        min_length: a part shorter than this joins the one beside it where both together fit.

    Returns:
        The parts; none for an empty text. A part may hold nothing to speak where a text does (a long line of
        dashes): skip those without a letter or a digit.

    Raises:
        ValueError: if max_length is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length counts characters and must be at least 1, not {max_length}.")
    parts = [piece for sentence in _sentences(text) for piece in _shorten(sentence, max_length)]
    return _merge(parts, max_length, min_length)


def pause_after(part: str) -> float:
    """Seconds of silence that belong between a part of `split_sentences` and the next one.

    A paragraph ends with a longer pause than a sentence, a sentence than a clause; a part cut in mid-phrase
    has none.
    """
    if _PARAGRAPH.search(part[len(part.rstrip()) :]):
        return PARAGRAPH_PAUSE
    last = part.rstrip().rstrip(_CLOSERS)[-1:]
    if last and last in ".!?…。！？｡":
        return SENTENCE_PAUSE
    return CLAUSE_PAUSE if last and last in ",;:—–-，、；：" else 0.0


def _sentences(text):
    start = 0
    for match in _END.finditer(text):
        if match.end() > start and _ends_sentence(text, start, match):
            yield text[start : match.end()]
            start = match.end()
    if start < len(text):
        yield text[start:]


def _ends_sentence(text, start, match):
    if not text[start : match.end()].strip():
        return False  # blank lines before the first word belong to it
    if _PARAGRAPH.search(match[0]) or match[0][0] in "。！？｡":
        return True
    following = text[match.end() : match.end() + 40]
    if re.match(rf"{_OPENERS}[^\W\d_]", following):
        first_letter = re.search(r"[^\W\d_]", following)[0]
        if first_letter.islower():
            return False  # "Really?" she said.
    if match[0].strip() != ".":
        return True
    return not _is_abbreviation(text[start : match.start()], following)


def _is_abbreviation(before, following):
    """Does the full stop between these two belong to the word before it?"""
    word = re.search(r"[\w.]*$", before[-40:])[0]
    if not before[: len(before) - len(word)].strip() and word.isdigit():
        return True  # "1. First item"
    if word.lower() in _ALWAYS_GO_ON:
        return word.lower() != "st" or not _STARTERS.match(following)  # "St. Paul", "Main St. The house"
    if word.lower() in _NUMBER_FOLLOWS:
        return following[:1].isdigit()
    if re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", word) and word != "I":
        return not _STARTERS.match(following)  # "J. R. Smith", "the U.S. Army", but "in the U.S. He ..."
    return False


def _shorten(sentence, max_length):
    """Cuts until every piece fits."""
    while len(sentence.strip()) > max_length:
        cut = _best_cut(sentence, max_length)
        yield sentence[:cut]
        sentence = sentence[cut:]
    yield sentence


def _best_cut(sentence, max_length):
    """Of the best kind of place there is, the one nearest to equal parts, so that no stump is left over."""
    lead = len(sentence) - len(sentence.lstrip())
    length = len(sentence.strip())
    target = lead + length / -(-length // max_length)
    end = lead + max_length
    end += len(sentence[end:]) - len(sentence[end:].lstrip())
    for pattern in _CUTS:
        cuts = [m.end() for m in pattern.finditer(sentence, lead, end)]
        cuts = [c for c in cuts if max_length / 4 <= len(sentence[:c].strip()) <= max_length]
        if cuts:
            return min(cuts, key=lambda c: abs(c - target))
    cut = lead + max_length
    while cut > lead + 1 and _joins_to_previous(sentence[cut]):
        cut -= 1
    return cut


def _joins_to_previous(character):
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def _merge(parts, max_length, min_length):
    merged = []
    for part in parts:
        if merged and _belongs_together(merged[-1], part, max_length, min_length):
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _belongs_together(first, second, max_length, min_length):
    if len((first + second).strip()) > max_length:
        return False
    if not (_speakable(first) and _speakable(second)):
        return True
    if _PARAGRAPH.search(first):
        return False
    return len(first.strip()) < min_length or len(second.strip()) < min_length


def _speakable(part):
    return any(c.isalnum() for c in part)
