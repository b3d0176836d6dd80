import pytest
import torch

from ns2_diffusers.training.codec_losses import adversarial_loss, discriminator_loss, feature_matching_loss
from ns2_diffusers.training.discriminators import (
    CodecDiscriminator,
    PeriodDiscriminator,
    SideBySide,
    STFTDiscriminator,
)


def test_period_scores_depend_on_one_phase_each():
    discriminator = PeriodDiscriminator(period=3, channels=4)
    waveform = torch.randn(1, 300, requires_grad=True)
    scores, features = discriminator(waveform)
    assert scores.shape[-1] == 3 and len(features) == 4
    scores[..., 1].sum().backward()
    touched = waveform.grad.view(-1, 3).abs().sum(dim=0)
    assert touched[1] > 0 and touched[0] == touched[2] == 0


@pytest.mark.parametrize("samples", [299, 300, 301])
def test_any_length_fits_a_period(samples):
    scores, _ = PeriodDiscriminator(period=5, channels=4)(torch.randn(2, samples))
    assert scores.shape[-1] == 5


def test_stft_scores_have_the_rate_of_the_hop():
    scores, features = STFTDiscriminator(n_fft=256, channels=4)(torch.randn(2, 6400))
    assert scores.shape[0] == 2 and scores.shape[-1] == 50
    assert all(layer.shape[-1] == 50 for layer in features)


def test_all_of_them_take_channels_as_items():
    discriminator = CodecDiscriminator(n_ffts=(128, 256), periods=(2, 3), channels=4)
    stereo = torch.randn(2, 2, 1000)
    scores, features = discriminator(stereo)
    assert len(scores) == len(features) == 4
    mono, _ = discriminator(stereo[1:, 1:])
    for together, alone in zip(scores, mono, strict=True):
        torch.testing.assert_close(together[3:], alone, atol=1e-5, rtol=1e-4)


def test_it_learns_to_tell_noise_from_a_tone():
    torch.set_num_threads(1)  # one thread is faster for layers of this size
    discriminator = CodecDiscriminator(n_ffts=(128,), periods=(2,), channels=4)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    tone = torch.sin(torch.arange(500) * 0.3).expand(2, 1, -1)
    for _ in range(20):
        loss = discriminator_loss(discriminator(tone)[0], discriminator(torch.randn(2, 1, 500))[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = discriminator(tone)[0], discriminator(torch.randn(2, 1, 500))[0]
    assert all(r.mean() > f.mean() + 0.5 for r, f in zip(real, fake, strict=True))


@pytest.mark.parametrize("kind", ["light", "encodec"])
def test_each_loss_reaches_what_it_should(kind):
    if kind == "encodec":
        discriminator = pytest.importorskip("encodec.msstftd").MultiScaleSTFTDiscriminator(2)
    else:
        discriminator = CodecDiscriminator(n_ffts=(128, 256), periods=(2,), channels=2)
    discriminator = SideBySide(discriminator)
    real, made = (0.1 * torch.randn(2, 1, 4000, requires_grad=True) for _ in range(2))
    (real_scores, real_features), (made_scores, made_features) = discriminator(real, made)
    for expected, found in zip(discriminator.discriminator(made)[0], made_scores, strict=True):
        torch.testing.assert_close(found, expected)
    losses = {
        "adversarial": adversarial_loss(made_scores),
        "features": feature_matching_loss(real_features, made_features),
        "discriminator": discriminator_loss(real_scores, made_scores),
    }
    # The biases are left out: while no hinge is closed, their gradients of real and generated audio cancel.
    last = [
        (name, parameter)
        for name, parameter in discriminator.named_parameters()
        if ".out." in name or "conv_post" in name
    ]
    outputs = [p for name, p in last if not name.endswith("bias")]
    assert outputs
    reached = {}
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, [real, made, *outputs], retain_graph=True, allow_unused=True)
        reached[name] = [gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients]
    assert reached["adversarial"][:2] == [False, True]
    assert reached["features"][:2] == [False, True] and not any(reached["features"][2:])
    assert all(reached["discriminator"])
