"""Pieces of sentences, and of texts that arrive in pieces, join to the whole."""

import itertools

import numpy as np
import pytest
import torch

from ns2_diffusers.audio.finishing import StreamingLimiter, limit
from ns2_diffusers.pipelines.streaming import certain_sentences, fade_piece, first_pause
from ns2_diffusers.pipelines.utterances import Utterance, fade, fade_samples
from ns2_diffusers.text.words import WordSymbols

TEXT = (
    "[pause 0.1s] It rained all day, and nobody came. In the evening, a letter lay on the mat. [pause 0.2s] "
    "Who wrote it to us? Nobody in the house knew at all. It had no name, and no stamp."
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def ask(tiny_pipeline, clips):
    tiny_pipeline.set_progress_bar_config(disable=True)
    return {"voice": tiny_pipeline.encode_voice(clips[0]), "num_inference_steps": 1}


@pytest.fixture
def whole(tiny_pipeline, ask):
    return tiny_pipeline(TEXT, **ask, generator=seeded(), max_batch_size=1).audios[0]


def assert_whole(pieces, whole):
    joined = np.concatenate(pieces)
    assert joined.dtype == np.float32
    np.testing.assert_allclose(joined, whole, rtol=0, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("seconds", [0.02, 0.1, 100.0])
def test_pieces_of_sentences_are_the_whole(tiny_pipeline, ask, whole, seconds):
    pieces = list(tiny_pipeline.stream(TEXT, **ask, generator=seeded(), chunk_seconds=seconds))
    assert_whole(pieces, whole)
    assert all(len(piece) for piece in pieces)
    if seconds < 1:
        # Only the last piece of a sentence, which has its pause, is longer than requested, and sentences next to a
        # pause of a given time, which are one piece.
        lengths = [len(piece) / tiny_pipeline.sampling_rate for piece in pieces]
        assert sum(length > seconds + 0.02 for length in lengths) <= 5 and len(pieces) > 6


def test_what_clips_is_limited_across_pieces(tiny_pipeline, ask, whole, monkeypatch):
    """The limiter gets twenty times the amplitude, for the whole and for pieces."""
    decode, pieces = tiny_pipeline.decode_latents, tiny_pipeline.decode_in_pieces
    loud = 20 / np.abs(whole).max()
    monkeypatch.setattr(tiny_pipeline, "decode_latents", lambda *args: [loud * each for each in decode(*args)])
    monkeypatch.setattr(tiny_pipeline, "decode_in_pieces", lambda *args: (loud * each for each in pieces(*args)))
    limited = tiny_pipeline(TEXT, **ask, generator=seeded(), max_batch_size=1).audios[0]
    assert np.abs(limited).max() <= 1
    assert_whole(list(tiny_pipeline.stream(TEXT, **ask, generator=seeded(), chunk_seconds=0.05)), limited)


@pytest.mark.parametrize("shape", [(4000,), (2, 4000)])
@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_a_limiter_of_pieces(size, shape):
    waveform = np.random.RandomState(0).standard_normal(shape).astype(np.float32) * np.linspace(0, 1, 4000, dtype="f")
    limiter = StreamingLimiter(8000)
    starts = range(0, 4000, size)
    pieces = [limiter(waveform[..., start : start + size], start + size >= 4000) for start in starts]
    np.testing.assert_allclose(np.concatenate(pieces, axis=-1), limit(waveform, 8000), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1000,), (2, 1000)])
def test_the_ends_of_pieces_fade_as_those_of_the_whole(shape):
    waveform, ramp = np.random.RandomState(0).standard_normal(shape).astype(np.float32), fade_samples(1000, 8000)
    pieces = [fade_piece(waveform[..., start : start + 7], start, 1000, ramp) for start in range(0, 1000, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), fade(waveform, 8000))


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("chunk_seconds", [None, 0.1])
def test_a_text_that_comes_in_pieces_is_the_whole(tiny_pipeline, ask, whole, size, chunk_seconds):
    pieces = (TEXT[start : start + size] for start in range(0, len(TEXT), size))
    assert_whole(list(tiny_pipeline.stream(pieces, **ask, generator=seeded(), chunk_seconds=chunk_seconds)), whole)


def test_a_sentence_is_spoken_before_the_next_is_written(tiny_pipeline, ask):
    read = []

    def words():
        for word in "The first sentence is here. The second one is still being written by somebody.".split(" "):
            read.append(word)
            yield word + " "

    stream = tiny_pipeline.stream(words(), **ask)
    assert not read
    assert next(stream).size and len(read) < 10
    assert len(list(stream)) == 1 and len(read) == 14


