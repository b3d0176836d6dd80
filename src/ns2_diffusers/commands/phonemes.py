"""`ns2-diffusers phonemes`: shows how a text will be read, without speaking it."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..text.directions import read_directions
from ..text.sentences import split_sentences
from ..untrusted import check_source
from .generate import notes, prepare_tokenizer


def run(args: argparse.Namespace) -> None:
    """Print each sentence with its phonemes, and each word with its phonemes and their source."""
    from ..cli import MODEL_VARIABLE, bundled_voice, read_text
    from ..text.tokenizer import NaturalSpeech2Tokenizer

    text = read_text(args)
    model = args.model or os.environ.get(MODEL_VARIABLE) or bundled_voice()
    check_source(model, revision=args.revision)
    tokenizer = NaturalSpeech2Tokenizer.from_pretrained(model, subfolder="tokenizer", revision=args.revision)
    prepare_tokenizer(tokenizer, args)
    seen: set[str] = set()
    with notes():
        for passage in read_directions(text):
            for sentence in split_sentences(passage.text):
                if not any(character.isalnum() for character in sentence):
                    continue
                if args.guesses:
                    print_guesses(tokenizer, sentence, seen)
                else:
                    print_sentence(tokenizer, sentence)


def print_sentence(tokenizer: Any, sentence: str) -> None:
    print(f"# {' '.join(sentence.split())}")
    print(f"/{tokenizer.phonemize(sentence)}/")
    for word in explained(tokenizer, sentence):
        print(word.spoken, word.phonemes, word.source, *([word.rule] if word.rule else []), sep="\t")
    print()


def print_guesses(tokenizer: Any, sentence: str, seen: set[str]) -> None:
    """Print the words that are in no lexicon, each once, as lines of a lexicon file."""
    if tokenizer.backend not in ("english", "arpabet"):
        raise ValueError(f"the backend {tokenizer.backend} does not tell which words it guesses; English ones do.")
    for word in explained(tokenizer, sentence):
        if word.source == "guess" and word.spoken.lower() not in seen:
            seen.add(word.spoken.lower())
            print(f"{word.spoken}\t/{word.phonemes}/")


def explained(tokenizer: Any, sentence: str) -> list[Any]:
    if tokenizer.backend not in ("english", "arpabet"):
        return []
    return [word for word in tokenizer.explain(sentence) if word.source != "silent"]
