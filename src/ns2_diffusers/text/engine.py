"""Loads hibari's reader of English: without hibari's voices, one table at a time, and with a cache of words.

Its output equals that of `hibari.g2p.G2P`; a test compares them. Each word is looked up once. numpy adds up the tag
weights, in the order in which hibari adds them.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from bisect import bisect_left
from functools import cache, cached_property, lru_cache
from pathlib import Path

HIBARI = "hibari-tts>=0.2.1,<0.3"
# hibari's reader is imported under another package name: `import hibari.g2p` would also import its voices, with
# scipy and onnxruntime, which takes four times as long as everything else.
_PACKAGE = "ns2_diffusers_hibari_g2p"


@cache
def _package():
    """The package `hibari.g2p`."""
    try:
        spec = importlib.util.find_spec("hibari")
    except ValueError:  # sys.modules holds None for hibari
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            f'The english and arpabet backends need hibari-tts: pip install "{HIBARI}". '
            'Without it, backend="espeak", "misaki" and "none" work.'
        )
    folder = Path(spec.submodule_search_locations[0]) / "g2p"
    spec = importlib.util.spec_from_file_location(_PACKAGE, folder / "__init__.py")
    package = importlib.util.module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    try:
        spec.loader.exec_module(package)
    except BaseException:
        del sys.modules[_PACKAGE]
        raise
    return package


def _read(name):
    return gzip.decompress((Path(_package().ASSETS) / name).read_bytes())


class Entries:
    """Entries of a JSON object with sorted keys, each parsed at its look-up. A dictionary needs four times the memory.

    Args:
        text: the object, without spaces between its entries. Its values are strings, or objects without objects.
    """

    def __init__(self, text: bytes):
        import numpy as np

        codes = np.frombuffer(text, np.uint8)
        depth = np.cumsum((codes == ord("{")).astype(np.int8) - (codes == ord("}")), dtype=np.int8)
        commas = np.flatnonzero((codes[:-1] == ord(",")) & (codes[1:] == ord('"')) & (depth[:-1] == 1))
        # Where each key begins, after its quotation mark; the last is where one more key would begin.
        self._starts = np.concatenate([[2], commas + 2, [len(text) + 1]]).astype(np.int32)
        self._text = text

    def __len__(self):
        return len(self._starts) - 1

    def _key(self, start):
        return self._text[start : self._text.index(b'":', start)]

    def get(self, key):
        """The value of a key; None if there is none."""
        wanted = key.encode(errors="surrogatepass")
        place = bisect_left(self._starts, wanted, hi=len(self), key=self._key)
        if place == len(self) or self._key(self._starts[place]) != wanted:
            return None
        begin = self._starts[place] + len(wanted) + 2
        return json.loads(self._text[begin : self._starts[place + 1] - 2])

    def __contains__(self, key):
        return self.get(key) is not None


class _Table:
    """A dictionary of hibari that is loaded at its first use."""

    def __init__(self, name):
        self._name = name

    @cached_property
    def d(self):
        return Entries(_read(self._name))


@cache
def _classes():
    """hibari's classes with lazily loaded tables and with caches."""
    package = _package()

    class Token(package.Tok):
        __slots__ = ()

        def copy(self, text, whitespace, is_head, num_flags, stress, prespace):
            return Token(
                text,
                self.tag,
                whitespace,
                self.phonemes,
                is_head,
                self.alias,
                stress,
                self.currency,
                num_flags,
                prespace,
                self.rating,
            )

    class Table(_Table, package.lexicon.Dict):
        pass

    class Lexicon(package.Lexicon):
        def __init__(self, accent):
            super().__init__({}, {}, accent == "gb")
            self.golds = Table(f"lexicon_{accent}_gold.json.gz")
            self.silvers = Table(f"lexicon_{accent}_silver.json.gz")
            self._lookup = lru_cache(maxsize=50_000)(self._look_up)

        def _look_up(self, text, alias, tag, stress, currency, is_head, *context):
            token = package.Tok(text, tag, alias=alias, stress=stress, currency=currency, is_head=is_head)
            return super().__call__(token, package.Context(*context))

        def __call__(self, token, context):
            return self._lookup(
                token.text,
                token.alias,
                token.tag,
                token.stress,
                token.currency,
                token.is_head,
                context.future_vowel,
                context.future_to,
            )

    class Tokenizer(package.Tokenizer):
        def __init__(self):
            super().__init__(package._load_json("tokenizer_exceptions.json"))
            self.split = lru_cache(maxsize=20_000)(super().split)

    class Tagger(package.Tagger):
        """Parses the tags and weights of a feature at its first use."""

        def __init__(self):
            head, _, weights = _read("tagger.json.gz").decode().partition(',"weights":{"')
            super().__init__(json.loads(head + "}") | {"weights": {}})
            for entry in weights.removesuffix("}}}").split('},"'):
                feature, _, row = entry.partition('":{')
                self.weights[json.loads(f'"{feature}"') if "\\" in feature else feature] = row
            import numpy as np

            # Among tags with equal scores hibari takes the last in alphabetical order; argmax takes the first.
            self._tags = sorted(self.tags, reverse=True)
            self._columns = {tag: column for column, tag in enumerate(self._tags)}
            self._rows: dict = {}
            self._zeros = np.zeros(len(self._tags))

        def _row(self, feature):
            weights = self.weights.get(feature)
            if weights is None:
                return None
            row = self._zeros.copy()
            for tag, weight in json.loads(f"{{{weights}}}").items():
                row[self._columns[tag]] = weight
            self._rows[feature] = row
            return row

        def predict(self, features):
            total = None
            for feature in features:
                row = self._rows.get(feature)
                if row is None and (row := self._row(feature)) is None:
                    continue
                if total is None:
                    total = row.copy()
                else:
                    total += row
            return "NN" if total is None else self._tags[total.argmax()]

    class G2P(package.G2P):
        def __init__(self, british):
            self.lexicon = Lexicon("gb" if british else "us")
            self.tokenizer, self.tagger = Tokenizer(), Tagger()
            self._oov, self.unk, self.british = None, "", british

        def _tokens(self, text):
            pairs = self.tokenizer(text)
            tags = self.tagger([word for word, _ in pairs])
            return [Token(word, tag, space) for (word, space), tag in zip(pairs, tags, strict=True)]

    return G2P


def load_g2p(british: bool):
    """hibari's `G2P` for British or American English.

    Raises:
        ImportError: if hibari-tts is not installed.
    """
    return _classes()(british)
