"""Audio formats that are written in pieces are valid for other programs."""

import io
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from ns2_diffusers.audio.encoding import COMMON_RATE, FORMATS, UNKNOWN_LENGTH, AudioEncoder, encode_whole

RATE = 16000
KINDS = [kind for kind in FORMATS if kind != "pcm"]


@pytest.fixture(scope="module")
def speech(clips):
    audio, rate = soundfile.read(clips[0], dtype="float32")
    assert rate == RATE
    return audio


def in_pieces(audio, kind, rate=RATE, size=5000, **options):
    encoder = AudioEncoder(kind, rate, **options)
    parts = [encoder.encode(audio[start : start + size]) for start in range(0, len(audio), size)]
    return parts, encoder.finish()


def likeness(a, b):
    """The correlation of two waveforms; the second may be up to 0.2 s late."""
    length = min(len(a), len(b)) - 3200
    a = a[:length]
    products = np.correlate(b[: length + 3200], a)
    energy = np.convolve(b[: length + 3200] ** 2, np.ones(length), "valid")
    return (products / np.linalg.norm(a) / np.sqrt(energy)).max()


def test_pcm_is_the_samples(speech):
    parts, end = in_pieces(speech, "pcm")
    samples = np.frombuffer(b"".join(parts) + end, "<i2")
    np.testing.assert_allclose(samples / 32767, speech, atol=0.51 / 32767)
    assert [len(part) for part in parts[:-1]] == [10000] * (len(parts) - 1)


def test_loud_samples_are_clipped():
    data = AudioEncoder("pcm", RATE).encode(np.array([2.0, -3.0, 1.0, 0.0]))
    assert np.frombuffer(data, "<i2").tolist() == [32767, -32767, 32767, 0]


def test_wav_of_unknown_length(speech):
    parts, end = in_pieces(speech, "wav")
    data = b"".join(parts) + end
    assert int.from_bytes(data[40:44], "little") == UNKNOWN_LENGTH and len(data) == 44 + 2 * len(speech)
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(audio, speech, atol=2 / 32767)


@pytest.mark.parametrize("kind", ["mp3", "opus", "ogg", "flac"])
@pytest.mark.parametrize("program", ["libsndfile", "ffmpeg"])
def test_pieces_are_audio_before_the_end(speech, kind, program):
    parts, end = in_pieces(speech[:40000], kind, size=8000)
    assert sum(map(len, parts)) > 3 * len(end)
    data = b"".join(parts) + end
    if program == "ffmpeg":
        if not shutil.which("ffmpeg"):
            pytest.skip("ffmpeg is not installed")
        command = ["ffmpeg", "-v", "error", "-i", "-", "-ar", str(RATE), "-f", "f32le", "-"]
        done = subprocess.run(command, input=data, capture_output=True)
        assert done.stderr == b""
        audio = np.frombuffer(done.stdout, np.float32)
    elif kind == "flac":
        pytest.skip("libsndfile reads no FLAC of unknown length")
    else:
        audio = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    assert abs(len(audio) - 40000) < 0.2 * RATE
    assert likeness(speech[:40000], audio) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_say_how_long_they_are(speech, kind):
    data = encode_whole([speech[:7000], speech[7000:]], kind, RATE)
    info = soundfile.info(io.BytesIO(data))
    assert info.samplerate == RATE and abs(info.frames - len(speech)) <= (3000 if kind == "mp3" else 0)
    audio = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    assert likeness(speech, audio) > 0.95


@pytest.mark.parametrize("kind", FORMATS)
def test_rates_that_a_format_cannot_have_are_resampled(kind):
    tone = np.sin(2 * np.pi * 440 * np.arange(22050) / 10_000).astype(np.float32) / 2
    rate = 10_000
    encoder = AudioEncoder(kind, rate)
    assert encoder.sampling_rate == (COMMON_RATE if kind in ("mp3", "opus") else rate)
    audio = encode_whole([tone], "wav", rate, COMMON_RATE)
    samples, got = soundfile.read(io.BytesIO(audio), dtype="float32")
    assert got == COMMON_RATE and abs(len(samples) - len(tone) * 2.4) <= 1
    middle = samples[4000:-4000]
    wanted = np.sin(2 * np.pi * 440 * np.arange(4000, 4000 + len(middle)) / COMMON_RATE) / 2
    np.testing.assert_allclose(middle, wanted, atol=2e-3)


def test_pieces_are_resampled_without_seams(speech):
    whole = b"".join(map(bytes, in_pieces(speech, "pcm", size=len(speech), output_rate=COMMON_RATE)[0]))
    parts, end = in_pieces(speech, "pcm", size=777, output_rate=COMMON_RATE)
    a = np.frombuffer(b"".join(parts) + end, "<i2").astype(int)
    b = np.frombuffer(whole, "<i2").astype(int)
    assert np.abs(a[: len(b)] - b).max() <= 1


def test_what_cannot_be_encoded():
    with pytest.raises(ValueError, match="'mp4' is unknown; wanted one of wav"):
        AudioEncoder("mp4", RATE)
    with pytest.raises(ValueError, match="opus cannot have 44100 Hz"):
        AudioEncoder("opus", RATE, 44100)


def test_the_sink_does_not_grow():
    encoder = AudioEncoder("flac", RATE)
    for _ in range(50):
        encoder.encode(np.random.default_rng(0).normal(size=RATE).astype(np.float32) / 8)
        assert len(encoder._sink.pending) == 0
