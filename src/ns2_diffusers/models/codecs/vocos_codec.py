"""A quick codec: ConvNeXt over mel frames, residual codes, Vocos back to a waveform."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import nn

from ...audio.mel import LogMelSpectrogram
from ..compact_weights import CompactModelMixin
from ..lora import LoraModelMixin
from .codec import CodecMixin, apply_mask
from .convnext import ConvNeXtBackbone
from .harmonic_head import HarmonicHead
from .istft_head import ISTFTHead
from .residual_vector_quantizer import ResidualVectorQuantizer


class MelEncoder(nn.Module):
    """Log-mel spectrogram, and perhaps a finer one beside it, → ConvNeXt blocks → latents.

    A window long enough to tell harmonics apart blurs what happens within a frame; a second, short one sees that.

    Args:
        mel: a frame each latent frame.
        fine_mel: several frames each latent frame, or None.
    """

    def __init__(
        self,
        mel: LogMelSpectrogram,
        fine_mel: LogMelSpectrogram | None,
        latent_channels: int,
        dim: int,
        intermediate_dim: int,
        num_layers: int,
    ):
        super().__init__()
        self.mel, self.fine_mel = mel, fine_mel
        features = len(mel.filters)
        if fine_mel is not None:
            features += len(fine_mel.filters) * (mel.hop_length // fine_mel.hop_length)
        self.backbone = ConvNeXtBackbone(features, dim, intermediate_dim, num_layers)
        self.out = nn.Linear(dim, latent_channels)

    def forward(self, waveform: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, 1, samples), mask of frames (B, T) → (B, C, T), in the dtype of the waveform."""
        dtype, waveform, hop = waveform.dtype, waveform[:, 0], self.mel.hop_length
        features = self.mel(waveform)
        if self.fine_mel is not None:
            whole = nn.functional.pad(waveform, (0, -waveform.shape[-1] % hop))
            fine = self.fine_mel(whole).unflatten(2, (-1, hop // self.fine_mel.hop_length))
            features = torch.cat([features, fine.transpose(2, 3).flatten(1, 2)], dim=1)
        # From about -11.5, the floor, to 1: roughly standardised, since a large mean is all a first layer would see.
        features = ((features + 6) / 3).to(dtype)
        return apply_mask(self.out(self.backbone(features, mask)).transpose(1, 2), mask)


class VocosCodec(CodecMixin, LoraModelMixin, CompactModelMixin, ConfigMixin):
    """Mel (or SEANet) encoder, residual vector quantiser, ConvNeXt backbone with an inverse-STFT or harmonic head.

    Vocos (arXiv 2306.00814) made a codec: everything after the spectrogram runs at the latent frame rate,
    many times quicker than convolutions at the sampling rate. Mono.

    Args:
        sampling_rate: Hz.
        hop_length: samples per latent frame.
        n_fft: window of the mel encoder's spectrogram, and of the inverse STFT, samples.
        n_mels: bands the mel encoder sees.
        fine_hop_length, fine_n_mels: samples from frame to frame and bands of a second spectrogram of the mel encoder,
            in windows four times as long; divides `hop_length`; None for none.
        latent_channels: C.
        num_codebooks, codebook_size: Q and K.
        encoder_type: "mel", "seanet" (EnCodec's encoder, see `seanet_config`), or None for a decoder alone.
        encoder_dim, encoder_intermediate_dim, encoder_layers: ConvNeXt blocks of the mel encoder.
        decoder_dim, decoder_intermediate_dim, decoder_layers: ConvNeXt blocks of the decoder.
        head_type: "istft" (Vocos), or "harmonic" (`HarmonicHead`: pulses and noise through filters, for speech alone).
        head_config: keyword arguments of `HarmonicHead` other than its first three.
        seanet_config: keyword arguments of `encodec.modules.SEANetEncoder` other than `dimension`.
        quantizer_decay, dead_code_threshold, quantizer_dropout: see `ResidualVectorQuantizer`.
        latents_mean, latents_std: of each raw latent channel; see `set_latent_statistics`.
    """

    _supports_gradient_checkpointing = True
    _keep_in_fp32_modules = ["quantizer"]
    _no_split_modules = ["ConvNeXtBackbone", "MelEncoder", "HarmonicHead", "ISTFTHead", "ResidualVectorQuantizer"]
    _repeated_blocks = ["ConvNeXtBlock"]
    # The voice trembles where F0 comes of eight bits.
    _skip_layerwise_casting_patterns = ["norm", r"head\.f0"]
    _group_offload_block_modules = ["encoder", "backbone", "head"]

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = 24000,
        hop_length: int = 320,
        n_fft: int = 1280,
        n_mels: int = 100,
        fine_hop_length: int | None = None,
        fine_n_mels: int = 32,
        channels: int = 1,
        latent_channels: int = 128,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        encoder_type: str | None = "mel",
        encoder_dim: int = 384,
        encoder_intermediate_dim: int = 1152,
        encoder_layers: int = 4,
        decoder_dim: int = 384,
        decoder_intermediate_dim: int = 1152,
        decoder_layers: int = 8,
        head_type: str = "istft",
        head_config: dict | None = None,
        seanet_config: dict | None = None,
        quantizer_decay: float = 0.99,
        dead_code_threshold: float = 0.05,
        quantizer_dropout: float = 0.0,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ):
        super().__init__()
        if channels != 1:
            raise ValueError(f"VocosCodec is mono: channels must be 1, got {channels}.")
        self.encoder = self._build_encoder()
        self.quantizer = ResidualVectorQuantizer(
            latent_channels,
            num_codebooks,
            codebook_size,
            quantizer_decay,
            dead_code_threshold,
            quantizer_dropout,
        )
        self.backbone = ConvNeXtBackbone(latent_channels, decoder_dim, decoder_intermediate_dim, decoder_layers)
        self.head = self._build_head()

    def _build_head(self) -> nn.Module:
        config = self.config
        if config.head_type == "istft":
            return ISTFTHead(config.decoder_dim, config.n_fft, config.hop_length)
        if config.head_type == "harmonic":
            sizes = config.head_config or {}
            return HarmonicHead(config.decoder_dim, config.sampling_rate, config.hop_length, **sizes)
        raise ValueError(f"head_type must be 'istft' or 'harmonic', got {config.head_type!r}.")

    @property
    def takes_f0(self) -> bool:
        return self.config.head_type == "harmonic"

    def _build_encoder(self) -> nn.Module | None:
        config = self.config
        if config.encoder_type == "mel":
            fine, hop = None, config.fine_hop_length
            if hop is not None:
                if config.hop_length % hop:
                    raise ValueError(f"fine_hop_length ({hop}) must divide hop_length ({config.hop_length}).")
                fine = LogMelSpectrogram(config.sampling_rate, 4 * hop, hop, config.fine_n_mels)
            return MelEncoder(
                LogMelSpectrogram(config.sampling_rate, config.n_fft, config.hop_length, config.n_mels),
                fine,
                config.latent_channels,
                config.encoder_dim,
                config.encoder_intermediate_dim,
                config.encoder_layers,
            )
        if config.encoder_type == "seanet":
            from .seanet import build_seanet

            encoder = build_seanet("encoder", dimension=config.latent_channels, **(config.seanet_config or {}))
            if encoder.hop_length != config.hop_length:
                raise ValueError(
                    f"the SEANet encoder's ratios make a hop of {encoder.hop_length}, hop_length says "
                    f"{config.hop_length}: change `seanet_config['ratios']` or `hop_length`."
                )
            return encoder
        if config.encoder_type is not None:
            raise ValueError(f"encoder_type must be 'mel', 'seanet' or None, got {config.encoder_type!r}.")
        return None

    def _encode(self, waveform, sample_mask):
        if self.encoder is None:
            raise ValueError(
                "this VocosCodec is a decoder alone (encoder_type=None): encode with the codec that its "
                "latents come from."
            )
        waveform = apply_mask(waveform, sample_mask).to(self.dtype)
        if self.config.encoder_type == "seanet":
            from .seanet import run_each_length

            frames = self.latent_length(waveform.shape[-1])
            return run_each_length(self.encoder, waveform, sample_mask, frames)
        return self.encoder(waveform, self.latent_mask(sample_mask))

    def _decode(self, latents, latent_mask, f0=None):
        hidden_states = self.backbone(latents.to(self.dtype), latent_mask)
        given, log_f0 = {} if f0 is None else {"f0": f0}, None
        with torch.autocast(latents.device.type, enabled=False):
            waveform = self.head(hidden_states.to(self.dtype), latent_mask, **given)
        if self.config.head_type == "harmonic":
            waveform, log_f0 = waveform
        return waveform.unsqueeze(1).to(latents.dtype), log_f0

    @classmethod
    def from_vocos(
        cls,
        state_dict: Mapping[str, torch.Tensor] | str,
        bandwidth_id: int = 2,
        num_codebooks: int = 8,
        codebook_size: int = 1024,
        sampling_rate: int = 24000,
        encodec=None,
    ) -> VocosCodec:
        """Load the weights that the `vocos` package publishes for EnCodec codes (`vocos-encodec-24khz`).

        Args:
            state_dict: its state dict, or the path of its `pytorch_model.bin`.
            bandwidth_id: row of the adaptive norms to keep, a bandwidth each: 0 … 3 are 1.5, 3, 6 and 12
                kbps. With one row chosen they are plain layer norms.
            num_codebooks: codebooks of that bandwidth at 24 kHz: 2, 4, 8 and 16.
            codebook_size: rows of each.
            sampling_rate: Hz.
            encodec: `EncodecCodec` whose encoder to take, so that the result also encodes; without it
                only `decode`, `quantize` and `codes_to_latents` work.
        """
        if not isinstance(state_dict, Mapping):
            state_dict = torch.load(state_dict, map_location="cpu", weights_only=True)
        weights = {k: v for k, v in state_dict.items() if k.startswith(("backbone.", "head.out."))}
        for name in [k for k in weights if k.endswith("norm.scale.weight")]:
            stem = name.removesuffix("scale.weight")
            weights[f"{stem}weight"] = weights.pop(name)[bandwidth_id]
            weights[f"{stem}bias"] = weights.pop(f"{stem}shift.weight")[bandwidth_id]
        codebooks = state_dict["feature_extractor.codebook_weights"].unflatten(0, (-1, codebook_size))
        weights["quantizer.codebooks"] = codebooks[:num_codebooks]
        if encodec is not None:
            weights.update({f"encoder.{k}": v for k, v in encodec.encoder.state_dict().items()})

        dim, latent_channels, _ = weights["backbone.embed.weight"].shape
        n_fft = weights["head.out.weight"].shape[0] - 2
        model = cls(
            sampling_rate=sampling_rate,
            hop_length=n_fft // 4,
            n_fft=n_fft,
            latent_channels=latent_channels,
            num_codebooks=num_codebooks,
            codebook_size=codebook_size,
            encoder_type=None if encodec is None else "seanet",
            seanet_config=None if encodec is None else encodec.seanet_config,
            decoder_dim=dim,
            decoder_intermediate_dim=weights["backbone.convnext.0.pwconv1.weight"].shape[0],
            decoder_layers=sum(k.endswith(".gamma") for k in weights),
        )
        model.quantizer.initialized.fill_(True)
        weights["quantizer.initialized"] = model.quantizer.initialized
        weights["quantizer.cluster_size"] = torch.ones_like(model.quantizer.cluster_size)
        model.load_state_dict(weights)
        return model.eval()
