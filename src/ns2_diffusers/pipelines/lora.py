"""Low-rank adapters (LoRA, arXiv 2106.09685) for a pipeline, with the interface of diffusers' pipelines."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..files import whole_file
from ..models.lora import check_no_adapters, require_peft
from ..schedulers.scheduling_distilled import NaturalSpeech2DistilledScheduler
from ..untrusted import check_safetensors_header, check_source, warn_unpinned
from .changes import ChangeGuard, changes_weights

COMPONENTS = ("denoiser", "phoneme_encoder", "prompt_encoder", "variance_adaptor")
# `<component>.<layer>.lora_A.weight`
TENSOR_NAME = re.compile(r"(\w+)\.(.+)\.lora_(A|B)\.weight")
# Arguments for downloads from the hub.
DOWNLOAD = ("subfolder", "revision", "token", "cache_dir", "local_files_only", "force_download")
# Settings of `peft.LoraConfig` that change the meaning of the tensors, and are supported.
FOLLOWED = ("lora_alpha", "alpha_pattern", "use_rslora")
# Settings that would change it too, and are refused unless they are off.
REFUSED = (
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "layer_replication",
    "use_bdlora",
    "alora_invocation_tokens",
)

NO_SWAP = "To replace an adapter, delete it with `delete_adapters` and load the other."


class LoraMixin(LoraBaseMixin):
    """Adds the methods of diffusers for adapters to a pipeline.

    Adapters are added to the output of their layers; the weights do not change. The first adapter that is loaded is
    active; `set_adapters` selects others and their weights. `fuse_lora` adds the active ones to the weights, so that
    they cost no time; `unfuse_lora` restores the original weights exactly.

    The adapters of a distilled student are marked with the numbers of steps that it supports. While they are active,
    the pipeline has the student's scheduler; afterwards it has its previous scheduler again. Their weight is always 1.

    A method that raises an error changes nothing. While the pipeline speaks, all methods raise a RuntimeError.
    """

    # Attributes of the pipeline that uses this mixin.
    scheduler: Any
    change_guard: ChangeGuard

    _lora_loadable_modules = list(COMPONENTS)
    # Supported numbers of steps, by name of the adapters that make a student.
    _student_steps: Mapping[str, list[int]] = {}
    _active_student: str | None = None
    _scheduler_before_student = None
    # What `unfuse_lora` restores, by component: layers with their weights, scales and active adapters.
    _before_fusing: Mapping[str, list] = {}

    # Files

    @classmethod
    def lora_state_dict(
        cls,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, torch.Tensor],
        *,
        weight_name: str | None = None,
        return_lora_metadata: bool = False,
        **download: Any,
    ) -> dict[str, torch.Tensor] | tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Read adapters without loading them.

        Args:
            pretrained_model_name_or_path_or_dict: a file, a folder, a repository `owner/name` on the hub, or the
                tensors themselves.
            weight_name: name of the file in a folder or repository; `pytorch_lora_weights.safetensors` if None.
            return_lora_metadata: also return the metadata of the file: settings of `peft.LoraConfig` as
                `<component>.<setting>`, and `student_steps` of a student.
            download: `subfolder`, `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`, as for
                `huggingface_hub.hf_hub_download`.

        Returns: tensors `<component>.<layer>.lora_A.weight` (r, in[, kernel]) and `….lora_B.weight` (out, r[, 1]).

        Raises:
            TypeError: an unknown argument, such as diffusers' `hotswap`.
            ValueError: the file does not exist, or is not a safetensors file.
        """
        if unknown := sorted(download.keys() - set(DOWNLOAD)):
            known = ", ".join(("weight_name", *DOWNLOAD))
            raise TypeError(
                f"adapters are loaded without {', '.join(unknown)}; known arguments are {known}. {NO_SWAP}"
            )
        source = pretrained_model_name_or_path_or_dict
        if isinstance(source, Mapping):
            tensors, metadata = dict(source), {}
        else:
            path = find_lora_file(source, weight_name, **download)
            tensors, header = _read_safetensors(path)
            metadata = _parse_header(header, tensors, path)
        return (tensors, metadata) if return_lora_metadata else tensors

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        denoiser_lora_layers: nn.Module | Mapping[str, torch.Tensor] | None = None,
        phoneme_encoder_lora_layers: nn.Module | Mapping[str, torch.Tensor] | None = None,
        prompt_encoder_lora_layers: nn.Module | Mapping[str, torch.Tensor] | None = None,
        variance_adaptor_lora_layers: nn.Module | Mapping[str, torch.Tensor] | None = None,
        denoiser_lora_adapter_metadata: Mapping[str, Any] | None = None,
        phoneme_encoder_lora_adapter_metadata: Mapping[str, Any] | None = None,
        prompt_encoder_lora_adapter_metadata: Mapping[str, Any] | None = None,
        variance_adaptor_lora_adapter_metadata: Mapping[str, Any] | None = None,
        student_steps: Sequence[int] | None = None,
        weight_name: str = LORA_WEIGHT_NAME_SAFE,
    ) -> None:
        """Write adapters of some components into one file, for `load_lora_weights`.

        Args:
            save_directory: folder of the file; it is created if necessary.
            denoiser_lora_layers, …: result of `peft.utils.get_peft_model_state_dict(pipe.denoiser)`.
            denoiser_lora_adapter_metadata, …: `pipe.denoiser.peft_config["default"].to_dict()`. Without it, alpha is
                the rank.
            student_steps: numbers of steps that the student supports, if the adapters make one of the denoiser.

        Raises:
            ValueError: no layers are given.
        """
        given = (
            (denoiser_lora_layers, denoiser_lora_adapter_metadata),
            (phoneme_encoder_lora_layers, phoneme_encoder_lora_adapter_metadata),
            (prompt_encoder_lora_layers, prompt_encoder_lora_adapter_metadata),
            (variance_adaptor_lora_layers, variance_adaptor_lora_adapter_metadata),
        )
        tensors: dict[str, torch.Tensor] = {}
        settings: dict[str, Any] = {}
        for component, (layers, metadata) in zip(COMPONENTS, given, strict=True):
            if layers:
                tensors |= cls.pack_weights(layers, component)
                settings |= {f"{component}.{key}": value for key, value in (metadata or {}).items()}
        if not tensors:
            raise ValueError(
                f"there are no adapters to save: give one of {', '.join(f'{c}_lora_layers' for c in COMPONENTS)}."
            )
        header = {"format": "pt"}
        if settings:
            header[LORA_ADAPTER_METADATA_KEY] = json.dumps(settings, sort_keys=True, default=_json_of_settings)
        if student_steps:
            header["student_steps"] = json.dumps(list(student_steps))
        os.makedirs(save_directory, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with whole_file(Path(save_directory) / weight_name) as partial:
            save_file(tensors, partial, metadata=header)

    # Loading and unloading

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, torch.Tensor],
        adapter_name: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Load adapters into the components that they belong to.

        They become active if no others are; otherwise `set_adapters` activates them.

        Args:
            pretrained_model_name_or_path_or_dict: a file, a folder, a repository `owner/name` on the hub, or the
                tensors themselves, as in `lora_state_dict`.
            adapter_name: name of the adapters; `default_0`, `default_1` and so on if None.
            metadata: metadata of bare tensors, as `lora_state_dict` returns it; without it, alpha is the rank.
            kwargs: `weight_name`, `subfolder`, `revision`, `token`, `cache_dir`, `local_files_only`,
                `force_download`, as in `lora_state_dict`.

        Raises:
            ImportError: `peft` is not installed.
            TypeError: an unknown argument, such as diffusers' `hotswap`.
            ValueError: the file does not exist; it has no adapters, or one of them has no layer in this pipeline or
                the wrong shape; the name is in use; or adapters are fused.
        """
        require_peft()
        source = pretrained_model_name_or_path_or_dict
        what = "the dict" if isinstance(source, Mapping) else f"{str(source)!r}"
        tensors: Any
        read: Any
        tensors, read = self.lora_state_dict(source, return_lora_metadata=True, **kwargs)
        with self.change_guard.changing("load_lora_weights"):
            self._add_adapters(tensors, {**read, **(metadata or {})}, adapter_name, what)

    def _add_adapters(
        self,
        tensors: Mapping[str, torch.Tensor],
        metadata: Mapping[str, Any],
        adapter_name: str | None,
        what: str,
    ) -> None:
        self._check_not_fused("load_lora_weights")
        name = self._new_adapter_name(adapter_name)
        steps = metadata.get("student_steps")
        models = {component: getattr(self, component) for component in COMPONENTS if self._has_model(component)}
        loading = _plan(models, tensors, metadata, what)
        if steps and "denoiser" not in loading:
            raise ValueError(
                f"{what} has student_steps {steps} and no adapters of the denoiser, whose steps they are."
            )

        active, disabled = self.get_active_adapters(), self._are_adapters_disabled()
        learning = [
            (parameter, parameter.requires_grad) for model in models.values() for parameter in model.parameters()
        ]
        try:
            for component, (config, state) in loading.items():
                models[component].load_lora_adapter(
                    state, prefix=None, adapter_name=name, metadata=config, _pipeline=self
                )
        except BaseException:
            self._remove_adapters([name], active)
            raise
        finally:
            # peft freezes all other parameters.
            for parameter, flag in learning:
                parameter.requires_grad_(flag)
        for layer in self._adapted_layers():
            layer.set_adapter(active or [name])
            layer.enable_adapters(not disabled)
        if steps:
            self._student_steps = {**self._student_steps, name: list(steps)}
        self._follow_student()

    def enable_lora_hotswap(self, **kwargs: Any) -> None:
        """Not supported: adapters are not swapped in place.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"adapters are not swapped in place. {NO_SWAP}")

    @changes_weights
    def unload_lora_weights(self) -> None:
        """Remove all adapters; fused ones stay in the weights permanently."""
        require_peft()
        if "denoiser" in self._before_fusing:
            # A student that is fused keeps its scheduler.
            self._active_student = self._scheduler_before_student = None
        for component in self._adapted_components():
            getattr(self, component).unload_lora()
        self._merged_adapters: set[str] = set()
        self._before_fusing: dict[str, Any] = {}
        self._student_steps: dict[str, Any] = {}
        self._follow_student()

    @changes_weights
    def delete_adapters(self, adapter_names: Sequence[str] | str) -> None:
        """Delete some adapters; the other active ones stay active.

        Raises:
            ValueError: one is not loaded, or adapters are fused.
        """
        require_peft()
        self._check_not_fused("delete_adapters")
        names = self._check_adapter_names(adapter_names)
        self._remove_adapters(names, [name for name in self.get_active_adapters() if name not in names])
        self._student_steps = {name: steps for name, steps in self._student_steps.items() if name not in names}
        self._follow_student()

    # Active adapters and their weights

    @changes_weights
    def set_adapters(
        self,
        adapter_names: Sequence[str] | str,
        adapter_weights: float | Mapping[str, float] | Sequence[float | Mapping[str, float] | None] | None = None,
    ) -> None:
        """Make these adapters active and no others.

        Args:
            adapter_names: one name or several.
            adapter_weights: factors of alpha / r; one for all adapters or one for each; each is a number, or numbers
                by component. 1 if None.

        Raises:
            ValueError: an adapter is not loaded; a weight is not a finite number, or is for a component without that
                adapter; the weight of a student is not 1, or there are two students; or adapters are fused.
        """
        require_peft()
        self._check_not_fused("set_adapters")
        names = self._check_adapter_names(adapter_names)
        weights = (
            list(adapter_weights) if isinstance(adapter_weights, (list, tuple)) else [adapter_weights] * len(names)
        )
        if len(weights) != len(names):
            raise ValueError(f"there are {len(weights)} adapter_weights for the adapters {names}: give one for each.")
        self._check_students(names)
        adapters = self.get_list_adapters()
        for name, weight in zip(names, weights, strict=True):
            by_component = dict(weight) if isinstance(weight, Mapping) else {}
            for component, value in by_component.items() if by_component else [(None, weight)]:
                if component is not None and name not in adapters.get(component, ()):
                    has = [each for each, present in adapters.items() if name in present]
                    raise ValueError(
                        f"adapter_weights has {component!r}, and {name!r} has adapters of {', '.join(has)}."
                    )
                if value is not None and not _is_finite_number(value):
                    raise ValueError(
                        f"the weight of {name!r} is {value!r}; wanted a finite number, or numbers by component."
                    )
                if name in self._student_steps and value is not None and value != 1:
                    raise ValueError(self._student_message(name, value))
        super().set_adapters(names, [dict(each) if isinstance(each, Mapping) else each for each in weights])
        self._follow_student()

    @changes_weights
    def disable_lora(self) -> None:
        """Speak without adapters until `enable_lora`.

        Raises:
            ValueError: adapters are fused.
        """
        require_peft()
        self._check_not_fused("disable_lora")
        super().disable_lora()
        self._follow_student()

    @changes_weights
    def enable_lora(self) -> None:
        """Speak with the active adapters again.

        Raises:
            ValueError: adapters are fused.
        """
        require_peft()
        self._check_not_fused("enable_lora")
        super().enable_lora()
        self._follow_student()

    # Fusing

    @changes_weights
    def fuse_lora(
        self,
        components: Sequence[str] | None = None,
        lora_scale: float = 1.0,
        safe_fusing: bool = False,
        adapter_names: Sequence[str] | str | None = None,
    ) -> None:
        """Add adapters to the weights, so that they cost no time.

        The original weights are kept on the CPU for `unfuse_lora`, until `unload_lora_weights`.

        Args:
            components: components to fuse; all that have adapters if None.
            lora_scale: factor for all adapters, in addition to their weights.
            safe_fusing: whether to refuse adapters that make a weight NaN or infinite.
            adapter_names: adapters to fuse; the active ones if None.

        Raises:
            ValueError: there are no adapters, or none of that name; a component has none; they are fused already, or
                disabled; `lora_scale` is not finite, or not 1 for a student; a weight would not be finite.
        """
        require_peft()
        self._check_not_fused("fuse_lora")
        adapted = self._adapted_components()
        components = adapted if components is None else list(components)
        if not components or not set(components) <= set(adapted):
            raise ValueError(
                f"fuse_lora is to fuse the adapters of {components}, and components with adapters are {adapted}."
            )
        if self._are_adapters_disabled():
            raise ValueError("the adapters are disabled: call enable_lora() before fuse_lora().")
        names = self._check_adapter_names(self.get_active_adapters() if adapter_names is None else adapter_names)
        if not _is_finite_number(lora_scale):
            raise ValueError(f"lora_scale is {lora_scale!r}; wanted a finite number.")
        self._check_students(names)
        for name in names:
            if name in self._student_steps and lora_scale != 1:
                raise ValueError(self._student_message(name, lora_scale))
        self._before_fusing = {component: self._snapshot(component) for component in components}
        try:
            for component in components:
                for layer in _adapted_layers_of(getattr(self, component)):
                    layer.set_adapter(names)
            super().fuse_lora(components, lora_scale, safe_fusing, names)
        except BaseException:
            self.unfuse_lora()
            raise
        self._follow_student()

    @changes_weights
    def unfuse_lora(self, components: Sequence[str] | None = None) -> None:
        """Restore the weights from before `fuse_lora` exactly; the adapters are added to the outputs again.

        Args:
            components: components to restore; all that are fused if None.

        Raises:
            ValueError: a component is not fused.
        """
        require_peft()
        components = list(self._before_fusing) if components is None else list(components)
        if not set(components) <= set(self._before_fusing):
            raise ValueError(f"unfuse_lora is to unfuse {components}, and fused are {list(self._before_fusing)}.")
        if components:
            super().unfuse_lora(components)
        for component in components:
            _put_back(self._before_fusing[component])
        self._before_fusing = {name: kept for name, kept in self._before_fusing.items() if name not in components}
        self._follow_student()

    @functools.wraps(DiffusionPipeline.save_pretrained)
    def save_pretrained(self, *args, **kwargs) -> None:
        for component in COMPONENTS:
            check_no_adapters(getattr(self, component, None), f"the pipeline's {component}")
        super().save_pretrained(*args, **kwargs)

    # Internals

    def _has_model(self, component: str) -> bool:
        return isinstance(getattr(self, component, None), nn.Module)

    def _adapted_components(self) -> list[str]:
        return [name for name in COMPONENTS if getattr(getattr(self, name, None), "peft_config", None)]

    def _adapted_layers(self) -> list[Any]:
        return [layer for name in self._adapted_components() for layer in _adapted_layers_of(getattr(self, name))]

    def _are_adapters_disabled(self) -> bool:
        return any(layer.disable_adapters for layer in self._adapted_layers())

    def _check_not_fused(self, method: str) -> None:
        if self._before_fusing:
            raise ValueError(
                f"{method} cannot change adapters that are in the weights: call unfuse_lora() first, or "
                "unload_lora_weights() to leave them there for good."
            )

    def _new_adapter_name(self, wanted: str | None) -> str:
        used = {name for names in self.get_list_adapters().values() for name in names}
        if wanted is None:
            return next(name for i in range(len(used) + 1) if (name := f"default_{i}") not in used)
        if not isinstance(wanted, str) or not wanted or "." in wanted:
            raise ValueError(f"adapter_name is {wanted!r}; wanted a name without dots.")
        if wanted in used:
            raise ValueError(
                f"there is an adapter {wanted!r} already: give another adapter_name, or delete_adapters({wanted!r})."
            )
        return wanted

    def _check_adapter_names(self, names: Sequence[str] | str) -> list[str]:
        names = [names] if isinstance(names, str) else list(names)
        known = {name for present in self.get_list_adapters().values() for name in present}
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"there is no adapter {', '.join(map(repr, unknown))}: loaded are {sorted(known)}.")
        if len(set(names)) != len(names):
            raise ValueError(f"adapter names {names} have one twice: raise its weight instead.")
        return names

    def _check_students(self, names: Sequence[str]) -> None:
        if len(students := [name for name in names if name in self._student_steps]) > 1:
            raise ValueError(f"{' and '.join(students)} each make a distilled student of the denoiser: choose one.")

    def _student_message(self, name: str, scale: Any) -> str:
        return (
            f"the scale of {name!r} is {scale}, and it makes a student distilled for {self._student_steps[name]} "
            "steps, which there is no part of: give 1, or leave it out."
        )

    def _remove_adapters(self, names: Sequence[str], active: Sequence[str]) -> None:
        # Called first: peft would otherwise replace each active adapter by another one.
        for layer in self._adapted_layers():
            layer.set_adapter(list(active))
        for model in (getattr(self, component, None) for component in COMPONENTS):
            if model is not None and _adapted_layers_of(model):
                model.delete_adapters(list(names))
                if not getattr(model, "peft_config", None):
                    model.unload_lora()

    def _snapshot(self, component: str) -> list[Any]:
        return [
            (
                layer,
                {key: tensor.detach().to("cpu", copy=True) for key, tensor in layer.base_layer.named_parameters()},
                dict(layer.scaling),
                list(layer.active_adapters),
            )
            for layer in _adapted_layers_of(getattr(self, component))
        ]

    def _follow_student(self) -> None:
        """Give the pipeline the scheduler of its student, if its denoiser is one."""
        student = next((name for name in _effective_adapters(self.denoiser) if name in self._student_steps), None)
        if student == self._active_student:
            return
        before: Any = self.scheduler if self._active_student is None else self._scheduler_before_student
        if student is None:
            self.scheduler, self._scheduler_before_student = before, None
        else:
            self.scheduler = NaturalSpeech2DistilledScheduler.from_config(
                before.config, student_steps=self._student_steps[student]
            )
            self._scheduler_before_student = before
        self._active_student = student


