"""Converts text to phonemes of a vocabulary: the part of the tokenizers that needs neither transformers nor torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import warnings
from collections.abc import Callable
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
# Combining marks of the IPA, each a symbol; tones as espeak's digits or the IPA's letters.
MARKS = (
    "\u0303\u0329\u0325\u032c\u0339\u031c\u031f\u0320\u0308\u033d\u032f\u0324\u0330"
    "\u033c\u032a\u033a\u033b\u031d\u031e\u0318\u0319\u031a\u030a\u0306\u0361\u035c"
)
TONES = "123456789˥˦˧˨˩"
SYMBOLS = PAD + PUNCTUATION + LETTERS + IPA + MARKS + TONES
# Backends with symbols of their own.
VOCABULARIES = {"arpabet": arpabet.SYMBOLS}

# Characters that differ in Unicode but stand for the same phoneme.
_SAME = str.maketrans({"g": "ɡ", "ε": "ɛ", "Φ": "ɸ", "\n": " ", "\t": " "})


class NothingToSpeakError(ValueError):
    """The text contains nothing that can be spoken."""


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
    """Raise a TypeError or ValueError for an invalid setting of `PhonemeReader`."""
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
    """Converts texts to phonemes of a vocabulary.

    Subclasses set these attributes; `NaturalSpeech2Tokenizer` documents them. `option_form` is the form in which
    messages name a setting; an interface sets its own.
    """

    option_form = 'NaturalSpeech2Tokenizer(..., {name}="{value}")'

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
    get_vocab: Callable[[], dict[str, int]]

    def phonemize(self, text: str) -> str:
        """The phonemes of a text, as `input_ids` encodes them.

        Args:
            text: text to read; with the backend `none`, phonemes, which are checked. A word may carry its phonemes:
                `[Kubernetes](/kˌubəɹnˈɛtɪs/)`.

        Raises:
            TypeError: if text is not a string.
            NothingToSpeakError: if the text has nothing to speak.
            ValueError: if a part of it cannot be read and `unknown` is `"error"`.
        """
        return self._read(text)[0]

    def read(self, text: str, is_phonemes: bool = False) -> tuple[str, list[WordSymbols]]:
        """The phonemes of a text, and the range of symbols of each word.

        `self(phonemes, is_phonemes=True)` converts the phonemes to ids, with a start symbol in front.

        Args:
            text: as for `phonemize`.
            is_phonemes: whether the text is phonemes; its words are then separated by spaces.

        Returns: the phonemes, and the words in order. If the backend does not report how it reads, and the numbers of
            words in the text and in the phonemes differ, there is one word, the whole text.

        Raises:
            TypeError, NothingToSpeakError, ValueError: as `phonemize`.
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
        """The symbols of one word's phonemes, as they occur among the symbols of the text."""
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
            reads = self.option_form.format(name="emoji", value="name")
            warnings.warn(f"Skipped {names} in {_shorten(text)}; {reads} reads them.", stacklevel=4)
        return self._known_symbols(phonemes, text), normalized.words

    def explain(self, text: str) -> list[Word]:
        """How each word of a text is read, in order: written form, spoken form, phonemes, source and rule.

        A word whose `source` is `guess` or `spelled` is in no lexicon; `lexicon` can give it a reading.

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
        """The text without its markup; raises if it is too long or not a string."""
        check_text(text)
        if self.max_characters is not None and len(text) > self.max_characters:
            raise ValueError(
                f"The text has {len(text)} characters and max_characters is {self.max_characters}: split it with "
                "split_sentences, or raise the limit."
            )
        return plain_text(text, self.markup) if self.markup != "none" else text

    def _known_symbols(self, phonemes, text):
        """Phonemes in canonical form and within the vocabulary; raises if none of them is a sound."""
        parts = self._added_pattern().split(phonemes)  # odd indices are added tokens, which stay unchanged
        phonemes = "".join(part if index % 2 else _canonical(part) for index, part in enumerate(parts))
        symbols, special, vocabulary = self._split(phonemes), set(self.all_special_tokens), self.get_vocab()
        outside = list(dict.fromkeys(s for s in symbols if s not in vocabulary or s in special))
        if outside:
            self._report(outside, text, "has no place among the phoneme symbols")
        phonemes = self.separator.join(s for s in symbols if s not in outside)
        if outside:
            # A dropped word leaves two spaces, one from each side.
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
        """Pattern of the tokens from `add_tokens`, longest first; "<s>" in a text stays three characters."""
        added = set(self.added_tokens_encoder) - set(self.all_special_tokens)
        return re.compile(f"({'|'.join(map(re.escape, sorted(added, key=len, reverse=True))) or '(?!)'})")

    def _report(self, symbols, text, problem):
        names = ", ".join(_name(symbol) for symbol in symbols)
        if self.unknown == "error":
            raise ValueError(
                f"{names} in {_shorten(text)} {problem}. Write it differently, or drop such characters with "
                f"{self.option_form.format(name='unknown', value='drop')}."
            )
        warnings.warn(f"Dropped {names} from {_shorten(text)}: {problem}.", stacklevel=5)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with everything that affects the meaning of an id: vocabulary, special
        tokens, backend, language."""
        special = [self.bos_token, self.eos_token, self.pad_token]
        content = json.dumps([sorted(self.get_vocab().items()), special, self.backend, self.language])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_vocabulary(path, special=()) -> dict[str, int]:
    """Read symbols and their ids from JSON.

    Raises:
        ValueError: the file is not a JSON object that numbers symbols from 0, or lacks one of `special`.
    """
    check_config_file(path)
    try:
        with open(path, encoding="utf-8") as file:
            vocabulary = json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} is not JSON ({error}).") from error
    wanted = "wanted a JSON object that numbers symbols from 0"
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise ValueError(f"the vocabulary {os.fspath(path)!r} is a {type(vocabulary).__name__}; {wanted}.")
    if any(type(index) is not int for index in vocabulary.values()) or "" in vocabulary:
        raise ValueError(
            f"the vocabulary {os.fspath(path)!r} has entries that are not symbols with numbers; {wanted}."
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
    """Whether a symbol is a sound: letters and clicks are; punctuation, stress, length and tone marks are not."""
    return symbol not in arpabet.SILENCES and unicodedata.category(symbol[0]) in ("Ll", "Lu", "Lo")


def _canonical(phonemes):
    """One spelling of each phoneme: separate combining marks, one `ɡ`, one kind of space."""
    return unicodedata.normalize("NFD", phonemes).replace("c\u0327", "ç").translate(_SAME)


def _name(symbol):
    """A symbol, with its Unicode name if it is a single character."""
    return f"{symbol!r} ({unicodedata.name(symbol, f'U+{ord(symbol):04X}')})" if len(symbol) == 1 else repr(symbol)


def _shorten(text):
    return repr(text if len(text) <= 60 else text[:57] + "...")
