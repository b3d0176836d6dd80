"""Optimizers and learning rate schedules."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable

import torch
from diffusers.optimization import get_scheduler
from transformers import get_inverse_sqrt_schedule

# Function of the step and the completed share of the run, 0 to 1; returns a factor of the highest learning rate.
Schedule = Callable[[int, float], float]


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The trainable parameters of a model."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def build_optimizer(model: torch.nn.Module, args: Namespace, learning_rate: float | None = None) -> torch.optim.AdamW:
    """AdamW for the trainable parameters of a model, with the arguments of `arguments.add_optimizer_arguments`.

    Args:
        learning_rate: used in place of `args.learning_rate`.
    """
    return torch.optim.AdamW(
        trainable(model),
        lr=args.learning_rate if learning_rate is None else learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        weight_decay=args.adam_weight_decay,
        eps=args.adam_epsilon,
        fused=True,
    )


def step_schedule(optimizer: torch.optim.Optimizer, args: Namespace) -> Schedule:
    """The schedule of `--lr_scheduler`, as a function of the step only."""
    if args.lr_scheduler == "inverse_sqrt":
        schedule = get_inverse_sqrt_schedule(optimizer, args.lr_warmup_steps)
    else:
        schedule = get_scheduler(
            args.lr_scheduler,
            optimizer,
            num_warmup_steps=args.lr_warmup_steps,
            num_training_steps=args.max_train_steps,
        )
    factor = schedule.lr_lambdas[0]
    # Constructing the schedule has set the rate of the first step. The run needs the peak rate.
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
    return lambda step, done: factor(step)


def cosine_schedule(warmup_steps: int, last: float = 0.0, first_step: int = 0) -> Schedule:
    """Linear warm-up from `first_step`, then half a cosine over the completed share, down to the factor `last`."""
    return lambda step, done: (
        min(1.0, max(0, step + 1 - first_step) / max(1, warmup_steps))
        * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))
    )


def linear_schedule(warmup_steps: int) -> Schedule:
    """Linear warm-up, then linear decay to zero over the run."""
    return lambda step, done: min(1.0, (step + 1) / max(1, warmup_steps)) * (1 - done)
