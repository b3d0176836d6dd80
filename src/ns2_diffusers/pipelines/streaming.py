"""Streaming: speech in pieces while it is made, also from texts that are still being written.

Nothing here imports torch.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arrays import as_array
from ..audio.finishing import StreamingLimiter
from ..audio.loading import AudioInput
from ..text.directions import begins_with_pause
from ..text.sentences import pause_after, split_sentences
from .changes import ChangeGuard
from .inputs import check_number
from .sampling import SamplingSettings, warn_if_silent
from .utterances import SpokenUtterance, Utterance, fade_samples, kept_frames

# Minimum seconds of a first clause and of the rest, and of the pause between them.
LEAST_CLAUSE, LEAST_PAUSE = 0.7, 0.06
SAMPLING = ("num_inference_steps", "timesteps", "sigmas", "guidance_scale", "temperature", "eta")
FINISHING = ("limiter", "loudness", "watermark")
LIMITS = ("voice_matching", "max_batch_size", "max_seconds")


@dataclass
class Part:
    """A range of latent frames of one sentence, whose prosody is planned for the whole sentence.

    Args:
        encoded: result of `encode_utterances` for the whole sentence.
        start, stop: range of frames.
    """

    encoded: Any
    start: int
    stop: int


class StreamingMixin:
    """Adds `stream` to a pipeline with the methods of `SpeakingMixin`."""

    # Attributes of the pipeline that uses this mixin.
    codec: Any
    config: Any
    sampling_rate: Any
    change_guard: ChangeGuard
    check_sampling: Callable[..., SamplingSettings]
    check_inputs: Callable[..., None]
    sentences: Callable[..., Iterator[Any]]
    plan: Callable[..., list[Utterance]]
    speak: Callable[..., list[SpokenUtterance]]
    load_voice: Callable[..., Any]
    encode_voice: Callable[..., Any]
    encode_utterances: Callable[..., Any]
    decode_in_pieces: Callable[..., Iterator[np.ndarray]]
    finish_audio: Callable[..., Any]
    _energy: Callable[[Utterance, Any], Callable[[Any], Any]]
    maybe_free_model_hooks: Callable[[], None]

    def stream(
        self,
        text: str | Iterable[str],
        prompt_audio: AudioInput | None = None,
        *,
        chunk_seconds: float | None = None,
        first_clause: bool = False,
        **options: Any,
    ) -> Iterator[np.ndarray]:
        """Speak one text while it is made; without `first_clause` the pieces together equal the output of `__call__`.

        Args:
            text: a text, or an iterable of its pieces, such as the output of a language model. A sentence is spoken
                once its end is certain. SSML is spoken once it is complete.
            chunk_seconds: seconds of audio per piece; None gives one piece per sentence. The latents of a sentence are
                generated at once and decoded piece by piece. Not with `loudness` and `watermark`, which need complete
                sentences; sentences with `energy` or emphasis, or next to a pause of a given time, are one piece.
            first_clause: whether to speak the first sentence up to a pause within it separately, with prosody planned
                for the whole sentence, so that the first sound comes sooner. The speech then differs from that of
                `__call__`.
            options: arguments of `sentences`.

        Yields: (samples,) float32 arrays, each with the pause that follows it.

        Raises:
            TypeError, ValueError: invalid input; raised at once, or when an invalid piece of a text is reached.
        """
        if isinstance(text, str) and chunk_seconds is None and not first_clause:
            pieces = self.sentences(text, prompt_audio, **options)
            return (np.asarray(piece.audios[0]) for piece in pieces)
        if not isinstance(first_clause, bool):
            raise TypeError(f"first_clause is {first_clause!r}; wanted True or False.")
        if chunk_seconds is not None:
            check_number("chunk_seconds", chunk_seconds, "seconds above 0", above=0.0)
            if options.get("loudness") is not None or options.get("watermark"):
                raise ValueError(
                    "loudness and watermark need whole sentences: leave chunk_seconds out, or leave them out."
                )
        changes = self.change_guard.changes
        settings = self.check_sampling(**{name: options.pop(name) for name in SAMPLING + FINISHING if name in options})
        matching, batch, seconds = (options.pop(name, None) for name in LIMITS)
        self.check_inputs(None, None, 1, matching, batch, seconds)
        settings.frames_left = math.inf if seconds is None else seconds * self.codec.frame_rate
        matching = self.config.default_voice_matching if matching is None else matching
        if isinstance(text, str):
            utterances: Iterator[Utterance] = iter(self.plan(text, prompt_audio, **options))
        else:
            utterances = self._plan_as_it_comes(text, prompt_audio, **options)
        return self._stream(utterances, settings, matching, chunk_seconds, first_clause, changes)

    def _stream(
        self,
        utterances: Iterator[Utterance],
        settings: SamplingSettings,
        matching: float,
        chunk_seconds: float | None,
        first_clause: bool,
        changes: int,
    ) -> Iterator[np.ndarray]:
        try:
            for utterance in utterances:
                self.change_guard.check_unchanged(changes)
                # Energy and emphasis need complete sentences.
                has_parts = first_clause and utterance.energy == 1 and utterance.emphasis is None
                for whose, part in self._parts(utterance) if has_parts else [(utterance, None)]:
                    if settings.interrupted:
                        return
                    spoken = self.speak([whose], settings, matching, output_type="latent", part=part)[0]
                    for piece in self.finish_in_pieces(whose, spoken, settings, chunk_seconds):
                        yield piece
                        self.change_guard.check_unchanged(changes)
                first_clause = False
        finally:
            self.maybe_free_model_hooks()

    def _parts(self, utterance: Utterance) -> Iterator[tuple[Utterance, Part | None]]:
        """Split an utterance into its first clause and the rest, or return it whole."""
        encoded = self.encode_utterances([utterance])
        durations = as_array(encoded.durations)[0, : len(utterance.input_ids)]
        total = int(durations.sum())
        cut = first_pause(utterance, durations, self.codec.frame_rate)
        if cut is None:
            yield utterance, Part(encoded, 0, total)
            return
        yield replace(utterance, pause=0, cut_end=False), Part(encoded, 0, cut)
        yield replace(utterance, lead=0, cut_start=False), Part(encoded, cut, total)

    def finish_in_pieces(
        self,
        utterance: Utterance,
        spoken: SpokenUtterance,
        settings: SamplingSettings,
        chunk_seconds: float | None = None,
        growth: int = 1,
    ) -> Iterator[np.ndarray]:
        """Decode and finish one sentence in pieces, which together equal the audio of `finish`.

        Args:
            utterance: the sentence.
            spoken: its result of `speak` with `output_type="latent"`; it has its waveform with the last piece.
            settings: settings of `speak`.
            chunk_seconds: seconds of audio per piece; None gives one piece. So do loudness, watermark, energy,
                emphasis and pauses of a given time, which need the complete sentence.
            growth: length of each piece as a multiple of the one before it.

        Yields: (samples,) float32 arrays, the first with the silence before the sentence, the last with that after it.
        """
        hop, frames = self.codec.hop_length, spoken.latents.shape[1]
        melody = spoken.f0 if utterance.pitch is not None and self.codec.takes_f0 else None
        is_plain = utterance.energy == 1 and utterance.emphasis is None
        is_plain &= not (utterance.cut_start or utterance.cut_end)
        in_parts = chunk_seconds is not None and is_plain and settings.loudness is None and not settings.watermark
        limiter = None
        samples = frames * hop
        if in_parts:
            limiter = StreamingLimiter(self.sampling_rate) if settings.limiter else None
            chunk = max(1, round((chunk_seconds or 0.0) * self.codec.frame_rate))
            pieces = self.decode_in_pieces(spoken.latents, chunk, melody, growth)
        else:
            energy = self._energy(utterance, spoken.durations)
            (whole,) = self.decode_in_pieces(spoken.latents, frames, melody)
            spoken.waveform = as_array(self.finish_audio(whole, settings, energy))
            first, stop = kept_frames(utterance, spoken, hop, self.sampling_rate)
            samples = (stop - first) * hop
            pieces = iter([spoken.waveform[..., first * hop : stop * hop]])
        ramp, decoded, out, made = fade_samples(samples, self.sampling_rate), 0, 0, []
        for piece in pieces:
            decoded += piece.shape[-1]
            if limiter is not None:
                piece = limiter(piece, decoded == samples)
            if not piece.shape[-1]:
                continue
            made.append(piece)
            piece = fade_piece(piece, out, samples, ramp)
            lead = 0 if out else utterance.lead * hop
            out += piece.shape[-1]
            if out == samples and in_parts:
                spoken.waveform = np.concatenate(made, axis=-1)
                warn_if_silent(spoken.waveform)
            pause = utterance.pause * hop if out == samples else 0
            yield np.pad(piece, [(0, 0)] * (piece.ndim - 1) + [(lead, pause)])

    def _plan_as_it_comes(
        self, pieces: Iterable[str], prompt_audio: AudioInput | None, **options: Any
    ) -> Iterator[Utterance]:
        """The utterances of a text in pieces, each as soon as the end of its sentence is certain."""
        if isinstance(pieces, (bytes, bytearray)) or not isinstance(pieces, Iterable):
            raise TypeError(f"text is a {type(pieces).__name__}; wanted a str, or an iterable of str.")
        inspect.signature(self.plan).bind("", **options)  # raises a TypeError for an unknown option
        voice = options.pop("voice", None)
        if isinstance(voice, dict):
            raise ValueError("a script of several speakers is one text: join its pieces before it is spoken.")
        rate, limit = options.pop("prompt_sampling_rate", None), options.pop("max_characters", None)
        self.check_inputs(prompt_audio, voice, 1, None, None)
        if prompt_audio is not None:
            voice = self.encode_voice(prompt_audio, rate)
        elif voice is not None:
            voice = self.load_voice(voice, rate)
        longest = options.get("max_sentence_length", 200)
        return self._certain_utterances(pieces, longest, limit, voice=voice, **options)

    def _certain_utterances(
        self, pieces: Iterable[str], longest: int, limit: int | None, **options: Any
    ) -> Iterator[Utterance]:
        waiting, read, spoken = "", 0, False
        for piece in pieces:
            if not isinstance(piece, str):
                raise TypeError(f"the text has a {type(piece).__name__} among its pieces; wanted str.")
            waiting, read = waiting + piece, read + len(piece)
            if limit is not None and read > limit:
                raise ValueError(f"there are {read} characters to speak and max_characters is {limit}.")
            certain = certain_sentences(waiting, longest)
            if not any(character.isalnum() for character in certain):
                continue
            utterances = self.plan(certain, **options)
            waiting, spoken = waiting[len(certain) :], True
            if begins_with_pause(waiting):
                # It becomes silence before the next sentence.
                utterances[-1].cut_end = True
            else:
                utterances[-1].pause += round(pause_after(certain) * self.codec.frame_rate)
            yield from utterances
        if not spoken or any(character.isalnum() for character in waiting):
            yield from self.plan(waiting, **options)


def certain_sentences(text: str, longest: int) -> str:
    """The beginning of a text whose sentences no longer change, whatever follows; empty for SSML."""
    if text.lstrip().startswith("<"):
        return ""
    # The last word may be incomplete.
    known = text[: max(text.rfind(" "), text.rfind("\n")) + 1]
    # A sentence that is too long is cut by its length, so it is only cut once enough of it is known.
    sentences = split_sentences(known, len(known) + 1)
    if len(sentences) == 1 and len(known) > 2 * longest:
        sentences = split_sentences(known, longest)
    follows = any(character.isalnum() for character in sentences[-1]) if sentences else False
    return "".join(sentences[:-1]) if follows else ""


def first_pause(utterance: Utterance, durations: np.ndarray, frame_rate: float) -> int | None:
    """The middle frame of the first pause that splits a sentence into two clauses; None if there is none."""
    ends = durations.cumsum()
    for word, following in zip(utterance.words, utterance.words[1:], strict=False):
        begin, end = int(ends[word.last - 1]), int(ends[following.first - 1])
        cut = (begin + end) // 2
        is_long = min(cut, int(ends[-1]) - cut) >= LEAST_CLAUSE * frame_rate
        if is_long and end - begin >= LEAST_PAUSE * frame_rate:
            return cut
    return None


def fade_piece(piece: np.ndarray, start: int, samples: int, ramp: np.ndarray) -> np.ndarray:
    """Fade a piece (..., n) where it overlaps the ends of its waveform; it begins at sample `start` of `samples`."""
    places = np.arange(start, start + piece.shape[-1])
    if len(ramp):
        rising, falling = places < len(ramp), places >= samples - len(ramp)
        piece = piece.copy()
        piece[..., rising] *= ramp[places[rising]]
        piece[..., falling] *= ramp[samples - 1 - places[falling]]
    return piece
