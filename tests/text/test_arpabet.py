"""CMU's symbols: their order, and words as its dictionary has them."""

import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.text.arpabet import SYMBOLS, to_arpabet

# As the CMU Pronouncing Dictionary has these words (the first of its readings, or the one meant here).
WORDS = {
    "hello": "HH AH0 L OW1",
    "there": "DH EH1 R",
    "better": "B EH1 T ER0",
    "bird": "B ER1 D",
    "around": "ER0 AW1 N D",
    "hurry": "HH ER1 IY0",
    "judge": "JH AH1 JH",
    "church": "CH ER1 CH",
    "measure": "M EH1 ZH ER0",
    "thing": "TH IH1 NG",
    "boy": "B OY1",
    "fire": "F AY1 ER0",
    "little": "L IH1 T AH0 L",
    "button": "B AH1 T AH0 N",
    "frightened": "F R AY1 T AH0 N D",
    "roses": "R OW1 Z IH0 Z",
    "where": "W EH1 R",
    "university": "Y UW2 N AH0 V ER1 S AH0 T IY0",
    "good": "G UH1 D",
    "yes": "Y EH1 S",
    "thought": "TH AO1 T",
    "father": "F AA1 DH ER0",
    "cat": "K AE1 T",
    "day": "D EY1",
    "shoe": "SH UW1",
    "five": "F AY1 V",
}


@pytest.fixture(scope="module")
def tokenizer():
    return NaturalSpeech2Tokenizer(backend="arpabet", bos_token=None, eos_token=None)


def test_the_84_symbols_stand_in_cmus_order():
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 89
    assert SYMBOLS[:8] == ["AA", "AA0", "AA1", "AA2", "AE", "AE0", "AE1", "AE2"]
    places = {"B": 24, "CH": 25, "D": 26, "DH": 27, "EH": 28, "ER1": 34, "HH": 42, "NG": 56, "ZH": 83}
    assert {symbol: SYMBOLS.index(symbol) for symbol in places} == places
    assert SYMBOLS[84:] == ["sp", "spn", "sil", "<s>", "</s>"]


@pytest.mark.parametrize("word, phonemes", WORDS.items())
def test_words_as_the_dictionary_has_them(tokenizer, word, phonemes):
    assert tokenizer.phonemize(word) == phonemes


def test_small_words_keep_the_stress_they_have_alone(tokenizer):
    assert tokenizer.phonemize("It is for you and he can go to the house.") == (
        "IH1 T IH1 Z F AO1 R Y UW1 AE1 N D HH IY1 K AE1 N G OW1 T AH0 DH AH0 HH AW1 S"
    )


@pytest.mark.parametrize(
    "text",
    ["Yes, no", "Yes -- no!", "(Yes) no!", "Yes… no?", "“Yes”; ‘no’", '..."Yes: no"...'],
)
def test_punctuation_between_words_is_a_pause(tokenizer, text):
    assert tokenizer.phonemize(text) == "Y EH1 S sp N OW1"


def test_quotation_marks_and_hyphens_of_words_are_none(tokenizer):
    assert tokenizer.phonemize("the 'good' cat's day") == "DH AH0 G UH1 D K AE1 T S D EY1"


def test_what_is_no_american_symbol_stays_to_be_named(tokenizer):
    assert to_arpabet("ɡˌQ") == "G Q"
    with pytest.raises(ValueError, match="'Q'.*phoneme symbols"):
        tokenizer("G Q", is_phonemes=True)


def test_ids_are_cmus_and_nothing_surrounds_them(tokenizer):
    assert tokenizer("Hello, there.").input_ids == [42, 9, 53, 59, 84, 27, 30, 66]
    batch = tokenizer(["Hello, there.", "Yes."], padding=True, return_tensors="pt")
    assert batch.input_ids[1].tolist() == [81, 30, 67] + [89] * 5
    assert tokenizer.batch_decode(batch.input_ids) == ["HH AH0 L OW1 sp DH EH1 R", "Y EH1 S"]
    assert len(tokenizer) == 90


def test_phonemes_are_symbols_with_spaces_between(tokenizer):
    assert tokenizer("  HH AY1\n", is_phonemes=True).input_ids == [42, 22]
    with pytest.raises(ValueError, match="'AX', 'hh' in"):
        tokenizer("HH AX hh", is_phonemes=True)
    for nothing in ("sp", "sil sp", "<s>", "."):
        with pytest.raises(ValueError):
            tokenizer(nothing, is_phonemes=True)
    dropping = NaturalSpeech2Tokenizer(backend="arpabet", unknown="drop")
    with pytest.warns(UserWarning, match="'AX'"):
        assert dropping.decode(dropping("HH AX AY1", is_phonemes=True).input_ids) == "HH AY1"


def test_start_and_end_for_models_that_learn_silence():
    tokenizer = NaturalSpeech2Tokenizer(backend="arpabet")
    encoded = tokenizer("Yes", return_special_tokens_mask=True)
    assert encoded.input_ids == [87, 81, 30, 67, 88]
    assert encoded.special_tokens_mask == [1, 0, 0, 0, 1]
    with pytest.raises(ValueError, match="'<s>'"):
        tokenizer("<s> Y EH1 S", is_phonemes=True)


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = NaturalSpeech2Tokenizer.from_pretrained(tmp_path)
    assert loaded.bos_token is None and loaded.eos_token is None
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded("Yes, no.").input_ids == tokenizer("Yes, no.").input_ids


def test_real_transcripts_are_read(tokenizer, transcripts):
    assert len(transcripts) == 20
    for text, ids in zip(transcripts.values(), tokenizer(list(transcripts.values())).input_ids, strict=True):
        assert len(ids) >= len(text) / 3


def test_american_only():
    with pytest.raises(ValueError, match="arpabet backend speaks en-us, not 'en-gb'.*espeak"):
        NaturalSpeech2Tokenizer(backend="arpabet", language="en-gb")
