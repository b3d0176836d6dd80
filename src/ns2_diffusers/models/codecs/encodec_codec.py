"""EnCodec (arXiv 2210.13438): the published 24 kHz and 48 kHz models, and any other size to load or train."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config

from ..compact_weights import CompactModelMixin
from ..lora import LoraModelMixin
from ..offloading import runs_like_forward
from .codec import CodecMixin, CodecOutput, DecoderOutput, apply_mask
from .residual_vector_quantizer import ResidualVectorQuantizer
from .seanet import build_seanet, encode_in_chunks, run_each_length, run_layers


class EncodecCodec(CodecMixin, LoraModelMixin, CompactModelMixin, ConfigMixin):
    """SEANet encoder and decoder of transformers' `EncodecModel` with this package's residual vector quantiser.

    The defaults are NaturalSpeech 2's codec (arXiv 2304.09116, section 3.1 and table 11): 16 kHz, hop 200,
    256 channels, 16 codebooks of 1024. `num_filters` follows from the paper's 27 M parameters, codebooks included.

    A model with `chunk_length_s` (the published 48 kHz one) works on one-second chunks that overlap by a
    hundredth. Their latents are concatenated, so there are `latent_length(samples)` frames, one per cent
    more than samples / hop_length, and `decode` joins the chunks with a cross-fade. With `normalize` each chunk
    is scaled to unit volume, which the latents do not contain: `encode_scales` returns the volumes and
    `decode(latents, scales=...)` takes them; without them every chunk has unit volume.

    Args:
        sampling_rate: Hz.
        channels: number of audio channels.
        latent_channels: C.
        num_codebooks, codebook_size: Q and K.
        ratios: upsampling strides of the decoder; their product is the hop.
        num_filters: channels at the sampling rate; they double at each stride.
        num_residual_layers, residual_kernel_size, dilation_base, compress, use_conv_shortcut: settings of the
            residual blocks.
        kernel_size, last_kernel_size: kernel sizes of the outer convolutions.
        lstm_layers: number of layers over latent frames, in encoder and decoder.
        causal, norm, pad_mode, trim_right_ratio: settings of the convolutions; norm is "weight_norm" or
            "time_group_norm".
        normalize, chunk_length_s, overlap: see above; `overlap` is a share of the chunk.
        quantizer_decay, dead_code_threshold, quantizer_dropout: see `ResidualVectorQuantizer`.
        latents_mean, latents_std: statistics of each raw latent channel; see `set_latent_statistics`.

    Raises:
        ValueError: `normalize` without `chunk_length_s`, an unknown norm, or no LSTM layer.
    """

    _supports_gradient_checkpointing = True
    _keep_in_fp32_modules = ["quantizer"]
    _no_split_modules = ["EncodecEncoder", "EncodecDecoder", "ResidualVectorQuantizer"]
    _repeated_blocks = ["EncodecResnetBlock"]
    _skip_layerwise_casting_patterns = ["norm"]

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = 16000,
        channels: int = 1,
        latent_channels: int = 256,
        num_codebooks: int = 16,
        codebook_size: int = 1024,
        ratios: Sequence[int] = (5, 5, 4, 2),
        num_filters: int = 40,
        num_residual_layers: int = 1,
        residual_kernel_size: int = 3,
        dilation_base: int = 2,
        compress: int = 2,
        use_conv_shortcut: bool = True,
        kernel_size: int = 7,
        last_kernel_size: int = 7,
        lstm_layers: int = 2,
        causal: bool = True,
        norm: str = "weight_norm",
        pad_mode: str = "reflect",
        trim_right_ratio: float = 1.0,
        normalize: bool = False,
        chunk_length_s: float | None = None,
        overlap: float = 0.01,
        quantizer_decay: float = 0.99,
        dead_code_threshold: float = 0.05,
        quantizer_dropout: float = 0.0,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ):
        super().__init__()
        if normalize and chunk_length_s is None:
            raise ValueError("normalize=True needs chunk_length_s, the seconds that share one volume (EnCodec's: 1).")
        self.encoder = build_seanet("encoder", dimension=latent_channels, **self.seanet_config)
        self.decoder = build_seanet(
            "decoder", dimension=latent_channels, trim_right_ratio=trim_right_ratio, **self.seanet_config
        )
        self.quantizer = ResidualVectorQuantizer(
            latent_channels,
            num_codebooks,
            codebook_size,
            quantizer_decay,
            dead_code_threshold,
            quantizer_dropout,
        )
        self.gradient_checkpointing = False

    def check_takes_adapters(self) -> None:
        super().check_takes_adapters()
        if self.config.norm == "weight_norm":
            raise ValueError(
                "EncodecCodec takes no LoRA adapters where norm is 'weight_norm': the weight of a convolution exists "
                "only while it runs. Train the codec as a whole (examples/train_codec.py --pretrained_codec)."
            )

    @property
    def seanet_config(self) -> dict:
        """Settings of `build_seanet` for encoder and decoder, other than `dimension`."""
        config = self.config
        return {
            "channels": config.channels,
            "n_filters": config.num_filters,
            "n_residual_layers": config.num_residual_layers,
            "ratios": list(config.ratios),
            "norm": config.norm,
            "kernel_size": config.kernel_size,
            "last_kernel_size": config.last_kernel_size,
            "residual_kernel_size": config.residual_kernel_size,
            "dilation_base": config.dilation_base,
            "causal": config.causal,
            "pad_mode": config.pad_mode,
            "true_skip": not config.use_conv_shortcut,
            "compress": config.compress,
            "lstm": config.lstm_layers,
        }

    @property
    def hop_length(self) -> int:
        """Samples per latent frame."""
        return math.prod(self.config.ratios)

    @runs_like_forward
    def encode(
        self,
        waveform: torch.Tensor,
        sample_mask: torch.Tensor | None = None,
        chunk_length_s: float | None = 30.0,
    ) -> torch.Tensor:
        """Waveform (B, channels, samples) in [-1, 1] → standardised latents (B, C, T), before quantisation.

        Args:
            sample_mask: (B, samples) boolean; frames without audio come out zero.
            chunk_length_s: audio at least twice as long is encoded in pieces of this many seconds, to limit
                memory; None encodes the whole at once. A causal model carries its state across, so the result is the
                same. Other models need the whole, unless their config has `chunk_length_s`, which is then used.
        """
        self._check_waveform(waveform, sample_mask)
        latents = self.normalize_latents(self._encode(waveform, sample_mask, chunk_length_s))
        return apply_mask(latents, self.latent_mask(sample_mask))

    def encode_scales(self, waveform: torch.Tensor, sample_mask: torch.Tensor | None = None) -> torch.Tensor | None:
        """Volume of each chunk that `encode` removes, (B, 1, chunks); None without `normalize`."""
        if not self.config.normalize:
            return None
        chunks = len(self._chunks(waveform.shape[-1]))
        return run_each_length(self._volumes, waveform, sample_mask, chunks)

    @runs_like_forward
    def decode(
        self,
        latents: torch.Tensor,
        latent_mask: torch.Tensor | None = None,
        scales: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Standardised latents (B, C, T), quantised or not → waveform (B, channels, T * hop_length).

        Args:
            latent_mask: (B, T) boolean; samples of masked frames come out zero.
            scales: (B, 1, chunks) from `encode_scales`, for a model with `normalize`; 1 if not given.

        A model with `chunk_length_s` returns the span of its overlapping chunks, less than T * hop_length.
        """
        self._check_latents(latents)
        return self._decode(apply_mask(self.denormalize_latents(latents), latent_mask), latent_mask, scales).waveform

    def forward(  # type: ignore[override]
        self,
        waveform: torch.Tensor,
        sample_mask: torch.Tensor | None = None,
        return_dict: bool = True,
        quantize: bool = True,
    ) -> CodecOutput | tuple:
        """Encode, quantise and decode, at the original volume; arguments are those of every codec."""
        scales = self.encode_scales(waveform, sample_mask)
        return super().forward(waveform, sample_mask, return_dict, quantize, scales=scales)

    # -- chunks --

    def latent_length(self, samples: int) -> int:
        """Number of latent frames of `samples` samples, in all chunks together."""
        return sum(math.ceil((end - start) / self.hop_length) for start, end in self._chunks(samples))

    def latent_mask(self, sample_mask: torch.Tensor | None) -> torch.Tensor | None:
        """Mask of samples (B, samples) → mask of latent frames (B, T), True where a frame has any audio."""
        if sample_mask is None:
            return None
        lengths = [self.latent_length(samples) for samples in sample_mask.sum(dim=-1).tolist()]
        frames = torch.arange(self.latent_length(sample_mask.shape[-1]), device=sample_mask.device)
        return frames < torch.tensor(lengths, device=sample_mask.device).unsqueeze(1)

    def _chunk_sizes(self) -> tuple[int, int]:
        """Samples of a chunk, and between the starts of two chunks."""
        length = int(self.config.chunk_length_s * self.sampling_rate)
        return length, max(1, int((1 - self.config.overlap) * length))

    def _chunks(self, samples: int) -> list[tuple[int, int]]:
        if self.config.chunk_length_s is None:
            return [(0, samples)]
        length, stride = self._chunk_sizes()
        # Audio that the previous chunk covers completely is not a chunk (EnCodec encodes it again): otherwise the ends
        # of chunks could not be derived from the number of frames.
        starts = range(0, max(1, samples - (length - stride)), stride)
        return [(start, min(start + length, samples)) for start in starts]

    def _volumes(self, waveform):
        """(B, channels, samples) → root mean square of each chunk, (B, 1, chunks)."""
        mono = waveform.float().mean(dim=1, keepdim=True)
        chunks = (mono[..., start:end] for start, end in self._chunks(mono.shape[-1]))
        return torch.stack([chunk.square().mean(dim=-1).sqrt() for chunk in chunks], dim=-1) + 1e-8

    # -- one length at a time --

    @property
    def _checkpoint(self):
        """The function that recomputes a layer in the backward pass, or None."""
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func
        return None

    def _encode(self, waveform, sample_mask, chunk_length_s=None):
        def encode_unpadded(audio):
            return self._encode_unpadded(audio, chunk_length_s).to(waveform.dtype)

        return run_each_length(encode_unpadded, waveform, sample_mask, self.latent_length(waveform.shape[-1]))

    def _encode_unpadded(self, waveform, chunk_length_s):
        chunks = [waveform[..., start:end] for start, end in self._chunks(waveform.shape[-1])]
        if self.config.normalize:
            volumes = self._volumes(waveform).split(1, dim=-1)
            chunks = [chunk.float() / volume for chunk, volume in zip(chunks, volumes, strict=True)]
        layers = self.encoder.layers
        if self.config.chunk_length_s is None and self.config.causal and chunk_length_s is not None:
            hops = max(1, int(chunk_length_s * self.frame_rate))
            latents = encode_in_chunks(layers, chunks[0].to(self.dtype), hops * self.hop_length, self._checkpoint)
        else:
            latents = [run_layers(layers, chunk.to(self.dtype), self._checkpoint) for chunk in chunks]
        return torch.cat(list(latents), dim=-1)

    def _decode(self, latents, latent_mask, scales=None):
        extras = () if scales is None else (scales.to(latents.dtype),)
        samples = self._decoded_length(latents.shape[-1])
        return DecoderOutput(run_each_length(self._decode_unpadded, latents, latent_mask, samples, *extras))

    def _decoded_length(self, frames):
        if self.config.chunk_length_s is None:
            return frames * self.hop_length
        length, stride = self._chunk_sizes()
        chunk_frames = math.ceil(length / self.hop_length)
        last = (frames - 1) // chunk_frames
        return last * stride + (frames - last * chunk_frames) * self.hop_length

    def _decode_unpadded(self, latents, scales=None):
        pieces = [latents]
        if self.config.chunk_length_s is not None:
            pieces = latents.split(math.ceil(self._chunk_sizes()[0] / self.hop_length), dim=-1)
        decoded = [run_layers(self.decoder.layers, piece.to(self.dtype), self._checkpoint) for piece in pieces]
        if scales is not None:
            decoded = [piece * scales[..., i : i + 1] for i, piece in enumerate(decoded)]
        if len(decoded) > 1:
            return self._cross_fade(decoded).to(latents.dtype)
        return decoded[0].to(latents.dtype)

    def _cross_fade(self, pieces):
        """Overlap-add with triangular windows as long as the first piece, divided by their sum, as in EnCodec."""
        _, stride = self._chunk_sizes()
        ramp = torch.linspace(0, 1, pieces[0].shape[-1] + 2, device=pieces[0].device)[1:-1]
        triangle = 0.5 - (ramp - 0.5).abs()
        total = stride * (len(pieces) - 1) + pieces[-1].shape[-1]
        waveform = pieces[0].new_zeros(*pieces[0].shape[:-1], total, dtype=torch.float32)
        weight = torch.zeros_like(waveform[0, 0])
        for index, piece in enumerate(pieces):
            where = slice(index * stride, index * stride + piece.shape[-1])
            waveform[..., where] += triangle[: piece.shape[-1]] * piece
            weight[where] += triangle[: piece.shape[-1]]
        return waveform / weight
