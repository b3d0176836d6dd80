"""Models and pipelines made anew from the state of a training run, whatever wraps and shards them there."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..pipelines.pipeline_naturalspeech2 import NaturalSpeech2Pipeline


class Blueprint:
    """Remembers what models are but for their weights; make it before `accelerator.prepare` has its way with them.

    Args:
        models: diffusers' models by name; a state has theirs under `<name>.`.
    """

    def __init__(self, models: dict[str, nn.Module]):
        self.plans = {name: (type(model), model.config) for name, model in models.items()}

    def build(self, state: dict[str, torch.Tensor]) -> dict[str, nn.Module]:
        """New models with the weights of `state`, on the CPU, in evaluation mode."""
        models = {}
        model_class: Any
        for name, (model_class, config) in self.plans.items():
            models[name] = model_class.from_config(config).eval()
            own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
            models[name].load_state_dict(own)
        return models


def with_components(pipe: NaturalSpeech2Pipeline, **components: nn.Module) -> NaturalSpeech2Pipeline:
    """A pipeline like `pipe` but for some components."""
    settings = [name for name in pipe.config if name.endswith("_seconds") or name.startswith("default_")]
    kept = {name: pipe.config[name] for name in settings}
    made = type(pipe)(**(pipe.components | components), **kept)
    made.set_progress_bar_config(disable=True)
    return made
