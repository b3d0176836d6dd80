"""From a text to phonemes within a vocabulary: the part of tokenizers without transformers and torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import warnings
from typing import Any

from ..untrusted import check_config_file
from . import arpabet
from .markup import MARKUPS, plain_text
from .normalization import NUMBER_FORMATS
from .phonemizers import NORMALIZERS, Word, check_backend, explain, read
from .typography import EMOJI_CHOICES
from .words import WordSymbols, find_words

PAD = "$"
PUNCTUATION = ";:,.!?¡¿—…\"«»“”() '"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
IPA = (
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞↓↑→↗↘ᵻᵊᵝʣʥʦʨꭧ"
)
# Combining marks of the IPA, each a symbol of its own; tones, as espeak's digits or the IPA's letters.
MARKS = (
    "\u0303\u0329\u0325\u032c\u0339\u031c\u031f\u0320\u0308\u033d\u032f\u0324\u0330"
    "\u033c\u032a\u033a\u033b\u031d\u031e\u0318\u0319\u031a\u030a\u0306\u0361\u035c"
)
TONES = "123456789˥˦˧˨˩"
SYMBOLS = PAD + PUNCTUATION + LETTERS + IPA + MARKS + TONES
# Symbols of backends that have their own.
VOCABULARIES = {"arpabet": arpabet.SYMBOLS}

# Signs that look different in Unicode and are the same phoneme.
_SAME = str.maketrans({"g": "ɡ", "ε": "ɛ", "Φ": "ɸ", "\n": " ", "\t": " "})


class NothingToSpeakError(ValueError):
    """A text without a sound."""


def check_settings(
    backend: str,
    language: str,
    unknown: str,
    emoji: str,
    normalizer: str,
    number_format: str,
    markup: str,
    lexicon: Any,
    max_characters: Any,
) -> None:
    """Raise a TypeError or ValueError for a setting of `PhonemeReader` that it does not know."""
    check_backend(backend, language)
    for name, value, choices in (
        ("unknown", unknown, ("error", "drop")),
        ("emoji", emoji, EMOJI_CHOICES),
        ("normalizer", normalizer, NORMALIZERS),
        ("number_format", number_format, NUMBER_FORMATS),
        ("markup", markup, MARKUPS),
    ):
        if value not in choices:
            raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}.")
    if max_characters is not None and (isinstance(max_characters, bool) or not isinstance(max_characters, int)):
        raise TypeError(f"max_characters is a number of characters or None, not {max_characters!r}.")
    if max_characters is not None and max_characters < 1:
        raise ValueError(f"max_characters must be at least 1, not {max_characters}.")
    check_lexicon(lexicon, backend)


class PhonemeReader:
    """Reads texts as the phonemes of a vocabulary.

    Subclasses set these attributes, which `NaturalSpeech2Tokenizer` explains.
    """

    backend: str
    language: str
    unknown: str
    emoji: str
    normalizer: str
    number_format: str
    markup: str
    lexicon: dict[str, str] | None
    max_characters: int | None
    separator: str
    bos_token: Any
    eos_token: Any
    pad_token: Any
    all_special_tokens: list[str]
    added_tokens_encoder: dict[str, int]

    def get_vocab(self) -> dict[str, int]:
        """All symbols and their ids."""
        raise NotImplementedError

    def phonemize(self, text: str) -> str:
        """The phonemes of a text, as `input_ids` will have them.

        Args:
            text: what to read; with the backend `none`, phonemes, which are checked. A word may carry its phonemes,
                `[Kubernetes](/kˌubəɹnˈɛtɪs/)`.

        Raises:
            TypeError: if text is not a string.
            NothingToSpeakError: if there is nothing to say.
            ValueError: if (`unknown="error"`) something in it cannot be read.
        """
        return self._read(text)[0]

    def read(self, text: str, is_phonemes: bool = False) -> tuple[str, list[WordSymbols]]:
        """The phonemes of a text, and which of their symbols each word has.

        `self(phonemes, is_phonemes=True)` makes ids of the phonemes, with a start symbol in front.

        Args:
            text: as for `phonemize`.
            is_phonemes: the text is phonemes; a word is then what stands between spaces.

        Returns: the phonemes, and the words in order. Where the backend does not tell how it reads, and the words of
            the text are not as many as those of the phonemes, there is one word: the text.

        Raises:
            As `phonemize`.
        """
        if is_phonemes:
            check_text(text)
            phonemes, words = self._known_symbols(text, text), []
        else:
            phonemes, words = self._read(text)
            text = self._checked(text)
        symbols = self._split(phonemes)
        return phonemes, find_words(text, words, symbols, self._symbols_of, _is_pause)

    def _symbols_of(self, phonemes):
        """The symbols of a word's phonemes among those of its text."""
        phonemes = arpabet.to_arpabet(phonemes) if self.backend == "arpabet" else _canonical(phonemes)
        vocabulary, special = self.get_vocab(), set(self.all_special_tokens)
        return [symbol for symbol in self._split(phonemes) if symbol in vocabulary and symbol not in special]

    def _read(self, text):
        text = self._checked(text)
        phonemes, normalized = read(text, self.backend, self.language, **self._reading)
        if normalized.unreadable:
            self._report(normalized.unreadable, text, f"cannot be read by the {self.backend} backend")
        if normalized.emoji:
            names = ", ".join(_name(symbol) for symbol in normalized.emoji)
            warnings.warn(f'Skipped {names} in {_shorten(text)}; emoji="name" reads them.', stacklevel=4)
        return self._known_symbols(phonemes, text), normalized.words

    def explain(self, text: str) -> list[Word]:
        """How each word of a text is read, in order: as it is written, as it is said, in phonemes, and by what.

        A word whose `source` is `guess` or `spelled` is in no lexicon; a reading of your own goes into `lexicon`.

        Raises:
            TypeError: if text is not a string.
            ValueError: if the backend is not `english` or `arpabet`.

        Example:

            >>> for word in NaturalSpeech2Tokenizer().explain("It cost $5."):
            ...     print(word.written, word.spoken, word.phonemes, word.source, word.rule)
            It It ɪt lexicon None
            cost cost kˈɔst lexicon None
            $5 five fˈIv lexicon money
            $5 dollars dˈɑləɹz lexicon money
            . . . silent None
        """
        return explain(self._checked(text), self.backend, self.language, **self._reading)

    @property
    def _reading(self):
        return {
            "normalizer": self.normalizer,
            "number_format": self.number_format,
            "emoji": self.emoji,
            "lexicon": self.lexicon,
        }

    def _checked(self, text):
        """The text without its markup."""
        check_text(text)
        if self.max_characters is not None and len(text) > self.max_characters:
            raise ValueError(
                f"The text has {len(text)} characters and max_characters is {self.max_characters}: split it with "
                "split_sentences, or raise the limit."
            )
        return plain_text(text, self.markup) if self.markup != "none" else text

    def _known_symbols(self, phonemes, text):
        """Canonical, within the vocabulary, and not mere silence."""
        parts = self._added_pattern().split(phonemes)  # every other one is an added token, kept as it is
        phonemes = "".join(part if index % 2 else _canonical(part) for index, part in enumerate(parts))
        symbols, special, vocabulary = self._split(phonemes), set(self.all_special_tokens), self.get_vocab()
        outside = list(dict.fromkeys(s for s in symbols if s not in vocabulary or s in special))
        if outside:
            self._report(outside, text, "has no place among the phoneme symbols")
        phonemes = self.separator.join(s for s in symbols if s not in outside)
        if outside:
            # A dropped word leaves the spaces on both its sides.
            phonemes = re.sub(r" {2,}", " ", phonemes).strip()
        if not any(is_sound(s) for s in self._split(phonemes)):
            raise NothingToSpeakError(f"There is nothing to speak in {_shorten(text)}; give it at least one word.")
        return phonemes

    def _split(self, phonemes):
        if self.separator:
            return phonemes.split()
        parts = self._added_pattern().split(phonemes)
        return [s for index, part in enumerate(parts) for s in ([part] if index % 2 else part)]

    def _added_pattern(self):
        """What `add_tokens` added, the longest first; "<s>" written in a text stays three characters."""
        added = set(self.added_tokens_encoder) - set(self.all_special_tokens)
        return re.compile(f"({'|'.join(map(re.escape, sorted(added, key=len, reverse=True))) or '(?!)'})")

    def _report(self, symbols, text, problem):
        names = ", ".join(_name(symbol) for symbol in symbols)
        if self.unknown == "error":
            raise ValueError(
                f"{names} in {_shorten(text)} {problem}. Write it differently, or drop such characters with "
                f'NaturalSpeech2Tokenizer(..., unknown="drop").'
            )
        warnings.warn(f"Dropped {names} from {_shorten(text)}: {problem}.", stacklevel=5)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with anything that changes what an id means: vocabulary, special
        tokens, backend, language."""
        special = [self.bos_token, self.eos_token, self.pad_token]
        content = json.dumps([sorted(self.get_vocab().items()), special, self.backend, self.language])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_vocabulary(path, special=()) -> dict[str, int]:
    """Symbols and their ids, from JSON.

    Raises:
        ValueError: it is no JSON object that numbers symbols from 0, or lacks one of `special`.
    """
    check_config_file(path)
    try:
        with open(path, encoding="utf-8") as file:
            vocabulary = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} is no JSON ({error}).") from error
    wanted = "wanted a JSON object that numbers symbols from 0"
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} is a {type(vocabulary).__name__}; {wanted}.")
    if any(type(index) is not int for index in vocabulary.values()) or "" in vocabulary:
        raise ValueError(
            f"the vocabulary {os.fspath(path)!r} has entries that are no symbol with its number; {wanted}."
        )
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"the vocabulary {os.fspath(path)!r} has numbers twice, or leaves some out; {wanted}.")
    if missing := [symbol for symbol in special if symbol not in vocabulary]:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} lacks {', '.join(map(repr, missing))}.")
    return vocabulary


def check_lexicon(lexicon, backend):
    if lexicon is None:
        return
    if not isinstance(lexicon, dict) or not all(isinstance(s, str) and s for pair in lexicon.items() for s in pair):
        raise TypeError("lexicon is a dict of words and their phonemes, both str and not empty.")
    if backend not in ("english", "arpabet"):
        raise ValueError(f"The {backend} backend takes no lexicon; english and arpabet do.")


def check_text(text):
    if not isinstance(text, str):
        raise TypeError(f"Expected a text (str) or a list of texts, got {type(text).__name__}: {text!r:.80}.")


def _is_pause(symbol):
    return symbol in PUNCTUATION or symbol in arpabet.SILENCES


def is_sound(symbol: str) -> bool:
    """Letters and click signs sound; punctuation, stress, length and tone marks do not by themselves."""
    return symbol not in arpabet.SILENCES and unicodedata.category(symbol[0]) in ("Ll", "Lu", "Lo")


def _canonical(phonemes):
    """One spelling of each phoneme: combining marks by themselves, one `ɡ`, one kind of space."""
    return unicodedata.normalize("NFD", phonemes).replace("c\u0327", "ç").translate(_SAME)


def _name(symbol):
    """A symbol as it is written, and what it is called if it is a single character."""
    return f"{symbol!r} ({unicodedata.name(symbol, f'U+{ord(symbol):04X}')})" if len(symbol) == 1 else repr(symbol)


def _shorten(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")
