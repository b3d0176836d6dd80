"""Text to phonemes: one function per backend; all backends but `arpabet` write misaki's symbols.

misaki's symbols (the phonemes of Kokoro) are IPA, with one symbol for each English diphthong and affricate
(`A I W Y O Q ʧ ʤ`). Stress marks stand before the vowel. Spaces and punctuation are symbols too. Each engine is loaded
once per process, at its first use. The engines are kept here and not in the tokenizer, so that `datasets` can pickle
and hash the tokenizer.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from .arpabet import to_arpabet
from .edits import Edit, EditedText, edits_between
from .engine import load_g2p
from .heteronyms import apply_heteronyms
from .normalization import Normalized, normalize
from .readings import READING, hide_readings

BACKENDS = ("english", "arpabet", "misaki", "espeak", "none")
NORMALIZERS = ("ours", "nemo", "none")
# Languages of the backends that support fewer languages than espeak.
LANGUAGES = {"english": ("en-us", "en-gb"), "arpabet": ("en-us",), "misaki": ("en-us", "en-gb")}


def check_backend(backend: str, language: str) -> None:
    """Raise ValueError for an unknown backend, or a language that the backend does not support."""
    if backend not in BACKENDS:
        raise ValueError(f"There is no phonemizer backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if language not in LANGUAGES.get(backend, (language,)):
        raise ValueError(
            f"The {backend} backend speaks {' and '.join(LANGUAGES[backend])}, not {language!r}; "
            f'for other languages use backend="espeak".'
        )


@dataclass(frozen=True)
class Word:
    """One word of a text and how it was read.

    Attributes:
        written: the characters of the text, `text[start:end]`.
        spoken: the word that the phonemizer received.
        phonemes: phonemes in misaki's symbols.
        source: `lexicon`, `guess` (it is in no lexicon), `spelled` (letter by letter), `given` (by the user or by
            the words around it), or `silent` (punctuation).
        rule: the class of rules that rewrote it (`money`, `date`, ...); None if it is spoken as written.
        start, end: position in the text.
        space: whether a space follows.
    """

    written: str
    spoken: str
    phonemes: str
    source: str
    rule: str | None
    start: int
    end: int
    space: bool = False


def phonemize(text: str, backend: str, language: str, **options) -> tuple[str, list[str]]:
    """Convert text to phonemes.

    Args:
        text: written text; for the backend `none`, phonemes.
        backend: `english` (hibari), `arpabet` (hibari, in CMU's symbols with spaces between them), `misaki`,
            `espeak` (espeak-ng, more than 100 languages) or `none`.
        language: `en-us` or `en-gb` (not for arpabet); for espeak any language code that it knows.
        options: options of `read`.

    Returns:
        The phonemes, and the characters that the backend cannot read and left out.

    Raises:
        ImportError: if a library of the backend or normalizer is not installed.
        ValueError: if the backend, the language or an option is unknown.
    """
    phonemes, normalized = read(text, backend, language, **options)
    return phonemes, normalized.unreadable


def read(
    text: str,
    backend: str,
    language: str,
    *,
    normalizer: str = "ours",
    number_format: str = "point",
    emoji: str = "skip",
    lexicon: dict[str, str] | None = None,
) -> tuple[str, Normalized]:
    """Convert text to phonemes, and return the normalized text too.

    A word may carry its phonemes in misaki's symbols: `[Kubernetes](/kˌubəɹnˈɛtɪs/)`.

    Args:
        text, backend, language: as for `phonemize`.
        normalizer: `ours`, `nemo` (`pip install "ns2-diffusers[nemo]"`) or `none`.
        number_format, emoji: as for `normalization.normalize`.
        lexicon: phonemes by word; they take precedence over every other reading.

    Raises:
        ImportError, ValueError: as `phonemize`.
    """
    check_backend(backend, language)
    if backend == "none":
        return text, Normalized(text, text)
    options: dict[str, Any] = {"normalizer": normalizer, "number_format": number_format, "emoji": emoji}
    if backend in ("espeak", "misaki"):
        phonemes, normalized = _read_around_marks(text, backend, language, options)
    else:
        normalized = normalize_for(text, backend, language, **options)
        normalized.words = _explained(normalized, text, language, lexicon, splits_stops=normalizer == "ours")
        phonemes = "".join(word.phonemes + " " * word.space for word in normalized.words)
    phonemes = re.sub(r" +", " ", phonemes).strip()
    return to_arpabet(phonemes) if backend == "arpabet" else phonemes, normalized


def _read_around_marks(text: str, backend: str, language: str, options: dict[str, Any]) -> tuple[str, Normalized]:
    """Read a text with an engine that has no given phonemes: the parts between the marks are read separately."""
    engine = _espeak if backend == "espeak" else _misaki_phonemes
    whole, phonemes = normalize_for(READING.sub(r"\1", text), backend, language, **options), ""
    if not READING.search(text):
        return (engine(whole.text, language) if whole.text else ""), whole
    # The parts repeat in threes: text, marked word, its phonemes.
    for index, part in enumerate(READING.split(text)):
        if index % 3 == 2:
            phonemes += part.strip()
        elif index % 3 == 0:
            normalized = normalize_for(part, backend, language, **options).text
            spaces = [" " * side for side in (part[:1].isspace(), part[-1:].isspace())]
            phonemes += spaces[0] + (engine(normalized, language) if normalized else "") + spaces[1]
    return phonemes, whole


def normalize_for(
    text: str, backend: str, language: str, normalizer: str = "ours", number_format: str = "point", emoji: str = "skip"
) -> Normalized:
    """Normalize a text for a backend, with the backend's lexicon and one of `NORMALIZERS`."""
    if normalizer not in NORMALIZERS:
        raise ValueError(f"There is no normalizer {normalizer!r}; choose one of {', '.join(NORMALIZERS)}.")
    options: dict[str, Any] = {"number_format": number_format, "emoji": emoji}
    given: dict[str, str] = {}
    if backend in ("english", "arpabet"):
        words = _hibari_g2p(language == "en-gb")
        edits, given = hide_readings(text, lambda ipa: from_ipa(ipa, "british" if language == "en-gb" else "american"))
        options |= {"known": words.known, "acronym": words.is_acronym, "first": edits}
    if normalizer == "nemo" and language.startswith("en"):
        options["rewrite"] = _rewrite_by_nemo
    normalized = normalize(text, language, **options)
    normalized.given = given
    return normalized


@cache
def _nemo():
    try:
        from nemo_text_processing.text_normalization.normalize import Normalizer
    except ImportError as error:
        raise ImportError(
            f'normalizer="nemo" needs nemo_text_processing ({error}): pip install "ns2-diffusers[nemo]"'
        ) from error
    for handler in logging.getLogger("NeMo-text-processing").handlers:
        handler.setLevel(logging.WARNING)  # below this level it reports every sign that it leaves unchanged
    return Normalizer(input_case="cased", lang="en")


def _rewrite_by_nemo(text):
    return edits_between(text, _nemo().normalize(text, punct_post_process=True), "nemo")


def explain(text: str, backend: str, language: str, **options) -> list[Word]:
    """How each word of a text is read, in order; the options are those of `read`.

    Raises:
        ValueError: for a backend other than `english` and `arpabet`; the others do not report how they read.
    """
    check_backend(backend, language)
    if backend not in ("english", "arpabet"):
        raise ValueError(f"The {backend} backend does not tell how it reads; explain needs english or arpabet.")
    return read(text, backend, language, **options)[1].words


def _explained(
    normalized: Normalized, text: str, language: str, lexicon: dict[str, str] | None, splits_stops: bool
) -> list[Word]:
    words: list[Word] = []
    for spoken, space, phonemes, source, position in _hibari_words(normalized, language, lexicon, splits_stops):
        if not normalized.steps:
            end = position + len(spoken)
            words.append(Word(spoken, spoken, phonemes, source, None, position, end, bool(space)))
            continue
        start, end = normalized.source_span(position, position + len(spoken))
        # The words of one long number share its written form; a copy for each word would make this quadratic.
        alike = bool(words) and (words[-1].start, words[-1].end) == (start, end)
        written = words[-1].written if alike else text[start:end]
        words.append(Word(written, spoken, phonemes, source, normalized.rule_at(position), start, end, bool(space)))
    return words


# ----------------------------------------------------------------------------------------------- english


class _Hibari:
    """hibari's G2P, with the lexicon look-ups that this module needs."""

    def __init__(self, british):
        self.g2p = load_g2p(british)
        self.british = british
        self._gold, self._silver = self.g2p.lexicon.golds, self.g2p.lexicon.silvers
        self.known = lru_cache(maxsize=50_000)(self._known)
        self.spell = lru_cache(maxsize=10_000)(self._spell)

    def _known(self, word):
        """Whether the lexicon has a lower-case word, or the word that it is a plural, past or participle of."""
        if self._has(word):
            return True
        for ending, stems in (
            ("ies", ("y",)),
            ("es", ("",)),
            ("s", ("",)),
            ("ied", ("y",)),
            ("ed", ("", "e")),
            ("ing", ("", "e")),
        ):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                stem = word[: -len(ending)]
                if any(self._has(stem + s) for s in stems) or stem[-1:] == stem[-2:-1] and self._has(stem[:-1]):
                    return True
        return False

    def _has(self, word):
        return self._gold.get(word) is not None or len(word) > 4 and self._silver.get(word) is not None

    def is_acronym(self, word):
        """Whether the lexicon has a word in capitals as such."""
        return word in self._gold.d

    def tokens(self, text):
        return self.g2p.tokenize(text)

    def _spell(self, letters):
        """Letter names, with the main stress on the last; an accented letter is read as its base letter."""
        letters = "".join(c if c.isascii() else _BASES.get(c) or unicodedata.normalize("NFD", c)[0] for c in letters)
        token = self.g2p.tokenize("a")[0]
        text = letters if len(letters) == 1 else ".".join(letters) + "."
        token.text, token.tag, token.whitespace = text, "NNP", ""
        return self.g2p.phonemize_tokens([token])[0].phonemes or ""


# Letters without a Unicode decomposition.
_BASES = {"Ł": "L", "Ø": "O", "Đ": "D", "Ħ": "H", "Ŧ": "T", "Æ": "AE", "Œ": "OE", "Þ": "TH", "Ð": "D", "ẞ": "SS"}


# Engines by accent (True is British). The lock keeps two threads from loading the same engine.
_engines: dict[bool, _Hibari] = {}
_loading = threading.Lock()


def _hibari_g2p(british):
    if british not in _engines:
        with _loading:
            if british not in _engines:
                _engines[british] = _Hibari(british)
    return _engines[british]


def _after_fork():
    # A thread that held the lock does not exist in the child process, so the child needs a new lock.
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


_SPELLED = re.compile(r"([^\W\d_a-z]+)('?s)?")
_SOUND = re.compile(r"[^\W\d_]")
_SEPARATORS = re.compile("[-0-9]")
# Words of more parts are read part by part: the engine's time grows with the cube of the number of parts.
MAX_PARTS = 6
# Longest word that the engine's network for unknown words reads.
MAX_LETTERS = 24
_LONG_CHUNK = re.compile(r"\S{25,}")
_LONG_MARKS = re.compile(r"[^\w\s]{12}(?=[^\w\s])")
_SEAM = re.compile(r"(?<=[^\W_])[-'](?=[^\W_])|(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])|(?<=[^\W_])[^\w\s]+(?=[^\W_])")


def _split_long(text, known):
    """Edits that split words that are too long for the engine."""
    edits = [Edit(mark.end(), mark.end(), " ", "long_word") for mark in _LONG_MARKS.finditer(text)]
    for chunk in _LONG_CHUNK.finditer(text):
        seams = list(_SEAM.finditer(text, *chunk.span()))
        if len(seams) > MAX_PARTS or chunk.end() - chunk.start() > 200:
            edits += [Edit(*seam.span(), seam[0].strip("-'") + " ", "long_word") for seam in seams]
        for run in re.compile(r"[^\W\d_]{25,}").finditer(text, *chunk.span()):
            if not any(run.start() < seam.start() < run.end() for seam in seams) or len(seams) <= MAX_PARTS:
                edits += [
                    Edit(p, p, " ", "long_word") for p in _cuts(text[run.start() : run.end()], run.start(), known)
                ]
    return sorted(edits, key=lambda e: e.start)


def _cuts(word, start, known):
    """Positions where a long word is cut: after a word of the lexicon, else after a vowel and a consonant."""
    if known(word.lower()):
        return []
    cuts, position = [], 0
    while len(word) - position > MAX_LETTERS:
        for length in range(16, 5, -1):
            if known(word[position : position + length].lower()):
                break
        else:
            piece = re.match(r".{8,13}[aeiouyAEIOUY](?=[^aeiouyAEIOUY])", word[position : position + 16])
            length = piece.end() if piece else 12
        position += length
        cuts.append(start + position)
    return cuts


def _split_stops(tokens):
    """Tokens with the stop of a sentence apart, as in "plan B." and "She met Jan.", abbreviations to hibari."""
    split = []
    for index, token in enumerate(tokens):
        stem = token.text[:-1]
        is_stop = token.text[-1:] == "." and stem.isalpha() and token.phonemes is None
        if is_stop and len(stem) == 1:  # an initial has a stop too
            following = next((t.text[0] for t in tokens[index + 1 : index + 4] if t.text[0] not in "\"')"), "")
            is_stop = not following.isalnum() or following.isupper()
        if is_stop:
            split += [type(token)(stem, token.tag, ""), type(token)(".", ".", token.whitespace)]
        else:
            split.append(token)
    return split


def _hibari_words(normalized, language, lexicon, splits_stops):
    """Each word of a normalized text: spoken form, text after it, phonemes, source, position in `text`."""
    engine = _hibari_g2p(language == "en-gb")
    edits = _split_long(normalized.text, engine.known)
    if edits:
        edited = EditedText(normalized.text, edits)
        normalized.steps.append(("words", edited))
        normalized.text = edited.text
    tokens = engine.tokens(normalized.text)
    if splits_stops:  # the stops of abbreviations are gone
        tokens = _split_stops(tokens)
    position, spelled = 0, set()
    if lexicon or normalized.given:
        _apply_lexicon(tokens, (lexicon or {}) | normalized.given)
    for token in tokens:
        letters = None if token.text[:1].islower() else _SPELLED.fullmatch(token.text)
        if letters and letters[1].isupper() and token.phonemes is None and normalized.rule_at(position) is not None:
            token.phonemes = engine.spell(letters[1]) + _plural_sound(engine.spell(letters[1]), letters[2])
            token.rating = 5
            spelled.add(position)
        position += len(token.text) + len(token.whitespace)
    apply_heteronyms(tokens, british=engine.british)
    given = {id(token) for token in tokens if token.phonemes is not None}
    words, position = [], 0
    for token in engine.g2p.phonemize_tokens(tokens):
        phonemes = token.phonemes or ""
        source = "given" if id(token) in given else "guess" if token.rating == 2 else "lexicon"
        if not phonemes.isalpha():
            # The network was trained on espeak's output and sometimes writes espeak's separators.
            phonemes = _SEPARATORS.sub("", phonemes).replace("...", "…")
        if position in spelled:
            source = "spelled"
        elif token.text.isalpha() and phonemes.isalpha():
            pass
        elif not any(c.isalnum() for c in token.text):
            source = "silent"
        elif not _SOUND.search(phonemes) and token.text not in ("'s", "'"):
            # Every token that contains a letter is read.
            letters = "".join(c for c in token.text if c.isalnum()).upper()
            phonemes, source = " ".join(engine.spell(c) for c in letters), "spelled"
        end = _end(normalized.text, position, token.text)
        words.append((normalized.text[position:end], token.whitespace, phonemes, source, position))
        position = end + len(token.whitespace)
    return words


def _end(text, position, word):
    """End of a word in the text. hibari sometimes drops an apostrophe between a digit and a letter."""
    if text.startswith(word, position):
        return position + len(word)
    end = position
    for character in word:
        end = text.find(character, end, end + len(word)) + 1 or end
    return end


def _plural_sound(phonemes, suffix):
    if not suffix:
        return ""
    return "s" if phonemes[-1:] in "ptkfθ" else "ᵻz" if phonemes[-1:] in "szʃʒʧʤ" else "z"


def _apply_lexicon(tokens, lexicon):
    """Apply the user's readings: of the word as written, else in lower case; a genitive ending follows its word."""
    previous = None
    for token in tokens:
        phonemes = lexicon.get(token.text) or lexicon.get(token.text.lower())
        if previous and token.text == "'s":
            phonemes = _plural_sound(previous, "s")
        if phonemes is not None and token.phonemes is None:
            token.phonemes, token.rating = phonemes, 5
        previous = phonemes if not token.whitespace else None


# ------------------------------------------------------------------------------------------------ misaki


@cache
def _misaki_g2p(british):
    try:
        from misaki import en, espeak
    except ImportError as error:
        raise ImportError(f'The misaki backend needs misaki ({error}): pip install "ns2-diffusers[misaki]"') from error
    # misaki's default espeak fallback is off; without it misaki skips every unknown word.
    return en.G2P(trf=False, british=british, fallback=espeak.EspeakFallback(british=british), unk="")


def _misaki_phonemes(text, language):
    phonemes, _ = _misaki_g2p(language == "en-gb")(text)
    return phonemes.replace("ɾ", "T").replace("ʔ", "t")


# ------------------------------------------------------------------------------------------------ espeak

# phonemizer would split at every full stop and comma, also in 3.5, 1,000 and p.m.
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
            f'The espeak backend needs phonemizer and espeakng-loader ({error}): pip install "ns2-diffusers[espeak]"'
        ) from error
    if "PHONEMIZER_ESPEAK_LIBRARY" not in os.environ:
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    known = EspeakBackend.supported_languages()
    if language not in known:
        raise ValueError(f"espeak has no voice for {language!r}; it knows {', '.join(sorted(known))}.")
    logger = logging.getLogger("ns2_diffusers.espeak")
    logger.setLevel(logging.ERROR)  # below this level it warns of every "don't" that becomes two words
    return EspeakBackend(
        language, punctuation_marks=";", with_stress=True, language_switch="remove-flags", logger=logger
    )


