"""Default precision of training."""

from __future__ import annotations

import torch


def fast_precision() -> str:
    """accelerate's "bf16" on an accelerator and on CPUs that multiply bfloat16 themselves, "no" on others.

    A CPU that has to imitate it, as one with AVX2 alone, is many times slower in bfloat16 than in float32.
    """
    fast = torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if fast else "no"
