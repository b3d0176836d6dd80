import io
import os
import sys

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.audio.loading import find_speech, load_audio, seconds_in_header

from ..memory import linux, measured

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


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "aiff", "au", "caf", "w64", "rf64"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix):
    path = tmp_path / f"sine.{suffix}"
    soundfile.write(path, SINE, RATE)
    assert len(load_audio(path)[0]) == RATE
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    for audio in (path, {"bytes": path.read_bytes()}):
        with pytest.raises(ValueError, match="is cut off|cannot be read as audio"):
            load_audio(audio)


@pytest.mark.parametrize("kind", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("beyond", [0, 100], ids=["between two pages", "in the last page"])
def test_an_ogg_that_is_cut_off_is_warned_of(tmp_path, kind, beyond, caplog):
    path = tmp_path / "noise.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 10 * RATE), RATE, kind, format="OGG")
    content = path.read_bytes()
    load_audio(path)
    assert not caplog.records
    path.write_bytes(content[: content.rindex(b"OggS") + beyond])
    for audio in (path, {"bytes": path.read_bytes()}):
        heard = len(load_audio(audio)[0])
        assert 0 < heard < 10 * RATE
        assert f"may be cut off: {heard / RATE:.2f} s of it are read" in caplog.text
        caplog.clear()
    # The part of the file that is not needed is not checked.
    assert len(load_audio(path, max_seconds=1.0)[0]) == RATE and not caplog.records


@pytest.mark.parametrize("riff, data", [(0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0, 0), (0xFFFFFFFF, 0)])
def test_a_wav_from_a_pipe_has_placeholders_for_its_length_and_is_read(tmp_path, riff, data):
    path = tmp_path / "sine.wav"
    soundfile.write(path, SINE, RATE)
    wanted = load_audio(path)[0]
    path.write_bytes(patched(path, {4: riff, 40: data}))
    for audio in (path, {"bytes": path.read_bytes()}):
        assert torch.equal(load_audio(audio)[0], wanted)
    assert torch.equal(load_audio(path, max_seconds=0.5)[0], wanted[: RATE // 2])


def patched(path, numbers):
    content = bytearray(path.read_bytes())
    for offset, number in numbers.items():
        content[offset : offset + 4] = number.to_bytes(4, "little")
    return content


def flac_of_length(path, samples):
    """SINE as a FLAC file whose STREAMINFO states this number of samples: the last 36 bits before the checksum."""
    soundfile.write(path, SINE, RATE)
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | samples >> 32
    content[22:26] = (samples % 2**32).to_bytes(4, "big")
    path.write_bytes(content)
    return path


def test_a_flac_from_a_pipe_does_not_say_how_long_it_is_and_is_read(tmp_path):
    wanted = load_audio(flac_of_length(tmp_path / "known.flac", RATE))[0]
    path = flac_of_length(tmp_path / "piped.flac", 0)
    assert seconds_in_header(tmp_path / "known.flac") == 1 and seconds_in_header(path) == 0
    assert torch.equal(load_audio(path)[0], wanted) and len(wanted) == RATE


def run(code, *args):
    """Return what code prints in a process of its own, and its peak memory in MB less that of its imports."""
    *printed, megabytes = measured(
        "import sys, numpy as np\n"
        "from ns2_diffusers.audio.loading import load_audio\n"
        "load_audio((16000, np.ones(1000)), target_sampling_rate=8000)\n"
        "before = peak_megabytes()\n"
        "def attempt(*args, **options):\n"
        "    try:\n"
        "        return len(load_audio(*args, **options)[0])\n"
        "    except ValueError as error:\n"
        "        return error\n"
        f"{code}\n"
        "print(peak_megabytes() - before)",
        *args,
    )
    return printed, float(megabytes)


@linux
@pytest.mark.parametrize("samples", [2**31, 2**36 - 1])
def test_memory_is_for_what_a_flac_holds_not_for_what_it_promises(tmp_path, samples):
    path = flac_of_length(tmp_path / "promise.flac", samples)
    code = "print(attempt(sys.argv[1]))\nprint(attempt(sys.argv[1], max_seconds=0.5))"
    (error, count), megabytes = run(code, path)
    assert "is cut off" in error and int(count) == RATE // 2
    assert megabytes < 50


@linux
def test_memory_is_for_what_is_used_of_a_long_recording(tmp_path):
    """The file has ten minutes; only the 30 s that are needed use memory."""
    path = tmp_path / "silence.ogg"
    with soundfile.SoundFile(path, "w", 48000, 1, format="OGG") as file:
        for _ in range(600):
            file.write(np.zeros(48000, np.float32))
    assert path.stat().st_size < 2**20
    (count,), megabytes = run("print(attempt(sys.argv[1], None, 16000, 30))", path)
    assert int(count) == 30 * 16000 and megabytes < 60


@linux
def test_no_memory_for_a_rate_of_one_hertz(tmp_path):
    path = tmp_path / "slow.wav"
    soundfile.write(path, np.zeros(48000), RATE, subtype="PCM_16")
    path.write_bytes(patched(path, {24: 1, 28: 2}))
    (error,), megabytes = run("print(attempt(sys.argv[1], None, 16000))", path)
    assert "is 1; wanted a whole number of Hz from 1000 to 768000" in error and megabytes < 20


@linux
def test_an_array_is_cut_before_it_is_converted():
    code = (
        "array = np.lib.stride_tricks.as_strided(np.ones(1), (2, 10**10), (0, 0))\n"
        "print(attempt((16000, array), target_sampling_rate=8000, max_seconds=10))"
    )
    (count,), megabytes = run(code)
    assert int(count) == 80_000 and megabytes < 50


@pytest.mark.parametrize("rate", [0, -1, 1, 999, 768_001, 10**18, 16000.5, np.inf, -np.inf, np.nan, True, "16000", 1j])
def test_sampling_rates_out_of_bounds(rate):
    for audio, given in ((SINE, rate), ((rate, SINE), None), ({"array": SINE, "sampling_rate": rate}, None)):
        with pytest.raises(ValueError, match="wanted a whole number of Hz from 1000 to 768000"):
            load_audio(audio, given)
    with pytest.raises(ValueError, match="the sampling rate wanted is"):
        load_audio(SINE, RATE, rate)


@pytest.mark.parametrize("rate", [1000, 768_000, np.int64(8000), np.float32(8000)])
def test_sampling_rates_within_bounds(rate):
    waveform, got = load_audio(SINE, rate, 16000)
    assert got == 16000 and abs(len(waveform) - len(SINE) * 16000 / rate) <= 1


@pytest.mark.parametrize("target", [None, 8000, 24000])
def test_the_beginning_of_a_recording_is_as_in_all_of_it(tmp_path, target):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (5 * RATE, 2)).astype(np.float32)
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, RATE, subtype="FLOAT")
    for audio in (path, (RATE, noise), (RATE, noise.T), torch.from_numpy(noise)):
        whole, rate = load_audio(audio, None if isinstance(audio, (tuple, type(path))) else RATE, target)
        part, _ = load_audio(audio, None if isinstance(audio, (tuple, type(path))) else RATE, target, 1.2345)
        assert len(part) == int(1.2345 * rate)
        torch.testing.assert_close(part, whole[: len(part)], atol=1e-5, rtol=0)
    # Samples behind the part that is read are not checked.
    noise[3 * RATE] = np.nan
    assert torch.equal(load_audio((RATE, noise), None, target, 1.2345)[0], load_audio(path, None, target, 1.2345)[0])


@pytest.mark.parametrize("scale", [2**15, 2**31])
def test_floats_that_are_integers_in_disguise_are_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="divide what was 16-bit by 32768"):
        load_audio((RATE, SINE * scale))
    soundfile.write(tmp_path / "loud.wav", SINE * scale, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="floating-point samples of up to"):
        load_audio(tmp_path / "loud.wav")
    # Loud but plausible samples do not change.
    assert load_audio((RATE, SINE * 3))[0].max() == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_samples_that_are_not_finite(value):
    samples = SINE.astype(np.float64)
    samples[500] = value
    with pytest.raises(ValueError, match="NaN or infinite samples|far too|up to"):
        load_audio((RATE, samples))


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.uint32, np.complex64, object, "U1"])
def test_arrays_of_other_types(dtype):
    with pytest.raises(TypeError, match="wanted floating or integer samples"):
        load_audio((RATE, np.ones(1000).astype(dtype)))