def _espeak(text, language):
    backend = _espeak_backend(language)
    marks = [*(mark[0] for mark in _PUNCTUATION.finditer(text)), ""]
    pieces = [_espeak_piece(backend, piece) for piece in _PUNCTUATION.split(text)]
    phonemes = "".join(piece + mark for piece, mark in zip(pieces, marks, strict=True))
    if not language.startswith("en"):
        return phonemes
    return _misaki(phonemes, "british" if language.startswith("en-gb") else "american")


def _espeak_piece(backend, text):
    # An empty piece stands before a leading mark. The removed symbols are espeak's separators.
    return re.sub(r"[-`^#_]", "", backend.phonemize([text], strip=True)[0]) if text.strip() else ""


# The IPA marks stress before the syllable, misaki before its vowel.
_STRESSED_ONSET = re.compile(r"([ˈˌ])([^ˈˌ\saeiouyæɑɐɒɔəɚɛɜɝɪʊʌøœɨʉɯɤɵᵻᵊAIOWYQ.,;:!?-]{1,5})")


def from_ipa(phonemes: str, accent: str = "american") -> str:
    """Convert phonemes in the usual IPA spelling (`eɪ`, `tʃ`, `r`) to misaki's symbols, one symbol per sound."""
    return _misaki(_STRESSED_ONSET.sub(r"\2\1", phonemes.strip().strip("/[]")), accent)


def _misaki(phonemes, accent):
    """Convert espeak's IPA to misaki's symbols, the longest match first."""
    # A syllabic l, as in little, not in hello.
    phonemes = re.sub(r"əl(?![ˈˌaeiouæɑɐɒɔəɛɜɪʊʌ])", "ᵊl", phonemes)
    table = _SHARED | _TO_MISAKI[accent]
    pattern = "|".join(sorted(table, key=len, reverse=True))
    return re.sub(pattern, lambda match: table[match[0]], phonemes)
