"""Compatibility with diffusers' schedulers: reads their configs, and converts predictions to the form they take."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from diffusers import DDPMScheduler

# Options of diffusers' schedulers that change what is computed, with the one value that is implemented here and the
# reason. All other options either are arguments here, or concern a solver or a spacing that no scheduler here has.
_ONLY_VALUES = {
    "thresholding": (False, "it fits ẑ_0 to the range of images, and latents have no natural range"),
    "rescale_betas_zero_snr": (False, "a noise schedule here keeps some signal at its end: set beta_end instead"),
    "use_flow_sigmas": (False, "that is flow matching, and the noise here is variance preserving"),
    "timestep_type": ("discrete", "a model here is told the timestep, not the noise level"),
}

# Samplers of diffusers whose first steps differ from the others, so that they cannot begin in the middle.
WHOLE_SAMPLERS = ("PNDMScheduler",)

# Samplers of diffusers whose `step` takes `epsilon` and `v_prediction` but not `sample`.
EPSILON_SAMPLERS = (
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
)


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in every value that the config's own class used, so that defaults of another class do not replace it.

    A config in memory lists the arguments that were left at their defaults in `_use_default_values`, and diffusers'
    `from_config` replaces those by the defaults of the new class. A config in a file may lack arguments, for which
    the class that wrote it, `_class_name`, has defaults. diffusers' `sigmoid` schedule differs from that of this
    package, so it is converted to a table.

    Args:
        config: config of any scheduler of diffusers or of this package.

    Returns: the completed config, without `_use_default_values`.
    """
    config = {name: value for name, value in config.items() if name != "_use_default_values"}
    origin = getattr(diffusers, str(config.get("_class_name")), None)
    if origin is not None:
        for name, parameter in inspect.signature(origin.__init__).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                config.setdefault(name, parameter.default)
    # Only DDPM schedulers of diffusers have this curve, and only they have a variance type; ours come with a table.
    is_ddpm = "variance_type" in config or str(config.get("_class_name")).startswith("DDPM")
    if config.get("beta_schedule") == "sigmoid" and config.get("trained_betas") is None and is_ddpm:
        arguments = {
            name: config[name] for name in ("num_train_timesteps", "beta_start", "beta_end") if name in config
        }
        config["trained_betas"] = DDPMScheduler(beta_schedule="sigmoid", **arguments).betas.tolist()
    return config


def check_supported(config: Mapping[str, Any], scheduler_class: type) -> None:
    """Raise a ValueError if a scheduler would compute something else than a config of diffusers says.

    Args:
        config: config of any scheduler of diffusers or of this package.
        scheduler_class: the class of this package that the config is for.
    """
    name = scheduler_class.__name__
    for option, (only, reason) in _ONLY_VALUES.items():
        if config.get(option, only) != only:
            raise ValueError(f"`{option}` is {config[option]!r}, and {name} takes {only!r} only: {reason}.")
    variance = str(config.get("variance_type"))
    if variance.startswith("learned"):
        raise ValueError(
            f"`variance_type` is {variance!r}, and {name} takes a model that predicts no variance:"
            " use a scheduler of diffusers."
        )
    if variance.startswith("fixed_large") and issubclass(scheduler_class, DDPMScheduler):
        raise ValueError(f"`variance_type` is {variance!r}, and {name} draws from the posterior: use 'fixed_small'.")


def check_sampler(scheduler: Any) -> None:
    """Raise a ValueError for a scheduler of diffusers that is for another kind of model.

    `EDMEulerScheduler` and its relatives need a model with EDM's scaling of inputs and outputs (arXiv 2206.00364,
    section 5), and do not use the noise schedule of a config of this package.
    """
    if "beta_schedule" not in inspect.signature(type(scheduler).__init__).parameters:
        raise ValueError(
            f"{type(scheduler).__name__} has no variance-preserving noise schedule (`beta_schedule`), with which the"
            " denoiser was trained. For Karras et al.'s spacing take EulerDiscreteScheduler.from_config("
            "pipe.scheduler.config, use_karras_sigmas=True)."
        )


