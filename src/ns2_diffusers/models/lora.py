"""Low-rank adapters (LoRA, arXiv 2106.09685) for a model, with `peft` and diffusers' `PeftAdapterMixin`."""

from __future__ import annotations

import functools
from typing import Any

from diffusers.loaders import PeftAdapterMixin
from diffusers.models.modeling_utils import ModelMixin
from torch import nn


def require_peft() -> None:
    """Raise an ImportError with the command that installs `peft`, if it cannot be imported."""
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise ImportError('LoRA needs peft: pip install "ns2-diffusers[lora]".') from error


class LoraModelMixin(PeftAdapterMixin):
    """diffusers' `PeftAdapterMixin` for models with dilated convolutions; put it before `ModelMixin`."""

    def check_takes_adapters(self) -> None:
        """Raise an ImportError without `peft`, or a ValueError if the model has no weights to adapt."""
        require_peft()

    @functools.wraps(PeftAdapterMixin.add_adapter)
    def add_adapter(self, *args, **kwargs) -> None:
        self.check_takes_adapters()
        super().add_adapter(*args, **kwargs)
        dilate_adapters(self)

    @functools.wraps(PeftAdapterMixin.load_lora_adapter)
    def load_lora_adapter(self, *args, **kwargs) -> None:
        self.check_takes_adapters()
        super().load_lora_adapter(*args, **kwargs)
        dilate_adapters(self)

    # diffusers reads the signature to find the options of a component's method.
    @functools.wraps(ModelMixin.save_pretrained)
    def save_pretrained(self, *args, **kwargs) -> None:
        check_no_adapters(self, type(self).__name__)
        super().save_pretrained(*args, **kwargs)


def check_no_adapters(model: nn.Module | None, name: str) -> None:
    """Raise a ValueError if a model has adapters: they change the names of its weights, so its file could not load."""
    if adapters := list(getattr(model, "peft_config", None) or ()):
        raise ValueError(
            f"{name} has the LoRA adapters {', '.join(adapters)}, and a saved model has none: call "
            "unload_lora_weights() of the pipeline (unload_lora() of the model) first; fuse_lora() before that adds "
            "them to the weights for good."
        )


def dilate_adapters(model: nn.Module) -> None:
    """Set the dilation of the adapters of convolutions to that of their layer; `peft` leaves it at 1."""
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "lora_A") and isinstance(layer.base_layer, nn.Conv1d):
            for adapter in layer.lora_A.values():
                adapter.dilation = layer.base_layer.dilation
