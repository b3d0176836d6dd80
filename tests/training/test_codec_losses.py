import numpy as np
import pytest
import torch

from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.training.codec_losses import (
    LossBalancer,
    MultiResolutionMelLoss,
    adversarial_loss,
    bin_weights,
    discriminator_loss,
    envelope_loss,
    feature_matching_loss,
    multi_resolution_stft_loss,
)


def test_mel_loss_is_the_mean_difference_of_log_mels():
    prediction, target = 0.1 * torch.randn(2, 2, 1, 4000)
    loss = MultiResolutionMelLoss(16000, n_ffts=(256, 1024), n_mels=(16, 64))
    expected = 0.0
    for n_fft, bands in ((256, 16), (1024, 64)):
        mel = LogMelSpectrogram(16000, n_fft, n_fft // 4, bands)
        expected += np.abs(mel(prediction[:, 0]).numpy() - mel(target[:, 0]).numpy()).mean() / 2
    assert loss(prediction, target).item() == pytest.approx(expected, rel=1e-5)
    assert loss(target, target) == 0


def test_mel_loss_of_a_gain_is_its_logarithm():
    target = torch.randn(1, 1, 16000)
    loss = MultiResolutionMelLoss(16000)(0.5 * target, target)
    assert loss.item() == pytest.approx(np.log(2), rel=1e-4)


def test_mel_loss_takes_channels_one_by_one():
    prediction, target = torch.randn(2, 1, 2, 4000)
    loss = MultiResolutionMelLoss(16000)
    single = torch.stack([loss(prediction[:, i : i + 1], target[:, i : i + 1]) for i in range(2)]).mean()
    torch.testing.assert_close(loss(prediction, target), single)


def test_stft_loss_of_a_gain():
    # ‖|t| − |t|/2‖ / ‖|t|‖ = 1/2 and |log 2|, at every resolution.
    target = torch.randn(1, 1, 8000)
    loss = multi_resolution_stft_loss(0.5 * target, target)
    assert loss.item() == pytest.approx(0.5 + np.log(2), rel=1e-3)
    assert multi_resolution_stft_loss(target, target) == 0


def test_stft_loss_against_numpy():
    prediction, target = torch.randn(2, 1, 1, 1024)
    spectra = []
    for wave in (prediction, target):
        padded = np.pad(wave[0, 0].numpy().astype(np.float64), (192, 192))
        frames = np.stack([padded[i * 128 : i * 128 + 512] for i in range(8)])
        spectra.append(np.abs(np.fft.rfft(frames * np.hanning(513)[:-1])))
    p, t = spectra
    expected = np.linalg.norm(t - p) / np.linalg.norm(t) + np.abs(np.log(t / p)).mean()
    assert multi_resolution_stft_loss(prediction, target, n_ffts=(512,)).item() == pytest.approx(expected, rel=1e-3)


def test_hinge_losses_by_hand():
    real = [torch.tensor([2.0, 0.5]), torch.tensor([[-1.0]])]
    fake = [torch.tensor([-3.0, 0.25]), torch.tensor([[0.5]])]
    # first: (0 + 0.5)/2 + (0 + 1.25)/2 = 0.875; second: 2 + 1.5 = 3.5
    assert discriminator_loss(real, fake).item() == pytest.approx((0.875 + 3.5) / 2)
    # first: (4 + 0.75)/2 = 2.375; second: 0.5
    assert adversarial_loss(fake).item() == pytest.approx((2.375 + 0.5) / 2)


def test_feature_matching_by_hand():
    real = [[torch.tensor([1.0, -3.0])], [torch.tensor([2.0]), torch.tensor([4.0])]]
    fake = [[torch.tensor([2.0, -1.0])], [torch.tensor([2.0]), torch.tensor([1.0])]]
    # (1 + 2)/2 over (1 + 3)/2; 0 over 2; 3 over 4
    assert feature_matching_loss(real, fake).item() == pytest.approx((0.75 + 0.0 + 0.75) / 3)


def test_feature_matching_teaches_only_the_codec():
    real = [[torch.ones(3, requires_grad=True)]]
    fake = [[torch.zeros(3, requires_grad=True)]]
    feature_matching_loss(real, fake).backward()
    assert real[0][0].grad is None
    torch.testing.assert_close(fake[0][0].grad, torch.full((3,), -1 / 3))


def test_balanced_weights_are_shares_of_the_gradient():
    output = torch.tensor([1.0, 2.0, -1.0], requires_grad=True)
    losses = {"huge": 1000 * output[0], "tiny": 1e-3 * output[1:].sum()}
    balancer = LossBalancer({"huge": 1.0, "tiny": 3.0}, total_norm=2.0)
    (gradient,) = torch.autograd.grad(balancer(losses, output), output)
    # 2 · 1/4 along the first, 2 · 3/4 along (0, 1, 1)/√2.
    torch.testing.assert_close(gradient, torch.tensor([0.5, 1.5 / 2**0.5, 1.5 / 2**0.5]))


def test_balancer_averages_norms_at_its_interval():
    output = torch.ones(4, requires_grad=True)
    balancer = LossBalancer({"a": 1.0, "b": 1.0}, decay=0.9, interval=2)

    def scale_of_a(factor):
        return torch.autograd.grad(balancer({"a": factor * output[0]}, output), output)[0][0].item()

    assert scale_of_a(1.0) == pytest.approx(1.0)
    assert scale_of_a(5.0) == pytest.approx(5.0)  # not measured at this step
    assert scale_of_a(5.0) == pytest.approx(5.0 / (0.9 * 1 + 0.1 * 5))
    balancer({"a": output[0], "b": 7 * output[0]}, output)  # a new loss is measured at once
    assert balancer.norms["b"] == pytest.approx(7.0)

    resumed = LossBalancer({"a": 1.0, "b": 1.0}, decay=0.9, interval=2)
    resumed.load_state_dict(balancer.state_dict())
    losses = {"a": 2 * output[0], "b": 3 * output[1]}
    assert resumed(losses, output) == balancer(losses, output)
    assert resumed.state_dict() == balancer.state_dict()


def test_balancer_forgets_what_is_not_finite():
    output = torch.ones(2, requires_grad=True)
    balancer = LossBalancer({"a": 1.0}, interval=1)
    balancer({"a": output.sum() * torch.nan}, output)
    total = balancer({"a": 4 * output[0]}, output)
    assert torch.autograd.grad(total, output)[0].tolist() == [1.0, 0.0]


def test_weights_of_bins_are_half_flat_and_half_the_density_of_mel_bands():
    weights = bin_weights(512, 16000).numpy()
    frequencies = np.arange(257) * 16000 / 512
    density = np.gradient(2595 * np.log10(1 + frequencies / 700), frequencies)[1:-1]
    doubled = 2 * weights[1:-1] - 1
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(doubled / doubled[0], density / density[0], rtol=1e-2)


def test_envelope_loss_adds_the_power_of_pulses_and_noise():
    log_envelope = torch.randn(2, 129, 12) - 6
    # Shares of the power: a quarter and three quarters.
    shares = 0.5 * torch.tensor([0.25, 0.75]).log().view(1, 2, 1, 1)
    magnitudes = log_envelope[:, None] + shares
    assert envelope_loss(magnitudes, log_envelope, 16000).item() == pytest.approx(0, abs=1e-5)
    assert envelope_loss(magnitudes + 0.3, log_envelope, 16000).item() == pytest.approx(0.3, rel=1e-4)
    longer = torch.cat([magnitudes, torch.zeros(2, 2, 129, 4)], dim=3)
    assert envelope_loss(longer, log_envelope, 16000).item() == pytest.approx(0, abs=1e-5)


def test_envelope_loss_hardly_hears_silence():
    log_envelope = torch.cat([torch.full((1, 129, 10), -3.0), torch.full((1, 129, 10), -10.0)], dim=2)
    magnitudes = torch.stack([log_envelope, torch.full_like(log_envelope, -30)], dim=1)
    losses = []
    for part in (slice(0, 10), slice(10, 20)):
        wrong = magnitudes.clone()
        wrong[:, 0, :, part] += 1
        losses.append(envelope_loss(wrong, log_envelope, 16000).item())
    assert sum(losses) == pytest.approx(1, rel=1e-4) and losses[0] > 8 * losses[1] > 0
