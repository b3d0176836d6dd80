"""Alignment by synthesis: finds the frames of each phoneme of a recording from its text, without a trained aligner.

The pipeline speaks the text with the voice of the recording; the durations of that speech are known. The path through
it that is nearest to the recording gives each phoneme its frames. A trained `PhonemeAligner` can replace this step.
Word times of a speech recogniser constrain both.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..audio.loading import AudioInput, check_audible, load_audio
from ..audio.prompts import LEVEL_DB, PEAK, speech_level
from ..models.phoneme_aligner import PhonemeAligner, monotonic_alignment_search, standardize
from ..text.words import WordSymbols
from .inputs import check_seconds
from .sampling import SamplingSettings
from .utterances import SpokenUtterance, Utterance, read_symbols
from .voice import Voice, VoiceMix

# Maximum number of consecutive states of a phoneme; each state is the mean of some of its frames.
STATES = 2
# Symbols per piece of reference speech; a piece ends between words.
PIECE_SYMBOLS = 120
# Added to the squared distance (per channel, in standard deviations) of frames outside a word's given times.
OUTSIDE = 25.0
# The least fit of a text, and the least mean score of the nearest states, below which noise covers the speech and the
# fit tells nothing; docs/conversion.md has the measurements.
LEAST_FIT, CLEAR = 0.73, -0.55


@dataclass
class AlignedSpeech:
    """A recording with its phonemes and their durations.

    Args:
        waveform: (samples,) float32 at the pipeline's sampling rate, and at the level of the training data.
        latents: (C, T) latents of the recording, standardised and quantised.
        input_ids: (N,) int64.
        durations: (N,) latent frames, which sum to T.
        words: the words, with the positions of their symbols.
        gain: factor by which the recording was scaled to that level.
        fit: how well the text fits the recording: 1 if each frame is as near to its phoneme as to the nearest one of
            the text, 0 if it is as near as to the average one; NaN if an aligner was given.
    """

    waveform: torch.Tensor
    latents: torch.Tensor
    input_ids: np.ndarray
    durations: np.ndarray
    words: list[WordSymbols]
    gain: float = 1.0
    fit: float = math.nan


class AlignmentMixin:
    """Adds to a text-to-speech pipeline: `align`, and `encode_speech`, which returns the latents of a recording."""

    # Attributes of the pipeline that uses this mixin.
    codec: Any
    config: Any
    tokenizer: Any
    sampling_rate: Any
    _execution_device: torch.device
    check_sampling: Callable[..., SamplingSettings]
    encode_voice: Callable[..., Voice]
    maybe_free_model_hooks: Callable[[], None]
    speak: Callable[..., list[SpokenUtterance]]

    @torch.no_grad()
    def encode_speech(
        self, audio: AudioInput, sampling_rate: int | None = None, what: str = "the recording"
    ) -> tuple[torch.Tensor, torch.Tensor, float]:
        """A recording at the pipeline's sampling rate, its latents, and the gain to the level of the training data.

        Args:
            audio, sampling_rate: as for `load_audio`.
            what: name of the recording in errors.

        Returns: waveform (samples,) and quantised latents (C, T), both with the gain, on the CPU; and the gain.

        Raises:
            TypeError, ValueError: not audio; NaN, silent, too short or longer than `max_utterance_seconds`.
        """
        most = self.config.max_utterance_seconds
        waveform, rate = load_audio(audio, sampling_rate, self.sampling_rate, most + 1)
        check_seconds(what, len(waveform) / rate, most)
        check_audible(waveform, rate, self.config.min_prompt_seconds, what)
        level = speech_level(waveform.numpy(), rate)
        gain = min(10 ** ((LEVEL_DB - level) / 20), PEAK / float(waveform.abs().max()))
        waveform = waveform * gain
        channels = waveform.expand(1, self.codec.channels, -1).to(self._execution_device, self.codec.dtype)
        latents, _ = self.codec.quantize(self.codec.encode(channels))
        self.maybe_free_model_hooks()
        return waveform, latents[0].float().cpu(), gain

    @torch.no_grad()
    def align(
        self,
        audio: AudioInput,
        text: str,
        sampling_rate: int | None = None,
        *,
        voice: Voice | VoiceMix | None = None,
        aligner: PhonemeAligner | None = None,
        word_times: Sequence[tuple[float, float]] | None = None,
        num_inference_steps: int | None = None,
    ) -> AlignedSpeech:
        """Find the latent frames of each phoneme of a recording. A text that fits it badly causes a warning.

        Args:
            audio: the recording, in any form that `load_audio` takes.
            text: text that is spoken in it, without directions.
            sampling_rate: Hz; only for a bare array.
            voice: voice of the recording; encoded from the recording if None.
            aligner: a `PhonemeAligner` for latents of this pipeline's codec; the pipeline itself if None.
            word_times: start and end of each word of the text in seconds, such as those of a speech recogniser.
            num_inference_steps: number of steps for the speech that the recording is compared with.

        Raises:
            TypeError, ValueError: invalid audio or text; more phonemes than frames; word times that do not match.
        """
        waveform, latents, gain = self.encode_speech(audio, sampling_rate)
        input_ids, words = read_symbols(self.tokenizer, text)
        if word_times is not None and len(word_times) != len(words):
            raise ValueError(
                f"word_times has {len(word_times)} pairs and the text {len(words)} words: give one each, in seconds."
            )
        if aligner is None:
            voice = self.encode_voice((self.sampling_rate, waveform)) if voice is None else voice
            means, owners = self._spoken_states(input_ids, words, voice, num_inference_steps, latents.shape[1])
            scores = -torch.cdist(standardize(latents[None])[0].T, means).square() / len(latents)
        else:
            device = aligner.device
            ids = torch.from_numpy(input_ids)[None].to(device)
            scores = aligner(latents[None].to(device), ids).log_probs[0].float().cpu()
            owners = np.arange(len(input_ids))
        if word_times is not None:
            scores = scores - OUTSIDE * self._outside(words, word_times, owners, latents.shape[1])
        if scores.shape[1] > scores.shape[0]:
            raise ValueError(
                f"the text has {len(input_ids)} phonemes and the recording {latents.shape[1]} frames: is this what is "
                "said in it?"
            )
        frames = monotonic_alignment_search(scores[None])[0].numpy()
        fit = math.nan
        if aligner is None:
            nearest = float(scores.max(1).values.mean())
            fit = fit_of(scores.numpy(), frames)
            if fit < LEAST_FIT and nearest > CLEAR:
                warnings.warn(
                    f"the text fits the recording badly ({fit:.2f}; what is said fits with {LEAST_FIT} to 1): check "
                    "that it is what is said.",
                    stacklevel=2,
                )
        durations = np.bincount(owners, frames, len(input_ids)).astype(np.int64)
        return AlignedSpeech(waveform, latents, input_ids, durations, words, gain, fit)

    def _spoken_states(
        self, input_ids: np.ndarray, words: Sequence[WordSymbols], voice: Any, steps: int | None, most: int
    ) -> tuple[torch.Tensor, np.ndarray]:
        """Reference states (S, C) of the phonemes, standardised, and the position of the symbol of each (S,)."""
        settings = self.check_sampling(steps, None, None, None, None, 0.0, "latent")
        pieces = pieces_of_text(input_ids, words, PIECE_SYMBOLS)
        start, end = input_ids[:1], input_ids[-1:]
        rows: list[torch.Tensor] = []
        durations = np.zeros(len(input_ids), np.int64)
        for first, last in pieces:
            inner = input_ids[max(first, 1) : min(last, len(input_ids) - 1)]
            utterance = Utterance(np.concatenate([start, inner, end]), voice, seed=0)
            (spoken,) = self.speak([utterance], settings, self.config.default_voice_matching, "latent")
            frames = np.asarray(spoken.durations)
            lead, tail = frames[0] * (first > 0), frames[-1] * (last < len(input_ids))
            rows.append(spoken.latents.float().cpu()[:, lead : int(frames.sum()) - tail])
            durations[first:last] = frames[0 if first == 0 else 1 : None if last == len(input_ids) else -1]
        spoken_latents = standardize(torch.cat(rows, 1)[None])[0]
        counts = durations.clip(max=STATES)
        while counts.sum() > most and counts.max() > 1:
            counts = counts.clip(max=counts.max() - 1)
        owners = np.repeat(np.arange(len(input_ids)), counts)
        bounds = np.cumsum([0, *durations])
        means = []
        for symbol, count in enumerate(counts):
            edges = bounds[symbol] + durations[symbol] * np.arange(count + 1) // max(count, 1)
            means += [spoken_latents[:, a:b].mean(1) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        return torch.stack(means), owners

    def _outside(
        self, words: Sequence[WordSymbols], times: Sequence[tuple[float, float]], owners: np.ndarray, frames: int
    ) -> torch.Tensor:
        """(T, S) 1 where a state lies more than 0.1 s outside the given times of its word, otherwise 0."""
        middle = (np.arange(frames) + 0.5) / self.codec.frame_rate
        outside = np.zeros((frames, len(owners)), np.float32)
        for word, (start, end) in zip(words, times, strict=True):
            states = (owners >= word.first) & (owners < word.last)
            outside[np.ix_((middle < start - 0.1) | (middle > end + 0.1), states)] = 1
        return torch.from_numpy(outside)


def fit_of(scores: np.ndarray, frames: np.ndarray) -> float:
    """How near the mean score of an alignment is to the mean of the best scores (1), from the mean of all (0).

    Args:
        scores: (T, S) of each frame and state.
        frames: (S,) frames of each state.
    """
    aligned = scores[np.arange(len(scores)), np.repeat(np.arange(len(frames)), frames)].mean()
    best, average = scores.max(1).mean(), scores.mean()
    return float((aligned - average) / max(best - average, 1e-8))


def pieces_of_text(input_ids: np.ndarray, words: Sequence[WordSymbols], most: int) -> list[tuple[int, int]]:
    """Split symbols into pieces (first, last) of about `most` symbols that begin with words."""
    bounds = [0]
    for word in words[1:]:
        if word.first - bounds[-1] >= most:
            bounds.append(word.first)
    return list(zip(bounds, [*bounds[1:], len(input_ids)], strict=True))
