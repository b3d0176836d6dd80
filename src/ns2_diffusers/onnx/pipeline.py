"""Text to speech with onnxruntime and NumPy; without torch it starts in about a second."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..audio.loading import AudioInput
from ..audio.prompts import load_prompt
from ..pipelines import style
from ..pipelines.inputs import frame_pitch
from ..pipelines.recordings import Recent
from ..pipelines.sampling import SamplingSettings
from ..pipelines.speaking import MATCHING_SECONDS, RECENT_RECORDINGS, SpeakingMixin
from ..pipelines.streaming import Part
from ..pipelines.utterances import JoinedUtterances, SpokenUtterance, SpokenWord, Utterance
from ..pipelines.voice import Voice, VoiceMix
from ..untrusted import check_source, warn_unpinned
from .codec import OnnxCodec
from .noise import draw_seeds, generator_of, randn
from .schedulers import SCHEDULERS, OnnxScheduler
from .settings import read_settings
from .tokenizer import OnnxTokenizer
from .voice_matching import match_voice

# Upper limit of a predicted duration in frames (hours), so that it stays finite.
MOST_FRAMES = 2**24


class Settings(dict):
    """A config whose entries are also attributes, like a config of diffusers."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


@dataclass
class OnnxNaturalSpeech2PipelineOutput:
    """Speech with its durations and F0; the fields are those of `NaturalSpeech2PipelineOutput`, as arrays."""

    audios: list[np.ndarray]
    sampling_rate: int
    durations: list[np.ndarray]
    f0: list[np.ndarray]
    words: list[list[SpokenWord]]

    def to_tuple(self) -> tuple:
        """The fields in order."""
        return tuple(getattr(self, field.name) for field in fields(self))


class EncodedUtterances(NamedTuple):
    """The conditioning of the denoiser for one batch; shapes as with torch, with states in place of condition."""

    prompt: np.ndarray
    prompt_mask: np.ndarray
    durations: np.ndarray
    pitch: np.ndarray
    states: np.ndarray


@dataclass
class OnnxDenoiser:
    """The config of the denoiser, for the checks of sampling."""

    config: Settings


