"""Conversion between arrays and tensors without importing torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np


def is_tensor(values: Any) -> bool:
    """Whether something is a torch tensor; False if torch was not imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def as_array(values: Any) -> np.ndarray:
    """Convert a torch tensor of any device and dtype, or anything that NumPy reads, to an array."""
    if is_tensor(values):
        values = values.detach().cpu()
        # NumPy has neither bfloat16 nor shorter floating-point types.
        values = (values.float() if values.dtype.itemsize < 4 and values.is_floating_point() else values).numpy()
    return np.asarray(values)


def like(array: np.ndarray, given: Any) -> Any:
    """Convert an array to the type of `given`: an array, or a tensor of its dtype and device."""
    return array if isinstance(given, np.ndarray) else given.new_tensor(array)


def piece_ranges(total: int, frames: int, growth: int = 1) -> Iterator[tuple[int, int]]:
    """Split `total` frames into ranges of `frames` each, or with `growth` each that many times as long as the last."""
    start = 0
    while start < total:
        end = min(start + frames, total)
        yield start, end
        start, frames = end, frames * growth
