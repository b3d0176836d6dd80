"""Closed-form initialisation of a codec: principal components of WORLD's spectral envelopes, codebooks by k-means.

A network with random weights needs hours to learn what a linear map can do at once. The linear parts of `VocosCodec`
(`linear_frames` of its encoder, `linear_channels` of its harmonic head) are fitted here to the vocoder WORLD: one
latent channel is log F0, the others are principal components of the filters of a frame. Training starts from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..audio.voice_filters import analyze_voice
from ..data.recordings import read_span
from ..models.codecs.harmonic_head import HarmonicHead
from ..models.codecs.vocos_codec import MelEncoder, VocosCodec
from .codec_losses import bin_weights

# Weight of log F0 relative to one bin of the envelope, high enough for the codes to keep F0 to a few cents.
F0_SCALE = 80.0
# Weight of the ratio of noise to pulses, which is less audible than the envelope and estimated less reliably.
RATIO_SCALE = 0.25
# Scale of the principal components, which gives raw latents a standard deviation of at most a few units.
LATENT_SCALE = 0.1
# A frame whose mean natural log of the envelope is above this counts as speech.
SPEECH_LEVEL = -8.0
# Weight of a quiet frame in the regression of the encoder.
QUIET_WEIGHT = 0.2
RIDGE = 1e-3
EMPTY = np.zeros(0), np.zeros(0, dtype=bool), np.zeros((0, 2, 1, 1))


def fit_linear_parts(codec: VocosCodec, files: Sequence[str | Path], clips: int, seconds: float, seed: int) -> None:
    """Fit the linear parts of an untrained codec in place; the networks add nothing before training.

    The linear part of the decoder is the principal components of log-magnitudes, weighted by audibility. The linear
    part of the encoder, and the last layer of its network (whose other layers are random features), are fitted by
    ridge regression from their features to these components.

    Args:
        codec: a codec with a mel encoder that has `linear_frames`, and a harmonic head with `linear_channels`.
        files: recordings.
        clips: number of clips that are drawn from the files.
        seconds: duration of a clip.
        seed: seed of the random draw of clips.

    Raises:
        ValueError: the codec has no such parts, or the clips contain no voice.
    """
    encoder, head = codec.encoder, codec.head
    if not (
        isinstance(encoder, MelEncoder)
        and isinstance(head, HarmonicHead)
        and encoder.linear
        and head.linear
        and head.linear_f0
    ):
        raise ValueError(
            "the codec has no linear parts to fit: give its encoder_config, of type mel, linear_frames, and its "
            "head_config, of type harmonic, linear_channels."
        )
    frames, inputs = [], []
    for clip in _draw_clips(files, codec.sampling_rate, clips, seconds, seed):
        described = _describe_frames(clip, codec)
        if described is not None:
            frames.append(described)
            inputs.append(_encoder_inputs(encoder, clip))
    log_f0, voiced, filters = (np.concatenate(parts) for parts in zip(*frames, strict=True)) if frames else EMPTY
    speech = filters[:, 0].mean(axis=(1, 2)) > SPEECH_LEVEL
    if not (speech & voiced).any():
        raise ValueError(f"there is no voice in {clips} clips of the {len(files)} recordings: give speech.")
    mean_f0 = log_f0[voiced].mean()
    weights = np.stack([bin_weights(head.n_fft, codec.sampling_rate).sqrt().numpy()] * 2)[:, None]
    weights[1] *= RATIO_SCALE
    flat = (filters * weights).reshape(len(filters), -1)
    mean, components = _principal_components(flat[speech], codec.latent_channels - 1)
    log_f0 = F0_SCALE * (log_f0 - mean_f0)
    latents = LATENT_SCALE * np.concatenate([log_f0[:, None], (flat - mean) @ components], axis=1)
    counts = np.where(speech, 1.0, QUIET_WEIGHT)
    # F0 is fitted to voiced frames only.
    solution = _regress(torch.cat(inputs), latents[:, 1:], counts)
    solution = torch.cat([_regress(torch.cat(inputs), latents[:, :1], counts * voiced), solution], dim=1)
    shape = (2, head.hop_length // head.fine_hop_length, head.n_fft // 2 + 1)
    # Map (envelope, ratio) to (pulses, noise). The offset makes their sum equal the envelope on average.
    to_filters = np.array([[1.0, -0.5], [1.0, 0.5]])
    ratio = filters[speech, 1]
    offset = -0.5 * np.logaddexp(ratio, -ratio).mean(axis=0)
    basis = (components / LATENT_SCALE).reshape(*shape, -1) / weights[..., None]
    basis = np.einsum("ij,jtbk->tibk", to_filters, basis).reshape(-1, basis.shape[-1])
    bias = np.einsum("ij,jtb->tib", to_filters, mean.reshape(shape) / weights) + offset[:, None]
    with torch.no_grad():
        for part in (encoder.linear, head.f0, head.linear_f0, head.linear, head.out):
            for parameter in part.parameters():
                parameter.zero_()
        linear = encoder.linear.weight
        _copy(linear, solution[: linear[0].numel()].T.reshape(linear.shape))
        _copy(encoder.out.weight, solution[linear[0].numel() : -1].T)
        _copy(encoder.out.bias, solution[-1])
        head.f0.bias.fill_(float(mean_f0))
        head.linear_f0.weight[0, 0] = 1 / (F0_SCALE * LATENT_SCALE)
        _copy(head.linear.weight[:, 1:], torch.from_numpy(basis))
        _copy(head.linear.bias, torch.from_numpy(bias).flatten())


@torch.no_grad()
def fit_codebooks(codec, files: Sequence[str | Path], clips: int, seconds: float, seed: int) -> None:
    """Fit codebooks by k-means to the latents of many clips; training would only use the first batch.

    Args:
        codec: any codec of this package, with a trained encoder.
        files, clips, seconds, seed: see `fit_linear_parts`.
    """
    found = _draw_clips(files, codec.sampling_rate, clips, seconds, seed, codec.channels)
    training = codec.training
    codec.eval()
    latents = [codec.denormalize_latents(codec.encode(torch.from_numpy(clip)[None])) for clip in found]
    codec.quantizer.initialize(torch.cat(latents, dim=2))
    codec.train(training)


@torch.no_grad()
def keep_latent_channels(codec: VocosCodec, count: int) -> VocosCodec:
    """Copy a trained codec with only its latent channels of largest variance, in their order.

    The last principal components contain inaudible noise, and a diffusion model would learn it at the cost of audible
    parts. Codes of the old codec stay valid: the vectors of the codebooks lose the same channels.

    Args:
        codec: a codec with latent statistics.
        count: number of channels to keep.

    Raises:
        ValueError: the codec has no statistics, or fewer channels.
    """
    if codec.config.latents_std is None or not 0 < count < codec.latent_channels:
        raise ValueError(
            f"{count} of {codec.latent_channels} channels are wanted of a codec "
            f"{'without' if codec.config.latents_std is None else 'with'} latent statistics: wanted is a smaller "
            "number, and statistics that say which channels vary most."
        )
    old = codec.latent_channels
    deviations = torch.tensor(codec.config.latents_std)
    kept = deviations.argsort(descending=True, stable=True)[:count].sort().values
    config = {key: value for key, value in codec.config.items() if not key.startswith("_")}
    config |= {"latent_channels": count}
    config |= {name: [config[name][index] for index in kept.tolist()] for name in ("latents_mean", "latents_std")}
    if config["head_config"].get("linear_channels"):
        config["head_config"] = config["head_config"] | {"linear_channels": count}
    smaller = type(codec).from_config(config)
    state = smaller.state_dict()
    for name, tensor in codec.state_dict().items():
        for axis, (have, want) in enumerate(zip(tensor.shape, state[name].shape, strict=True)):
            if (have, want) == (old, count):
                tensor = tensor.index_select(axis, kept.to(tensor.device))
        state[name] = tensor
    # For the decoder, the removed channels have their mean values, which are added to the biases.
    gone = torch.ones(old, dtype=torch.bool).index_fill(0, kept, False)
    mean = torch.tensor(codec.config.latents_mean) * gone
    for name, part in codec.named_modules():
        if isinstance(part, (torch.nn.Linear, torch.nn.Conv1d)) and f"{name}.weight" in state:
            if part.weight.shape[1] == old != state[f"{name}.weight"].shape[1]:
                state[f"{name}.bias"] = part.bias + part.weight.flatten(1).unflatten(1, (old, -1)).sum(-1) @ mean.to(
                    part.weight
                )
    smaller.load_state_dict(state)
    return smaller.train(codec.training)


def extend_codec(codec: VocosCodec, changes: dict[str, Any]) -> VocosCodec:
    """Copy a codec, with more inputs of some layers; the new weights are zero, so its output does not change.

    Args:
        codec: a trained codec.
        changes: changes of its config; a dict changes a part of the config.

    Raises:
        ValueError: the changes affect more than the number of inputs of a layer.
    """
    config = {key: value for key, value in codec.config.items() if not key.startswith("_")}
    for name, change in changes.items():
        config[name] = {**config[name], **change} if isinstance(change, dict) else change
    grown = type(codec).from_config(config)
    state = grown.state_dict()
    for name, old in codec.state_dict().items():
        new = state.get(name)
        fits = new is not None and new.shape[:1] + new.shape[2:] == old.shape[:1] + old.shape[2:]
        if not fits or new.numel() < old.numel():
            raise ValueError(
                f"the config would change {name} of the codec, {tuple(old.shape)}, in more than the number of "
                "its inputs: leave the other sizes as they are."
            )
        new.zero_()[tuple(slice(size) for size in old.shape)] = old
    return grown


def _draw_clips(files, sampling_rate, clips, seconds, seed, channels=1):
    """Waveforms (channels, samples) float32 of up to `seconds`, from different files as far as possible."""
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(len(files)) for _ in range(-(-clips // len(files)))])[:clips]
    for index in order:
        clip = read_span(files[index], sampling_rate, channels, seconds=seconds)
        if clip.shape[1] >= sampling_rate // 2:
            yield clip * np.float32(random.uniform(0.5, 1.0))


def _describe_frames(clip, codec):
    """log F0 (T,) without gaps, voiced flags (T,), envelope and ratio (T, 2, fine frames, bins) of a clip."""
    head = codec.head
    fine_hop, n_fft = head.fine_hop_length, head.n_fft
    found = analyze_voice(clip[0], codec.sampling_rate, head.hop_length, fine_hop, n_fft, ratio=True)
    voiced = found.f0 > 0
    if not voiced.any():
        return None
    log_f0 = np.interp(np.arange(len(voiced)), np.flatnonzero(voiced), np.log(found.f0[voiced]))
    filters = np.stack([found.log_envelope, found.log_ratio]).astype(np.float32)
    kind, bins, _ = filters.shape
    filters = filters.reshape(kind, bins, len(voiced), -1).transpose(2, 0, 3, 1)
    return log_f0, voiced, filters


@torch.no_grad()
def _encoder_inputs(encoder, clip):
    """Inputs of the regression for a clip: features, hidden states and a constant one, (T, inputs) float64."""
    waveform = torch.from_numpy(clip)[:, : clip.shape[1] // encoder.mel.hop_length * encoder.mel.hop_length]
    features = encoder.features(waveform)
    width = encoder.linear.kernel_size[0]
    seen = torch.nn.functional.pad(features, (width // 2, width // 2)).unfold(2, width, 1)[0].transpose(0, 1)
    hidden = encoder.backbone(features)[0]
    return torch.cat([seen.flatten(1), hidden, torch.ones(len(hidden), 1)], dim=1).double()


def _principal_components(rows, count):
    """Mean (N,) and the first `count` principal components (N, count) of rows (M, N)."""
    mean = rows.mean(axis=0)
    centred = torch.from_numpy(rows - mean)
    covariance = (centred.T @ centred / len(centred)).double()
    return mean, torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :count].numpy()


def _regress(inputs, targets, weights):
    """Ridge regression of (M, N) to (M, K) with weights (M,): returns (N, K)."""
    weighted = inputs * torch.from_numpy(weights)[:, None]
    penalty = RIDGE * float(weights.sum()) * torch.eye(inputs.shape[1], dtype=torch.float64)
    return torch.linalg.solve(weighted.T @ inputs + penalty, weighted.T @ torch.from_numpy(targets).double())


def _copy(parameter, values):
    parameter.copy_(values.to(parameter.dtype))
