import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from ns2_diffusers import VocosCodec
from ns2_diffusers.training.codec_losses import (
    LossBalancer,
    MultiResolutionMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    multi_resolution_stft_loss,
)
from ns2_diffusers.training.codec_objective import CodecObjective, CodecObjectiveConfig
from ns2_diffusers.training.discriminators import CodecDiscriminator, SideBySide
from ns2_diffusers.training.losses import pitch_loss

SAMPLES = 4800


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def codec():
    torch.manual_seed(0)
    small = {"dim": 8, "intermediate_dim": 8, "num_layers": 1}
    return VocosCodec(
        sampling_rate=16000,
        hop_length=160,
        latent_channels=6,
        num_codebooks=2,
        codebook_size=4,
        encoder_config={"n_fft": 640, "n_mels": 20, **small},
        backbone_config=small,
        head_config={"type": "harmonic", "n_fft": 256, "fine_hop_length": 80, "fine_dim": 4, "fine_layers": 1},
    )


@pytest.fixture
def discriminator():
    torch.manual_seed(1)
    return SideBySide(CodecDiscriminator([256], [], 2))


@pytest.fixture
def batch():
    torch.manual_seed(2)
    f0 = torch.full((2, SAMPLES // 160), 150.0)
    f0[:, :5] = 0
    mask = torch.ones(2, SAMPLES, dtype=torch.bool)
    return {"waveform": 0.1 * torch.randn(2, 1, SAMPLES), "sample_mask": mask, "f0": f0}


def gradients(model):
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def run(accelerator, codec, discriminator, batch, step=0, **settings):
    config = CodecObjectiveConfig(**settings)
    objective = CodecObjective(accelerator, codec, codec, discriminator, config)
    torch.manual_seed(3)
    for model in (codec, discriminator):
        model.zero_grad()
    losses = objective(batch, step)
    return losses, gradients(codec), gradients(discriminator)


WEIGHTS = {"mel_weight": 2.0, "stft_weight": 0.5, "f0_weight": 3.0, "commitment_weight": 0.0}
WEIGHTS |= {"adversarial_weight": 0.7, "feature_matching_weight": 0.3}


def test_the_gradients_are_those_of_the_weighted_sum(accelerator, codec, discriminator, batch):
    losses, found, of_discriminator = run(accelerator, codec, discriminator, batch, **WEIGHTS, quantizer_start_step=1)
    torch.manual_seed(3)
    codec.zero_grad()
    output = codec.train()(batch["waveform"], batch["sample_mask"], quantize=False, f0=batch["f0"])
    (real_scores, real_features), (made_scores, made_features) = discriminator(batch["waveform"], output.waveform)
    mask = codec.latent_mask(batch["sample_mask"])
    terms = {
        "mel": MultiResolutionMelLoss(16000)(output.waveform, batch["waveform"]),
        "stft": multi_resolution_stft_loss(output.waveform, batch["waveform"]),
        "f0": pitch_loss(output.log_f0, batch["f0"], mask),
        "adversarial": adversarial_loss(made_scores),
        "feature_matching": feature_matching_loss(real_features, made_features),
    }
    assert set(losses) == {*terms, "discriminator"}
    for name, value in terms.items():
        torch.testing.assert_close(losses[name], value)
    total = sum(WEIGHTS[f"{name}_weight"] * value for name, value in terms.items())
    wanted = torch.autograd.grad(total, list(codec.parameters()), retain_graph=True, allow_unused=True)
    for (name, _), gradient in zip(codec.named_parameters(), wanted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6, msg=name)
    # The discriminators learn only from their own loss.
    loss = discriminator_loss(real_scores, made_scores)
    wanted = torch.autograd.grad(loss, list(discriminator.parameters()))
    for (name, _), gradient in zip(discriminator.named_parameters(), wanted, strict=True):
        torch.testing.assert_close(of_discriminator[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_discriminators_warm_up_alone(accelerator, codec, discriminator, batch):
    settings = WEIGHTS | {"quantizer_start_step": 9, "discriminator_warmup_steps": 2}
    losses, of_codec, of_discriminator = run(accelerator, codec, discriminator, batch, step=1, **settings)
    assert set(losses) == {"discriminator"} and not of_codec and of_discriminator
    losses, of_codec, _ = run(accelerator, codec, discriminator, batch, step=2, **settings)
    assert "adversarial" in losses and of_codec


def test_what_comes_in_late(accelerator, codec, discriminator, batch):
    settings = {"adversarial_weight": 1.0, "adversarial_start_step": 4, "discriminator_interval": 3}
    settings["quantizer_start_step"] = 9
    names = {step: set(run(accelerator, codec, discriminator, batch, step, **settings)[0]) for step in (3, 4, 6)}
    assert names[3] == {"mel", "f0"}
    assert names[4] == {"mel", "f0", "adversarial", "feature_matching"}
    assert names[6] == names[4] | {"discriminator"}


def test_codebooks_start_before_the_first_codes(accelerator, codec, discriminator, batch):
    calls = []
    config = CodecObjectiveConfig(quantizer_start_step=1)

    def start():
        calls.append("start")
        codec.quantizer.initialize(torch.randn(1, 6, 100))

    objective = CodecObjective(accelerator, codec, codec, discriminator, config, start)
    assert "commitment" not in objective(batch, 0) and not calls
    for _ in range(2):
        assert "commitment" in objective(batch, 1)
    assert calls == ["start"]


def test_balanced_losses_have_a_gradient_of_their_weights(accelerator, codec, discriminator, batch):
    settings = {"balance_losses": True, "stft_weight": 1.0, "quantizer_start_step": 9, "f0_weight": 0.0}
    _, found, _ = run(accelerator, codec, discriminator, batch, **settings)
    torch.manual_seed(3)
    codec.zero_grad()
    output = codec.train()(batch["waveform"], batch["sample_mask"], quantize=False, f0=batch["f0"])
    made = output.waveform.detach().requires_grad_()
    losses = {
        "mel": MultiResolutionMelLoss(16000)(made, batch["waveform"]),
        "stft": multi_resolution_stft_loss(made, batch["waveform"]),
    }
    weights = {"mel": 1.0, "stft": 1.0, "adversarial": 0.0, "feature_matching": 2.0}
    (gradient,) = torch.autograd.grad(LossBalancer(weights)(losses, made), made)
    output.waveform.backward(gradient)
    for name, wanted in gradients(codec).items():
        torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=1e-6, msg=name)
