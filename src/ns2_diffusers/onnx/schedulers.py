"""The schedulers of this package in NumPy: DDIM, the scheduler of distilled students, and Euler.

They compute the same as those in `schedulers/`, for one timestep per batch; tests compare the two. The export writes
the noise levels of any schedule as a table.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Step(NamedTuple):
    """`prev_sample` and `pred_original_sample`, (B, C, T) float32."""

    prev_sample: np.ndarray
    pred_original_sample: np.ndarray


class OnnxScheduler(ABC):
    """Base class: noise levels at any timestep.

    Args:
        config: config of the exported scheduler.
        integrated_beta: -log ᾱ from timestep -1 (clean data) on.
    """

    order = 1

    def __init__(self, config: dict[str, Any], integrated_beta: Sequence[float]):
        self.config = config
        self._table = np.asarray(integrated_beta, np.float64)
        self.timesteps = np.zeros(0, np.float32)

    @property
    def _train(self) -> int:
        return self.config["num_train_timesteps"]

    @abstractmethod
    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Set the timesteps of a generation, most noise first; exactly one of the three arguments must be given.

        Raises:
            TypeError, ValueError: as with torch.
        """

    @abstractmethod
    def step(
        self,
        model_output: np.ndarray,
        timestep: float,
        sample: np.ndarray,
        eta: float = 0.0,
        draw_noise: Callable[[], np.ndarray] | None = None,
    ) -> Step:
        """One step towards the data.

        Args:
            model_output: (B, C, T) prediction of the denoiser.
            timestep: the current one of `timesteps`.
            sample: z (B, C, T).
            eta: noise of DDIM; if it is above 0, `draw_noise` returns standard normal noise (B, C, T).
        """

    def alpha_sigma(self, timestep: float) -> tuple[float, float]:
        """Signal and noise levels, α² + σ² = 1."""
        integrated = self._integrated_beta(timestep)
        return math.exp(-integrated / 2), math.sqrt(-math.expm1(-integrated))

    def predict_original_sample(
        self, model_output: np.ndarray, timestep: float, sample: np.ndarray, clip: bool = True
    ) -> np.ndarray:
        """ẑ_0 (B, C, T) for the config's `prediction_type`."""
        alpha, sigma = self.alpha_sigma(timestep)
        if self.config["prediction_type"] == "epsilon":
            original = (sample - np.float32(sigma) * model_output) / np.float32(alpha)
        elif self.config["prediction_type"] == "v_prediction":
            original = np.float32(alpha) * sample - np.float32(sigma) * model_output
        else:
            original = model_output
        return self._clip(original) if clip else original

    def _clip(self, original: np.ndarray) -> np.ndarray:
        if not self.config.get("clip_sample", False):
            return original
        most = self.config["clip_sample_range"]
        return original.clip(-most, most)

    def _integrated_beta(self, timestep: float) -> float:
        return float(np.interp(timestep, np.arange(len(self._table)) - 1.0, self._table))

    def _timesteps_of_integrated_beta(self, integrated_beta: np.ndarray) -> np.ndarray:
        return np.interp(integrated_beta, self._table, np.arange(len(self._table)) - 1.0)

    def _custom_timesteps(self, num_inference_steps: Any, timesteps: Any, sigmas: Any) -> np.ndarray | None:
        given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps, "sigmas": sigmas}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            found = " and ".join(f"`{name}`" for name in given) or "none of them"
            raise ValueError(f"Give one of `num_inference_steps`, `timesteps` and `sigmas`; {found} was given.")
        if num_inference_steps is not None:
            return None
        last = self._train - 1
        if sigmas is not None:
            levels = np.asarray(sigmas, np.float64)
            levels = levels[:-1] if len(levels) > 1 and levels[-1] == 0 else levels
            least, most = (math.sqrt(math.expm1(self._integrated_beta(each))) for each in (0.0, last))
            if not ((levels >= 0.999 * least) & (levels <= 1.001 * most)).all():
                raise ValueError(
                    f"`sigmas` are {levels.tolist()}; they must lie in [{least:.4g}, {most:.4g}], the σ / α of "
                    "training."
                )
            timesteps = self._timesteps_of_integrated_beta(np.log1p(levels**2)).clip(0, last)
        steps = np.asarray(timesteps, np.float32)
        if not ((steps >= 0) & (steps <= last)).all():
            raise ValueError(f"`timesteps` are {steps.tolist()}; they must lie in [0, {last}].")
        if not (steps[1:] < steps[:-1]).all():
            name = next(iter(given))
            raise ValueError(f"`{name}` are {list(given[name])}; they must fall from each to the next.")
        return steps

    def _check_num_inference_steps(self, num_inference_steps: Any, most: int) -> None:
        if not isinstance(num_inference_steps, numbers.Integral):
            raise TypeError(f"`num_inference_steps` is {num_inference_steps!r}; it must be an integer.")
        if not 1 <= int(num_inference_steps) <= most:
            raise ValueError(
                f"`num_inference_steps` is {num_inference_steps}; {type(self).__name__} takes 1 to {most} steps with "
                f"{self._train} training timesteps."
            )


