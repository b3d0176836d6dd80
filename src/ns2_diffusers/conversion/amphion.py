"""Converts Amphion's NaturalSpeech 2 (github.com/open-mmlab/Amphion, `models/tts/naturalspeech2`) to a pipeline."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..models.phoneme_encoder import PhonemeEncoder
from ..models.speech_prompt_encoder import SpeechPromptEncoder
from ..models.variance_adaptor import VarianceAdaptor
from ..models.wavenet_denoiser import WaveNetDenoiser
from ..pipelines.pipeline_naturalspeech2 import NaturalSpeech2Pipeline
from ..schedulers.scheduling_euler import NaturalSpeech2EulerScheduler
from ..text.tokenizer import NaturalSpeech2Tokenizer
from .encodec import from_encodec
from .weights import find_file, read_weights

REPOSITORY = "amphion/naturalspeech2_libritts"
BANDWIDTH = 12.0
MODELS = {
    "phoneme_encoder": PhonemeEncoder,
    "prompt_encoder": SpeechPromptEncoder,
    "variance_adaptor": VarianceAdaptor,
    "denoiser": WaveNetDenoiser,
}

_PREDICTORS = ("prior_encoder.duration_predictor", "prior_encoder.pitch_predictor")
# Settings of this package, and their places in the `model` section of Amphion's config. If that has a setting twice
# that exists once here, both values must agree.
_SIZES = {
    "phoneme_encoder": {
        "vocab_size": ["prior_encoder.vocab_size"],
        "hidden_size": ["prior_encoder.encoder.encoder_hidden"],
        "num_layers": ["prior_encoder.encoder.encoder_layer"],
        "num_attention_heads": ["prior_encoder.encoder.encoder_head"],
        "filter_size": ["prior_encoder.encoder.conv_filter_size"],
        "kernel_size": ["prior_encoder.encoder.conv_kernel_size"],
        "dropout": ["prior_encoder.encoder.encoder_dropout"],
    },
    "prompt_encoder": {
        "latent_channels": ["latent_dim"],
        "hidden_size": ["prompt_encoder.encoder_hidden"],
        "num_layers": ["prompt_encoder.encoder_layer"],
        "num_attention_heads": ["prompt_encoder.encoder_head"],
        "filter_size": ["prompt_encoder.conv_filter_size"],
        "kernel_size": ["prompt_encoder.conv_kernel_size"],
        "dropout": ["prompt_encoder.encoder_dropout"],
    },
    "variance_adaptor": {
        "hidden_size": [f"{p}.{name}" for p in _PREDICTORS for name in ("input_size", "filter_size")],
        "num_predictor_layers": [f"{p}.conv_layers" for p in _PREDICTORS],
        "duration_kernel_size": ["prior_encoder.duration_predictor.kernel_size"],
        "pitch_kernel_size": ["prior_encoder.pitch_predictor.kernel_size"],
        "cross_attention_every": [f"{p}.cross_attn_per_layer" for p in _PREDICTORS],
        "num_attention_heads": [f"{p}.attn_head" for p in _PREDICTORS],
        "dropout": [f"{p}.drop_out" for p in _PREDICTORS],
        "pitch_bins": ["prior_encoder.pitch_bins_num"],
        "pitch_min": ["prior_encoder.pitch_min"],
        "pitch_max": ["prior_encoder.pitch_max"],
    },
    "denoiser": {
        "latent_channels": ["latent_dim", "diffusion.wavenet.input_size", "diffusion.wavenet.out_size"],
        "hidden_size": ["diffusion.wavenet.hidden_size", "query_emb.hidden_size"],
        "condition_dim": ["prior_encoder.encoder.encoder_hidden"],
        "num_layers": ["diffusion.wavenet.num_layers"],
        "cross_attention_every": ["diffusion.wavenet.cross_attn_per_layer"],
        "dilation_cycle": ["diffusion.wavenet.dilation_cycle"],
        "num_attention_heads": ["diffusion.wavenet.attn_head", "query_emb.head_num"],
        "num_query_tokens": ["query_emb.query_token_num"],
        "dropout": ["diffusion.wavenet.drop_out"],
    },
    "scheduler": {
        "beta_start": ["diffusion.beta_min"],
        "beta_end": ["diffusion.beta_max"],
        "solver": ["diffusion.ode_solver"],
    },
}
# Sizes of the published model that differ from the paper's, which are the defaults here.
_PUBLISHED = {
    "phoneme_encoder": {"vocab_size": 100},
    "prompt_encoder": {"latent_channels": 128},
    "variance_adaptor": {},
    "denoiser": {"latent_channels": 128},
    "scheduler": {},
}
# Behaviour of Amphion's code that no setting changes.
_ALWAYS: dict[str, dict[str, Any]] = {
    "phoneme_encoder": {"position_embedding": "none", "prompt_conditioning": True},
    "prompt_encoder": {"position_embedding": "none"},
    "variance_adaptor": {},
    "denoiser": {"continuous_time": True, "learned_nulls": False},
    "scheduler": {},
}
# Settings for which any other value would be another model.
_EXPECTED = {
    "prior_encoder.encoder.use_cln": True,
    "prompt_encoder.use_cln": False,
    "diffusion.diffusion_type": "diffusion",
    "diffusion.sigma": 1.0,
    "diffusion.noise_factor": 1.0,
}

_ENCODER = {
    "layers.#.self_attn": "blocks.#.attention",
    "layers.#.ffn.ffn_1": "blocks.#.feed_forward.conv",
    "layers.#.ffn.ffn_2": "blocks.#.feed_forward.linear",
}
_PREDICTOR = {
    "conv.#.0": "convs.#",
    "conv.#.2": "norms.#",
    "cattn.#.0": "attentions.#",
    "cattn.#.1": "attention_norms.#",
    "linear": "proj_out",
}
# Amphion's names of modules and those of this package; # stands for the number of a layer.
_NAMES = {
    "prior_encoder": {
        "enc_emb_tokens": "phoneme_encoder.embedding",
        "pitch_embedding": "variance_adaptor.pitch_embedding",
    },
    "prior_encoder.encoder": {
        "layers.#.ln_1.style": "phoneme_encoder.encoder.blocks.#.norm1.scale_shift",
        "layers.#.ln_2.style": "phoneme_encoder.encoder.blocks.#.norm2.scale_shift",
        "last_ln.style": "phoneme_encoder.encoder.norm.scale_shift",
        **{theirs: f"phoneme_encoder.encoder.{ours}" for theirs, ours in _ENCODER.items()},
    },
    "prior_encoder.duration_predictor": {
        theirs: f"variance_adaptor.duration_predictor.{ours}" for theirs, ours in _PREDICTOR.items()
    },
    "prior_encoder.pitch_predictor": {
        theirs: f"variance_adaptor.pitch_predictor.{ours}" for theirs, ours in _PREDICTOR.items()
    },
    "prompt_encoder": {
        "layers.#.ln_1": "prompt_encoder.encoder.blocks.#.norm1",
        "layers.#.ln_2": "prompt_encoder.encoder.blocks.#.norm2",
        "last_ln": "prompt_encoder.encoder.norm",
        **{theirs: f"prompt_encoder.encoder.{ours}" for theirs, ours in _ENCODER.items()},
    },
    "diffusion.diff_estimator": {
        "in_proj": "denoiser.proj_in",
        "mlp.0": "denoiser.time_embedding.mlp.linear_1",
        "mlp.2": "denoiser.time_embedding.mlp.linear_2",
        "cond_ln": "denoiser.condition_norm",
        "layers.#.dilated_conv": "denoiser.layers.#.dilated_conv",
        "layers.#.diffusion_proj": "denoiser.layers.#.time_proj",
        "layers.#.cond_proj": "denoiser.layers.#.condition_proj",
        "layers.#.out_proj": "denoiser.layers.#.proj_out",
        "layers.#.ln": "denoiser.layers.#.attention_norm",
        "layers.#.attn": "denoiser.layers.#.attention",
        "layers.#.film.gain": "denoiser.layers.#.film_gain",
        "layers.#.film.bias": "denoiser.layers.#.film_bias",
        "skip_proj": "denoiser.skip_proj",
        "out_proj": "denoiser.proj_out",
    },
    "": {
        "prompt_lin": "prompt_encoder.proj_in",
        "query_emb.weight": "denoiser.prompt_queries.tokens",
        "query_attn": "denoiser.prompt_queries.attention",
    },
}
_PATTERNS = [
    (re.compile(re.escape(f"{room}.{theirs}".lstrip(".")).replace(r"\#", r"(\d+)") + r"(\..+|)"), ours)
    for room, names in _NAMES.items()
    for theirs, ours in names.items()
]


def from_amphion(
    checkpoint: str | Path | Mapping[str, torch.Tensor] = REPOSITORY,
    config: str | Path | Mapping[str, Any] | None = None,
    codec: Any = "encodec_24khz",
    revision: str | None = None,
) -> NaturalSpeech2Pipeline:
    """Make a pipeline of a checkpoint of Amphion's NaturalSpeech 2.

    The denoiser has never been without text and prompt, so its learned nulls, here zeros, mean nothing until
    it has been trained further with `condition_dropout` and `prompt_dropout`: leave `guidance_scale` at 1.
    Its `midpoint` takes the second slope at another time than ours; 500 steps of `euler` are its default.

    Args:
        checkpoint: a state dict, its file (`pytorch_model.bin`, or safetensors), a directory that has one, or
            a hub repository.
        config: its JSON (`exp_config_base.json`, with a `model` section), or that read; the sizes of the
            published model when None.
        codec: the codec of the latents: an `EncodecCodec`, or an argument of `from_encodec`, of which
            the 16 codebooks of 12 kbps are kept.
        revision: commit of the hub repository; the newest if None.

    Raises:
        ValueError: a tensor is missing, unexpected or of another size than the config says; the codebooks of the
            codec are not those of the checkpoint; the config is of another kind of model.
    """
    if isinstance(checkpoint, Mapping):
        source, weights = "the given state dict", dict(checkpoint)
    else:
        source, weights = str(checkpoint), read_weights(find_file(checkpoint, "pytorch_model.bin", revision))
    settings = read_settings(config)
    if isinstance(codec, (str, Path)):
        codec_source, codec = str(codec), from_encodec(codec, bandwidth=BANDWIDTH)
    else:
        codec_source = f"the given {type(codec).__name__}"
    with torch.device("meta"):
        models = {name: make(**settings[name]) for name, make in MODELS.items()}

    _check_codebooks(weights, source, codec, codec_source)
    _fold_buffers(weights, models["variance_adaptor"])
    _load(models, weights)
    return NaturalSpeech2Pipeline(
        codec=codec,
        scheduler=NaturalSpeech2EulerScheduler(**settings["scheduler"]),
        # Amphion's tokenizer reads only words, so there are no symbols for silence around them.
        tokenizer=NaturalSpeech2Tokenizer(backend="arpabet", bos_token=None, eos_token=None),
        **models,
    )


def read_settings(config) -> dict[str, dict]:
    """Settings of each component, from a config as `from_amphion` takes it."""
    if config is None:
        return {name: _PUBLISHED[name] | always for name, always in _ALWAYS.items()}
    if not isinstance(config, Mapping):
        try:
            config = json.loads(Path(config).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"the config {str(config)!r} is not plain JSON ({error}); give the file that has the model "
                "section, and take comments out of it."
            ) from error
    if "model" not in config:
        raise ValueError(
            f"the config has {', '.join(config) or 'nothing'} and no model section: give "
            "exp_config_base.json, which exp_config.json is based on."
        )
    values = _flatten(config["model"])
    for path, expected in _EXPECTED.items():
        if values.get(path, expected) != expected:
            raise ValueError(f"model.{path} is {values[path]!r} in the config; only {expected!r} can be converted.")
    settings = {
        name: {ours: _read_setting(values, paths) for ours, paths in _SIZES[name].items()} | always
        for name, always in _ALWAYS.items()
    }
    # β(t) of continuous time, over 1000 training timesteps.
    for end in ("beta_start", "beta_end"):
        settings["scheduler"][end] /= 1000
    return settings


def _flatten(section, prefix=""):
    flat = {}
    for name, value in section.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _read_setting(values, paths):
    missing = [path for path in paths if path not in values]
    if missing:
        raise ValueError(f"the config has no model.{', model.'.join(missing)}.")
    if len({values[path] for path in paths}) > 1:
        given = ", ".join(f"model.{path} {values[path]}" for path in paths)
        raise ValueError(f"the config has {given}, which must be the same to be converted.")
    return values[paths[0]]


def _check_codebooks(weights, source, codec, codec_source) -> None:
    """Remove the checkpoint's copy of the codec's quantiser, and check that it equals the codec's."""
    theirs: list[Any] = []
    while (layer := f"quantizer.vq.layers.{len(theirs)}._codebook.") + "embed" in weights:
        theirs.append(weights.pop(layer + "embed").float())
        for statistic in ("inited", "cluster_size", "embed_avg"):
            _take(weights, layer + statistic)
    ours = codec.codebooks.float()
    # The published codec has more codebooks than the 16 that the model was trained with.
    tolerance = 1e-4 * float(ours.abs().max())
    pairs = list(zip(theirs, ours, strict=False))
    same = len(pairs) == len(ours) and all(
        one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=tolerance) for one, other in pairs
    )
    if not same:
        have = f"{len(theirs)} codebooks" + (f" of {tuple(theirs[0].shape)}" if theirs else "")
        raise ValueError(
            f"the checkpoint ({source}) has {have}, and the codec ({codec_source}) {len(ours)} of "
            f"{tuple(ours.shape[1:])} that are others, so that its latents would mean nothing to the "
            "model: give the codec that it was trained with (the published one: encodec_24khz)."
        )


