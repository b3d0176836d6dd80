"""Rebuilds models and pipelines from the state of a training run, whether wrapped, sharded or neither."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from diffusers import DiffusionPipeline
from torch import nn

Pipeline = TypeVar("Pipeline", bound=DiffusionPipeline)
ModelConfigs = dict[str, tuple[Any, Any]]


def model_configs(models: dict[str, nn.Module]) -> ModelConfigs:
    """Class and config of each model, to be recorded before `accelerator.prepare` wraps the models."""
    return {name: (type(model), model.config) for name, model in models.items()}


def build_models(configs: ModelConfigs, state: dict[str, torch.Tensor]) -> dict[str, nn.Module]:
    """Make new models on the CPU, in evaluation mode, with their weights from `state`, prefixed by `<name>.`."""
    models = {}
    for name, (model_class, config) in configs.items():
        models[name] = model_class.from_config(config).eval()
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        models[name].load_state_dict(own)
    return models


def with_components(pipe: Pipeline, **components: Any) -> Pipeline:
    """Copy a pipeline with other components and the same settings; `pipe` does not change."""
    settings = [name for name in inspect.signature(type(pipe)).parameters if name not in pipe.components]
    kept = {name: pipe.config[name] for name in settings if name in pipe.config}
    made = type(pipe)(**(pipe.components | components), **kept)
    made.set_progress_bar_config(disable=True)
    return made
