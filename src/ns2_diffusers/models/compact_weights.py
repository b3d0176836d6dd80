"""Quantised weights on disk: integers with one step size per row, converted to floating point when loaded."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError

from ..untrusted import check_config, check_config_file, check_source

# Three bytes hold an integer number of weights at each of these bit widths.
WORD = 24
BITS = (4, 6, 8)
PACKED = re.compile(r"(.+)\.(\d+)bit")
# Shorter rows are not quantised, because the step size would cost too much.
SHORTEST_ROW = 16
# Candidate clipping points, as fractions of the row's peak: clipping outliers makes the quantisation step smaller.
RANGES = torch.linspace(0.5, 1.0, 11)
# Arguments of `from_pretrained` that locate a config.
WHERE = ("subfolder", "revision", "cache_dir", "token", "local_files_only", "force_download", "proxies")


def names_modules(record: logging.LogRecord) -> bool:
    """Whether a warning that modules should be kept in float32 names any.

    `ModelMixin.to` of diffusers 0.42 warns of all models: it makes an empty list of `_keep_in_fp32_modules = None` and
    then compares it with None.
    """
    return "should be kept in float32: []" not in record.getMessage()


logging.getLogger(ModelMixin.__module__).addFilter(names_modules)


class CompactModelMixin(ModelMixin):
    """A `ModelMixin` whose `from_pretrained` also reads weights from `compact_weights`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a model; all of its weights must exist, and no others.

        Args:
            pretrained_model_name_or_path: a folder, or a hub repository `owner/name`. A name that looks like a path is
                never looked up on the hub.
            kwargs: arguments of `diffusers.ModelMixin.from_pretrained`. With `ignore_mismatched_sizes`, weights of the
                wrong shape keep their initial values.

        Raises:
            ValueError: the folder does not exist; the config has sizes beyond those of any model, or belongs to
                another class; weights are missing, unexpected, or of the wrong shape.
            OSError: the hub does not have the repository, or cannot be reached.
        """
        check_source(pretrained_model_name_or_path)
        where = str(os.path.join(pretrained_model_name_or_path, kwargs.get("subfolder") or ""))
        check_config_file(os.path.join(where, "config.json"))
        wanted = {name: kwargs[name] for name in WHERE if name in kwargs}
        config: Any = cls.load_config(pretrained_model_name_or_path, **wanted)  # type: ignore[attr-defined]
        check_config(config, where)
        if (name := config.get("_class_name")) not in (None, cls.__name__):
            raise ValueError(f"{where!r} holds a {name}, and a {cls.__name__} is wanted.")
        info_wanted = kwargs.pop("output_loading_info", False)
        try:
            model, info = super().from_pretrained(pretrained_model_name_or_path, output_loading_info=True, **kwargs)
        except (RuntimeError, SafetensorError) as error:
            # Raised by torch for wrong shapes, and by safetensors.
            raise ValueError(f"the weights in {where!r} cannot be loaded: {error}") from error
        wrong = [
            f"{len(names)} {what} ({', '.join(names[:3])}{' …' if len(names) > 3 else ''})"
            for what in ("missing", "unexpected")
            if (names := sorted(info[f"{what}_keys"]))
        ]
        if info["mismatched_keys"] and not kwargs.get("ignore_mismatched_sizes"):
            wrong.append(f"{len(info['mismatched_keys'])} of another shape")
        if wrong:
            raise ValueError(
                f"the weights in {where!r} are not those of its config: {', '.join(wrong)}. Get the files again, or "
                "the config that belongs to them."
            )
        return (model, info) if info_wanted else model

    def _fix_state_dict_keys_on_load(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Called by diffusers after it has read a file and before it fills the model."""
        super()._fix_state_dict_keys_on_load(state_dict)
        expand_weights(state_dict, {name: tensor.shape for name, tensor in self.state_dict().items()})
        # diffusers does not load the buffers of modules that `device_map` puts on the disk.
        for name, buffer in self.named_buffers():
            if name in state_dict and state_dict[name].shape == buffer.shape and buffer.device.type != "meta":
                buffer.copy_(state_dict[name])


