"""Voice conversion and enhancement: the same speech in another voice, or without noise.

Both keep the timing of a recording. With a text, the phonemes are aligned to the recording. The model then speaks them
again with the durations and the F0 of the recording. It begins with the recording's latents, moved towards the voice
and with a part of the noise (`resynthesis`; SDEdit, arXiv 2108.01073), or with the noise to which the probability-flow
ODE takes the recording (`ode`; NaturalSpeech 2, section 5, voice conversion and speech enhancement). Without a text,
the latents are only moved towards the voice (`matching`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..audio.loading import AudioInput
from ..audio.pitch import estimate_f0
from ..schedulers.interchange import add_noise_of_step, begin_in_the_middle, complete_config
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from ..schedulers.scheduling_ddim_inverse import NaturalSpeech2DDIMInverseScheduler
from ..schedulers.scheduling_euler import NaturalSpeech2EulerScheduler
from ..schedulers.scheduling_euler_inverse import NaturalSpeech2EulerInverseScheduler
from .alignment import AlignedSpeech
from .changes import speaks
from .editing import EditingMixin
from .inputs import check_method, check_setting, check_strength, draw_seeds, frame_pitch
from .pipeline_output import NaturalSpeech2PipelineOutput
from .sampling import SamplingSettings
from .speaking import MATCHING_SECONDS
from .voice import Voice, VoiceMix
from .voice_matching import match_voices, presence
from .word_times import time_words

# Default number of steps of the ODE in each direction.
ODE_STEPS = 16
# Frames with less presence than this do not count for the mean F0 of a voice.
AUDIBLE = 0.5


class ConversionMixin(EditingMixin):
    """Adds `convert` and `enhance` to a text-to-speech pipeline."""

    finish_audio: Callable[..., Any]
    _draw_noise: Callable[..., torch.Tensor]
    _silent_latents: Callable[[], torch.Tensor]

    @speaks
    @torch.no_grad()
    def convert(
        self,
        audio: AudioInput,
        text: str | None = None,
        sampling_rate: int | None = None,
        *,
        voice: Any,
        source_voice: Any = None,
        move_f0: bool = True,
        method: str | None = None,
        strength: float | None = None,
        voice_matching: float | None = None,
        aligner: Any = None,
        word_times: Sequence[tuple[float, float]] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        generator: torch.Generator | None = None,
        limiter: bool = True,
        loudness: float | None = None,
        watermark: bool = False,
    ) -> NaturalSpeech2PipelineOutput:
        """Convert a recording to another voice, and keep its timing and melody.

            >>> output = pipe.convert("voice.wav", "What is said in it.", voice="george")

        Args:
            audio: the recording, in any form that `load_audio` takes.
            text: text that is spoken in it. Without it the words are less clear and the voice changes less.
            sampling_rate: Hz; only for a bare array.
            voice: the target voice, in any form that `load_voice` takes: a voice, a name, a file or a recording.
            source_voice: clean speech of the recording's speaker, in the same forms; the recording itself if None. The
                phonemes are aligned with it, which is more exact if the recording is noisy.
            move_f0: whether to move the F0 to the median of the target voice.
            method: "resynthesis" (with a text), "ode" (the paper's; with a text) or "matching"; when None,
                "resynthesis" with a text and "matching" without.
            strength: how much of the recording "resynthesis" replaces, above 0 to 1, as in diffusers' image-to-image
                pipelines: the share of the steps that are taken, from the recording's latents with the noise of the
                first of them. 1 begins with noise alone. Lower values keep more of the words and of the speaker.
            voice_matching: 0 to 1; when None, the pipeline's default with a text and 1 without.
            aligner, word_times: see `align`.
            num_inference_steps: number of steps of the scheduler, of which "resynthesis" takes the last
                `int(num_inference_steps * strength)`; when None, as many that those are the pipeline's default. 16 in
                each direction for "ode".
            guidance_scale, temperature, limiter, loudness, watermark: as in `__call__`.
            generator: generator of the noise.

        Returns: one waveform as long as the recording; with a text also durations and words.

        Raises:
            TypeError, ValueError: invalid input, or a recording longer than `max_utterance_seconds`.
            ImportError: the codec's decoder predicts no F0, and pyworld, which would estimate it, is not installed.
        """
        method = check_method(method, text)
        strength = check_strength(strength, method)
        if num_inference_steps is None:
            num_inference_steps = self._usual_steps(method, strength)
        settings = self.check_sampling(
            num_inference_steps, None, None, guidance_scale, temperature, 0.0, "np", limiter=limiter,
            loudness=loudness, watermark=watermark,
        )  # fmt: skip
        schedulers: tuple[Any, ...] = ()
        if method == "ode":
            schedulers = ode_schedulers(settings.scheduler)
        elif method == "resynthesis":
            scheduler = self.prepare_scheduler(settings)
            schedulers = scheduler, begin_in_the_middle(scheduler, strength)
        if voice_matching is not None:
            check_setting("voice_matching", voice_matching)
        share = voice_matching
        if share is None:
            share = 1.0 if method == "matching" else self.config.default_voice_matching
        target = self.load_voice(voice)
        source = None if source_voice is None else self.load_voice(source_voice)
        if method == "matching":
            waveform, latents, gain = self.encode_speech(audio, sampling_rate)
            speech = AlignedSpeech(waveform, latents, np.zeros(0, np.int64), np.zeros(0, np.int64), [], gain)
        else:
            assert text is not None
            speech = self.align(audio, text, sampling_rate, voice=source, aligner=aligner, word_times=word_times)
        f0 = self._f0_of(speech.latents)
        ratio = self._f0_ratio(speech.latents, f0, target) if move_f0 else np.float32(1)
        wanted = f0 * ratio
        if method == "matching":
            latents = speech.latents.to(self._execution_device)
        else:
            to = self._condition(speech, wanted, target)
            if method == "ode":
                latents = self._follow_back_and_forth(speech, f0, to, settings, *schedulers)
            else:
                latents = self._speak_again(speech, to, target, share, settings, generator, *schedulers)
        # Generated speech already has the target F0.
        told = wanted if method == "matching" and ratio != 1 and self.codec.takes_f0 else None
        output = self._finished(speech, latents, wanted, told, target, share, settings)
        self.maybe_free_model_hooks()
        return output

    @speaks
    @torch.no_grad()
    def enhance(
        self,
        audio: AudioInput,
        text: str | None = None,
        sampling_rate: int | None = None,
        *,
        voice: Any = None,
        **options: Any,
    ) -> NaturalSpeech2PipelineOutput:
        """Remove noise, reverberation and clipping from a recording of speech.

            >>> output = pipe.enhance("noisy.wav", "What is said in it.", voice="clean.wav")

        This is a conversion to the voice of the same speaker in a clean recording, with unchanged F0. The phonemes
        are aligned with that voice too. The effect depends on the model: docs/enhancement.md has measurements.
        `method="ode"` is the paper's (section 5).

        Args:
            audio: the recording, in any form that `load_audio` takes.
            text: text that is spoken in it; see `convert`.
            sampling_rate: Hz; only for a bare array.
            voice: clean speech of the same speaker, in any form that `load_voice` takes; the recording itself if None.
            options: arguments of `convert` except `move_f0` and `source_voice`.

        Returns, and raises: as `convert`.
        """
        voice = self.encode_voice(audio, sampling_rate) if voice is None else self.load_voice(voice)
        return self.convert(audio, text, sampling_rate, voice=voice, source_voice=voice, move_f0=False, **options)

    def _usual_steps(self, method: str, strength: float) -> int | None:
        """The default number of steps; None for that of the pipeline."""
        if method == "ode":
            return ODE_STEPS
        # A student has no other steps than its own.
        if strength == 1 or self.scheduler.config.get("student_steps"):
            return None
        # NaturalSpeech2EulerScheduler takes at most half of the timesteps of training.
        most = self.scheduler.config.get("num_train_timesteps", 1000) // 2
        return min(math.ceil(self.config.default_num_inference_steps / strength), most)

    def _speak_again(
        self,
        speech: AlignedSpeech,
        to: tuple[Any, Any, Any],
        target: Voice | VoiceMix,
        share: float,
        settings: SamplingSettings,
        generator: torch.Generator | None,
        scheduler: Any,
        first: int,
    ) -> torch.Tensor:
        """Latents (C, T) that are generated under the condition `to`, from step `first` of the scheduler."""
        frames = [speech.latents.shape[1]]
        ((seed,),) = draw_seeds(generator, [1])
        generators = [torch.Generator().manual_seed(seed)]
        if first:
            known = self._matched(speech.latents.to(self._execution_device), target, share)
            noise = self._draw_noise(frames, generators) * settings.temperature**-0.5
            start = add_noise_of_step(scheduler, known[None], noise, first)
        else:
            start = self.prepare_latents(frames, generators, scheduler, settings.temperature)
        return self.denoise(start, scheduler, settings, generators, frames, *to, first=first)[0]

    def _follow_back_and_forth(
        self,
        speech: AlignedSpeech,
        f0: np.ndarray,
        to: tuple[Any, Any, Any],
        settings: SamplingSettings,
        back: Any,
        forth: Any,
    ) -> torch.Tensor:
        """Latents (C, T) that the ODE takes to noise under their own condition, and back under the condition `to`."""
        frames = [speech.latents.shape[1]]
        own = self.encode_voice((self.sampling_rate, speech.waveform))
        start = self._follow(speech.latents[None], back, settings, frames, self._condition(speech, f0, own), 1.0)
        return self._follow(start, forth, settings, frames, to, settings.guidance_scale)[0]

    def _matched(self, latents: torch.Tensor, voice: Voice | VoiceMix, share: float) -> torch.Tensor:
        """Latents (C, T) moved towards a voice."""
        enough = MATCHING_SECONDS * self.codec.frame_rate
        return match_voices([latents], [voice], self._silent_latents()[:, 0], [share], enough)[0]

    def _condition(self, speech: AlignedSpeech, f0: np.ndarray, voice: Voice | VoiceMix) -> tuple[Any, Any, Any]:
        """Condition, prompt states and prompt mask for a recording's phonemes in a voice."""
        prompt, prompt_mask = self.encode_prompt([voice])
        pitch = [frame_pitch(f0, speech.durations)]
        adapted = self.encode_text([speech.input_ids], prompt, prompt_mask, durations=[speech.durations], pitch=pitch)
        return adapted.condition, prompt, prompt_mask

    def _follow(
        self,
        latents: torch.Tensor,
        scheduler: Any,
        settings: SamplingSettings,
        frames: list[int],
        to: Any,
        scale: float,
    ) -> torch.Tensor:
        """Follow the probability-flow ODE from latents (1, C, T), in the direction of the scheduler."""
        scheduler.set_timesteps(settings.num_inference_steps or ODE_STEPS, device=self._execution_device)
        given, settings.guidance_scale = settings.guidance_scale, scale
        nobody = [torch.Generator()]
        latents = self.denoise(latents.to(self._execution_device), scheduler, settings, nobody, frames, *to)
        settings.guidance_scale = given
        return latents

    def _finished(
        self,
        speech: AlignedSpeech,
        latents: torch.Tensor,
        f0: np.ndarray,
        told: np.ndarray | None,
        voice: Voice | VoiceMix,
        share: float,
        settings: SamplingSettings,
    ) -> NaturalSpeech2PipelineOutput:
        """Match latents (C, T) to a voice and decode them, with the F0 that the decoder follows (None: its own)."""
        latents = self._matched(latents, voice, share)
        (waveform,) = self.decode_latents([latents], None if told is None else [torch.from_numpy(told)])
        waveform = self.finish_audio(waveform[..., : len(speech.waveform)] / speech.gain, settings)
        durations, words = speech.durations, []
        if len(durations):
            words = time_words(speech.words, durations, 0, self.codec.hop_length / self.sampling_rate)
        return NaturalSpeech2PipelineOutput([waveform.numpy()], self.sampling_rate, [durations], [f0], [words])

    @torch.no_grad()
    def _f0_of(self, latents: torch.Tensor) -> np.ndarray:
        """F0 (T,) in Hz of latents (C, T), 0 where unvoiced: the decoder's prediction, or WORLD's estimate."""
        f0 = self.codec.predict_f0(latents[None].to(self._execution_device))
        if f0 is not None:
            return f0[0].float().cpu().numpy()
        (decoded,) = self.decode_latents([latents])
        mono = decoded if decoded.ndim == 1 else decoded.mean(0)
        return estimate_f0(mono, self.sampling_rate, self.codec.hop_length).numpy()[: latents.shape[1]]

    def _f0_ratio(self, latents: torch.Tensor, f0: np.ndarray, voice: Voice | VoiceMix) -> np.float32:
        """Median F0 of a voice over that of latents (C, T) with F0 (T,); 1 if either is unvoiced."""
        silence = self._silent_latents()[:, 0].cpu()
        medians = [log_median(self._f0_of(part.latents), presence(part.latents, silence)) for _, part in voice.parts]
        ratio = np.exp(np.dot(voice.weights, medians) - log_median(f0, presence(latents, silence)))
        return np.float32(ratio if np.isfinite(ratio) else 1.0)


def ode_schedulers(scheduler: Any) -> tuple[Any, Any]:
    """The schedulers towards noise and back, of the kind of the pipeline's scheduler: Euler, otherwise DDIM.

    Raises:
        ValueError: the denoiser is a distilled student, whose steps are jumps and do not follow an ODE.
    """
    if scheduler.config.get("student_steps"):
        raise ValueError(
            "this denoiser is a distilled student, whose steps follow no ODE: leave the method out, or load its "
            "teacher."
        )
    config = complete_config(scheduler.config)
    if isinstance(scheduler, NaturalSpeech2EulerScheduler):
        return NaturalSpeech2EulerInverseScheduler.from_config(config), NaturalSpeech2EulerScheduler.from_config(
            config
        )
    return NaturalSpeech2DDIMInverseScheduler.from_config(config), NaturalSpeech2DDIMScheduler.from_config(config)


def log_median(f0: np.ndarray, level: torch.Tensor) -> float:
    """Median of log F0 (T,) over the voiced frames with enough presence (T,); NaN if there are none."""
    voiced = f0[(f0 > 0) & (level.numpy() > AUDIBLE)]
    return float(np.median(np.log(voiced))) if len(voiced) else float("nan")