def _fold_buffers(weights, adaptor) -> None:
    """Remove tensors that are not weights in this package.

    Its table of positions is indexed by the place in the batch, so that an utterance alone gets row 0
    everywhere: a constant, which goes into the embedding, and into the bias of the prompt's projection.
    """
    embedding = weights.get("prior_encoder.enc_emb_tokens.weight")
    tied = _take(weights, "prior_encoder.encoder.enc_emb_tokens.weight")
    if embedding is None or not torch.equal(tied, embedding):
        raise ValueError(
            "prior_encoder.enc_emb_tokens.weight and prior_encoder.encoder.enc_emb_tokens.weight should be "
            "one and the same in the checkpoint, and are not."
        )
    for table, target in (
        ("prior_encoder.encoder.position_emb.pe", "prior_encoder.enc_emb_tokens.weight"),
        ("prompt_encoder.position_emb.pe", "prompt_lin.bias"),
    ):
        position, weight = _take(weights, table)[0, 0].float(), _take(weights, target).float()
        if weight.shape[-1] != len(position):
            raise ValueError(
                f"{table} is {len(position)} wide and {target} {weight.shape[-1]}; they must be the same."
            )
        weights[target] = weight + position
    bounds = _take(weights, "prior_encoder.pitch_bins").float()
    ours = adaptor.pitch_boundaries(torch.device("cpu"))
    if bounds.shape != ours.shape or not torch.allclose(bounds, ours, rtol=1e-4):
        raise ValueError(
            f"prior_encoder.pitch_bins has {len(bounds)} bounds from {bounds[0]:.1f} to {bounds[-1]:.1f} Hz; "
            f"pitch_min, pitch_max and pitch_bins_num of the config make {len(ours)} from {ours[0]:.1f} to "
            f"{ours[-1]:.1f}."
        )


