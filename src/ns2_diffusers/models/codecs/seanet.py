"""EnCodec's convolutional encoder and decoder (SEANet), run layer by layer from transformers' `EncodecModel`.

transformers does not support padded batches or audio in pieces; this module adds both and does not change its layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize


class WeightNormConv1d(nn.Conv1d):
    """A convolution that computes its weight from `weight_g` and `weight_v` within its own forward.

    torch's `weight_norm` computes it in an earlier hook, when offloaded or cast weights are not yet on the device or
    in the dtype of the forward pass.
    """

    weight_g: torch.Tensor
    weight_v: torch.Tensor

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(states, normed_weight(self.weight_v, self.weight_g), self.bias)


class WeightNormConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution like `WeightNormConv1d`."""

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
    """Weight of the given direction and length; one length per index of the first axis."""
    return direction * (length / torch.norm_except_dim(direction, 2, 0))


WEIGHT_NORM_CLASSES: dict[type, type] = {nn.Conv1d: WeightNormConv1d, nn.ConvTranspose1d: WeightNormConvTranspose1d}


# Settings of SEANet: names of the `encodec` package, which configs use, and of transformers' `EncodecConfig`.
SETTINGS = {
    "channels": "audio_channels",
    "dimension": "hidden_size",
    "n_filters": "num_filters",
    "n_residual_layers": "num_residual_layers",
    "ratios": "upsampling_ratios",
    "norm": "norm_type",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "dilation_base": "dilation_growth_rate",
    "causal": "use_causal_conv",
    "pad_mode": "pad_mode",
    "true_skip": "use_conv_shortcut",
    "compress": "compress",
    "lstm": "num_lstm_layers",
    "trim_right_ratio": "trim_right_ratio",
}
RATIOS = [8, 5, 4, 2]


def build_seanet(part: str, **settings: Any) -> nn.Module:
    """EnCodec's "encoder" or "decoder", whose layers read weights only in their own forward pass.

    Args:
        part: "encoder", (B, channels, samples) → (B, dimension, frames), or "decoder", the reverse.
        settings: see `SETTINGS`; `true_skip` leaves out the convolution of the residual blocks' shortcut.

    Raises:
        ValueError: an unknown setting, or no LSTM layer.
    """
    if unknown := sorted(settings.keys() - SETTINGS.keys()):
        raise ValueError(f"SEANet has no setting {', '.join(unknown)}; it has {', '.join(SETTINGS)}.")
    settings = {"true_skip": False, "ratios": RATIOS, "lstm": 2, **settings}
    if settings["lstm"] < 1:
        raise ValueError(f"EnCodec has at least one LSTM layer, got lstm_layers={settings['lstm']}.")
    settings["true_skip"] = not settings["true_skip"]
    # Imported here because transformers' models take seconds to import.
    from transformers import EncodecConfig
    from transformers.models.encodec import modeling_encodec

    classes = {"encoder": modeling_encodec.EncodecEncoder, "decoder": modeling_encodec.EncodecDecoder}
    made = classes[part](EncodecConfig(**{SETTINGS[name]: value for name, value in settings.items()}))
    for conv in list(made.modules()):
        if parametrize.is_parametrized(conv, "weight"):
            length, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
            parametrize.remove_parametrizations(conv, "weight", leave_parametrized=True)
            del conv.weight
            # A hook renames weight_g and weight_v of a loaded state dict to the names of the parametrisation.
            conv._load_state_dict_pre_hooks.clear()
            conv.weight_g, conv.weight_v = nn.Parameter(length.detach()), nn.Parameter(direction.detach())
            conv.__class__ = WEIGHT_NORM_CLASSES[type(conv)]
    return made


def run_layers(layers: nn.ModuleList, hidden_states: torch.Tensor, checkpoint: Callable | None) -> torch.Tensor:
    """The layers in turn, each recomputed in the backward pass if `checkpoint` is given."""
    for layer in layers:
        hidden_states = layer(hidden_states) if checkpoint is None else checkpoint(layer, hidden_states)
    return hidden_states


def run_each_length(
    function: Callable, sequence: torch.Tensor, mask: torch.Tensor | None, output_length: int, *per_item
) -> torch.Tensor:
    """Apply `function` to the items of each length together, cut to that length.

    Reflected edges, group norms over time and volumes would make these layers depend on padding.

    Args:
        function: (b, C, length), *per_item → (b, C', any length).
        sequence, mask: (B, C, L) and (B, L) boolean; without a mask all items run together.
        output_length: length to which results are padded with zeros.
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
    layers: nn.ModuleList, waveform: torch.Tensor, chunk_length: int, checkpoint: Callable | None = None
) -> Iterator[torch.Tensor]:
    """Run a causal encoder on pieces of a waveform, with the state of every layer: equal to one run on the whole.

    Args:
        waveform: (B, channels, samples).
        chunk_length: samples, a multiple of the encoder's hop. The last piece is up to twice as long, because the
            end of the audio is reflected and must not be too short for that.
    """
    samples = waveform.shape[-1]
    if samples < 2 * chunk_length:
        yield run_layers(layers, waveform, checkpoint)
        return
    past: dict = {}
    starts = range(0, samples - chunk_length + 1, chunk_length)
    for start in starts:
        end = samples if start == starts[-1] else start + chunk_length
        hidden_states = waveform[..., start:end]
        for layer in layers:
            hidden_states = _run_with_past(layer, hidden_states, past)
        yield hidden_states


def _run_with_past(module, hidden_states, past):
    """Run one module on the next piece; `past` keeps its state."""
    from transformers.models.encodec import modeling_encodec

    if isinstance(module, modeling_encodec.EncodecResnetBlock):
        shortcut = _run_with_past(module.shortcut, hidden_states, past)
        for layer in module.block:
            hidden_states = _run_with_past(layer, hidden_states, past)
        return shortcut + hidden_states
    if isinstance(module, modeling_encodec.EncodecConv1d):
        return _conv_with_past(module, hidden_states, past)
    if isinstance(module, modeling_encodec.EncodecLSTM):
        steps = hidden_states.permute(2, 0, 1)
        output, past[module] = module.lstm(steps, past.get(module))
        return (output + steps).permute(1, 2, 0)
    return module(hidden_states)


def _conv_with_past(module, hidden_states, past):
    conv = module.conv
    span = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
    stride = conv.stride[0]
    context = span - stride
    if module in past:
        hidden_states = torch.cat([past[module], hidden_states], dim=-1)
    else:
        # EnCodec's causal convolutions reflect the start of the audio.
        hidden_states = module._pad1d(hidden_states, (context, 0), mode=module.pad_mode)
    past[module] = hidden_states[..., hidden_states.shape[-1] - context :]
    # Only the last piece can need this, because the others are whole numbers of hops.
    extra = math.ceil((hidden_states.shape[-1] - span) / stride) * stride + span - hidden_states.shape[-1]
    hidden_states = conv(module._pad1d(hidden_states, (0, extra), mode=module.pad_mode))
    return module.norm(hidden_states) if module.norm_type == "time_group_norm" else hidden_states
