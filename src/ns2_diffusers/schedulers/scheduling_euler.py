"""The paper's sampler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteSchedulerOutput
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from .noise_schedules import VariancePreservingMixin, _check_single, interpolate, resolve_trained_betas
from .temperature import DEFAULT_TEMPERATURE

SOLVERS = ("euler", "midpoint")
# Section 4.1 of the paper.
DEFAULT_STEPS = 150


class NaturalSpeech2EulerScheduler(VariancePreservingMixin, SchedulerMixin, ConfigMixin):
    """Euler's method on the probability-flow ODE, each slope taken in the middle of its step.

    dz = -½ β(t) (z + score) dt from t = 1 to 0 (NaturalSpeech 2, section 3.2, after Song et al., arXiv
    2011.13456), in n steps of 1/n, evaluated at t = 1 - (i + ½)/n, with score = -(z - α ẑ_0) / σ². The paper
    takes 150 steps.

    Timesteps that are given to `set_timesteps` say where the slopes are taken. A step then reaches from halfway to the
    time before, or t = 1, to halfway to the time after, or 0, which the n equal steps do as well.

    Its time is continuous, so timesteps are floats, `num_train_timesteps` · t - 1. With the `linear`
    schedule, ∫β = β₀ t + ½ (β₁ - β₀) t² in closed form. Other schedules are read from their table: ∫β
    linearly between timesteps, and β(t) linearly between that table's central differences.

    Args:
        solver (`str`, defaults to `"euler"`): `euler` is first order, one call of the denoiser a step.
            `midpoint` is second order and takes two, both at the middle of the step: the first for the half
            step there, the second for the whole one. (Amphion's `midpoint` takes its second slope at the
            time where the step begins, and so stays first order.) `timesteps` then holds each twice.

    All other arguments: `VariancePreservingMixin`.
    """

    _compatibles = DDPMScheduler._compatibles

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 5e-5,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: list[float] | None = None,
        prediction_type: str = "sample",
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        solver: str = "euler",
        temperature: float = DEFAULT_TEMPERATURE,
    ):
        if solver not in SOLVERS:
            raise ValueError(f"`solver` is {solver!r}; it must be one of {', '.join(SOLVERS)}.")
        trained_betas = resolve_trained_betas(beta_schedule, num_train_timesteps, trained_betas)
        # The grid here is fixed; the spacing is for the scheduler that this config may be handed to, whose
        # own default need not begin at pure noise.
        self.register_to_config(trained_betas=trained_betas, timestep_spacing="trailing")
        schedule = DDPMScheduler(num_train_timesteps, beta_start, beta_end, beta_schedule, trained_betas)
        self.betas, self.alphas_cumprod = schedule.betas, schedule.alphas_cumprod
        self._finish_init()
        self._beta_table = torch.gradient(
            self._integrated_beta_table.double(), spacing=1 / num_train_timesteps, edge_order=2
        )[0].float()
        self._has_closed_form = beta_schedule == "linear" and trained_betas is None
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1, dtype=torch.float32)
        self._step_start: torch.Tensor | None = None

    @property
    def order(self) -> int:
        """Calls of the denoiser per step, which diffusers' progress bars use."""
        return 2 if self.config.solver == "midpoint" else 1

    def __len__(self) -> int:
        return self.config.num_train_timesteps

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | torch.Tensor | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
    ):
        """Set steps from t = 1 to 0, and the times of their slopes.

        Args:
            num_inference_steps: number of equal steps, 1 to half of `num_train_timesteps`, with slopes in their
                middles; the paper's 150 by default.
            device: device of `timesteps`, which contains each time `order` times.
            timesteps: times of the slopes to use instead, in [0, `num_train_timesteps` - 1].
            sigmas: noise levels σ / α of the slopes to use instead; a final 0 is dropped.

        Raises:
            TypeError, ValueError: as `VariancePreservingMixin.set_timesteps`.
        """
        train = self.config.num_train_timesteps
        if num_inference_steps is None and timesteps is None and sigmas is None:
            num_inference_steps = DEFAULT_STEPS
        custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        if custom is None:
            n: Any = num_inference_steps
            self._check_num_inference_steps(
                n, train // 2, ": with more, the last would lie below the least noise of training"
            )
            time = (n - 0.5 - torch.arange(n, dtype=torch.float64)) / n
        else:
            time = (custom.double() + 1) / train
        halfway = (time[1:] + time[:-1]) / 2
        start, end = torch.cat([time.new_ones(1), halfway]), torch.cat([halfway, time.new_zeros(1)])
        self._step_lengths, self._lengths_to_slope = (start - end).float(), (start - time).float()
        self.timesteps = (train * time - 1).float().repeat_interleave(self.order).to(device)
        self.num_inference_steps = len(time)
        self._step_start = None

    def start_of_step(self, index: int) -> torch.Tensor:
        """The timestep, (1,), of the noise before the denoiser is called at `timesteps[index]`.

        A step begins before its slope. Between the two halves of a step of `midpoint`, latents are at the slope.
        """
        timestep, (step, half) = super().start_of_step(index), divmod(index, self.order)
        if half:
            return timestep
        return timestep + self.config.num_train_timesteps * self._lengths_to_slope[step].to(timestep.device)

    def _timesteps_of_integrated_beta(self, integrated_beta: torch.Tensor) -> torch.Tensor:
        if not self._has_closed_form:
            return super()._timesteps_of_integrated_beta(integrated_beta)
        start, end = self._beta_ends()
        time = 2 * integrated_beta / (start + (start**2 + 2 * (end - start) * integrated_beta).sqrt())
        return self.config.num_train_timesteps * time - 1

    def _integrated_beta(self, timesteps: torch.Tensor) -> torch.Tensor:
        if not self._has_closed_form:
            return super()._integrated_beta(timesteps)
        time = (timesteps + 1) / self.config.num_train_timesteps
        start, end = self._beta_ends()
        return start * time + (end - start) / 2 * time**2

    def _beta(self, timesteps: torch.Tensor) -> torch.Tensor:
        """β(t), the rate at which noise is added."""
        if not self._has_closed_form:
            self._beta_table = self._beta_table.to(timesteps.device)
            return interpolate(self._beta_table, timesteps)
        start, end = self._beta_ends()
        return start + (end - start) * (timesteps + 1) / self.config.num_train_timesteps

    def _beta_ends(self) -> tuple[float, float]:
        """β₀ and β₁ of continuous time: 0.05 and 20 in the paper."""
        train = self.config.num_train_timesteps
        return self.config.beta_start * train, self.config.beta_end * train

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> EulerDiscreteSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step of `euler`, or one half of a step of `midpoint`: call it for each of `timesteps` in turn.

        Args:
            model_output: prediction of the denoiser, (B, C, T).
            timestep: the current one of `timesteps`; one for the whole batch.
            sample: z, (B, C, T).
            generator: not used, because nothing here is random. For diffusers' interface.
            return_dict: False for the tuple (`prev_sample`, `pred_original_sample`).

        Returns:
            `prev_sample` and `pred_original_sample`, (B, C, T) in the dtype of `sample`.

        Raises:
            ValueError: before `set_timesteps`, or for shapes or timesteps that do not fit the sample.
        """
        if self.num_inference_steps is None:
            raise ValueError("The length of a step is not known yet: call `set_timesteps` before `step`.")
        timestep = _check_single(self._as_timesteps(timestep, sample.device))
        original = self.predict_original_sample(model_output, timestep, sample)
        alpha, sigma = self._item_alpha_sigma(timestep, sample)
        beta = self._beta(timestep).reshape(alpha.shape)
        length, length_to_slope = self._lengths_at(timestep)

        # 1e-8 as in Amphion's sampler, which this reproduces digit by digit where the last σ² is small.
        score = -(sample - alpha * original) / (sigma**2 + 1e-8)
        slope = beta / 2 * (score + sample)
        if self.config.solver == "euler":
            prev_sample = sample + length * slope
        elif self._step_start is None:
            self._step_start = sample
            prev_sample = sample + length_to_slope * slope
        else:
            prev_sample = self._step_start + length * slope
            self._step_start = None

        prev_sample, original = prev_sample.to(sample.dtype), original.to(sample.dtype)
        if not return_dict:
            return prev_sample, original
        return EulerDiscreteSchedulerOutput(prev_sample=prev_sample, pred_original_sample=original)

    def _lengths_at(self, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Lengths of the step whose slope is taken at `timestep`, and of its part before the slope."""
        # Computed on the device, so that the CPU need not wait for it.
        times = self.timesteps[:: self.order].to(timestep.device)
        step = (times - timestep.flatten()).abs().argmin()
        return self._step_lengths.to(step.device)[step], self._lengths_to_slope.to(step.device)[step]
