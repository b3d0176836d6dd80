"""A Vocos model of the `vocos` package itself, saved as it is published, and what becomes of it here."""

import pytest
import torch
import yaml

from ns2_diffusers.conversion.vocos import from_vocos

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
    """The directory that a hub repository would be, without weights."""
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
    """A random model, whose adaptive norms and scales differ from layer to layer, saved beside its config."""
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
    with pytest.raises(ValueError, match="config.yaml' is no config of a Vocos"):
        from_vocos(tmp_path)
