"""Texts as utterances, each one sentence to speak, and utterances joined to texts again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..text.sentences import pause_after
from .inputs import (
    as_texts,
    check_durations,
    check_number,
    draw_seeds,
    frame_pitch,
    per_text,
    per_text_latents,
    per_text_tensor,
    speakable_sentences,
)
from .pipeline_output import NaturalSpeech2PipelineOutput
from .voice import Voice

# Sentences that are joined fade in and out over this long, so that no edge clicks.
FADE_SECONDS = 0.005


@dataclass
class Utterance:
    """One sentence to speak: an item of a batch.

    Args:
        input_ids: (N,) int64.
        voice: whose voice.
        seed: of the item's noise.
        text_index: which text it belongs to.
        pause: latent frames of silence behind it.
        speaking_rate: divides predicted durations.
        pitch_shift: semitones, added to predicted pitch.
        durations: (N,) latent frames, or None to predict them.
        pitch: F0 in Hz, (N,) per phoneme or (T,) per frame, or None to predict it.
        latents: unit noise (C, T) to start from, or None to draw it.
    """

    input_ids: torch.Tensor
    voice: Voice
    seed: int
    text_index: int = 0
    pause: int = 0
    speaking_rate: float = 1.0
    pitch_shift: float = 0.0
    durations: torch.Tensor | None = None
    pitch: torch.Tensor | None = None
    latents: torch.Tensor | None = None

    @property
    def has_melody(self) -> bool:
        """Whether its pitch is the caller's rather than the voice's."""
        return self.pitch is not None or bool(self.pitch_shift)


@dataclass
class SpokenUtterance:
    """An utterance as sound.

    Args:
        latents: (C, T).
        durations: (N,) latent frames.
        f0: (T,) Hz.
        waveform: (samples,) or (channels, samples); None where only latents are wanted.
    """

    latents: torch.Tensor
    durations: torch.Tensor
    f0: torch.Tensor
    waveform: torch.Tensor | None = None


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
    generator: torch.Generator | list[torch.Generator] | None,
    max_sentence_length: int,
) -> list[list[Utterance]]:
    """Check what to speak and split it into sentences: all that can fail before a model runs.

    A text with durations, pitch or latents of its own is not split. The voice is filled in later.

    Args:
        tokenizer: of the pipeline.
        frame_rate: latent frames per second.

    All other arguments are those of the pipeline's call.

    Returns: the utterances of each text.

    Raises:
        TypeError, ValueError: bad input; the message says what is wanted.
    """
    if (text is None) == (phonemes is None):
        raise ValueError("give either text or phonemes" + (", not both." if text is not None else "."))
    texts = as_texts(text if phonemes is None else phonemes, "text" if phonemes is None else "phonemes")
    count = len(texts)
    check_number("max_sentence_length", max_sentence_length, "a whole number of at least 1", least=1, whole=True)
    rates = per_text(speaking_rate, count, "speaking_rate")
    shifts = per_text(pitch_shift, count, "pitch_shift")
    if not all(0.1 <= rate <= 10 for rate in rates):
        raise ValueError(f"speaking_rate is {speaking_rate!r}; wanted numbers between 0.1 and 10.")
    durations = per_text_tensor(durations, count, "durations")
    pitch = per_text_tensor(pitch, count, "pitch")
    latents = per_text_latents(latents, count)
    whole = phonemes is not None or any(given[0] is not None for given in (durations, pitch, latents))
    parts = [[each] if whole else speakable_sentences(each, max_sentence_length) for each in texts]
    encoding = {"is_phonemes": phonemes is not None, "return_tensors": "pt"}
    seeds = draw_seeds(generator, [len(each) for each in parts])
    planned = []
    for index in range(count):
        utterances = [
            Utterance(
                input_ids=tokenizer(part, **encoding)["input_ids"][0],
                voice=None,  # type: ignore[arg-type]  # the pipeline sets it
                seed=seeds[index][position],
                text_index=index,
                pause=round(pause_after(part) * frame_rate) if position + 1 < len(parts[index]) else 0,
                speaking_rate=rates[index],
                pitch_shift=shifts[index],
                durations=durations[index],
                pitch=pitch[index],
                latents=latents[index],
            )
            for position, part in enumerate(parts[index])
        ]
        if durations[index] is not None:
            check_durations(durations[index], len(utterances[0].input_ids), frame_rate)
            if pitch[index] is not None:
                frame_pitch(pitch[index], durations[index].long())
        planned.append(utterances)
    return planned


def batches_of_like_length(utterances: Sequence[Utterance], max_batch_size: int) -> Iterator[list[int]]:
    """Indices of utterances, `max_batch_size` at a time, the shortest first, so that little is padded."""
    order = sorted(range(len(utterances)), key=lambda index: len(utterances[index].input_ids))
    for start in range(0, len(order), max_batch_size):
        yield order[start : start + max_batch_size]


def join_utterances(
    utterances: Sequence[Utterance],
    spoken: Sequence[SpokenUtterance | None],
    sampling_rate: int,
    hop_length: int,
    silence: torch.Tensor,
    output_type: str,
) -> NaturalSpeech2PipelineOutput:
    """Put the sentences of each text together, with their pauses.

    A pause counts as frames of the sentence's last symbol, so that durations times the hop length are the samples.

    Args:
        utterances: in order; `spoken`: what was made of each, None where the call was interrupted before it.
        sampling_rate: Hz.
        hop_length: samples per latent frame.
        silence: (C, 1), a latent frame of silence.
        output_type: "np", "pt" or "latent".
    """
    count = utterances[-1].text_index + 1
    lists: list[list[list[Any]]] = [[[] for _ in range(count)] for _ in range(3)]
    audios, durations, f0 = lists
    for utterance, result in zip(utterances, spoken, strict=True):
        if result is None:
            continue
        index, pause = utterance.text_index, utterance.pause
        if result.waveform is None:
            audio = torch.cat([result.latents, silence.to(result.latents).expand(-1, pause)], dim=-1)
        else:
            quiet = result.waveform.new_zeros(*result.waveform.shape[:-1], pause * hop_length)
            audio = torch.cat([fade(result.waveform, sampling_rate), quiet], dim=-1)
        frames = result.durations.clone()
        frames[-1] += pause
        audios[index].append(audio)
        durations[index].append(frames.numpy())
        f0[index].append(np.pad(result.f0.numpy(), (0, pause)))
    nothing = torch.zeros(0) if output_type != "latent" else silence[:, :0]
    joined = [torch.cat(parts, dim=-1) if parts else nothing for parts in audios]
    return NaturalSpeech2PipelineOutput(
        [audio.numpy() if output_type == "np" else audio for audio in joined],
        sampling_rate,
        [np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in durations],
        [np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in f0],
    )


def fade(waveform: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Fade the two ends of a waveform (..., samples)."""
    samples = min(round(FADE_SECONDS * sampling_rate), waveform.shape[-1] // 2)
    ramp = torch.linspace(0, 1, samples)
    faded = waveform.clone()
    faded[..., :samples] *= ramp
    faded[..., waveform.shape[-1] - samples :] *= ramp.flip(0)
    return faded
