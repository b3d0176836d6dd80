"""The engine without HTTP: pieces of several requests in turn, each as its text is spoken alone."""

import platform
import threading
import time

import numpy as np
import pytest
import torch

from ns2_diffusers.serving import engine as engine_module
from ns2_diffusers.serving.engine import CHUNK_SECONDS, Engine

from ..memory import measured
from .conftest import LONG_TEXT, TEXT


@pytest.fixture
def pipe(tiny_pipeline):
    tiny_pipeline.set_progress_bar_config(disable=True)
    return tiny_pipeline


@pytest.fixture
def voice(pipe, clips):
    return pipe.encode_voice(clips[0])


def alone(pipe, voice, text, seed, **options):
    options = {"num_inference_steps": 1, "voice_matching": 0.0, **options}
    return pipe(text, voice=voice, generator=torch.Generator().manual_seed(seed), **options)


def speak(pipe, voice, asks, **sampling):
    """Speak texts, each with arguments of `plan`, at once. Returns (index of the text, piece) in order of delivery."""
    delivered, ended = [], threading.Semaphore(0)
    engine = Engine(pipe, max_batch_size=4, batch_wait=0.0)
    settings = pipe.check_sampling(1, **sampling)

    def deliver_to(index):
        def deliver(piece):
            delivered.append((index, piece))
            if piece is None or isinstance(piece, Exception):
                ended.release()

        return deliver

    try:
        speeches = [engine.enter(deliver_to(index)) for index in range(len(asks))]
        planned = [
            pipe.plan(text, voice=voice, generator=torch.Generator().manual_seed(index), **options)
            for index, (text, options) in enumerate(asks)
        ]
        # The engine sees all of them at once, so they share a batch.
        with engine._changed:
            for speech, utterances in zip(speeches, planned, strict=True):
                speech.begin(utterances, settings, 0.0)
        for _ in asks:
            assert ended.acquire(timeout=120)
        assert engine.places_taken == 0
    finally:
        engine.stop()
    return delivered


def test_pieces_of_each_request_are_its_text_spoken_alone(pipe, voice):
    texts = [
        LONG_TEXT,
        TEXT,
        "We try again today, and then once more. Please hold on for a moment. [pause 0.3s] The line is busy.",
    ]
    delivered = speak(pipe, voice, [(text, {"speaking_rate": 0.5}) for text in texts])
    first_end = next(place for place, (_, piece) in enumerate(delivered) if piece is None)
    assert [index for index, _ in delivered[:6]] == [0, 1, 2, 0, 1, 2] and first_end > 5
    for index, text in enumerate(texts):
        pieces = [piece for whose, piece in delivered if whose == index]
        assert pieces.pop() is None and None not in pieces
        wanted = alone(pipe, voice, text, index, speaking_rate=0.5)
        heard = np.concatenate([piece.audio for piece in pieces])
        np.testing.assert_allclose(heard, wanted.audios[0], rtol=0, atol=1e-4 * np.abs(heard).max())
        assert len(pieces[0].audio) <= CHUNK_SECONDS * pipe.sampling_rate
        assert sum(piece.frames for piece in pieces) == wanted.durations[0].sum()
        words = [word for piece in pieces for word in piece.words]
        assert [word.text for word in words] == [word.text for word in wanted.words[0]]
        times, wanted_times = ([(word.start, word.end) for word in each] for each in (words, wanted.words[0]))
        np.testing.assert_allclose(times, wanted_times, atol=1e-9)


def test_what_needs_whole_sentences_is_not_cut(pipe, voice):
    delivered = speak(pipe, voice, [(TEXT, {"speaking_rate": 0.5}), (TEXT, {"energy": 0.5})])
    cut, whole = ([piece for index, piece in delivered if index == each] for each in (0, 1))
    assert len(cut) > 2 and len(whole) == 2
    np.testing.assert_allclose(whole[0].audio, alone(pipe, voice, TEXT, 1, energy=0.5).audios[0], atol=1e-4)


def test_loudness_is_that_of_sentences(pipe, voice):
    pytest.importorskip("pyloudnorm")
    delivered = speak(pipe, voice, [(TEXT, {"speaking_rate": 0.5})], loudness=-20.0)
    assert len(delivered) == 2
    wanted = alone(pipe, voice, TEXT, 0, speaking_rate=0.5, loudness=-20.0)
    np.testing.assert_allclose(delivered[0][1].audio, wanted.audios[0], atol=1e-4)


def test_a_sentence_that_cannot_be_decoded_does_not_repeat_the_others(pipe, voice, monkeypatch):
    finish = pipe.finish_in_pieces

    def fail_for(utterance, *rest):
        pieces = finish(utterance, *rest)
        yield next(pieces)
        if utterance.pitch_shift == 5:
            raise ValueError("NaN, say")
        yield from pieces

    monkeypatch.setattr(pipe, "finish_in_pieces", fail_for)
    delivered = speak(pipe, voice, [(TEXT, {"speaking_rate": 0.5, "pitch_shift": shift}) for shift in (0.0, 5.0)])
    failed = [piece for index, piece in delivered if index == 1]
    assert isinstance(failed[-1], ValueError) and len(failed) == 2
    heard = np.concatenate([piece.audio for index, piece in delivered if index == 0 and piece is not None])
    np.testing.assert_allclose(heard, alone(pipe, voice, TEXT, 0, speaking_rate=0.5).audios[0], atol=1e-4)


def test_a_new_request_comes_before_later_sentences_of_one_that_was_heard(slow, voice):
    ended = threading.Semaphore(0)
    engine = Engine(slow, max_batch_size=1, batch_wait=0.0)
    settings = slow.check_sampling(1)

    def begin(text, seed):
        speech = engine.enter(lambda piece: piece is None and ended.release())
        speech.begin(slow.plan(text, voice=voice, generator=seeded(seed)), settings, 0.0)

    def seeded(seed):
        return torch.Generator().manual_seed(seed)

    try:
        begin(LONG_TEXT, 0)
        slow.permit(1)
        while len(slow.batches) < 2:  # the first sentence was delivered, the second is being made
            time.sleep(0.005)
        begin(TEXT, 1)
        slow.permit()
        for _ in range(2):
            assert ended.acquire(timeout=120)
    finally:
        slow.permit()
        engine.stop()
    first = [each.seed for each in slow.plan(LONG_TEXT, voice=voice, generator=seeded(0))]
    (new,) = [each.seed for each in slow.plan(TEXT, voice=voice, generator=seeded(1))]
    assert slow.batches == [[first[0]], [first[1]], [new], [first[2]], [first[3]]]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free memory in this way")
def test_free_memory_returns_to_the_system():
    held, left, kept = measured(
        "from ns2_diffusers.serving.engine import return_free_memory\n"
        "before = resident_megabytes()\n"
        "blocks = [bytes(3000) for _ in range(50_000)]\n"
        "kept = blocks[::500]\n"  # glibc returns the end of the heap itself; these keep it from doing so
        "del blocks\n"
        "print(resident_megabytes() - before)\n"
        "return_free_memory()\n"
        "print(resident_megabytes() - before, len(kept), sep='\\n')"
    )
    assert float(held) > 100 and float(left) < 20 and kept == "100"


def test_memory_returns_between_batches(pipe, voice, monkeypatch):
    calls = []
    monkeypatch.setattr(engine_module, "TRIM_SECONDS", 0.0)
    monkeypatch.setattr(engine_module, "return_free_memory", lambda: calls.append(threading.current_thread().name))
    speak(pipe, voice, [(LONG_TEXT, {})])
    assert calls and set(calls) == {"speech"}
