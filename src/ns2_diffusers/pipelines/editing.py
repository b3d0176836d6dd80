"""Editing: replaces, inserts or removes words of a recording, or continues it.

The kept frames are known at every step of sampling: after each step, their latents are replaced by those of the
recording with the noise of the next timestep (RePaint, arXiv 2201.09865, without its resampling). So the new frames
fit their surroundings on both sides. The result is spliced into the recording, whose other samples do not change.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
import torch
from diffusers.utils import BaseOutput

from ..audio.loading import AudioInput, check_audible, load_audio
from ..schedulers.interchange import add_noise_of_step
from ..text.words import WordSymbols
from .alignment import AlignedSpeech, AlignmentMixin
from .changes import speaks
from .inputs import check_seconds, draw_seeds
from .utterances import read_symbols

# Seconds: context from the recording on both sides of an edit; part of each neighbouring word that is generated again;
# cross-fade within that part.
CONTEXT_SECONDS, MARGIN_SECONDS, FADE_SECONDS = 4.0, 0.08, 0.02
# Limits of the factor by which new words are slower or faster than predicted, to match the pace of the recording.
LEAST_PACE, MOST_PACE = 0.5, 2.0


@dataclass
class NaturalSpeech2EditOutput(BaseOutput):
    """An edited recording.

    Args:
        audio: (samples,) float32.
        sampling_rate: Hz; that of the recording.
        regions: (start, end) of the generated parts in samples of `audio`, cross-fades included. All other samples are
            those of the recording.
    """

    audio: np.ndarray
    sampling_rate: int
    regions: list[tuple[int, int]]


@dataclass
class Edit:
    """Replacement of a range of words: `old[i:j]` by `new[k:l]`."""

    i: int
    j: int
    k: int
    l: int  # noqa: E741


class EditingMixin(AlignmentMixin):
    """Adds `edit` to a text-to-speech pipeline."""

    scheduler: Any
    load_voice: Callable[..., Any]
    prepare_scheduler: Callable[..., Any]
    prepare_latents: Callable[..., torch.Tensor]
    denoise: Callable[..., torch.Tensor]
    decode_latents: Callable[..., list[torch.Tensor]]
    encode_prompt: Callable[..., Any]
    encode_text: Callable[..., Any]

    @speaks
    @torch.no_grad()
    def edit(
        self,
        audio: AudioInput,
        text: str,
        new_text: str,
        sampling_rate: int | None = None,
        *,
        voice: Any = None,
        aligner: Any = None,
        word_times: Sequence[tuple[float, float]] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
    ) -> NaturalSpeech2EditOutput:
        """Change words of a recording; its other samples do not change.

            >>> edited = pipe.edit("voice.wav", "I like tea.", "I like coffee.")
            >>> longer = pipe.edit("voice.wav", "I like tea.", "I like tea. You don't.")

        Words that occur in both texts in the same order are kept. A recording of several channels is mixed to mono.

        Args:
            audio: the recording, in any form that `load_audio` takes.
            text: text that is spoken in it.
            new_text: text that the edited recording will have.
            sampling_rate: Hz; only for a bare array.
            voice: voice of the new words, in any form that `load_voice` takes; the recording itself if None.
            aligner, word_times: see `align`.
            num_inference_steps, guidance_scale, temperature: as in `__call__`.
            generator: generator of the noise.

        Returns: the edited recording at its own sampling rate. The new parts have the pipeline's bandwidth.

        Raises:
            TypeError, ValueError: invalid audio or text; the texts have no word in common, or are equal; the recording
                is longer than `max_utterance_seconds`.
        """
        settings = self.check_sampling(num_inference_steps, None, None, guidance_scale, temperature, 0.0)
        old_ids, old_words = read_symbols(self.tokenizer, text)
        new_ids, new_words = read_symbols(self.tokenizer, new_text)
        edits = find_edits(keys_of(old_ids, old_words), keys_of(new_ids, new_words))
        if not edits:
            raise ValueError("text and new_text are read alike, and so there is nothing to edit: change a word.")
        if sum(edit.j - edit.i for edit in edits) == len(old_words) and len(old_words):
            raise ValueError(
                "text and new_text have no word in common: to speak other words, call the pipeline with the recording "
                "as prompt_audio."
            )
        most = self.config.max_utterance_seconds
        original, rate = load_audio(audio, sampling_rate, None, most + 1)
        check_seconds("the recording", len(original) / rate, most)
        check_audible(original, rate, self.config.min_prompt_seconds, "the recording")
        voice = self.encode_voice((rate, original)) if voice is None else self.load_voice(voice)
        speech = self.align((rate, original), text, voice=voice, aligner=aligner, word_times=word_times)
        groups = group_edits(edits, speech, round(2 * CONTEXT_SECONDS * self.codec.frame_rate))
        (seeds,) = draw_seeds(generator, [len(groups)])
        pieces = [
            self._make(group, speech, new_ids, new_words, voice, settings, seed)
            for group, seed in zip(groups, seeds, strict=True)
        ]
        new = [piece for group in pieces for piece in group]
        output = splice(original, rate, new, self.sampling_rate, self.codec.hop_length)
        self.maybe_free_model_hooks()
        return output

    def _make(
        self,
        edits: list[Edit],
        speech: AlignedSpeech,
        new_ids: np.ndarray,
        new_words: list[WordSymbols],
        voice: Any,
        settings: Any,
        seed: int,
    ) -> list[NewPiece]:
        """Generate the audio of adjacent edits in one run of the denoiser."""
        context = round(CONTEXT_SECONDS * self.codec.frame_rate)
        window = lay_out(edits, speech, new_ids, new_words, context, round(MARGIN_SECONDS * self.codec.frame_rate))
        prompt, prompt_mask = self.encode_prompt([voice])
        predicted = self.encode_text([window.input_ids], prompt, prompt_mask).durations[0].cpu().numpy()
        durations = window.durations_with(predicted)
        sources, mask, spans = window.sources(durations, speech.latents.shape[1])
        adapted = self.encode_text([window.input_ids], prompt, prompt_mask, durations=[durations])
        recorded = self.codec.predict_f0(speech.latents[None].to(self._execution_device))
        if recorded is not None:
            predicted, own = (each[0].float().cpu().numpy() for each in (adapted.pitch, recorded))
            pitch = continue_pitch(predicted, own, sources)
            adapted = self.encode_text([window.input_ids], prompt, prompt_mask, durations=[durations], pitch=[pitch])
        known = speech.latents[:, sources.clip(min=0)] * mask
        frames = [known.shape[1]]
        generators = [torch.Generator().manual_seed(seed)]
        scheduler = self.prepare_scheduler(settings)
        noise = self.prepare_latents(frames, generators, scheduler, settings.temperature)
        keep = KnownLatents(known[None].to(noise.device), mask.to(noise.device), generators)
        latents = self.denoise(
            keep.at_start(noise, scheduler),
            scheduler,
            settings,
            generators,
            frames,
            adapted.condition,
            prompt,
            prompt_mask,
            after_step=keep,
        )
        (waveform,) = self.decode_latents([latents[0]])
        hop = self.codec.hop_length
        mono = (waveform if waveform.ndim == 1 else waveform.mean(0)) / speech.gain
        return [NewPiece(mono[a * hop : b * hop], *old) for (a, b), old in spans]


class KnownLatents:
    """Replaces known latents after each step by those of the recording, with the noise of the next timestep.

    Args:
        known: (1, C, T) known latents; values where `mask` is False are not used.
        mask: (T,) boolean, True where latents are known.
        generators: list of one generator, for the noise.
    """

    def __init__(self, known: torch.Tensor, mask: torch.Tensor, generators: list[torch.Generator]):
        self.known, self.mask, self.generators = known, mask, generators

    def at_start(self, noise: torch.Tensor, scheduler: Any) -> torch.Tensor:
        return self._replace(noise, scheduler, 0)

    def __call__(self, scheduler: Any, step: int, latents: torch.Tensor) -> torch.Tensor:
        if step + 1 == len(scheduler.timesteps):
            return torch.where(self.mask, self.known.to(latents), latents)
        return self._replace(latents, scheduler, step + 1)

    def _replace(self, latents: torch.Tensor, scheduler: Any, step: int) -> torch.Tensor:
        noise = torch.randn(latents.shape, generator=self.generators[0]).to(latents)
        noisy = add_noise_of_step(scheduler, self.known.to(latents), noise, step)
        return torch.where(self.mask, noisy, latents)


@dataclass
class NewPiece:
    """The generated span of an edit.

    Args:
        waveform: (samples,) at the pipeline's rate.
        start, end: range of latent frames of the recording that it replaces.
    """

    waveform: torch.Tensor
    start: int
    end: int


@dataclass
class Window:
    """Symbols of an edited part of a text, and the known frames of each.

    Args:
        input_ids: (N,) with start and end symbols.
        old_durations: (N,) latent frames in the recording; 0 for new symbols.
        starts: (N,) first latent frame in the recording; -1 for new symbols.
        gaps: per edit: positions (first, last) of its new symbols in `input_ids`, and the range of latent frames
            (start, end) of the recording that they replace.
        margin: latent frames of neighbouring symbols that are generated again.
        sounds: (N,) whether a symbol belongs to a word; False for punctuation and silence.
    """

    input_ids: np.ndarray
    old_durations: np.ndarray
    starts: np.ndarray
    gaps: list[tuple[int, int, int, int]]
    margin: int
    sounds: np.ndarray

    def durations_with(self, predicted: np.ndarray) -> np.ndarray:
        """Durations (N,): known ones from the recording, and predicted ones scaled to the pace of the recording."""
        new = np.zeros(len(self.input_ids), bool)
        for first, last, _, _ in self.gaps:
            new[first:last] = True
        kept = ~new & self.sounds
        pace = self.old_durations[kept].sum() / max(1, predicted[kept].sum()) if kept.any() else 1.0
        scaled = np.round(predicted * np.clip(pace, LEAST_PACE, MOST_PACE)).astype(np.int64)
        return np.where(new, scaled, self.old_durations)

    def sources(
        self, durations: np.ndarray, frames: int
    ) -> tuple[np.ndarray, torch.Tensor, list[tuple[tuple[int, int], tuple[int, int]]]]:
        """The frame of the recording of each frame of the window, and which frames are known.

        Args:
            durations: durations from `durations_with`.
            frames: latent frames of the recording.

        Returns: frames of the recording (T,), -1 for new symbols; a mask (T,) of the known frames, without the
            margins; and the new and the old frames of each edit.
        """
        bounds = np.cumsum([0, *durations])
        sources = np.full(int(bounds[-1]), -1)
        for symbol, start in enumerate(self.starts):
            if start >= 0:
                sources[bounds[symbol] : bounds[symbol + 1]] = start + np.arange(durations[symbol])
        mask, spans = sources >= 0, []
        for first, last, start, end in self.gaps:
            a, b = int(bounds[first]), int(bounds[last])
            # The margins are generated again, unless the recording begins or ends there.
            before = min(self.margin, start, a)
            after = min(self.margin, frames - end, len(sources) - b)
            mask[a - before : b + after] = False
            spans.append(((a - before, b + after), (start - before, end + after)))
        return sources, torch.from_numpy(mask), spans


def continue_pitch(predicted: np.ndarray, recorded: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """F0 (T,) of a window: that of the recording where it has the frame, and predicted F0 at its height elsewhere.

    Args:
        predicted: (T,) Hz, without gaps.
        recorded: (frames,) Hz of the recording, without gaps.
        sources: (T,) frames of the recording, -1 for new symbols.
    """
    kept = sources >= 0
    if not kept.any():
        return predicted
    own = recorded[sources[kept]]
    ratio = np.exp(np.median(np.log(own) - np.log(predicted[kept])))
    pitch = predicted * ratio
    pitch[kept] = own
    return pitch.astype(np.float32)


def keys_of(input_ids: np.ndarray, words: Sequence[WordSymbols]) -> list[tuple[int, ...]]:
    """The symbols of each word; words are compared by these."""
    return [tuple(input_ids[word.first : word.last].tolist()) for word in words]


def find_edits(old: Sequence[Any], new: Sequence[Any]) -> list[Edit]:
    """Ranges of words that differ, in order."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [Edit(*span) for kind, *span in matcher.get_opcodes() if kind != "equal"]


