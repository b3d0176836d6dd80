"""DDIM inversion: from data to the noise that generates them."""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput

from .noise_schedules import _check_single
from .scheduling_ddim import NaturalSpeech2DDIMScheduler


class NaturalSpeech2DDIMInverseScheduler(NaturalSpeech2DDIMScheduler):
    """DDIM inversion (arXiv 2105.05233, section F): the steps of DDIM in the other direction.

    The probability-flow ODE runs from data to noise (NaturalSpeech 2, section 5, voice conversion), in the coordinates
    in which DDIM is exact for a constant prediction of noise. A step goes from one timestep of DDIM's grid to the next
    noisier one, with what the denoiser says of the sample that it has at the timestep where it arrives. The error is
    of first order, as DDIM's own. `timesteps` rise, and the first step begins at clean data.

    Arguments are those of `NaturalSpeech2DDIMScheduler`.
    """

    def set_timesteps(self, num_inference_steps=None, device=None, timesteps=None, sigmas=None) -> None:
        """Set the timesteps at which steps end, the least noise first; the arguments are those of DDIM."""
        super().set_timesteps(num_inference_steps, device, timesteps, sigmas)
        self.timesteps = self.timesteps.flip(0)

    def step(  # type: ignore[override]
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step towards noise: to `timestep` from the previous one of `timesteps`; the first starts at clean data.

        Args:
            model_output: prediction of the denoiser for `sample` at `timestep`, (B, C, T).
            timestep: end of the step; one for the whole batch.
            sample: z at the timestep before, (B, C, T).
            return_dict: False for the tuple (`prev_sample`, `pred_original_sample`).

        Returns:
            `prev_sample`, which is noisier than `sample`, and `pred_original_sample`, (B, C, T) in the dtype of
            `sample`.

        Raises:
            ValueError: for shapes or timesteps that do not fit the sample.
        """
        timestep = _check_single(self._as_timesteps(timestep, sample.device))
        alpha, sigma = self._item_alpha_sigma(timestep, sample)
        alpha_before, sigma_before = self._item_alpha_sigma(self.previous_timestep(timestep), sample)
        original = self.predict_original_sample(model_output, timestep, sample)
        noise = (sample - alpha * original) / sigma
        prev_sample = alpha * (sample - sigma_before * noise) / alpha_before + sigma * noise
        prev_sample, original = prev_sample.to(sample.dtype), original.to(sample.dtype)
        if not return_dict:
            return prev_sample, original
        return DDIMSchedulerOutput(prev_sample=prev_sample, pred_original_sample=original)
