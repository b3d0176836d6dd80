"""Export of a pipeline to ONNX graphs, which `OnnxNaturalSpeech2Pipeline` runs without torch."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import nn
from torch.export import Dim

from .. import __version__
from ..audio.mel import LogMelSpectrogram
from ..conversion.weights import check_new_directory
from ..files import whole_folder
from ..masks import lengths_mask
from ..models.attention import Attention
from ..models.codecs.codec import apply_mask
from ..models.codecs.harmonic_head import HarmonicHead
from ..models.codecs.istft_head import ISTFTHead
from ..models.codecs.vocos_codec import MelEncoder, VocosCodec
from ..models.denoiser import DenoiserConditioning
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from ..schedulers.scheduling_euler import NaturalSpeech2EulerScheduler
from .settings import CLASS_NAME, SETTINGS_FILE

# From this version on, Gelu is a single operator.
OPSET = 20
INSTALL = 'pip install "ns2-diffusers[onnx]"'


@dataclass(frozen=True)
class Graph:
    """One graph of the export.

    Args:
        module: the module, in evaluation mode.
        inputs: an example of each input, by name; the last may be a list of tensors of the same kind.
        sizes: per input, names of the dimensions that may vary between calls, by their index.
        outputs: names of the outputs.
    """

    module: nn.Module
    inputs: dict[str, Any]
    sizes: dict[str, Any]
    outputs: Sequence[str]


def export_onnx(pipe: Any, directory: str | Path, int8: bool = False) -> None:
    """Write a pipeline as a directory of ONNX graphs.

    LoRA weights are exported if they are fused (`pipe.fuse_lora()`); the scheduler is that of the pipeline. The
    progress bar of the pipeline counts the graphs and names the one in progress.

    Args:
        pipe: `NaturalSpeech2Pipeline` with a `VocosCodec` that has a mel encoder, and a DDIM, distilled or Euler
            scheduler of this package.
        directory: directory to create.
        int8: store the weights of matrix products as 8-bit integers (dynamic quantisation). Convolutions and the codec
            stay in float32. docs/speed.md has the loss of quality.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: a part of the pipeline cannot be exported, or `directory` exists.
    """
    check_installed()
    check_exportable(pipe)
    check_new_directory(Path(directory))
    graphs = make_graphs(pipe)
    with whole_folder(Path(directory)) as partial, pipe.progress_bar(total=len(graphs)) as bar:
        for name, graph in graphs.items():
            bar.set_description(name)
            folder = partial / name
            folder.mkdir()
            write_graph(graph, folder / "model.onnx")
            if int8 and not name.startswith("codec"):
                quantize(folder / "model.onnx")
            bar.update()
        pipe.tokenizer.save_pretrained(partial / "tokenizer")
        content = json.dumps(settings_of(pipe), ensure_ascii=False, indent=1)
        (partial / SETTINGS_FILE).write_text(content + "\n", encoding="utf-8")


def check_installed() -> None:
    """Raise an ImportError if a library for the export is missing."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

        import onnx  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the export needs onnx, onnxscript and onnxruntime ({error}): {INSTALL}") from error


def check_exportable(pipe: Any) -> None:
    """Raise a ValueError if a part of a pipeline cannot be exported."""
    codec = pipe.codec
    if not isinstance(codec, VocosCodec) or not isinstance(codec.encoder, MelEncoder):
        kind = type(codec).__name__
        if isinstance(codec, VocosCodec):
            kind += f" with an encoder of type {codec.config.encoder_config['type']!r}"
        raise ValueError(f"the codec is a {kind}; only a VocosCodec with an encoder of type 'mel' is exported.")
    if not isinstance(pipe.scheduler, (NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler)):
        raise ValueError(
            f"the scheduler is a {type(pipe.scheduler).__name__}, which has no counterpart without torch: put "
            "NaturalSpeech2DDIMScheduler or NaturalSpeech2EulerScheduler (`from_config(pipe.scheduler.config)`) in "
            "its place before the export."
        )