def choose_lora(name: str, model: str | os.PathLike) -> str | Path:
    """The path of LoRA weights that are named on a command line.

    An existing path takes precedence over a folder of that name in the model's directory.
    """
    beside = Path(model) / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    return beside if inside and not Path(name).exists() and beside.exists() else name


def find_lora_file(source: str | os.PathLike, weight_name: str | None = None, **download: Any) -> Path:
    """Find the safetensors file of adapters: a file, a file in a folder, or a file in a repository of the hub.

    A name that looks like a path (it begins with a dot, or its first part exists) is not looked up on the hub.

    Raises:
        ValueError: the file does not exist, is not a safetensors file, or was given with a revision.
    """
    path, file_name = Path(source), weight_name or LORA_WEIGHT_NAME_SAFE
    if not str(source).strip():
        raise ValueError(f"the name of the LoRA weights is empty: give {LORA_WEIGHT_NAME_SAFE}, or its folder.")
    check_source(source, "LoRA", download.get("revision"))
    if not path.is_file() and not file_name.endswith(".safetensors"):
        raise ValueError(f"weight_name is {file_name!r}; wanted a .safetensors file, as others can run code.")
    if path.is_dir():
        found = path / (download.get("subfolder") or "") / file_name
        if not found.is_file():
            raise ValueError(f"there is no file {str(found)!r}: give the weight_name of the file in this folder.")
        return found
    if path.is_file():
        return path
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        found = Path(hf_hub_download(str(source), file_name, **download))
    except (EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError) as error:
        raise ValueError(
            f"{str(source)!r} is no file and no folder here, and the hub has no {file_name!r} of that repository for "
            f"us: {' '.join(str(error).split())}"
        ) from error
    warn_unpinned(source, found, download.get("revision"))
    return found


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    check_safetensors_header(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} is not a safetensors file, or is cut off ({error}).") from error


