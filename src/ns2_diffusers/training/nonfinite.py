"""Skips training steps with NaN or infinite gradients."""

from __future__ import annotations

import math

import torch


class NonFiniteGuard:
    """Decides which steps to skip because their gradient is not finite; raises an error after too many in a row.

    Gradients are averaged over processes before their norm is computed, so every process decides alike.

    Args:
        limit: maximum number of skipped steps in a row. Half precision skips a few at its start, while it searches for
            the scale of the loss.
        skipped: number of steps that a resumed run has skipped so far.

    Attributes:
        skipped: total number of skipped steps.
        in_a_row: number of skipped steps since the last good one.
    """

    def __init__(self, limit: int = 10, skipped: int = 0):
        self.limit, self.skipped, self.in_a_row = limit, skipped, 0

    def skips(self, gradient_norm: torch.Tensor | float) -> bool:
        """Whether to skip the step with this gradient norm.

        Raises:
            RuntimeError: `limit` steps in a row were skipped already.
        """
        if math.isfinite(float(gradient_norm)):
            self.in_a_row = 0
            return False
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row > self.limit:
            raise RuntimeError(
                f"The gradient was not finite {self.in_a_row} steps in a row. The last checkpoint is from before: "
                "look at the data, lower --learning_rate, or train with --mixed_precision bf16 or no."
            )
        return True
