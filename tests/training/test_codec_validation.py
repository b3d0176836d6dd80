import pytest
import torch

from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.training.codec_validation import measure_audibility


class Tones(torch.nn.Module):
    """A codec whose channel c is the loudness of a tone, with gain `gains[c]`; a channel of gain 0 is inaudible."""

    sampling_rate, hop_length, channels = 16000, 320, 1
    device = torch.device("cpu")

    def __init__(self, gains):
        super().__init__()
        self.gains = torch.tensor(gains)

    def encode(self, waveform):
        frames = waveform.shape[-1] // self.hop_length
        return torch.zeros(len(waveform), len(self.gains), frames)

    def quantize(self, latents):
        return latents, None

    def decode(self, latents):
        samples = latents.shape[-1] * self.hop_length
        time = torch.arange(samples) / self.sampling_rate
        tones = torch.stack([torch.sin(2 * torch.pi * 500 * 2**index * time) for index in range(len(self.gains))])
        # The loudness is one value per recording, so the spectrum of the tone is a line.
        loudness = torch.exp(self.gains[:, None] * latents.square().mean(2, keepdim=True).sqrt())
        return 0.1 * (loudness * tones).sum(1, keepdim=True)


def test_audibility_is_the_fourth_root_of_the_change_that_is_heard(clips):
    codec = Tones([1.0, 1.0, 0.25, 0.0])
    heard = measure_audibility(codec, clips[:8], clips=8, seconds=1.0)
    assert heard.dtype == torch.float64 and heard.square().mean().item() == pytest.approx(1)
    # An inaudible channel gets a tenth of the root mean square of all channels.
    others = heard[:3].square().sum() + heard[3].square()
    assert 0 < heard[3] < 0.12 and others == pytest.approx(4)
    # The root mean square of the noise is 0.5, so a constant of 0.5 changes the decoded audio as much.
    mel = LogMelSpectrogram(16000, floor=1e-3)
    reference = mel(codec.decode(torch.zeros(1, 4, 50)).flatten(0, 1))
    changes = []
    for channel in range(3):
        moved = torch.zeros(1, 4, 50)
        moved[:, channel] = 0.5
        changes.append((mel(codec.decode(moved).flatten(0, 1)) - reference).square().mean().item())
    wanted = torch.tensor(changes, dtype=torch.float64).pow(0.25)
    torch.testing.assert_close(heard[:3] / heard[0], wanted / wanted[0], rtol=0.05, atol=0)


def test_the_seed_determines_the_result(clips):
    codec = Tones([2.0, 1.0])
    first, again, other = (measure_audibility(codec, clips[:8], 4, 1.0, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("gains", "seconds", "message"), [([1.0], 1e4, "give longer ones"), ([0.0, 0.0], 1.0, "train the codec first")]
)
def test_nothing_to_measure(clips, gains, seconds, message):
    with pytest.raises(ValueError, match=message):
        measure_audibility(Tones(gains), clips[:2], 2, seconds)
