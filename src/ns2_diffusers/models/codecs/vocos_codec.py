"""A fast codec: ConvNeXt over mel frames, residual codes, and Vocos back to a waveform."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from ...arrays import piece_ranges
from ...audio.mel import LogMelSpectrogram
from ..compact_weights import CompactModelMixin
from ..lora import LoraModelMixin
from ..offloading import runs_like_forward
from .codec import CodecMixin, DecoderOutput, apply_mask
from .convnext import ConvNeXtBackbone
from .harmonic_head import HarmonicHead
from .istft_head import ISTFTHead
from .residual_vector_quantizer import ResidualVectorQuantizer


class MelEncoder(nn.Module):
    """Log-mel spectrogram, optionally with a finer one, → ConvNeXt blocks → latents.

    A window that is long enough to resolve harmonics blurs events within a frame; a second, short one resolves them.

    Args:
        sampling_rate: Hz.
        hop_length: samples per latent frame.
        latent_channels: C.
        n_fft, n_mels: window in samples and number of bands of the spectrogram.
        fine_hop_length, fine_n_mels: samples between frames, and number of bands, of a second spectrogram with windows
            of four times its hop; the hop divides `hop_length`. None for no second spectrogram.
        dim, intermediate_dim, num_layers: see `ConvNeXtBackbone`.
        linear_frames: odd kernel size of a linear convolution of the features that is added to the latents.
            `training.codec_initialization` fits it before training. None for no linear part.

    Raises:
        ValueError: `fine_hop_length` does not divide `hop_length`.
    """

    def __init__(
        self,
        sampling_rate: int,
        hop_length: int,
        latent_channels: int,
        *,
        n_fft: int = 1280,
        n_mels: int = 100,
        fine_hop_length: int | None = None,
        fine_n_mels: int = 32,
        dim: int = 384,
        intermediate_dim: int = 1152,
        num_layers: int = 4,
        linear_frames: int | None = None,
    ):
        super().__init__()
        self.mel, self.fine_mel, features = LogMelSpectrogram(sampling_rate, n_fft, hop_length, n_mels), None, n_mels
        if fine_hop_length is not None:
            if hop_length % fine_hop_length:
                raise ValueError(f"fine_hop_length ({fine_hop_length}) must divide hop_length ({hop_length}).")
            self.fine_mel = LogMelSpectrogram(sampling_rate, 4 * fine_hop_length, fine_hop_length, fine_n_mels)
            features += fine_n_mels * (hop_length // fine_hop_length)
        self.backbone = ConvNeXtBackbone(features, dim=dim, intermediate_dim=intermediate_dim, num_layers=num_layers)
        self.out = nn.Linear(dim, latent_channels)
        self.linear: nn.Conv1d | None = None
        if linear_frames is not None:
            self.linear = nn.Conv1d(features, latent_channels, linear_frames, padding=linear_frames // 2)
            for parameter in self.linear.parameters():
                nn.init.zeros_(parameter)

    def forward(self, waveform: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, 1, samples), mask of frames (B, T) → (B, C, T), in the dtype of the waveform."""
        features = apply_mask(self.features(waveform[:, 0]).to(waveform.dtype), mask)
        latents = self.out(self.backbone(features, mask)).transpose(1, 2)
        if self.linear is not None:
            latents = latents + self.linear(features)
        return apply_mask(latents, mask)

    def features(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, samples) → (B, features, T) float32: one or two log-mel spectrograms, roughly standardised."""
        hop = self.mel.hop_length
        features = self.mel(waveform)
        if self.fine_mel is not None:
            whole = nn.functional.pad(waveform, (0, -waveform.shape[-1] % hop))
            fine = self.fine_mel(whole).unflatten(2, (-1, hop // self.fine_mel.hop_length))
            features = torch.cat([features, fine.transpose(2, 3).flatten(1, 2)], dim=1)
        # Values from about -11.5, the floor, to 1 are standardised: a large mean would dominate the first layer.
        return (features + 6) / 3


# Types of the encoder, and the callables that take their settings as keyword arguments; None for other libraries.
ENCODERS: dict[str, Callable | None] = {"mel": MelEncoder, "seanet": None, "none": lambda: None}
HEADS: dict[str, Callable] = {"istft": ISTFTHead, "harmonic": HarmonicHead}
FLAT_NAMES = {"dim": "encoder_dim", "intermediate_dim": "encoder_intermediate_dim", "num_layers": "encoder_layers"}
# Settings of older configs, from before encoder, backbone and head had their own configs.
FLAT_SETTINGS = {"channels", "n_fft", "n_mels", "fine_hop_length", "fine_n_mels", "seanet_config"}
FLAT_SETTINGS |= {f"encoder_{name}" for name in ("type", "dim", "intermediate_dim", "layers")}
FLAT_SETTINGS |= {f"decoder_{name}" for name in ("dim", "intermediate_dim", "layers")} | {"head_type"}


def complete_typed(part: str, given: Mapping[str, Any] | None, types: Mapping[str, Callable | None]) -> dict[str, Any]:
    """`type` and all settings of a part; the first of `types` if none is given.

    Raises:
        ValueError: an unknown type, or an unknown setting of the type.
    """
    settings = dict(given or {})
    kind = settings.pop("type", next(iter(types)))
    if kind not in types:
        raise ValueError(f"the type of {part} is {kind!r}; it must be one of {', '.join(types)}.")
    takes = types[kind]
    return {"type": kind} | (settings if takes is None else complete(f"{part} of type {kind}", settings, takes))


def complete(part: str, given: Mapping[str, Any] | None, takes: Callable) -> dict[str, Any]:
    """Merge the settings of a part into their defaults, those of the keyword-only arguments of `takes`.

    Raises:
        ValueError: a setting is not such an argument.
    """
    parameters = inspect.signature(takes).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    given = dict(given or {})
    if unknown := sorted(given.keys() - defaults.keys()):
        raise ValueError(f"{part} has no setting {', '.join(unknown)}; it has {', '.join(defaults) or 'none'}.")
    return defaults | given


class VocosCodec(LoraModelMixin, CodecMixin, CompactModelMixin, ConfigMixin):
    """Mel (or SEANet) encoder, residual vector quantiser, ConvNeXt backbone with an inverse-STFT or harmonic head.

    This is Vocos (arXiv 2306.00814) as a codec: everything after the spectrogram runs at the latent frame rate, which
    is many times faster than convolutions at the sampling rate. Mono.

    Args:
        sampling_rate: Hz.
        hop_length: samples per latent frame.
        latent_channels: C.
        num_codebooks, codebook_size: Q and K.
        encoder_config: its `type` and settings. Type "mel", the default: the keyword arguments of `MelEncoder`. Type
            "seanet": settings of `build_seanet` other than `dimension`. Type "none": no encoder, only a decoder.
        backbone_config: keyword arguments of the decoder's `ConvNeXtBackbone`.
        head_config: its `type` and settings. Type "istft", the default (Vocos): the keyword arguments of `ISTFTHead`.
            Type "harmonic" (pulses and noise through filters, only for speech): those of `HarmonicHead`.
        quantizer_decay, dead_code_threshold, quantizer_dropout: see `ResidualVectorQuantizer`.
        latents_mean, latents_std: statistics of each raw latent channel; see `set_latent_statistics`.

    Raises:
        ValueError: a part has an unknown type or settings; sizes do not fit together.
    """

    _supports_gradient_checkpointing = True
    _keep_in_fp32_modules = ["quantizer"]
    _no_split_modules = ["ConvNeXtBackbone", "MelEncoder", "HarmonicHead", "ISTFTHead", "ResidualVectorQuantizer"]
    _repeated_blocks = ["ConvNeXtBlock"]
    # With F0 from 8-bit weights the voice trembles.
    _skip_layerwise_casting_patterns = ["norm", r"head\.f0"]
    _group_offload_block_modules = ["encoder", "backbone", "head"]

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = 24000,
        hop_length: int = 320,
        latent_channels: int = 128,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        encoder_config: dict[str, Any] | None = None,
        backbone_config: dict[str, Any] | None = None,
        head_config: dict[str, Any] | None = None,
        quantizer_decay: float = 0.99,
        dead_code_threshold: float = 0.05,
        quantizer_dropout: float = 0.0,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ):
        super().__init__()
        encoder_config = complete_typed("encoder_config", encoder_config, ENCODERS)
        backbone_config = complete("backbone_config", backbone_config, ConvNeXtBackbone)
        head_config = complete_typed("head_config", head_config, HEADS)
        # A saved codec keeps all settings, so later changes of defaults do not affect it.
        self._register_settings(
            encoder_config=encoder_config, backbone_config=backbone_config, head_config=head_config
        )
        self.encoder = self._build_encoder(dict(encoder_config))
        self.quantizer = ResidualVectorQuantizer(
            latent_channels,
            num_codebooks,
            codebook_size,
            quantizer_decay,
            dead_code_threshold,
            quantizer_dropout,
        )
        self.backbone = ConvNeXtBackbone(latent_channels, **backbone_config)
        self.head = self._build_head(dict(head_config))

    def _build_encoder(self, settings: dict[str, Any]) -> nn.Module | None:
        config, kind = self.config, settings.pop("type")
        if kind == "mel":
            return MelEncoder(config.sampling_rate, config.hop_length, config.latent_channels, **settings)
        if kind == "none":
            return None
        from .seanet import RATIOS, build_seanet

        hop_length = math.prod(settings.get("ratios", RATIOS))
        if hop_length != config.hop_length:
            raise ValueError(
                f"the SEANet encoder's ratios make a hop of {hop_length}, hop_length says {config.hop_length}: "
                "change `encoder_config['ratios']` or `hop_length`."
            )
        return build_seanet("encoder", dimension=config.latent_channels, **settings)

    def _build_head(self, settings: dict[str, Any]) -> nn.Module:
        config, dim = self.config, self.config.backbone_config["dim"]
        if settings.pop("type") == "harmonic":
            return HarmonicHead(dim, config.sampling_rate, config.hop_length, **settings)
        return ISTFTHead(dim, config.hop_length, **settings)

    @classmethod
    def from_config(cls, config=None, return_unused_kwargs: bool = False, **kwargs):
        """See diffusers' `ConfigMixin.from_config`.

        Raises:
            ValueError: the config is from before encoder, backbone and head had their own configs.
        """
        flat = sorted(FLAT_SETTINGS & (config or {}).keys())
        if flat:
            raise ValueError(
                f"the config has {', '.join(flat)} beside each other; encoder, backbone and head have configs of "
                'their own now. Write "encoder_config": {"type": "mel", "n_fft": ..., "n_mels": ..., '
                '"fine_hop_length": ..., "fine_n_mels": ..., "dim": ..., "intermediate_dim": ..., "num_layers": ...}, '
                '"backbone_config": {"dim": ..., "intermediate_dim": ..., "num_layers": ...} (what began with '
                'decoder_) and "head_config": {"type": ..., and what head_config had} in their place. Weights and '
                "fingerprint stay."
            )
        return super().from_config(config, return_unused_kwargs, **kwargs)

    @property
    def channels(self) -> int:
        """Audio channels: mono."""
        return 1

    @property
    def takes_f0(self) -> bool:
        """Whether `decode` accepts F0."""
        return self.config.head_config["type"] == "harmonic"

    def _fingerprinted_settings(self) -> dict[str, Any]:
        # Uses the old names of flat settings, so that existing voices and datasets stay valid.
        settings = super()._fingerprinted_settings()
        encoder, backbone, head = (dict(settings.pop(f"{part}_config")) for part in ("encoder", "backbone", "head"))
        encoder_type, head_type = encoder.pop("type"), head.pop("type")
        mel = encoder if encoder_type == "mel" else complete("encoder_config", None, MelEncoder)
        if head_type == "istft" and head["n_fft"] != mel["n_fft"]:
            # These two were one setting.
            settings["head_n_fft" if encoder_type == "mel" else "n_fft"] = head["n_fft"]
        if mel["linear_frames"] is None:
            # Codecs from before this part existed keep their fingerprints.
            del mel["linear_frames"]
        for name, value in mel.items():
            settings.setdefault(FLAT_NAMES.get(name, name), value)
        settings |= {FLAT_NAMES[name].replace("encoder", "decoder"): value for name, value in backbone.items()}
        usual = complete("head_config", None, HEADS[head_type])
        unusual = {name: value for name, value in head.items() if value != usual[name]}
        return settings | {
            "channels": 1,
            "encoder_type": None if encoder_type == "none" else encoder_type,
            "head_type": head_type,
            "head_config": (head_type == "harmonic" and unusual) or None,
            "seanet_config": (encoder_type == "seanet" and encoder) or None,
        }

    def _encode(self, waveform, sample_mask):
        if self.encoder is None:
            raise ValueError(
                "this VocosCodec is a decoder alone (its encoder has type 'none'): encode with the codec that its "
                "latents come from."
            )
        waveform = apply_mask(waveform, sample_mask).to(self.dtype)
        if self.config.encoder_config["type"] == "seanet":
            from .seanet import run_each_length

            frames = self.latent_length(waveform.shape[-1])
            return run_each_length(self.encoder, waveform, sample_mask, frames)
        return self.encoder(waveform, self.latent_mask(sample_mask))

    def _decode(self, latents, latent_mask, f0=None):
        hidden_states = self.backbone(latents.to(self.dtype), latent_mask)
        with torch.autocast(latents.device.type, enabled=False):
            hidden_states = hidden_states.to(self.dtype)
            if not self.takes_f0:
                return DecoderOutput(self.head(hidden_states, latent_mask).unsqueeze(1).to(latents.dtype))
            output = self.head(hidden_states, latent_mask, f0, latents.to(self.dtype).transpose(1, 2))
        waveform = output.waveform.unsqueeze(1).to(latents.dtype)
        return DecoderOutput(waveform, output.log_f0, output.log_magnitudes)

    def decode_in_pieces(self, latents, frames, f0=None, growth=1):
        """See `CodecMixin.decode_in_pieces`.

        The backbone runs at once; the head, which makes the samples, runs over one range of frames at a time.
        """
        self._check_latents(latents)
        self._check_f0(f0, latents)
        states = self._begin_pieces(latents, f0)
        for start, end in piece_ranges(latents.shape[2], frames, growth):
            yield self._decode_piece(states, start, end).to(latents.dtype)

    @runs_like_forward
    def _begin_pieces(self, latents, f0):
        """Hidden states (B, T, dim); for a harmonic head also raw latents (B, T, C), pulses and noise."""
        raw = self.denormalize_latents(latents).to(self.dtype)
        with torch.autocast(latents.device.type, enabled=False):
            hidden_states = self.backbone(raw).to(self.dtype)
            if not self.takes_f0:
                return (hidden_states,)
            raw = raw.transpose(1, 2)
            _, pulses, noise = self.head.excite(hidden_states, None, f0, raw)
            # The phase is computed for the whole, so that pieces join without a step.
            return hidden_states, raw, pulses, noise

    @runs_like_forward
    def _decode_piece(self, states, start, end):
        before, after = self.head.margins
        first = max(0, start - before)
        hidden_states = states[0][:, first : end + after]
        with torch.autocast(hidden_states.device.type, enabled=False):
            if len(states) == 1:
                waveform = self.head(hidden_states)
            else:
                raw = states[1][:, first : end + after]
                within = slice(first * self.hop_length, (end + after) * self.hop_length)
                pulses, noise = (each[:, within] for each in states[2:])
                waveform, _ = self.head.filter(hidden_states, pulses, noise, latents=raw)
        skip = (start - first) * self.hop_length
        return waveform[:, skip : skip + (end - start) * self.hop_length].unsqueeze(1)