def _take(weights, name):
    if name not in weights:
        raise ValueError(f"the checkpoint has no {name}: it is not Amphion's NaturalSpeech 2, or not complete.")
    return weights.pop(name)


def _load(models, weights) -> None:
    """Load the weights of every model; each tensor must fit exactly one parameter, and each parameter a tensor."""
    wanted = {f"{name}.{key}": value for name, model in models.items() for key, value in model.state_dict().items()}
    loaded, problems = {}, []
    for theirs, tensor in weights.items():
        for name, part in _split_attention(theirs, tensor):
            ours = _our_name(name)
            if ours not in wanted or ours in loaded:
                problems.append(f"no place for {theirs}")
            elif wanted[ours].shape != part.shape:
                asked = tuple(wanted[ours].shape)
                problems.append(f"{theirs} makes {ours} {tuple(part.shape)} where the config asks for {asked}")
            loaded[ours] = part
    for name in ("null_condition", "null_prompt"):
        loaded[f"denoiser.{name}"] = torch.zeros(wanted[f"denoiser.{name}"].shape)
    problems += [f"nothing for {ours}" for ours in wanted if ours not in loaded]
    if problems:
        problems = list(dict.fromkeys(problems))
        more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise ValueError(
            f"the checkpoint does not fit its config, {len(problems)} times: {'; '.join(problems[:10])}"
            f"{more}. Are these its own config and a whole file?"
        )
    for name, model in models.items():
        own = {key: loaded[f"{name}.{key}"].float() for key in model.state_dict()}
        model.load_state_dict(own, assign=True)
        model.eval()


def _split_attention(name, tensor):
    """torch's attention keeps queries, keys and values in one matrix."""
    attention = re.fullmatch(r"(.*attn(?:\.\d+\.0)?)\.(in_proj_|out_proj\.)(weight|bias)", name)
    if attention is None:
        return [(name, tensor)]
    stem, which, kind = attention.groups()
    if which == "out_proj.":
        return [(f"{stem}.to_out.{kind}", tensor)]
    parts = zip("qkv", tensor.chunk(3), strict=True)
    return [(f"{stem}.to_{letter}.{kind}", part.clone()) for letter, part in parts]


def _our_name(name: str) -> str | None:
    for pattern, ours in _PATTERNS:
        match = pattern.fullmatch(name)
        if match is not None:
            return ours.replace("#", match[1]) + match[match.lastindex or 0]
    return None
