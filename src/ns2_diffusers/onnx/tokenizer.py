"""The part of `NaturalSpeech2Tokenizer` that a pipeline uses, without transformers."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from ..text.reader import PAD, PhonemeReader, check_settings, read_vocabulary


class OnnxTokenizer(PhonemeReader):
    """Converts texts to phonemes and phonemes to ids, with the files that `NaturalSpeech2Tokenizer` saves.

    Args:
        vocabulary: ids by symbol.
        added: ids of special symbols and of symbols from `add_tokens`.
        bos_token, eos_token, pad_token: symbols, or None.
        settings: `backend`, `language` and so on of `NaturalSpeech2Tokenizer`.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        added: dict[str, int] | None = None,
        bos_token: str | None = "<s>",
        eos_token: str | None = "</s>",
        pad_token: str | None = PAD,
        *,
        backend: str = "english",
        language: str = "en-us",
        unknown: str = "error",
        emoji: str = "skip",
        normalizer: str = "ours",
        number_format: str = "point",
        markup: str = "none",
        lexicon: dict[str, str] | None = None,
        max_characters: int | None = None,
    ):
        check_settings(backend, language, unknown, emoji, normalizer, number_format, markup, lexicon, max_characters)
        self.backend, self.language, self.unknown = backend, language, unknown
        self.emoji, self.normalizer, self.number_format = emoji, normalizer, number_format
        self.markup, self.lexicon, self.max_characters = markup, lexicon, max_characters
        self.encoder, self.added_tokens_encoder = vocabulary, added or {}
        self.bos_token, self.eos_token, self.pad_token = bos_token, eos_token, pad_token
        self.all_special_tokens = [token for token in (bos_token, eos_token, pad_token) if token is not None]
        special = self.all_special_tokens
        self.separator = " " if any(len(symbol) > 1 for symbol in vocabulary if symbol not in special) else ""

    @classmethod
    def from_pretrained(cls, folder: Path) -> OnnxTokenizer:
        """Read `vocab.json` and `tokenizer_config.json` of a folder."""
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        added = {token["content"]: int(index) for index, token in config.get("added_tokens_decoder", {}).items()}
        taken = inspect.signature(cls.__init__).parameters
        settings = {name: value for name, value in config.items() if name in taken}
        for name in ("bos_token", "eos_token", "pad_token"):
            if isinstance(settings.get(name), dict):
                settings[name] = settings[name]["content"]
        return cls(read_vocabulary(folder / "vocab.json"), added, **settings)

    def get_vocab(self) -> dict[str, int]:
        return self.encoder | self.added_tokens_encoder

    def __call__(self, text: str, *, is_phonemes: bool = False) -> dict[str, list[int]]:
        """The ids of one text, start and end included, as `input_ids`."""
        phonemes = self._known_symbols(text, text) if is_phonemes else self.phonemize(text)
        vocabulary = self.get_vocab()
        symbols = [self.bos_token, *self._split(phonemes), self.eos_token]
        return {"input_ids": [vocabulary[symbol] for symbol in symbols if symbol is not None]}

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        symbols = {index: symbol for symbol, index in self.get_vocab().items()}
        return [symbols[int(index)] for index in ids]
