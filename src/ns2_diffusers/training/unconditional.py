"""Training of a denoiser on latents only, without text and prompt."""

from __future__ import annotations

import torch
from torch import nn

from .losses import data_loss, min_snr_weights
from .objective import sample_times


def unconditional_loss(
    denoiser: nn.Module,
    scheduler,
    latents: torch.Tensor,
    mask: torch.Tensor,
    min_snr_gamma: float = 0.0,
    timestep_sampling: str = "uniform",
    self_conditioning: bool = False,
) -> torch.Tensor:
    """Squared error of the denoiser's prediction, with noise and timesteps from torch's global generator.

    Args:
        denoiser: a denoiser with a learned null for the condition; it may be wrapped for several processes.
        scheduler: any scheduler of this package; provides noise levels and the prediction type.
        latents: (B, C, T), standardised.
        mask: (B, T), True where there is audio.
        min_snr_gamma, timestep_sampling: see `ObjectiveConfig`.
        self_conditioning: whether to give the denoiser its own first estimate (arXiv 2208.04202), if it takes one.
    """
    latents = latents * mask.unsqueeze(1)
    noise = torch.randn_like(latents)
    times = sample_times(timestep_sampling, len(latents), latents.device)
    timesteps = times * (scheduler.config.num_train_timesteps - 1)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    inputs = {"sample_mask": mask}
    if self_conditioning:
        # Not under no_grad: autocast would cache the weights that are cast there, without gradients.
        first = denoiser(noisy, timesteps, **inputs).sample.detach()
        inputs["self_condition"] = scheduler.predict_original_sample(first, timesteps, noisy)
    target = scheduler.training_target(latents, noise, timesteps)
    weights = None
    if min_snr_gamma:
        snr = scheduler.signal_to_noise_ratio(timesteps)
        weights = min_snr_weights(snr, scheduler.config.prediction_type, min_snr_gamma)
    return data_loss(denoiser(noisy, timesteps, **inputs).sample, target, mask, weights)
