"""Converts misaki's symbols to ARPAbet with stress, the phonemes of CMU's dictionary: `HH AH0 L OW1`."""

import re

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
# A short pause, noise and silence, under the names that forced aligners use.
SILENCES = ("sp", "spn", "sil")
# Sorted as in CMU's list of symbols. Models that were trained with these symbols number them in this order.
SYMBOLS = sorted([*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in ("", "0", "1", "2"))])
SYMBOLS += [*SILENCES, "<s>", "</s>"]

_PHONES = {
    **dict(zip("ɑæʌɔWIɛɜAɪiOYʊu", VOWELS, strict=True)),
    **dict(zip("bʧdðfɡhʤklmnŋpɹsʃtθvwjzʒ", CONSONANTS, strict=True)),
    # Reduced vowels, r-coloured vowels (one phoneme here), and variants of t.
    **{**dict.fromkeys("əɐᵊ", "AH"), "ᵻ": "IH"},
    **dict.fromkeys(("ɜɹ", "əɹ", "ʌɹ"), "ER"),
    **dict.fromkeys("Tɾʔ", "T"),
}
_STRESS = {"ˈ": "1", "ˌ": "2"}
# Symbols that are not in the table are passed on unchanged; the tokenizer then names them in its error.
_SIGN = re.compile("|".join([*sorted([*_PHONES, *_STRESS], key=len, reverse=True), "."]))
# The n of "eaten" and "frightened" is a syllable of its own, which has a vowel in CMU's dictionary. Its "wh" is a
# plain W. Quotes make no pause.
_SPELLINGS = (
    (re.compile(r"(?<=[td])n(?![ˈˌAIOWYæɑɔəɛɜɪʊʌᵻᵊɐiuj])"), "ᵊn"),
    (re.compile("hw"), "w"),
    (re.compile("['’\"“”«»]"), ""),
)
_PAUSE = re.compile(r"[^\w\s'’\"“”«»ˈˌ]+")


def to_arpabet(phonemes: str) -> str:
    """Convert American misaki symbols to ARPAbet symbols with spaces between them.

    No sign separates words. Punctuation between words becomes `sp`, a pause. Punctuation before the first word and
    after the last word is left out.
    """
    parts = [[phone for word in part.split() for phone in _word(word)] for part in _PAUSE.split(phonemes)]
    return " sp ".join(" ".join(part) for part in parts if part)


def _word(word):
    for pattern, replacement in _SPELLINGS:
        word = pattern.sub(replacement, word)
    if "ˈ" not in word:
        word = _citation_form(word)
    phones, stress = [], "0"
    for sign in _SIGN.findall(word):
        if sign in _STRESS:
            stress = _STRESS[sign]
        elif _PHONES.get(sign) in VOWELS:
            phones.append(_PHONES[sign] + stress)
            stress = "0"
        else:
            phones.append(_PHONES.get(sign, sign))
    return phones


def _citation_form(word):
    """Restore the stress of small words: misaki drops it within a sentence, a dictionary has it."""
    if "ˌ" in word:
        return word.replace("ˌ", "ˈ", 1)
    return re.sub("(?=[AIOWYæɑɔɛɜɪʊʌiu])", "ˈ", word, count=1)
