"""Gaussian data, for which the results of samplers are known in closed form."""

import pytest
import torch

from ns2_diffusers import NaturalSpeech2EulerScheduler


class GaussianData:
    """Latents (B, 2, T) from N(mean, std²), with a mean and a standard deviation for each channel."""

    mean = torch.tensor([0.7, -0.4]).reshape(1, 2, 1)
    std = torch.tensor([0.6, 1.2]).reshape(1, 2, 1)

    def levels(self, scheduler, timestep):
        """(α, σ) from the scheduler's betas alone; the Euler scheduler's have tests of their own."""
        if isinstance(scheduler, NaturalSpeech2EulerScheduler):
            return scheduler.alpha_sigma(timestep)
        alpha_bar = torch.cumprod(1 - scheduler.betas.double(), 0)[int(timestep)].float()
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()

    def noisy_std(self, alpha, sigma):
        return (alpha**2 * self.std**2 + sigma**2).sqrt()

    def predict(self, noisy, alpha, sigma, prediction_type):
        """The output of the exact denoiser, E[z_0 | z_t], in the given prediction type."""
        original = self.mean + alpha * self.std**2 / self.noisy_std(alpha, sigma) ** 2 * (noisy - alpha * self.mean)
        noise = (noisy - alpha * original) / sigma
        return {"sample": original, "epsilon": noise, "v_prediction": alpha * noise - sigma * original}[
            prediction_type
        ]

    def flow(self, noisy, start, end):
        """The probability flow, along which (z - α mean) / √(α² std² + σ²) is constant."""
        score = (noisy - start[0] * self.mean) / self.noisy_std(*start)
        return end[0] * self.mean + score * self.noisy_std(*end)

    def generate(self, scheduler, num_inference_steps, noise, stop_at=None, **step_kwargs):
        """The loop of a pipeline. `stop_at` returns z at that timestep instead of the end."""
        scheduler.set_timesteps(num_inference_steps)
        latents, noisy = noise * float(scheduler.init_noise_sigma), None
        for timestep in scheduler.timesteps:
            if stop_at is not None and timestep < stop_at:
                return noisy
            noisy = scheduler.scale_model_input(latents, timestep)
            levels = self.levels(scheduler, timestep)
            prediction = self.predict(noisy, *levels, scheduler.config.prediction_type)
            latents = scheduler.step(prediction, timestep, latents, **step_kwargs).prev_sample
        return latents


@pytest.fixture
def gaussian():
    return GaussianData()


@pytest.fixture
def noise():
    """Noise (4, 2, 2048) with mean 0 and variance 1 in each channel, so that only the sampler has an error.

    Its seed differs from those of the tests, because fresh noise must not repeat z_T.
    """
    noise = torch.randn(4, 2, 2048, generator=torch.Generator().manual_seed(2304))
    noise = noise - noise.mean((0, 2), keepdim=True)
    return noise / noise.pow(2).mean((0, 2), keepdim=True).sqrt()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
