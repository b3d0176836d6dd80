"""The methods of a text-to-speech pipeline that do not depend on the runtime: plan, speak and join sentences.

Nothing here imports torch. A runtime provides `speak` and `encode_voice`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..arrays import as_array, like
from ..audio.loading import AudioInput
from ..text.directions import TURN_PAUSE
from .changes import speaks
from .inputs import MOST_ITEMS, check_number, check_setting
from .named_voices import NAMES, named_voices, unknown_voice
from .recordings import Recent, content_key
from .sampling import SamplingMixin
from .streaming import StreamingMixin
from .style import set_energy
from .utterances import (
    JoinedUtterances,
    SpokenUtterance,
    Utterance,
    batches_of_like_length,
    join_utterances,
    plan_utterances,
)
from .voice import MOST_RECORDINGS, Voice, VoiceMix, load_mix

# Shorter utterances are matched less to the voice.
MATCHING_SECONDS = 2.0
# Maximum number of recordings whose latents are cached.
RECENT_RECORDINGS = 16


class SpeakingMixin(StreamingMixin, SamplingMixin):
    """Adds speech methods to a pipeline with `tokenizer`, `codec` and a method `speak` for batches of utterances."""

    # Attributes of the pipeline that uses this mixin.
    codec: Any
    tokenizer: Any
    sampling_rate: Any
    # Framework of a voice's latents, by its name in safetensors.
    _framework = "pt"
    speak: Callable[..., list[SpokenUtterance]]
    _encode_recording: Callable[[Any, int | None], Any]
    maybe_free_model_hooks: Callable[[], None]
    _silent_latents: Callable[[], Any]
    make_generator: Callable[[int], Any]
    _draw_seeds: Callable[[Any, list[int]], list[list[int]]]
    _output: Callable[[JoinedUtterances, str], Any]

    def check_inputs(
        self,
        prompt_audio: Any,
        voice: Any,
        num_texts: int,
        voice_matching: float | None,
        max_batch_size: int | None,
        max_seconds: float | None = None,
    ) -> None:
        """Check the arguments that no other step checks: voice, voice matching, batch size and limits.

        `plan_utterances` checks what to speak and `check_sampling` how it is sampled.

        Raises:
            TypeError, ValueError: invalid input; the message says what is expected.
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
            check_setting("voice_matching", voice_matching)
        if max_batch_size is not None:
            wanted = f"a whole number from 1 to {MOST_ITEMS}"
            check_number("max_batch_size", max_batch_size, wanted, least=1, most=MOST_ITEMS, whole=True)
        if max_seconds is not None:
            check_number("max_seconds", max_seconds, "a number of seconds above 0", above=0.0)

    @speaks
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
        pitch_range: float | list[float] = 1.0,
        energy: float | list[float] = 1.0,
        num_inference_steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        voice_matching: float | None = None,
        generator: Any = None,
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
    ) -> Any:
        """Speak text with the voice of a prompt.

            >>> from ns2_diffusers import NaturalSpeech2Pipeline, bundled
            >>> pipe = NaturalSpeech2Pipeline.from_pretrained(bundled())
            >>> output = pipe("Any text at all.", prompt_audio="voice.wav")
            >>> output.audios[0], output.sampling_rate

        Args:
            text: one text or a list. A long text is split into sentences, which are spoken in batches and joined with
                pauses. It may contain directions: `[pause 0.5s]`, `[word](/phonemes/)`, SSML (`text.directions`).
            prompt_audio: a recording of the voice for all texts, or a list with one per text: a path, array or
                tensor, `(rate, array)`, or a dict of `datasets`' Audio.
            prompt_sampling_rate: Hz; only for a bare array.
            voice: in place of `prompt_audio`: a voice from `encode_voice`, the path of its file, a named voice
                (`named_voices`), or a recording; a list has one per text. A dict has one per speaker of a script, by
                the names that begin their lines (`Anna: …`). The default is the first named voice.
            phonemes: in place of `text`: phonemes in the tokenizer's symbols.
            durations: latent frames of start, each phoneme and end: `len(phonemes) + 2` whole numbers per text;
                predicted if None. A text with given durations, pitch or latents is not split.
            pitch: F0 in Hz, one value per frame or one per phoneme (start and end included), 0 where unvoiced;
                predicted if None.
            speaking_rate: factor of the speed, 0.1 to 4; 2 is twice as fast. Only for predicted durations.
            pitch_shift: semitones, -60 to 60. Only for predicted pitch.
            pitch_range: factor of the range of F0 (in semitones around the mean of the sentence), 0 to 4; 0 is
                monotone. Only for predicted pitch.
            energy: factor of the amplitude, 0.01 to 10; applied after `loudness`. For single words, see `<emphasis>`
                of SSML.
            num_inference_steps: number of steps of the scheduler. Default: the largest number that a distilled
                denoiser was trained for, or `default_num_inference_steps` of the pipeline's config.
            timesteps, sigmas: in place of `num_inference_steps`: the scheduler's steps, the most noise first.
            guidance_scale: above 1, each step runs a doubled batch with and without condition and prompt
                (a distilled denoiser takes the scale itself, within its `guidance_range`, in one call);
                `default_guidance_scale` of the pipeline's config if None.
            temperature: the latents start from N(0, 1/temperature); the scheduler's config if None.
            eta: noise of DDIM: 0 is deterministic, 1 adds as much noise as DDPM.
            voice_matching: 0 to 1: how far latents are moved towards the statistics and the frames of the prompt
                (`match_voice`), which increases likeness and costs some smoothness; `default_voice_matching` of the
                pipeline's config if None. Speech of less than 2 s is moved less, and speech with a given melody
                (`pitch` or `pitch_shift`) is not moved.
            generator: one for all texts, or one per text; a text then does not depend on its batch.
            latents: unit noise (B, C, T) to start from, where T is the sum of the durations.
            max_sentence_length: maximum number of characters of a sentence; longer ones are split.
            turn_pause: seconds of silence between the lines of two speakers.
            max_batch_size: sentences per batch; `max_batch_size` of the pipeline's config if None.
            max_characters: maximum number of characters of all texts together.
            max_seconds: maximum duration of the speech of this call, without pauses; exceeding it is an error.
            limiter: whether to reduce the gain for the few milliseconds in which samples would clip.
            loudness: loudness of each sentence in LUFS (EBU R128), such as -16; unchanged if None. Needs pyloudnorm.
            watermark: whether to mark the audio inaudibly as synthetic, for `ns2-diffusers detect`. Needs
                resemble-perth.
            output_type: "np", "pt" or "latent".
            callback_on_step_end: called as `callback(pipe, step, timestep, {"latents": …})` after each step of each
                batch; latents in its result replace the latents. It may set `pipe._guidance_scale`, and
                `pipe._interrupt` to end the call; sentences that have not begun are then left out.
        Returns:
            `NaturalSpeech2PipelineOutput`, or a tuple of its fields if `return_dict` is False.

        Raises:
            TypeError, ValueError: invalid input; the message says what is expected.
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
        draw = partial(self._draw_seeds, generator)
        what = (text, phonemes, durations, pitch, latents, speaking_rate, pitch_shift, draw, max_sentence_length)
        script = voice if isinstance(voice, dict) else ()
        limits = (self.config.max_utterance_seconds, max_characters, pitch_range, energy)
        texts = plan_utterances(self.tokenizer, self.codec.frame_rate, *what, script, turn_pause, *limits)
        self.check_inputs(prompt_audio, voice, len(texts), voice_matching, max_batch_size, max_seconds)
        settings.frames_left = math.inf if max_seconds is None else max_seconds * self.codec.frame_rate
        if voice_matching is None:
            voice_matching = self.config.default_voice_matching

        # 2. Encode the voices
        utterances = self._with_voices(texts, prompt_audio, prompt_sampling_rate, voice)

        # 3. Speak batches of sentences of similar length
        spoken: list[SpokenUtterance | None] = [None] * len(utterances)
        for batch in batches_of_like_length(utterances, max_batch_size or self.config.max_batch_size):
            if settings.interrupted:
                break
            results = self.speak([utterances[index] for index in batch], settings, voice_matching, output_type)
            for index, result in zip(batch, results, strict=True):
                # The latents would keep the memory of their batch.
                spoken[index] = result if output_type == "latent" else replace(result, latents=None)

        # 4. Join the sentences of each text
        form = (*self._form, output_type, self.config.get("word_delay_seconds", 0.0))
        output = self._output(join_utterances(utterances, spoken, *form), output_type)
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
        pitch_range: float = 1.0,
        energy: float = 1.0,
        generator: Any = None,
        max_sentence_length: int = 200,
        turn_pause: float = TURN_PAUSE,
        max_characters: int | None = None,
        tokenizer: Any = None,
    ) -> list[Utterance]:
        """The sentences of one text, checked, with their voices and seeds, as `speak` takes them.

        Args:
            tokenizer: a copy of the pipeline's tokenizer with other settings; the pipeline's if None.

        All other arguments are those of `__call__`.

        Raises:
            TypeError, ValueError: invalid input; the message says what is expected.
        """
        if not isinstance(text, str):
            raise TypeError(f"one text is wanted, a str; got a {type(text).__name__}.")
        draw = partial(self._draw_seeds, generator)
        what = (text, None, None, None, None, speaking_rate, pitch_shift, draw, max_sentence_length)
        script = voice if isinstance(voice, dict) else ()
        limits = (self.config.max_utterance_seconds, max_characters, pitch_range, energy)
        reader = self.tokenizer if tokenizer is None else tokenizer
        texts = plan_utterances(reader, self.codec.frame_rate, *what, script, turn_pause, *limits)
        self.check_inputs(prompt_audio, voice, 1, None, None)
        return self._with_voices(texts, prompt_audio, prompt_sampling_rate, voice)

    def finish(self, utterance: Utterance, spoken: SpokenUtterance) -> Any:
        """Fade one sentence of `speak` and add its silence; word times count from the start of the sentence."""
        form = (*self._form, "np", self.config.get("word_delay_seconds", 0.0))
        return self._output(join_utterances([replace(utterance, text_index=0)], [spoken], *form), "np")

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
    ) -> Iterator[Any]:
        """Speak one text sentence by sentence; the sentences together equal the output of `__call__`.

        Invalid arguments raise at once, not with the first sentence. Later changes of the pipeline's scheduler have no
        effect. If adapters or other components change meanwhile, the next sentence raises a RuntimeError.

        Args:
            max_batch_size: sentences per batch; 1 returns the first sentence soonest.
            plan: sentences from `plan`.

        All other arguments are those of `__call__`.

        Yields: one sentence each, with its silence. Word times count from the start of the sentence.
        """
        finish = {"limiter": limiter, "loudness": loudness, "watermark": watermark}
        steps = (num_inference_steps, timesteps, sigmas)
        with self.change_guard.speaking():
            changes = self.change_guard.changes
            settings = self.check_sampling(*steps, guidance_scale, temperature, eta, **finish)  # type: ignore[arg-type]
            self.check_inputs(None, None, 1, voice_matching, max_batch_size, max_seconds)
            settings.frames_left = math.inf if max_seconds is None else max_seconds * self.codec.frame_rate
            matching = self.config.default_voice_matching if voice_matching is None else voice_matching
            utterances = self.plan(text, prompt_audio, **plan)

        def pieces() -> Iterator[Any]:
            try:
                for start in range(0, len(utterances), max_batch_size):
                    batch = utterances[start : start + max_batch_size]
                    with self.change_guard.speaking():
                        self.change_guard.check_unchanged(changes)
                        results = self.speak(batch, settings, matching)
                        finished = [self.finish(*each) for each in zip(batch, results, strict=True)]
                    # A yield inside `no_grad` would affect the caller's loop.
                    yield from finished
            finally:
                self.maybe_free_model_hooks()

        return pieces()

    @property
    def _form(self) -> tuple[int, int, Any]:
        return self.sampling_rate, self.codec.hop_length, self._silent_latents()

    def _energy(self, utterance: Utterance, durations: Any) -> Callable[[Any], Any]:
        """A function that scales the waveform of an utterance, given the latent frames of its symbols (N,)."""
        form = {"hop_length": self.codec.hop_length, "sampling_rate": self.sampling_rate}
        return partial(set_energy, utterance=utterance, durations=durations, **form)

    def _with_voices(
        self, texts: list[list[Utterance]], prompt_audio: Any, prompt_sampling_rate: int | None, voice: Any
    ) -> list[Utterance]:
        """Fill in the voice of each utterance: one for all texts, one per text, or one per speaker."""
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

    def encode_voice(
        self, prompt_audio: AudioInput | list[AudioInput], prompt_sampling_rate: int | None = None
    ) -> Voice:
        """Encode a voice from one or several recordings of one person (the codec's encoder, section 3.1).

        Args:
            prompt_audio: a recording in any form that `audio.loading.load_audio` takes, or a list. Each is resampled,
                mixed to mono, cut to `max_voice_seconds`, freed of silence and set to the level of the training data
                (`prepare_prompt`).
            prompt_sampling_rate: Hz; only for bare arrays.

        Raises:
            TypeError, ValueError: not audio; NaN, silent or too short; an empty list, or one that is too long.
        """
        given = prompt_audio if isinstance(prompt_audio, list) else [prompt_audio]
        if not 0 < len(given) <= MOST_RECORDINGS:
            raise ValueError(f"{len(given)} recordings were given for a voice; wanted 1 to {MOST_RECORDINGS}.")
        latents = [self._latents_of(audio, prompt_sampling_rate) for audio in given]
        lengths = tuple(each.shape[1] for each in latents)
        if len(latents) == 1:
            return Voice(latents[0], self.codec.fingerprint)
        joined = np.concatenate([as_array(each) for each in latents], axis=1)
        return Voice(like(joined, latents[0]), self.codec.fingerprint, lengths)

    def _latents_of(self, audio: AudioInput, sampling_rate: int | None) -> Any:
        """Quantised latents (C, T) of a recording, from the cache if it was encoded recently."""
        state, content = self._codec_state(), content_key(audio, sampling_rate)
        if state is None or content is None:
            return self._encode_recording(audio, sampling_rate)
        recent = self.__dict__.setdefault("_recent_recordings", Recent(RECENT_RECORDINGS))
        limits = (self.config.max_voice_seconds, self.config.max_prompt_seconds, self.config.min_prompt_seconds)
        latents = recent.get((content, state, limits), lambda: self._encode_recording(audio, sampling_rate))
        # A copy, because the caller may change it.
        return like(as_array(latents).copy(), latents)

    def _codec_state(self) -> Any:
        """A value that changes with the codec's weights and so invalidates cached latents; None if unknown."""
        return ()

    def load_voice(self, voice: Any, prompt_sampling_rate: int | None = None) -> Voice | VoiceMix:
        """A voice from a voice, a voice file, a name or a recording; a file takes precedence over a name.

        "0.7 * emma + 0.3 * george" is a mix of named voices or files.

        Raises:
            TypeError, ValueError: the voice does not exist, or belongs to another codec.
        """
        if isinstance(voice, (str, os.PathLike)):
            path, named = os.fspath(voice), named_voices()
            if path in named and not os.path.exists(path):
                return self.encode_voice(named[path])
            if isinstance(voice, str) and "*" in voice and not os.path.exists(voice):
                return load_mix(voice, self.load_voice)
            if path.endswith(".safetensors"):
                voice = Voice.load(path, self._framework)
            elif not os.path.exists(path):
                raise unknown_voice(path)
        if not isinstance(voice, (Voice, VoiceMix)):
            return self.encode_voice(voice, prompt_sampling_rate)
        channels = voice.parts[0][1].latents.shape[0]
        if channels != self.codec.latent_channels:
            raise ValueError(
                f"this voice has {channels} channels and the pipeline's codec has "
                f"{self.codec.latent_channels}: encode the recording again with this pipeline."
            )
        if voice.codec_fingerprint != self.codec.fingerprint:
            raise ValueError(
                f"this voice was made with codec {voice.codec_fingerprint} and the pipeline has codec "
                f"{self.codec.fingerprint}: encode the recording again with this pipeline."
            )
        return voice
