"""The paper's sampler inverted: from data to the noise that generates them."""

from __future__ import annotations

from .scheduling_euler import NaturalSpeech2EulerScheduler


class NaturalSpeech2EulerInverseScheduler(NaturalSpeech2EulerScheduler):
    """Euler's method on the probability-flow ODE from t = 0 to 1 (NaturalSpeech 2, section 5, voice conversion).

    The steps are those of `NaturalSpeech2EulerScheduler` in the other direction, with slopes at the same times, and of
    the same order: first for `euler`, second for `midpoint`. `timesteps` rise.

    Arguments are those of `NaturalSpeech2EulerScheduler`.
    """

    def set_timesteps(self, num_inference_steps=None, device=None, timesteps=None, sigmas=None) -> None:
        """Set steps from t = 0 to 1, and the times of their slopes; the arguments are those of the sampler."""
        super().set_timesteps(num_inference_steps, device, timesteps, sigmas)
        self.timesteps = self.timesteps.flip(0)
        lengths, to_slope = self._step_lengths.flip(0), self._lengths_to_slope.flip(0)
        # The steps run against the direction of sampling, so the parts before and after the slope are exchanged.
        self._step_lengths, self._lengths_to_slope = -lengths, to_slope - lengths
