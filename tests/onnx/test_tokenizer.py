"""The tokenizer without transformers gives the same ids as the one with it."""

import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.onnx.tokenizer import OnnxTokenizer
from ns2_diffusers.text.reader import NothingToSpeakError

TEXT = "On 3 May, Mr. Smith paid $5 for [Kubernetes](/kˌubəɹnˈɛtɪs/)."


@pytest.mark.parametrize(
    "settings", [{}, {"backend": "arpabet"}, {"language": "en-gb", "unknown": "drop"}, {"bos_token": None}]
)
def test_ids_and_words_are_the_same(tmp_path, settings):
    original = NaturalSpeech2Tokenizer(lexicon={"smith": "smˈIθ"}, **settings)
    original.add_tokens(["[cough]"])
    original.save_pretrained(tmp_path)
    ours = OnnxTokenizer.from_pretrained(tmp_path)
    assert ours(TEXT)["input_ids"] == original(TEXT)["input_ids"]
    assert ours.read(TEXT) == original.read(TEXT)
    assert ours.fingerprint == original.fingerprint
    phonemes = original.phonemize("Yes, no.")
    ids = ours(phonemes, is_phonemes=True)["input_ids"]
    assert ids == original(phonemes, is_phonemes=True)["input_ids"]
    assert ours.convert_ids_to_tokens(ids) == original.convert_ids_to_tokens(ids)


def test_errors_are_the_same(tmp_path):
    NaturalSpeech2Tokenizer().save_pretrained(tmp_path)
    ours = OnnxTokenizer.from_pretrained(tmp_path)
    with pytest.raises(NothingToSpeakError):
        ours("…")
    with pytest.raises(ValueError, match="has no place"):
        ours("h%", is_phonemes=True)
    with pytest.raises(TypeError):
        ours(3)
    with pytest.raises(ValueError, match="backend"):
        OnnxTokenizer({"a": 0}, backend="french")
