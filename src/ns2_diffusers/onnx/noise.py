"""Random numbers equal to those of torch on the CPU, so that a seed gives the same speech with and without torch.

`numpy.random.RandomState` uses torch's generator, MT19937, with the same seeding: `RandomState(7)` equals
`torch.Generator().manual_seed(7)`. This module repeats torch's transformations of its numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np


def generator_of(seed: int) -> np.random.RandomState:
    """The generator for a seed; like torch, it uses the lowest 32 bits."""
    return np.random.RandomState(seed & 0xFFFFFFFF)


def draw_seeds(generator: Any, counts: list[int]) -> list[list[int]]:
    """One seed per sentence of every text, from one generator for all texts or one per text; None makes new ones.

    Raises:
        TypeError, ValueError: not generators, or not as many as texts.
    """
    if isinstance(generator, (list, tuple)) and len(generator) != len(counts):
        raise ValueError(f"{len(generator)} generators for {len(counts)} texts: give one for all, or one each.")
    generators = generator if isinstance(generator, (list, tuple)) else [generator] * len(counts)
    for each in generators:
        if each is not None and not isinstance(each, np.random.RandomState):
            raise TypeError(
                f"generator is a {type(each).__name__}; wanted a numpy.random.RandomState or a list of them, whose "
                "seeds are those of torch.Generator."
            )
    return [
        [secrets.randbits(62) if each is None else _whole_number(each) for _ in range(count)]
        for each, count in zip(generators, counts, strict=True)
    ]


def _whole_number(generator: np.random.RandomState) -> int:
    """`torch.randint(2**62, ())`."""
    high, low = _words(generator, 2).tolist()
    return ((high << 32) | low) % 2**62


def randn(shape: Sequence[int], generator: np.random.RandomState) -> np.ndarray:
    """`torch.randn(shape)` of at least 16 numbers, float32; fewer are the first of 16.

    Uses the Box-Muller transform on blocks of 16; a remainder is the end of a new block of 16.
    """
    count = int(np.prod(shape))
    size = max(count, 16)
    uniform = _uniform(generator, size)
    whole = size // 16 * 16
    normal = np.empty(size, np.float32)
    normal[:whole] = _box_muller(uniform[:whole])
    if whole < size:
        normal[-16:] = _box_muller(_uniform(generator, 16))
    return normal[:count].reshape(shape)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    pairs = uniform.reshape(-1, 2, 8)
    radius = np.sqrt(-2 * np.log(1 - pairs[:, :1]))
    angle = np.float32(2 * np.pi) * pairs[:, 1:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def _uniform(generator: np.random.RandomState, count: int) -> np.ndarray:
    """Uniform numbers of 24 bits in [0, 1)."""
    return (_words(generator, count) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)


def _words(generator: np.random.RandomState, count: int) -> np.ndarray:
    return generator.randint(0, 2**32, size=count, dtype=np.uint32)