class OnnxNaturalSpeech2Pipeline(SpeakingMixin):
    """`NaturalSpeech2Pipeline` with onnxruntime: the same arguments, voices and results, as arrays.

        pipe = OnnxNaturalSpeech2Pipeline.from_pretrained("my-onnx-model")
        output = pipe("Any text at all.", prompt_audio="voice.wav")

    Differences: `generator` is a `numpy.random.RandomState`, which gives the same speech as torch's generator with the
    same seed; `output_type` is "np" or "latent"; callbacks receive arrays; the scheduler is that of the export.

    Args:
        sessions: sessions of onnxruntime, by the names of the graphs.
        settings: settings from the directory's `model_index.json`.
        tokenizer: see `OnnxTokenizer`.
    """

    _framework = "np"
    _output_types = ("np", "latent")
    _draw_seeds = staticmethod(draw_seeds)
    make_generator = staticmethod(generator_of)
    device = "cpu"

    def __init__(self, sessions: dict[str, Any], settings: dict[str, Any], tokenizer: OnnxTokenizer):
        super().__init__()
        self.sessions, self.tokenizer = sessions, tokenizer
        self._inputs = {name: {each.name for each in session.get_inputs()} for name, session in sessions.items()}
        self.config = Settings(settings["pipeline"])
        self.codec = OnnxCodec(settings["codec"], self._run)
        self.denoiser = OnnxDenoiser(Settings(settings["denoiser"]))
        scheduler = dict(settings["scheduler"])
        kind = scheduler.pop("_class_name")
        if kind not in SCHEDULERS:
            raise ValueError(f"the scheduler is a {kind}; wanted one of {', '.join(SCHEDULERS)}.")
        table = scheduler.pop("integrated_beta")
        self.scheduler: OnnxScheduler = SCHEDULERS[kind](Settings(scheduler), table)
        self._progress: dict[str, Any] = {}
        self._recent_prompts = Recent(RECENT_RECORDINGS)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
        session_options: Any = None,
        **download: Any,
    ) -> OnnxNaturalSpeech2Pipeline:
        """Load a directory that `export_onnx` or `ns2-diffusers export onnx` wrote.

        Args:
            pretrained_model_name_or_path: the directory, or a hub repository with its files.
            providers: execution providers of onnxruntime, in order of preference.
            session_options: `onnxruntime.SessionOptions`, for example with the number of threads.
            download: arguments of `huggingface_hub.snapshot_download`, such as `revision`.

        Raises:
            ImportError: onnxruntime is not installed.
            ValueError: the directory holds no exported pipeline, or was given with a revision.
        """
        folder = Path(pretrained_model_name_or_path)
        check_source(pretrained_model_name_or_path, revision=download.get("revision"))
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(os.fspath(pretrained_model_name_or_path), **download))
            warn_unpinned(pretrained_model_name_or_path, folder, download.get("revision"))
        settings = read_settings(folder)
        runtime = import_onnxruntime()
        options = session_options
        if options is None:
            options = runtime.SessionOptions()
            options.log_severity_level = 3
            # Threads that spin after one graph would take the processor from the next graph.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            # An arena would keep the memory of the longest sentence, for each graph.
            options.enable_cpu_mem_arena = False
        sessions = {
            path.parent.name: runtime.InferenceSession(path, options, providers=list(providers))
            for path in sorted(folder.glob("*/model.onnx"))
        }
        return cls(sessions, settings, OnnxTokenizer.from_pretrained(folder / "tokenizer"))

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the output in Hz."""
        return self.codec.sampling_rate

    def set_progress_bar_config(self, **options: Any) -> None:
        """Options of tqdm, such as `disable=True`."""
        self._progress = options

    def progress_bar(self, total: int) -> Any:
        if self._progress.get("disable", False):
            return nullcontext()
        from tqdm import tqdm

        return tqdm(total=total, **self._progress)

    def maybe_free_model_hooks(self) -> None:
        """Does nothing: no weights are offloaded."""

    def _encode_recording(self, audio: AudioInput, sampling_rate: int | None) -> np.ndarray:
        """Quantised latents (C, T) of a recording."""
        kept = max(self.config.max_voice_seconds, self.config.max_prompt_seconds)
        options = (self.sampling_rate, self.config.min_prompt_seconds, kept)
        waveform, _ = load_prompt(audio, sampling_rate, *options)
        return self.codec.encode(waveform)

    def encode_utterances(self, utterances: Sequence[Utterance]) -> EncodedUtterances:
        """Encode one batch, the left half of figure 1; as `NaturalSpeech2Pipeline.encode_utterances`, with arrays."""
        prompt, prompt_mask = self.encode_prompt([each.voice for each in utterances])
        durations, states = self.encode_text(utterances, prompt, prompt_mask)
        counts = durations.sum(1).tolist()
        mask = self._frame_mask(counts)
        states = expand(states, durations, mask)
        pitch = self.predict_pitch(utterances, durations, states, mask, prompt, prompt_mask)
        return EncodedUtterances(prompt, prompt_mask, durations, pitch, states)

    def _frame_mask(self, counts: list[int]) -> np.ndarray:
        """Mask (B, T) for items of `counts` frames; T is a whole number of patches."""
        patch = self.denoiser.config.patch_size
        return lengths_mask(counts, -(-max(counts) // patch) * patch)

    def speak(
        self,
        utterances: Sequence[Utterance],
        settings: SamplingSettings,
        voice_matching: float = 0.0,
        output_type: str = "np",
        part: Part | None = None,
    ) -> list[SpokenUtterance]:
        """Speak one batch of utterances; as `NaturalSpeech2Pipeline.speak`, with arrays."""
        encoded = self.encode_utterances(utterances) if part is None else part.encoded
        prompt, prompt_mask, durations, pitch, states = encoded
        counts, skipped = durations.sum(1).tolist(), 0
        if part is not None:
            counts, skipped = [part.stop - part.start], part.start
        settings.count(sum(counts))
        mask = self._frame_mask(counts)
        if part is not None:
            pitch, states = pad_to(pitch, part, mask), pad_to(states, part, mask)
        generators = [generator_of(each.seed + skipped) for each in utterances]
        latents = self.denoise(utterances, settings, generators, counts, states, pitch, mask, prompt, prompt_mask)
        items = [row[:, :count] for row, count in zip(latents, counts, strict=True)]
        if voice_matching:
            items = self._match(items, utterances, voice_matching)
        f0 = [row[:count] for row, count in zip(pitch, counts, strict=True)]
        rows = [row[: len(each.input_ids)] for row, each in zip(durations, utterances, strict=True)]
        waveforms: list[np.ndarray | None] = [None] * len(items)
        if output_type != "latent":
            has_pitch = utterances[0].pitch is not None and self.codec.takes_f0
            decoded = self.decode_latents(items, f0 if has_pitch else None)
            waveforms = [
                self.finish_audio(waveform, settings, self._energy(each, row))
                for waveform, each, row in zip(decoded, utterances, rows, strict=True)
            ]
        return [SpokenUtterance(*parts) for parts in zip(items, rows, f0, waveforms, strict=True)]

    def encode_prompt(self, voices: Sequence[Voice | VoiceMix]) -> tuple[np.ndarray, np.ndarray]:
        """Encode voices to prompt states (B, Tp, D) and their mask (B, Tp); as `NaturalSpeech2Pipeline`.

        The states of the last voices are cached by their latents.
        """
        heard = math.ceil(self.config.max_prompt_seconds * self.codec.frame_rate)
        return pad([self._prompt_states(voice, heard) for voice in voices])

    def _prompt_states(self, voice: Voice | VoiceMix, heard: int) -> np.ndarray:
        """Prompt states (Tp, D) of a voice, given the number of frames that are used of each recording."""
        recordings = [np.asarray(each).T.astype(np.float32) for each in voice.heard(heard)]
        kept = voice.kept(heard)

        def encode() -> np.ndarray:
            latents, mask = pad(recordings)
            states = self._run("prompt_encoder", latents=latents.transpose(0, 2, 1), prompt_mask=mask)[0]
            joined = [row[: len(each)] for row, each in zip(states, recordings, strict=True)]
            return np.concatenate(joined)[kept]

        content = (kept.tobytes(), *(each.tobytes() for each in recordings))
        return self._recent_prompts.get(content, encode)

    def encode_text(
        self, utterances: Sequence[Utterance], prompt: np.ndarray, prompt_mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Durations (B, N) int64 in latent frames, given or predicted, and phoneme states (B, N, D).

        Raises:
            ValueError: the result is longer than `max_utterance_seconds`.
        """
        ids, symbol_mask = pad([each.input_ids for each in utterances])
        states, log_durations = self._run(
            "text_encoder", input_ids=ids, symbol_mask=symbol_mask, prompt=prompt, prompt_mask=prompt_mask
        )
        if utterances[0].durations is not None:
            durations = pad([np.asarray(each.durations).astype(np.int64) for each in utterances])[0]
        else:
            rates = style.rates(utterances)
            durations = round_durations(log_durations, symbol_mask, rates if rates.ndim == 2 else rates[:, None])
        most = math.ceil(self.config.max_utterance_seconds * self.codec.frame_rate)
        if (frames := int(durations.sum(1).max())) > most:
            raise ValueError(
                f"one sentence would have {frames} latent frames, and at most {most} are spoken at once "
                "(max_utterance_seconds of the pipeline's config): shorten the text or speak it faster. A model that "
                "was not trained, or that is broken, predicts such durations too."
            )
        return durations, states

    def predict_pitch(
        self,
        utterances: Sequence[Utterance],
        durations: np.ndarray,
        states: np.ndarray,
        mask: np.ndarray,
        prompt: np.ndarray,
        prompt_mask: np.ndarray,
    ) -> np.ndarray:
        """F0 (B, T) in Hz, given or predicted; 0 where the mask is False."""
        if utterances[0].pitch is None:
            log_pitch = self._run("pitch_predictor", states=states, mask=mask, prompt=prompt, prompt_mask=prompt_mask)[
                0
            ]
            shifts = style.shifts(utterances)
            shifts = expand(shifts[..., None], durations, mask)[..., 0] if shifts.ndim == 2 else shifts[:, None]
            ranges = style.ranges(utterances)
            if isinstance(ranges, np.ndarray):
                mean = (log_pitch * mask).sum(1, keepdims=True) / mask.sum(1, keepdims=True, dtype=np.float32)
                log_pitch = mean + ranges[:, None] * (log_pitch - mean)
            return np.exp(log_pitch) * 2 ** (shifts / 12) * mask
        pitch = np.zeros(mask.shape, np.float32)
        for row, each, frames in zip(pitch, utterances, durations, strict=True):
            contour = frame_pitch(np.asarray(each.pitch), frames[: len(each.input_ids)])
            row[: len(contour)] = contour
        return pitch

    def prepare_scheduler(self, settings: SamplingSettings) -> OnnxScheduler:
        """A scheduler for one batch, with its timesteps set."""
        scheduler = copy.copy(settings.scheduler)
        scheduler.set_timesteps(settings.num_inference_steps, settings.timesteps, settings.sigmas)
        return scheduler

    def denoise(
        self,
        utterances: Sequence[Utterance],
        settings: SamplingSettings,
        generators: list[np.random.RandomState],
        counts: list[int],
        states: np.ndarray,
        pitch: np.ndarray,
        mask: np.ndarray,
        prompt: np.ndarray,
        prompt_mask: np.ndarray,
    ) -> np.ndarray:
        """The reverse process (section 3.2): latents (B, C, T), zero where the mask is False."""
        scheduler = self.prepare_scheduler(settings)
        latents = self._draw_noise(generators, counts, mask.shape[1])
        for row, each, count in zip(latents, utterances, counts, strict=True):
            if each.latents is None:
                continue
            if each.latents.shape != (wanted := (self.codec.latent_channels, count)):
                raise ValueError(
                    f"latents of shape {tuple(each.latents.shape)} were given and {wanted} is what the durations ask "
                    "for: give durations too, or leave the latents out."
                )
            row[:, :count] = each.latents
        latents = latents * np.float32(settings.temperature**-0.5)
        encoded: dict[bool, dict[str, np.ndarray]] = {}
        config, estimate = self.denoiser.config, None

        def predict(sample: np.ndarray, timestep: float, scale: float) -> np.ndarray:
            nonlocal estimate
            doubled = scale != 1 and not config.guidance_embeds
            times = 2 if doubled else 1
            if doubled not in encoded:
                given = {"states": states, "pitch": pitch, "mask": mask, "prompt": prompt, "prompt_mask": prompt_mask}
                given = {name: np.concatenate([value] * times) for name, value in given.items()}
                without = np.arange(len(given["states"])) >= len(states)
                names = [each.name for each in self.sessions["conditioning"].get_outputs()]
                encoded[doubled] = dict(zip(names, self._run("conditioning", **given, without=without), strict=True))
            sample = np.concatenate([sample] * times)
            if estimate is None or len(estimate) != len(sample):
                estimate = np.zeros_like(sample)
            predicted = self._run(
                "denoiser",
                sample=sample,
                timestep=np.full(len(sample), timestep, np.float32),
                guidance=np.full(len(sample), scale, np.float32),
                mask=np.concatenate([mask] * times),
                estimate=estimate,
                **encoded[doubled],
            )[0]
            if config.self_conditioning:
                estimate = scheduler.predict_original_sample(predicted, timestep, sample)
            if not doubled:
                return predicted
            conditional, unconditional = np.split(predicted, 2)
            return unconditional + np.float32(scale) * (conditional - unconditional)

        with (
            self._running(settings.guidance_scale) as call,
            self.progress_bar(total=len(scheduler.timesteps)) as bar,
        ):
            call.num_timesteps = len(scheduler.timesteps)
            for step, timestep in enumerate(scheduler.timesteps.tolist()):
                if call.interrupt:
                    break
                predicted = predict(latents, timestep, call.guidance_scale)
                latents = scheduler.step(
                    predicted,
                    timestep,
                    latents,
                    settings.eta,
                    lambda: self._draw_noise(generators, counts, mask.shape[1]),
                ).prev_sample
                latents = self._call_back(settings, step, timestep, latents)
                if bar is not None:
                    bar.update()
        settings.interrupted = call.interrupt
        return latents * mask[:, None]

    def _draw_noise(self, generators: list[np.random.RandomState], counts: list[int], size: int) -> np.ndarray:
        """Noise (B, C, size); each item draws its own frames."""
        noise = np.zeros((len(counts), self.codec.latent_channels, size), np.float32)
        for row, generator, count in zip(noise, generators, counts, strict=True):
            row[:, :count] = randn((self.codec.latent_channels, count), generator)
        return noise

    def _match(self, latents: list[np.ndarray], utterances: Sequence[Utterance], share: float) -> list[np.ndarray]:
        """Latents (C, T) moved towards their voices; see `match_voices`."""
        enough, silence = MATCHING_SECONDS * self.codec.frame_rate, self.codec.silence[:, 0]
        # A given melody has other statistics than the speech of the voice, so it is not matched.
        items = zip(latents, utterances, strict=True)
        return [
            item if each.has_melody else match_parts(item, each.voice, silence, share, enough) for item, each in items
        ]

    def decode_latents(
        self, latents: Sequence[np.ndarray], f0: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Latents (C, T) per item to waveforms (samples,), with F0 (T,) in Hz if it is given.

        Raises:
            ValueError: the waveform has NaN or infinity.
        """
        batch, mask = pad([item.T for item in latents])
        melody = None if f0 is None else pad(list(f0))[0]
        decoded = check_finite(self.codec.decode(batch.transpose(0, 2, 1), mask, melody))
        hop = self.codec.hop_length
        return [waveform[: item.shape[1] * hop] for waveform, item in zip(decoded, latents, strict=True)]

    def decode_in_pieces(
        self, latents: np.ndarray, frames: int, f0: np.ndarray | None = None, growth: int = 1
    ) -> Iterator[np.ndarray]:
        """Latents (C, T) to waveforms (samples,); as `NaturalSpeech2Pipeline.decode_in_pieces`, with arrays."""
        for piece in self.codec.decode_in_pieces(latents[None], frames, None if f0 is None else f0[None], growth):
            yield check_finite(piece)[0]

    def _silent_latents(self) -> np.ndarray:
        return self.codec.silence

    def _output(self, joined: JoinedUtterances, output_type: str) -> OnnxNaturalSpeech2PipelineOutput:
        return OnnxNaturalSpeech2PipelineOutput(*joined)

    def _run(self, graph: str, **arrays: np.ndarray) -> list[np.ndarray]:
        """The outputs of a graph; arrays that are not its inputs are ignored."""
        taken = self._inputs[graph]
        return self.sessions[graph].run(None, {name: each for name, each in arrays.items() if name in taken})


def match_parts(
    latents: np.ndarray, voice: Voice | VoiceMix, silence: np.ndarray, share: float, enough: float
) -> np.ndarray:
    """Apply `match_voice` for each voice of a mix; the result is the mean by weight."""
    share *= min(1.0, latents.shape[1] / enough)
    matched = [match_voice(latents, np.asarray(part.latents), silence, share) for _, part in voice.parts]
    weights = np.asarray(voice.weights, np.float32)
    return matched[0] if len(matched) == 1 else np.tensordot(weights, np.stack(matched), 1)


def check_finite(waveform: np.ndarray) -> np.ndarray:
    """Return the waveform; raise a ValueError if it contains NaN or infinity."""
    if not np.isfinite(waveform).all():
        raise ValueError(
            "the model produced NaN or infinite samples: lower the guidance scale, and check that the checkpoint was "
            "trained."
        )
    return waveform


def import_onnxruntime() -> Any:
    """Import onnxruntime at its first use.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(f'this model needs onnxruntime ({error}): pip install "ns2-diffusers[onnx]"') from error
    return onnxruntime


def pad(items: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Pad arrays (L, ...) with zeros to one array (B, longest, ...), with their mask (B, longest)."""
    lengths = [len(item) for item in items]
    padded = np.zeros((len(items), max(lengths), *items[0].shape[1:]), items[0].dtype)
    for row, item in zip(padded, items, strict=True):
        row[: len(item)] = item
    return padded, lengths_mask(lengths, max(lengths))


def pad_to(values: np.ndarray, part: Part, mask: np.ndarray) -> np.ndarray:
    """The frames of a part of (B, T, ...), padded with zeros to the length of the mask (B, T)."""
    padded = np.zeros((*mask.shape, *values.shape[2:]), values.dtype)
    padded[:, : part.stop - part.start] = values[:, part.start : part.stop]
    return padded


def lengths_mask(lengths: Sequence[int], size: int) -> np.ndarray:
    """Mask (B, size), True for the first `lengths` places of each row."""
    return np.arange(size) < np.asarray(lengths)[:, None]


def round_durations(log_durations: np.ndarray, mask: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Predicted log(1 + frames) (B, N) to whole frames, at least one per item, given speaking rates (B, 1)."""
    with np.errstate(over="ignore"):
        frames = np.round(np.expm1(log_durations) / rates)
    frames = np.nan_to_num(frames, nan=MOST_FRAMES, posinf=MOST_FRAMES).clip(0, MOST_FRAMES).astype(np.int64) * mask
    # The denoiser cannot attend to an item without frames.
    frames[:, 0] += frames.sum(1) == 0
    return frames


def expand(states: np.ndarray, durations: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Repeat each phoneme's state (B, N, D) for its frames (B, N), to the mask's length: (B, T, D)."""
    expanded = np.zeros((*mask.shape, states.shape[-1]), np.float32)
    for row, state, frames in zip(expanded, states, durations, strict=True):
        row[: frames.sum()] = state.repeat(frames, axis=0)
    return expanded
