"""Text to phonemes: one function a backend; all but `arpabet` write misaki's symbols.

misaki (the phonemes Kokoro speaks) is IPA in which English diphthongs and affricates are one symbol each
(`A I W Y O Q ʧ ʤ`), stress marks stand before the vowel, and spaces and punctuation are symbols too.
The engines are loaded once a process, when first needed, and kept here rather than in the tokenizer, which so
can be pickled and hashed by `datasets`.
"""

import logging
import os
import re
from functools import cache

from .arpabet import to_arpabet
from .heteronyms import apply_heteronyms
from .normalization import clean_text, normalize_english, unreadable_characters

BACKENDS = ("english", "arpabet", "espeak", "none")
# Of the backends that do not speak every language espeak knows.
LANGUAGES = {"english": ("en-us", "en-gb"), "arpabet": ("en-us",)}


def check_backend(backend: str, language: str) -> None:
    """Raises ValueError for a backend that does not exist or a language it does not speak."""
    if backend not in BACKENDS:
        raise ValueError(f"There is no phonemizer backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if language not in LANGUAGES.get(backend, (language,)):
        raise ValueError(
            f"The {backend} backend speaks {' and '.join(LANGUAGES[backend])}, not {language!r}; "
            f'for other languages use backend="espeak".'
        )


def phonemize(text: str, backend: str, language: str) -> tuple[str, list[str]]:
    """Reads text aloud, in symbols.

    Args:
        text: written text; for the backend `none`, phonemes.
        backend: `english` (hibari), `arpabet` (the same in CMU's symbols, spaces between them), `espeak`
            (espeak-ng, more than 100 languages) or `none`.
        language: `en-us` or, but for arpabet, `en-gb`; for espeak any code that it knows.

    Returns:
        The phonemes, and the characters of the text that the backend has no reading for and left out.

    Raises:
        ImportError: if the espeak backend is not installed.
        ValueError: if backend or language is unknown.
    """
    check_backend(backend, language)
    if backend == "none":
        return text, []
    is_english = language.startswith("en")
    text = normalize_english(text) if is_english else clean_text(text)
    # espeak reads emoji and any script it has a voice for; in English it would say "Chinese letter".
    unreadable = unreadable_characters(text) if is_english else []
    text = "".join(c for c in text if c not in unreadable).strip()
    if not text:
        return "", unreadable
    phonemes = _espeak(text, language) if backend == "espeak" else _hibari(text, language)
    phonemes = re.sub(r" +", " ", phonemes).strip()
    if text[-1] == "." and phonemes[-1:].isalpha():
        phonemes += "."  # the stop of "in the U.S." ends the sentence too
    return to_arpabet(phonemes) if backend == "arpabet" else phonemes, unreadable


# ----------------------------------------------------------------------------------------------- english


@cache
def _hibari_g2p(british):
    from hibari.g2p import G2P

    return G2P(british=british)


def _hibari(text, language):
    g2p = _hibari_g2p(language == "en-gb")
    tokens = g2p.tokenize(text)
    apply_heteronyms(tokens, british=g2p.british)
    tokens = g2p.phonemize_tokens(tokens)
    phonemes = "".join((token.phonemes or "") + (" " if token.whitespace else "") for token in tokens)
    # Its network for unknown words learned from espeak's output and now and then writes espeak's separators.
    return re.sub(r"[-0-9]", "", phonemes).replace("...", "…")


# ------------------------------------------------------------------------------------------------ espeak

# phonemizer would cut at every stop and comma, also those of 3.5, 1,000 and p.m.
_PUNCTUATION = re.compile(r"\s*(?:(?<!\.[A-Za-z])\.(?!\d|[A-Za-z]\.)|[,:](?!\d)|[;!?¡¿—…\"«»“”()])+\s*")
_SHARED = {"eɪ": "A", "aɪ": "I", "aʊ": "W", "ɔɪ": "Y", "tʃ": "ʧ", "dʒ": "ʤ", "r": "ɹ", "n̩": "ᵊn", "l̩": "ᵊl"}
_TO_MISAKI = {
    "american": {"oʊ": "O", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɚɹ": "əɹ", "ɚ": "əɹ", "ɾ": "T", "ʔ": "t", "ː": ""},
    "british": {"əʊ": "Q", "eə": "ɛː", "iə": "ɪə", "ɾ": "t", "ʔ": "t"},
}


@cache
def _espeak_backend(language):
    try:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise ImportError(
            f"The espeak backend needs phonemizer-fork and espeakng-loader ({error}): "
            'pip install "ns2-diffusers[espeak]"'
        ) from error
    if "PHONEMIZER_ESPEAK_LIBRARY" not in os.environ:
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    known = EspeakBackend.supported_languages()
    if language not in known:
        raise ValueError(f"espeak has no voice for {language!r}; it knows {', '.join(sorted(known))}.")
    logger = logging.getLogger("ns2_diffusers.espeak")
    logger.setLevel(logging.ERROR)  # it warns of every "don't" that becomes two words
    return EspeakBackend(
        language, punctuation_marks=";", with_stress=True, language_switch="remove-flags", logger=logger
    )


def _espeak(text, language):
    backend = _espeak_backend(language)
    if language.startswith("en"):
        text = _spell_years(text)
    marks = [*(mark[0] for mark in _PUNCTUATION.finditer(text)), ""]
    pieces = [_espeak_piece(backend, piece) for piece in _PUNCTUATION.split(text)]
    phonemes = "".join(piece + mark for piece, mark in zip(pieces, marks, strict=True))
    if not language.startswith("en"):
        return phonemes
    return _misaki(phonemes, "british" if language.startswith("en-gb") else "american")


def _espeak_piece(backend, text):
    # An empty piece stands before a leading mark; the symbols taken away are espeak's own separators.
    return re.sub(r"[-`^#_]", "", backend.phonemize([text], strip=True)[0]) if text.strip() else ""


def _spell_years(text):
    """espeak reads 1999 as a count; hibari's way with years, for both."""
    from hibari.g2p.numbers import year

    def spell(match):
        words = year(int(match[1])).replace("-", " ")
        if not match[2]:
            return words
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    return re.sub(r"(?<![\d.,])(1[1-9]\d\d|20\d\d)(s?)\b(?![.,]\d)", spell, text)


def _misaki(phonemes, accent):
    """espeak's IPA in misaki's symbols, the longest match first."""
    # A syllable of its own, as in little, not in hello.
    phonemes = re.sub(r"əl(?![ˈˌaeiouæɑɐɒɔəɛɜɪʊʌ])", "ᵊl", phonemes)
    table = _SHARED | _TO_MISAKI[accent]
    pattern = "|".join(sorted(table, key=len, reverse=True))
    return re.sub(pattern, lambda match: table[match[0]], phonemes)
