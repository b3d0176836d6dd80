import pytest
import torch

from ns2_diffusers.training.nonfinite import NonFiniteGuard


def test_skips_are_counted_and_a_good_step_ends_the_row():
    guard = NonFiniteGuard(limit=2, skipped=5)
    norms = [1.0, float("nan"), torch.tensor(float("inf")), torch.tensor(3.0), float("nan")]
    assert [guard.skips(norm) for norm in norms] == [False, True, True, False, True]
    assert guard.skipped == 8 and guard.in_a_row == 1


def test_too_many_in_a_row_stop_the_run():
    guard = NonFiniteGuard(limit=2)
    assert guard.skips(float("nan")) and guard.skips(float("inf"))
    with pytest.raises(RuntimeError, match="3 steps in a row"):
        guard.skips(float("nan"))
