"""Tiny EnCodec models whose codes differ between frames, and their weights in the format of the package."""

import re

import torch

TINY = {"latent_channels": 8, "num_filters": 4, "num_codebooks": 4, "codebook_size": 16, "ratios": [4, 2, 2]}
STEREO = {
    "sampling_rate": 800,
    "channels": 2,
    "causal": False,
    "norm": "time_group_norm",
    "normalize": True,
    "chunk_length_s": 1.0,
}


def lively(codec):
    """Set random codebooks of the latents' scale, so that codes differ between frames."""
    with torch.no_grad():
        for parameter in codec.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
        waveform = 0.3 * torch.randn(1, codec.channels, 4000)
        codec.train()(waveform)
        latents = codec.encode(waveform)
        spread = latents.std(dim=(0, 2)) * 0.7 ** torch.arange(codec.num_codebooks).view(-1, 1, 1)
        codec.codebooks.copy_(torch.randn_like(codec.codebooks) * spread)
        codec.codebooks[0] += latents.mean(dim=(0, 2))
    return codec.eval()


def package_name(name, last_decoder_layer):
    """The name of a weight in the `encodec` package."""
    outer = re.match(r"decoder\.layers\.(\d+)\.(conv|norm)\.", name)
    wrapper = "convtr" if outer and int(outer[1]) not in (0, last_decoder_layer) else "conv"
    name = re.sub(r"\.norm\.(\w+)$", rf".{wrapper}.norm.\1", name)
    name = re.sub(r"\.conv\.(weight|weight_g|weight_v|bias)$", rf".{wrapper}.{wrapper}.\1", name)
    return re.sub(r"^(encoder|decoder)\.layers\.", r"\1.model.", name)


def write_encodec_weights(codec, path):
    """The state dict in the format of the `encodec` package: one codebook per layer."""
    last = len(codec.decoder.layers) - 1
    weights = {package_name(k, last): v for k, v in codec.state_dict().items() if not k.startswith("quantizer.")}
    for layer, codebook in enumerate(codec.codebooks):
        prefix = f"quantizer.vq.layers.{layer}._codebook."
        weights[prefix + "inited"] = torch.ones(1)
        weights[prefix + "cluster_size"] = torch.ones(len(codebook))
        weights[prefix + "embed"] = weights[prefix + "embed_avg"] = codebook.clone()
    torch.save(weights, path)
    return path
