"""Import of weights of the `encodec` package and of transformers."""

import pytest
import torch
from transformers import EncodecConfig
from transformers import EncodecModel as TransformersEncodec

from ns2_diffusers import EncodecCodec
from ns2_diffusers.conversion.encodec import from_encodec

from ..models.codecs.encodec_cases import STEREO, TINY, lively, write_encodec_weights


@pytest.fixture
def mono():
    return lively(EncodecCodec(**TINY))


@pytest.fixture
def stereo():
    return lively(EncodecCodec(**TINY, **STEREO))


@pytest.mark.parametrize("kind", ["24khz", "48khz"])
def test_transformers_directory(kind, tmp_path):
    config = EncodecConfig(num_filters=4, hidden_size=16, target_bandwidths=[3.0, 6.0], codebook_size=16)
    if kind == "48khz":
        config = EncodecConfig(
            **{"num_filters": 4, "hidden_size": 16, "target_bandwidths": [3.0, 6.0], "codebook_size": 16},
            **{
                "sampling_rate": 48000,
                "audio_channels": 2,
                "normalize": True,
                "norm_type": "time_group_norm",
            },
            **{"chunk_length_s": 1.0, "overlap": 0.01, "use_causal_conv": False},
        )
    theirs = TransformersEncodec(config).eval()
    waveform = 0.3 * torch.randn(1, config.audio_channels, int(1.2 * config.sampling_rate))
    for layer in theirs.quantizer.layers:
        layer.codebook.embed.normal_()
    theirs.save_pretrained(tmp_path)
    ours = from_encodec(tmp_path, bandwidth=6.0)
    assert ours.num_codebooks == (20 if kind == "24khz" else 10)
    with torch.no_grad():
        expected = theirs(waveform, bandwidth=6.0)
        output = ours(waveform)
    theirs_codes = torch.cat(list(expected.audio_codes), dim=-1)[..., : output.codes.shape[-1]]
    assert torch.equal(output.codes, theirs_codes)
    expected_waveform = expected.audio_values[..., : waveform.shape[-1]]
    assert expected_waveform.abs().max() > 1e-3
    torch.testing.assert_close(output.waveform, expected_waveform, atol=1e-5, rtol=1e-4)


def test_published_names_download_and_choose_codebooks_by_bandwidth(monkeypatch, tmp_path):
    torch.manual_seed(1)
    full = EncodecCodec(
        sampling_rate=24000, latent_channels=128, num_codebooks=32, ratios=[8, 5, 4, 2], num_filters=32
    )
    path = write_encodec_weights(full, tmp_path / "full.th")
    asked = []

    def download(url, sha256):
        asked.append(url)
        assert sha256.startswith("d7cc33bcf1aa") and len(sha256) == 64
        return path

    monkeypatch.setattr("ns2_diffusers.conversion.encodec.download_file", download)
    codec = from_encodec("encodec_24khz", bandwidth=6.0)
    assert asked == ["https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"]
    assert (codec.sampling_rate, codec.hop_length, codec.frame_rate) == (24000, 320, 75.0)
    assert codec.codebooks.shape == (8, 1024, 128)
    assert torch.equal(codec.codebooks, full.codebooks[:8])
    # The package's own model loads the same file, and its codes are the same.
    encodec = pytest.importorskip("encodec")
    monkeypatch.setattr(encodec.EncodecModel, "_get_pretrained", lambda *_: torch.load(path, weights_only=True))
    theirs = encodec.EncodecModel.encodec_model_24khz()
    theirs.set_target_bandwidth(6.0)
    waveform = 0.3 * torch.randn(1, 1, 2400)
    with torch.no_grad():
        assert torch.equal(codec.quantize(codec.encode(waveform))[1], theirs.encode(waveform)[0][0])


def test_files_of_other_sizes_and_formats(mono, stereo, tmp_path):
    loaded = from_encodec(
        write_encodec_weights(mono, tmp_path / "mono.th"),
        sampling_rate=16000,
        latent_channels=8,
        num_filters=4,
        ratios=[4, 2, 2],
    )
    waveform = torch.randn(1, 1, 333)
    assert torch.equal(loaded.encode(waveform), mono.encode(waveform))
    # A file with group norms is a 48 kHz model.
    loaded = from_encodec(
        write_encodec_weights(stereo, tmp_path / "stereo.th"),
        latent_channels=8,
        num_filters=4,
        ratios=[4, 2, 2],
    )
    assert (loaded.sampling_rate, loaded.channels, loaded.config.normalize) == (48000, 2, True)


def test_bad_sources(mono, tmp_path):
    path = write_encodec_weights(mono, tmp_path / "mono.th")
    sizes = {"sampling_rate": 16000, "latent_channels": 8, "num_filters": 4, "ratios": [4, 2, 2]}
    with pytest.raises(ValueError, match="none of encodec_24khz, encodec_48khz"):
        from_encodec("encodec_32khz")
    # 1000 frames per second of 4 bits: 4 kbps per codebook, four codebooks.
    assert from_encodec(path, bandwidth=8.0, **sizes).num_codebooks == 2
    for bandwidth in (3.0, 20.0):
        with pytest.raises(ValueError, match="give 4 to 16"):
            from_encodec(path, bandwidth=bandwidth, **sizes)


def test_weights_of_something_else_are_refused(tmp_path):
    torch.save({"linear.weight": torch.zeros(2, 2)}, tmp_path / "other.th")
    with pytest.raises(ValueError, match="no EnCodec quantiser"):
        from_encodec(tmp_path / "other.th")