def compact_weights(
    state_dict: Mapping[str, torch.Tensor], bits: int, apart: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """Compress a state dict: matrices and kernels with `bits` bits per weight, everything else in float16.

    Every row (the weights of one output) has the step size with the least error, in float16. Compared with float16 the
    rounding adds an error of 0.7 % of the norm of a Gaussian row with 8 bits, 2.7 % with 6.

    Args:
        state_dict: state dict of a model.
        bits: 4, 6 or 8.
        apart: prefixes of names that are stored in bfloat16: a quantiser, because the codec's fingerprint is computed
            from its codebooks in bfloat16.

    Returns:
        `<name>.<bits>bit`, uint8, and `<name>.step` for the name of each large weight.

    Raises:
        ValueError: `bits` is another number, or a value exceeds the range of float16.
    """
    if bits not in BITS:
        raise ValueError(f"bits is {bits}: give one of {', '.join(map(str, BITS))}.")
    compact = {}
    for name, tensor in state_dict.items():
        if not tensor.is_floating_point():
            compact[name] = tensor
        elif name.startswith(tuple(apart)):
            compact[name] = tensor.to(torch.bfloat16)
        elif not tensor.half().isfinite().all():
            raise ValueError(f"{name} does not fit float16: it goes up to {tensor.abs().max():g}.")
        elif tensor.ndim > 1 and tensor[0].numel() >= SHORTEST_ROW:
            numbers, steps = _round_rows(tensor.float().flatten(1), bits)
            compact[f"{name}.{bits}bit"], compact[f"{name}.step"] = _pack(numbers, bits), steps
        else:
            compact[name] = tensor.half()
    return compact


def expand_weights(state_dict: dict[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> None:
    """Replace the entries that `compact_weights` made by float32 weights, in place; other entries do not change.

    Raises:
        ValueError: an entry does not belong to the model with these `shapes`.
    """
    compact = [found.groups() for found in map(PACKED.fullmatch, state_dict) if found]
    for name, bits in compact:
        packed, steps, bits = state_dict.pop(f"{name}.{bits}bit"), state_dict.pop(f"{name}.step", None), int(bits)
        shape = shapes.get(name)
        if steps is None or bits not in BITS or packed.ndim != 1 or packed.dtype != torch.uint8:
            raise ValueError(f"{name} is not a weight in {' or '.join(map(str, BITS))} bits with its steps.")
        if shape is None or len(packed) != -(-shape.numel() * bits // WORD) * WORD // 8 or len(steps) != shape[0]:
            wanted = "no such weight" if shape is None else f"one of shape {tuple(shape)}"
            raise ValueError(
                f"the file has {len(steps)} rows in {len(packed)} bytes for {name}, and the model has {wanted}: the "
                "weights belong to another config."
            )
        numbers = _unpack(packed, bits, shape.numel()).view(shape)
        state_dict[name] = numbers.mul_(steps.float().view(-1, *[1] * (len(shape) - 1)))
    # diffusers may derive the dtype of the model from a single tensor.
    for name, tensor in state_dict.items() if compact else ():
        state_dict[name] = tensor.float() if tensor.is_floating_point() else tensor


def _round_rows(rows: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, N) → integers (R, N) and step sizes (R, 1), float16, with the least squared error."""
    limit = 2 ** (bits - 1) - 1
    peaks = rows.abs().amax(1, keepdim=True)
    # Subnormal numbers are avoided, because they have few significant digits.
    tiny = torch.finfo(torch.float16).tiny
    steps = (RANGES[:, None, None] * peaks / limit).half().clamp(min=tiny)
    numbers = (rows / steps.float()).round().clamp(-limit, limit)
    errors = (numbers * steps.float() - rows).square().sum(2)
    best, row = errors.argmin(0), torch.arange(len(rows))
    return numbers[best, row], steps[best, row]


def _pack(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers within ±(2^(bits-1) - 1) → bytes, uint8."""
    numbers = numbers.flatten().int() + 2 ** (bits - 1)
    numbers = torch.nn.functional.pad(numbers, (0, -len(numbers) % (WORD // bits))).view(-1, WORD // bits)
    words = (numbers << torch.arange(0, WORD, bits)).sum(1, dtype=torch.int32)
    return (words[:, None] >> torch.arange(0, WORD, 8)).to(torch.uint8).flatten()


def _unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """The first `count` numbers that `_pack` stored, float32."""
    columns = packed.view(-1, WORD // 8).unbind(1)
    numbers = torch.empty(len(columns[0]), WORD // bits, dtype=torch.uint8)
    for index, number in enumerate(numbers.unbind(1)):
        first, shift = divmod(index * bits, 8)
        value = columns[first] >> shift
        if shift + bits > 8:
            value = value | columns[first + 1] << (8 - shift)
        torch.bitwise_and(value, 2**bits - 1, out=number)
    return numbers.flatten()[:count].float().sub_(2 ** (bits - 1))
