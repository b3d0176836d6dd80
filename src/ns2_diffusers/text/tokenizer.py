"""Text or phonemes to `input_ids`, and back."""

import hashlib
import json
import os
import re
import unicodedata
import warnings

from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizer

from ..untrusted import check_config_file, check_source
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


class NaturalSpeech2Tokenizer(PreTrainedTokenizer):
    r"""
    Reads text as phonemes and gives one id to each of their symbols.

    The symbols are misaki's (those of Kokoro and StyleTTS 2) and the rest of the IPA: phonemes, stress marks,
    punctuation and the space are a token each, combining marks too. Every sequence starts with `<s>` and ends
    with `</s>`, the silence around speech: `len(input_ids) == len(phonemes) + 2`, as many as durations.

    ARPAbet, or any vocabulary with symbols of several characters, is written with spaces between the symbols:
    `HH AH0 L OW1`.

    Args:
        vocab_file (`str`, *optional*): a JSON object of symbol to id; without it the symbols of the backend.
        backend (`str`, defaults to `"english"`): `"english"` (hibari: American and British), `"arpabet"` (the
            same readings in the 84 symbols of CMU's dictionary, American), `"espeak"` (more than 100
            languages, `pip install "ns2-diffusers[espeak]"`) or `"none"` (phonemes are given).
        language (`str`, defaults to `"en-us"`): `"en-us"` or `"en-gb"`; with espeak any code that it knows.
        bos_token, eos_token (`str`, *optional*): what every sequence starts and ends with; None leaves it out.
        unknown (`str`, defaults to `"error"`): what becomes of characters that cannot be read and of symbols
            outside the vocabulary: `"error"` names them in a ValueError, `"drop"` leaves them out and
            names them in a warning.
        emoji (`str`, defaults to `"skip"`): `"skip"` leaves emoji out and names them in a warning, `"name"` reads
            their names, `"error"` treats them as characters that cannot be read.
        normalizer (`str`, defaults to `"ours"`): what writes numbers, dates and the like as words: `"ours"`, `"nemo"`
            (`pip install "ns2-diffusers[nemo]"`) or `"none"`.
        number_format (`str`, defaults to `"point"`): `"point"` (3.14 and 1,000) or `"comma"` (3,14 and 1.000).
        markup (`str`, defaults to `"none"`): `"markdown"` or `"html"` reads a text as a person would read the page.
        lexicon (`dict[str, str]`, *optional*): phonemes of words, which come before every other reading; a word in
            lower case is found in any case. Backends `english` and `arpabet`.
        max_characters (`int`, *optional*): longer texts are refused with a ValueError.

    Example:

        >>> tokenizer = NaturalSpeech2Tokenizer()
        >>> tokenizer.phonemize("Hello there.")
        'həlˈO ðˈɛɹ.'
        >>> batch = tokenizer(["Hello there.", "Hi!"], padding=True, return_tensors="pt")
        >>> tokenizer.decode(batch.input_ids[1])
        'hˈI!'
        >>> tokenizer("hˈI!", is_phonemes=True).input_ids == tokenizer("Hi!").input_ids
        True
    """

    vocab_files_names = {"vocab_file": "vocab.json"}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self,
        vocab_file=None,
        backend="english",
        language="en-us",
        unknown="error",
        emoji="skip",
        normalizer="ours",
        number_format="point",
        markup="none",
        lexicon=None,
        max_characters=None,
        bos_token="<s>",
        eos_token="</s>",
        pad_token=PAD,
        **kwargs,
    ):
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
        _check_lexicon(lexicon, backend)
        special = [str(token) for token in (bos_token, eos_token, pad_token) if token is not None]
        if vocab_file is None:
            symbols = dict.fromkeys([*VOCABULARIES.get(backend, SYMBOLS), *special])
            self.encoder = {symbol: index for index, symbol in enumerate(symbols)}
        else:
            self.encoder = read_vocabulary(vocab_file, special)
        self.vocab_file = vocab_file
        self.decoder = {index: symbol for symbol, index in self.encoder.items()}
        self.separator = " " if any(len(s) > 1 for s in self.encoder if s not in special) else ""
        # "<s>" written in a text is five characters, not the start of another sentence.
        kwargs["split_special_tokens"] = True
        super().__init__(
            backend=backend,
            language=language,
            unknown=unknown,
            emoji=emoji,
            normalizer=normalizer,
            number_format=number_format,
            markup=markup,
            lexicon=lexicon,
            max_characters=max_characters,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            **kwargs,
        )
        self.backend, self.language, self.unknown = backend, language, unknown
        self.emoji, self.normalizer, self.number_format = emoji, normalizer, number_format
        self.markup, self.lexicon, self.max_characters = markup, lexicon, max_characters

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load a tokenizer from a folder, or a hub repository; its vocabulary must be there.

        Raises:
            ValueError: there is no such folder, or no `vocab.json` in it that numbers symbols.
        """
        check_source(pretrained_model_name_or_path, "tokenizer")
        tokenizer = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        if tokenizer.vocab_file is None:
            where = os.path.join(pretrained_model_name_or_path, kwargs.get("subfolder") or "")
            raise ValueError(f"there is no vocab.json in {where!r}: the tokenizer would number symbols differently.")
        return tokenizer

    # ------------------------------------------------------------------------------------- text ► phonemes

    def __call__(
        self,
        text: str | list[str],
        text_pair: str | list[str] | None = None,
        *,
        is_phonemes: bool = False,
        **kwargs,
    ) -> BatchEncoding:
        """
        Args:
            text (`str` or `list[str]`): one text or a batch.
            text_pair (`str` or `list[str]`, *optional*): more text, as many items as `text`; its symbols follow
                those of `text` in the same sequence, as in every transformers tokenizer.
            is_phonemes (`bool`, defaults to `False`): `text` is phonemes already, whatever the backend.
            kwargs: those of every transformers tokenizer: `padding`, `return_tensors`, `max_length` ...

        Returns:
            `BatchEncoding` of `input_ids` and `attention_mask`, int64: (B, N) tensors with
            `return_tensors="pt"`, else lists, of (N,) for one text.

        Raises:
            TypeError: if an item is not a string.
            ValueError: if a batch is empty, an item has nothing to say or (`unknown="error"`) a strange sign, or
                `text_pair` is not as long as `text`.
        """
        text = _check_texts(text)
        if text_pair is not None:
            text_pair = _check_texts(text_pair)
            sizes = [len(texts) if isinstance(texts, list) else None for texts in (text, text_pair)]
            if sizes[0] != sizes[1]:
                raise ValueError("text_pair needs as many items as text: one for one text, a list for a list.")
        return super().__call__(text, text_pair, is_phonemes=is_phonemes, **kwargs)

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
            _check_text(text)
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
        _check_text(text)
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

    # ----------------------------------------------------------------------------- what transformers asks for

    def prepare_for_tokenization(self, text, is_split_into_words=False, is_phonemes=False, **kwargs):
        if is_phonemes:
            _check_text(text)
            return self._known_symbols(text, text), kwargs
        return self.phonemize(text), kwargs

    def _tokenize(self, text, **kwargs):
        return self._split(text)

    def _convert_token_to_id(self, token):
        return self.encoder.get(token)

    def _convert_id_to_token(self, index):
        if index not in self.decoder:
            raise ValueError(f"There is no token {index}; the ids go from 0 to {len(self) - 1}.")
        return self.decoder[index]

    def convert_tokens_to_string(self, tokens):
        return self.separator.join(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        ids = [self.bos_token_id, *token_ids_0, *(token_ids_1 or []), self.eos_token_id]
        return [index for index in ids if index is not None]

    def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(index in special) for index in token_ids_0]
        inside = [0] * (len(token_ids_0) + len(token_ids_1 or []))
        return [1] * (self.bos_token is not None) + inside + [1] * (self.eos_token is not None)

    def decode(self, token_ids, skip_special_tokens=True, **kwargs):
        """Ids (N,) to phonemes, without silence and padding; a batch of ids goes through `batch_decode`."""
        return super().decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)

    def batch_decode(self, sequences, skip_special_tokens=True, **kwargs):
        return super().batch_decode(sequences, skip_special_tokens=skip_special_tokens, **kwargs)

    @property
    def vocab_size(self):
        """Number of symbols without those of `add_tokens`; `len(tokenizer)` counts these too."""
        return len(self.encoder)

    def get_vocab(self):
        """All symbols and their ids, those of `add_tokens` too: transformers numbers new ones from its length."""
        return self.encoder | self.added_tokens_encoder

    def save_vocabulary(self, save_directory, filename_prefix=None):
        path = os.path.join(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + "vocab.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.encoder, file, ensure_ascii=False, indent=1)
        return (path,)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with anything that changes what an id means: vocabulary, special
        tokens, backend, language."""
        special = [self.bos_token, self.eos_token, self.pad_token]
        content = json.dumps([sorted(self.get_vocab().items()), special, self.backend, self.language])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class NaturalSpeech2TokenizerConfig(PreTrainedConfig):
    """What transformers keys its table of tokenizers by; nothing is stored in it."""

    model_type = "naturalspeech2"


def register_tokenizer() -> None:
    """Makes `AutoTokenizer.from_pretrained` find NaturalSpeech2Tokenizer; calling it again changes nothing."""
    AutoTokenizer.register(NaturalSpeech2TokenizerConfig, NaturalSpeech2Tokenizer, exist_ok=True)


register_tokenizer()


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


def _check_texts(texts):
    """A text, or a list of at least one."""
    if isinstance(texts, (list, tuple)):
        if not texts:
            raise ValueError("The batch of texts is empty; give at least one text.")
        texts = list(texts)
    for item in texts if isinstance(texts, list) else [texts]:
        _check_text(item)
    return texts


def _check_lexicon(lexicon, backend):
    if lexicon is None:
        return
    if not isinstance(lexicon, dict) or not all(isinstance(s, str) and s for pair in lexicon.items() for s in pair):
        raise TypeError("lexicon is a dict of words and their phonemes, both str and not empty.")
    if backend not in ("english", "arpabet"):
        raise ValueError(f"The {backend} backend takes no lexicon; english and arpabet do.")


def _check_text(text):
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
