"""Checks the arguments of sampling and keeps the state of a running call. Nothing here imports torch."""

from __future__ import annotations

import contextvars
import copy
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import as_array, like
from ..audio.finishing import limit, loudness_meter, set_loudness
from ..audio.loading import SILENCE
from ..audio.watermark import add_watermark, watermarker
from ..schedulers.temperature import DEFAULT_TEMPERATURE
from .changes import ChangeGuard
from .inputs import check_number, check_setting, check_steps, steps_to_take

logger = logging.getLogger(__name__)

OUTPUT_TYPES = ("np", "pt", "latent")


@dataclass
class SamplingSettings:
    """The sampling arguments of a call, with the pipeline's defaults filled in.

    The scheduler is a copy, so neither another call nor a later change of the pipeline's scheduler affects it.
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
    interrupted: bool = False  # True once a callback has ended the call
    frames_left: float = math.inf  # latent frames that the call may still make
    limiter: bool = True
    loudness: float | None = None
    watermark: bool = False

    def count(self, frames: int) -> None:
        """Raise a ValueError if a batch of `frames` latent frames is more than the call may still generate."""
        self.frames_left -= frames
        if self.frames_left < 0:
            raise ValueError("the text lasts longer than max_seconds: shorten it, or raise the limit.")


@dataclass
class CallState:
    """State that a callback can read and change while a batch is denoised."""

    guidance_scale: float
    num_timesteps: int = 0
    interrupt: bool = False


# The running calls of this context (thread or task), the innermost last. diffusers keeps this state in the pipeline,
# where two threads that share a pipeline would overwrite each other's state.
_calls: contextvars.ContextVar[tuple[tuple[int, CallState], ...]] = contextvars.ContextVar("calls", default=())
# The running calls of all threads, for an interruption from outside.
_all_calls: list[tuple[int, CallState]] = []


class SamplingMixin:
    """Adds sampling to a pipeline with `denoiser` and `scheduler`, each of which has a `config`.

    `guidance_scale`, `num_timesteps` and `interrupt` are those of the running call. A callback changes them with
    `pipe._guidance_scale = 1.0` or `pipe._interrupt = True`, as in diffusers.
    """

    _callback_tensor_inputs = ["latents"]
    _output_types: tuple[str, ...] = OUTPUT_TYPES
    # Attributes of the pipeline that uses this mixin.
    config: Any
    denoiser: Any
    scheduler: Any
    codec: Any
    sampling_rate: Any

    def __init__(self) -> None:
        super().__init__()
        self.change_guard = ChangeGuard()

    def _call_state(self) -> CallState | None:
        return next((state for owner, state in reversed(_calls.get()) if owner == id(self)), None)

    @property
    def guidance_scale(self) -> float:
        """The guidance scale of the running call; outside a call, the pipeline's default."""
        state = self._call_state()
        return self._default_guidance_scale if state is None else state.guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the next step runs the denoiser with and without condition, in a doubled batch."""
        return self.guidance_scale != 1 and not self.denoiser.config.guidance_embeds

    @property
    def num_timesteps(self) -> int:
        """Number of denoiser calls in the running call; 0 outside a call."""
        state = self._call_state()
        return 0 if state is None else state.num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the running call is to be interrupted."""
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
            # Compared by identity, because two calls may have equal states.
            _all_calls[:] = [each for each in _all_calls if each is not entry]

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
            TypeError, ValueError: invalid input; the message says what is expected.
        """
        if output_type not in self._output_types:
            raise ValueError(f"output_type is {output_type!r}; wanted one of {self._output_types}.")
        scheduler = copy.deepcopy(self.scheduler)
        check_steps(num_inference_steps, timesteps, sigmas, scheduler.config.get("num_train_timesteps", 1000))
        custom = timesteps if sigmas is None else sigmas
        if custom is None:
            default = self.config.default_num_inference_steps
            num_inference_steps = steps_to_take(scheduler, num_inference_steps, default)
        else:
            # A last sigma of 0 is the end of the last step, not a step.
            steps = len(custom) if sigmas is None else len(sigmas) - (float(sigmas[-1]) == 0)
            steps_to_take(scheduler, steps, 1)
            num_inference_steps = None
        guidance_scale = self._default_guidance_scale if guidance_scale is None else guidance_scale
        check_guidance(self.denoiser, guidance_scale)
        if temperature is None:
            temperature = scheduler.config.get("temperature", DEFAULT_TEMPERATURE)
        check_setting("temperature", temperature)
        check_number("eta", eta, "0 (deterministic) to 1 (as much noise as DDPM)", least=0.0, most=1.0)
        callback, inputs = callback_on_step_end, callback_on_step_end_tensor_inputs
        # Callback objects of diffusers list the tensors that they take.
        inputs = getattr(callback, "tensor_inputs", inputs)
        if callback is not None and not callable(callback):
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
            check_setting("loudness", loudness)
            loudness_meter(self.codec.sampling_rate)  # raises if pyloudnorm is not installed
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

    def _call_back(self, settings: SamplingSettings, step: int, timestep: Any, latents: Any) -> Any:
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
        if type(changed) is not type(latents) or changed.shape != latents.shape:
            raise ValueError(
                f"callback_on_step_end returned latents of shape {tuple(getattr(changed, 'shape', ()))}; wanted "
                f"{tuple(latents.shape)}."
            )
        return changed

    def finish_audio(
        self, waveform: Any, settings: SamplingSettings, energy: Callable[[Any], Any] | None = None
    ) -> Any:
        """Apply the loudness, watermark and limiter of a call to one waveform (samples,) or (channels, samples).

        The waveform is an array or a tensor; it is returned unchanged if none of these is needed. `energy` scales it
        after the loudness is set. Silence causes a warning.
        """
        warn_if_silent(as_array(waveform))
        if settings.loudness is not None:
            waveform = set_loudness(waveform, self.sampling_rate, settings.loudness)
        if energy is not None:
            waveform = energy(waveform)
        if settings.watermark:
            waveform = like(add_watermark(as_array(waveform), self.sampling_rate), waveform)
        if settings.limiter:
            return limit(waveform, self.sampling_rate)
        if (peak := float(abs(waveform).max())) > 1:
            over = float(np.mean(np.abs(as_array(waveform)) > 1))
            logger.warning(
                f"{over:.2%} of the samples go beyond [-1, 1] (peak {peak:.2f}) and would clip in a file: scale the "
                "audio down before you write it, or leave the limiter on."
            )
        return waveform


def warn_if_silent(waveform: np.ndarray) -> None:
    level = float(np.sqrt(np.square(waveform).mean())) if len(waveform) else 0.0
    if level < SILENCE:
        logger.warning(
            "a sentence came out silent (its level is %.1e of full scale). Likely causes: a model or adapters "
            "that are not trained, or are of another codec; given latents, durations or a callback that leave "
            "nothing to hear.",
            level,
        )


def check_guidance(denoiser: Any, guidance_scale: Any) -> None:
    """Raise a ValueError or TypeError if a denoiser does not support a guidance scale."""
    check_setting("guidance_scale", guidance_scale)
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
