import pytest
import torch
from accelerate import Accelerator
from torch import nn

from ns2_diffusers.training.averaging import WeightAverage


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


def set_weight(model, value):
    with torch.no_grad():
        model.weight.fill_(value)


def make(accelerator, decay):
    model = accelerator.prepare(nn.Linear(1, 1))
    model.bias.requires_grad_(False).fill_(7.0)
    set_weight(model, 0.0)
    return model, WeightAverage(accelerator, model, decay)


def test_the_average_is_of_the_weights_that_learn(accelerator):
    model, average = make(accelerator, 0.3)
    for value in (1.0, 2.0, 3.0):
        set_weight(model, value)
        average.step()
    # The first step replaces the start; then decay is 1 − 2^−¾ = 0.405, capped at 0.3.
    expected = 0.3 * (0.3 * 1 + 0.7 * 2) + 0.7 * 3
    state = average.state_dict()
    assert state["weight"].item() == pytest.approx(expected) and state["bias"].item() == 7
    assert model.weight.item() == 3


def test_it_warms_up(accelerator):
    model, average = make(accelerator, 0.9999)
    for value in (1.0, 2.0):
        set_weight(model, value)
        average.step()
    decay = 1 - 2**-0.75
    assert average.state_dict()["weight"].item() == pytest.approx(decay * 1 + (1 - decay) * 2)


def test_it_travels_with_checkpoints(accelerator, tmp_path):
    model, average = make(accelerator, 0.9)
    for value in (1.0, 2.0):
        set_weight(model, value)
        average.step()
    accelerator.save_state(str(tmp_path))
    set_weight(model, 5.0)
    average.step()
    wanted = average.state_dict()["weight"]
    accelerator.load_state(str(tmp_path))
    set_weight(model, 5.0)
    average.step()
    assert torch.equal(average.state_dict()["weight"], wanted)


def test_half_precision_weights_are_averaged_in_full(accelerator):
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    set_weight(model, 0.0)
    average = WeightAverage(accelerator, model, 0.9999)
    average.ema.optimization_step = 10**6
    set_weight(model, 1.0)
    average.step()
    assert average.ema.shadow_params[0].item() == pytest.approx(1e-4, rel=1e-3)


def test_weights_that_deepspeed_hides_are_refused(accelerator, monkeypatch):
    plugin = type("Plugin", (), {"zero_stage": 3})()
    monkeypatch.setattr(type(accelerator.state), "deepspeed_plugin", plugin, raising=False)
    with pytest.raises(ValueError, match="stage 3"):
        WeightAverage(accelerator, nn.Linear(1, 1), 0.9)
