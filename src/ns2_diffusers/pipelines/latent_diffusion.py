"""The right half of figure 1, which both pipelines share: noise to latents to a waveform."""

from __future__ import annotations

import contextvars
import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor

from ..audio.finishing import LEAST_LOUDNESS, MOST_LOUDNESS, limit, loudness_meter, set_loudness
from ..audio.watermark import add_watermark, watermarker
from ..masks import pad_batch, padding_mask
from ..schedulers.interchange import convert_prediction, copy_for_sampling
from ..schedulers.noise_schedules import DEFAULT_TEMPERATURE, VariancePreservingMixin
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from .guidance import GuidedDenoiser
from .inputs import check_number, check_steps, steps_to_take

logger = logging.get_logger(__name__)

OUTPUT_TYPES = ("np", "pt", "latent")


@dataclass
class SamplingSettings:
    """How latents are drawn: what a call asked for, with the pipeline's defaults filled in.

    The scheduler is a copy, so that neither another call nor a scheduler that is swapped later changes this one.
    """

    scheduler: Any
    num_inference_steps: int | None
    timesteps: Sequence[float] | None
    sigmas: Sequence[float] | None
    guidance_scale: float
    temperature: float
    eta: float
    callback: Callable | None
    callback_inputs: Sequence[str]
    interrupted: bool = False  # set where a callback ended the call
    frames_left: float = math.inf  # latent frames that the call may still make
    limiter: bool = True
    loudness: float | None = None
    watermark: bool = False

    def count(self, frames: int) -> None:
        """Raise a ValueError where a batch of so many latent frames is more than the call may make."""
        self.frames_left -= frames
        if self.frames_left < 0:
            raise ValueError("the text lasts longer than max_seconds: shorten it, or raise the limit.")


@dataclass
class CallState:
    """What a callback can read and change while a batch is denoised."""

    guidance_scale: float
    num_timesteps: int = 0
    interrupt: bool = False


# The calls that run in this context (thread or task), the innermost last. diffusers keeps this state on the pipeline,
# where two threads that share a pipeline would overwrite each other's.
_calls: contextvars.ContextVar[tuple[tuple[int, CallState], ...]] = contextvars.ContextVar("calls", default=())
# The same of all threads, for an interruption that comes from outside.
_all_calls: list[tuple[int, CallState]] = []


