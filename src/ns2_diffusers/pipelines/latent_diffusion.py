"""The part that both pipelines share, the right half of figure 1: from noise to latents to a waveform."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from ..masks import pad_batch, padding_mask
from ..schedulers.interchange import convert_prediction, copy_for_sampling
from ..schedulers.noise_schedules import VariancePreservingMixin
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from .guidance import GuidedDenoiser
from .sampling import SamplingMixin, SamplingSettings


class LatentDiffusionMixin(SamplingMixin):
    """Sampling with `denoiser`, `scheduler` and `codec`: `prepare_latents`, `denoise`, `decode_latents`."""

    # Attributes of the pipeline that uses this mixin.
    codec: Any
    config: Any
    denoiser: Any
    scheduler: Any
    progress_bar: Callable[..., Any]
    _execution_device: torch.device

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises:
        RuntimeError: a component is replaced while the pipeline speaks. Schedulers may be: calls use a copy.
        """
        is_component = (
            name in self.__dict__ and name != "scheduler" and name in self.__dict__.get("_internal_dict", ())
        )
        with self.change_guard.changing(f"another {name}") if is_component else nullcontext():
            super().__setattr__(name, value)

    # Sampling

    def prepare_scheduler(self, settings: SamplingSettings) -> Any:
        """A scheduler for one batch, with its timesteps set; it is a copy because multistep solvers keep state.

        Raises:
            ValueError: the scheduler belongs to another kind of model or does not accept these timesteps, or the
                timesteps end where no denoiser was trained.
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
        latents: Sequence[Any] | None = None,
    ) -> torch.Tensor:
        """z_T ~ N(0, I / temperature) (section 3.2), scaled to the scheduler's initial noise level.

        The noise of each item is drawn separately, so an item does not depend on its batch.

        Args:
            frames: length T of each item in latent frames.
            generators: one per item.
            scheduler: scheduler from `prepare_scheduler`.
            temperature: above 0; higher values give calmer speech.
            latents: unit noise (C, T) per item, or None to draw it.

        Returns: (B, C, longest T), float32, zero where an item is padded.

        Raises:
            ValueError: given latents have the wrong shape.
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
            noise[item, :, : frames[item]] = torch.as_tensor(given).to(noise)
        if isinstance(scheduler, VariancePreservingMixin):
            return noise * temperature**-0.5
        # Schedulers of diffusers have no temperature.
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
        after_step: Callable[[Any, int, torch.Tensor], torch.Tensor] | None = None,
        first: int = 0,
    ) -> torch.Tensor:
        """Solve the reverse process (section 3.2): noise (B, C, T) to latents (B, C, T), both float32.

        Args:
            latents: latents from `prepare_latents`, or `add_noise_of_step`.
            scheduler: scheduler from `prepare_scheduler`.
            settings: settings from `check_sampling`.
            generators: one per item, for samplers that add noise.
            frames: length of each item.
            condition: (B, T, D) from `encode_text`; None generates unconditionally.
            prompt_hidden_states, prompt_mask: (B, Tp, D) and (B, Tp) from `encode_prompt`.
            after_step: function of the scheduler, the step and the latents that returns the latents to go on with.
            first: index of the first timestep, as `begin_in_the_middle` returns it.

        Returns: latents, zero where an item is padded; incomplete if a callback interrupted the call.
        """
        sample_mask = padding_mask(frames, latents.device)
        prediction_type = settings.scheduler.config.get("prediction_type", "epsilon")
        noise_levels = None
        if self.denoiser.config.self_conditioning:
            # Not all schedulers of diffusers return ẑ_0; one of this package with their config does.
            noise_levels = NaturalSpeech2DDIMScheduler.from_config(settings.scheduler.config)
        denoiser = GuidedDenoiser(
            self.denoiser, noise_levels, condition, prompt_hidden_states, prompt_mask, sample_mask, len(latents)
        )
        takes = inspect.signature(scheduler.step).parameters
        extra: dict[str, Any] = {"eta": settings.eta} if "eta" in takes else {}
        draws_noise = "variance_noise" in takes and ("eta" not in takes or settings.eta > 0)
        if not draws_noise and "generator" in takes:
            extra["generator"] = generators
        timesteps = scheduler.timesteps[first:]
        with self._running(settings.guidance_scale) as call, self.progress_bar(total=len(timesteps)) as bar:
            call.num_timesteps = len(timesteps)
            for step, timestep in enumerate(timesteps, first):
                if call.interrupt:
                    break
                sample = scheduler.scale_model_input(latents, timestep)
                predicted = denoiser(sample, timestep, call.guidance_scale)
                predicted = convert_prediction(scheduler, prediction_type, predicted, timestep, latents)
                if draws_noise:
                    extra["variance_noise"] = self._draw_noise(frames, generators)
                latents = scheduler.step(predicted, timestep, latents, **extra).prev_sample
                if after_step is not None:
                    latents = after_step(scheduler, step, latents)
                latents = self._call_back(settings, step, timestep, latents)
                bar.update()
        settings.interrupted = call.interrupt
        return latents if sample_mask is None else latents * sample_mask.unsqueeze(1)

    # Sound

    def decode_latents(
        self, latents: Sequence[torch.Tensor], f0: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Latents (C, T) per item to waveforms (samples,), or (channels, samples) for a stereo codec (section 3.1).

        Args:
            f0: (T,) Hz per item that the decoder follows; where it is 0, latents decide. For codecs with `takes_f0`.

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
        for waveform in waveforms:
            check_finite(waveform)
        return waveforms

    def decode_in_pieces(
        self, latents: torch.Tensor, frames: int, f0: torch.Tensor | None = None, growth: int = 1
    ) -> Iterator[np.ndarray]:
        """Latents (C, T) to waveforms of `frames` latent frames each; together they equal `decode_latents`.

        Args:
            f0: (T,) Hz that the decoder follows, as for `decode_latents`.
            growth: length of each piece as a multiple of the one before it.

        Raises:
            ValueError: a waveform has NaN or infinity.
        """
        batch = latents[None].to(self._execution_device, self.codec.dtype)
        melody = {} if f0 is None else {"f0": f0[None].to(batch.device)}
        pieces = self.codec.decode_in_pieces(batch, frames, **melody, growth=growth)
        while True:
            # A yield inside `no_grad` would disable gradients in the caller's loop.
            with torch.no_grad():
                piece = next(pieces, None)
            if piece is None:
                return
            check_finite(piece)
            yield piece[0].float().cpu().squeeze(0).numpy()

    @torch.no_grad()
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
        """Sampling rate of the output in Hz."""
        return self.codec.sampling_rate


def check_finite(waveform: torch.Tensor) -> None:
    """Raise a ValueError if a waveform contains NaN or infinity."""
    if not waveform.isfinite().all():
        raise ValueError(
            "the model produced NaN or infinite samples: load it in float32 or bfloat16 rather than float16, "
            "lower the guidance scale, and check that the checkpoint was trained."
        )