def group_edits(edits: list[Edit], speech: AlignedSpeech, frames: int) -> list[list[Edit]]:
    """Group edits that are at most `frames` latent frames apart."""
    bounds = np.cumsum([0, *speech.durations])
    groups: list[list[Edit]] = []
    for edit in edits:
        begins = bounds[word_edge(speech.words, edit.i, len(speech.input_ids))]
        before = groups[-1][-1].j - 1 if groups else -1
        if groups and begins - bounds[speech.words[max(before, 0)].last] <= frames:
            groups[-1].append(edit)
        else:
            groups.append([edit])
    return groups


def word_edge(words: Sequence[WordSymbols], index: int, symbols: int) -> int:
    """The first symbol of a word; after the last word, the symbol after it."""
    return words[index].first if index < len(words) else (words[-1].last if words else symbols)


def lay_out(
    edits: list[Edit],
    speech: AlignedSpeech,
    new_ids: np.ndarray,
    new_words: list[WordSymbols],
    context: int,
    margin: int,
) -> Window:
    """Lay out the symbols around some edits: kept words within `context` latent frames, and the new words.

    Symbols between two words, such as a space or a comma, are new if a word next to them is new. The start symbol and
    the symbols after the last word are always those of the recording.
    """
    old_ids, words, count = speech.input_ids, speech.words, len(speech.input_ids)
    bounds = np.cumsum([0, *speech.durations])
    # Edges of the edits in the recording's symbols: after the word before, and at the word after.
    before = [words[edit.i - 1].last if edit.i else words[0].first for edit in edits]
    after = [words[edit.j].first if edit.j < len(words) else words[-1].last for edit in edits]
    first_frame, last_frame = bounds[before[0]] - context, bounds[after[-1]] + context
    inside = [word for word in words if bounds[word.first] >= first_frame and bounds[word.last] <= last_frame]
    lowest = min([before[0], *(word.first for word in inside)])
    highest = max([after[-1], *(word.last for word in inside)])
    lowest = 0 if not words or lowest <= words[0].first else lowest
    highest = count if not words or highest >= words[-1].last else highest
    ids: list[int] = []
    starts: list[int] = []
    durations: list[int] = []

    def keep(first: int, last: int) -> None:
        ids.extend(old_ids[first:last].tolist())
        starts.extend(bounds[first:last].tolist())
        durations.extend(speech.durations[first:last].tolist())

    gaps, position = [], lowest
    if lowest > 0:
        ids, starts, durations = [int(old_ids[0])], [-1], [0]
    for edit, left, right in zip(edits, before, after, strict=True):
        keep(position, left)
        a = new_words[edit.k - 1].last if edit.k else new_words[0].first if new_words else 1
        b = new_words[edit.l].first if edit.l < len(new_words) else new_words[-1].last if new_words else 1
        begin = len(ids)
        new = new_ids[a:b].tolist()
        ids += new
        starts += [-1] * len(new)
        durations += [0] * len(new)
        gaps.append((begin, len(ids), int(bounds[left]), int(bounds[right])))
        position = right
    keep(position, highest)
    if highest < count:
        ids, starts, durations = [*ids, int(old_ids[-1])], [*starts, -1], [*durations, 0]
    sounding = {symbol for word in words for symbol in old_ids[word.first : word.last].tolist()}
    input_ids = np.asarray(ids, np.int64)
    sounds = np.isin(input_ids, list(sounding))
    return Window(input_ids, np.asarray(durations), np.asarray(starts), gaps, margin, sounds)


