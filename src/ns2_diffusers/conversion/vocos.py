"""Vocos decoders of EnCodec's codes (github.com/gemelo-ai/vocos) as our codec."""

from __future__ import annotations

from pathlib import Path

import yaml

from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from .checkpoints import find_file, read_weights

REPOSITORY = "charactr/vocos-encodec-24khz"
DEFAULTS = {"encodec_model": "encodec_24khz", "bandwidths": [1.5, 3.0, 6.0, 12.0]}
# 75 frames a second of 10 bits.
KBPS_A_CODEBOOK = 0.75


def from_vocos(
    checkpoint: str | Path = REPOSITORY,
    bandwidth: float = 6.0,
    codec: EncodecCodec | str | Path | None = None,
) -> VocosCodec:
    """Make a codec of a published Vocos decoder.

    Args:
        checkpoint: a directory with `config.yaml` and `pytorch_model.bin`, or a hub repository.
        bandwidth: kbps, one of the config's: how many codebooks there are, and for which of its adaptive
            norms the decoder is set.
        codec: the EnCodec whose encoder to take, or what `EncodecCodec.from_encodec` takes; without it the
            result decodes only.

    Raises:
        ValueError: a decoder of other features, or a bandwidth it does not know.
    """
    path = find_file(checkpoint, "config.yaml")
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        features, head = config["feature_extractor"], config["head"]["init_args"]
        options = {**DEFAULTS, **features["init_args"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is no config of a Vocos: it has no feature_extractor or head.") from error
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
        codec = EncodecCodec.from_encodec(codec, bandwidth=bandwidth)
    return VocosCodec.from_vocos(
        read_weights(find_file(checkpoint, "pytorch_model.bin")),
        bandwidth_id=bandwidths.index(bandwidth),
        num_codebooks=int(bandwidth / KBPS_A_CODEBOOK),
        encodec=codec,
    )