class OnnxDDIMScheduler(OnnxScheduler):
    """`NaturalSpeech2DDIMScheduler` without torch."""

    def set_timesteps(self, num_inference_steps=None, timesteps=None, sigmas=None):
        custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        if custom is None:
            self._check_num_inference_steps(num_inference_steps, self._train)
            custom = self._spaced(int(num_inference_steps))
            if custom[0] >= self._train:
                raise ValueError(
                    f"{num_inference_steps} steps with `steps_offset` {self.config['steps_offset']} begin at timestep "
                    f"{custom[0]}, beyond the last of training, {self._train - 1}: take fewer steps, or no offset."
                )
        self.timesteps = custom.astype(np.float32)

    def _spaced(self, count: int) -> np.ndarray:
        """Timesteps with the spacings of diffusers' schedulers."""
        spacing = self.config["timestep_spacing"]
        if spacing == "linspace":
            return np.linspace(0, self._train - 1, count).round()[::-1]
        if spacing == "leading":
            return (np.arange(count) * (self._train // count)).round()[::-1] + self.config["steps_offset"]
        return np.round(np.arange(self._train, 0, -self._train / count))[:count] - 1

    def step(self, model_output, timestep, sample, eta=0.0, draw_noise=None):
        alpha, sigma = self.alpha_sigma(timestep)
        final = -1.0 if self.config.get("set_alpha_to_one", True) else 0.0
        later = self.timesteps[self.timesteps < timestep]
        alpha_after, sigma_after = self.alpha_sigma(max([final, *later.tolist()]))
        predicted = self.predict_original_sample(model_output, timestep, sample, clip=False)
        original = self._clip(predicted)
        noise = (sample - np.float32(alpha) * predicted) / np.float32(sigma)
        std = eta * sigma_after / sigma * math.sqrt(1 - (alpha / alpha_after) ** 2)
        previous = np.float32(alpha_after) * original + np.float32(math.sqrt(sigma_after**2 - std**2)) * noise
        if eta > 0 and draw_noise is not None:
            previous = previous + np.float32(std) * draw_noise()
        return Step(previous, original)


class OnnxDistilledScheduler(OnnxDDIMScheduler):
    """`NaturalSpeech2DistilledScheduler` without torch."""

    def set_timesteps(self, num_inference_steps=None, timesteps=None, sigmas=None):
        known = self.config["student_steps"]
        custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        n = num_inference_steps if custom is None else len(custom)
        if n not in known:
            raise ValueError(
                f"`num_inference_steps` is {n}, and this student was trained to take {' or '.join(map(str, known))}:"
                " its answers are jumps over exactly that far. Take one of these, or the student of another stage."
            )
        grid = (self._train * np.arange(n, 0, -1) / n - 1).astype(np.float32)
        # Timesteps from float32 sigmas may differ by a few thousandths.
        if custom is not None and not np.allclose(custom, grid, rtol=0, atol=0.02):
            raise ValueError(
                f"the timesteps are {custom.tolist()}, and this student was trained on {grid.tolist()}: its answers"
                f" are jumps from each to the next. Take these, or `num_inference_steps={n}`."
            )
        self.timesteps = grid


class OnnxEulerScheduler(OnnxScheduler):
    """`NaturalSpeech2EulerScheduler` without torch, with both of its solvers."""

    def __init__(self, config: dict[str, Any], integrated_beta: Sequence[float]):
        super().__init__(config, integrated_beta)
        self.order = 2 if config["solver"] == "midpoint" else 1
        self._has_closed_form = config["beta_schedule"] == "linear" and config.get("trained_betas") is None
        self._beta_table = np.gradient(self._table, 1 / self._train, edge_order=2)
        self._step_start: np.ndarray | None = None

    def set_timesteps(self, num_inference_steps=None, timesteps=None, sigmas=None):
        custom = self._custom_timesteps(num_inference_steps, timesteps, sigmas)
        if custom is None:
            self._check_num_inference_steps(num_inference_steps, self._train // 2)
            n = int(num_inference_steps)
            time = (n - 0.5 - np.arange(n)) / n
        else:
            time = (custom.astype(np.float64) + 1) / self._train
        halfway = (time[1:] + time[:-1]) / 2
        start, end = np.append(1.0, halfway), np.append(halfway, 0.0)
        self._step_lengths, self._lengths_to_slope = start - end, start - time
        self.timesteps = (self._train * time - 1).astype(np.float32).repeat(self.order)
        self._step_start = None

    def step(self, model_output, timestep, sample, eta=0.0, draw_noise=None):
        original = self.predict_original_sample(model_output, timestep, sample)
        alpha, sigma = self.alpha_sigma(timestep)
        step = int(np.abs(self.timesteps[:: self.order] - timestep).argmin())
        # 1e-8 as in the torch scheduler.
        score = -(sample - np.float32(alpha) * original) / np.float32(sigma**2 + 1e-8)
        slope = np.float32(self._beta(timestep) / 2) * (score + sample)
        if self.order == 1:
            previous = sample + np.float32(self._step_lengths[step]) * slope
        elif self._step_start is None:
            self._step_start = sample
            previous = sample + np.float32(self._lengths_to_slope[step]) * slope
        else:
            previous = self._step_start + np.float32(self._step_lengths[step]) * slope
            self._step_start = None
        return Step(previous, original)

    def _integrated_beta(self, timestep: float) -> float:
        if not self._has_closed_form:
            return super()._integrated_beta(timestep)
        time, (start, end) = (timestep + 1) / self._train, self._beta_ends()
        return start * time + (end - start) / 2 * time**2

    def _timesteps_of_integrated_beta(self, integrated_beta: np.ndarray) -> np.ndarray:
        if not self._has_closed_form:
            return super()._timesteps_of_integrated_beta(integrated_beta)
        start, end = self._beta_ends()
        time = 2 * integrated_beta / (start + np.sqrt(start**2 + 2 * (end - start) * integrated_beta))
        return self._train * time - 1

    def _beta(self, timestep: float) -> float:
        """β(t), the rate at which noise is added."""
        if not self._has_closed_form:
            return float(np.interp(timestep, np.arange(len(self._beta_table)) - 1.0, self._beta_table))
        start, end = self._beta_ends()
        return start + (end - start) * (timestep + 1) / self._train

    def _beta_ends(self) -> tuple[float, float]:
        return self.config["beta_start"] * self._train, self.config["beta_end"] * self._train


SCHEDULERS: dict[str, Callable[..., OnnxScheduler]] = {
    "NaturalSpeech2DDIMScheduler": OnnxDDIMScheduler,
    "NaturalSpeech2DistilledScheduler": OnnxDistilledScheduler,
    "NaturalSpeech2EulerScheduler": OnnxEulerScheduler,
}