def settings_of(pipe: Any) -> dict[str, Any]:
    """Settings that the runtime needs in addition to the graphs."""
    codec, denoiser, scheduler = pipe.codec, pipe.denoiser.config, pipe.scheduler
    head = codec.head
    return {
        "_class_name": CLASS_NAME,
        "_ns2_diffusers_version": __version__,
        "pipeline": {
            name: value
            for name, value in pipe.config.items()
            if isinstance(value, (int, float)) and not name.startswith("_")
        },
        "codec": {
            "sampling_rate": codec.sampling_rate,
            "hop_length": codec.hop_length,
            "latent_channels": codec.latent_channels,
            "channels": codec.channels,
            "fingerprint": codec.fingerprint,
            "silence": pipe._silent_latents()[:, 0].tolist(),
            "f0_range": [head.f0_min, head.f0_max] if isinstance(head, HarmonicHead) else None,
            "margins": codec_margins(codec),
        },
        "denoiser": {
            "guidance_embeds": denoiser.guidance_embeds,
            "guidance_range": denoiser.guidance_range,
            "learned_nulls": denoiser.learned_nulls,
            "self_conditioning": denoiser.self_conditioning,
            "patch_size": denoiser.get("patch_size", 1),
        },
        "scheduler": {
            "_class_name": type(scheduler).__name__,
            **{name: value for name, value in scheduler.config.items() if not name.startswith("_")},
            # -log ᾱ from timestep -1 on, whatever schedule or table defines it.
            "integrated_beta": scheduler._integrated_beta_table.tolist(),
        },
    }


def codec_margins(codec: VocosCodec) -> list[int]:
    """Frames before and after a piece that the graph for samples needs."""
    # A decoder with an inverse STFT is one graph that includes its backbone.
    head: Any = codec.head
    return [frames + (0 if codec.takes_f0 else codec.backbone.margin) for frames in head.margins]


def make_graphs(pipe: Any) -> dict[str, Graph]:
    """The graphs of a pipeline by name, made from float32 copies of its models on the CPU."""

    def part(name: str) -> Any:
        model = copy.deepcopy(getattr(pipe, name)).cpu().eval()
        if model.dtype != torch.float32:
            model = model.float()
        for module in model.modules():
            if isinstance(module, Attention):
                module.set_processor(plain_attention)
        return model

    codec, denoiser, adaptor = part("codec"), part("denoiser"), part("variance_adaptor")
    prompt_encoder, phoneme_encoder = part("prompt_encoder"), part("phoneme_encoder")
    channels, width = codec.latent_channels, adaptor.config.hidden_size
    patch = denoiser.config.get("patch_size", 1)
    batch, symbols, prompt_frames = Dim("batch", max=4096), Dim("symbols", max=8192), Dim("prompt_frames", max=2**20)
    patches = Dim("patches", max=2**20)
    frames = patch * patches if patch > 1 else patches
    b, n, p, t = 2, 7, 11, 12 * patch
    prompt = {"prompt": torch.randn(b, p, width), "prompt_mask": lengths_mask([p, p - 3])}
    of_prompt = {"prompt": {0: batch, 1: prompt_frames}, "prompt_mask": {0: batch, 1: prompt_frames}}
    mask = {"mask": lengths_mask([t, t - 5])}
    of_mask = {"mask": {0: batch, 1: frames}}

    graphs = {
        "prompt_encoder": Graph(
            PromptEncoderGraph(prompt_encoder),
            {"latents": torch.randn(b, channels, p), "prompt_mask": prompt["prompt_mask"]},
            {"latents": {0: batch, 2: prompt_frames}, "prompt_mask": of_prompt["prompt_mask"]},
            ["prompt"],
        ),
        "text_encoder": Graph(
            TextEncoderGraph(phoneme_encoder, adaptor),
            {"input_ids": torch.ones(b, n, dtype=torch.long), "symbol_mask": lengths_mask([n, n - 2]), **prompt},
            {"input_ids": {0: batch, 1: symbols}, "symbol_mask": {0: batch, 1: symbols}, **of_prompt},
            ["states", "log_durations"],
        ),
        "pitch_predictor": Graph(
            PitchGraph(adaptor),
            {"states": torch.randn(b, t, width), **mask, **prompt},
            {"states": {0: batch, 1: frames}, **of_mask, **of_prompt},
            ["log_pitch"],
        ),
    }
    conditioning = ConditioningGraph(adaptor, denoiser)
    inputs: dict[str, Any] = {"states": torch.randn(b, t, width), "pitch": torch.full((b, t), 150.0), **mask, **prompt}
    inputs["without"] = torch.tensor([False, True])
    sizes: dict[str, Any] = {"states": {0: batch, 1: frames}, "pitch": {0: batch, 1: frames}, **of_mask, **of_prompt}
    with torch.no_grad():
        encoded = conditioning(*inputs.values())
    names = [f"conditioning_{index}" for index in range(len(encoded))]
    graphs["conditioning"] = Graph(conditioning, inputs, sizes | {"without": {0: batch}}, names)
    along = {"transformer": {0: batch, 1: patches}, "wavenet": {0: batch, 2: frames}}
    is_wavenet = not hasattr(denoiser, "blocks")
    of_conditions = along["wavenet" if is_wavenet else "transformer"]
    counts = conditioning.counts
    inputs = {"sample": torch.randn(b, channels, t), "timestep": torch.tensor([500.0, 500.0]), **mask}
    sizes = {"sample": {0: batch, 2: frames}, "timestep": {0: batch}, **of_mask}
    inputs["guidance"] = torch.full((b,), 2.0) if denoiser.config.guidance_embeds else None
    sizes["guidance"] = {0: batch} if denoiser.config.guidance_embeds else None
    estimated = denoiser.config.self_conditioning
    inputs["estimate"] = torch.randn(b, channels, t) if estimated else None
    sizes["estimate"] = {0: batch, 2: frames} if estimated else None
    inputs["conditioning"] = list(encoded)
    sizes["conditioning"] = [of_conditions] * counts[0] + [{0: batch}] * (len(encoded) - counts[0])
    graphs["denoiser"] = Graph(DenoiserGraph(denoiser, counts), inputs, sizes, ["predicted"])
    return graphs | codec_graphs(codec, batch)


