import numpy as np
import pytest
import torch

from ns2_diffusers import VocosCodec
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.audio.voice_filters import analyze_voice
from ns2_diffusers.data.recordings import read_span
from ns2_diffusers.training.codec_initialization import fit_codebooks, fit_linear_parts, keep_latent_channels
from ns2_diffusers.training.codec_losses import envelope_loss

CONFIG = {
    "sampling_rate": 16000,
    "hop_length": 320,
    "latent_channels": 24,
    "num_codebooks": 4,
    "codebook_size": 16,
    "encoder_config": {
        "n_fft": 1024,
        "n_mels": 40,
        "fine_hop_length": 80,
        "fine_n_mels": 20,
        "dim": 64,
        "intermediate_dim": 64,
        "num_layers": 1,
        "linear_frames": 3,
    },
    "backbone_config": {"dim": 16, "intermediate_dim": 16, "num_layers": 1},
    "head_config": {"type": "harmonic", "n_fft": 512, "fine_dim": 8, "fine_layers": 1, "linear_channels": 24},
}


@pytest.fixture(scope="module")
def fitted(clips):
    torch.manual_seed(0)
    codec = VocosCodec(**CONFIG).eval()
    fit_linear_parts(codec, clips[:16], clips=16, seconds=3, seed=0)
    return codec


def envelope_error(codec, waveform):
    found = torch.from_numpy(analyze_voice(waveform[0], 16000, 320, 80, 512).log_envelope).float()
    with torch.no_grad():
        made = codec(torch.from_numpy(waveform)[None], quantize=False).log_magnitudes
    return envelope_loss(made, found[None], 16000).item()


def test_an_untrained_codec_speaks_with_the_envelopes_and_the_f0_of_a_recording_it_was_not_fitted_to(fitted, clips):
    torch.manual_seed(0)
    unfitted = VocosCodec(**CONFIG).eval()
    for clip in clips[16:18]:
        waveform = read_span(clip, 16000, seconds=3)
        waveform = waveform[:, : waveform.shape[1] // 320 * 320]
        assert envelope_error(fitted, waveform) < min(0.65, 0.5 * envelope_error(unfitted, waveform))
        f0 = estimate_f0(torch.from_numpy(waveform[0]), 16000, 320).numpy()
        with torch.no_grad():
            said = fitted(torch.from_numpy(waveform)[None], quantize=False).log_f0[0].numpy()
        # A linear map predicts F0 within a few semitones.
        assert np.median(np.abs(said - np.log(np.maximum(f0, 1)))[f0 > 0]) < 0.15


def test_latents_are_log_f0_and_uncorrelated_components_in_order(fitted, clips):
    found = [analyze_voice(read_span(clip, 16000, seconds=3)[0], 16000, 320, 80, 512) for clip in clips[:16]]
    with torch.no_grad():
        latents = [fitted.encode(torch.from_numpy(read_span(clip, 16000, seconds=3))[None])[0] for clip in clips[:16]]
    latents = torch.cat([each[:, : len(f.f0)] for each, f in zip(latents, found, strict=True)], dim=1)
    speech = torch.cat([torch.from_numpy(f.log_envelope.mean(axis=0).reshape(-1, 4).mean(axis=1)) for f in found]) > -8
    spread = latents[1:, speech].std(dim=1)
    # The encoder reads the latents from its features, so they are not exact.
    assert spread[0] > spread[4] > spread[12] and spread[:4].min() > spread[-4:].max()


def test_it_is_the_same_for_the_same_seed(fitted, clips):
    torch.manual_seed(0)
    again = VocosCodec(**CONFIG).eval()
    fit_linear_parts(again, clips[:16], clips=16, seconds=3, seed=0)
    for name, tensor in fitted.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, atol=1e-4, rtol=1e-3)


def test_codebooks_come_near_the_latents_of_other_recordings(fitted, clips):
    fit_codebooks(fitted, clips[:16], clips=16, seconds=3, seed=0)
    assert fitted.quantizer.initialized and not fitted.training
    with torch.no_grad():
        latents = fitted.encode(torch.from_numpy(read_span(clips[17], 16000, seconds=3))[None])
        errors = []
        for books in (1, 4):
            codes = fitted.quantize(latents)[1][:, :books]
            errors.append((fitted.codes_to_latents(codes) - latents).square().mean() / latents.square().mean())
    assert errors[1] < 0.6 * errors[0] < 0.4


def test_a_codec_without_linear_parts_and_recordings_without_a_voice_are_refused(clips, tmp_path):
    import soundfile

    for part, setting in (("encoder_config", "linear_frames"), ("head_config", "linear_channels")):
        config = {name: value for name, value in CONFIG[part].items() if name != setting}
        with pytest.raises(ValueError, match="no linear parts"):
            fit_linear_parts(VocosCodec(**CONFIG | {part: config}), clips, 1, 1, 0)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    with pytest.raises(ValueError, match="no voice"):
        fit_linear_parts(VocosCodec(**CONFIG).eval(), [tmp_path / "silence.wav"], 2, 1, 0)


@pytest.fixture
def measured(fitted, clips):
    """A codec with codebooks and latent statistics; every other channel has a larger variance than the rest."""
    codec = VocosCodec.from_config(fitted.config)
    codec.load_state_dict(fitted.state_dict())
    fit_codebooks(codec.eval(), clips[:4], 4, 3.0, 0)
    deviations = torch.linspace(1.0, 0.5, 24)
    deviations[::2] += 1
    codec.set_latent_statistics(torch.linspace(-1, 1, 24), deviations)
    return codec


def test_channels_that_vary_least_are_left_out(measured, clips):
    smaller = keep_latent_channels(measured, 12)
    assert smaller.latent_channels == 12 and smaller.config.head_config["linear_channels"] == 12
    waveform = torch.from_numpy(read_span(clips[0], 16000, seconds=2))[None]
    with torch.no_grad():
        whole, kept = measured.encode(waveform), smaller.encode(waveform)
        torch.testing.assert_close(kept, whole[:, ::2])
        _, codes = measured.quantize(whole)
        old, new = measured.codes_to_latents(codes), smaller.codes_to_latents(codes)
        torch.testing.assert_close(new, old[:, ::2])
        # The decoder gets removed channels at their mean, except for the padding of convolutions.
        whole[:, 1::2] = 0
        outputs = [
            codec.backbone(codec.denormalize_latents(latents))
            for codec, latents in ((measured, whole), (smaller, kept))
        ]
        assert outputs[0].shape == (1, 100, 16)
        torch.testing.assert_close(*(output[:, 6:-6] for output in outputs))
        linear = measured.head.linear(measured.denormalize_latents(whole).transpose(1, 2))
        torch.testing.assert_close(smaller.head.linear(smaller.denormalize_latents(kept).transpose(1, 2)), linear)


@pytest.mark.parametrize("count", [0, 24, 25])
def test_channels_that_cannot_be_kept(measured, count):
    with pytest.raises(ValueError, match=f"{count} of 24 channels are wanted"):
        keep_latent_channels(measured, count)


def test_channels_are_not_chosen_without_statistics(fitted):
    with pytest.raises(ValueError, match="without latent statistics"):
        keep_latent_channels(fitted, 12)
