"""Splits texts into utterances of one sentence each, and joins the spoken utterances again."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..arrays import as_array
from ..text.directions import TURN_PAUSE, Passage, read_directions
from ..text.reader import NothingToSpeakError
from ..text.sentences import pause_after, split_sentences
from ..text.words import WordSymbols
from .inputs import (
    as_texts,
    check_durations,
    check_number,
    check_rate,
    check_seconds,
    check_setting,
    check_style,
    check_symbols,
    frame_pitch,
    per_text,
    per_text_array,
    per_text_latents,
)
from .style import emphasis_of_symbols
from .voice import Voice, VoiceMix
from .word_times import SpokenWord, find_sound, time_words

# Next to a pause of a given time, frames this many dB below the loudest frame are part of the pause.
EDGE_DB = 40.0
# Seconds over which sentences fade in and out, so that edges do not click.
FADE_SECONDS = 0.005


@dataclass
class Utterance:
    """One sentence to speak: one item of a batch.

    Args:
        input_ids: (N,) int64.
        voice: the voice that speaks it.
        seed: seed of the item's noise.
        text_index: index of the text that it belongs to.
        pause: latent frames of silence after it.
        lead: latent frames of silence before it, if a text begins with a pause.
        cut_start, cut_end: whether to cut the silence at its start and end, because the pause there is a given time.
        words: its words, with the positions of their symbols in `input_ids`.
        speaker: name of the speaker, in a text of several speakers.
        speaking_rate: divides predicted durations.
        pitch_shift: semitones added to predicted pitch.
        pitch_range: factor of the distance of predicted log F0 from its mean.
        energy: factor of the amplitude.
        emphasis: (N,) emphasis of each symbol, in steps of `style`; None if no symbol is emphasised.
        durations: (N,) latent frames, or None to predict them.
        pitch: F0 in Hz, (N,) per phoneme or (T,) per frame, or None to predict it.
        latents: unit noise (C, T) to start from, or None to draw it.
    """

    input_ids: np.ndarray
    voice: Voice | VoiceMix
    seed: int
    text_index: int = 0
    pause: int = 0
    lead: int = 0
    cut_start: bool = False
    cut_end: bool = False
    words: list[WordSymbols] = field(default_factory=list)
    speaker: str | None = None
    speaking_rate: float = 1.0
    pitch_shift: float = 0.0
    pitch_range: float = 1.0
    energy: float = 1.0
    emphasis: np.ndarray | None = None
    durations: np.ndarray | None = None
    pitch: np.ndarray | None = None
    latents: np.ndarray | None = None

    @property
    def has_melody(self) -> bool:
        """Whether its pitch is given by the caller and is not that of the voice."""
        return self.pitch is not None or bool(self.pitch_shift)


@dataclass
class SpokenUtterance:
    """A spoken utterance, as arrays or tensors.

    Args:
        latents: (C, T).
        durations: (N,) latent frames.
        f0: (T,) Hz.
        waveform: (samples,) or (channels, samples); None if only latents are wanted.
    """

    latents: Any
    durations: Any
    f0: Any
    waveform: Any = None


class JoinedUtterances(NamedTuple):
    """The fields of `NaturalSpeech2PipelineOutput`, as NumPy arrays."""

    audios: list[np.ndarray]
    sampling_rate: int
    durations: list[np.ndarray]
    f0: list[np.ndarray]
    words: list[list[SpokenWord]]


def plan_utterances(
    tokenizer: Any,
    frame_rate: float,
    text: str | list[str] | None,
    phonemes: str | list[str] | None,
    durations: Any,
    pitch: Any,
    latents: Any,
    speaking_rate: float | list[float],
    pitch_shift: float | list[float],
    draw_seeds: Callable[[list[int]], list[list[int]]],
    max_sentence_length: int,
    speakers: Collection[str] = (),
    turn_pause: float = TURN_PAUSE,
    max_utterance_seconds: float = math.inf,
    max_characters: int | None = None,
    pitch_range: float | list[float] = 1.0,
    energy: float | list[float] = 1.0,
) -> list[list[Utterance]]:
    """Check the texts and split them into sentences. Every check that needs no model is done here.

    A text with given durations, pitch or latents is not split, and directions in it (`[pause 0.5s]`, SSML) are not
    read. The voice is filled in later.

    Args:
        tokenizer: tokenizer of the pipeline.
        frame_rate: latent frames per second.
        draw_seeds: function that takes the number of sentences of each text and returns one seed per sentence.
        speakers: names of the speakers, if the texts are scripts.
        turn_pause: seconds of silence where the speaker changes.
        max_utterance_seconds: value of the pipeline's config.

    All other arguments are those of the pipeline's call.

    Returns: the utterances of each text.

    Raises:
        TypeError, ValueError: invalid input; the message says what is expected.
    """
    if (text is None) == (phonemes is None):
        raise ValueError("give either text or phonemes" + (", not both." if text is not None else "."))
    texts = as_texts(text if phonemes is None else phonemes, "text" if phonemes is None else "phonemes")
    count = len(texts)
    check_number("max_sentence_length", max_sentence_length, "a whole number of at least 1", least=1, whole=True)
    rates = per_text(speaking_rate, count, "speaking_rate")
    shifts = per_text(pitch_shift, count, "pitch_shift")
    for rate, shift in zip(rates, shifts, strict=True):
        check_rate(rate, shift)
    ranges, energies = per_text(pitch_range, count, "pitch_range"), per_text(energy, count, "energy")
    for each in zip(ranges, energies, strict=True):
        check_style(*each)
    if max_characters is not None:
        check_number("max_characters", max_characters, "a whole number of at least 1", least=1, whole=True)
        if (length := sum(map(len, texts))) > max_characters:
            raise ValueError(f"there are {length} characters to speak and max_characters is {max_characters}.")
    durations = per_text_array(durations, count, "durations")
    pitch = per_text_array(pitch, count, "pitch")
    latents = per_text_latents(latents, count)
    check_setting("turn_pause", turn_pause)
    whole = phonemes is not None or any(given[0] is not None for given in (durations, pitch, latents))
    if whole and speakers:
        raise ValueError(
            "a script of several speakers is text alone: leave out phonemes, durations, pitch and latents."
        )
    split = [
        (0.0, [Passage(each)]) if whole else _sentences(each, max_sentence_length, speakers, turn_pause)
        for each in texts
    ]
    seeds = draw_seeds([len(parts) for _, parts in split])
    planned = []
    for index, (lead, parts) in enumerate(split):
        utterances: list[Utterance] = []
        silence, is_exact = round(lead * frame_rate), lead > 0
        for part, seed in zip(parts, seeds[index], strict=True):
            pause = round((part.pause or 0.0) * frame_rate)
            try:
                input_ids, words = read_symbols(tokenizer, part.text, phonemes is not None)
            except NothingToSpeakError:
                if tokenizer.unknown == "error" or len(parts) == 1:
                    raise
                # All of the sentence was dropped; only the silence after it remains.
                if utterances:
                    utterances[-1].pause += pause
                    utterances[-1].cut_end |= part.is_exact
                else:
                    silence += pause
                is_exact |= part.is_exact
                continue
            utterances.append(
                Utterance(
                    input_ids=input_ids,
                    voice=None,  # type: ignore[arg-type]  # the pipeline sets it
                    seed=seed,
                    text_index=index,
                    pause=pause,
                    lead=silence,
                    cut_start=is_exact,
                    cut_end=part.is_exact,
                    words=words,
                    speaker=part.speaker,
                    speaking_rate=rates[index] * part.rate,
                    pitch_shift=shifts[index] + part.pitch,
                    pitch_range=ranges[index] * part.range,
                    energy=energies[index] * part.energy,
                    emphasis=emphasis_of_symbols(part.emphasis, words, len(input_ids)),
                    durations=durations[index],
                    pitch=pitch[index],
                    latents=latents[index],
                )
            )
            silence, is_exact = 0, part.is_exact
        if not utterances:
            raise NothingToSpeakError(f"all of text {index} was dropped, as none of it can be read: give other words.")
        for utterance in utterances:
            check_symbols(utterance.input_ids)
            check_rate(utterance.speaking_rate, utterance.pitch_shift)
            check_style(utterance.pitch_range, utterance.energy)
            check_seconds("pauses", max(utterance.pause, utterance.lead) / frame_rate, max_utterance_seconds)
        if durations[index] is not None:
            check_durations(durations[index], len(utterances[0].input_ids), frame_rate, max_utterance_seconds)
            if pitch[index] is not None:
                frame_pitch(pitch[index], durations[index].astype(np.int64))
        planned.append(utterances)
    return planned


def _sentences(
    text: str, max_length: int, speakers: Collection[str], turn_pause: float
) -> tuple[float, list[Passage]]:
    """Seconds of silence before a text, and its sentences, each with the seconds of silence after it.

    Parts without a letter or digit (such as a line of dashes) are left out.
    """
    lead, parts = 0.0, []
    passages = read_directions(text, speakers, turn_pause)
    for passage in passages:
        sentences = split_sentences(passage.text, max_length)
        begins = np.cumsum([0, *map(len, sentences)]).tolist()
        speakable = [
            (begin, each)
            for begin, each in zip(begins, sentences, strict=False)
            if any(character.isalnum() for character in each)
        ]
        parts += [
            replace(
                passage, text=each, pause=None, is_exact=False, emphasis=_within(passage.emphasis, begin, len(each))
            )
            for begin, each in speakable
        ]
        if passage.pause is not None and not parts:
            lead += passage.pause
        elif passage.pause is not None:
            before = 0.0 if speakable else parts[-1].pause or 0.0
            is_exact = passage.is_exact or parts[-1].is_exact
            parts[-1] = replace(parts[-1], pause=before + passage.pause, is_exact=is_exact)
    for index, part in enumerate(parts):
        if part.pause is None:
            parts[index] = replace(part, pause=pause_after(part.text) if index + 1 < len(parts) else 0.0)
    # If no part has a word, the tokenizer raises the error.
    return lead, parts or [Passage(" ".join(passage.text for passage in passages))]


def _within(emphasis: Sequence[tuple[int, int, float]], begin: int, length: int) -> tuple[tuple[int, int, float], ...]:
    """Convert spans of a text to spans of a part of it."""
    moved = ((max(0, start - begin), min(length, end - begin), level) for start, end, level in emphasis)
    return tuple((start, end, level) for start, end, level in moved if start < end)


def read_symbols(tokenizer: Any, text: str, is_phonemes: bool = False) -> tuple[np.ndarray, list[WordSymbols]]:
    """The symbols of a text, (N,) int64, and its words with their positions among the symbols."""
    phonemes, words = tokenizer.read(text, is_phonemes)
    first = int(tokenizer.bos_token is not None)
    words = [replace(word, first=word.first + first, last=word.last + first) for word in words]
    return np.asarray(tokenizer(phonemes, is_phonemes=True)["input_ids"], np.int64), words


def batches_of_like_length(utterances: Sequence[Utterance], max_batch_size: int) -> Iterator[list[int]]:
    """Indices of utterances in batches of `max_batch_size`, sorted by length to minimise padding."""
    order = sorted(range(len(utterances)), key=lambda index: len(utterances[index].input_ids))
    for start in range(0, len(order), max_batch_size):
        yield order[start : start + max_batch_size]


def join_utterances(
    utterances: Sequence[Utterance],
    spoken: list[SpokenUtterance | None],
    sampling_rate: int,
    hop_length: int,
    silence: Any,
    output_type: str,
    word_delay: float = 0.0,
) -> JoinedUtterances:
    """Join the sentences of each text, with their pauses, and cut silence next to pauses of a given time.

    A pause counts as frames of the last symbol before it, so the sum of the durations times the hop length is the
    number of samples. The audio of a text is allocated once, and each result is released when it has been copied.

    Args:
        utterances: all utterances in order.
        spoken: the result of each, which is replaced by None; None if the call was interrupted before it.
        sampling_rate: Hz.
        hop_length: samples per latent frame.
        silence: (C, 1), a latent frame of silence.
        output_type: output type of the pipeline's call.
        word_delay: seconds, from the pipeline's config.
    """
    count = utterances[-1].text_index + 1
    lists: list[list[list[Any]]] = [[[] for _ in range(count)] for _ in range(3)]
    durations, f0, words = lists
    silence = as_array(silence)
    hop = 1 if output_type == "latent" else hop_length
    kept = [
        (0, 0) if result is None else kept_frames(utterance, result, hop_length, sampling_rate)
        for utterance, result in zip(utterances, spoken, strict=True)
    ]
    audios = _allocate(utterances, spoken, kept, hop, silence, output_type)
    ends = [0] * count
    for number, (utterance, result) in enumerate(zip(utterances, spoken, strict=True)):
        if result is None:
            continue
        spoken[number] = None
        index, lead, pause = utterance.text_index, utterance.lead, utterance.pause
        first, stop = kept[number]
        sound = as_array(result.latents if result.waveform is None else result.waveform)
        start = ends[index] + lead * hop
        end = start + (stop - first) * hop
        audios[index][..., start:end] = sound[..., first * hop : stop * hop]
        if result.waveform is not None:
            _fade_in_place(audios[index][..., start:end], sampling_rate)
        ends[index] = end + pause * hop
        spoken_frames = as_array(result.durations)
        frames = np.diff(spoken_frames.cumsum().clip(first, stop), prepend=first)
        frames[0] += lead
        frames[-1] += pause
        begins, seconds_per_frame = sum(len(each) for each in f0[index]) + lead, hop_length / sampling_rate
        sounding = None
        if utterance.durations is None and result.waveform is not None:
            sounding = find_sound(sound, hop_length, sampling_rate)
        delay = round(word_delay / seconds_per_frame)
        begins -= first
        words[index] += time_words(utterance.words, spoken_frames, begins, seconds_per_frame, delay, sounding)
        durations[index].append(frames)
        f0[index].append(np.pad(as_array(result.f0)[first:stop], (lead, pause)))
    return JoinedUtterances(
        audios,
        sampling_rate,
        [np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in durations],
        [np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in f0],
        words,
    )


def kept_frames(utterance: Utterance, spoken: SpokenUtterance, hop_length: int, sampling_rate: int) -> tuple[int, int]:
    """Range of the latent frames of an utterance without the silence at the ends that it names.

    The silence is found in the waveform; without one, all frames are kept.
    """
    frames = spoken.f0.shape[0]
    if spoken.waveform is None or not (utterance.cut_start or utterance.cut_end):
        return 0, frames
    sounding = np.flatnonzero(find_sound(as_array(spoken.waveform), hop_length, sampling_rate, EDGE_DB))
    if not len(sounding):
        return 0, frames
    return int(sounding[0]) * utterance.cut_start, int(sounding[-1]) + 1 if utterance.cut_end else frames


def _allocate(
    utterances: Sequence[Utterance],
    spoken: Sequence[SpokenUtterance | None],
    kept: Sequence[tuple[int, int]],
    hop: int,
    silence: np.ndarray,
    output_type: str,
) -> list[np.ndarray]:
    """Silence for each text: latents (C, T) or a waveform (..., samples), with `hop` samples per frame of pause."""
    sizes = [0] * (utterances[-1].text_index + 1)
    form: Any = None
    for utterance, result, (first, stop) in zip(utterances, spoken, kept, strict=True):
        if result is not None:
            form = result.latents if result.waveform is None else result.waveform
            sizes[utterance.text_index] += (utterance.lead + stop - first + utterance.pause) * hop
    if output_type == "latent":
        still = silence if form is None else silence.astype(as_array(form).dtype)
        return [still.repeat(size, 1) for size in sizes]
    if form is None:
        return [np.zeros(size, np.float32) for size in sizes]
    return [np.zeros((*form.shape[:-1], size), as_array(form).dtype) for size in sizes]


def fade(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Fade both ends of a waveform (..., samples)."""
    faded = waveform.copy()
    _fade_in_place(faded, sampling_rate)
    return faded


def _fade_in_place(waveform: np.ndarray, sampling_rate: int) -> None:
    ramp = fade_samples(waveform.shape[-1], sampling_rate).astype(waveform.dtype)
    samples = len(ramp)
    waveform[..., :samples] *= ramp
    waveform[..., waveform.shape[-1] - samples :] *= ramp[::-1]


def fade_samples(samples: int, sampling_rate: int) -> np.ndarray:
    """Factors of the first samples of a waveform of `samples` samples; the last samples use them in reverse."""
    return np.linspace(0, 1, min(round(FADE_SECONDS * sampling_rate), samples // 2), dtype=np.float32)