def copy_for_sampling(scheduler: Any) -> Any:
    """A copy of a scheduler for one generation, with a `prediction_type` that its `step` implements.

    If it differs from that of `scheduler.config`, each prediction must go through `convert_prediction` first.

    Raises:
        ValueError: the scheduler is for another kind of model.
    """
    check_sampler(scheduler)
    sampler = copy.deepcopy(scheduler)
    only_epsilon = any(each.__name__ in EPSILON_SAMPLERS for each in type(scheduler).__mro__)
    if only_epsilon and scheduler.config.prediction_type == "sample":
        sampler.register_to_config(prediction_type="epsilon")
    return sampler


def begin_in_the_middle(scheduler: Any, strength: float) -> int:
    """Prepare a scheduler for a generation that begins with noisy data, as diffusers' image-to-image pipelines do.

    Of its n steps, only the last ⌊n · strength⌋ are taken. `add_noise_of_step` makes the latents for the first one.

    Args:
        scheduler: scheduler after `set_timesteps`.
        strength: above 0, to 1 (all steps).

    Returns: index in `timesteps` of the first call of the denoiser.

    Raises:
        ValueError: the scheduler cannot begin in the middle, or no step is left.
    """
    name, steps = type(scheduler).__name__, scheduler.num_inference_steps
    # 1e-9: 100 * 0.29 is less than 29.
    taken = min(int(steps * strength + 1e-9), steps)
    if taken == steps:
        return 0
    if not taken:
        raise ValueError(
            f"strength is {strength}, which is less than one of {steps} steps: give at least {1 / steps:.4g}, or more "
            "steps."
        )
    whole = any(each.__name__ in WHOLE_SAMPLERS for each in type(scheduler).__mro__)
    rises = bool(scheduler.timesteps[0] < scheduler.timesteps[-1])
    if whole or rises or not hasattr(scheduler, "add_noise"):
        raise ValueError(
            f"strength is {strength}, and {name} cannot begin in the middle of its steps: give strength=1, or another "
            "scheduler such as NaturalSpeech2DDIMScheduler."
        )
    first = (steps - taken) * getattr(scheduler, "order", 1)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return first


def add_noise_of_step(scheduler: Any, latents: torch.Tensor, noise: torch.Tensor, index: int) -> torch.Tensor:
    """Noisy latents, in the form that the sampler has before its call of the denoiser at `timesteps[index]`."""
    if hasattr(scheduler, "start_of_step"):
        return scheduler.add_noise(latents, noise, scheduler.start_of_step(index))
    return scheduler.add_noise(latents, noise, scheduler.timesteps[index : index + 1])


def convert_prediction(
    sampler: Any, prediction_type: str, prediction: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor
) -> torch.Tensor:
    """Convert a model's prediction to the form that a sampler's `step` takes.

    ε = (z - α ẑ_0) / σ, with the α and σ that the sampler uses at this step, so the conversion is exact.

    Args:
        sampler: sampler from `copy_for_sampling`, after `scale_model_input` of this step.
        prediction_type: prediction type of the model.
        prediction: (B, C, T), float32.
        timestep: timestep of this step.
        latents: (B, C, T), as `step` takes them: before `scale_model_input`.

    Returns: (B, C, T), of the sampler's `prediction_type`.
    """
    if sampler.config.prediction_type == prediction_type:
        return prediction
    # Samplers that know σ / α count latents as z / α, and their `scale_model_input` is the factor α. PNDM counts z.
    noisy = sampler.scale_model_input(latents, timestep)
    if hasattr(sampler, "sigmas"):
        alpha = sampler.scale_model_input(torch.ones((), dtype=torch.float64), timestep)
    else:
        alpha = sampler.alphas_cumprod[torch.as_tensor(timestep).long().cpu()].double().sqrt()
    return (noisy - alpha * prediction) / (1 - alpha**2).sqrt()
