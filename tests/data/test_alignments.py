import numpy as np
import pytest

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.data.alignments import (
    check_phones_fit,
    end_with_voice,
    mark_pauses,
    read_textgrid,
    seconds_to_frames,
    voiced_vowels,
)

# The output of the Montreal Forced Aligner: "Hi" and "yes" with a pause between them and silence around them.
PHONES = [("", 0.0, 0.3), ("HH", 0.3, 0.42), ("AY1", 0.42, 0.6), ("", 0.6, 0.75)]
PHONES += [("Y", 0.75, 0.8), ("EH1", 0.8, 0.95), ("S", 0.95, 1.1), ("", 1.1, 1.25)]


def textgrid(path, phones, tier="phones"):
    """The long form of Praat's format."""
    end = phones[-1][2]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", "size = 1", "item []:", "    item [1]:", '        class = "IntervalTier"']
    lines += [f'        name = "{tier}"', "        xmin = 0", f"        xmax = {end}"]
    lines += [f"        intervals: size = {len(phones)}"]
    for number, (label, start, stop) in enumerate(phones, start=1):
        lines += [f"        intervals [{number}]:", f"            xmin = {start}", f"            xmax = {stop}"]
        lines += [f'            text = "{label}"']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_long_spaces_become_commas():
    symbols = ["<s>", *"aː ˈb c, d", "</s>"]
    durations = [9, 3, 1, 12, 1, 2, 5, 2, 1, 20, 3, 9]
    marked, frames = mark_pauses(symbols, durations, 6)
    # The first space is a pause, the second is short, and the third has its comma already.
    assert marked == ["<s>", *"aː, ˈb c, d", "</s>"]
    assert frames == [9, 3, 1, 11, 1, 1, 2, 5, 2, 1, 20, 3, 9]
    assert sum(frames) == sum(durations)
    assert mark_pauses(symbols, durations, 13) == (symbols, durations)


def test_the_share_of_voiced_vowels():
    symbols, durations = ["<s>", "h", "ˈ", "I", " ", "ɛ", "s", "</s>"], [2, 2, 1, 4, 1, 2, 3, 2]
    f0 = np.zeros(17)
    assert voiced_vowels(symbols, durations, f0) == 0
    f0[5:9] = 100
    assert voiced_vowels(symbols, durations, f0) == 0.5
    f0[10] = 100
    assert voiced_vowels(symbols, durations, f0) == 0.75
    assert voiced_vowels(["AH0", "S"], [1, 1], np.array([90.0, 0.0])) == 1
    assert voiced_vowels(["s", "I"], [1, 0], np.array([90.0])) == 0
    assert voiced_vowels(["s"], [1], np.array([90.0])) == 0


@pytest.mark.parametrize(("durations", "least"), [([1, 2], 5), ([1, 2, 3], 1)])
def test_pauses_of_what_does_not_fit(durations, least):
    with pytest.raises(ValueError, match="a duration for each symbol, and 2 frames"):
        mark_pauses(list("a b"), durations, least)


@pytest.fixture
def praatio():
    pytest.importorskip("praatio", reason="the train extra is not installed")


def test_arpabet_phones_become_the_phonemes(tmp_path, praatio):
    tokenizer = NaturalSpeech2Tokenizer(backend="arpabet")
    phonemes, seconds = read_textgrid(textgrid(tmp_path / "a.TextGrid", PHONES), tokenizer)
    assert phonemes == "HH AY1 sp Y EH1 S"
    # <s>, the six symbols, </s>
    assert seconds == pytest.approx([0.3, 0.12, 0.18, 0.15, 0.05, 0.15, 0.15, 0.15])
    assert len(tokenizer(phonemes, is_phonemes=True)["input_ids"]) == len(seconds)


def test_speech_from_end_to_end_leaves_no_time_for_start_and_end(tmp_path, praatio):
    path = textgrid(tmp_path / "a.TextGrid", [("AY1", 0.0, 0.5), ("sil", 0.5, 0.6), ("spn", 0.6, 0.9)], "s1 - phones")
    phonemes, seconds = read_textgrid(path, NaturalSpeech2Tokenizer(backend="arpabet"))
    assert phonemes == "AY1 sp spn" and seconds == pytest.approx([0, 0.5, 0.1, 0.3, 0])


def test_ipa_phones_of_several_signs_share_their_time(tmp_path, praatio):
    tokenizer = NaturalSpeech2Tokenizer(backend="none")
    path = textgrid(tmp_path / "a.TextGrid", [("h", 0.0, 0.1), ("aj", 0.1, 0.5), ("", 0.5, 0.6), ("tʃ", 0.6, 0.9)])
    phonemes, seconds = read_textgrid(path, tokenizer)
    assert phonemes == "haj tʃ"
    assert seconds == pytest.approx([0, 0.1, 0.2, 0.2, 0.1, 0.15, 0.15, 0])


def test_a_vocabulary_without_start_and_end_writes_the_silence_around(tmp_path, praatio):
    tokenizer = NaturalSpeech2Tokenizer(backend="arpabet", bos_token=None, eos_token=None)
    phonemes, seconds = read_textgrid(textgrid(tmp_path / "a.TextGrid", PHONES), tokenizer)
    assert phonemes == "sp HH AY1 sp Y EH1 S sp"
    assert seconds == pytest.approx([0.3, 0.12, 0.18, 0.15, 0.05, 0.15, 0.15, 0.15])


