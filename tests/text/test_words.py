"""Which symbols are whose, and pronunciations within a text."""

import random

import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.text.reader import NothingToSpeakError
from ns2_diffusers.text.sentences import split_sentences


@pytest.fixture(scope="module")
def tokenizer():
    return NaturalSpeech2Tokenizer()


def read(tokenizer, text, **options):
    phonemes, words = tokenizer.read(text, **options)
    symbols = tokenizer._split(phonemes)
    return [(word.text, tokenizer.separator.join(symbols[word.first : word.last])) for word in words]


def test_words_and_their_symbols(tokenizer):
    text = 'He said: "I paid $5 for a 10 km run—really", didn\'t he?'
    assert read(tokenizer, text) == [
        ("He", "hˌi"),
        ("said:", "sˈɛd"),
        ('"I', "ˌI"),
        ("paid", "pˈAd"),
        ("$5", "fˈIv dˈɑləɹz"),
        ("for", "fɔɹ"),
        ("a", "ɐ"),
        ("10 km", "tˈɛn kəlˈɑməTəɹ"),
        ("run—", "ɹˈʌn"),
        ('really",', "ɹˈiᵊli"),
        ("didn't", "dˈɪdᵊnt"),
        ("he?", "hi"),
    ]


def test_arpabet():
    assert read(NaturalSpeech2Tokenizer(backend="arpabet"), "Yes, two dogs.") == [
        ("Yes,", "Y EH1 S"),
        ("two", "T UW1"),
        ("dogs.", "D AO1 G Z"),
    ]


def test_phonemes_are_words_by_their_spaces(tokenizer):
    assert read(tokenizer, "həlˈO, ðˈɛɹ.", is_phonemes=True) == [("həlˈO,", "həlˈO"), ("ðˈɛɹ.", "ðˈɛɹ")]


def test_a_backend_that_does_not_tell_how_it_reads():
    spanish = NaturalSpeech2Tokenizer(backend="espeak", language="es")
    assert [word for word, _ in read(spanish, "Buenos días, señor.")] == ["Buenos", "días,", "señor."]
    # Said as more words than are written.
    ((word, symbols),) = read(spanish, "Cuesta 121 euros.")
    assert word == "Cuesta 121 euros." and symbols.startswith("k") and symbols.endswith("s")


def test_every_sound_is_in_a_word_of_any_text(tokenizer):
    """The match of words and symbols never fails for the backends that tell: no text is one long word."""
    generator = random.Random(26)
    pieces = [
        "Dr. Lee",
        "$3.50",
        "5 p.m.",
        "and/or",
        "3/4",
        "e-mail",
        "NASA's",
        "it's",
        "—",
        "...",
        '"',
        ",",
        "(",
        ")",
    ]
    pieces += [
        "the",
        "well-known",
        "Xyqwert's",
        "2024",
        "10%",
        "[Mia](/mˈiə/)",
        "&",
        "+1 555 0199",
        "a@b.org",
        "\n",
        "IV",
    ]
    for backend in ("english", "arpabet"):
        tokenizer = NaturalSpeech2Tokenizer(backend=backend)
        for _ in range(150):
            text = generator.choice(["", " "]).join(generator.choices(pieces, k=8)) + " so."
            phonemes, words = tokenizer.read(text)
            symbols = tokenizer._split(phonemes)
            inside = {index for word in words for index in range(word.first, word.last)}
            outside = {symbol for index, symbol in enumerate(symbols) if index not in inside}
            assert outside <= set(";:,.!?—…\"“”() '") | {"sp"}, (text, outside)
            assert len(words) > 1 and words[-1].text.endswith("so."), (text, words)


def test_a_word_says_how_it_is_pronounced(tokenizer):
    assert tokenizer.phonemize("We run [Kubernetes](/kˌubəɹnˈɛtɪs/) here.") == "wˌi ɹˈʌn kˌubəɹnˈɛtɪs hˈɪɹ."
    assert tokenizer.phonemize("[Mia](/mˈiə/)'s cat, [Kubernetes](/kˌubəɹnˈɛtɪs/)'s dog") == (
        "mˈiəz kˈæt, kˌubəɹnˈɛtɪsᵻz dˈɔɡ"
    )
    # No rule rewrites the word, and none joins it with its neighbours.
    assert read(tokenizer, "In 10 [km](/kˈAˈɛm/), [2024](/bˈi/).") == [
        ("In", "ɪn"),
        ("10", "tˈɛn"),
        ("km,", "kˈAˈɛm"),
        ("2024.", "bˈi"),
    ]
    word = tokenizer.explain("Hi, [Dr. No](/nˈO/)!")[2]
    assert (word.written, word.phonemes, word.source) == ("[Dr. No](/nˈO/)", "nˈO", "given")
    ids = tokenizer(["a [b](/mˈiə/)"]).input_ids[0]
    assert tokenizer.decode(ids) == "ɐ mˈiə"


def test_the_phonemes_of_a_mark_are_checked(tokenizer):
    with pytest.raises(ValueError, match="'я'"):
        tokenizer.phonemize("Hi [you](/я/)")


def test_marks_in_other_languages():
    spanish = NaturalSpeech2Tokenizer(backend="espeak", language="es")
    plain = spanish.phonemize("Buenos días")
    assert spanish.phonemize("[Kubernetes](/kuβeɾnˈetes/), buenos días") == f"kuβeɾnˈetes, {plain}"
    assert spanish.phonemize("Buenos días [x](/mˈia/).") == f"{plain} mˈia."


def test_links_stay_links_in_markdown():
    assert NaturalSpeech2Tokenizer(markup="markdown").phonemize("[here](/docs/)") == "hˈɪɹ"


def test_a_mark_is_not_cut_and_counts_as_its_word():
    text = "We ask [Dr. No. Yes](/nˈO. jˈɛs/). And so the world goes on and on."
    assert split_sentences(text) == [text[: text.index("And")], text[text.index("And") :]]
    text = "one [two](/tˈutˈutˈutˈutˈutˈu/) three"
    assert split_sentences(text, max_length=13) == [text]
    pieces = split_sentences(text, max_length=5, min_length=1)
    assert "".join(pieces) == text and any("[two](/tˈutˈutˈutˈutˈutˈu/)" in piece for piece in pieces)


def test_the_users_lexicon_has_genitives():
    tokenizer = NaturalSpeech2Tokenizer(lexicon={"siobhan": "ʃəvˈɔn"})
    assert tokenizer.phonemize("Siobhan's cat") == "ʃəvˈɔnz kˈæt"


def test_silence_has_an_error_of_its_own(tokenizer):
    with pytest.raises(NothingToSpeakError):
        tokenizer.read("...")


def test_where_words_are_written(tokenizer):
    text = 'He said: "Dr. Lee paid $5 to [Mia](/mˈiə/)."'
    _, words = tokenizer.read(text)
    written = [text[word.start : word.end] for word in words]
    assert written == ["He", "said:", '"Dr.', "Lee", "paid", "$5", "to", '[Mia](/mˈiə/)."']
