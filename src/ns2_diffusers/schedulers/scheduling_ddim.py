"""Denoising diffusion implicit sampling."""

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_ddim import DDIMScheduler, DDIMSchedulerOutput

from .noise_schedules import VariancePreservingMixin, resolve_trained_betas
from .temperature import DEFAULT_TEMPERATURE


class NaturalSpeech2DDIMScheduler(VariancePreservingMixin, DDIMScheduler):
    """DDIM (Song et al., arXiv 2010.02502, equations 12 and 16): deterministic, or stochastic with `eta`.

    diffusers' `DDIMScheduler` with float timesteps, a temperature, arithmetic in float32 whatever the
    sample's dtype, and the paper's defaults. Each step arrives where the next begins for every number of
    steps; diffusers' takes `num_train_timesteps // num_inference_steps`, which misses where that does not
    divide. The last arrives at ẑ_0.

    Args:
        timestep_spacing (`str`, defaults to `"trailing"`): `trailing` begins at the very last training
            timestep, as sampling from pure noise must; `linspace` does too; `leading` does not.
        steps_offset (`int`, defaults to 0): added to the timesteps of `leading`.
        set_alpha_to_one (`bool`, defaults to True): whether the last step arrives at clean data, or at the noise of
            timestep 0 as diffusers' `PNDMScheduler` configs say.

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
        set_alpha_to_one: bool = True,
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
            set_alpha_to_one=set_alpha_to_one,
        )
        self._finish_init()
        self._final_timestep = -1 if set_alpha_to_one else 0

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: torch.Generator | list[torch.Generator] | None = None,
        variance_noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> DDIMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step towards the data: from `timestep` to the next of `timesteps`.

        Args:
            model_output: prediction of the denoiser, (B, C, T).
            timestep: timestep of `sample`; one for the whole batch.
            sample: z_t, (B, C, T).
            eta: 0 (no new noise) to 1 (ancestral sampling).
            use_clipped_model_output: whether the noise that the sample contains is computed from ẑ_0 as clipped by
                `clip_sample`, rather than as predicted.
            generator: one, or one for each item; the noise of an item then does not depend on its batch.
            variance_noise: standard normal, (B, C, T), used in place of drawing. Neither is used if `eta`
                is 0.
            return_dict: False for the tuple (`prev_sample`, `pred_original_sample`).

        Returns:
            `prev_sample` and `pred_original_sample`, (B, C, T) in the dtype of `sample`.

        Raises:
            ValueError: for an `eta` outside [0, 1], or shapes, timesteps or generators that do not fit the
                sample.
        """
        if not 0 <= eta <= 1:
            raise ValueError(f"`eta` is {eta}; it must lie in [0, 1]: 0 is deterministic, 1 ancestral.")
        alpha, sigma = self._item_alpha_sigma(timestep, sample)
        alpha_after, sigma_after = self._item_alpha_sigma(self.previous_timestep(timestep), sample)

        predicted = self.predict_original_sample(model_output, timestep, sample, clip=False)
        original = self._clip(predicted)
        noise = (sample - alpha * (original if use_clipped_model_output else predicted)) / sigma
        std = eta * sigma_after / sigma * torch.sqrt(1 - (alpha / alpha_after) ** 2)
        prev_sample = alpha_after * original + torch.sqrt(sigma_after**2 - std**2) * noise
        if eta > 0:
            prev_sample = prev_sample + std * self._draw_noise(sample, generator, variance_noise)

        prev_sample, original = prev_sample.to(sample.dtype), original.to(sample.dtype)
        if not return_dict:
            return prev_sample, original
        return DDIMSchedulerOutput(prev_sample=prev_sample, pred_original_sample=original)
