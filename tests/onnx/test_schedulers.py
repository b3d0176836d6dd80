"""Schedulers in NumPy take the steps of those in torch."""

import numpy as np
import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2DistilledScheduler,
    NaturalSpeech2EulerScheduler,
)
from ns2_diffusers.onnx.schedulers import SCHEDULERS

CASES = [
    (NaturalSpeech2DDIMScheduler(), {"num_inference_steps": 7}),
    (NaturalSpeech2DDIMScheduler(timestep_spacing="leading", steps_offset=1), {"num_inference_steps": 3}),
    (NaturalSpeech2DDIMScheduler(timestep_spacing="linspace", set_alpha_to_one=False), {"num_inference_steps": 4}),
    (NaturalSpeech2DDIMScheduler(beta_schedule="cosine"), {"sigmas": [20.0, 3.0, 0.5, 0.0]}),
    (NaturalSpeech2DDIMScheduler(prediction_type="epsilon", clip_sample=True), {"timesteps": [900, 500.5, 10]}),
    (
        NaturalSpeech2DistilledScheduler(student_steps=[6, 3], prediction_type="v_prediction"),
        {"num_inference_steps": 6},
    ),
    (NaturalSpeech2EulerScheduler(), {"num_inference_steps": 5}),
    (NaturalSpeech2EulerScheduler(solver="midpoint", beta_schedule="sigmoid"), {"num_inference_steps": 4}),
    (NaturalSpeech2EulerScheduler(), {"sigmas": [50.0, 2.0, 0.3]}),
]


def counterpart(scheduler):
    return SCHEDULERS[type(scheduler).__name__](dict(scheduler.config), scheduler._integrated_beta_table.tolist())


def guess(timestep, sample):
    """A denoiser that depends on latents and timestep, the same in torch and NumPy."""
    return 0.3 * sample + float(timestep) / 2000


@pytest.mark.parametrize("scheduler, steps", CASES)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_steps_are_those_of_torch(scheduler, steps, eta):
    ours = counterpart(scheduler)
    scheduler.set_timesteps(**steps)
    ours.set_timesteps(**steps)
    np.testing.assert_allclose(ours.timesteps, scheduler.timesteps.numpy(), rtol=0, atol=2e-3)
    start = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(2))
    wanted, found = start, start.numpy()
    extra = {} if isinstance(scheduler, NaturalSpeech2EulerScheduler) else {"eta": eta, "variance_noise": noise}
    for theirs, timestep in zip(scheduler.timesteps, ours.timesteps.tolist(), strict=True):
        wanted = scheduler.step(guess(theirs, wanted), theirs, wanted, **extra).prev_sample
        found = ours.step(guess(timestep, found), timestep, found, eta, noise.numpy).prev_sample
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_errors_are_those_of_torch():
    for scheduler, steps in [
        (NaturalSpeech2DDIMScheduler(), {"num_inference_steps": 0}),
        (NaturalSpeech2DDIMScheduler(), {"timesteps": [10, 500]}),
        (NaturalSpeech2DDIMScheduler(), {"timesteps": [1000]}),
        (NaturalSpeech2DDIMScheduler(), {"sigmas": [1e6]}),
        (NaturalSpeech2DistilledScheduler(student_steps=[4, 2]), {"num_inference_steps": 3}),
        (NaturalSpeech2DistilledScheduler(student_steps=[4, 2]), {"timesteps": [900, 400]}),
        (NaturalSpeech2EulerScheduler(), {"num_inference_steps": 501}),
    ]:
        for each in (scheduler, counterpart(scheduler)):
            with pytest.raises(ValueError):
                each.set_timesteps(**steps)
