import math

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.mel import LogMelSpectrogram


@pytest.mark.parametrize("n_fft, hop", [(1024, 256), (1280, 320), (400, 160)])
def test_equals_transformers_spectrogram(clips, n_fft, hop):
    speech = load_audio(clips[0])[0][:12345]
    frames = math.ceil(len(speech) / hop)
    left = (n_fft - hop) // 2
    padded = np.pad(speech.numpy(), (left, (frames - 1) * hop + n_fft - left - len(speech)))
    expected = spectrogram(
        padded.astype(np.float64),
        np.hanning(n_fft + 1)[:-1],
        n_fft,
        hop,
        fft_length=n_fft,
        power=1.0,
        center=False,
        mel_filters=mel_filter_bank(n_fft // 2 + 1, 40, 0, 8000, 16000, "slaney", "slaney"),
        mel_floor=1e-5,
    )
    mel = LogMelSpectrogram(16000, n_fft, hop, n_mels=40)(speech[None])
    assert mel.shape == (1, 40, frames)
    np.testing.assert_allclose(mel[0].numpy(), np.log(expected), atol=2e-3)


@pytest.mark.parametrize("samples, frames", [(1, 1), (256, 1), (257, 2), (2560, 10), (2561, 11)])
def test_one_frame_per_started_hop(samples, frames):
    assert LogMelSpectrogram(16000)(torch.zeros(3, samples)).shape == (3, 80, frames)


def test_a_frame_is_centred_on_its_hop():
    impulse = torch.zeros(1, 2560)
    impulse[0, 5 * 256 + 128] = 1.0
    loudness = LogMelSpectrogram(16000)(impulse).exp().sum(dim=1)[0]
    assert loudness.argmax() == 5
    torch.testing.assert_close(loudness[4], loudness[6])


def test_silence_is_the_floor_and_zeros_after_the_end_change_nothing():
    mel = LogMelSpectrogram(16000)
    torch.testing.assert_close(mel(torch.zeros(1, 512)), torch.full((1, 80, 2), math.log(1e-5)))
    audio = torch.randn(1, 3000)
    padded = torch.nn.functional.pad(audio, (0, 2000))
    torch.testing.assert_close(mel(padded)[..., :12], mel(audio))


def test_a_window_shorter_than_the_hop_is_refused():
    with pytest.raises(ValueError, match="n_fft"):
        LogMelSpectrogram(16000, n_fft=128, hop_length=256)
