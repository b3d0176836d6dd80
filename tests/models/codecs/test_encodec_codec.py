import sys

import pytest
import torch

from ns2_diffusers import EncodecCodec, VocosCodec
from ns2_diffusers.conversion.encodec import from_encodec

from .encodec_cases import STEREO, TINY, lively, write_encodec_weights


@pytest.fixture
def mono():
    return lively(EncodecCodec(**TINY))


@pytest.fixture
def stereo():
    return lively(EncodecCodec(**TINY, **STEREO))


@pytest.fixture
def encodec():
    """The encodec package; it imports torchaudio."""
    return pytest.importorskip("encodec")


def package_model(encodec, codec, path):
    """The model class of the `encodec` package, with the weights of `codec`."""
    modules, config = encodec.modules, codec.config
    sizes = codec.seanet_config | {"dimension": codec.latent_channels}
    made = encodec.EncodecModel(
        modules.SEANetEncoder(**sizes),
        modules.SEANetDecoder(**sizes),
        encodec.quantization.ResidualVectorQuantizer(codec.latent_channels, codec.num_codebooks, codec.codebook_size),
        target_bandwidths=[1.0],
        sample_rate=codec.sampling_rate,
        channels=codec.channels,
        normalize=config.normalize,
        segment=config.chunk_length_s,
    )
    made.load_state_dict(torch.load(path, weights_only=True))
    return made.eval()


# -- against the package and transformers --------------------------------------------------------------------


@pytest.mark.parametrize("kind, samples", [("mono", 1603), ("mono", 40), ("stereo", 2003), ("stereo", 700)])
def test_same_codes_and_waveform_as_the_package(encodec, kind, samples, request, tmp_path):
    ours = request.getfixturevalue(kind)
    theirs = package_model(encodec, ours, write_encodec_weights(ours, tmp_path / "weights.th"))
    waveform = 0.3 * torch.randn(2, ours.channels, samples)
    frames = theirs.encode(waveform)
    expected = torch.cat([codes for codes, _ in frames], dim=-1)
    latents, codes = ours.quantize(ours.encode(waveform))
    assert torch.equal(codes, expected)
    assert len(codes.unique()) > 8
    assert codes.shape[-1] == ours.latent_length(samples)
    decoded = ours.decode(latents, scales=ours.encode_scales(waveform))
    torch.testing.assert_close(decoded, theirs.decode(frames), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours(waveform).waveform, theirs(waveform), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [790, 792, 793, 800, 801, 1585, 1592, 1593])
def test_chunks_cover_the_audio_and_decode_finds_them_again(encodec, stereo, samples, tmp_path):
    theirs = package_model(encodec, stereo, write_encodec_weights(stereo, tmp_path / "weights.th"))
    waveform = 0.3 * torch.randn(1, 2, samples)
    latents, codes = stereo.quantize(stereo.encode(waveform))
    scales = stereo.encode_scales(waveform)
    frames = theirs.encode(waveform)[: scales.shape[-1]]
    assert torch.equal(codes, torch.cat([codes for codes, _ in frames], dim=-1))
    decoded = stereo.decode(latents, scales=scales)
    assert samples <= decoded.shape[-1] < samples + stereo.hop_length
    torch.testing.assert_close(decoded, theirs.decode(frames), atol=1e-5, rtol=1e-4)


def test_silence_has_no_volume_to_divide_by(stereo):
    half = EncodecCodec(**TINY, **STEREO).eval().half()
    for codec in (stereo, half):
        with torch.no_grad():
            assert codec.encode(torch.zeros(1, 2, 900, dtype=codec.dtype)).isfinite().all()


