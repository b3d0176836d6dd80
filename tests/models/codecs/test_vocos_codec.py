import copy

import pytest
import torch

from ns2_diffusers import VocosCodec
from ns2_diffusers.audio.mel import same_padded_stft
from ns2_diffusers.models.codecs.istft_head import ISTFTHead

TINY = {
    "hop_length": 32,
    "latent_channels": 6,
    "num_codebooks": 3,
    "codebook_size": 16,
    "encoder_config": {"n_fft": 128, "n_mels": 8, "dim": 12, "intermediate_dim": 20, "num_layers": 2},
    "backbone_config": {"dim": 12, "intermediate_dim": 20, "num_layers": 2},
    "head_config": {"n_fft": 128},
}
HARMONIC = {
    "head_config": {"type": "harmonic", "fine_hop_length": 16, "n_fft": 64, "fine_dim": 8, "fine_layers": 1},
}
FINE = {"encoder_config": {**TINY["encoder_config"], "fine_hop_length": 8, "fine_n_mels": 4}}


@pytest.fixture(params=[{}, HARMONIC, FINE], ids=["istft", "harmonic", "fine"])
def codec(request):
    made = VocosCodec(sampling_rate=8000, **TINY | request.param)
    made.train()(0.1 * torch.randn(2, 1, 8000))
    # Layers start near zero; larger weights make errors visible.
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return made.eval()


def ragged_batch():
    waveform = 0.1 * torch.randn(2, 1, 1000)
    mask = torch.ones(2, 1000, dtype=torch.bool)
    mask[1, 611:] = False
    waveform[1, :, 611:] = 5.0  # the content of padding does not matter
    return waveform, mask


def test_a_fine_spectrogram_tells_clicks_within_a_frame_apart():
    """The long window gives two clicks similar features; the fine frames differ. Both have the same length."""
    codec = VocosCodec(sampling_rate=8000, **TINY | FINE)
    seen = []
    codec.encoder.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for place in (32 * 5 + 3, 32 * 5 + 27):
        waveform = torch.zeros(1, 1, 32 * 10 - 7)
        waveform[..., place] = 1.0
        codec.encode(waveform)
    coarse, fine = (torch.stack(seen).squeeze(1)[:, part] for part in (slice(0, 8), slice(8, None)))
    assert fine.shape == (2, 4 * 4, 10)
    # The mean over bands of the fine frames of frame 5 is largest where the click is.
    loudest = fine[:, :, 5].unflatten(1, (4, 4)).mean(1).argmax(1)
    assert loudest.tolist() == [0, 3]
    assert (coarse[0, :, 5] - coarse[1, :, 5]).abs().max() < (fine[0, :, 5] - fine[1, :, 5]).abs().max() / 2
    with pytest.raises(ValueError, match="fine_hop_length"):
        VocosCodec(sampling_rate=8000, **TINY | {"encoder_config": {"fine_hop_length": 12}})


def test_properties(codec):
    assert (codec.sampling_rate, codec.hop_length, codec.channels, codec.latent_channels) == (8000, 32, 1, 6)
    assert (codec.num_codebooks, codec.codebook_size, codec.frame_rate) == (3, 16, 250.0)
    assert codec.codebooks.shape == (3, 16, 6)
    assert [codec.latent_length(n) for n in (1, 32, 33, 1000)] == [1, 1, 2, 32]


def test_a_padded_batch_gives_what_each_gives_alone(codec):
    waveform, mask = ragged_batch()
    alone = waveform[1:, :, :611]
    latents, latents_alone = codec.encode(waveform, mask), codec.encode(alone)
    assert latents.shape == (2, 6, 32) and latents_alone.shape == (1, 6, 20)
    torch.testing.assert_close(latents[1:, :, :20], latents_alone, atol=1e-5, rtol=0)
    assert latents[1, :, 20:].abs().max() == 0

    decoded = codec.decode(latents, codec.latent_mask(mask))
    assert decoded.shape == (2, 1, 1024)
    torch.testing.assert_close(decoded[1:, :, :640], codec.decode(latents_alone), atol=1e-4, rtol=0)
    assert decoded[1, :, 640:].abs().max() == 0
    assert decoded[1, :, :640].abs().max() > 1e-3

    output, output_alone = codec(waveform, mask), codec(alone)
    torch.testing.assert_close(output.waveform[1:, :, :611], output_alone.waveform, atol=1e-4, rtol=0)
    assert torch.equal(output.codes[1:, :, :20], output_alone.codes)


