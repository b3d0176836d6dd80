"""Text and a voice in, speech out (NaturalSpeech 2, figure 1)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from ..audio.loading import AudioInput, check_audible, load_audio
from ..masks import pad, pad_batch, padding_mask
from ..models import conditioning
from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from ..models.modeling_outputs import VarianceAdaptorOutput
from ..models.phoneme_encoder import PhonemeEncoder
from ..models.speech_prompt_encoder import SpeechPromptEncoder
from ..models.transformer_denoiser import TransformerDenoiser
from ..models.variance_adaptor import VarianceAdaptor
from ..models.wavenet_denoiser import WaveNetDenoiser
from ..registration import register_components
from ..text.directions import TURN_PAUSE
from ..text.tokenizer import NaturalSpeech2Tokenizer
from .inputs import MOST_ITEMS, check_components_fit, check_number, frame_pitch
from .latent_diffusion import LatentDiffusionMixin, SamplingSettings
from .loading import CheckedLoadingMixin
from .lora import LoraMixin
from .model_card import ModelCardMixin
from .named_voices import NAMES, named_voices
from .pipeline_output import NaturalSpeech2PipelineOutput
from .utterances import SpokenUtterance, Utterance, batches_of_like_length, join_utterances, plan_utterances
from .voice import Voice
from .voice_matching import match_voices

register_components()

# Utterances shorter than this are matched to the voice less far.
MATCHING_SECONDS = 2.0


class NaturalSpeech2Pipeline(LatentDiffusionMixin, LoraMixin, ModelCardMixin, CheckedLoadingMixin, DiffusionPipeline):
    """Zero-shot text to speech by latent diffusion (NaturalSpeech 2, arXiv 2304.09116).

    The methods stand in the order of figure 1: `encode_voice` (the codec's encoder, 3.1), `encode_prompt` (3.3),
    `encode_text` (phonemes to durations to pitch to frames, 3.2), `prepare_latents`, `denoise` (the reverse process,
    3.2) and `decode_latents` (the codec's decoder, 3.1); the last three are those of `LatentDiffusionMixin`.

    Args:
        codec: waveforms to latents and back, e.g. `VocosCodec` or `EncodecCodec`.
        denoiser: `WaveNetDenoiser` or `TransformerDenoiser`.
        scheduler: any of this package's, or any of diffusers' made from its config.
        tokenizer, phoneme_encoder, prompt_encoder, variance_adaptor: what reads the text and the prompt.
        max_prompt_seconds: the encoders hear this much of a prompt, from its beginning.
        max_voice_seconds: a voice keeps this much of a recording, if that is more, for `voice_matching`.
        min_prompt_seconds: shorter recordings are refused.
        default_num_inference_steps, default_guidance_scale, default_voice_matching: used where a call gives None.
        max_batch_size: sentences that run in one batch. More run in several, which changes only the memory they take.
        max_utterance_seconds: what one sentence, or a song, may last; more is an error before memory is taken for it.
    """

    _card_summary = "zero-shot speech from a few seconds of a voice"
    _card_example = '"Any text at all.", prompt_audio="voice.wav"'
    _card_task = "text-to-speech"
    model_cpu_offload_seq = "prompt_encoder->phoneme_encoder->variance_adaptor->denoiser->codec"

    def __init__(
        self,
        codec: VocosCodec | EncodecCodec,
        denoiser: WaveNetDenoiser | TransformerDenoiser,
        scheduler: SchedulerMixin,
        tokenizer: NaturalSpeech2Tokenizer,
        phoneme_encoder: PhonemeEncoder,
        prompt_encoder: SpeechPromptEncoder,
        variance_adaptor: VarianceAdaptor,
        max_prompt_seconds: float = 10.0,
        max_voice_seconds: float = 30.0,
        min_prompt_seconds: float = 0.5,
        default_num_inference_steps: int = 32,
        default_guidance_scale: float = 1.0,
        default_voice_matching: float = 0.0,
        max_batch_size: int = 16,
        max_utterance_seconds: float = 300.0,
    ):
        super().__init__()
        readers = {
            "tokenizer": tokenizer,
            "phoneme_encoder": phoneme_encoder,
            "prompt_encoder": prompt_encoder,
            "variance_adaptor": variance_adaptor,
        }
        if missing := [name for name, part in readers.items() if part is None]:
            raise ValueError(
                f"the pipeline got no {', '.join(missing)}: to speak it needs {', '.join(readers)}. To generate "
                "without text, use NaturalSpeech2UnconditionalPipeline."
            )
        check_components_fit(codec, denoiser, **readers)
        # They may come from a stranger's file.
        for name, value in (
            ("max_prompt_seconds", max_prompt_seconds),
            ("max_voice_seconds", max_voice_seconds),
            ("min_prompt_seconds", min_prompt_seconds),
            ("max_utterance_seconds", max_utterance_seconds),
        ):
            check_number(name, value, "seconds, above 0 and at most 3600", above=0.0, most=3600.0)
        wanted = f"a whole number from 1 to {MOST_ITEMS}"
        check_number("max_batch_size", max_batch_size, wanted, least=1, most=MOST_ITEMS, whole=True)
        self.register_modules(codec=codec, denoiser=denoiser, scheduler=scheduler, **readers)
        self.register_to_config(
            max_prompt_seconds=max_prompt_seconds,
            max_voice_seconds=max_voice_seconds,
            min_prompt_seconds=min_prompt_seconds,
            default_num_inference_steps=default_num_inference_steps,
            default_guidance_scale=default_guidance_scale,
            default_voice_matching=default_voice_matching,
            max_batch_size=max_batch_size,
            max_utterance_seconds=max_utterance_seconds,
        )

    def check_inputs(
        self,
        prompt_audio: Any,
        voice: Any,
        num_texts: int,
        voice_matching: float | None,
        max_batch_size: int | None,
        max_seconds: float | None = None,
    ) -> None:
        """Check what no other step checks: which voice, how near to it, how many at once.

        `plan_utterances` checks what to speak and `check_sampling` how it is sampled.

        Raises:
            TypeError, ValueError: bad input; the message says what is wanted.
        """
        if prompt_audio is not None and voice is not None:
            raise ValueError(
                "give one voice to speak with: either prompt_audio (a recording of it) or voice (a name, a file or "
                "what pipe.encode_voice returned), not both."
            )
        name, given = ("voice", voice) if prompt_audio is None else ("prompt_audio", prompt_audio)
        if isinstance(given, dict) and name == "voice" and not given:
            raise ValueError("voice is an empty dict: give each speaker of the script a voice, by the name.")
        if isinstance(given, list) and len(given) not in (1, num_texts):
            raise ValueError(f"{name} has {len(given)} entries for {num_texts} texts: give one for all, or one each.")
        if voice_matching is not None:
            check_number("voice_matching", voice_matching, "0 (none) to 1 (all the way)", least=0.0, most=1.0)
        if max_batch_size is not None:
            wanted = f"a whole number from 1 to {MOST_ITEMS}"
            check_number("max_batch_size", max_batch_size, wanted, least=1, most=MOST_ITEMS, whole=True)
        if max_seconds is not None:
            check_number("max_seconds", max_seconds, "a number of seconds above 0", above=0.0)

    @torch.no_grad()
    def encode_voice(self, prompt_audio: AudioInput, prompt_sampling_rate: int | None = None) -> Voice:
        """Make a reusable voice from a recording (the codec's encoder, section 3.1).

        Args:
            prompt_audio: anything `audio.loading.load_audio` reads; resampled, made mono and cut to
                `max_voice_seconds`.
            prompt_sampling_rate: Hz, of a bare array.

        Raises:
            TypeError, ValueError: it is no audio, or NaN, silent or too short.
        """
        kept = max(self.config.max_voice_seconds, self.config.max_prompt_seconds)
        waveform, rate = load_audio(prompt_audio, prompt_sampling_rate, self.sampling_rate, kept)
        check_audible(waveform, rate, self.config.min_prompt_seconds, "the voice prompt")
        channels = waveform.expand(1, self.codec.channels, -1).to(self._execution_device, self.codec.dtype)
        latents, _ = self.codec.quantize(self.codec.encode(channels))
        self.maybe_free_model_hooks()
        return Voice(latents[0].float().cpu(), self.codec.fingerprint)

    def encode_prompt(self, voices: Sequence[Voice]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Prompt states of voices (the speech prompt encoder, section 3.3).

        Args:
            voices: B of them; `max_prompt_seconds` of each are heard.

        Returns: (B, Tp, D), and their mask (B, Tp), None where all are equally long.
        """
        heard = math.ceil(self.config.max_prompt_seconds * self.codec.frame_rate)
        latents, mask = pad_batch([voice.latents[:, :heard].T for voice in voices])
        mask = None if mask is None else mask.to(self._execution_device)
        latents = latents.transpose(1, 2).to(self._execution_device)
        return conditioning.encode_prompt(self, latents, mask), mask

    def encode_text(
        self,
        input_ids: Sequence[torch.Tensor],
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        *,
        durations: Sequence[torch.Tensor] | None = None,
        pitch: Sequence[torch.Tensor] | None = None,
        speaking_rate: Sequence[float] | float = 1.0,
        pitch_shift: Sequence[float] | float = 0.0,
    ) -> VarianceAdaptorOutput:
        """Phonemes to durations to pitch to frames (section 3.2).

        Args:
            input_ids: (N,) int64 per item, of the tokenizer.
            prompt_hidden_states, prompt_mask: of `encode_prompt`.
            durations: (N,) latent frames per item; predicted when None.
            pitch: F0 in Hz per item, (N,) per phoneme or (T,) per frame; predicted when None.
            speaking_rate: divides predicted durations; one number, or one per item.
            pitch_shift: semitones added to predicted pitch; likewise.

        Raises:
            ValueError: pitch of another length than phonemes or frames, or negative; more than
                `max_utterance_seconds`.
        """
        device, lengths = self._execution_device, [len(ids) for ids in input_ids]

        def pitch_of_frames(durations: torch.Tensor) -> torch.Tensor:
            rows = zip(pitch or (), durations.cpu(), lengths, strict=True)
            return pad([frame_pitch(f0, frames[:length]) for f0, frames, length in rows]).to(device)

        return conditioning.encode_text(
            self,
            pad(input_ids).to(device),
            padding_mask(lengths, device),
            prompt_hidden_states,
            prompt_mask,
            durations=None if durations is None else pad([each.long() for each in durations]).to(device),
            pitch=None if pitch is None else pitch_of_frames,
            speaking_rate=torch.as_tensor(speaking_rate, device=device),
            pitch_shift=torch.as_tensor(pitch_shift, device=device),
            max_frames=math.ceil(self.config.max_utterance_seconds * self.codec.frame_rate),
        )

    @torch.no_grad()
    def speak(
        self,
        utterances: Sequence[Utterance],
        settings: SamplingSettings,
        voice_matching: float = 0.0,
        output_type: str = "np",
    ) -> list[SpokenUtterance]:
        """Figure 1 for one batch of utterances, from prompt and phonemes to waveforms.

        Args:
            utterances: of `plan_utterances`, with their voices.
            settings: of `check_sampling`.
            voice_matching: 0 to 1.
            output_type: "latent" decodes nothing.
        """
        prompt, prompt_mask = self.encode_prompt([each.voice for each in utterances])
        has_durations, has_pitch = (getattr(utterances[0], name) is not None for name in ("durations", "pitch"))
        adapted = self.encode_text(
            [each.input_ids for each in utterances],
            prompt,
            prompt_mask,
            durations=[each.durations for each in utterances if each.durations is not None] if has_durations else None,
            pitch=[each.pitch for each in utterances if each.pitch is not None] if has_pitch else None,
            speaking_rate=[each.speaking_rate for each in utterances],
            pitch_shift=[each.pitch_shift for each in utterances],
        )
        assert adapted.durations is not None and adapted.pitch is not None  # predicted where they are not given
        frames = adapted.durations.sum(1).tolist()
        settings.count(sum(frames))
        generators = [torch.Generator().manual_seed(each.seed) for each in utterances]
        scheduler = self.prepare_scheduler(settings)
        given = [each.latents for each in utterances]
        noise = self.prepare_latents(frames, generators, scheduler, settings.temperature, given)
        batch = self.denoise(noise, scheduler, settings, generators, frames, adapted.condition, prompt, prompt_mask)
        latents = [item[:, :length] for item, length in zip(batch, frames, strict=True)]
        if voice_matching:
            # A given melody has other statistics than the voice's speech.
            shares = [0.0 if each.has_melody else voice_matching for each in utterances]
            prompts, enough = [each.voice.latents for each in utterances], MATCHING_SECONDS * self.codec.frame_rate
            latents = match_voices(latents, prompts, self._silent_latents()[:, 0], shares, enough)
        f0 = [row[:length] for row, length in zip(adapted.pitch.float().cpu(), frames, strict=True)]
        waveforms: Sequence[torch.Tensor | None] = [None] * len(latents)
        if output_type != "latent":
            # Latents carry a sung melody less exactly than the given F0; predicted F0 is best left to them.
            decoded = self.decode_latents(latents, f0 if has_pitch and self.codec.takes_f0 else None)
            waveforms = [self.finish_audio(waveform, settings) for waveform in decoded]
        durations = [row[: len(each.input_ids)] for row, each in zip(adapted.durations.cpu(), utterances, strict=True)]
        return [SpokenUtterance(*parts) for parts in zip(latents, durations, f0, waveforms, strict=True)]

    @torch.no_grad()
    def __call__(
        self,
        text: str | list[str] | None = None,
        prompt_audio: AudioInput | list[AudioInput] | None = None,
        *,
        prompt_sampling_rate: int | None = None,
        voice: Voice | str | os.PathLike | list[Voice | str | os.PathLike] | dict[str, Any] | None = None,
        phonemes: str | list[str] | None = None,
        durations: Any = None,
        pitch: Any = None,
        speaking_rate: float | list[float] = 1.0,
        pitch_shift: float | list[float] = 0.0,
        num_inference_steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        voice_matching: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Any = None,
        max_sentence_length: int = 200,
        turn_pause: float = TURN_PAUSE,
        max_batch_size: int | None = None,
        max_characters: int | None = None,
        max_seconds: float | None = None,
        limiter: bool = True,
        loudness: float | None = None,
        watermark: bool = False,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> NaturalSpeech2PipelineOutput | tuple:
        """Speak text with the voice of a prompt.

            >>> from ns2_diffusers import NaturalSpeech2Pipeline, bundled
            >>> pipe = NaturalSpeech2Pipeline.from_pretrained(bundled())
            >>> output = pipe("Any text at all.", prompt_audio="voice.wav")
            >>> output.audios[0], output.sampling_rate

        Args:
            text: one text or a list. A long text is spoken sentence by sentence, in batches, joined with pauses. It
                may say how it is spoken: `[pause 0.5s]`, `[word](/phonemes/)`, SSML (`text.directions`).
            prompt_audio: a recording of the voice for all texts, or a list with one for each: a path, array or
                tensor, `(rate, array)`, or a dict of `datasets`' Audio.
            prompt_sampling_rate: Hz, where the prompt is a bare array.
            voice: in place of `prompt_audio`: from `encode_voice`, the path of its file, the name of a voice that
                ships (`named_voices`), or a recording; a list gives one per text. A dict gives one per speaker of a
                script, by the names that begin their lines (`Anna: …`). The first named voice speaks where nothing
                is given.
            phonemes: in place of `text`, in the tokenizer's symbols.
            durations: latent frames of start, each phoneme and end: `len(phonemes) + 2` whole numbers per text;
                predicted when None. A text with given durations, pitch or latents is not split.
            pitch: F0 in Hz, one value per frame or one per phoneme (start and end included), 0 where unvoiced;
                predicted when None.
            speaking_rate: 2 is twice as fast; 0.1 to 4, where durations are predicted.
            pitch_shift: in semitones, -60 to 60; where pitch is predicted.
            num_inference_steps: steps of the scheduler; when None, the most that a distilled denoiser was trained
                for, or `default_num_inference_steps` of the pipeline's config.
            timesteps, sigmas: in place of `num_inference_steps`, the scheduler's own steps, the most noise first.
            guidance_scale: above 1, each step runs a doubled batch with and without condition and prompt
                (a distilled denoiser takes the scale itself, within its `guidance_range`, in one call);
                `default_guidance_scale` of the pipeline's config when None.
            temperature: the latents start from N(0, 1/temperature); the scheduler's config when None.
            eta: of DDIM: 0 deterministic, 1 as much noise as DDPM.
            voice_matching: 0 to 1, how far latents are moved towards the statistics and the frames of the prompt
                (`match_voice`), for likeness at some cost of smoothness; `default_voice_matching` of the pipeline's
                config when None. Less than 2 s are moved less far, and what has a melody of its own (`pitch` or
                `pitch_shift`) not at all.
            generator: one for all, or one per text; a text then sounds the same whatever shares its batch.
            latents: unit noise (B, C, T) to start from, where T is the sum of the durations.
            max_sentence_length: characters that a sentence may have before it is split further.
            turn_pause: seconds of silence between the lines of two speakers.
            max_batch_size: sentences that run in one batch; `max_batch_size` of the pipeline's config when None.
            max_characters: longer texts, all together, are refused.
            max_seconds: of speech in this call, without pauses; where it is reached, the call ends with an error.
            limiter: turn sentences down for the few milliseconds in which they would clip.
            loudness: LUFS of each sentence (EBU R128), such as -16; as it comes when None. Needs pyloudnorm.
            watermark: mark the audio inaudibly as synthetic, for `ns2-diffusers detect`. Needs resemble-perth.
            output_type: "np", "pt" or "latent".
            callback_on_step_end: called as `callback(pipe, step, timestep, {"latents": …})` after each step of each
                batch; what it returns replaces the latents. It may set `pipe._guidance_scale`, and `pipe._interrupt`
                to end the call: sentences that were not begun are then left out.

        Returns:
            `NaturalSpeech2PipelineOutput`, or a tuple of its fields if `return_dict` is False.

        Raises:
            TypeError, ValueError: bad input; the message says what is wanted.
        """
        # 1. Check the inputs
        settings = self.check_sampling(
            num_inference_steps,
            timesteps,
            sigmas,
            guidance_scale,
            temperature,
            eta,
            output_type,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
            limiter,
            loudness,
            watermark,
        )
        what = (text, phonemes, durations, pitch, latents, speaking_rate, pitch_shift, generator, max_sentence_length)
        script = voice if isinstance(voice, dict) else ()
        limits = (self.config.max_utterance_seconds, max_characters)
        texts = plan_utterances(self.tokenizer, self.codec.frame_rate, *what, script, turn_pause, *limits)
        self.check_inputs(prompt_audio, voice, len(texts), voice_matching, max_batch_size, max_seconds)
        settings.frames_left = math.inf if max_seconds is None else max_seconds * self.codec.frame_rate
        if voice_matching is None:
            voice_matching = self.config.default_voice_matching

        # 2. Encode the voices
        utterances = self._with_voices(texts, prompt_audio, prompt_sampling_rate, voice)

        # 3. Speak batches of sentences of like length
        spoken: list[SpokenUtterance | None] = [None] * len(utterances)
        for batch in batches_of_like_length(utterances, max_batch_size or self.config.max_batch_size):
            if settings.interrupted:
                break
            results = self.speak([utterances[index] for index in batch], settings, voice_matching, output_type)
            for index, result in zip(batch, results, strict=True):
                spoken[index] = result

        # 4. Join the sentences of each text
        form = (self.sampling_rate, self.codec.hop_length, self._silent_latents(), output_type)
        output = join_utterances(utterances, spoken, *form)
        self.maybe_free_model_hooks()
        return output if return_dict else output.to_tuple()

    def plan(
        self,
        text: str,
        prompt_audio: AudioInput | None = None,
        *,
        prompt_sampling_rate: int | None = None,
        voice: Voice | str | os.PathLike | dict[str, Any] | None = None,
        speaking_rate: float = 1.0,
        pitch_shift: float = 0.0,
        generator: torch.Generator | None = None,
        max_sentence_length: int = 200,
        turn_pause: float = TURN_PAUSE,
        max_characters: int | None = None,
    ) -> list[Utterance]:
        """The sentences of one text, checked, with their voices and seeds: what `speak` speaks.

        The arguments are those of `__call__`.

        Raises:
            TypeError, ValueError: bad input; the message says what is wanted.
        """
        if not isinstance(text, str):
            raise TypeError(f"one text is wanted, a str; got a {type(text).__name__}.")
        what = (text, None, None, None, None, speaking_rate, pitch_shift, generator, max_sentence_length)
        script = voice if isinstance(voice, dict) else ()
        limits = (self.config.max_utterance_seconds, max_characters)
        texts = plan_utterances(self.tokenizer, self.codec.frame_rate, *what, script, turn_pause, *limits)
        self.check_inputs(prompt_audio, voice, 1, None, None)
        return self._with_voices(texts, prompt_audio, prompt_sampling_rate, voice)

    @torch.no_grad()
    def finish(self, utterance: Utterance, spoken: SpokenUtterance) -> NaturalSpeech2PipelineOutput:
        """One sentence of `speak`, faded and with the silence around it; its words count from its beginning."""
        form = (self.sampling_rate, self.codec.hop_length, self._silent_latents(), "np")
        return join_utterances([replace(utterance, text_index=0)], [spoken], *form)

    def sentences(
        self,
        text: str,
        prompt_audio: AudioInput | None = None,
        *,
        num_inference_steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        voice_matching: float | None = None,
        max_batch_size: int = 1,
        max_seconds: float | None = None,
        limiter: bool = True,
        loudness: float | None = None,
        watermark: bool = False,
        **plan: Any,
    ) -> Iterator[NaturalSpeech2PipelineOutput]:
        """Speak one text sentence by sentence; the pieces put together are what `__call__` returns.

        What is wrong with the arguments is raised at once, not with the first sentence. The scheduler is that of this
        moment, whatever the pipeline's becomes while the sentences are read.

        Args:
            max_batch_size: sentences that are made together; 1 gives the first as soon as possible.
            plan: of `plan`.

        All other arguments are those of `__call__`.

        Yields: one sentence each, with the silence around it. Its words count from its beginning.
        """
        finish = {"limiter": limiter, "loudness": loudness, "watermark": watermark}
        steps = (num_inference_steps, timesteps, sigmas)
        settings = self.check_sampling(*steps, guidance_scale, temperature, eta, **finish)  # type: ignore[arg-type]
        self.check_inputs(None, None, 1, voice_matching, max_batch_size, max_seconds)
        settings.frames_left = math.inf if max_seconds is None else max_seconds * self.codec.frame_rate
        matching = self.config.default_voice_matching if voice_matching is None else voice_matching
        utterances = self.plan(text, prompt_audio, **plan)

        def pieces() -> Iterator[NaturalSpeech2PipelineOutput]:
            try:
                for start in range(0, len(utterances), max_batch_size):
                    batch = utterances[start : start + max_batch_size]
                    # Nothing is yielded inside `no_grad`, which would reach into the caller's loop.
                    for utterance, spoken in zip(batch, self.speak(batch, settings, matching), strict=True):
                        yield self.finish(utterance, spoken)
            finally:
                self.maybe_free_model_hooks()

        return pieces()

    def stream(self, text: str, prompt_audio: AudioInput | None = None, **options: Any) -> Iterator[np.ndarray]:
        """The audio of `sentences`, whose arguments these are.

        Yields: (samples,) float32 arrays, each with the pause that follows it.
        """
        pieces = self.sentences(text, prompt_audio, **options)
        return (np.asarray(piece.audios[0]) for piece in pieces)

    def _with_voices(
        self, texts: list[list[Utterance]], prompt_audio: Any, prompt_sampling_rate: int | None, voice: Any
    ) -> list[Utterance]:
        """Fill in the voice of each utterance: one for all texts, one for each, or one for each speaker."""
        if isinstance(voice, dict):
            speakers = {name: self.load_voice(each, prompt_sampling_rate) for name, each in voice.items()}
            for utterance in (each for utterances in texts for each in utterances):
                utterance.voice = speakers[str(utterance.speaker)]
            return [utterance for utterances in texts for utterance in utterances]
        if prompt_audio is None:
            given = NAMES[0] if voice is None else voice
            many = given if isinstance(given, list) else [given]
            voices = [self.load_voice(each, prompt_sampling_rate) for each in many]
        else:
            many = prompt_audio if isinstance(prompt_audio, list) else [prompt_audio]
            voices = [self.encode_voice(each, prompt_sampling_rate) for each in many]
        for index, utterances in enumerate(texts):
            for utterance in utterances:
                utterance.voice = voices[index if len(voices) > 1 else 0]
        return [utterance for utterances in texts for utterance in utterances]

    def load_voice(self, voice: Any, prompt_sampling_rate: int | None = None) -> Voice:
        """A voice by whatever names it: itself, its file, a name (a file of that name comes first), a recording.

        Raises:
            TypeError, ValueError: there is no such voice, or it is of another codec.
        """
        if isinstance(voice, (str, os.PathLike)):
            path, named = os.fspath(voice), named_voices()
            if path in named and not os.path.exists(path):
                return self.encode_voice(named[path])
            if path.endswith(".safetensors"):
                voice = Voice.load(path)
            elif not os.path.exists(path):
                raise ValueError(
                    f"voice is {path!r}, which is neither a file nor one of the voices that ship: {', '.join(named)}."
                )
        if not isinstance(voice, Voice):
            return self.encode_voice(voice, prompt_sampling_rate)
        if voice.latents.shape[0] != self.codec.latent_channels:
            raise ValueError(
                f"this voice has {voice.latents.shape[0]} channels and the pipeline's codec has "
                f"{self.codec.latent_channels}: encode the recording again with this pipeline."
            )
        if voice.codec_fingerprint != self.codec.fingerprint:
            raise ValueError(
                f"this voice was made with codec {voice.codec_fingerprint} and the pipeline has codec "
                f"{self.codec.fingerprint}: encode the recording again with this pipeline."
            )
        return voice
