"""The default precision is never the slower one."""

import pytest
import torch

from ns2_diffusers.training import precision


@pytest.mark.parametrize(
    ("accelerator", "cpu", "wanted"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "no")]
)
def test_bf16_where_something_multiplies_it(monkeypatch, accelerator, cpu, wanted):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: cpu)
    assert precision.fast_precision() == wanted