def test_without_codes_the_latents_are_heard_as_they_are(codec):
    waveform, mask = ragged_batch()
    output = codec(waveform, mask, quantize=False)
    assert output.codes is None and output.commitment_loss is None
    heard = codec.decode(codec.encode(waveform, mask), codec.latent_mask(mask))
    assert torch.equal(output.waveform, heard[..., :1000] * mask.unsqueeze(1))


def test_codes_say_what_quantize_returns(codec):
    codec.set_latent_statistics(torch.linspace(-1, 1, 6), torch.linspace(0.5, 2, 6))
    latents = codec.encode(0.1 * torch.randn(2, 1, 700))
    quantized, codes = codec.quantize(latents)
    assert codes.shape == (2, 3, 22) and codes.dtype == torch.int64
    torch.testing.assert_close(codec.codes_to_latents(codes), quantized)
    raw = sum(codec.codebooks[level][codes[:, level]] for level in range(3)).transpose(1, 2)
    torch.testing.assert_close(codec.denormalize_latents(quantized), raw)


def test_latent_statistics_standardise_and_do_not_change_what_is_heard(codec):
    waveform = 0.1 * torch.randn(1, 1, 8000)
    raw = codec.encode(waveform)
    heard, output = codec.decode(raw), codec(waveform)
    mean, std = raw.mean(dim=(0, 2)), raw.std(dim=(0, 2))
    codec.set_latent_statistics(mean, std)
    latents = codec.encode(waveform)
    torch.testing.assert_close(latents.mean(dim=(0, 2)), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2)), torch.ones(6))
    torch.testing.assert_close(codec.denormalize_latents(latents), raw)
    # A small difference in F0 moves later pulses a little.
    torch.testing.assert_close(codec.decode(latents), heard, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(codec(waveform).waveform, output.waveform)


@pytest.mark.parametrize(
    "mean, std, message",
    [
        ([0.0] * 5, [1.0] * 6, "wanted 6"),
        ([0.0] * 6, [1.0] * 5 + [0.0], "above 0"),
        ([float("nan")] * 6, [1.0] * 6, "finite"),
    ],
)
def test_bad_latent_statistics(codec, mean, std, message):
    with pytest.raises(ValueError, match=message):
        codec.set_latent_statistics(mean, std)
    assert codec.config.latents_mean is None


def test_saved_and_loaded(codec, tmp_path):
    codec.set_latent_statistics(torch.zeros(6), torch.full((6,), 2.0))
    codec.save_pretrained(tmp_path)
    loaded = VocosCodec.from_pretrained(tmp_path)
    waveform = 0.1 * torch.randn(1, 1, 500)
    assert torch.equal(loaded.encode(waveform), codec.encode(waveform))
    assert torch.equal(loaded(waveform).codes, codec(waveform).codes)
    assert loaded.fingerprint == codec.fingerprint and len(codec.fingerprint) == 16


def test_fingerprint_is_the_same_in_bfloat16(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    loaded = VocosCodec.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert loaded.dtype == torch.bfloat16 and loaded.codebooks.dtype == torch.float32
    assert loaded.fingerprint == codec.to(torch.bfloat16).fingerprint


def test_fingerprint_follows_codebooks_and_config(codec):
    seen = {codec.fingerprint, copy.deepcopy(codec).fingerprint}
    assert len(seen) == 1
    codec.codebooks[0, 0, 0] += 0.1
    seen.add(codec.fingerprint)
    codec.set_latent_statistics([0.0] * 6, [1.0] * 6)
    seen.add(codec.fingerprint)
    assert len(seen) == 3


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(codec, dtype, tolerance):
    waveform = 0.1 * torch.randn(1, 1, 800)
    latents = codec.encode(waveform)
    expected = codec.decode(latents)
    half = copy.deepcopy(codec).to(dtype)
    got = half.encode(waveform.to(dtype))
    assert got.dtype == dtype
    assert (got.float() - latents).norm() < tolerance * latents.norm()
    decoded = half.decode(latents.to(dtype))
    assert decoded.dtype == dtype
    if not codec.takes_f0:  # a small difference in F0 moves pulses out of phase
        assert (decoded.float() - expected).norm() < 5 * tolerance * expected.norm()


def test_gradient_checkpointing_gives_the_same_gradients(codec):
    waveform = 0.1 * torch.randn(1, 1, 500)
    gradients = []
    for enable in (False, True):
        model = copy.deepcopy(codec)
        if enable:
            model.enable_gradient_checkpointing()
        assert model.is_gradient_checkpointing == enable
        output = model(waveform)
        f0_loss = 0 if output.log_f0 is None else output.log_f0.mean()
        (output.waveform.square().mean() + output.commitment_loss + f0_loss).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert all(g is not None for g in gradients[0])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize("samples", [320, 1600, 1234])
def test_inverse_stft_undoes_the_stft(samples):
    head = ISTFTHead(dim=4, n_fft=256, hop_length=64)
    waveform = torch.randn(2, samples)
    spectrum = same_padded_stft(waveform, 256, 64)
    back = head._istft(spectrum, None)
    assert back.shape == (2, spectrum.shape[-1] * 64)
    torch.testing.assert_close(back[:, :samples], waveform, atol=1e-4, rtol=0)


# -- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 2, 500), (1, 500), (500,), (1, 1, 0)])
def test_bad_waveforms(codec, shape):
    with pytest.raises(ValueError, match=r"wanted \(batch, 1, samples\)"):
        codec.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"wanted \(batch, 1, samples\)"):
        codec(torch.zeros(shape))


def test_bad_masks_latents_and_sizes(codec):
    with pytest.raises(ValueError, match="sample_mask"):
        codec.encode(torch.zeros(1, 1, 500), torch.ones(1, 400, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"wanted \(batch, 6, frames\)"):
        codec.decode(torch.zeros(1, 5, 10))
    for part, kinds in (("encoder_config", "mel, seanet, none"), ("head_config", "istft, harmonic")):
        with pytest.raises(ValueError, match=f"type of {part} is 'dac'; it must be one of {kinds}"):
            VocosCodec(**TINY | {part: {"type": "dac"}})
        with pytest.raises(
            ValueError, match=f"{part} of type {kinds.split(',')[0]} has no setting depth; it has n_fft"
        ):
            VocosCodec(**TINY | {part: {"depth": 3}})
    with pytest.raises(ValueError, match="backbone_config has no setting type; it has dim"):
        VocosCodec(**TINY | {"backbone_config": {"type": "convnext"}})
    with pytest.raises(ValueError, match="encoder_config of type none has no setting dim; it has none"):
        VocosCodec(**TINY | {"encoder_config": {"type": "none", "dim": 8}})
    with pytest.raises(ValueError, match="n_fft"):
        VocosCodec(**TINY | {"head_config": {"n_fft": 40}})


# Fingerprints of codecs whose codebooks are ones and whose latent statistics are unknown, from before the settings
# were grouped: "n_fft" was one setting for encoder and head, and "head_config" was empty if all its settings were
# defaults.
SMALL = {"codebook_size": 16, "latent_channels": 4, "num_codebooks": 2}
SMALL["backbone_config"] = {"dim": 8, "intermediate_dim": 16, "num_layers": 1}
MEL = {"dim": 8, "intermediate_dim": 16, "num_layers": 1}


@pytest.mark.parametrize(
    "settings, fingerprint",
    [
        ({"encoder_config": MEL}, "e14c1b220454127b"),
        ({"encoder_config": MEL, "head_config": {"type": "harmonic"}}, "cb7977ea41c8928e"),
        (
            {
                "encoder_config": MEL | {"fine_hop_length": 80},
                "head_config": {"type": "harmonic", "n_fft": 256, "fine_dim": 8, "fine_layers": 1},
            },
            "8da15899f31708f8",
        ),
        ({"encoder_config": {"type": "none"}, "head_config": {"n_fft": 640}}, "406dfc76ee096ac7"),
        ({"encoder_config": {"type": "none"}, "head_config": {"type": "harmonic"}}, "6a693977be2bcbe2"),
        ({"encoder_config": {"type": "seanet", "ratios": [8, 5, 4, 2], "n_filters": 2}}, "f526052c65f02f7e"),
    ],
)
def test_voices_and_datasets_made_before_configs_were_nested_stay_valid(settings, fingerprint):
    codec = VocosCodec(**SMALL, **settings)
    codec.codebooks.fill_(1.0)
    assert codec.fingerprint == fingerprint


def test_windows_of_encoder_and_head_both_count_in_the_fingerprint():
    names = set()
    for encoder, head in ((1280, 1280), (640, 1280), (1280, 640), (640, 640)):
        codec = VocosCodec(**SMALL, encoder_config=MEL | {"n_fft": encoder}, head_config={"n_fft": head})
        codec.codebooks.fill_(1.0)
        names.add(codec.fingerprint)
    assert len(names) == 4


def test_a_flat_config_is_refused_with_what_to_write():
    flat = {"_class_name": "VocosCodec", "latent_channels": 4, "encoder_dim": 8, "decoder_layers": 1, "n_fft": 640}
    with pytest.raises(ValueError, match='decoder_layers, encoder_dim, n_fft beside.*"backbone_config": {"dim"'):
        VocosCodec.from_config(flat)


def test_a_codec_made_from_the_config_of_another_is_alike():
    """diffusers drops from a config in memory the settings that were defaults when the codec was made."""
    codec = VocosCodec(**SMALL)
    codec.set_latent_statistics([0.5] * 4, [2.0] * 4)
    other = VocosCodec.from_config(codec.config)
    assert other.config.latents_mean == [0.5] * 4 and other.config.latents_std == [2.0] * 4
    other.codebooks.copy_(codec.codebooks)
    assert other.fingerprint == codec.fingerprint


def test_a_config_holds_every_setting():
    config = VocosCodec(**SMALL, head_config={"type": "harmonic"}).config
    assert config.encoder_config == {
        "type": "mel",
        "n_fft": 1280,
        "n_mels": 100,
        "fine_hop_length": None,
        "fine_n_mels": 32,
        "dim": 384,
        "intermediate_dim": 1152,
        "num_layers": 4,
        "linear_frames": None,
    }
    assert config.head_config["fine_hop_length"] == 80 and config.head_config["f0_max"] == 1100.0


def test_f0_is_for_decoders_that_take_it(codec):
    latents, f0 = torch.randn(1, 6, 30), torch.full((1, 30), 220.0)
    if not codec.takes_f0:
        with pytest.raises(ValueError, match="takes none"):
            codec.decode(latents, f0=f0)
        return
    predicted, told = codec.decode(latents), codec.decode(latents, f0=f0)
    assert (predicted - told).norm() > 0.01 * predicted.norm()
    assert torch.equal(codec.decode(latents, f0=0 * f0), predicted)
    with pytest.raises(ValueError, match=r"wanted one value in Hz per latent frame, \(1, 30\)"):
        codec.decode(latents, f0=f0[:, :20])


@pytest.mark.parametrize("frames", [1, 7, 100])
def test_pieces_are_the_whole(codec, frames):
    latents = torch.randn(2, 6, 40)
    f0 = torch.where(torch.arange(40) % 5 > 0, 150.0, 0.0).expand(2, -1) if codec.takes_f0 else None
    with torch.no_grad():
        whole = codec.decode(latents, f0=f0)
        pieces = list(codec.decode_in_pieces(latents, frames, f0))
        growing = list(codec.decode_in_pieces(latents, frames, f0, growth=3))
    assert len(pieces) == -(-40 // frames) and pieces[0].shape == (2, 1, min(frames, 40) * 32)
    assert [each.shape[-1] // 32 for each in growing] == {1: [1, 3, 9, 27], 7: [7, 21, 12], 100: [40]}[frames]
    for each in (pieces, growing):
        torch.testing.assert_close(torch.cat(each, -1), whole, rtol=0, atol=1e-4 * float(whole.abs().max()))


def test_pieces_of_a_fitted_codec_are_the_whole():
    """The structure of examples/real_voice_model/codec: linear parts, and long filters, four per frame."""
    codec = VocosCodec(
        sampling_rate=16000,
        hop_length=320,
        latent_channels=12,
        num_codebooks=2,
        codebook_size=8,
        encoder_config={
            "n_fft": 1024,
            "n_mels": 20,
            "dim": 8,
            "intermediate_dim": 8,
            "num_layers": 1,
            "linear_frames": 3,
        },
        backbone_config={"dim": 16, "intermediate_dim": 16, "num_layers": 2},
        head_config={"type": "harmonic", "fine_dim": 8, "fine_layers": 2, "linear_channels": 12},
    ).eval()
    with torch.no_grad():
        for parameter in codec.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        latents = torch.randn(1, 12, 60)
        whole = codec.decode(latents)
        joined = torch.cat(list(codec.decode_in_pieces(latents, 9)), -1)
    torch.testing.assert_close(joined, whole, rtol=0, atol=1e-4 * float(whole.abs().max()))
