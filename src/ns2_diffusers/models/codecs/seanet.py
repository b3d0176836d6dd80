"""EnCodec's convolutional encoder and decoder (SEANet), run layer by layer from the `encodec` package.

The package cannot take padded batches or audio in pieces; what is here adds that and leaves its layers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm


def import_seanet():
    """The module `encodec.modules`, or an ImportError that says how to get it."""
    try:
        from encodec import modules
    except (ImportError, OSError, RuntimeError) as error:
        # encodec imports torchaudio, whose compiled part refuses a torch built for something else.
        raise ImportError(
            f"EnCodec's layers need the packages encodec and torchaudio, which could not be imported here "
            f"({type(error).__name__}: {error}). Install them with `pip install encodec`; if torchaudio is "
            f"there but fails, install the build of it that fits torch {torch.__version__} from pytorch.org. "
            f"VocosCodec with its mel encoder needs neither."
        ) from error
    return modules


class WeightNormConv1d(nn.Conv1d):
    """A convolution that makes its weight of `weight_g` and `weight_v` within its own forward.

    torch's `weight_norm` makes it in a hook before that, when offloaded or cast weights are not yet where and what the
    forward pass needs.
    """

    weight_g: torch.Tensor
    weight_v: torch.Tensor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(states, normed_weight(self.weight_v, self.weight_g), self.bias)


class WeightNormConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution as `WeightNormConv1d` is."""

    weight_g: torch.Tensor
    weight_v: torch.Tensor

    def forward(self, states: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return F.conv_transpose1d(
            states,
            normed_weight(self.weight_v, self.weight_g),
            self.bias,
            self.stride,
            self.padding,  # type: ignore[arg-type]
            self.output_padding,
            self.groups,
            self.dilation,
        )


def normed_weight(direction: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Weight of the given direction and length, a length for each of the first axis."""
    return direction * (length / torch.norm_except_dim(direction, 2, 0))


WEIGHT_NORM_CLASSES: dict[type, type] = {nn.Conv1d: WeightNormConv1d, nn.ConvTranspose1d: WeightNormConvTranspose1d}


def build_seanet(part: str, **config) -> nn.Module:
    """encodec's SEANet "encoder" or "decoder", whose layers read weights only in their own forward."""
    modules = import_seanet()
    made = {"encoder": modules.SEANetEncoder, "decoder": modules.SEANetDecoder}[part](**config)
    for conv in made.modules():
        hooks = {key for key, hook in conv._forward_pre_hooks.items() if isinstance(hook, WeightNorm)}
        for key in hooks:
            del conv._forward_pre_hooks[key]
        if hooks:
            # What the hook had made, a plain tensor.
            del conv.weight
            conv.__class__ = WEIGHT_NORM_CLASSES[type(conv)]
    return made


def run_layers(layers: nn.Sequential, hidden_states: torch.Tensor, checkpoint: Callable | None) -> torch.Tensor:
    """The layers in turn, each recomputed in the backward pass if `checkpoint` is given."""
    for layer in layers:
        hidden_states = layer(hidden_states) if checkpoint is None else checkpoint(layer, hidden_states)
    return hidden_states


def run_each_length(
    function: Callable, sequence: torch.Tensor, mask: torch.Tensor | None, output_length: int, *per_item
) -> torch.Tensor:
    """Apply `function` to items of one length at a time, cut to that length.

    Reflected edges, group norms over time and volumes make these layers see padding wherever it is.

    Args:
        function: (b, C, length), *per_item → (b, C', any length).
        sequence, mask: (B, C, L) and (B, L) boolean; without a mask all items run together.
        output_length: what results are padded to, with zeros.
        per_item: further arguments with a first dimension of B.
    """
    if mask is None:
        return function(sequence, *per_item)
    lengths = mask.sum(dim=-1)
    rows: list = [None] * len(sequence)
    for length in lengths.unique().tolist():
        chosen = (lengths == length).nonzero().flatten()
        if length == 0:
            raise ValueError(f"item {int(chosen[0])} of the batch has no audio: its mask is False everywhere.")
        results = function(sequence[chosen, :, :length], *(value[chosen] for value in per_item))
        for row, result in zip(chosen.tolist(), results, strict=True):
            rows[row] = nn.functional.pad(result, (0, output_length - result.shape[-1]))
    return torch.stack(rows)


def encode_in_chunks(
    layers: nn.Sequential, waveform: torch.Tensor, chunk_length: int, checkpoint: Callable | None = None
) -> Iterator[torch.Tensor]:
    """Run a causal encoder over pieces of a waveform, carrying every layer's past: the same as at once.

    Args:
        waveform: (B, channels, samples).
        chunk_length: samples, a multiple of the encoder's hop. The last piece is up to twice as long: the
            end of the audio is reflected and must not be too short for it.
    """
    samples = waveform.shape[-1]
    if samples < 2 * chunk_length:
        yield run_layers(layers, waveform, checkpoint)
        return
    past: dict = {}
    starts = range(0, samples - chunk_length + 1, chunk_length)
    for start in starts:
        end = samples if start == starts[-1] else start + chunk_length
        yield _run_with_past(layers, waveform[..., start:end], past)


def _run_with_past(module, hidden_states, past):
    """One module on the next piece; `past` keeps what it must remember."""
    modules = import_seanet()
    if isinstance(module, nn.Sequential):
        for layer in module:
            hidden_states = _run_with_past(layer, hidden_states, past)
        return hidden_states
    if isinstance(module, modules.seanet.SEANetResnetBlock):
        shortcut = _run_with_past(module.shortcut, hidden_states, past)
        return shortcut + _run_with_past(module.block, hidden_states, past)
    if isinstance(module, modules.SConv1d):
        return _conv_with_past(module, hidden_states, past)
    if isinstance(module, modules.SLSTM):
        steps = hidden_states.permute(2, 0, 1)
        output, past[module] = module.lstm(steps, past.get(module))
        return (output + steps if module.skip else output).permute(1, 2, 0)
    return module(hidden_states)


def _conv_with_past(module, hidden_states, past):
    from encodec.modules.conv import get_extra_padding_for_conv1d, pad1d

    conv = module.conv.conv
    kernel, stride, dilation = conv.kernel_size[0], conv.stride[0], conv.dilation[0]
    context = (kernel - 1) * dilation - (stride - 1)
    # Only the last piece can need this: the others are whole numbers of hops.
    extra = get_extra_padding_for_conv1d(hidden_states, kernel, stride, context)
    if module not in past:
        padded = pad1d(hidden_states, (context, extra), mode=module.pad_mode)
        hidden_states = padded[..., : context + hidden_states.shape[-1]]
    else:
        hidden_states = torch.cat([past[module], hidden_states], dim=-1)
        padded = pad1d(hidden_states, (0, extra), mode=module.pad_mode)
    past[module] = hidden_states[..., hidden_states.shape[-1] - context :]
    return module.conv(padded)