def test_symbols_that_the_backend_does_not_write_are_refused():
    for backend in ("arpabet", "none"):
        check_phones_fit(NaturalSpeech2Tokenizer(backend=backend))
    with pytest.raises(ValueError, match='"arpabet"'):
        check_phones_fit(NaturalSpeech2Tokenizer())


def test_damaged_textgrids_are_refused(tmp_path, praatio):
    tokenizer = NaturalSpeech2Tokenizer(backend="arpabet")
    whole = textgrid(tmp_path / "a.TextGrid", PHONES).read_text()
    for damaged in ("", "no TextGrid at all", whole[: len(whole) // 2]):
        (tmp_path / "b.TextGrid").write_text(damaged)
        with pytest.raises(ValueError, match="b.TextGrid"):
            read_textgrid(tmp_path / "b.TextGrid", tokenizer)
    with pytest.raises(ValueError, match="exactly one of phones"):
        read_textgrid(textgrid(tmp_path / "c.TextGrid", PHONES, tier="words"), tokenizer)
    with pytest.raises(ValueError, match="nothing but silence"):
        read_textgrid(textgrid(tmp_path / "d.TextGrid", [("", 0.0, 1.0)]), tokenizer)


def test_boundaries_are_rounded_not_durations():
    # Symbols of 10 ms at 50 frames per second: every second symbol gets a frame.
    frames = seconds_to_frames([0.01] * 10, 16000, 320, start=0, samples=1600, n_frames=5)
    assert frames.tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    # Ends at 25, 75, 100 ms are 1.25, 3.75, 5 frames.
    assert seconds_to_frames([0.025, 0.05, 0.025], 16000, 320, 0, 1600, 5).tolist() == [1, 3, 1]


def test_the_last_symbol_ends_with_the_recording():
    # 0.1 s and 5 samples need a sixth frame, whatever end the aligner gives.
    for last in (0.03, 0.05, 0.09):
        assert seconds_to_frames([0.05, last], 16000, 320, 0, 1605, 6).sum() == 6


def test_what_was_trimmed_counts_for_nothing():
    # 40 ms are cut from the start and 20 ms from the end: ends at 100, 160, 240, 300 ms become 60, 120, 200, 240.
    frames = seconds_to_frames([0.1, 0.06, 0.08, 0.06], 16000, 320, start=640, samples=3840, n_frames=12)
    assert frames.tolist() == [3, 3, 4, 2]
    # A symbol that lay completely in the trimmed part has no frame.
    assert seconds_to_frames([0.02, 0.1], 16000, 320, start=640, samples=1280, n_frames=4).tolist() == [0, 4]


def test_overlapping_chunks_have_more_frames_than_hops():
    seconds = np.full(100, 0.03)
    frames = seconds_to_frames(seconds, 48000, 320, start=0, samples=144000, n_frames=455)
    assert frames.sum() == 455 and set(frames.tolist()) <= {4, 5}


@pytest.mark.parametrize(
    ("symbols", "durations", "voiced", "wanted"),
    [
        # Voice in frames 1 to 4 of 10: the vowel begins at frame 2 and keeps 3 of its 6 frames.
        ("<s> t u . </s>", [1, 1, 6, 1, 1], 5, [1, 1, 3, 4, 1]),
        ("<s> t u </s>", [1, 1, 6, 2], 5, [1, 1, 3, 5]),
        # A length mark belongs to the vowel.
        ("<s> t u ː . </s>", [1, 1, 2, 4, 1, 1], 5, [1, 1, 2, 1, 4, 1]),
        ("<s> t u ː . </s>", [1, 1, 4, 2, 1, 1], 4, [1, 1, 2, 0, 5, 1]),
        # A vowel without any voice keeps a frame.
        ("<s> t u . </s>", [1, 1, 6, 1, 1], 2, [1, 1, 1, 6, 1]),
        ("<s> HH UW1 sp </s>", [1, 1, 6, 1, 1], 5, [1, 1, 3, 4, 1]),
        # Nothing is moved: the voice lasts to the end; the last phoneme is a consonant; no voice; nothing follows.
        ("<s> t u . </s>", [1, 1, 6, 1, 1], 8, [1, 1, 6, 1, 1]),
        ("<s> u t . </s>", [1, 3, 4, 1, 1], 3, [1, 3, 4, 1, 1]),
        ("<s> t u . </s>", [1, 1, 6, 1, 1], 0, [1, 1, 6, 1, 1]),
        ("t u ː", [2, 2, 6], 4, [2, 2, 6]),
        ("<s> . </s>", [3, 4, 3], 5, [3, 4, 3]),
    ],
)
def test_a_last_vowel_ends_with_the_voice(symbols, durations, voiced, wanted):
    f0 = np.zeros(10)
    f0[1:voiced] = 100.0
    assert end_with_voice(symbols.split(), np.array(durations), f0).tolist() == wanted
