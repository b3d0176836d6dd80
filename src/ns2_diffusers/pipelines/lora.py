"""Low-rank updates (LoRA, arXiv 2106.09685) of a pipeline's weights, one small file a voice."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from ..schedulers.scheduling_distilled import NaturalSpeech2DistilledScheduler


def save_lora_weights(
    tensors: Mapping[str, torch.Tensor],
    alpha: float,
    directory: str | Path,
    student_steps: Sequence[int] | None = None,
) -> None:
    """Write the updates of a pipeline's layers into `directory`, as `pytorch_lora_weights.safetensors`.

    Args:
        tensors: `<component>.<layer>.lora_A.weight` (r, in[, kernel]) and `….lora_B.weight` (out, r[, 1]).
        alpha: the update of a weight is alpha / r · B A.
        student_steps: of updates that make a distilled student of the denoiser, the numbers of steps it then knows.
    """
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "lora_alpha": str(alpha)}
    if student_steps:
        metadata["student_steps"] = json.dumps(list(student_steps))
    save_file(tensors, Path(directory) / LORA_WEIGHT_NAME_SAFE, metadata=metadata)


class LoraMixin:
    """Gives a pipeline `load_lora_weights`."""

    def load_lora_weights(self, path: str | os.PathLike, scale: float = 1.0) -> None:
        """Add the updates that fine-tuning or distillation with `--lora_rank` left into the weights, for good.

        Nothing is slower afterwards, and `save_pretrained` saves the sum. The same file with the opposite `scale`
        takes them away again. Those of a distilled student bring the student's scheduler, and take it away too.

        Args:
            path: the file, or the folder that holds `pytorch_lora_weights.safetensors`.
            scale: how much of the update to add.

        Raises:
            ValueError: the file is not there or holds no such updates; they are those of another pipeline's layers;
                or of a student, and `scale` is neither 1 nor -1.
        """
        path = Path(path)
        path = path / LORA_WEIGHT_NAME_SAFE if path.is_dir() else path
        if not path.is_file():
            raise ValueError(f"{path} is no file: give {LORA_WEIGHT_NAME_SAFE}, or the folder that holds it.")
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "lora_alpha" not in metadata:
            raise ValueError(f"{path} holds no LoRA weights of this package: make them with --lora_rank.")
        steps = json.loads(metadata.get("student_steps", "null"))
        if steps and abs(scale) != 1:
            raise ValueError(
                f"scale is {scale} and {path} makes a distilled student of the denoiser, which there is no half of: "
                "give 1, or -1 to have the teacher back."
            )
        models = {name: part for name, part in self.components.items() if isinstance(part, torch.nn.Module)}
        merge_lora_weights(models, load_file(path), float(metadata["lora_alpha"]), scale)
        if steps:
            self._know_steps(steps if scale > 0 else None)

    def _know_steps(self, steps: list[int] | None) -> None:
        """Make the denoiser and the scheduler those of a student of these steps, or of none again."""
        self.denoiser.register_to_config(student_steps=steps)
        if steps:
            self.scheduler = NaturalSpeech2DistilledScheduler.from_config(self.scheduler.config, student_steps=steps)
        else:
            self.scheduler = NaturalSpeech2DDIMScheduler.from_config(self.scheduler.config)


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
        update = (up.flatten(1).float() @ down.flatten(1).float()).view(shape)
        updates.append((weight, scale * alpha / len(down) * update))
    for weight, update in updates:
        weight.add_(update.to(weight))
