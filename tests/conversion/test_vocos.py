"""Import of a model of the `vocos` package, saved in its published form."""

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional as F

from ns2_diffusers.conversion.vocos import codec_of_weights, from_vocos

CONFIG = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.EncodecFeatures",
        "init_args": {
            "encodec_model": "encodec_24khz",
            "bandwidths": [1.5, 3.0, 6.0, 12.0],
            "train_codebooks": False,
        },
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {
            "input_channels": 128,
            "dim": 16,
            "intermediate_dim": 48,
            "num_layers": 3,
            "adanorm_num_embeddings": 4,
        },
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 16, "n_fft": 1280, "hop_length": 320, "padding": "same"},
    },
}


@pytest.fixture
def published(tmp_path):
    """A directory like a hub repository, without weights."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


@pytest.fixture(scope="module")
def encodec_weights():
    encodec = pytest.importorskip("encodec")
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = encodec.EncodecModel._get_model([1.5, 3, 6, 12.0, 24.0], causal=True)
        for layer in model.quantizer.vq.layers:
            layer._codebook.embed.normal_()
    return model.state_dict()


@pytest.fixture
def theirs(published, encodec_weights, monkeypatch):
    """A random model whose adaptive norms and scales differ between layers, saved with its config."""
    vocos = pytest.importorskip("vocos", reason="the vocos package is not installed (pip install vocos)")
    import encodec

    monkeypatch.setattr(encodec.EncodecModel, "_get_pretrained", lambda *_: encodec_weights)
    model = vocos.Vocos.from_hparams(str(published / "config.yaml")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("backbone", "head")):
                parameter.add_(0.2 * torch.randn_like(parameter))
    weights = model.state_dict()
    kept = {name: value for name, value in weights.items() if not name.startswith("feature_extractor.encodec")}
    torch.save(kept, published / "pytorch_model.bin")
    return model


@pytest.mark.parametrize("bandwidth_id, bandwidth, codebooks", [(0, 1.5, 2), (2, 6.0, 8), (3, 12.0, 16)])
@torch.no_grad()
def test_equal_to_the_package(theirs, published, bandwidth_id, bandwidth, codebooks):
    ours = from_vocos(published, bandwidth)
    assert (ours.sampling_rate, ours.hop_length, ours.num_codebooks) == (24000, 320, codebooks)
    codes = torch.randint(0, 1024, (codebooks, 2, 40))
    features = theirs.codes_to_features(codes)
    latents = ours.codes_to_latents(codes.transpose(0, 1))
    torch.testing.assert_close(latents, features)
    expected = theirs.decode(features, bandwidth_id=torch.tensor([bandwidth_id]))
    decoded = ours.decode(latents)[:, 0]
    assert decoded.shape == expected.shape == (2, 40 * 320)
    assert (decoded - expected).abs().max() < 1e-4 * expected.abs().max()


@torch.no_grad()
def test_with_the_encoder_of_encodec(theirs, published, encodec_weights, tmp_path):
    torch.save(encodec_weights, tmp_path / "encodec.th")
    ours = from_vocos(published, 6.0, tmp_path / "encodec.th")
    waveform = 0.3 * torch.randn(1, 1, 3200)
    encodec = theirs.feature_extractor.encodec
    encodec.set_target_bandwidth(6.0)
    latents, codes = ours.quantize(ours.encode(waveform))
    assert torch.equal(codes, encodec.encode(waveform)[0][0])
    expected = theirs(waveform[:, 0], bandwidth_id=torch.tensor([2]))
    assert (ours.decode(latents)[:, 0] - expected).abs().max() < 1e-4 * expected.abs().max()


def spoil(published, section, name, value):
    config = yaml.safe_load((published / "config.yaml").read_text())
    target = config[section] if name == "class_path" else config[section]["init_args"]
    target[name] = value
    (published / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    "section, name, value, message",
    [
        (
            "feature_extractor",
            "class_path",
            "vocos.feature_extractors.MelSpectrogramFeatures",
            "Mel.*only decoders",
        ),
        ("feature_extractor", "encodec_model", "encodec_48khz", "codes of encodec_48khz, not"),
        ("feature_extractor", "bandwidths", [3.0], "knows 3.0 kbps, not 6.0"),
        ("head", "padding", "center", "wanted padding 'same'"),
        ("head", "hop_length", 256, "n_fft of four hops"),
    ],
)
def test_other_models_are_refused(published, section, name, value, message):
    spoil(published, section, name, value)
    with pytest.raises(ValueError, match=message):
        from_vocos(published)


@pytest.mark.parametrize("text", ["", "a list of words", "head: {}"])
def test_no_config_of_a_vocos(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="config.yaml' is not a config of Vocos"):
        from_vocos(tmp_path)


# -- without the package -------------------------------------------------------------------------------------


def vocos_weights(channels=6, dim=8, intermediate=12, layers=2, n_fft=64, codebooks=4, size=16):
    """A state dict with the names of charactr/vocos-encodec-24khz."""
    weights = {
        "feature_extractor.codebook_weights": torch.randn(codebooks * size, channels),
        "backbone.embed.weight": torch.randn(dim, channels, 7) / 6,
        "backbone.embed.bias": torch.randn(dim),
        "backbone.norm.scale.weight": torch.randn(4, dim),
        "backbone.norm.shift.weight": torch.randn(4, dim),
        "backbone.final_layer_norm.weight": torch.randn(dim),
        "backbone.final_layer_norm.bias": torch.randn(dim),
        "head.out.weight": torch.randn(n_fft + 2, dim) / 3,
        "head.out.bias": torch.randn(n_fft + 2),
        "head.istft.window": torch.hann_window(n_fft),
    }
    for layer in range(layers):
        block = {
            "gamma": torch.randn(dim),
            "dwconv.weight": torch.randn(dim, 1, 7),
            "dwconv.bias": torch.randn(dim),
            "norm.scale.weight": torch.randn(4, dim),
            "norm.shift.weight": torch.randn(4, dim),
            "pwconv1.weight": torch.randn(intermediate, dim),
            "pwconv1.bias": torch.randn(intermediate),
            "pwconv2.weight": torch.randn(dim, intermediate),
            "pwconv2.bias": torch.randn(dim),
        }
        weights |= {f"backbone.convnext.{layer}.{name}": value for name, value in block.items()}
    return weights


def vocos_by_hand(weights, features, bandwidth_id):
    """The published network, with a loop for the inverse STFT."""

    def adaptive_norm(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        scale, shift = weights[f"{name}.scale.weight"], weights[f"{name}.shift.weight"]
        return x * scale[bandwidth_id] + shift[bandwidth_id]

    x = F.conv1d(features, weights["backbone.embed.weight"], weights["backbone.embed.bias"], padding=3)
    x = adaptive_norm(x.transpose(1, 2), "backbone.norm")
    for layer in range(2):
        w = {k.split(f"convnext.{layer}.")[1]: v for k, v in weights.items() if f"convnext.{layer}." in k}
        y = F.conv1d(x.transpose(1, 2), w["dwconv.weight"], w["dwconv.bias"], padding=3, groups=x.shape[-1])
        y = adaptive_norm(y.transpose(1, 2), f"backbone.convnext.{layer}.norm")
        y = F.gelu(y @ w["pwconv1.weight"].T + w["pwconv1.bias"]) @ w["pwconv2.weight"].T + w["pwconv2.bias"]
        x = x + w["gamma"] * y
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    x = x * weights["backbone.final_layer_norm.weight"] + weights["backbone.final_layer_norm.bias"]
    x = (x @ weights["head.out.weight"].T + weights["head.out.bias"])[0].double().numpy()
    bins = x.shape[1] // 2
    spectrum = np.minimum(np.exp(x[:, :bins]), 100) * np.exp(1j * x[:, bins:])

    window = weights["head.istft.window"].double().numpy()
    n_fft, hop, frames = len(window), len(window) // 4, len(spectrum)
    total, envelope = np.zeros((2, (frames - 1) * hop + n_fft))
    for index, frame in enumerate(spectrum):
        where = slice(index * hop, index * hop + n_fft)
        total[where] += window * np.fft.irfft(frame, n_fft)
        envelope[where] += window**2
    start = (n_fft - hop) // 2
    kept = slice(start, start + frames * hop)
    return total[kept] / envelope[kept]


@pytest.mark.parametrize("bandwidth_id, codebooks", [(0, 1), (2, 4)])
def test_published_vocos_weights(bandwidth_id, codebooks):
    weights = vocos_weights()
    codec = codec_of_weights(weights, bandwidth_id, codebooks, codebook_size=16)
    assert (codec.hop_length, codec.latent_channels, codec.num_codebooks) == (16, 6, codebooks)
    codes = torch.randint(0, 16, (1, codebooks, 9))
    table = weights["feature_extractor.codebook_weights"]
    features = sum(table[16 * level + codes[:, level]] for level in range(codebooks)).transpose(1, 2)
    torch.testing.assert_close(codec.codes_to_latents(codes), features)
    expected = vocos_by_hand(weights, features, bandwidth_id)
    decoded = codec.decode(features)[0, 0]
    np.testing.assert_allclose(decoded.detach().numpy(), expected, atol=1e-3 * np.abs(expected).max())
    with pytest.raises(ValueError, match="decoder alone"):
        codec.encode(torch.zeros(1, 1, 100))


def test_published_vocos_weights_with_an_encodec_encoder():
    from ns2_diffusers import EncodecCodec

    encodec = EncodecCodec(
        latent_channels=6, num_codebooks=4, codebook_size=16, num_filters=2, ratios=(4, 2, 2)
    ).eval()
    codec = codec_of_weights(vocos_weights(), 1, 2, codebook_size=16, encodec=encodec)
    waveform, mask = 0.1 * torch.randn(2, 1, 1000), torch.arange(1000) < torch.tensor([[1000], [611]])
    torch.testing.assert_close(codec.encode(waveform, mask), encodec.encode(waveform, mask))
    assert codec.decode(codec.encode(waveform, mask)).shape == (2, 1, 1008)
