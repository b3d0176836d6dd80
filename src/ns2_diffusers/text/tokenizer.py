"""Converts text or phonemes to `input_ids`, and back."""

import json
import os

from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizer

from ..untrusted import check_source
from .reader import PAD, SYMBOLS, VOCABULARIES, PhonemeReader, check_settings, check_text, read_vocabulary


class NaturalSpeech2Tokenizer(PhonemeReader, PreTrainedTokenizer):
    r"""
    Converts text to phonemes and gives one id to each symbol.

    The symbols are misaki's (those of Kokoro and StyleTTS 2) and the rest of the IPA. Phonemes, stress marks,
    punctuation, combining marks and the space are one token each. Every sequence starts with `<s>` and ends with
    `</s>`, the silence around speech: `len(input_ids) == len(phonemes) + 2`, which is also the number of durations.

    ARPAbet, or any vocabulary with symbols of several characters, has spaces between the symbols: `HH AH0 L OW1`.

    Args:
        vocab_file (`str`, *optional*): a JSON object of symbols and their ids; by default the symbols of the backend.
        backend (`str`, defaults to `"english"`): `"english"` (hibari: American and British), `"arpabet"` (the
            same readings in the 84 symbols of CMU's dictionary, American), `"espeak"` (more than 100
            languages, `pip install "ns2-diffusers[espeak]"`) or `"none"` (the input is phonemes).
        language (`str`, defaults to `"en-us"`): `"en-us"` or `"en-gb"`; with espeak any code that it knows.
        bos_token, eos_token (`str`, *optional*): tokens that start and end every sequence; None leaves them out.
        unknown (`str`, defaults to `"error"`): treatment of characters that cannot be read and of symbols outside
            the vocabulary: `"error"` names them in a ValueError, `"drop"` leaves them out and names them in a
            warning.
        emoji (`str`, defaults to `"skip"`): `"skip"` leaves emoji out and names them in a warning, `"name"` reads
            their names, `"error"` treats them as characters that cannot be read.
        normalizer (`str`, defaults to `"ours"`): rewrites numbers, dates and the like as words: `"ours"`, `"nemo"`
            (`pip install "ns2-diffusers[nemo]"`) or `"none"`.
        number_format (`str`, defaults to `"point"`): `"point"` (3.14 and 1,000) or `"comma"` (3,14 and 1.000).
        markup (`str`, defaults to `"none"`): `"markdown"` or `"html"` reads a text as a person would read the page.
        lexicon (`dict[str, str]`, *optional*): phonemes by word, which take precedence over every other reading; a
            word in lower case matches any case. Only for the backends `english` and `arpabet`.
        max_characters (`int`, *optional*): longer texts raise a ValueError.

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
        check_settings(backend, language, unknown, emoji, normalizer, number_format, markup, lexicon, max_characters)
        special = [str(token) for token in (bos_token, eos_token, pad_token) if token is not None]
        if vocab_file is None:
            symbols = dict.fromkeys([*VOCABULARIES.get(backend, SYMBOLS), *special])
            self.encoder = {symbol: index for index, symbol in enumerate(symbols)}
        else:
            self.encoder = read_vocabulary(vocab_file, special)
        self.vocab_file = vocab_file
        self.decoder = {index: symbol for symbol, index in self.encoder.items()}
        self.separator = " " if any(len(s) > 1 for s in self.encoder if s not in special) else ""
        # "<s>" written in a text is three characters, not the start token.
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
        """Load a tokenizer from a folder or a hub repository, which must contain its vocabulary.

        Raises:
            ValueError: the folder does not exist, or has no `vocab.json` that numbers symbols.
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
            text_pair (`str` or `list[str]`, *optional*): more text, with as many items as `text`; its symbols follow
                those of `text` in the same sequence, as in every transformers tokenizer.
            is_phonemes (`bool`, defaults to `False`): whether `text` is phonemes already, whatever the backend.
            kwargs: arguments of every transformers tokenizer: `padding`, `return_tensors`, `max_length` ...

        Returns:
            `BatchEncoding` of `input_ids` and `attention_mask`, int64: (B, N) tensors with
            `return_tensors="pt"`, otherwise lists; (N,) for one text.

        Raises:
            TypeError: if an item is not a string.
            ValueError: if a batch is empty, an item has nothing to speak or (`unknown="error"`) an unknown character,
                or `text_pair` and `text` differ in length.
        """
        text = _check_texts(text)
        if text_pair is not None:
            text_pair = _check_texts(text_pair)
            sizes = [len(texts) if isinstance(texts, list) else None for texts in (text, text_pair)]
            if sizes[0] != sizes[1]:
                raise ValueError("text_pair needs as many items as text: one for one text, a list for a list.")
        return super().__call__(text, text_pair, is_phonemes=is_phonemes, **kwargs)

    # ----------------------------------------------------------------------------- what transformers asks for

    def prepare_for_tokenization(self, text, is_split_into_words=False, is_phonemes=False, **kwargs):
        if is_phonemes:
            check_text(text)
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
        """Convert ids (N,) to phonemes, without silence and padding; `batch_decode` takes a batch."""
        return super().decode(token_ids, skip_special_tokens=skip_special_tokens, **kwargs)

    def batch_decode(self, sequences, skip_special_tokens=True, **kwargs):
        return super().batch_decode(sequences, skip_special_tokens=skip_special_tokens, **kwargs)

    @property
    def vocab_size(self):
        """Number of symbols without those of `add_tokens`; `len(tokenizer)` includes them."""
        return len(self.encoder)

    def get_vocab(self):
        """All symbols and their ids, with those of `add_tokens`: transformers numbers new ones from its length."""
        return self.encoder | self.added_tokens_encoder

    def save_vocabulary(self, save_directory, filename_prefix=None):
        path = os.path.join(save_directory, (f"{filename_prefix}-" if filename_prefix else "") + "vocab.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.encoder, file, ensure_ascii=False, indent=1)
        return (path,)


class NaturalSpeech2TokenizerConfig(PreTrainedConfig):
    """The key of this tokenizer in transformers' table of tokenizers; it stores nothing."""

    model_type = "naturalspeech2"


def register_tokenizer() -> None:
    """Make `AutoTokenizer.from_pretrained` find NaturalSpeech2Tokenizer; repeated calls change nothing."""
    AutoTokenizer.register(NaturalSpeech2TokenizerConfig, NaturalSpeech2Tokenizer, exist_ok=True)


register_tokenizer()


def _check_texts(texts):
    """Check that the input is a text or a list of at least one."""
    if isinstance(texts, (list, tuple)):
        if not texts:
            raise ValueError("The batch of texts is empty; give at least one text.")
        texts = list(texts)
    for item in texts if isinstance(texts, list) else [texts]:
        check_text(item)
    return texts
