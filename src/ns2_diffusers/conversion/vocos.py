"""Converts Vocos decoders of EnCodec's codes (github.com/gemelo-ai/vocos) to a `VocosCodec`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import yaml

from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from .encodec import from_encodec
from .weights import find_file, read_weights

REPOSITORY = "charactr/vocos-encodec-24khz"
DEFAULTS = {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0, 12.0]}
# 75 frames per second, 10 bits each.
KBPS_A_CODEBOOK = 0.75


def from_vocos(
    checkpoint: str | Path = REPOSITORY,
    bandwidth: float = 6.0,
    codec: EncodecCodec | str | Path | None = None,
    revision: str | None = None,
) -> VocosCodec:
    """Make a codec of a published Vocos decoder.

    Args:
        checkpoint: a directory with `config.yaml` and `pytorch_model.bin`, or a hub repository.
        bandwidth: kbps, one of the config's. It determines the number of codebooks and the adaptive
            norms of the decoder.
        codec: the EnCodec that provides the encoder, or an argument of `from_encodec`; without it the
            result only decodes.
        revision: commit of the hub repository; the newest if None.

    Raises:
        ValueError: the decoder is for other features, or does not have this bandwidth.
    """
    path = find_file(checkpoint, "config.yaml", revision)
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        features, head = config["feature_extractor"], config["head"]["init_args"]
        options = {**DEFAULTS, **features["init_args"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is not a config of Vocos: it has no feature_extractor or head.") from error
    if not features["class_path"].endswith(".EncodecFeatures"):
        raise ValueError(f"this Vocos decodes {features['class_path']}; only decoders of EnCodec's codes are codecs.")
    if head.get("padding", "same") != "same" or head["n_fft"] != 4 * head["hop_length"]:
        raise ValueError(f"the head is {head}; wanted padding 'same' and an n_fft of four hops.")
    if options["encodec_model"] != "encodec_24khz":
        raise ValueError(f"this Vocos decodes the codes of {options['encodec_model']}, not of encodec_24khz.")
    bandwidths = options["bandwidths"]
    if bandwidth not in bandwidths:
        raise ValueError(f"this Vocos knows {', '.join(map(str, bandwidths))} kbps, not {bandwidth}.")
    if isinstance(codec, (str, Path)):
        codec = from_encodec(codec, bandwidth=bandwidth)
    weights = read_weights(find_file(checkpoint, "pytorch_model.bin", revision))
    return codec_of_weights(weights, bandwidths.index(bandwidth), int(bandwidth / KBPS_A_CODEBOOK), encodec=codec)


def codec_of_weights(
    published: Mapping[str, torch.Tensor],
    bandwidth_id: int,
    num_codebooks: int,
    codebook_size: int = 1024,
    sampling_rate: int = 24000,
    encodec: EncodecCodec | None = None,
) -> VocosCodec:
    """Make a codec of the published state dict of a decoder of EnCodec's codes.

    Args:
        published: names and tensors as the `vocos` package saves them.
        bandwidth_id: row of the adaptive norms to keep; there is one row per bandwidth. The chosen row makes them
            plain layer norms.
        num_codebooks: codebooks of that bandwidth.
        codebook_size: rows of each.
        sampling_rate: Hz.
        encodec: codec that provides the encoder; without it the result only decodes.
    """
    weights = {k: v for k, v in published.items() if k.startswith(("backbone.", "head.out."))}
    for name in [k for k in weights if k.endswith("norm.scale.weight")]:
        stem = name.removesuffix("scale.weight")
        weights[f"{stem}weight"] = weights.pop(name)[bandwidth_id]
        weights[f"{stem}bias"] = weights.pop(f"{stem}shift.weight")[bandwidth_id]
    codebooks = published["feature_extractor.codebook_weights"].unflatten(0, (-1, codebook_size))
    weights["quantizer.codebooks"] = codebooks[:num_codebooks]
    encoder_config = {"type": "none"}
    if encodec is not None:
        encoder_config = {"type": "seanet"} | encodec.seanet_config
        weights |= {f"encoder.{k}": v for k, v in encodec.encoder.state_dict().items()}

    dim, latent_channels, _ = weights["backbone.embed.weight"].shape
    n_fft = weights["head.out.weight"].shape[0] - 2
    model = VocosCodec(
        sampling_rate=sampling_rate,
        hop_length=n_fft // 4,
        latent_channels=latent_channels,
        num_codebooks=num_codebooks,
        codebook_size=codebook_size,
        encoder_config=encoder_config,
        backbone_config={
            "dim": dim,
            "intermediate_dim": weights["backbone.convnext.0.pwconv1.weight"].shape[0],
            "num_layers": sum(k.endswith(".gamma") for k in weights),
        },
        head_config={"type": "istft", "n_fft": n_fft},
    )
    model.quantizer.initialized.fill_(True)
    weights["quantizer.initialized"] = model.quantizer.initialized
    weights["quantizer.cluster_size"] = torch.ones_like(model.quantizer.cluster_size)
    model.load_state_dict(weights)
    return model.eval()