def splice(
    original: torch.Tensor, rate: int, pieces: Sequence[NewPiece], made_rate: int, hop_length: int
) -> NaturalSpeech2EditOutput:
    """Insert pieces into a recording (samples,) at its own rate, with cross-fades within the pieces."""
    samples = original.numpy().astype(np.float32)
    fade = max(1, round(FADE_SECONDS * rate))
    parts: list[np.ndarray] = []
    regions: list[tuple[int, int]] = []
    position = written = 0
    for piece in pieces:
        start = min(len(samples), round(piece.start * hop_length * rate / made_rate))
        end = min(len(samples), round(piece.end * hop_length * rate / made_rate))
        made = piece.waveform.numpy()
        made = made.copy() if made_rate == rate else soxr.resample(made, made_rate, rate)
        parts.append(samples[position:start])
        written += len(parts[-1])
        for edge, there in (("start", start > 0), ("end", end < len(samples))):
            n = min(fade, len(made) // 2, max(end - start, 0))
            if not there or n == 0:
                continue
            ramp = np.linspace(0, 1, n + 2, dtype=np.float32)[1:-1]
            if edge == "start":
                made[:n] = ramp * made[:n] + (1 - ramp) * samples[start : start + n]
            else:
                made[-n:] = ramp[::-1] * made[-n:] + (1 - ramp[::-1]) * samples[end - n : end]
        parts.append(made)
        regions.append((written, written + len(made)))
        written += len(made)
        position = end
    parts.append(samples[position:])
    return NaturalSpeech2EditOutput(np.concatenate(parts), rate, regions)
