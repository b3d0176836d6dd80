"""Low-rank updates (LoRA, arXiv 2106.09685) of a pipeline's weights, one small file a voice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from safetensors import safe_open
from safetensors.torch import load_file, save_file


def save_lora_weights(tensors: Mapping[str, torch.Tensor], alpha: float, directory: str | Path) -> None:
    """Write the updates of a pipeline's layers into `directory`, as `pytorch_lora_weights.safetensors`.

    Args:
        tensors: `<component>.<layer>.lora_A.weight` (r, in[, kernel]) and `….lora_B.weight` (out, r[, 1]).
        alpha: the update of a weight is alpha / r · B A.
    """
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, Path(directory) / LORA_WEIGHT_NAME_SAFE, metadata={"format": "pt", "lora_alpha": str(alpha)})


class LoraMixin:
    """Gives a pipeline `load_lora_weights`."""

    def load_lora_weights(self, path: str | os.PathLike, scale: float = 1.0) -> None:
        """Add the updates that fine-tuning with `--lora_rank` left into the weights, for good.

        Nothing is slower afterwards, and `save_pretrained` saves the sum. The same file with the opposite `scale`
        takes them away again.

        Args:
            path: the file, or the folder that holds `pytorch_lora_weights.safetensors`.
            scale: how much of the update to add.

        Raises:
            ValueError: the file is not there or holds no such updates; they are those of another pipeline's layers.
        """
        path = Path(path)
        path = path / LORA_WEIGHT_NAME_SAFE if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"{path} is no file: give {LORA_WEIGHT_NAME_SAFE}, or the folder that holds it.")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "lora_alpha" not in metadata:
            raise ValueError(f"{path} holds no LoRA weights of this package: make them with --lora_rank.")
        models = {name: part for name, part in self.components.items() if isinstance(part, torch.nn.Module)}
        merge_lora_weights(models, load_file(path), float(metadata["lora_alpha"]), scale)


@torch.no_grad()
def merge_lora_weights(
    models: Mapping[str, torch.nn.Module], tensors: Mapping[str, torch.Tensor], alpha: float, scale: float = 1.0
) -> None:
    """Add scale · alpha / r · B A to the weights of the layers that `tensors` (see `save_lora_weights`) name.

    Raises:
        ValueError: a layer is not there or of another shape; nothing is changed then.
    """
    weights = {f"{name}.{key}": value for name, model in models.items() for key, value in model.named_parameters()}
    updates = []
    for name, down in tensors.items():
        if not name.endswith(".lora_A.weight"):
            continue
        layer = name.removesuffix(".lora_A.weight")
        up, weight = tensors[f"{layer}.lora_B.weight"], weights.get(f"{layer}.weight")
        shape = (len(up), *down.shape[1:])
        if weight is None or weight.shape != shape:
            found = "no such layer" if weight is None else f"one of shape {tuple(weight.shape)}"
            raise ValueError(
                f"the LoRA weights change {layer} of shape {shape}, and this pipeline has {found}: load them into the "
                "pipeline that they were trained on."
            )
        update = (up.flatten(1) @ down.flatten(1)).view(shape)
        updates.append((weight, scale * alpha / len(down) * update))
    for weight, update in updates:
        weight.add_(update.to(weight))
