"""Quantised weights on disk: integers with one step per row, converted to floating point when loaded."""

from __future__ import annotations

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
# Shorter rows are not worth a step of their own.
SHORTEST_ROW = 16
# Candidate clipping points, as fractions of the row's peak: clipping outliers makes the quantisation step smaller.
RANGES = torch.linspace(0.5, 1.0, 11)
# Arguments of `from_pretrained` that say where a config is.
WHERE = ("subfolder", "revision", "cache_dir", "token", "local_files_only", "force_download", "proxies")


class CompactModelMixin(ModelMixin):
    """A `ModelMixin` whose `from_pretrained` also reads what `compact_weights` made of its weights."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a model; all of its weights must be there, and no others.

        Args:
            pretrained_model_name_or_path: a folder, or a hub repository `owner/name`. What looks like a path is never
                asked of the hub.
            kwargs: of `diffusers.ModelMixin.from_pretrained`. With `ignore_mismatched_sizes` weights of other shapes
                are left as they are initialised.

        Raises:
            ValueError: there is no such folder; the config has sizes that no model has, or belongs to another class;
                weights are missing, unexpected, or of another shape.
            OSError: the hub does not have it, or cannot be reached.
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
            # Of torch, where shapes differ, and of safetensors.
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
        """diffusers calls this between reading a file and filling the model with it."""
        super()._fix_state_dict_keys_on_load(state_dict)
        expand_weights(state_dict, {name: tensor.shape for name, tensor in self.state_dict().items()})
        # diffusers leaves the buffers of modules that `device_map` puts on the disk as they were made.
        for name, buffer in self.named_buffers():
            if name in state_dict and state_dict[name].shape == buffer.shape and buffer.device.type != "meta":
                buffer.copy_(state_dict[name])


def compact_weights(
    state_dict: Mapping[str, torch.Tensor], bits: int, apart: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    """What to write in place of a state dict: matrices and kernels in `bits` bits a weight, the rest in float16.

    Every row (what makes one output) has the step that puts it nearest to the original, in float16. Weights are
    rounded once more than in float16: by 0.7 % of the norm of a Gaussian row of 8 bits, 2.7 % of one of 6.

    Args:
        state_dict: of a model.
        bits: 4, 6 or 8.
        apart: what the names begin with that bfloat16 takes instead: a quantiser, whose codebooks name latents in it.

    Returns:
        `<name>.<bits>bit`, uint8, and `<name>.step` for `<name>` of the large ones.

    Raises:
        ValueError: `bits` is another number, or float16 does not reach as far as a value.
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
    """Put float32 back in place of what `compact_weights` made, in the same dict; others are left as they are.

    Raises:
        ValueError: one is not of the model whose `shapes` these are.
    """
    compact = [found.groups() for found in map(PACKED.fullmatch, state_dict) if found]
    for name, bits in compact:
        packed, steps, bits = state_dict.pop(f"{name}.{bits}bit"), state_dict.pop(f"{name}.step", None), int(bits)
        shape = shapes.get(name)
        if steps is None or bits not in BITS or packed.ndim != 1 or packed.dtype != torch.uint8:
            raise ValueError(f"{name} is no weight in {' or '.join(map(str, BITS))} bits with its steps.")
        if shape is None or len(packed) != -(-shape.numel() * bits // WORD) * WORD // 8 or len(steps) != shape[0]:
            wanted = "no such weight" if shape is None else f"one of shape {tuple(shape)}"
            raise ValueError(
                f"the file has {len(steps)} rows in {len(packed)} bytes for {name}, and the model has {wanted}: the "
                "weights belong to another config."
            )
        numbers = _unpack(packed, bits, shape.numel()).view(shape)
        state_dict[name] = numbers.mul_(steps.float().view(-1, *[1] * (len(shape) - 1)))
    # diffusers may take the precision of one tensor for that of all.
    for name, tensor in state_dict.items() if compact else ():
        state_dict[name] = tensor.float() if tensor.is_floating_point() else tensor


def _round_rows(rows: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, N) → whole numbers (R, N) and steps (R, 1), float16, of the range with the least squared error."""
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
    """Whole numbers within ±(2^(bits-1) - 1) → bytes, uint8."""
    numbers = numbers.flatten().int() + 2 ** (bits - 1)
    numbers = torch.nn.functional.pad(numbers, (0, -len(numbers) % (WORD // bits))).view(-1, WORD // bits)
    words = (numbers << torch.arange(0, WORD, bits)).sum(1, dtype=torch.int32)
    return (words[:, None] >> torch.arange(0, WORD, 8)).to(torch.uint8).flatten()


def _unpack(packed: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """The first `count` numbers that `_pack` put there, float32."""
    columns = packed.view(-1, WORD // 8).unbind(1)
    numbers = torch.empty(len(columns[0]), WORD // bits, dtype=torch.uint8)
    for index, number in enumerate(numbers.unbind(1)):
        first, shift = divmod(index * bits, 8)
        value = columns[first] >> shift
        if shift + bits > 8:
            value = value | columns[first + 1] << (8 - shift)
        torch.bitwise_and(value, 2**bits - 1, out=number)
    return numbers.flatten()[:count].float().sub_(2 ** (bits - 1))
