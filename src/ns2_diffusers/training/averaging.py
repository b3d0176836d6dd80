"""Moving average of the trained weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .optimization import trainable

if TYPE_CHECKING:
    from accelerate import Accelerator


class WeightAverage:
    """An exponential moving average (diffusers' `EMAModel`) of a prepared model's trainable weights.

    Every process averages the weights that it holds: all of them, or its shard under FSDP. The average is kept in
    float32, is part of accelerate's checkpoints, and warms up (power 3/4), so that the initial weights lose influence.

    Args:
        accelerator: the accelerator that prepared the model.
        model: the model that `accelerator.prepare` returned.
        decay: the highest decay; the share of the old average that a step keeps.

    Raises:
        ValueError: DeepSpeed shards the weights (ZeRO stage 3).
    """

    def __init__(self, accelerator: Accelerator, model: torch.nn.Module, decay: float):
        self.accelerator, self.model = accelerator, model
        plugin = getattr(accelerator.state, "deepspeed_plugin", None)
        if plugin is not None and plugin.zero_stage == 3:
            raise ValueError("ZeRO stage 3 hides the weights from their average: use stage 2, or FSDP, to shard them.")
        self.ema = EMAModel(self._parameters(), decay=decay, use_ema_warmup=True, power=0.75)
        self.ema.to(dtype=torch.float32)
        accelerator.register_save_state_pre_hook(lambda models, weights, directory: self._save(directory))
        accelerator.register_load_state_pre_hook(lambda models, directory: self._load(directory))

    def step(self) -> None:
        """Update the average with the current weights."""
        self.ema.step(self._parameters())

    def copy_to(self, model: torch.nn.Module) -> None:
        """Copy the averaged weights to another model with the same parameters, in place."""
        self.ema.copy_to(trainable(model))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The state of the whole model with averaged weights, on the CPU; empty except on the main process.

        All processes call this, because sharded weights are gathered.
        """
        self.ema.store(self._parameters())
        self.ema.copy_to(self._parameters())
        state = self.accelerator.get_state_dict(self.model)
        if self.accelerator.is_main_process:
            state = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        self.ema.restore(self._parameters())
        return state if self.accelerator.is_main_process else {}

    def _parameters(self) -> list[torch.nn.Parameter]:
        return trainable(self.model)

    def _path(self, directory: str) -> Path:
        sharded = self.accelerator.distributed_type == DistributedType.FSDP
        return Path(directory) / f"average-{self.accelerator.process_index if sharded else 0:05d}.safetensors"

    def _save(self, directory: str) -> None:
        path = self._path(directory)
        if self.accelerator.is_main_process or path.name != "average-00000.safetensors":
            tensors = {str(index): _local(tensor).contiguous() for index, tensor in enumerate(self.ema.shadow_params)}
            save_file(tensors, path, metadata={"step": str(self.ema.optimization_step)})

    def _load(self, directory: str) -> None:
        path = self._path(directory)
        with safe_open(path, "pt") as file:
            self.ema.optimization_step = int(file.metadata()["step"])
        saved = load_file(path)
        for index, tensor in enumerate(self.ema.shadow_params):
            _local(tensor).copy_(saved[str(index)])


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a sharded tensor (FSDP 2) that this process holds."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
