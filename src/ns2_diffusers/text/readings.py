"""Pronunciations within a text: `[Kubernetes](/kˌubəɹnˈɛtɪs/)` in misaki's form, and IPA such as `[poʊstˌmɑːɹk]`."""

from __future__ import annotations

import re
from collections.abc import Callable

from .edits import Edit

READING = re.compile(r"\[([^\[\]\n]{1,200})\]\(/([^/\n]{1,200})/\)")
# Letters and marks that only phonetic writing has; at least one of them is in IPA between brackets or slashes.
_ONLY_IPA = "ɐɑɒɓʙɔɕɖɗəɘɚɛɜɝɞɟʄɡɠɢʛɦɧɥʜɨɪʝɬɫɮʟɱɯɰŋɳɲɴɵɸɹɺɾɻʀʁɽʂʃʈʧʉʊʋʌɣɤʍχʎʏʑʐʒʔʡʕʢˈˌːθ"
# A word and its phonemes in another form than that of `READING`, or in that form.
NEARLY_READING = re.compile(
    rf"\[[^\[\]\n]{{1,200}}\][^\S\n]?[({{](?=[^(){{}}\n]{{0,200}}[{_ONLY_IPA}æð])[^(){{}}\n]{{1,200}}[)}}]"
)
_SOUNDS = rf"a-zæðçøœβ{_ONLY_IPA}ʰʲʷˠˤ̩̯͡ .\-"
_IPA = re.compile(
    rf"(?<![\w/\]])(?:\[(?=[^\[\]\n]{{0,200}}[{_ONLY_IPA}æð])(?P<brackets>[{_SOUNDS},!?;…‿]{{1,200}})\](?![\w(])|"
    rf"(?<!\]\()/(?=[^/\n]{{0,60}}[{_ONLY_IPA}æð])(?P<slashes>[{_SOUNDS}]{{1,60}})/(?![\w/]))"
)
_PLAIN_MARKS = str.maketrans("", "", ".‿̩̯͡ʰʲʷˠˤ")


def reading_mark(word: str, phonemes: str) -> str:
    """The markup that gives a word its phonemes; the word may contain any characters."""
    word = re.sub(r"[\[\]\n]", " ", word).strip()[:200]
    return f"[{word or phonemes}](/{phonemes}/)"


def without_readings(text: str) -> list[Edit]:
    """Edits that remove the phonemes of marked words and keep the words."""
    return [Edit(*mark.span(), mark[1], "reading") for mark in READING.finditer(text)]


def hide_readings(text: str, from_ipa: Callable[[str], str]) -> tuple[list[Edit], dict[str, str]]:
    """Replace each marked word, and each word in IPA, by a made-up name that no rule for written English changes.

    Args:
        text: any text.
        from_ipa: converts IPA to misaki's symbols.

    Returns: the edits of the text, and the phonemes of each name.
    """
    found = [(mark.span(), mark[2].strip()) for mark in READING.finditer(text)]
    if not text.isascii():
        for mark in _IPA.finditer(text):
            found += _spoken_ipa(text, *mark.span(mark.lastgroup or 0), from_ipa)
    edits, phonemes = [], {}
    for index, (span, spoken) in enumerate(sorted(found)):
        name = "Zoqua" + "".join(chr(ord("a") + int(digit)) for digit in str(index)) + "o" if spoken else ""
        edits.append(Edit(*span, name, "reading"))
        if name:
            phonemes[name] = spoken
    return edits, phonemes


def _spoken_ipa(text, start, end, from_ipa):
    """The words of IPA between two marks with their phonemes, and the marks, which are silent."""
    found = [((start - 1, start), ""), ((end, end + 1), "")]
    for word in re.compile(r"[^\s.,!?;…-]+(?:\.[^\s.,!?;…-]+)*").finditer(text, start, end):
        found.append((word.span(), from_ipa(word[0].translate(_PLAIN_MARKS))))
    return found
