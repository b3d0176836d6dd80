"""Speaks sentences of many requests together, in batches, in one thread."""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..pipelines.sampling import SamplingSettings
from ..pipelines.utterances import SpokenUtterance, Utterance
from ..pipelines.word_times import SpokenWord

logger = logging.getLogger(__name__)

# Seconds of the first piece of a sentence. Each next piece is longer, because short pieces cost more to decode.
CHUNK_SECONDS, GROWTH = 0.25, 2
# Seconds between two returns of free memory to the system.
TRIM_SECONDS = 10.0


@dataclass
class Sound:
    """A piece of audio.

    Args:
        audio: (samples,).
        words: the words of a sentence, with its last piece. Times count from the start of the text.
        frames: latent frames of that sentence.
    """

    audio: np.ndarray
    words: list[SpokenWord] = field(default_factory=list)
    frames: int = 0


def return_free_memory() -> None:
    """Return free memory to the system where the C library is glibc.

    glibc keeps what it freed, in pieces that tensors of other sizes do not fit, so the memory of a server would grow.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library
        return
    trim(0)


class BusyError(Exception):
    """The engine has no free place."""


class Speech:
    """A text that is being spoken. It holds a place of the engine until its last sentence is made, or until `close`.

    Args:
        deliver: called in the engine's thread: with each `Sound` in order; with an exception if a sentence fails,
            which ends the calls; with None after the last sentence.
    """

    def __init__(self, engine: Engine, deliver: Callable[[Any], None]):
        self._engine, self._deliver = engine, deliver
        self._utterances: deque[Utterance] = deque()
        self.settings: SamplingSettings | None = None
        self.voice_matching = 0.0
        self.key: tuple = ()
        self.closed = False
        self.made = 0
        self.seconds = 0.0
        # When a listener who plays the audio at once has heard all of it (seconds of `time.monotonic`).
        self.runs_out = 0.0

    def begin(self, utterances: Sequence[Utterance], settings: SamplingSettings, voice_matching: float) -> None:
        """Queue the sentences; sentences of all requests with equal settings share batches."""
        self.settings, self.voice_matching = settings, voice_matching
        scheduler = id(self._engine.pipe.scheduler)
        self.key = (
            settings.num_inference_steps,
            settings.guidance_scale,
            settings.temperature,
            settings.loudness,
            settings.watermark,
            voice_matching,
            scheduler,
        )
        self._utterances.extend(utterances)
        self.runs_out = time.monotonic()
        self._engine._add(self)

    def close(self) -> None:
        """Give the place back. Sentences that wait are dropped; a sentence in progress is interrupted."""
        self._engine._close(self)


class Engine:
    """Speaks sentences of several requests in one batch, in the order in which their listeners run out of audio.

    The latents of a batch are generated at once. Then requests get pieces of audio in the same order, so that none
    waits for the last sample of its sentence, or of another. Sentences with loudness, watermark, energy or emphasis,
    or next to a pause of a given time, are one piece.

    The other sentences of a batch do not change how a sentence sounds, so the audio of a request equals that of the
    pipeline alone.

    Args:
        pipe: the pipeline.
        max_requests: number of places; `enter` refuses more requests.
        max_batch_size: maximum number of sentences in a batch.
        batch_wait: seconds that a batch waits for more sentences after its first.
        on_batch: called with the number of sentences of each batch.
    """

    def __init__(
        self,
        pipe: Any,
        max_requests: int = 32,
        max_batch_size: int = 8,
        batch_wait: float = 0.01,
        on_batch: Callable[[int], None] = lambda size: None,
    ):
        self.pipe, self.max_requests, self.max_batch_size, self.batch_wait = (
            pipe,
            max_requests,
            max_batch_size,
            batch_wait,
        )
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._waiting: deque[Speech] = deque()
        self._places: set[Speech] = set()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="speech", daemon=True)
        self._thread.start()

    @property
    def places_taken(self) -> int:
        return len(self._places)

    @property
    def sentences_waiting(self) -> int:
        with self._changed:
            return sum(len(speech._utterances) for speech in self._waiting)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._stopped

    def enter(self, deliver: Callable[[Any], None]) -> Speech:
        """Take a place.

        Raises:
            BusyError: no place is free.
        """
        with self._changed:
            if self._stopped or len(self._places) >= self.max_requests:
                raise BusyError
            speech = Speech(self, deliver)
            self._places.add(speech)
            return speech

    def stop(self) -> None:
        """End the thread and interrupt the current batch."""
        with self._changed:
            self._stopped = True
            open_ones = list(self._places)
            self._changed.notify_all()
        for speech in open_ones:
            self._close(speech)
            speech._deliver(RuntimeError("the server stops"))
        self._thread.join()

    def _add(self, speech: Speech) -> None:
        with self._changed:
            if not speech.closed:
                self._waiting.append(speech)
                self._changed.notify_all()

    def _close(self, speech: Speech) -> None:
        with self._changed:
            speech.closed = True
            speech._utterances.clear()
            self._places.discard(speech)
            if speech in self._waiting:
                self._waiting.remove(speech)

    # Methods of the engine's thread

    def _work(self) -> None:
        trimmed = time.monotonic()
        while (batch := self._next_batch()) is not None:
            if not batch:
                continue
            self._on_batch(len(batch))
            try:
                self._speak(batch)
            except Exception as error:
                if len(batch) == 1:
                    self._fail(batch[0][0], error)
                    continue
                # A sentence that fails must not end the others, so each is spoken alone.
                for single in batch:
                    try:
                        self._speak([single])
                    except Exception as error:
                        self._fail(single[0], error)
            if time.monotonic() > trimmed + TRIM_SECONDS:
                return_free_memory()
                trimmed = time.monotonic()

    def _next_batch(self) -> list[tuple[Speech, Utterance, bool]] | None:
        """The next sentences with their requests, and whether each is the last of its request."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if not self._stopped and len(self._waiting) < self.max_batch_size:
                self._changed.wait_for(
                    lambda: len(self._waiting) >= self.max_batch_size or self._stopped, self.batch_wait
                )
            if self._stopped:
                return None
            batch: list[tuple[Speech, Utterance, bool]] = []
            # A request without audio has the time of its arrival. So it comes before the later sentences of requests
            # whose listeners still have audio, and every request is served at some time.
            self._waiting = deque(sorted(self._waiting, key=lambda speech: speech.runs_out))
            key = self._waiting[0].key if self._waiting else ()
            others, served = [], []
            while self._waiting and len(batch) < self.max_batch_size:
                speech = self._waiting.popleft()
                # A request's first batch has one of its sentences, so that it is heard early; later ones have more.
                share = sum(each is speech for each, _, _ in batch)
                if speech.key != key:
                    others.append(speech)
                elif share >= max(1, speech.made):
                    served.append(speech)
                else:
                    utterance = speech._utterances.popleft()
                    batch.append((speech, utterance, not speech._utterances))
                    if speech._utterances:
                        self._waiting.append(speech)
            self._waiting = deque([*others, *self._waiting, *served])
            for speech, _, _ in batch:
                speech.made += 1
            return batch

    def _speak(self, batch: list[tuple[Speech, Utterance, bool]]) -> None:
        batch = [each for each in batch if not each[0].closed]
        if not batch:
            return

        def watch(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
            if all(speech.closed for speech, _, _ in batch):
                pipe._interrupt = True
            return {}

        speech = batch[0][0]
        assert speech.settings is not None
        settings = replace(speech.settings, callback=watch, callback_inputs=(), interrupted=False)
        spoken = self.pipe.speak([each for _, each, _ in batch], settings, speech.voice_matching, output_type="latent")
        if settings.interrupted:
            return
        sentences: dict[Speech, list[tuple[Utterance, SpokenUtterance, bool]]] = {}
        for (speech, utterance, is_last), result in zip(batch, spoken, strict=True):
            sentences.setdefault(speech, []).append((utterance, result, is_last))
        sounds = {speech: self._sounds(speech, *each) for speech, each in sentences.items()}
        while sounds:
            speech = min(sounds, key=lambda each: each.runs_out)
            try:
                sound = None if speech.closed else next(sounds[speech], None)
            except Exception as error:
                # The others have had pieces, so they are not spoken again.
                self._fail(speech, error)
                sound = None
            if sound is None or speech.closed:
                del sounds[speech]
                continue
            speech._deliver(sound)
            speech.runs_out = max(speech.runs_out, time.monotonic()) + len(sound.audio) / self.pipe.sampling_rate

    def _sounds(self, speech: Speech, *sentences: tuple[Utterance, SpokenUtterance, bool]) -> Iterator[Sound]:
        """The audio of sentences of one request."""
        assert speech.settings is not None
        for utterance, spoken, is_last in sentences:
            for audio in self.pipe.finish_in_pieces(utterance, spoken, speech.settings, CHUNK_SECONDS, GROWTH):
                if spoken.waveform is None:
                    yield Sound(audio)
                    continue
                whole = self.pipe.finish(utterance, spoken)
                begins = speech.seconds
                words = [replace(word, start=begins + word.start, end=begins + word.end) for word in whole.words[0]]
                speech.seconds += len(whole.audios[0]) / whole.sampling_rate
                yield Sound(audio, words, int(whole.durations[0].sum()))
            if is_last:
                self._close(speech)
                speech._deliver(None)

    def _fail(self, speech: Speech, error: Exception) -> None:
        logger.error("a sentence could not be spoken", exc_info=error)
        if not speech.closed:
            self._close(speech)
            speech._deliver(error)