def codec_graphs(codec: VocosCodec, batch: Any) -> dict[str, Graph]:
    """Encoder and decoder; a harmonic head has two graphs, because its pulses are computed between them."""
    channels, hop, frames = codec.latent_channels, codec.hop_length, Dim("frames", max=2**20)
    encoder: Any = codec.encoder
    encoder.mel = ExportableMel(encoder.mel)
    if encoder.fine_mel is not None:
        encoder.fine_mel = ExportableMel(encoder.fine_mel)
    b, t = 2, 12
    latents, mask = torch.randn(b, channels, t), lengths_mask([t, t - 5])
    of_latents, of_mask = {0: batch, 2: frames}, {0: batch, 1: frames}
    graphs = {
        # Input: one recording, with its samples grouped in frames.
        "codec_encoder": Graph(
            EncoderGraph(codec), {"waveform": torch.randn(1, t, hop)}, {"waveform": {1: frames}}, ["latents"]
        )
    }
    inputs, sizes = {"latents": latents, "mask": mask}, {"latents": of_latents, "mask": of_mask}
    if isinstance(codec.head, ISTFTHead):
        graphs["codec_decoder"] = Graph(
            WaveformGraph(codec, ExportableISTFTHead(codec.head)), inputs, sizes, ["waveform"]
        )
        return graphs
    head = codec.head
    assert isinstance(head, HarmonicHead)
    graphs["codec_decoder"] = Graph(F0Graph(codec, head), inputs, sizes, ["hidden_states", "raw_latents", "log_f0"])
    by_frame = {0: batch, 1: frames}
    graphs["codec_synthesis"] = Graph(
        SynthesisGraph(head),
        {
            "hidden_states": torch.randn(b, t, codec.config.backbone_config["dim"]),
            "raw_latents": torch.randn(b, t, channels),
            "pulses": torch.randn(b, t, hop),
            "noise": torch.randn(t, hop),
            "mask": mask,
        },
        {
            "hidden_states": by_frame,
            "raw_latents": by_frame,
            "pulses": by_frame,
            "noise": {0: frames},
            "mask": of_mask,
        },
        ["waveform"],
    )
    return graphs


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress warnings of the exporter about its own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in loggers:
            each.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


