"""misaki's symbols in ARPAbet with stress, the phonemes of CMU's dictionary: `HH AH0 L OW1`."""

import re

VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split()
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split()
# A short pause, noise and silence, as forced aligners name them.
SILENCES = ("sp", "spn", "sil")
# Sorted as in CMU's list of symbols, which is also the order of ids in what was trained with it.
SYMBOLS = sorted([*CONSONANTS, *(vowel + stress for vowel in VOWELS for stress in ("", "0", "1", "2"))])
SYMBOLS += [*SILENCES, "<s>", "</s>"]

_PHONES = {
    **dict(zip("ɑæʌɔWIɛɜAɪiOYʊu", VOWELS, strict=True)),
    **dict(zip("bʧdðfɡhʤklmnŋpɹsʃtθvwjzʒ", CONSONANTS, strict=True)),
    # Reduced vowels, r-coloured ones, which are one phoneme here, and other ways to say a t.
    **{**dict.fromkeys("əɐᵊ", "AH"), "ᵻ": "IH"},
    **dict.fromkeys(("ɜɹ", "əɹ", "ʌɹ"), "ER"),
    **dict.fromkeys("Tɾʔ", "T"),
}
_STRESS = {"ˈ": "1", "ˌ": "2"}
# Symbols that are not in the table are passed on unchanged, so that the tokenizer can name them.
_SIGN = re.compile("|".join([*sorted([*_PHONES, *_STRESS], key=len, reverse=True), "."]))
# The n of "eaten" and "frightened" is a syllable, to which CMU gives a vowel; its "wh" is a plain W; quotes
# make no pause.
_SPELLINGS = (
    (re.compile(r"(?<=[td])n(?![ˈˌAIOWYæɑɔəɛɜɪʊʌᵻᵊɐiuj])"), "ᵊn"),
    (re.compile("hw"), "w"),
    (re.compile("['’\"“”«»]"), ""),
)
_PAUSE = re.compile(r"[^\w\s'’\"“”«»ˈˌ]+")


def to_arpabet(phonemes: str) -> str:
    """American misaki symbols to ARPAbet ones with spaces between them.

    Words follow one another without a sign, punctuation between them becomes `sp`, a pause, and what stands
    before the first word or after the last falls away.
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
    """misaki takes the stress from small words within a sentence; a dictionary has them as said alone."""
    if "ˌ" in word:
        return word.replace("ˌ", "ˈ", 1)
    return re.sub("(?=[AIOWYæɑɔɛɜɪʊʌiu])", "ˈ", word, count=1)
