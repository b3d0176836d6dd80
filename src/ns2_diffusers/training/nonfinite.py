"""Skipping of training steps with NaN or infinite gradients."""

from __future__ import annotations

import math

import torch


class NonFiniteGuard:
    """Decides which steps to skip because their gradient is not finite; raises an error if too many follow each other.

    Gradients are averaged over processes before their norm is taken, so every process decides alike.

    Args:
        limit: steps in a row that may be skipped. Half precision needs a few at its start, where the scale of the
            loss is found by trying.
        skipped: steps skipped so far, of a run that is resumed.

    Attributes:
        skipped: steps skipped in total.
        in_a_row: those since the last good one.
    """

    def __init__(self, limit: int = 10, skipped: int = 0):
        self.limit, self.skipped, self.in_a_row = limit, skipped, 0

    def skips(self, gradient_norm: torch.Tensor | float) -> bool:
        """Whether to skip the step with this gradient norm.

        Raises:
            RuntimeError: `limit` steps in a row were already left out.
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
