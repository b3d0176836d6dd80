import math
from argparse import Namespace

import pytest
import torch
from diffusers.optimization import get_scheduler

from ns2_diffusers.training.arguments import LR_SCHEDULERS
from ns2_diffusers.training.optimization import build_optimizer, cosine_schedule, linear_schedule, step_schedule

ARGS = {"learning_rate": 0.5, "adam_beta1": 0.8, "adam_beta2": 0.9, "adam_weight_decay": 0.1, "adam_epsilon": 1e-6}


def make_args(**changes):
    return Namespace(**ARGS, lr_warmup_steps=4, max_train_steps=20, **changes)


def test_the_optimizer_has_what_learns_and_its_settings():
    model = torch.nn.Linear(2, 3)
    model.bias.requires_grad_(False)
    (group,) = build_optimizer(model, make_args()).param_groups
    assert group["params"] == [model.weight]
    assert (group["lr"], group["betas"], group["weight_decay"], group["eps"]) == (0.5, (0.8, 0.9), 0.1, 1e-6)
    assert build_optimizer(model, make_args(), 0.25).param_groups[0]["lr"] == 0.25
    assert build_optimizer(model, make_args(), 0.0).param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_schedules_by_name_are_those_of_the_libraries(name):
    model = torch.nn.Linear(1, 1)
    optimizer = build_optimizer(model, make_args())
    schedule = step_schedule(optimizer, make_args(lr_scheduler=name))
    assert optimizer.param_groups[0]["lr"] == 0.5
    if name == "inverse_sqrt":
        theirs = [min((step + 1e-30) / 4, math.sqrt(4 / max(step, 1))) for step in range(20)]
    else:
        other = torch.optim.AdamW(model.parameters(), lr=0.5)
        scheduler = get_scheduler(name, other, num_warmup_steps=4, num_training_steps=20)
        theirs = []
        for _ in range(20):
            theirs.append(scheduler.get_last_lr()[0] / 0.5)
            other.step()
            scheduler.step()
    assert [schedule(step, 0.9) for step in range(20)] == pytest.approx(theirs)


def test_schedules_that_follow_the_run():
    cosine, linear = cosine_schedule(2, last=0.05), linear_schedule(2)
    assert [cosine(0, 0.0), cosine(1, 0.0), cosine(9, 0.5), cosine(9, 1.0)] == pytest.approx([0.5, 1.0, 0.525, 0.05])
    assert [linear(0, 0.0), linear(1, 0.0), linear(9, 0.25), linear(9, 1.0)] == pytest.approx([0.5, 1.0, 0.75, 0.0])
    assert cosine_schedule(0)(0, 0.0) == linear_schedule(0)(0, 0.0) == 1.0
