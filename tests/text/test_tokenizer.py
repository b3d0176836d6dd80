"""The tokenizer as transformers, diffusers, datasets and a training corpus use it."""

import csv
import json
import multiprocessing
import pickle
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.text.reader import SYMBOLS

ROOT = Path(__file__).parents[2]
TRANSCRIPTS = ROOT / "examples/asterisk/metadata.csv"


@pytest.fixture(scope="module")
def tokenizer():
    return NaturalSpeech2Tokenizer()


def test_every_symbol_has_one_id(tokenizer):
    assert len(set(SYMBOLS)) == len(SYMBOLS)
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert len(tokenizer) == tokenizer.vocab_size == len(SYMBOLS) + 2
    assert tokenizer.pad_token_id == 0
    assert all(unicodedata.normalize("NFD", c) == c for c in SYMBOLS if c != "ç")


def test_start_and_end_surround_one_id_a_symbol(tokenizer):
    vocab = tokenizer.get_vocab()
    expected = [vocab["<s>"], *(vocab[c] for c in "hˈI!"), vocab["</s>"]]
    assert tokenizer("Hi!").input_ids == expected
    assert tokenizer("hˈI!", is_phonemes=True).input_ids == expected
    assert tokenizer.encode("Hi!") == expected
    assert tokenizer("Hi!", add_special_tokens=False).input_ids == expected[1:-1]
    assert tokenizer("Hi!", return_special_tokens_mask=True).special_tokens_mask == [1, 0, 0, 0, 0, 1]
    assert list(tokenizer("Hi!").keys()) == ["input_ids", "attention_mask"]


def test_a_batch_is_its_items_padded(tokenizer):
    texts = ["Hello there.", "Hi!", "So it is."]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert batch.input_ids.dtype == torch.int64
    for row, mask, text in zip(batch.input_ids, batch.attention_mask, texts, strict=True):
        alone = tokenizer(text, return_tensors="pt").input_ids[0]
        assert torch.equal(row[mask.bool()], alone)
        assert (row[~mask.bool()] == 0).all()
    assert tokenizer.batch_decode(batch.input_ids) == [tokenizer.phonemize(text) for text in texts]
    assert tokenizer(("Hi!", "So."), padding=True).input_ids == tokenizer(["Hi!", "So."], padding=True).input_ids


def test_decode_leaves_out_silence_unless_asked(tokenizer):
    ids = tokenizer("Hi!").input_ids + [0, 0]
    assert tokenizer.decode(ids) == "hˈI!"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>hˈI!</s>$$"


def test_combining_marks_are_symbols_of_their_own(tokenizer):
    ids = tokenizer("bɔ\u0303ʒuʁ ã", is_phonemes=True).input_ids
    assert len(ids) == 9 + 2  # ã, given as one code point, becomes two
    assert tokenizer.decode(ids) == "bɔ\u0303ʒuʁ a\u0303"
    assert tokenizer.decode(tokenizer("ça", is_phonemes=True).input_ids) == "ça"
    assert tokenizer("gɡ", is_phonemes=True).input_ids[1] == tokenizer.get_vocab()["ɡ"]


@pytest.mark.parametrize("backend", ["english", "none"])
def test_saved_and_loaded(backend, tmp_path):
    tokenizer = NaturalSpeech2Tokenizer(backend=backend, language="en-gb", unknown="drop")
    tokenizer.save_pretrained(tmp_path)
    loaded = NaturalSpeech2Tokenizer.from_pretrained(tmp_path)
    assert (loaded.backend, loaded.language, loaded.unknown) == (backend, "en-gb", "drop")
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded("Go").input_ids == tokenizer("Go").input_ids
    assert json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))["$"] == 0


def test_a_vocabulary_of_ones_own(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"$": 0, "a": 1, "b": 2, "<s>": 3, "</s>": 4}))
    tokenizer = NaturalSpeech2Tokenizer(path, backend="none")
    assert tokenizer("ba").input_ids == [3, 2, 1, 4]
    with pytest.raises(ValueError, match="'c'"):
        tokenizer("abc")


