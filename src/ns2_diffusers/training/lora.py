"""Low-rank adapters (LoRA, arXiv 2106.09685) to train in place of a model's weights, with `peft`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ..models.lora import require_peft


def add_lora(models: dict[str, nn.Module], components: Iterable[str], rank: int, alpha: float) -> None:
    """Freeze all models, and give the repeated layers of some of them adapters that learn.

    Adapted are linear layers and convolutions, so attention, feed-forward and (WaveNet) gated convolutions; not
    depthwise ones, which have too few weights to need it, nor what is there once, as the layers in and out.

    Args:
        models: by name of their component.
        components: those that learn.
        rank: r of the adapters.
        alpha: their update of a weight is alpha / r · B A.

    Raises:
        ImportError: `peft` is not installed.
        ValueError: a component that there is not.
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
    """The state of models with adapters: that of the models without, and the adapters' as files name them."""
    adapters = {name.replace(".default.", "."): tensor for name, tensor in state.items() if ".lora_" in name}
    models = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    return models, adapters


def _layers_to_adapt(model: nn.Module) -> list[str]:
    stacks = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return [
        name
        for name, layer in model.named_modules()
        if name.startswith(tuple(f"{stack}." for stack in stacks))
        and (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d) and layer.groups == 1))
    ]
