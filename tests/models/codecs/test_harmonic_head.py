import numpy as np
import pytest
import torch

from ns2_diffusers.models.codecs.harmonic_head import HarmonicHead, minimum_phase


def tiny_head(**kwargs):
    sizes = {"fine_hop_length": 80, "n_fft": 256, "fine_dim": 8, "fine_layers": 1}
    return HarmonicHead(12, 16000, 320, **{**sizes, **kwargs}).eval()


def test_pulses_have_every_harmonic_at_one_level_and_nothing_between():
    f0 = torch.full((1, 50), 200.0)
    pulses = tiny_head()._pulses(f0, None)[0].numpy()
    assert np.square(pulses).mean() == pytest.approx(1, rel=0.05)
    spectrum = np.abs(np.fft.rfft(pulses))  # bins of 1 Hz
    harmonics = spectrum[200:8000:200].copy()
    np.testing.assert_allclose(harmonics, harmonics[0], rtol=1e-3)
    spectrum[200:8000:200] = 0
    assert spectrum[:7900].max() < 1e-2 * harmonics[0]


def test_pulses_follow_a_glide():
    f0 = torch.linspace(100, 300, 100)[None]
    pulses = tiny_head()._pulses(f0, None)[0].numpy()
    peaks = np.flatnonzero((pulses[1:-1] > pulses[:-2]) & (pulses[1:-1] >= pulses[2:]) & (pulses[1:-1] > 3)) + 1
    seconds = (peaks[1:] + peaks[:-1]) / 2 / 16000
    np.testing.assert_allclose(16000 / np.diff(peaks), 100 + 200 * (seconds - 0.01) / 1.98, rtol=0.02)


def test_minimum_phase_is_that_of_a_resonator():
    z = np.exp(-1j * np.pi * np.arange(257) / 256)
    wanted = 1 / (1 - 1.6 * z + 0.8 * z**2)  # poles inside the circle
    got = minimum_phase(torch.tensor(np.log(np.abs(wanted)), dtype=torch.float32)[None, :, None], dim=1)
    np.testing.assert_allclose(got[0, :, 0].numpy(), wanted, atol=1e-4)


def test_flat_filters_add_pulses_and_noise():
    head = tiny_head()
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
        f0 = torch.full((1, 20), 150.0)
        waveform = head(torch.randn(1, 20, 12), f0=f0).waveform
        pulses = head._pulses(f0, None)
        # The first and the last window overlap with no neighbour, so the windows do not sum to one there.
        torch.testing.assert_close(
            waveform[:, 40:-40], (pulses + head._noise(pulses))[:, 40:-40], atol=1e-4, rtol=1e-4
        )


def test_f0_is_predicted_where_none_is_given():
    head, states = tiny_head(), torch.randn(1, 30, 12)
    with torch.no_grad():
        alone, log_f0, _ = head(states)
        head.train(False)
        given = head(states, f0=log_f0.exp()).waveform
        half = head(states, f0=torch.where(torch.arange(30) < 15, log_f0.exp(), 0.0)).waveform
        other = head(states, f0=2 * log_f0.exp()).waveform
    assert torch.equal(alone, given) and torch.equal(alone, half)
    assert (alone - other).norm() > 0.1 * alone.norm()


def test_decoding_repeats_and_training_draws_new_noise():
    head, states = tiny_head(), torch.randn(1, 30, 12)
    assert torch.equal(head(states)[0], head(states)[0])
    head.train()
    assert not torch.equal(head(states)[0], head(states)[0])


def test_a_padded_batch_gives_what_each_gives_alone():
    head, states = tiny_head(), torch.randn(2, 30, 12)
    mask = torch.arange(30) < torch.tensor([[30], [17]])
    with torch.no_grad():
        batch = head(states, mask).waveform
        alone = head(states[1:, :17]).waveform
    torch.testing.assert_close(batch[1:, : 17 * 320], alone, atol=1e-5, rtol=0)
    assert batch[1, 17 * 320 :].abs().max() == 0 and alone.abs().max() > 1e-3


@pytest.mark.parametrize("sizes", [{"fine_hop_length": 100}, {"fine_hop_length": 5}, {"n_fft": 128}])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ValueError, match="must be"):
        tiny_head(**sizes)


def test_log_magnitudes_and_f0_depend_linearly_on_latents_where_they_are_to():
    plain, linear = tiny_head(), tiny_head(linear_channels=5)
    linear.load_state_dict(plain.state_dict() | {k: v for k, v in linear.state_dict().items() if "linear" in k})
    states, latents = torch.randn(2, 30, 12), torch.randn(2, 30, 5)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(plain(states), linear(states, latents=latents), strict=True))
        torch.nn.init.normal_(linear.linear.weight, std=0.1)
        torch.nn.init.normal_(linear.linear_f0.weight, std=0.1)
        before, after = plain(states), linear(states, latents=latents)
        f0 = latents @ linear.linear_f0.weight[0]
        # Four fine frames of the 129 bins of the pulses, then those of the noise.
        added = (latents @ linear.linear.weight.T).view(2, 30, 4, 2, 129).permute(0, 3, 4, 1, 2).flatten(3)
    torch.testing.assert_close(after.log_f0, before.log_f0 + f0)
    torch.testing.assert_close(after.log_magnitudes, before.log_magnitudes + added, atol=1e-5, rtol=1e-5)
