"""The time a run has taken, and whether it may go on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from accelerate.utils import broadcast

if TYPE_CHECKING:
    from accelerate import Accelerator


class TrainingClock:
    """Counts the seconds of a run, those before it was resumed included.

    Args:
        accelerator: of the run; the main process' clock is everybody's, so that all stop at the same step.
        minutes: the run's whole time; None is no limit.
        seconds: spent already, from the checkpoint's progress.
    """

    def __init__(self, accelerator: Accelerator, minutes: float | None, seconds: float = 0.0):
        self.accelerator, self.minutes = accelerator, minutes
        self.started = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Spent until now."""
        return time.monotonic() - self.started

    def is_over(self) -> bool:
        """Whether the time is up; to be asked by all processes at once."""
        if self.minutes is None:
            return False
        over = torch.tensor(self.seconds >= 60 * self.minutes, device=self.accelerator.device, dtype=torch.uint8)
        return bool(broadcast(over).item())
