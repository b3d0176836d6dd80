"""Sampling with a student of progressive distillation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config

from .scheduling_ddim import NaturalSpeech2DDIMScheduler
from .temperature import DEFAULT_TEMPERATURE


class NaturalSpeech2DistilledScheduler(NaturalSpeech2DDIMScheduler):
    """DDIM on the grid that a distilled student was trained on (Salimans & Ho, arXiv 2202.00512, algorithm 2).

    A student of N steps has learned to jump from t = i/N to (i - 1)/N, i = N … 1, and nothing else: any other
    number of steps is refused. Its time is exact where N does not divide `num_train_timesteps`, so timesteps are
    floats, `num_train_timesteps` · i/N - 1, and the grid of N/2 steps is every second point of that of N.

    Args:
        student_steps (`list[int]`, defaults to `[32]`): numbers of steps that the student was trained for. The
            largest is the default of a pipeline.

    All other arguments: `VariancePreservingMixin`.
    """

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
        temperature: float = DEFAULT_TEMPERATURE,
        student_steps: Sequence[int] = (32,),
    ):
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            trained_betas=trained_betas,
            prediction_type=prediction_type,
            clip_sample=clip_sample,
            clip_sample_range=clip_sample_range,
            temperature=temperature,
        )
        if not student_steps:
            raise ValueError("`student_steps` is empty; give the numbers of steps that the student was trained for.")
        for steps in student_steps:
            self._check_num_inference_steps(steps, num_train_timesteps)
        self.register_to_config(student_steps=sorted(set(student_steps), reverse=True))

    def halved(self) -> NaturalSpeech2DistilledScheduler:
        """The scheduler of the next distillation stage: every number of steps halved.

        Raises:
            ValueError: if one of them is odd.
        """
        if odd := [steps for steps in self.config.student_steps if steps % 2]:
            raise ValueError(f"The student's steps are {self.config.student_steps}: {odd} cannot be halved.")
        return type(self).from_config(self.config, student_steps=[n // 2 for n in self.config.student_steps])

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        timesteps: Sequence[float] | torch.Tensor | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
    ):
        """Set the student's grid, most noise first.

        Args:
            num_inference_steps: one of `student_steps`; the largest by default.
            device: device of `timesteps`.
            timesteps, sigmas: the same grid, given explicitly; no other is accepted.

        Raises:
            ValueError: for a number of steps, or for timesteps, that the student was not trained for.
        """
        known, custom = self.config.student_steps, None
        if num_inference_steps is None and timesteps is None and sigmas is None:
            num_inference_steps = known[0]
        else:
            custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        n: Any = num_inference_steps if custom is None else len(custom)
        if n not in known:
            raise ValueError(
                f"`num_inference_steps` is {n}, and this student was trained to take {' or '.join(map(str, known))}:"
                " its answers are jumps over exactly that far. Take one of these, or the student of another stage."
            )
        grid = self.timesteps_of(torch.arange(n, 0, -1, dtype=torch.float64) / n)
        # Timesteps from float32 sigmas may differ by a few thousandths.
        if custom is not None and not torch.allclose(custom.float(), grid, rtol=0, atol=0.02):
            raise ValueError(
                f"the timesteps are {custom.tolist()}, and this student was trained on {grid.tolist()}: its answers"
                f" are jumps from each to the next. Take these, or `num_inference_steps={n}`."
            )
        self.timesteps, self.num_inference_steps = grid.to(device), n

    def timesteps_of(self, times: torch.Tensor) -> torch.Tensor:
        """Continuous times t in [0, 1] as timesteps: float32; t = 0, clean data, is -1."""
        return (self.config.num_train_timesteps * times - 1).float()