def test_a_first_clause_has_the_prosody_of_the_sentence(tiny_pipeline, ask, monkeypatch):
    """The first sentence has its usual pitch and frames, in two pieces; later sentences are not split."""
    monkeypatch.setattr("ns2_diffusers.pipelines.streaming.LEAST_CLAUSE", 0.02)
    monkeypatch.setattr("ns2_diffusers.pipelines.streaming.LEAST_PAUSE", 0.0)
    spoken, speak = [], tiny_pipeline.speak

    def watch(*args, **options):
        spoken.append(speak(*args, **options)[0])
        return spoken[-1:]

    monkeypatch.setattr(tiny_pipeline, "speak", watch)
    text = "It rained all day, and nobody came. In the evening, a letter lay on the mat."
    ask = {**ask, "generator": seeded()}
    whole = list(tiny_pipeline.stream(text, **ask))
    whole_spoken, spoken[:] = spoken[:], []
    assert len(whole) == len(whole_spoken) == 2
    for chunk_seconds in (None, 0.1):
        ask["generator"] = seeded()
        pieces = list(tiny_pipeline.stream(text, **ask, first_clause=True, chunk_seconds=chunk_seconds))
        assert sum(map(len, pieces)) == sum(map(len, whole))
        one, two, three = spoken
        np.testing.assert_array_equal(torch.cat([one.f0, two.f0]), whole_spoken[0].f0)
        assert one.latents.shape[1] < whole_spoken[0].latents.shape[1]
        np.testing.assert_array_equal(three.latents, whole_spoken[1].latents)
        assert len(pieces) == 3 or chunk_seconds
        spoken.clear()


def test_where_a_first_clause_ends():
    """Words of two symbols, five frames per symbol, with a space or a comma and a space between words."""
    words = [
        WordSymbols(text, first, first + 2) for text, first in (("a", 1), ("b", 4), ("c,", 7), ("d", 11), ("e", 14))
    ]
    utterance = Utterance(np.arange(17), None, 0, words=words)
    durations = np.full(17, 5)
    durations[[3, 6, 13]] = 1  # spaces
    durations[[9, 10]] = 4
    assert first_pause(utterance, durations, 50.0) is None  # both clauses are shorter than 0.7 s
    durations[[1, 11, 12]] = 40
    # Start, a, space, b, space, c: 5 + 45 + 1 + 10 + 1 + 10 = 72, then the pause of 8.
    assert first_pause(utterance, durations, 50.0) == 72 + 4
    durations[[9, 10]] = 1
    assert first_pause(utterance, durations, 50.0) is None
    durations[3] = 3
    assert first_pause(utterance, durations, 50.0) == 51


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("Hello there, my friend. How are", ""),  # "How are" may belong to the sentence before it
        ("Hello there, my friend. How are you today? I", "Hello there, my friend. "),
        ("I live in the U.S. Army barracks of the", ""),
        ("<speak>Hello there, my friend. How are you today?", ""),
        ("", ""),
    ],
)
def test_what_is_certain(text, certain):
    assert certain_sentences(text, 200) == certain


def test_what_is_certain_stays(tiny_pipeline):
    """The sentences of every beginning of a text are sentences of the text."""
    from ns2_diffusers.text.sentences import split_sentences

    text = "Mr. Smith went out. He said: wait! Then it rained. Main St. was wet; nobody (not one) came. Yes. It is so."
    for longest in (200, 20):
        starts = {0, *itertools.accumulate(map(len, split_sentences(text, longest)))}
        for length in range(len(text)):
            assert len(certain_sentences(text[:length], longest)) in starts


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("Yes.", {"chunk_seconds": 0}, ValueError, "chunk_seconds"),
        ("Yes.", {"chunk_seconds": "a"}, TypeError, "chunk_seconds"),
        ("Yes.", {"chunk_seconds": 1, "watermark": True}, ValueError, "whole sentences"),
        ("Yes.", {"first_clause": 1}, TypeError, "first_clause"),
        ("Yes.", {"chunk_seconds": 1, "num_inference_steps": 0}, ValueError, "num_inference_steps"),
        (5, {}, TypeError, "text is a int"),
        (["Yes."], {"voice": {"Anna": "emma"}}, ValueError, "several speakers"),
        (["Yes."], {"voice": "nobody"}, ValueError, "nobody"),
        (["Yes."], {"voices": "nobody"}, TypeError, "voices"),
    ],
)
def test_bad_input_is_refused_at_once(tiny_pipeline, text, options, error, message):
    with pytest.raises(error, match=message):
        tiny_pipeline.stream(text, **options)


@pytest.mark.parametrize("pieces", [[5], [""], [], ["Yes. ", "x" * 50]])
def test_bad_pieces_are_refused_when_they_come(tiny_pipeline, pieces, clips):
    with pytest.raises((TypeError, ValueError)):
        list(tiny_pipeline.stream(pieces, str(clips[0]), max_characters=40, num_inference_steps=1))
