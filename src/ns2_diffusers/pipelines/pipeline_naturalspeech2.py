"""Text and a voice in, speech out (NaturalSpeech 2, figure 1)."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from torch.nn.utils.rnn import pad_sequence

from ..audio.loading import AudioInput, check_audible, load_audio
from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from ..models.phoneme_encoder import PhonemeEncoder
from ..models.speech_prompt_encoder import SpeechPromptEncoder
from ..models.transformer_denoiser import TransformerDenoiser
from ..models.variance_adaptor import VarianceAdaptor
from ..models.wavenet_denoiser import WaveNetDenoiser
from ..schedulers.noise_schedules import DEFAULT_TEMPERATURE, VariancePreservingMixin
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from ..text.sentences import pause_after
from ..text.tokenizer import NaturalSpeech2Tokenizer
from .inputs import (
    as_texts,
    check_components_fit,
    draw_seeds,
    frame_pitch,
    per_text,
    per_text_tensor,
    speakable_sentences,
    steps_to_take,
)
from .lora import LoraMixin
from .model_card import ModelCardMixin
from .pipeline_output import NaturalSpeech2PipelineOutput
from .voice import Voice
from .voice_matching import match_voice

logger = logging.get_logger(__name__)

# diffusers imports a component's library only if it is registered here.
LOADABLE_CLASSES["ns2_diffusers"] = {
    name: ["save_pretrained", "from_pretrained"]
    for name in ("ModelMixin", "SchedulerMixin", "DiffusionPipeline", "PreTrainedTokenizer")
}

OUTPUT_TYPES = ("np", "pt", "latent")
# Sentences that run in one batch; more run in several, which changes nothing but the memory they take.
MOST_AT_ONCE = 16
# Sentences that are joined fade in and out over this long, so that no edge clicks.
FADE_SECONDS = 0.005


@dataclass
class Utterance:
    """One sentence to speak: what goes into an item of a batch."""

    input_ids: torch.Tensor
    voice: Voice
    seed: int
    text_index: int = 0
    pause: float = 0.0
    speaking_rate: float = 1.0
    pitch_shift: float = 0.0
    durations: torch.Tensor | None = None
    pitch: torch.Tensor | None = None
    latents: torch.Tensor | None = None


@dataclass
class Spoken:
    """An utterance as latents (C, T), with what was decided on the way."""

    latents: torch.Tensor
    durations: torch.Tensor | None = None
    f0: torch.Tensor | None = None
    is_sung: bool = False  # to a melody that was given


@dataclass
class SamplingOptions:
    """How latents are drawn, the same for every item."""

    num_inference_steps: int
    guidance_scale: float
    temperature: float | None
    eta: float
    voice_matching: float
    callback: Callable | None
    callback_inputs: Sequence[str]


class NaturalSpeech2Pipeline(LoraMixin, ModelCardMixin, DiffusionPipeline):
    """Zero-shot text to speech by latent diffusion (NaturalSpeech 2, arXiv 2304.09116).

    Args:
        codec: waveforms to latents and back, e.g. `VocosCodec` or `EncodecCodec`.
        denoiser: `WaveNetDenoiser` or `TransformerDenoiser`.
        scheduler: any of this package's, or any of diffusers' made from its config.
        tokenizer, phoneme_encoder, prompt_encoder, variance_adaptor: all of them, or, for a pipeline that
            only generates unconditionally, none.
        max_prompt_seconds: the encoders hear the first so many seconds of a prompt.
        max_voice_seconds: a voice keeps so many, if that is more, for `voice_matching`.
        min_prompt_seconds: shorter ones are refused.
        default_num_inference_steps: where a call does not say how many.
        default_guidance_scale: where a call does not say which.
        default_voice_matching: where a call does not say how much.
    """

    model_cpu_offload_seq = "prompt_encoder->phoneme_encoder->variance_adaptor->denoiser->codec"
    _optional_components = ["tokenizer", "phoneme_encoder", "prompt_encoder", "variance_adaptor"]
    _callback_tensor_inputs = ["latents"]

    def __init__(
        self,
        codec: VocosCodec | EncodecCodec,
        denoiser: WaveNetDenoiser | TransformerDenoiser,
        scheduler: SchedulerMixin,
        tokenizer: NaturalSpeech2Tokenizer | None = None,
        phoneme_encoder: PhonemeEncoder | None = None,
        prompt_encoder: SpeechPromptEncoder | None = None,
        variance_adaptor: VarianceAdaptor | None = None,
        max_prompt_seconds: float = 10.0,
        max_voice_seconds: float = 30.0,
        min_prompt_seconds: float = 0.5,
        default_num_inference_steps: int = 32,
        default_guidance_scale: float = 1.0,
        default_voice_matching: float = 0.0,
    ):
        super().__init__()
        readers = {
            "tokenizer": tokenizer,
            "phoneme_encoder": phoneme_encoder,
            "prompt_encoder": prompt_encoder,
            "variance_adaptor": variance_adaptor,
        }
        missing = [name for name, part in readers.items() if part is None]
        if 0 < len(missing) < len(readers):
            raise ValueError(
                f"the pipeline got no {', '.join(missing)}: to speak it needs {', '.join(readers)}; without any of "
                "them it generates unconditionally."
            )
        check_components_fit(codec, denoiser, readers)
        self.register_modules(codec=codec, denoiser=denoiser, scheduler=scheduler, **readers)
        self.register_to_config(
            max_prompt_seconds=max_prompt_seconds,
            max_voice_seconds=max_voice_seconds,
            min_prompt_seconds=min_prompt_seconds,
            default_num_inference_steps=default_num_inference_steps,
            default_guidance_scale=default_guidance_scale,
            default_voice_matching=default_voice_matching,
        )

    @property
    def sampling_rate(self) -> int:
        """Hz of what comes out."""
        return self.codec.sampling_rate

    # Voices

    @torch.no_grad()
    def encode_voice(self, prompt_audio: AudioInput, prompt_sampling_rate: int | None = None) -> Voice:
        """Make a reusable voice from a recording.

        Args:
            prompt_audio: anything `audio.loading.load_audio` reads; resampled, made mono and cut to
                `max_voice_seconds`.
            prompt_sampling_rate: Hz, of a bare array.

        Raises:
            TypeError, ValueError: it is no audio, or NaN, silent or too short.
        """
        waveform, rate = load_audio(prompt_audio, prompt_sampling_rate, self.sampling_rate)
        kept = max(self.config.max_voice_seconds, self.config.max_prompt_seconds)
        waveform = waveform[: int(kept * rate)]
        check_audible(waveform, rate, self.config.min_prompt_seconds, "the voice prompt")
        channels = waveform.expand(1, self.codec.channels, -1).to(self._execution_device, self.codec.dtype)
        latents, _ = self.codec.quantize(self.codec.encode(channels))
        return Voice(latents[0].float().cpu(), self.codec.fingerprint)

    def _check_voice(self, voice: Any) -> Voice:
        if isinstance(voice, (str, os.PathLike)):
            voice = Voice.load(voice)
        if not isinstance(voice, Voice):
            raise TypeError(
                f"voice is a {type(voice).__name__}: give what pipe.encode_voice returned, or the path of its file; "
                "audio goes into prompt_audio."
            )
        if voice.codec_fingerprint != self.codec.fingerprint:
            raise ValueError(
                f"this voice was made with codec {voice.codec_fingerprint} and the pipeline has codec "
                f"{self.codec.fingerprint}: encode the recording again with this pipeline."
            )
        return voice

    # What to speak

    @torch.no_grad()
    def __call__(
        self,
        text: str | list[str] | None = None,
        prompt_audio: AudioInput | list[AudioInput] | None = None,
        prompt_sampling_rate: int | None = None,
        voice: Voice | str | list[Voice | str] | None = None,
        phonemes: str | list[str] | None = None,
        durations: Any = None,
        pitch: Any = None,
        speaking_rate: float | list[float] = 1.0,
        pitch_shift: float | list[float] = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        voice_matching: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        length: int | None = None,
        batch_size: int = 1,
        max_sentence_length: int = 200,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> NaturalSpeech2PipelineOutput | tuple:
        """Speak text with the voice of a prompt, or generate audio from nothing.

        Args:
            text: one text or a list. A long one is spoken as sentences, in one batch, joined with pauses.
            prompt_audio: a recording of the voice for all texts, or a list of one each: a path, array or
                tensor, `(rate, array)`, or a dict of `datasets`' Audio.
            prompt_sampling_rate: Hz, where the prompt is a bare array.
            voice: in place of `prompt_audio`, from `encode_voice`, or the path of its file.
            phonemes: in place of `text`, in the tokenizer's symbols.
            durations: latent frames of start, each phoneme and end: `len(phonemes) + 2` whole numbers a
                text; predicted when None. A text with given durations, pitch or latents is not split.
            pitch: F0 in Hz, a value a frame or a value a phoneme (start and end included), 0 unvoiced;
                predicted when None.
            speaking_rate: 2 is twice as fast; where durations are predicted.
            pitch_shift: in semitones; where pitch is predicted.
            num_inference_steps: steps of the scheduler; when None, the most that a distilled denoiser was trained
                for, or `default_num_inference_steps` of the pipeline's config.
            guidance_scale: above 1, each step runs a doubled batch with and without condition and prompt
                (a distilled denoiser takes the scale itself, within its `guidance_range`, in one call);
                `default_guidance_scale` of the pipeline's config when None.
            temperature: the latents start from N(0, 1/temperature); the scheduler's own when None.
            eta: of DDIM: 0 deterministic, 1 as much noise as DDPM.
            voice_matching: 0 to 1, how far latents are moved towards the statistics and the frames of the prompt
                (`match_voice`), for likeness at some cost of smoothness; `default_voice_matching` of the pipeline's
                config when None. Less than 2 s are moved less far, and what has a melody of its own (`pitch` or
                `pitch_shift`) not at all.
            generator: one for all, or one a text; a text then sounds the same whatever shares its batch.
            latents: unit noise (B, C, T) to start from, T being what the durations sum to.
            length: latent frames, for audio without text; then `batch_size` says how many.
            max_sentence_length: characters a sentence may have before it is split further.
            output_type: "np", "pt" or "latent".
            callback_on_step_end: called as `callback(pipe, step, timestep, {"latents": …})` after each
                step; what it returns replaces the latents.

        Returns:
            `NaturalSpeech2PipelineOutput`, or a tuple of its fields if `return_dict` is False.

        Raises:
            TypeError, ValueError: bad input; the message says what is wanted.
        """
        options = self._check_sampling(
            num_inference_steps,
            guidance_scale,
            temperature,
            eta,
            voice_matching,
            output_type,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
        )
        if length is not None:
            self._check_unconditional(text, phonemes, prompt_audio, voice, length, batch_size)
            spoken = self._generate(length, batch_size, generator, latents, options)
            audios = [self._convert(piece, output_type) for piece in self._decode(spoken, output_type)]
            output = NaturalSpeech2PipelineOutput(audios, self.sampling_rate)
            return output if return_dict else output.to_tuple()

        utterances = self._plan(
            text,
            phonemes,
            prompt_audio,
            prompt_sampling_rate,
            voice,
            durations,
            pitch,
            latents,
            speaking_rate,
            pitch_shift,
            generator,
            max_sentence_length,
        )
        spoken = self._speak(utterances, options)
        output = self._join(utterances, spoken, output_type)
        return output if return_dict else output.to_tuple()

    @torch.no_grad()
    def stream(
        self,
        text: str,
        prompt_audio: AudioInput | None = None,
        prompt_sampling_rate: int | None = None,
        voice: Voice | str | None = None,
        speaking_rate: float = 1.0,
        pitch_shift: float = 0.0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        voice_matching: float | None = None,
        generator: torch.Generator | None = None,
        max_sentence_length: int = 200,
    ) -> Iterator[np.ndarray]:
        """Speak one text sentence by sentence; the pieces put together are what `__call__` returns.

        The arguments are those of `__call__`. What is wrong with them is raised at once, not with the first
        sentence.

        Yields: (samples,) float32 arrays, each with the pause that follows it.
        """
        if not isinstance(text, str):
            raise TypeError(f"stream speaks one text, a str; got a {type(text).__name__}.")
        options = self._check_sampling(
            num_inference_steps, guidance_scale, temperature, eta, voice_matching, "np", None, ("latents",)
        )
        utterances = self._plan(
            text,
            None,
            prompt_audio,
            prompt_sampling_rate,
            voice,
            None,
            None,
            None,
            speaking_rate,
            pitch_shift,
            generator,
            max_sentence_length,
        )

        def pieces():
            for utterance in utterances:
                with torch.no_grad():
                    spoken = self._speak([utterance], options)
                    yield self._join([utterance], spoken, "np").audios[0]

        return pieces()

    def _check_sampling(
        self, steps, guidance_scale, temperature, eta, voice_matching, output_type, callback, callback_inputs
    ) -> SamplingOptions:
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise ValueError(f"num_inference_steps is {steps!r}; wanted a whole number of at least 1.")
        steps = steps_to_take(self.scheduler, steps, self.config.default_num_inference_steps)
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is {output_type!r}; wanted one of {OUTPUT_TYPES}.")
        if guidance_scale is None:
            guidance_scale = self.config.default_guidance_scale
        if not guidance_scale >= 0:
            raise ValueError(f"guidance_scale is {guidance_scale!r}; wanted 1 (no guidance) or more.")
        denoiser = self.denoiser.config
        if guidance_scale != 1 and not (denoiser.learned_nulls or denoiser.guidance_embeds):
            raise ValueError(
                f"guidance_scale is {guidance_scale} and steers away from what the denoiser says without text and "
                "prompt, which this one never learned: leave it at 1, or train it further with condition_dropout "
                "and register_to_config(learned_nulls=True)."
            )
        least, most = denoiser.guidance_range or (0.0, math.inf)
        if not least <= guidance_scale <= most:
            raise ValueError(
                f"guidance_scale is {guidance_scale}, and this denoiser was distilled to guide itself by {least} to "
                f"{most}: choose a scale in that range, or load its teacher."
            )
        if temperature is not None and not temperature > 0:
            raise ValueError(f"temperature is {temperature!r}; wanted a number above 0 (the paper: 1.44).")
        if voice_matching is None:
            voice_matching = self.config.default_voice_matching
        if not 0 <= voice_matching <= 1:
            raise ValueError(f"voice_matching is {voice_matching!r}; wanted 0 (none) to 1 (as near as it goes).")
        unknown = [name for name in callback_inputs if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs has {unknown}; a callback can "
                f"have {self._callback_tensor_inputs}."
            )
        return SamplingOptions(steps, guidance_scale, temperature, eta, voice_matching, callback, callback_inputs)

    def _check_unconditional(self, text, phonemes, prompt_audio, voice, length, batch_size):
        if any(given is not None for given in (text, phonemes, prompt_audio, voice)):
            raise ValueError(
                "length is for audio without text: leave it out to speak (durations say how long that lasts), or "
                "leave out text, phonemes, prompt_audio and voice."
            )
        for name, number in (("length", length), ("batch_size", batch_size)):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} is {number!r}; wanted a whole number of at least 1.")

    def _plan(
        self,
        text,
        phonemes,
        prompt_audio,
        prompt_sampling_rate,
        voice,
        durations,
        pitch,
        latents,
        speaking_rate,
        pitch_shift,
        generator,
        max_sentence_length,
    ) -> list[Utterance]:
        """Check the input, encode voices and text: all that can fail before the models run."""
        if self.tokenizer is None:
            raise ValueError(
                "this pipeline has no encoders and cannot read text: call it with length=… for unconditional audio, "
                "or load a pipeline with tokenizer, phoneme_encoder, prompt_encoder and variance_adaptor."
            )
        if (text is None) == (phonemes is None):
            raise ValueError("give either text or phonemes" + (", not both." if text is not None else "."))
        texts = as_texts(text if phonemes is None else phonemes, "text" if phonemes is None else "phonemes")
        count = len(texts)
        whole = phonemes is not None or any(given is not None for given in (durations, pitch, latents))
        parts = [[each] if whole else speakable_sentences(each, max_sentence_length) for each in texts]
        encoding = {"is_phonemes": phonemes is not None, "return_tensors": "pt"}
        rates = per_text(speaking_rate, count, "speaking_rate")
        shifts = per_text(pitch_shift, count, "pitch_shift")
        if not all(0.1 <= rate <= 10 for rate in rates):
            raise ValueError(f"speaking_rate is {speaking_rate!r}; wanted numbers between 0.1 and 10.")
        durations = per_text_tensor(durations, count, "durations")
        pitch = per_text_tensor(pitch, count, "pitch")
        latents = [None] * count if latents is None else list(latents)
        if len(latents) != count:
            raise ValueError(f"latents are for {len(latents)} texts and there are {count}.")
        voices = self._voices(prompt_audio, prompt_sampling_rate, voice, count)
        seeds = draw_seeds(generator, [len(each) for each in parts])
        return [
            Utterance(
                input_ids=self.tokenizer(part, **encoding)["input_ids"][0],
                voice=voices[index],
                seed=seeds[index][position],
                text_index=index,
                pause=pause_after(part) if position + 1 < len(parts[index]) else 0.0,
                speaking_rate=rates[index],
                pitch_shift=shifts[index],
                durations=durations[index],
                pitch=pitch[index],
                latents=latents[index],
            )
            for index in range(count)
            for position, part in enumerate(parts[index])
        ]

    def _voices(self, prompt_audio, prompt_sampling_rate, voice, count) -> list[Voice]:
        if (prompt_audio is None) == (voice is None):
            raise ValueError(
                "give a voice to speak with: either prompt_audio (a few seconds of it) or voice (from "
                "pipe.encode_voice)" + (", not both." if voice is not None else ".")
            )
        name, given = ("voice", voice) if prompt_audio is None else ("prompt_audio", prompt_audio)
        many = given if isinstance(given, list) else [given]
        if len(many) not in (1, count):
            raise ValueError(f"{name} has {len(many)} entries for {count} texts: give one for all, or one each.")
        if prompt_audio is None:
            voices = [self._check_voice(each) for each in many]
        else:
            voices = [self.encode_voice(each, prompt_sampling_rate) for each in many]
        return voices if len(voices) == count else voices * count

    # Speaking

    def _speak(self, utterances: list[Utterance], options: SamplingOptions) -> list[Spoken]:
        """Speak in batches of utterances of like length; results are in the order of the utterances."""
        order = sorted(range(len(utterances)), key=lambda index: len(utterances[index].input_ids))
        spoken = [None] * len(utterances)
        for start in range(0, len(order), MOST_AT_ONCE):
            chosen = order[start : start + MOST_AT_ONCE]
            batch = self._speak_batch([utterances[index] for index in chosen], options)
            for index, result in zip(chosen, batch, strict=True):
                spoken[index] = result
        return spoken

    def _speak_batch(self, utterances: list[Utterance], options: SamplingOptions) -> list[Spoken]:
        adapted, prompt, prompt_mask = self._condition(utterances)
        mask = adapted.condition_mask
        frames = mask.sum(1).tolist()
        guided = options.guidance_scale != 1 and not self.denoiser.config.guidance_embeds
        condition = adapted.condition
        if guided:
            # The second half of the doubled batch goes without condition and prompt.
            condition, prompt = torch.cat([condition] * 2), torch.cat([prompt] * 2)
            prompt_mask = torch.cat([prompt_mask] * 2)
            without = torch.arange(len(condition), device=condition.device) >= len(utterances)
            condition, prompt = self.denoiser.replace_with_nulls(condition, prompt, without, without)
        sample_mask = torch.cat([mask] * 2) if guided else mask
        conditioning = self.denoiser.encode_conditioning(condition, prompt, prompt_mask, sample_mask=sample_mask)
        generators = [torch.Generator().manual_seed(utterance.seed) for utterance in utterances]
        noise = self._initial_noise(frames, generators, [utterance.latents for utterance in utterances])
        latents = self._denoise(noise, mask, conditioning, guided, generators, options)
        spoken = [item[:, :length] for item, length in zip(latents, frames, strict=True)]
        if options.voice_matching:
            spoken = self._match_voices(spoken, utterances, options.voice_matching)
        durations, f0 = adapted.durations.cpu(), adapted.pitch.float().cpu()
        return [
            Spoken(item, durations[i, : len(utterance.input_ids)], f0[i, : frames[i]], utterance.pitch is not None)
            for i, (item, utterance) in enumerate(zip(spoken, utterances, strict=True))
        ]

    def _match_voices(self, latents, utterances, share) -> list[torch.Tensor]:
        """Each (C, T) nearer to its prompt; statistics of a word, or of vowels held on a note, are no voice's."""
        nothing = torch.zeros(1, self.codec.channels, self.sampling_rate)
        silence = self.codec.encode(nothing.to(self._execution_device, self.codec.dtype))[0].mean(1)
        enough = 2.0 * self.codec.frame_rate
        shares = [
            0.0 if utterance.pitch is not None or utterance.pitch_shift else share * min(1.0, item.shape[1] / enough)
            for item, utterance in zip(latents, utterances, strict=True)
        ]
        return [
            match_voice(item, utterance.voice.latents, silence, each) if each else item
            for item, utterance, each in zip(latents, utterances, shares, strict=True)
        ]

    def _condition(self, utterances: list[Utterance]):
        """Run encoders and variance adaptor on a padded batch."""
        device = self._execution_device
        input_ids = pad([utterance.input_ids for utterance in utterances]).to(device)
        phoneme_mask = lengths_mask([len(utterance.input_ids) for utterance in utterances]).to(device)
        heard = math.ceil(self.config.max_prompt_seconds * self.codec.frame_rate)
        voices = [utterance.voice.latents[:, :heard].T for utterance in utterances]
        prompt_latents = pad(voices).transpose(1, 2).to(device, self.prompt_encoder.dtype)
        prompt_mask = lengths_mask([len(voice) for voice in voices]).to(device)

        prompt = self.prompt_encoder(prompt_latents, prompt_mask).last_hidden_state
        states = self.phoneme_encoder(input_ids, phoneme_mask, prompt, prompt_mask).last_hidden_state
        options = {
            "speaking_rate": torch.tensor([utterance.speaking_rate for utterance in utterances], device=device),
            "pitch_shift": torch.tensor([utterance.pitch_shift for utterance in utterances], device=device),
            "durations": self._given_durations(utterances),
        }
        adapted = self.variance_adaptor(states, phoneme_mask, prompt, prompt_mask, **options)
        if utterances[0].pitch is not None:
            pitch = [
                frame_pitch(utterance.pitch, durations[: len(utterance.input_ids)])
                for utterance, durations in zip(utterances, adapted.durations.cpu(), strict=True)
            ]
            options |= {"durations": adapted.durations, "pitch": pad(pitch).to(device)}
            adapted = self.variance_adaptor(states, phoneme_mask, prompt, prompt_mask, **options)
        return adapted, prompt, prompt_mask

    def _given_durations(self, utterances: list[Utterance]) -> torch.Tensor | None:
        if utterances[0].durations is None:
            return None
        for utterance in utterances:
            durations, wanted = utterance.durations, len(utterance.input_ids)
            if len(durations) != wanted:
                frame = 1 / self.codec.frame_rate
                raise ValueError(
                    f"{len(durations)} durations were given and {wanted} are wanted: one for each symbol that the "
                    f"tokenizer makes, start and end included (in latent frames of {frame:.4f} s)."
                )
            if (durations != durations.round()).any() or (durations < 0).any() or durations.sum() < 1:
                raise ValueError("durations must be whole latent frames, none negative, and not all zero.")
        return pad([utterance.durations.long() for utterance in utterances]).to(self._execution_device)

    def _generate(self, length, batch_size, generator, latents, options) -> list[Spoken]:
        """Latents of `length` frames without text or prompt."""
        seeds = [seed for (seed,) in draw_seeds(generator, [1] * batch_size)]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        given = [None] * batch_size if latents is None else list(latents)
        if len(given) != batch_size:
            raise ValueError(f"latents are for {len(given)} items and batch_size is {batch_size}.")
        noise = self._initial_noise([length] * batch_size, generators, given)
        mask = torch.ones(batch_size, length, dtype=torch.bool, device=noise.device)
        conditioning = self.denoiser.encode_conditioning(batch_size=batch_size)
        latents = self._denoise(noise, mask, conditioning, False, generators, options)
        return [Spoken(item) for item in latents]

    def _initial_noise(self, frames, generators, given) -> torch.Tensor:
        """Unit noise (B, C, T), each item's drawn by itself, so that its batch does not matter."""
        channels = self.codec.latent_channels
        for latents, length in zip(given, frames, strict=True):
            if latents is not None and latents.shape != (channels, length):
                raise ValueError(
                    f"latents of shape {tuple(latents.shape)} were given and ({channels}, {length}) is what the "
                    "durations ask for: give durations too, or leave the latents out."
                )
        drawn = self._item_noise(frames, generators)
        for item, latents in enumerate(given):
            if latents is not None:
                drawn[item, :, : frames[item]] = latents.to(drawn)
        return drawn

    def _item_noise(self, frames: list[int], generators: list[torch.Generator]) -> torch.Tensor:
        shape = (1, self.codec.latent_channels)
        noise = [
            randn_tensor((*shape, length), generator)[0].T
            for length, generator in zip(frames, generators, strict=True)
        ]
        return pad(noise).transpose(1, 2).to(self._execution_device)

    def _denoise(self, noise, mask, conditioning, guided, generators, options: SamplingOptions) -> torch.Tensor:
        """The sampling loop, in float32 but for the denoiser: unit noise (B, C, T) to latents (B, C, T)."""
        scheduler, frames = self.scheduler, mask.sum(1).tolist()
        scheduler.set_timesteps(options.num_inference_steps, device=noise.device)
        if scheduler.timesteps[-1] < 0:
            raise ValueError(
                f"{type(scheduler).__name__} ends {options.num_inference_steps} steps at "
                f"timestep {scheduler.timesteps[-1]}, below 0, where no denoiser was trained: choose "
                f"another num_inference_steps."
            )
        latents = self._initial_latents(noise, options.temperature)
        takes = inspect.signature(scheduler.step).parameters
        extra = {"eta": options.eta} if "eta" in takes else {}
        draws_noise = "variance_noise" in takes and ("eta" not in takes or options.eta > 0)
        if not draws_noise and "generator" in takes:
            extra["generator"] = generators
        sample_mask = torch.cat([mask] * 2) if guided else mask
        guidance = options.guidance_scale if self.denoiser.config.guidance_embeds else None
        noise_levels = estimate = None
        if self.denoiser.config.self_conditioning:
            # Not all of diffusers' schedulers say what ẑ₀ they found; one of ours with their config does.
            noise_levels = NaturalSpeech2DDIMScheduler.from_config(scheduler.config)
        with self.progress_bar(total=len(scheduler.timesteps)) as progress:
            for step, timestep in enumerate(scheduler.timesteps):
                sample = scheduler.scale_model_input(latents, timestep).to(self.denoiser.dtype)
                sample = torch.cat([sample] * 2) if guided else sample
                predicted = self.denoiser(
                    sample,
                    timestep,
                    sample_mask=sample_mask,
                    guidance=guidance,
                    conditioning=conditioning,
                    self_condition=estimate,
                ).sample.float()
                if noise_levels is not None:
                    estimate = noise_levels.predict_original_sample(predicted, timestep, sample)
                if guided:
                    conditional, unconditional = predicted.chunk(2)
                    predicted = unconditional + options.guidance_scale * (conditional - unconditional)
                if draws_noise:
                    extra["variance_noise"] = self._item_noise(frames, generators)
                latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
                if options.callback is not None:
                    tensors = {"latents": latents} if "latents" in options.callback_inputs else {}
                    latents = (options.callback(self, step, timestep, tensors) or {}).get("latents", latents)
                progress.update()
        return latents * mask.unsqueeze(1)

    def _initial_latents(self, noise: torch.Tensor, temperature: float | None) -> torch.Tensor:
        """Unit noise scaled to where the scheduler starts, at the temperature."""
        # Our schedulers' `init_noise_sigma` contains the temperature of their config; diffusers' know none.
        config, native = self.scheduler.config, 1.0
        if isinstance(self.scheduler, VariancePreservingMixin):
            native = config.temperature
        if temperature is None:
            temperature = config.get("temperature", DEFAULT_TEMPERATURE)
        return noise * self.scheduler.init_noise_sigma * (native / temperature) ** 0.5

    # Sound

    def _decode(self, spoken: list[Spoken], output_type: str) -> list[torch.Tensor]:
        """Latents to waveforms (samples,), or (channels, samples) of a codec with several."""
        if output_type == "latent":
            return [piece.latents for piece in spoken]
        waveforms = []
        for start in range(0, len(spoken), MOST_AT_ONCE):
            batch = [piece.latents for piece in spoken[start : start + MOST_AT_ONCE]]
            latents = pad([item.T for item in batch]).transpose(1, 2).to(self.codec.dtype)
            mask = lengths_mask([item.shape[1] for item in batch]).to(latents.device)
            melody = {}
            if self.codec.takes_f0 and any(piece.is_sung for piece in spoken):
                # Latents know a melody less exactly. What they say of speech sounds better than what was planned.
                f0 = [piece.f0 * piece.is_sung for piece in spoken[start : start + MOST_AT_ONCE]]
                melody["f0"] = pad(f0).to(latents.device)
            decoded = self.codec.decode(latents, mask, **melody).float().cpu()
            samples = [item.shape[1] * self.codec.hop_length for item in batch]
            waveforms += [waveform[:, :n].squeeze(0) for waveform, n in zip(decoded, samples, strict=True)]
        for waveform in waveforms:
            report_damage(waveform)
        return waveforms

    def _join(
        self, utterances: list[Utterance], spoken: list[Spoken], output_type: str
    ) -> NaturalSpeech2PipelineOutput:
        """Put the sentences of each text together, with their pauses."""
        pieces = self._decode(spoken, output_type)
        count = utterances[-1].text_index + 1
        joined, durations, f0 = ([[] for _ in range(count)] for _ in range(3))
        for utterance, result, piece in zip(utterances, spoken, pieces, strict=True):
            index = utterance.text_index
            if output_type != "latent":
                silence = piece.new_zeros(*piece.shape[:-1], round(utterance.pause * self.sampling_rate))
                piece = torch.cat([fade(piece, self.sampling_rate), silence], dim=-1)
            joined[index].append(piece)
            durations[index].append(result.durations.numpy())
            f0[index].append(result.f0.numpy())
        audios = [self._convert(torch.cat(parts, dim=-1), output_type) for parts in joined]
        return NaturalSpeech2PipelineOutput(
            audios,
            self.sampling_rate,
            [np.concatenate(parts) for parts in durations],
            [np.concatenate(parts) for parts in f0],
        )

    @staticmethod
    def _convert(audio: torch.Tensor, output_type: str) -> np.ndarray | torch.Tensor:
        return audio.numpy() if output_type == "np" else audio