# -- masks, chunks, precision --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mono", "stereo"])
def test_a_padded_batch_gives_what_each_gives_alone(kind, request):
    codec = request.getfixturevalue(kind)
    waveform = 0.3 * torch.randn(3, codec.channels, 2003)
    mask = torch.ones(3, 2003, dtype=torch.bool)
    mask[1:, 1150:] = False
    alone = waveform[1:2, :, :1150]
    latents, latents_alone = codec.encode(waveform, mask), codec.encode(alone)
    frames = latents_alone.shape[-1]
    torch.testing.assert_close(latents[1:2, :, :frames], latents_alone, atol=1e-5, rtol=0)
    assert latents[1:, :, frames:].abs().max() == 0
    latent_mask, scales = codec.latent_mask(mask), codec.encode_scales(waveform, mask)
    assert latent_mask.sum(dim=1).tolist() == [latents.shape[-1], frames, frames]
    decoded = codec.decode(latents, latent_mask, scales)
    decoded_alone = codec.decode(latents_alone, scales=codec.encode_scales(alone))
    samples = decoded_alone.shape[-1]
    torch.testing.assert_close(decoded[1:2, :, :samples], decoded_alone, atol=1e-5, rtol=0)
    assert decoded[1:, :, samples:].abs().max() == 0
    output, output_alone = codec(waveform, mask), codec(alone)
    torch.testing.assert_close(output.waveform[1:2, :, :1150], output_alone.waveform, atol=1e-5, rtol=0)


def test_an_item_without_audio_is_refused(mono):
    mask = torch.ones(2, 100, dtype=torch.bool)
    mask[1] = False
    with pytest.raises(ValueError, match="item 1"):
        mono.encode(torch.randn(2, 1, 100), mask)


@pytest.mark.parametrize("residual_layers, samples", [(1, 4000), (1, 4007), (3, 3217), (1, 3199)])
def test_long_audio_in_chunks_is_the_same_in_bounded_memory(residual_layers, samples):
    codec = lively(EncodecCodec(**TINY, num_residual_layers=residual_layers))
    waveform = 0.3 * torch.randn(2, 1, samples)
    whole = codec.encode(waveform, chunk_length_s=None)
    seen = []
    for module in codec.encoder.modules():
        if isinstance(module, torch.nn.Conv1d):
            module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    chunked = codec.encode(waveform, chunk_length_s=0.05)
    assert max(seen) < 2 * 0.05 * 16000 + 100
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)
    assert torch.equal(codec.quantize(chunked)[1], codec.quantize(whole)[1])


def test_the_default_bounds_memory_for_a_long_recording(mono):
    seen = []
    mono.encoder.layers[0].conv.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        assert mono.encode(torch.zeros(1, 1, 16000 * 100)).shape == (1, 8, 100000)
    assert len(seen) == 3 and max(seen) < 16000 * 60


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype, tolerance):
    # Only strides of 2: torch 2.14 on CPUs with AMX computes one bfloat16 convolution wrongly, that of 16 to 32
    # channels, kernel 8, stride 4. The published sizes do not have it.
    sizes = {**TINY, "ratios": [2, 2, 2]}
    full = lively(EncodecCodec(**sizes))
    half = EncodecCodec(**sizes).eval()
    half.load_state_dict(full.state_dict())
    half = half.to(dtype)
    waveform = 0.3 * torch.randn(1, 1, 800)
    with torch.no_grad():
        latents = full.encode(waveform)
        expected = full.decode(latents)
        assert (half.encode(waveform.to(dtype)).float() - latents).norm() < tolerance * latents.norm()
        decoded = half.decode(latents.to(dtype))
    assert decoded.dtype == dtype
    assert (decoded.float() - expected).norm() < 2 * tolerance * expected.norm()


def test_saved_and_loaded(stereo, tmp_path):
    stereo.set_latent_statistics(torch.randn(8), torch.rand(8) + 0.5)
    stereo.save_pretrained(tmp_path)
    loaded = EncodecCodec.from_pretrained(tmp_path)
    waveform = 0.3 * torch.randn(1, 2, 900)
    assert torch.equal(loaded.encode(waveform), stereo.encode(waveform))
    assert torch.equal(loaded(waveform).waveform, stereo(waveform).waveform)
    assert loaded.fingerprint == stereo.fingerprint


