"""Where sentences end, where long ones are cut, and that nothing gets lost."""

import random

import pytest

from ns2_diffusers.text.sentences import (
    CLAUSE_PAUSE,
    PARAGRAPH_PAUSE,
    SENTENCE_PAUSE,
    pause_after,
    split_sentences,
)

# Each list is what its joined text must be split into.
SENTENCES = [
    ["It rained all day. ", "Nobody minded much! ", "Did the cat mind? ", "It slept through it."],
    ["Dr. Smith paid $3.50 to Mr. Jones. ", "He was very glad of it."],
    ["He left at 5 p.m. and went home. ", "She stayed with the dog."],
    ["He arrived at 5 p.m. ", "Then the lights went out."],
    ["It runs at 3.5 GHz on example.com, e.g. in May. ", "That is what they said."],
    ["The U.S. Army came over the hill. ", "J. R. R. Tolkien saw it."],
    ["He had been to the U.S. ", "They had not been there."],
    ["He lives on Main St. ", "The house near St. Paul is red."],
    ['"Is it really raining?" she said. ', '"It is raining indeed." ', "(So it was, all day.)"],
    ["Bring paper, pens, etc. to the room. ", "Bring water, bread, etc. ", "Everything else is there."],
    ["Wait… what was that over there? ", "It was the wind… ", "And then it was gone."],
    ["See No. 5 and Fig. 3 on the wall. ", "There is no more to see."],
    ["1. Buy milk for the cat. ", "2. Give the cat its milk."],
    ["A heading\n\n", "A first paragraph with a\nbroken line. ", "Its end.\n \n\n", "The last paragraph."],
    ["今天天气真的非常非常好啊！", "我们一起去公园散步好不好？", "好的好的我们现在就出发吧。"],
    ["   Leading spaces stay here.  ", "So do those at the end.   "],
]


@pytest.mark.parametrize("sentences", SENTENCES)
def test_sentences(sentences):
    assert split_sentences("".join(sentences), min_length=1) == sentences


def test_short_fragments_join_their_neighbours():
    assert split_sentences("Yes! No. I do not think that it rained.") == ["Yes! No. I do not think that it rained."]
    assert split_sentences("It did not rain at all. No!") == ["It did not rain at all. No!"]
    assert split_sentences("Yes!\n\nIt did not rain at all.") == ["Yes!\n\n", "It did not rain at all."]
    assert split_sentences("It did not rain.\n\n***\n\nIt snowed.") == [
        "It did not rain.\n\n***\n\n",
        "It snowed.",
    ]
    assert split_sentences("Yes! It rained all day.", max_length=19) == ["Yes! ", "It rained all day."]


def test_long_sentences_are_cut_where_one_would_breathe():
    text = "the first half, with a comma, ends here; the second half, with another comma, ends there"
    assert split_sentences(text, max_length=60) == [
        text[: text.index("the second")],
        text[text.index("the second") :],
    ]
    text = "a sentence without any semicolon, which has a comma, goes on"
    assert split_sentences(text, max_length=40)[0] == "a sentence without any semicolon, "
    text = "a line that has no marks at all but conjunctions and more of them"
    assert split_sentences(text, max_length=40)[0] == "a line that has no marks at all "
    assert split_sentences("one two three four five six", max_length=14) == [
        "one two three ",
        "four five six",
    ]
    assert split_sentences("x" * 25, max_length=10) == ["x" * 10, "x" * 10, "x" * 5]


def test_a_hard_cut_keeps_accents_on_their_letters():
    text = "e\u0301" * 12
    assert split_sentences(text, max_length=9) == ["e\u0301" * 4] * 3


def test_nothing_gets_lost_from_random_text():
    generator = random.Random(2304)
    alphabet = 'abcDE IÉ\u0301\u200d😀的3.,;:—–-…!?。！，\n \t"”’)(' + "   "
    words = ["Dr. ", "e.g. ", "U.S. ", "3.5", "etc. ", "No. ", "and ", "\n\n", "The ", "word "]
    for _ in range(3000):
        pieces = (generator.choice([generator.choice(alphabet), generator.choice(words)]) for _ in range(60))
        text = "".join(pieces)[: generator.randrange(200)]
        max_length, min_length = generator.randrange(1, 80), generator.randrange(20)
        parts = split_sentences(text, max_length, min_length)
        assert "".join(parts) == text
        assert all(parts)
        assert all(len(part.strip()) <= max_length for part in parts)


def test_empty_and_blank():
    assert split_sentences("") == []
    assert split_sentences(" \n ") == [" \n "]
    with pytest.raises(ValueError, match="at least 1, not 0"):
        split_sentences("Hi.", max_length=0)


@pytest.mark.parametrize(
    ("part", "pause"),
    [
        ("The end.\n\n", PARAGRAPH_PAUSE),
        ("The end. ", SENTENCE_PAUSE),
        ("“The end?” ", SENTENCE_PAUSE),
        ("结束。", SENTENCE_PAUSE),
        ("the end; ", CLAUSE_PAUSE),
        ("the end — ", CLAUSE_PAUSE),
        ("the end ", 0.0),
        ("", 0.0),
    ],
)
def test_pauses(part, pause):
    assert pause_after(part) == pause


def test_longer_breaks_have_longer_pauses():
    assert PARAGRAPH_PAUSE > SENTENCE_PAUSE > CLAUSE_PAUSE > 0