@torch.no_grad()
def write_graph(graph: Graph, path: Path) -> None:
    """Export one graph to a file with its weights in it."""
    names = []
    for name, value in graph.inputs.items():
        if isinstance(value, list):
            names += [f"{name}_{index}" for index in range(len(value))]
        elif value is not None:
            names.append(name)
    with quietly():
        torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            path,
            input_names=names,
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(graph.sizes[name] for name in graph.inputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def quantize(path: Path) -> None:
    """Store the weights of a graph's matrix products in 8 bits, with one scale per output channel.

    The weights use 7 of the bits: processors without VNNI add pairs of products in 16 bits, which 8 bits overflow.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    import onnx

    model = onnx.load(path)
    # onnxruntime up to 1.26 transposes weights, not the shapes stored for them, and then refuses the graph.
    # It infers all shapes itself.
    del model.graph.value_info[:]
    root = logging.getLogger()
    root.addFilter(is_no_advice)
    try:
        with quietly():
            quantize_dynamic(
                model,
                path,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm"],
            )
    finally:
        root.removeFilter(is_no_advice)


def is_no_advice(record: logging.LogRecord) -> bool:
    """Whether a message is not onnxruntime's advice on image models, which it gives for every model."""
    return "consider to run pre-processing before quantization" not in record.getMessage()


def plain_attention(
    attn: Attention,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    keys_values: tuple[torch.Tensor, torch.Tensor] | None = None,
    rotary: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """`AttnProcessor` in operators that every runtime supports."""
    from diffusers.models.embeddings import apply_rotary_emb

    query = attn.split_heads(attn.to_q(hidden_states))
    if keys_values is None:
        keys_values = attn.keys_values(hidden_states if encoder_hidden_states is None else encoder_hidden_states)
    key, value = keys_values
    if rotary is not None:
        query = apply_rotary_emb(query, rotary, sequence_dim=1)
        key = apply_rotary_emb(key, rotary, sequence_dim=1)
    scores = query.transpose(1, 2) * query.shape[-1] ** -0.5 @ key.permute(0, 2, 3, 1)
    if attention_mask is not None:
        scores = scores + torch.where(attention_mask[:, None, None], 0.0, -1e9)
    attended = scores.softmax(-1) @ value.transpose(1, 2)
    return attn.to_out(attended.transpose(1, 2).flatten(2))


class PromptEncoderGraph(nn.Module):
    """Latents of voices to prompt states."""

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder

    def forward(self, latents: torch.Tensor, prompt_mask: torch.Tensor) -> torch.Tensor:
        return self.encoder(latents, prompt_mask).last_hidden_state


class TextEncoderGraph(nn.Module):
    """Phonemes to phoneme states and log(1 + frames)."""

    def __init__(self, encoder: Any, adaptor: Any):
        super().__init__()
        self.encoder, self.predictor = encoder, adaptor.duration_predictor

    def forward(self, input_ids, symbol_mask, prompt, prompt_mask):
        states = self.encoder(input_ids, symbol_mask, prompt, prompt_mask).last_hidden_state
        return states, self.predictor(states, symbol_mask, prompt, prompt_mask)


class PitchGraph(nn.Module):
    """Frame states to log F0."""

    def __init__(self, adaptor: Any):
        super().__init__()
        self.predictor = adaptor.pitch_predictor

    def forward(self, states, mask, prompt, prompt_mask):
        return self.predictor(states, mask, prompt, prompt_mask)


class ConditioningGraph(nn.Module):
    """Frame states and F0 to the tensors that are the same at every step.

    `counts`: numbers of condition tensors, of key and value tensors of the prompt, and of prompt embeddings.
    """

    def __init__(self, adaptor: Any, denoiser: Any):
        super().__init__()
        self.embedding, self.denoiser = adaptor.pitch_embedding, denoiser
        self.boundaries: torch.Tensor
        self.register_buffer("boundaries", adaptor.pitch_boundaries())
        self.counts = (0, 0, 0)

    def forward(self, states, pitch, mask, prompt, prompt_mask, without):
        # Equals `bucketize`, which cannot be exported: the number of boundaries below.
        bins = (pitch.unsqueeze(-1) > self.boundaries).sum(-1)
        condition = (states + self.embedding(bins)) * mask.unsqueeze(-1)
        condition, prompt = self.denoiser.replace_with_nulls(condition, prompt, without, without)
        encoded = self.denoiser.encode_conditioning(condition, prompt, prompt_mask, sample_mask=mask)
        pairs = [each for pair in encoded.prompt_keys_values for each in pair]
        embedding = [] if encoded.prompt_embedding is None else [encoded.prompt_embedding]
        self.counts = (len(encoded.conditions), len(pairs), len(embedding))
        return (*encoded.conditions, *pairs, *embedding)


class DenoiserGraph(nn.Module):
    """One call of the denoiser."""

    def __init__(self, denoiser: Any, counts: tuple[int, int, int]):
        super().__init__()
        self.denoiser, self.counts = denoiser, counts

    def forward(self, sample, timestep, mask, guidance, estimate, conditioning):
        conditions, pairs, embeddings = self.counts
        keys_values = conditioning[conditions : conditions + pairs]
        encoded = DenoiserConditioning(
            tuple(conditioning[:conditions]),
            tuple(zip(keys_values[::2], keys_values[1::2], strict=True)),
            conditioning[-1] if embeddings else None,
        )
        return self.denoiser(
            sample, timestep, sample_mask=mask, guidance=guidance, conditioning=encoded, self_condition=estimate
        ).sample


class EncoderGraph(nn.Module):
    """A recording (1, T, hop_length) to its quantised latents (1, C, T)."""

    def __init__(self, codec: VocosCodec):
        super().__init__()
        self.codec = codec

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.codec.quantize(self.codec.encode(waveform.flatten(1).unsqueeze(1)))[0]


class DecoderGraph(nn.Module):
    """Latents (B, C, T) through the decoder's backbone."""

    def __init__(self, codec: VocosCodec, head: nn.Module):
        super().__init__()
        self.codec, self.head = codec, head

    def hidden_states(self, latents: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (B, T, dim), and the raw latents (B, T, C)."""
        latents = apply_mask(self.codec.denormalize_latents(latents), mask)
        return self.codec.backbone(latents, mask), latents.transpose(1, 2)


class WaveformGraph(DecoderGraph):
    """Latents to samples (B, T * hop_length)."""

    def forward(self, latents: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden_states(latents, mask)[0], mask)


class F0Graph(DecoderGraph):
    """Latents to the inputs of a harmonic head: hidden states, raw latents, log F0."""

    def forward(self, latents, mask):
        hidden_states, raw = self.hidden_states(latents, mask)
        log_f0 = self.head.f0(hidden_states).squeeze(-1)
        if getattr(self.head, "linear_f0", None) is not None:
            log_f0 = log_f0 + self.head.linear_f0(raw).squeeze(-1)
        return hidden_states, raw, log_f0


class ExportableMel(nn.Module):
    """`LogMelSpectrogram` with its Fourier transform as a convolution, for whole hops."""

    def __init__(self, mel: LogMelSpectrogram):
        super().__init__()
        self.n_fft, self.hop_length, self.floor, self.filters = mel.n_fft, mel.hop_length, mel.floor, mel.filters
        self.basis: torch.Tensor
        self.register_buffer("basis", fourier_basis(mel.n_fft, mel.n_fft))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        left = (self.n_fft - self.hop_length) // 2
        padded = nn.functional.pad(waveform, (left, self.n_fft - self.hop_length - left))
        real, imaginary = nn.functional.conv1d(padded.unsqueeze(1), self.basis, stride=self.hop_length).chunk(2, 1)
        magnitude = (real.square() + imaginary.square()).sqrt()
        return (self.filters @ magnitude).clamp(min=self.floor).log()


class ExportableISTFTHead(nn.Module):
    """`ISTFTHead` with transform, window and overlap-add in one transposed convolution."""

    def __init__(self, head: ISTFTHead):
        super().__init__()
        self.out, self.n_fft, self.hop_length = head.out, head.n_fft, head.hop_length
        window = torch.hann_window(head.n_fft)
        self.basis: torch.Tensor
        self.window: torch.Tensor
        self.register_buffer("basis", inverse_basis(head.n_fft) * window)
        self.register_buffer("window", window.square().view(1, 1, -1))

    def forward(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        log_magnitude, phase = self.out(hidden_states).transpose(1, 2).chunk(2, dim=1)
        keep = mask.unsqueeze(1).to(phase.dtype)
        magnitude = log_magnitude.exp().clamp(max=1e2) * keep
        spectrum = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        waveform = self._add(spectrum, self.basis) / self._add(keep, self.window).clamp(min=1e-11)
        return (waveform * keep.transpose(1, 2)).flatten(1)

    def _add(self, frames: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        """(B, n, T) to (B, T, hop_length)."""
        skip = (self.n_fft - self.hop_length) // 2
        summed = nn.functional.conv_transpose1d(frames, basis, stride=self.hop_length)[:, 0]
        samples = frames.shape[2] * self.hop_length
        return summed[:, skip : skip + samples].unflatten(1, (frames.shape[2], self.hop_length))


class SynthesisGraph(nn.Module):
    """The filters of a harmonic head for pulses (B, T, hop_length) and noise (T, hop_length), in real arithmetic."""

    def __init__(self, head: HarmonicHead):
        super().__init__()
        self.head = head
        window = torch.hann_window(2 * head.fine_hop_length, dtype=torch.float64)
        self.forwards: torch.Tensor
        self.backwards: torch.Tensor
        self.phase: torch.Tensor
        self.register_buffer("forwards", fourier_basis(2 * head.fine_hop_length, head.n_fft, window))
        self.register_buffer("backwards", inverse_basis(head.n_fft))
        self.register_buffer("phase", phase_matrix(head.n_fft))

    def forward(self, hidden_states, raw_latents, pulses, noise, mask):
        head, fine = self.head, self.head.fine_hop_length
        count = head.hop_length // fine
        keep = mask.unsqueeze(-1).to(pulses.dtype)
        frames = mask.shape[1]
        fine_mask = mask.unsqueeze(-1).expand(-1, -1, count).flatten(1)
        log_magnitudes = self._log_magnitudes(hidden_states, raw_latents, fine_mask, count)
        spectrum = 0.0
        for index, excitation in enumerate((pulses * keep, noise.unsqueeze(0) * keep)):
            log_magnitude = log_magnitudes[:, index].clamp(max=5.0)
            magnitude = apply_mask(log_magnitude.exp(), fine_mask)
            phase = self.phase @ log_magnitude
            real, imaginary = self._spectra(excitation.flatten(1)).chunk(2, dim=1)
            cosine, sine = magnitude * phase.cos(), magnitude * phase.sin()
            product = torch.cat([real * cosine - imaginary * sine, real * sine + imaginary * cosine], dim=1)
            spectrum = spectrum + product
        waveform = nn.functional.conv_transpose1d(spectrum, self.backwards, stride=fine)[:, 0]
        waveform = waveform[:, fine // 2 : fine // 2 + frames * head.hop_length]
        return (waveform.unflatten(1, (frames, head.hop_length)) * keep).flatten(1)

    def _log_magnitudes(self, hidden_states, raw_latents, fine_mask, count):
        """(B, 2, bins, fine frames)."""
        head, pattern = self.head, "batch time (fine dim) -> batch dim (time fine)"
        fine = rearrange(head.upsample(hidden_states), pattern, fine=count)
        log_magnitudes = head.out(head.backbone(fine, fine_mask)).transpose(1, 2)
        if getattr(head, "linear", None) is not None:
            log_magnitudes = log_magnitudes + rearrange(head.linear(raw_latents), pattern, fine=count)
        return log_magnitudes.unflatten(1, (2, -1))

    def _spectra(self, waveform: torch.Tensor) -> torch.Tensor:
        half = self.head.fine_hop_length // 2
        padded = nn.functional.pad(waveform, (half, half))
        return nn.functional.conv1d(padded.unsqueeze(1), self.forwards, stride=self.head.fine_hop_length)


def fourier_basis(length: int, n_fft: int, window: torch.Tensor | None = None) -> torch.Tensor:
    """Kernels (2 * bins, 1, length) of a convolution that returns the real and then the imaginary parts of windowed
    frames, zero-padded to `n_fft`; the window is Hann's if None."""
    window = torch.hann_window(length, dtype=torch.float64) if window is None else window
    spectra = torch.fft.rfft(torch.diag(window), n_fft).T
    return torch.cat([spectra.real, spectra.imag]).unsqueeze(1).float()


def inverse_basis(n_fft: int) -> torch.Tensor:
    """Kernels (2 * bins, 1, n_fft) of a transposed convolution from real and then imaginary parts to samples."""
    identity = torch.eye(n_fft // 2 + 1, dtype=torch.complex128)
    both = torch.cat([torch.fft.irfft(identity, n_fft), torch.fft.irfft(1j * identity, n_fft)])
    return both.unsqueeze(1).float()


def phase_matrix(n_fft: int) -> torch.Tensor:
    """Matrix (bins, bins) from log-magnitudes to minimum phase; see `minimum_phase`."""
    cepstra = torch.fft.irfft(torch.eye(n_fft // 2 + 1, dtype=torch.float64), n_fft)
    fold = torch.full((n_fft,), 2.0, dtype=torch.float64)
    fold[0] = fold[n_fft // 2] = 1.0
    fold[n_fft // 2 + 1 :] = 0.0
    return torch.fft.rfft(cepstra * fold).imag.T.float()
