"""Chooses the faster precision of a device by a measurement."""

from __future__ import annotations

import time

import torch

# Products of the size of a sentence: frames, channels in, channels out.
SIZES = (384, 512, 2048)
# Most of the other operations are not faster in bfloat16, so its products must be faster by this factor.
MARGIN = 1.25


def fastest_dtype(device: str | torch.device = "cpu", seconds: float = 0.5) -> torch.dtype:
    """Return bfloat16 if its matrix products are faster than those of float32 on a device, otherwise float32.

        pipe.to(fastest_dtype())

    bfloat16 is faster on GPUs and on processors with AVX512-BF16 or AMX. Other processors emulate it.

    Args:
        device: device that is measured.
        seconds: duration of the measurement. A product that takes longer is completed.
    """
    dtypes = (torch.float32, torch.bfloat16)
    try:
        float32, bfloat16 = (product_seconds(torch.device(device), dtype, seconds / len(dtypes)) for dtype in dtypes)
    except (RuntimeError, TypeError):  # the device has no bfloat16
        return torch.float32
    return torch.bfloat16 if float32 > MARGIN * bfloat16 else torch.float32


@torch.inference_mode()
def product_seconds(device: torch.device, dtype: torch.dtype, seconds: float) -> float:
    """The shortest time of a matrix product, measured for a number of seconds after one product."""
    rows, channels, outputs = SIZES
    inputs = torch.ones(rows, channels, device=device, dtype=dtype)
    weight = torch.ones(outputs, channels, device=device, dtype=dtype)

    def product() -> float:
        begin = time.perf_counter()
        torch.nn.functional.linear(inputs, weight).sum().item()  # `item` waits for the device
        return time.perf_counter() - begin

    end = time.perf_counter() + seconds
    product()
    shortest = product()
    while time.perf_counter() < end:
        shortest = min(shortest, product())
    return shortest
