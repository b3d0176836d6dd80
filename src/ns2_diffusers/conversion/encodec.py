"""Converts EnCodec weights (github.com/facebookresearch/encodec, transformers' `EncodecModel`) to `EncodecCodec`."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..models.codecs.encodec_codec import EncodecCodec
from .weights import download_file, read_weights

# Address of the weights in the encodec package (release 0.1.1).
_ROOT_URL = "https://dl.fbaipublicfiles.com/encodec/v0/"
_SIZES_24KHZ = {
    "sampling_rate": 24000,
    "latent_channels": 128,
    "num_codebooks": 32,
    "ratios": [8, 5, 4, 2],
    "num_filters": 32,
}
# Name, SHA-256 (of the second, as much as its authors give) and sizes.
PUBLISHED = {
    "encodec_24khz": (
        "encodec_24khz-d7cc33bc.th",
        "d7cc33bcf1aad7f2dad9836f36431530744abeace3ca033005e3290ed4fa47bf",
        _SIZES_24KHZ,
    ),
    "encodec_48khz": (
        "encodec_48khz-7e698e3e.th",
        "7e698e3e",
        {
            **_SIZES_24KHZ,
            "sampling_rate": 48000,
            "channels": 2,
            "num_codebooks": 16,
            "causal": False,
            "norm": "time_group_norm",
            "normalize": True,
            "chunk_length_s": 1.0,
        },
    ),
}
# transformers' names of the settings, where they differ.
_TRANSFORMERS_NAMES = {
    "audio_channels": "channels",
    "hidden_size": "latent_channels",
    "upsampling_ratios": "ratios",
    "norm_type": "norm",
    "dilation_growth_rate": "dilation_base",
    "use_causal_conv": "causal",
    "num_lstm_layers": "lstm_layers",
}


def from_encodec(source: str | Path, bandwidth: float | None = None, **config) -> EncodecCodec:
    """Load EnCodec weights of other libraries.

    Args:
        source: "encodec_24khz" or "encodec_48khz", downloaded from where the `encodec` package has them (into
            torch hub's cache, and checked); a `.th` file of that package; or a directory of transformers'
            `EncodecModel` (`config.json` with `model.safetensors` or `pytorch_model.bin`).
        bandwidth: kbps; keeps the first codebooks that fit. All of them without it.
        config: settings of `EncodecCodec` that differ from the published ones, for files of other sizes.

    Raises:
        ValueError: the file does not exist, or its checksum is not the published one; the bandwidth is less than one
            codebook or more than there are.
    """
    source = str(source)
    if source in PUBLISHED:
        name, sha256, sizes = PUBLISHED[source]
        weights = read_weights(download_file(_ROOT_URL + name, sha256))
        weights = {_from_package(name): value for name, value in weights.items()}
    elif Path(source).is_dir():
        weights, sizes = _read_transformers(Path(source))
    elif Path(source).is_file():
        weights = read_weights(Path(source))
        # The two published models differ in their norms; only the 48 kHz one has them in the file.
        grouped = "encoder.model.0.conv.norm.weight" in weights
        weights = {_from_package(name): value for name, value in weights.items()}
        sizes = PUBLISHED["encodec_48khz" if grouped else "encodec_24khz"][-1]
    else:
        raise ValueError(
            f"{source!r} is none of {', '.join(PUBLISHED)}, a .th file, or a directory of transformers' EncodecModel."
        )
    weights = _stack_codebooks(weights)
    available, size, _ = weights["quantizer.codebooks"].shape
    config = {**sizes, **config, "codebook_size": size}
    config["num_codebooks"] = _codebooks_within(bandwidth, available, size, config)
    for name in ("quantizer.codebooks", "quantizer.cluster_size"):
        weights[name] = weights[name][: config["num_codebooks"]]
    model = EncodecCodec(**config)
    model.load_state_dict(weights)
    return model.eval()


def _read_transformers(folder: Path) -> tuple[dict[str, torch.Tensor], dict]:
    file = folder / "model.safetensors"
    weights = read_weights(file if file.is_file() else folder / "pytorch_model.bin")
    written = json.loads((folder / "config.json").read_text())
    sizes = {_TRANSFORMERS_NAMES.get(name, name): value for name, value in written.items()}
    known = inspect.signature(EncodecCodec.__init__).parameters
    sizes = {name: value for name, value in sizes.items() if name in known and value is not None}
    # transformers' own defaults are the 24 kHz model's.
    sizes = {**_SIZES_24KHZ, **sizes}
    return {_from_transformers(name): value for name, value in weights.items()}, sizes


def _from_transformers(name: str) -> str:
    """Convert transformers' name of a weight to the name here, which has no parametrisations."""
    name = name.replace("parametrizations.weight.original0", "weight_g")
    return name.replace("parametrizations.weight.original1", "weight_v")


def _from_package(name: str) -> str:
    """Convert the `encodec` package's name of a weight: its convolutions are inside two wrappers."""
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(conv|convtr)\.\1\.(\w+)$", r".conv.\2", name)
    name = re.sub(r"\.(conv|convtr)\.norm\.(\w+)$", r".norm.\2", name)
    return re.sub(r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook.", name)


def _stack_codebooks(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Stack one codebook per layer to one tensor, the form of the quantiser here."""
    kept = {name: value for name, value in weights.items() if not name.startswith("quantizer.")}
    layers = len({name.split(".")[2] for name in weights if name.startswith("quantizer.layers.")})
    if not layers:
        raise ValueError(
            "these weights hold no EnCodec quantiser: wanted a .th file of the encodec package or transformers' "
            "EncodecModel."
        )
    for ours, theirs in (("codebooks", "embed"), ("cluster_size", "cluster_size")):
        kept[f"quantizer.{ours}"] = torch.stack(
            [weights[f"quantizer.layers.{layer}.codebook.{theirs}"] for layer in range(layers)]
        ).float()
    kept["quantizer.initialized"] = torch.tensor(True)
    return kept


def _codebooks_within(bandwidth: float | None, available: int, codebook_size: int, config: dict) -> int:
    if bandwidth is None:
        return available
    # EnCodec uses an integer number of frames per second.
    frame_rate = math.ceil(config["sampling_rate"] / math.prod(config["ratios"]))
    each = math.log2(codebook_size) * frame_rate / 1000
    count = int(bandwidth / each + 1e-6)
    if not 1 <= count <= available:
        raise ValueError(
            f"bandwidth={bandwidth} kbps asks for {count} codebooks of {each:g} kbps; this model has "
            f"{available}, so give {each:g} to {available * each:g}."
        )
    return count
