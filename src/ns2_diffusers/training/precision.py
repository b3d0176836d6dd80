"""Default precision of training."""

from __future__ import annotations

import torch


def fast_precision() -> str:
    """accelerate's "bf16" on an accelerator and on CPUs with bfloat16 multiplication, otherwise "no".

    A CPU that emulates it, such as one with only AVX2, is many times slower in bfloat16 than in float32.
    """
    fast = torch.accelerator.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if fast else "no"
