"""The precision that is chosen depends on the measured times alone."""

from types import SimpleNamespace

import pytest
import torch

from ns2_diffusers import fastest_dtype
from ns2_diffusers.pipelines import precision


@pytest.mark.parametrize(
    "bfloat16, chosen", [(0.5, torch.bfloat16), (0.9, torch.float32), (1.0, torch.float32), (8.0, torch.float32)]
)
def test_the_faster_precision_is_chosen(monkeypatch, bfloat16, chosen):
    asked = []

    def seconds_of(device, dtype, seconds):
        asked.append((device.type, dtype, seconds))
        return bfloat16 if dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(precision, "product_seconds", seconds_of)
    assert fastest_dtype("cpu", seconds=0.2) == chosen
    assert asked == [("cpu", torch.float32, 0.1), ("cpu", torch.bfloat16, 0.1)]


def test_a_device_without_bfloat16_gets_float32(monkeypatch):
    def fail_for(device, dtype, seconds):
        if dtype == torch.bfloat16:
            raise TypeError("BFloat16 is not supported")
        return 1.0

    monkeypatch.setattr(precision, "product_seconds", fail_for)
    assert fastest_dtype() == torch.float32


def test_products_are_measured_until_the_time_is_over(monkeypatch):
    """A clock that advances by 1 s at each look: the time to measure, then begin and end of each product."""
    looks = []
    clock = SimpleNamespace(perf_counter=lambda: looks.append(0) or float(len(looks)))
    monkeypatch.setattr(precision, "time", clock)
    monkeypatch.setattr(precision, "SIZES", (2, 3, 4))
    assert precision.product_seconds(torch.device("cpu"), torch.bfloat16, 9.0) == 1.0
    assert len(looks) == 12


def test_a_measurement_without_stubs():
    assert fastest_dtype(seconds=0.01) in (torch.float32, torch.bfloat16)