def test_gradient_checkpointing_gives_the_same_gradients(mono):
    waveform = 0.3 * torch.randn(1, 1, 320)
    gradients = []
    for enable in (False, True):
        mono.gradient_checkpointing = False
        if enable:
            mono.enable_gradient_checkpointing()
        mono.zero_grad()
        output = mono(waveform)
        (output.waveform.square().mean() + output.commitment_loss).backward()
        gradients.append([p.grad.clone() for p in mono.parameters()])
    assert all(g.abs().sum() > 0 for g in gradients[0])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_it_trains():
    codec = EncodecCodec(**TINY).train()
    optimizer = torch.optim.Adam(codec.parameters(), 1e-2)
    waveform = 0.5 * torch.sin(torch.arange(640) * 0.05).expand(2, 1, -1)
    losses = []
    for _ in range(50):
        output = codec(waveform)
        loss = (output.waveform - waveform).square().mean() + 0.1 * output.commitment_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# -- what the paper says, what is missing --------------------------------------------------------------------


def test_defaults_are_the_papers():
    codec = EncodecCodec()
    assert (codec.sampling_rate, codec.hop_length, codec.channels) == (16000, 200, 1)
    assert codec.codebooks.shape == (16, 1024, 256)
    parameters = sum(p.numel() for p in codec.parameters()) + codec.codebooks.numel()
    assert parameters == pytest.approx(27e6, rel=0.1)  # table 11 of the paper


def test_unusual_layers_are_the_packages_too(encodec, tmp_path):
    """Every setting of the layers has an effect: each differs from its default here."""
    sizes = {"num_residual_layers": 2, "residual_kernel_size": 5, "dilation_base": 3, "compress": 1}
    sizes |= {"use_conv_shortcut": False, "kernel_size": 5, "last_kernel_size": 3, "lstm_layers": 1, "causal": False}
    ours = lively(EncodecCodec(**TINY, **sizes, pad_mode="replicate"))
    theirs = package_model(encodec, ours, write_encodec_weights(ours, tmp_path / "weights.th"))
    waveform = 0.3 * torch.randn(2, 1, 1603)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(waveform), theirs.encoder(waveform), atol=1e-5, rtol=1e-4)
        latents = torch.randn(2, 8, 50)
        torch.testing.assert_close(ours.decode(latents), theirs.decoder(latents), atol=1e-5, rtol=1e-4)


def test_no_layer_of_it_needs_the_encodec_package(mono, monkeypatch, tmp_path):
    """Published files load, and both codecs with SEANet layers run, without encodec and torchaudio."""
    path = write_encodec_weights(mono, tmp_path / "mono.th")
    for name in ("encodec", "torchaudio"):
        monkeypatch.setitem(sys.modules, name, None)
    sizes = {"sampling_rate": 16000, "latent_channels": 8, "num_filters": 4, "ratios": [4, 2, 2]}
    loaded = from_encodec(path, **sizes)
    waveform = 0.3 * torch.randn(1, 1, 1603)
    assert torch.equal(loaded(waveform).codes, mono(waveform).codes)
    config = {"type": "seanet", "ratios": [4, 2, 2], "n_filters": 4}
    vocos = VocosCodec(hop_length=16, latent_channels=8, encoder_config=config, head_config={"n_fft": 64})
    assert vocos.encode(waveform).shape == (1, 8, 101)


def test_layers_that_transformers_does_not_have_are_refused():
    with pytest.raises(ValueError, match="at least one LSTM layer, got lstm_layers=0"):
        EncodecCodec(**TINY, lstm_layers=0)
    with pytest.raises(ValueError, match="SEANet has no setting num_filters; it has channels"):
        VocosCodec(hop_length=320, encoder_config={"type": "seanet", "num_filters": 4})


def test_normalising_needs_chunks():
    with pytest.raises(ValueError, match="chunk_length_s"):
        EncodecCodec(**TINY, normalize=True)