def _parse_header(header: Mapping[str, str], tensors: Mapping[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """The metadata of a file as `<component>.<setting>`, and `student_steps`."""
    try:
        metadata = dict(json.loads(header.get(LORA_ADAPTER_METADATA_KEY, "{}")))
        # Files of the first releases, such as the bundled one, have one alpha for all layers.
        if "lora_alpha" in header:
            alpha = float(header["lora_alpha"])
            metadata |= {f"{component}.lora_alpha": alpha for component in {name.split(".")[0] for name in tensors}}
        steps = json.loads(header.get("student_steps", "null"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the metadata of {str(path)!r} cannot be read ({error}).") from error
    if steps is not None:
        if not isinstance(steps, list) or not steps or not all(type(n) is int and n > 0 for n in steps):
            raise ValueError(f"student_steps of {str(path)!r} is {steps!r}; wanted a list of numbers of steps.")
        metadata["student_steps"] = steps
    return metadata


def _plan(
    models: Mapping[str, nn.Module], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any], what: str
) -> dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]]:
    """Check adapters against the layers of the pipeline. Returns settings for `peft` and tensors, by component."""
    matches = {name: TENSOR_NAME.fullmatch(name) for name in tensors}
    if not any(matches.values()):
        raise ValueError(
            f"{what} holds no LoRA weights: wanted tensors <component>.<layer>.lora_A.weight and …lora_B.weight, got "
            f"{_few(tensors) or 'none'}."
        )
    if unexpected := [name for name, found in matches.items() if not found]:
        raise ValueError(
            f"{what} has tensors that are not LoRA weights: {_few(unexpected)}. Wanted "
            "<component>.<layer>.lora_A.weight and …lora_B.weight only (no DoRA, LoKr or bias)."
        )
    layers: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for name, found in matches.items():
        assert found is not None  # unexpected names have raised already
        component, layer, part = found.groups()
        layers.setdefault(component, {}).setdefault(layer, {})[part] = tensors[name]
    if absent := sorted(set(layers) - set(models)):
        raise ValueError(
            f"{what} has LoRA weights of {', '.join(absent)}, and this pipeline can have them in {', '.join(models)}."
        )
    plans = {}
    for component, parts in layers.items():
        for layer, pair in parts.items():
            _check_layer(models[component], component, layer, pair, what)
        own = {
            key.removeprefix(f"{component}."): value
            for key, value in metadata.items()
            if key.startswith(f"{component}.")
        }
        config = _lora_config({layer: len(pair["A"]) for layer, pair in parts.items()}, own, what)
        dtype: Any = models[component].dtype
        state = {
            f"{layer}.lora_{part}.weight": t.to(dtype) for layer, pair in parts.items() for part, t in pair.items()
        }
        plans[component] = config, state
    return plans


def _check_layer(model: nn.Module, component: str, layer: str, pair: Mapping[str, torch.Tensor], what: str) -> None:
    name = f"{component}.{layer}"
    if set(pair) != {"A", "B"}:
        raise ValueError(f"{what} lacks {name}.lora_{'B' if 'A' in pair else 'A'}.weight: it is not whole.")
    down, up = pair["A"], pair["B"]
    for part, tensor in pair.items():
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            raise ValueError(
                f"{name}.lora_{part}.weight of {what} is {tensor.dtype} or not finite; wanted finite floats."
            )
    base = dict(model.named_modules()).get(layer) if "base_layer" not in layer else None
    base = getattr(base, "base_layer", base)
    shapes: tuple[tuple[int, ...], ...]
    if isinstance(base, nn.Linear):
        shapes = (base.in_features,), (base.out_features,), ()
    elif isinstance(base, nn.Conv1d) and base.groups == 1:
        shapes = (base.in_channels, *base.kernel_size), (base.out_channels,), (1,)
    else:
        found = "no such layer" if base is None else f"a {type(base).__name__} there, which takes none"
        raise ValueError(
            f"{what} has LoRA weights of {name}, and this pipeline has {found}: load them into the pipeline that they "
            "were trained on."
        )
    rank, (into, out_of, kernel) = len(down) if down.ndim else 0, shapes
    wanted = (rank, *into), (*out_of, rank, *kernel)
    if rank == 0 or (tuple(down.shape), tuple(up.shape)) != wanted:
        raise ValueError(
            f"the LoRA weights of {name} in {what} have shapes {tuple(down.shape)} and {tuple(up.shape)}; wanted "
            f"{wanted[0]} and {wanted[1]}: load them into the pipeline that they were trained on."
        )


def _lora_config(ranks: Mapping[str, int], metadata: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Settings of `peft.LoraConfig` for exactly these layers with these ranks."""
    if refused := [key for key in REFUSED if metadata.get(key)]:
        raise ValueError(
            f"{what} was made with {', '.join(refused)} of peft, which are not supported: only plain LoRA is."
        )
    rank = Counter(ranks.values()).most_common(1)[0][0]
    config = {
        "r": rank,
        "rank_pattern": {f"^{re.escape(layer)}": r for layer, r in ranks.items() if r != rank},
        # A pattern, because peft also matches the names of a list as suffixes.
        "target_modules": "|".join(re.escape(layer) for layer in ranks),
        **{key: metadata[key] for key in FOLLOWED if key in metadata},
    }
    if "lora_alpha" not in config:
        config |= {"lora_alpha": rank, "alpha_pattern": dict(config["rank_pattern"])}
    alphas = [config["lora_alpha"], *(config.get("alpha_pattern") or {}).values()]
    if not all(_is_finite_number(alpha) for alpha in alphas):
        raise ValueError(f"lora_alpha of {what} is {config['lora_alpha']!r}; wanted a finite number.")
    return config


def _adapted_layers_of(model: nn.Module) -> list[Any]:
    return [layer for layer in model.modules() if hasattr(layer, "lora_A")]


def _effective_adapters(model: nn.Module) -> set[str]:
    """Names of the adapters that change the output of a model."""
    effective: set[str] = set()
    for layer in _adapted_layers_of(model):
        if not layer.disable_adapters:
            effective |= set(layer.merged_adapters or layer.active_adapters) & set(layer.lora_A)
    return effective


@torch.no_grad()
def _put_back(kept: list) -> None:
    for layer, weights, scaling, active in kept:
        for key, parameter in layer.base_layer.named_parameters():
            parameter.copy_(weights[key])
        layer.scaling.update(scaling)
        layer.set_adapter(active)


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _few(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _json_of_settings(value: Any) -> Any:
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)
