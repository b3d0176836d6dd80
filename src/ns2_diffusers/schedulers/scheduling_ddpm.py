"""Ancestral sampling."""

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler, DDPMSchedulerOutput

from .noise_schedules import VariancePreservingMixin, resolve_trained_betas
from .temperature import DEFAULT_TEMPERATURE


class NaturalSpeech2DDPMScheduler(VariancePreservingMixin, DDPMScheduler):
    """Ancestral sampling: each step draws from q(z_s | z_t, ẑ_0) (Ho et al., arXiv 2006.11239, equations 6
    and 7).

    diffusers' `DDPMScheduler` with float timesteps, a temperature, noise that can be given, arithmetic in
    float32 whatever the sample's dtype, and the paper's defaults. The variance is the posterior's
    (`fixed_small`).

    Args:
        timestep_spacing (`str`, defaults to `"trailing"`): `trailing` begins at the very last training
            timestep, as sampling from pure noise must; `linspace` does too; `leading` does not.
        steps_offset (`int`, defaults to 0): added to the timesteps of `leading`.

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
        timestep_spacing: str = "trailing",
        steps_offset: int = 0,
        temperature: float = DEFAULT_TEMPERATURE,
    ):
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            trained_betas=resolve_trained_betas(beta_schedule, num_train_timesteps, trained_betas),
            prediction_type=prediction_type,
            clip_sample=clip_sample,
            clip_sample_range=clip_sample_range,
            timestep_spacing=timestep_spacing,
            steps_offset=steps_offset,
        )
        self._finish_init()

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        variance_noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> DDPMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step towards the data: from `timestep` to the next of `timesteps`.

        Args:
            model_output: prediction of the denoiser, (B, C, T).
            timestep: timestep of `sample`; one for the whole batch.
            sample: z_t, (B, C, T).
            generator: one, or one for each item; the noise of an item then does not depend on its batch.
            variance_noise: standard normal, (B, C, T), used in place of drawing.
            return_dict: False for the tuple (`prev_sample`, `pred_original_sample`).

        Returns:
            `prev_sample` and `pred_original_sample`, (B, C, T) in the dtype of `sample`.

        Raises:
            ValueError: for shapes, timesteps or generators that do not fit the sample.
        """
        original = self.predict_original_sample(model_output, timestep, sample)
        now = self._per_item(timestep, sample)
        after = self._per_item(self.previous_timestep(timestep), sample)
        variance_now, variance_after = -torch.expm1(-now), -torch.expm1(-after)
        beta = -torch.expm1(after - now)

        mean = (
            torch.exp(-after / 2) * beta / variance_now * original
            + torch.exp((after - now) / 2) * variance_after / variance_now * sample
        )
        std = torch.sqrt(variance_after * beta / variance_now)
        prev_sample = (mean + std * self._draw_noise(sample, generator, variance_noise)).to(sample.dtype)

        original = original.to(sample.dtype)
        if not return_dict:
            return prev_sample, original
        return DDPMSchedulerOutput(prev_sample=prev_sample, pred_original_sample=original)
