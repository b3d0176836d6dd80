"""Training of low-rank adapters (LoRA, arXiv 2106.09685) in place of a model's weights, with `peft`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..models.lora import require_peft


def add_lora(models: dict[str, Any], components: Iterable[str], rank: int, alpha: float) -> None:
    """Freeze all models, and add trainable adapters to the repeated layers of some of them.

    Linear layers and convolutions get adapters, so attention, feed-forward and (WaveNet) gated convolutions. Depthwise
    convolutions do not, because they have few weights, nor do layers that occur once, such as input and output layers.

    Args:
        models: models by the names of their components.
        components: components to train.
        rank: r of the adapters.
        alpha: the adapters change a weight by alpha / r · B A.

    Raises:
        ImportError: `peft` is not installed.
        ValueError: a component does not exist.
    """
    require_peft()
    from peft import LoraConfig

    unknown = sorted(set(components) - set(models))
    if unknown:
        raise ValueError(f"there is no component {', '.join(unknown)} to give LoRA to: choose of {', '.join(models)}.")
    for model in models.values():
        model.requires_grad_(False)
    for name in components:
        models[name].add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=_layers_to_adapt(models[name])))


def split_lora(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Split the state of models with adapters: the state of the models without, and the adapters as in files."""
    adapters = {name.replace(".default.", "."): tensor for name, tensor in state.items() if ".lora_" in name}
    models = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    return models, adapters


def merge_lora(models: dict[str, Any], adapters: dict[str, torch.Tensor], alpha: float) -> None:
    """Add adapters from `split_lora` to the weights of models without adapters, by component."""
    for component, (layers, metadata) in _by_component(adapters, alpha).items():
        models[component].load_lora_adapter(layers, prefix=None, metadata=metadata)
        models[component].fuse_lora()
        models[component].unload_lora()


def lora_to_save(adapters: dict[str, torch.Tensor], alpha: float) -> dict[str, dict]:
    """Convert adapters from `split_lora` to arguments of a pipeline's `save_lora_weights`."""
    arguments = {}
    for component, (layers, metadata) in _by_component(adapters, alpha).items():
        arguments[f"{component}_lora_layers"] = layers
        arguments[f"{component}_lora_adapter_metadata"] = metadata
    return arguments


def _by_component(adapters: dict[str, torch.Tensor], alpha: float) -> dict[str, tuple[dict, dict]]:
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in adapters.items():
        component, _, key = name.partition(".")
        layers.setdefault(component, {})[key] = tensor
    return {component: (own, _metadata(own, alpha)) for component, own in layers.items()}


def _metadata(layers: dict[str, torch.Tensor], alpha: float) -> dict[str, Any]:
    down = {key.removesuffix(".lora_A.weight"): tensor for key, tensor in layers.items() if ".lora_A." in key}
    return {"r": len(next(iter(down.values()))), "lora_alpha": alpha, "target_modules": sorted(down)}


def _layers_to_adapt(model: nn.Module) -> list[str]:
    stacks = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return [
        name
        for name, layer in model.named_modules()
        if name.startswith(tuple(f"{stack}." for stack in stacks))
        and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d) and layer.groups == 1))
    ]