def test_added_tokens_have_ids_of_their_own(tmp_path):
    tokenizer = NaturalSpeech2Tokenizer()
    size = tokenizer.vocab_size
    assert tokenizer.add_tokens("[laugh]") == tokenizer.add_tokens(["[cough]", "⁂"]) - 1 == 1
    assert tokenizer.add_tokens(["[laugh]", "ə"]) == 0  # both are there
    added = [tokenizer.convert_tokens_to_ids(token) for token in ("[laugh]", "[cough]", "⁂")]
    assert added == [size, size + 1, size + 2]
    assert (len(tokenizer), tokenizer.vocab_size) == (size + 3, size)
    ids = tokenizer("hˈI[laugh] ⁂", is_phonemes=True).input_ids
    assert ids[4:-1] == [size, tokenizer.get_vocab()[" "], size + 2]
    assert tokenizer.decode(ids) == "hˈI[laugh] ⁂"
    assert tokenizer.fingerprint != NaturalSpeech2Tokenizer().fingerprint
    tokenizer.save_pretrained(tmp_path)
    loaded = NaturalSpeech2Tokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab() and len(loaded) == len(tokenizer)
    assert loaded("hˈI[cough]", is_phonemes=True).input_ids[4] == size + 1
    assert loaded.add_tokens("[sigh]") == 1 and loaded.convert_tokens_to_ids("[sigh]") == size + 3


def test_the_second_argument_is_a_pair_as_in_transformers(tokenizer):
    first, second = tokenizer("Hi!").input_ids, tokenizer("So.").input_ids
    assert tokenizer("Hi!", "So.").input_ids == first[:-1] + second[1:]
    assert tokenizer(["Hi!"], ["So."]).input_ids == [first[:-1] + second[1:]]
    with pytest.raises(TypeError, match="Expected a text"):
        tokenizer("hˈI!", True)
    with pytest.raises(TypeError, match="positional"):
        tokenizer("Hi!", "So.", True)
    with pytest.raises(ValueError, match="as many items"):
        tokenizer(["Hi!", "So."], ["Go."])
    with pytest.raises(ValueError, match="as many items"):
        tokenizer(["Hi!"], "Go.")