# diffusers looks a pipeline's class up among its own: this makes DiffusionPipeline.from_pretrained find ours.
diffusers.NaturalSpeech2Pipeline = NaturalSpeech2Pipeline


def pad(items: Sequence[torch.Tensor]) -> torch.Tensor:
    """Stack along a new first dimension, zeros behind the shorter ones."""
    return pad_sequence(list(items), batch_first=True)


def lengths_mask(lengths: Sequence[int]) -> torch.Tensor:
    """(B, longest) boolean, True where there is data."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def fade(waveform: torch.Tensor, sampling_rate: int) -> torch.Tensor:
    """Fade the two ends of a waveform (..., samples)."""
    samples = min(round(FADE_SECONDS * sampling_rate), waveform.shape[-1] // 2)
    ramp = torch.linspace(0, 1, samples)
    faded = waveform.clone()
    faded[..., :samples] *= ramp
    faded[..., waveform.shape[-1] - samples :] *= ramp.flip(0)
    return faded


def report_damage(waveform: torch.Tensor) -> None:
    """Raise where a waveform has NaN; warn where it would clip."""
    if not waveform.isfinite().all():
        raise ValueError(
            "the model produced NaN or infinite samples: load it in float32 or bfloat16 rather than float16, lower "
            "the guidance scale, and check that the checkpoint was trained."
        )
    over = (waveform.abs() > 1).float().mean().item()
    if over > 0:
        logger.warning(
            f"{over:.2%} of the samples go beyond [-1, 1] (peak {waveform.abs().max():.2f}) and would clip in a file: "
            "scale the audio down before you write it."
        )
