import io

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.audio.loading import find_speech, load_audio, seconds_in_header

RATE = 16000
SINE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def test_float_samples_come_back_as_they_are():
    waveform, rate = load_audio(SINE, RATE)
    assert rate == RATE and waveform.dtype == torch.float32
    assert np.array_equal(waveform.numpy(), SINE)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"), [(np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 2**7, 128)]
)
def test_integers_are_scaled_to_one(dtype, scale, offset):
    samples = np.round(SINE.astype(np.float64) * scale + offset).astype(dtype)
    waveform, _ = load_audio((RATE, samples))
    np.testing.assert_allclose(waveform.numpy(), SINE, atol=1 / scale)


def test_channels_are_averaged_whichever_way_they_lie():
    two = np.stack([SINE, np.zeros_like(SINE)])
    for samples in (two, two.T, torch.from_numpy(two)):
        np.testing.assert_allclose(load_audio(samples, RATE)[0].numpy(), SINE / 2, atol=1e-7)


@pytest.mark.parametrize("target", [8000, 22050, 24000, 48000])
def test_resampling_keeps_length_and_tone(target):
    waveform, rate = load_audio(SINE, RATE, target)
    assert rate == target and abs(len(waveform) - target) <= 1
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(len(waveform))))
    assert np.argmax(spectrum) == pytest.approx(440, abs=1)
    assert waveform[target // 4 : -target // 4].abs().max().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_files(tmp_path, suffix):
    path = tmp_path / f"sine.{suffix}"
    soundfile.write(path, SINE, RATE)
    lossy = suffix in ("ogg", "mp3")
    for audio in (str(path), path, {"path": str(path)}, {"bytes": path.read_bytes(), "path": None}):
        waveform, rate = load_audio(audio)
        assert rate == RATE
        middle = slice(4000, 12000)
        expected = SINE[middle]
        if not lossy:
            np.testing.assert_allclose(waveform.numpy()[middle], expected, atol=1e-4)
        assert waveform[middle].abs().max().item() == pytest.approx(0.5, abs=0.05 if lossy else 1e-3)


def test_a_decoder_of_datasets():
    class Decoder:
        def get_all_samples(self):
            return type("Samples", (), {"data": torch.from_numpy(SINE)[None], "sample_rate": RATE})()

    waveform, rate = load_audio(Decoder())
    assert rate == RATE and np.array_equal(waveform.numpy(), SINE)


def test_half_precision_tensors():
    waveform, _ = load_audio(torch.from_numpy(SINE).bfloat16(), RATE)
    np.testing.assert_allclose(waveform.numpy(), SINE, atol=2e-3)


@pytest.mark.parametrize("audio", [None, 3, "", io.StringIO("x"), [0.1, 0.2]])
def test_what_is_no_audio_is_refused(audio):
    with pytest.raises((TypeError, ValueError)) as raised:
        load_audio(audio, RATE)
    assert "give" in str(raised.value) or "no audio file" in str(raised.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"sine.{suffix}"
    soundfile.write(path, SINE, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for audio in (path, {"bytes": path.read_bytes()}):
        with pytest.raises(ValueError, match="is cut off|cannot be read as audio"):
            load_audio(audio)


def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_read(tmp_path):
    path = tmp_path / "sine.wav"
    soundfile.write(path, SINE, RATE)
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(load_audio(path)[0]) == RATE


def test_a_flac_from_a_pipe_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "sine.flac"
    soundfile.write(path, SINE, RATE)
    assert seconds_in_header(path) == 1
    content = bytearray(path.read_bytes())
    # The last 36 bits before the checksum of STREAMINFO: how many samples there are, 0 for unknown.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert seconds_in_header(path) == 0
    with pytest.raises(ValueError, match="sine.flac' does not say how long it is.*ffmpeg"):
        load_audio(path)


def test_speech_is_found_between_silences():
    faint, loud = 0.001 * torch.from_numpy(SINE), torch.from_numpy(SINE)
    recording = torch.cat([faint, loud, faint[:1600]])
    # A margin of 100 ms at 16 kHz is 1600 samples; windows are 320, of which 16000 holds a whole number.
    assert find_speech(recording, RATE, threshold_db=40) == (16000 - 1600, 32000 + 1600)
    assert find_speech(recording, RATE, threshold_db=40, margin_seconds=0) == (16000, 32000)
    assert find_speech(recording, RATE, threshold_db=70) == (0, len(recording))