def test_auto_tokenizer_knows_it(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert type(loaded) is NaturalSpeech2Tokenizer and loaded.fingerprint == tokenizer.fingerprint


def test_pickled(tokenizer):
    tokenizer("Hi!")  # with the phonemizer already loaded
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy("Hi!").input_ids == tokenizer("Hi!").input_ids
    assert copy.fingerprint == tokenizer.fingerprint


def read_into(answers, tokenizer, text):
    answers.put(tokenizer(text)["input_ids"])


UNKNOWN = "Ask Zblorfen, who paid $5."


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_read_while_threads_of_the_parent_do(tokenizer, method):
    """The network for unknown words, which a child inherits by fork in the middle of its work, goes on there."""
    if method == "fork" and sys.platform == "win32":
        pytest.skip("there is no fork")
    wanted, context, ended = tokenizer(UNKNOWN)["input_ids"], multiprocessing.get_context(method), threading.Event()

    def read_on():
        number = 0
        while not ended.is_set():
            number += 1
            tokenizer("Ask Vb" + "aeiou"[number % 5] + "rfq" + "lmnrs"[number // 5 % 5] + "en.")

    threads = [threading.Thread(target=read_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4 if method == "fork" else 1):
            answers = context.Queue()
            child = context.Process(target=read_into, args=(answers, tokenizer, UNKNOWN))
            child.start()
            try:
                assert answers.get(timeout=300) == wanted
            finally:
                child.kill()
                child.join()
    finally:
        ended.set()
        for thread in threads:
            thread.join()


FIRST_USE = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from ns2_diffusers.text.phonemizers import read
sys.setswitchinterval(1e-6)
barrier = threading.Barrier(8)
def first(number):
    barrier.wait()
    return read("It costs $5.", "english", "en-us")[0]
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(first, range(8)))))
"""


def test_many_threads_may_be_the_first_to_read():
    done = subprocess.run([sys.executable, "-c", FIRST_USE], capture_output=True, text=True, timeout=300)
    assert done.stdout == "1\n", done.stderr


def test_fingerprint_follows_what_ids_mean(tokenizer, tmp_path):
    assert tokenizer.fingerprint == NaturalSpeech2Tokenizer(unknown="drop").fingerprint
    (tmp_path / "vocab.json").write_text(json.dumps({c: i for i, c in enumerate(["$", *"ab", "<s>", "</s>"])}))
    others = [
        NaturalSpeech2Tokenizer(language="en-gb"),
        NaturalSpeech2Tokenizer(backend="none"),
        NaturalSpeech2Tokenizer(tmp_path / "vocab.json"),
        NaturalSpeech2Tokenizer(eos_token="<end>"),
    ]
    assert len({tokenizer.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize("text", ["", "   ", "?!", "...", "\n"])
def test_nothing_to_speak(tokenizer, text):
    with pytest.raises(ValueError, match="nothing to speak"):
        tokenizer(text)
    with pytest.raises(ValueError, match="nothing to speak"):
        tokenizer(["Hi!", text])


def test_what_cannot_be_read_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"'😀' \(GRINNING FACE\).*drop"):
        NaturalSpeech2Tokenizer(emoji="error")("Hi 😀")
    with pytest.raises(ValueError, match="CYRILLIC SMALL LETTER O"):
        tokenizer("Москва")
    with pytest.raises(ValueError, match=r"'\$' \(DOLLAR SIGN\), '<' .*phoneme symbols"):
        tokenizer("həl$O<s>", is_phonemes=True)


def test_what_cannot_be_read_is_dropped_with_a_warning():
    tokenizer = NaturalSpeech2Tokenizer(unknown="drop")
    with pytest.warns(UserWarning, match="GRINNING FACE"):
        assert tokenizer("Hi 😀 there.").input_ids == tokenizer("Hi there.").input_ids
    with pytest.warns(UserWarning, match="'#'"):
        assert tokenizer.decode(tokenizer("h#I", is_phonemes=True).input_ids) == "hI"
    with pytest.warns(UserWarning, match="CJK"), pytest.raises(ValueError, match="nothing to speak"):
        tokenizer("你好")


def test_emoji_are_skipped_named_or_an_error(tokenizer):
    with pytest.warns(UserWarning, match="GRINNING FACE.*name"):
        assert tokenizer("Hi 😀 there.").input_ids == tokenizer("Hi there.").input_ids
    named = NaturalSpeech2Tokenizer(emoji="name")
    assert named.phonemize("Hi 😀.") == named.phonemize("Hi grinning face.")


@pytest.mark.parametrize(
    ("emoji", "name"),
    [
        ("❤️", "red heart"),
        ("👍🏽", "thumbs up"),
        ("🇫🇷", "flag FR"),
        ("👩\u200d👩\u200d👧", "woman woman girl"),
        ("❤️\u200d🔥", "red heart fire"),
    ],
    ids=["selector", "skin tone", "flag", "family", "joined"],
)
def test_an_emoji_of_several_characters_is_one(emoji, name, tokenizer):
    with pytest.warns(UserWarning) as warnings:
        assert tokenizer.phonemize(f"Hi {emoji} there {emoji}.") == tokenizer.phonemize("Hi there.")
    assert [str(w.message).count(repr(emoji)) for w in warnings] == [1]
    named = NaturalSpeech2Tokenizer(emoji="name")
    assert named.phonemize(f"Hi {emoji}.") == named.phonemize(f"Hi {name}.")


def test_explain_tells_how_each_word_is_read(tokenizer):
    words = tokenizer.explain("It cost $5 at 1630 Elm St. in Xyqwert.")
    assert [w.written for w in words][:4] == ["It", "cost", "$5", "$5"]
    assert {w.spoken: w.rule for w in words}["dollars"] == "money"
    assert {w.spoken: w.rule for w in words}["Street"] == "abbreviation"
    assert {w.spoken: w.source for w in words}["Xyqwert"] == "guess"
    assert all(w.written == "It cost $5 at 1630 Elm St. in Xyqwert."[w.start : w.end] for w in words)


def test_a_lexicon_comes_first(tmp_path):
    tokenizer = NaturalSpeech2Tokenizer(lexicon={"xyqwert": "zˈIkwɜɹt"})
    assert tokenizer.phonemize("Hi Xyqwert.").endswith("zˈIkwɜɹt.")
    tokenizer.save_pretrained(tmp_path)
    assert NaturalSpeech2Tokenizer.from_pretrained(tmp_path).phonemize("xyqwert") == "zˈIkwɜɹt"
    with pytest.raises(TypeError, match="words and their phonemes"):
        NaturalSpeech2Tokenizer(lexicon=["a"])
    with pytest.raises(ValueError, match="takes no lexicon"):
        NaturalSpeech2Tokenizer(backend="none", lexicon={"a": "b"})


def test_markup_number_format_and_length():
    markdown, html = NaturalSpeech2Tokenizer(markup="markdown"), NaturalSpeech2Tokenizer(markup="html")
    plain = NaturalSpeech2Tokenizer()
    assert markdown.phonemize("**Hi** [there](http://x.org).") == plain.phonemize("Hi there.")
    assert html.phonemize("<p>Tom &amp; Ann</p><script>x()</script>") == plain.phonemize("Tom & Ann")
    assert NaturalSpeech2Tokenizer(number_format="comma").phonemize("3,14") == plain.phonemize("3.14")
    with pytest.raises(ValueError, match="max_characters is 5"):
        NaturalSpeech2Tokenizer(max_characters=5)("Hello there.")
    for options in (
        {"emoji": "x"},
        {"markup": "x"},
        {"number_format": "x"},
        {"normalizer": "x"},
        {"max_characters": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            NaturalSpeech2Tokenizer(**options)


@pytest.mark.parametrize("text", ["\x01\x02", "\x00", "\u200b\ufeff"])
def test_control_characters_alone_are_an_error(tokenizer, text):
    with pytest.raises(ValueError, match="nothing to speak"):
        tokenizer(text)
    with pytest.raises(ValueError, match="nothing to speak|has no place"):
        tokenizer(text, is_phonemes=True)


@pytest.mark.parametrize("text", ["{}", "${}", "{}th", "{}%", "1/{}", "{}:30", "{} km", "-{}.5"])
def test_numbers_of_any_length_are_read(tokenizer, text):
    assert "wˈʌn" in tokenizer.phonemize(text.format("1" * 60))


@pytest.mark.parametrize("text", [5, None, b"Hi", ["Hi", 5], [["Hi", "there"]], {"text": "Hi"}])
def test_only_text_is_taken(tokenizer, text):
    with pytest.raises(TypeError, match="Expected a text"):
        tokenizer(text)


def test_bad_choices(tokenizer):
    with pytest.raises(ValueError, match="no phonemizer backend 'festival'"):
        NaturalSpeech2Tokenizer(backend="festival")
    with pytest.raises(ValueError, match="'de'"):
        NaturalSpeech2Tokenizer(language="de")
    with pytest.raises(ValueError, match="'ignore'"):
        NaturalSpeech2Tokenizer(unknown="ignore")
    with pytest.raises(ValueError, match="batch of texts is empty"):
        tokenizer([])
    with pytest.raises(ValueError, match="no token 9999"):
        tokenizer.decode([9999])


def test_ids_stand_beside_the_corpus_durations(tokenizer, corpus):
    rows = [json.loads(line) for line in (corpus / "durations.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 38
    for row in rows:
        ids = tokenizer(row["phonemes"], is_phonemes=True).input_ids
        assert len(ids) == len(row["durations"])
        assert tokenizer.decode(ids) == row["phonemes"]


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="examples/asterisk is not in this checkout")
def test_real_transcripts_are_read(tokenizer):
    with TRANSCRIPTS.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
        assert len(ids) - 2 == len(tokenizer.phonemize(text)) >= len(text) / 3
