"""Support for methods other than `forward` on models whose weights are offloaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from torch import nn

Result = TypeVar("Result")

# diffusers' name of the hook of group offloading.
GROUP_OFFLOADING = "group_offloading"


def runs_like_forward(method: Callable[..., Result]) -> Callable[..., Result]:
    """Let a method of a module use the module's weights, wherever they are stored.

    accelerate (`enable_model_cpu_offload`, `enable_sequential_cpu_offload`, `device_map`) and diffusers' group
    offloading move weights with hooks around `forward` only. A method with this decorator runs between the same hooks.
    diffusers' `apply_forward_hook` runs only accelerate's hook, and only its half before `forward`.

    Such a method must not be called from `forward`, nor from another one of the same module: the inner call would
    offload the weights that the outer call still needs.
    """

    @functools.wraps(method)
    def wrapper(self: nn.Module, *args, **kwargs):
        hooks = [hook for hook in (getattr(self, "_hf_hook", None), _group_offloading_hook(self)) if hook is not None]
        for hook in hooks:
            args, kwargs = hook.pre_forward(self, *args, **kwargs)
        output = method(self, *args, **kwargs)
        for hook in reversed(hooks):
            output = hook.post_forward(self, output)
        return output

    return wrapper  # type: ignore[return-value]


def _group_offloading_hook(module: nn.Module):
    registry = getattr(module, "_diffusers_hook", None)
    return None if registry is None else registry.get_hook(GROUP_OFFLOADING)
