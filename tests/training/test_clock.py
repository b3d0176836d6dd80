import pytest
from accelerate import Accelerator

from ns2_diffusers.training import clock as clocks
from ns2_diffusers.training.clock import TrainingClock


@pytest.fixture
def now(monkeypatch):
    """The time, to be set."""
    time = {"now": 1000.0}
    monkeypatch.setattr(clocks.time, "monotonic", lambda: time["now"])
    return time


def test_time_before_the_run_was_resumed_counts(now):
    clock = TrainingClock(Accelerator(cpu=True), minutes=2, seconds=100)
    assert clock.seconds == 100 and not clock.is_over()
    now["now"] += 19.9
    assert not clock.is_over()
    now["now"] += 0.1
    assert clock.seconds == pytest.approx(120) and clock.is_over()


def test_no_limit(now):
    clock = TrainingClock(Accelerator(cpu=True), minutes=None)
    now["now"] += 1e9
    assert clock.seconds == 1e9 and not clock.is_over()