class LatentDiffusionMixin:
    """Sampling of a pipeline with `denoiser`, `scheduler` and `codec`: `prepare_latents`, `denoise`, `decode_latents`.

    `guidance_scale`, `num_timesteps` and `interrupt` are those of the running call; a callback changes them by
    `pipe._guidance_scale = 1.0` or `pipe._interrupt = True`, as in diffusers.
    """

    _callback_tensor_inputs = ["latents"]
    # Attributes of the pipeline that uses this mixin.
    codec: Any
    config: Any
    denoiser: Any
    scheduler: Any
    progress_bar: Callable[..., Any]
    _execution_device: torch.device

    # Per-call state

    def _call_state(self) -> CallState | None:
        return next((state for owner, state in reversed(_calls.get()) if owner == id(self)), None)

    @property
    def guidance_scale(self) -> float:
        """The guidance scale of the running call; outside a call the pipeline's default."""
        state = self._call_state()
        return self._default_guidance_scale if state is None else state.guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the next step runs the denoiser with and without condition, as a doubled batch."""
        return self.guidance_scale != 1 and not self.denoiser.config.guidance_embeds

    @property
    def num_timesteps(self) -> int:
        """Calls of the denoiser in the running call, 0 outside one."""
        state = self._call_state()
        return 0 if state is None else state.num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the running call was told to stop."""
        state = self._call_state()
        return False if state is None else state.interrupt

    @property
    def _guidance_scale(self) -> float:
        return self.guidance_scale

    @_guidance_scale.setter
    def _guidance_scale(self, value: float) -> None:
        state = self._call_state()
        if state is None:
            raise AttributeError(
                "guidance_scale belongs to a running call: set it from a callback, or give it to the call."
            )
        check_guidance(self.denoiser, value)
        state.guidance_scale = float(value)

    @property
    def _interrupt(self) -> bool:
        return self.interrupt

    @_interrupt.setter
    def _interrupt(self, value: bool) -> None:
        state = self._call_state()
        running = [state] if state is not None else [each for owner, each in _all_calls if owner == id(self)]
        for each in running:
            each.interrupt = bool(value)

    @property
    def _default_guidance_scale(self) -> float:
        return self.config.get("default_guidance_scale", 1.0)

    @contextmanager
    def _running(self, guidance_scale: float) -> Iterator[CallState]:
        entry = (id(self), CallState(guidance_scale))
        token = _calls.set((*_calls.get(), entry))
        _all_calls.append(entry)
        try:
            yield entry[1]
        finally:
            _calls.reset(token)
            # By identity: two calls may have equal states.
            _all_calls[:] = [each for each in _all_calls if each is not entry]

    # Sampling

    def check_sampling(
        self,
        num_inference_steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        output_type: str = "np",
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        limiter: bool = True,
        loudness: float | None = None,
        watermark: bool = False,
    ) -> SamplingSettings:
        """Check the arguments of sampling and fill in the pipeline's defaults.

        Raises:
            TypeError, ValueError: bad input; the message says what is wanted.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is {output_type!r}; wanted one of {OUTPUT_TYPES}.")
        scheduler = copy.deepcopy(self.scheduler)
        check_steps(num_inference_steps, timesteps, sigmas, scheduler.config.get("num_train_timesteps", 1000))
        custom = timesteps if sigmas is None else sigmas
        if custom is None:
            default = self.config.default_num_inference_steps
            num_inference_steps = steps_to_take(scheduler, num_inference_steps, default)
        else:
            # A last sigma of 0 is where the last step arrives.
            steps = len(custom) if sigmas is None else len(sigmas) - (float(sigmas[-1]) == 0)
            steps_to_take(scheduler, steps, 1)
            num_inference_steps = None
        guidance_scale = self._default_guidance_scale if guidance_scale is None else guidance_scale
        check_guidance(self.denoiser, guidance_scale)
        if temperature is None:
            temperature = scheduler.config.get("temperature", DEFAULT_TEMPERATURE)
        wanted = "a number above 0 (the paper: 1.44), from 0.001 to 1000"
        check_number("temperature", temperature, wanted, least=1e-3, most=1e3)
        check_number("eta", eta, "0 (deterministic) to 1 (as much noise as DDPM)", least=0.0, most=1.0)
        callback, inputs = callback_on_step_end, callback_on_step_end_tensor_inputs
        if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
            inputs = callback.tensor_inputs
        elif callback is not None and not callable(callback):
            raise TypeError(f"callback_on_step_end is a {type(callback).__name__}; wanted a function.")
        unknown = [name for name in inputs if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs has {unknown}; a callback can "
                f"have {self._callback_tensor_inputs}."
            )
        for name, value in (("limiter", limiter), ("watermark", watermark)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}; wanted True or False.")
        if loudness is not None:
            wanted = f"LUFS from {LEAST_LOUDNESS:g} to {MOST_LOUDNESS:g}, or None"
            check_number("loudness", loudness, wanted, least=LEAST_LOUDNESS, most=MOST_LOUDNESS)
            loudness_meter(self.codec.sampling_rate)  # is it installed?
        if watermark:
            watermarker()
        return SamplingSettings(
            scheduler,
            num_inference_steps,
            timesteps,
            sigmas,
            guidance_scale,
            temperature,
            eta,
            callback,
            inputs,
            limiter=limiter,
            loudness=loudness,
            watermark=watermark,
        )

    def prepare_scheduler(self, settings: SamplingSettings) -> Any:
        """A scheduler for one batch, with its timesteps laid out: solvers of several steps keep state between steps.

        Raises:
            ValueError: the scheduler is for another kind of model, takes no such timesteps, or they end where no
                denoiser was trained.
        """
        scheduler = copy_for_sampling(settings.scheduler)
        given: dict[str, Any] = {}
        for name in ("timesteps", "sigmas"):
            if (value := getattr(settings, name)) is not None:
                if name not in inspect.signature(scheduler.set_timesteps).parameters:
                    raise ValueError(f"{type(scheduler).__name__} takes no {name}: give num_inference_steps instead.")
                given[name] = list(value)
        if settings.num_inference_steps is not None:
            given["num_inference_steps"] = settings.num_inference_steps
        scheduler.set_timesteps(**given, device=self._execution_device)
        if scheduler.timesteps[-1] < 0:
            steps = settings.num_inference_steps or len(scheduler.timesteps)
            raise ValueError(
                f"{type(scheduler).__name__} ends {steps} steps at timestep {scheduler.timesteps[-1]}, below 0, where "
                "no denoiser was trained: choose another num_inference_steps."
            )
        return scheduler

    def prepare_latents(
        self,
        frames: list[int],
        generators: list[torch.Generator],
        scheduler: Any,
        temperature: float,
        latents: Sequence[torch.Tensor | None] | None = None,
    ) -> torch.Tensor:
        """z_T ~ N(0, I / temperature) (section 3.2), scaled to where the scheduler starts.

        Each item's noise is drawn by itself, so that an item does not depend on its batch.

        Args:
            frames: the length T of each item, in latent frames.
            generators: one per item.
            scheduler: of `prepare_scheduler`.
            temperature: above 0; higher is calmer.
            latents: unit noise (C, T) per item in place of drawn noise, or None.

        Returns: (B, C, longest T), float32, zero where an item is padded.

        Raises:
            ValueError: given latents of another shape.
        """
        noise = self._draw_noise(frames, generators)
        for item, given in enumerate(latents or []):
            if given is None:
                continue
            wanted = (self.codec.latent_channels, frames[item])
            if given.shape != wanted:
                raise ValueError(
                    f"latents of shape {tuple(given.shape)} were given and {wanted} is what the durations ask for: "
                    "give durations too, or leave the latents out."
                )
            noise[item, :, : frames[item]] = given.to(noise)
        if isinstance(scheduler, VariancePreservingMixin):
            return noise * temperature**-0.5
        # diffusers' schedulers know no temperature.
        return noise * scheduler.init_noise_sigma / temperature**0.5

    def _draw_noise(self, frames: list[int], generators: list[torch.Generator]) -> torch.Tensor:
        shape = (1, self.codec.latent_channels)
        noise = [
            randn_tensor((*shape, length), generator)[0].T
            for length, generator in zip(frames, generators, strict=True)
        ]
        return pad_batch(noise)[0].transpose(1, 2).to(self._execution_device)

    def denoise(
        self,
        latents: torch.Tensor,
        scheduler: Any,
        settings: SamplingSettings,
        generators: list[torch.Generator],
        frames: list[int],
        condition: torch.Tensor | None = None,
        prompt_hidden_states: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Solve the reverse process (section 3.2): noise (B, C, T) to latents (B, C, T), both float32.

        Args:
            latents: of `prepare_latents`.
            scheduler: of `prepare_scheduler`.
            settings: of `check_sampling`.
            generators: one per item, for samplers that add noise.
            frames: the length of each item.
            condition: (B, T, D) of `encode_text`; None generates unconditionally.
            prompt_hidden_states, prompt_mask: (B, Tp, D) and (B, Tp) of `encode_prompt`.

        Returns: zero where an item is padded; unfinished if a callback interrupted the call.
        """
        sample_mask = padding_mask(frames, latents.device)
        prediction_type = settings.scheduler.config.get("prediction_type", "epsilon")
        noise_levels = None
        if self.denoiser.config.self_conditioning:
            # Not all of diffusers' schedulers say which ẑ_0 they found; one of ours with their config does.
            noise_levels = NaturalSpeech2DDIMScheduler.from_config(settings.scheduler.config)
        denoiser = GuidedDenoiser(
            self.denoiser, noise_levels, condition, prompt_hidden_states, prompt_mask, sample_mask, len(latents)
        )
        takes = inspect.signature(scheduler.step).parameters
        extra: dict[str, Any] = {"eta": settings.eta} if "eta" in takes else {}
        draws_noise = "variance_noise" in takes and ("eta" not in takes or settings.eta > 0)
        if not draws_noise and "generator" in takes:
            extra["generator"] = generators
        with self._running(settings.guidance_scale) as call, self.progress_bar(total=len(scheduler.timesteps)) as bar:
            call.num_timesteps = len(scheduler.timesteps)
            for step, timestep in enumerate(scheduler.timesteps):
                if call.interrupt:
                    break
                sample = scheduler.scale_model_input(latents, timestep)
                predicted = denoiser(sample, timestep, call.guidance_scale)
                predicted = convert_prediction(scheduler, prediction_type, predicted, timestep, latents)
                if draws_noise:
                    extra["variance_noise"] = self._draw_noise(frames, generators)
                latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
                latents = self._call_back(settings, step, timestep, latents)
                bar.update()
        settings.interrupted = call.interrupt
        return latents if sample_mask is None else latents * sample_mask.unsqueeze(1)

    def _call_back(self, settings: SamplingSettings, step: int, timestep: Any, latents: torch.Tensor) -> torch.Tensor:
        if settings.callback is None:
            return latents
        tensors = {"latents": latents} if "latents" in settings.callback_inputs else {}
        changed = settings.callback(self, step, timestep, tensors)
        if changed is None:
            return latents
        if not isinstance(changed, dict):
            raise TypeError(
                f"callback_on_step_end returned a {type(changed).__name__}; wanted a dict such as "
                '{"latents": latents}, or None.'
            )
        changed = changed.get("latents", latents)
        if not isinstance(changed, torch.Tensor) or changed.shape != latents.shape:
            raise ValueError(
                f"callback_on_step_end returned latents of shape {tuple(getattr(changed, 'shape', ()))}; wanted "
                f"{tuple(latents.shape)}."
            )
        return changed

    # Sound

    def decode_latents(
        self, latents: Sequence[torch.Tensor], f0: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Latents (C, T) per item to waveforms (samples,), or (channels, samples) of a stereo codec (section 3.1).

        Args:
            f0: (T,) Hz per item that the decoder follows, 0 where the latents decide; for codecs with `takes_f0`.

        Returns: float32 on the CPU.

        Raises:
            ValueError: the waveform has NaN or infinity.
        """
        batch, mask = pad_batch([item.T for item in latents])
        batch = batch.transpose(1, 2).to(self._execution_device, self.codec.dtype)
        mask = None if mask is None else mask.to(batch.device)
        melody = {} if f0 is None else {"f0": pad_batch(list(f0))[0].to(batch.device)}
        decoded = self.codec.decode(batch, mask, **melody).float().cpu()
        samples = [item.shape[1] * self.codec.hop_length for item in latents]
        waveforms = [waveform[:, :n].squeeze(0) for waveform, n in zip(decoded, samples, strict=True)]
        if not all(waveform.isfinite().all() for waveform in waveforms):
            raise ValueError(
                "the model produced NaN or infinite samples: load it in float32 or bfloat16 rather than float16, "
                "lower the guidance scale, and check that the checkpoint was trained."
            )
        return waveforms

    def finish_audio(self, waveform: torch.Tensor, settings: SamplingSettings) -> torch.Tensor:
        """Loudness, watermark and limiter for one waveform (samples,) or (channels, samples), as a call asked for.

        Where none of these is needed the waveform is returned as it is.
        """
        if settings.loudness is not None:
            waveform = set_loudness(waveform, self.sampling_rate, settings.loudness)
        if settings.watermark:
            waveform = torch.from_numpy(add_watermark(waveform.numpy(), self.sampling_rate))
        if settings.limiter:
            return limit(waveform, self.sampling_rate)
        if (peak := waveform.abs().max()) > 1:
            over = (waveform.abs() > 1).float().mean().item()
            logger.warning(
                f"{over:.2%} of the samples go beyond [-1, 1] (peak {peak:.2f}) and would clip in a file: scale the "
                "audio down before you write it, or leave the limiter on."
            )
        return waveform

    def _silent_latents(self) -> torch.Tensor:
        """(C, 1): the mean latent frame of a second of silence, computed once per codec."""
        cached = getattr(self, "_silence", None)
        if cached is None or cached[0] is not self.codec:
            nothing = torch.zeros(1, self.codec.channels, self.sampling_rate)
            encoded = self.codec.encode(nothing.to(self._execution_device, self.codec.dtype))
            cached = self._silence = (self.codec, encoded[0].float().mean(1, keepdim=True).cpu())
        return cached[1].to(self._execution_device)

    @property
    def sampling_rate(self) -> int:
        """Hz of what comes out."""
        return self.codec.sampling_rate


def check_guidance(denoiser: Any, guidance_scale: Any) -> None:
    """Raise a ValueError or TypeError where a denoiser cannot be guided by a scale."""
    check_number("guidance_scale", guidance_scale, "1 (no guidance) or more", least=0.0)
    config = denoiser.config
    if guidance_scale != 1 and not (config.learned_nulls or config.guidance_embeds):
        raise ValueError(
            f"guidance_scale is {guidance_scale} and steers away from what the denoiser says without text and "
            "prompt, which this one never learned: leave it at 1, or train it further with condition_dropout "
            "and register_to_config(learned_nulls=True)."
        )
    least, most = config.guidance_range or (0.0, math.inf)
    if not least <= guidance_scale <= most:
        raise ValueError(
            f"guidance_scale is {guidance_scale}, and this denoiser was distilled to guide itself by {least} to "
            f"{most}: choose a scale in that range, or load its teacher."
        )