@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (9, 9), (3, 4, 5), (100, 100)])
def test_arrays_of_other_shapes(shape):
    with pytest.raises(ValueError, match="wanted \\(samples,\\)|has no samples"):
        load_audio((RATE, np.ones(shape, np.float32)))


def test_what_has_no_header(tmp_path):
    path = tmp_path / "samples.raw"
    path.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match="cannot be read as audio"):
        load_audio(path)
    for content in (b"", b"RIFF", b"RIFF\0\0\0\0WAVEdata\0\0\0\0", bytes(1000), b"fLaC" + b"\xff" * 1000):
        with pytest.raises(ValueError, match="cannot be read as audio"):
            load_audio({"bytes": content})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are UTF-8")
def test_a_name_that_is_not_utf8(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    soundfile.write(tmp_path / "sine.wav", SINE, RATE)
    os.rename(tmp_path / "sine.wav", path)
    assert len(load_audio(path)[0]) == RATE


def test_a_decoder_of_datasets_is_asked_for_what_is_wanted():
    class Decoder:
        def get_all_samples(self):
            raise AssertionError("everything was decoded")

        def get_samples_played_in_range(self, start, stop):
            samples = torch.from_numpy(SINE)[None, int(start * RATE) : int(stop * RATE)]
            return type("Samples", (), {"data": samples, "sample_rate": RATE})()

    waveform, _ = load_audio(Decoder(), max_seconds=0.25)
    assert np.array_equal(waveform.numpy(), SINE[: RATE // 4])


def test_speech_is_found_between_silences():
    faint, loud = 0.001 * torch.from_numpy(SINE), torch.from_numpy(SINE)
    recording = torch.cat([faint, loud, faint[:1600]])
    # A margin of 100 ms at 16 kHz is 1600 samples; windows are 320, of which 16000 holds a whole number.
    assert find_speech(recording, RATE, threshold_db=40) == (16000 - 1600, 32000 + 1600)
    assert find_speech(recording, RATE, threshold_db=40, margin_seconds=0) == (16000, 32000)
    assert find_speech(recording, RATE, threshold_db=70) == (0, len(recording))
