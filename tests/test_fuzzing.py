"""Random input within bounds: text, audio, arguments, voice files and notes. `fuzz/` searches longer."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ns2_diffusers import Voice
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.untrusted import check_config
from targets import CLEAR, TARGETS, outcome

FUZZ = Path(__file__).parents[1] / "fuzz"

# The inputs are the same in every run, and the time of one input has no limit on a busy machine.
bounded = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CORPUS = sorted(path for path in (FUZZ / "corpus").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_before(path):
    bad = "1_hz 2_ghz promise float cut half_ header integers no_fingerprint controls zero.txt".split()
    wanted = "clear error" if any(part in path.name for part in bad) else "right"
    assert outcome(path.parent.name, path.read_bytes()) == wanted


@bounded
@given(data=st.binary(max_size=300), name=st.sampled_from(sorted(TARGETS)))
def test_bytes(data, name):
    outcome(name, data)


@bounded
@given(st.text(max_size=120))
def test_text(text):
    outcome("text", text.encode(errors="surrogatepass"))


@bounded
@given(
    samples=st.lists(st.floats(width=32), max_size=50),
    repeat=st.integers(1, 400),
    rate=st.one_of(st.integers(-10, 10**20), st.floats(), st.sampled_from([8000, 44100])),
    seconds=st.floats(0.01, 10),
)
def test_audio_arrays(samples, repeat, rate, seconds):
    array = np.array(samples * repeat, np.float32)
    try:
        waveform, got = load_audio((rate, array), None, 16000, max_seconds=seconds)
    except CLEAR:
        return
    assert got == 16000 and 1000 <= rate <= 768_000 and len(waveform) <= seconds * 16000
    assert waveform.isfinite().all()


@bounded
@given(data=st.data(), suffix=st.sampled_from(["WAV", "FLAC", "OGG"]))
def test_audio_files_with_damage(data, suffix):
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(500) / 9) / 3, 8000, format=suffix)
    content = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, min(len(content), 120) - 1))] = data.draw(st.integers(0, 255))
    outcome("audio", bytes(content))


@bounded
@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]),
    fill=st.sampled_from([0.0, 1.0, 1e30, float("nan"), float("inf")]),
    fingerprint=st.one_of(st.text(max_size=80), st.none(), st.integers()),
)
def test_voices(tmp_path, shape, dtype, fill, fingerprint):
    latents = torch.full(shape, fill).to(dtype)
    try:
        voice = Voice(latents, fingerprint)
    except CLEAR:
        return
    assert dtype.is_floating_point and len(shape) == 2 and all(shape) and latents.isfinite().all()
    voice.save(tmp_path / "v.safetensors")
    loaded = Voice.load(tmp_path / "v.safetensors")
    assert torch.equal(loaded.latents, latents.float()) and loaded.codec_fingerprint == fingerprint


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=5),
    st.complex_numbers(),
    st.lists(st.floats(), max_size=3),
    st.binary(max_size=3),
)
ARGUMENTS = (
    "speaking_rate",
    "pitch_shift",
    "num_inference_steps",
    "guidance_scale",
    "temperature",
    "eta",
    "voice_matching",
    "generator",
    "latents",
    "durations",
    "pitch",
    "max_sentence_length",
    "max_batch_size",
    "max_characters",
    "max_seconds",
    "loudness",
    "limiter",
    "output_type",
)


@settings(bounded, max_examples=150)
@given(name=st.sampled_from(ARGUMENTS), value=anything)
def test_arguments(tiny_pipeline, monkeypatch, name, value):
    """Arguments are checked before anything is spoken."""
    monkeypatch.setattr(tiny_pipeline, "speak", lambda utterances, *args: [None] * len(utterances))
    monkeypatch.setattr("ns2_diffusers.pipelines.speaking.join_utterances", lambda *args: ())
    voice = Voice(torch.zeros(16, 50), tiny_pipeline.codec.fingerprint)
    try:
        tiny_pipeline("Yes.", voice=voice, **{name: value}, return_dict=True)
    except CLEAR as error:
        assert str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@bounded
@given(json_values)
def test_configs(config):
    try:
        check_config(config, "it")
    except ValueError as error:
        assert "config of it" in str(error)
