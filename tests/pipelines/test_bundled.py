"""The voice in the box: where it is, and, once there are weights, that it speaks and sings."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.pipelines import bundled as home
from ns2_diffusers.pipelines.bundled import FOLDER, bundled

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROMPTS = sorted((BENCHMARKS / "prompts" / "kokoro").glob("*.ogg"))
needs_weights = pytest.mark.skipif(not (FOLDER / "model_index.json").exists(), reason="no weights in this checkout")


def test_it_is_a_pipeline_directory(tiny_pipeline_dir, monkeypatch):
    monkeypatch.setattr(home, "FOLDER", tiny_pipeline_dir)
    assert bundled() == tiny_pipeline_dir
    assert NaturalSpeech2Pipeline.from_pretrained(bundled()).sampling_rate == 16000


def test_without_weights_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="docs/bundled_voice.md"):
        bundled()


@pytest.fixture(scope="module")
def voice_in_the_box():
    pipe = NaturalSpeech2Pipeline.from_pretrained(bundled())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@needs_weights
def test_it_fits_in_a_wheel():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 60e6
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "consent" in card and "{scores}" not in card


def word_error_rate(pipe, **options):
    words = pytest.importorskip("ns2_diffusers.evaluation.words", reason="the eval extra is not installed")
    reader = words.WordReader()
    texts = (BENCHMARKS / "sentences.txt").read_text(encoding="utf-8").splitlines()[:8]
    prompts = [str(path) for path in itertools.islice(itertools.cycle(PROMPTS), len(texts))]
    generators = [torch.Generator().manual_seed(index) for index in range(len(texts))]
    output = pipe(texts, prompts, generator=generators, **options)
    heard = [reader.read(audio, output.sampling_rate) for audio in output.audios]
    return reader.word_error_rate(texts, heard)


@needs_weights
def test_its_words_are_heard(voice_in_the_box):
    assert word_error_rate(voice_in_the_box) <= 0.12


@needs_weights
def test_its_student_says_them_in_one_step():
    pipe = NaturalSpeech2Pipeline.from_pretrained(bundled())
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(bundled() / "few_steps")
    calls = []
    pipe.denoiser.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    assert word_error_rate(pipe, num_inference_steps=1) <= 0.12
    assert calls == [8]


MELODIES = {
    # Semitones above the first note, and beats.
    "scale": [(0, 1), (2, 1), (4, 1), (5, 1), (7, 1), (9, 1), (11, 1), (12, 1)],
    # "Ah! vous dirai-je, maman", France, before 1761.
    "tune": [(0, 1), (0, 1), (7, 1), (7, 1), (9, 1), (9, 1), (7, 2), (5, 1), (5, 1), (4, 1), (4, 1), (2, 1), (2, 1)]
    + [(0, 2)],
}


def sing(pipe, melody, prompt, lowest, beat=0.5):
    """Sing a melody on "la" by given durations and F0; audio, and the F0 asked for, a value a frame."""
    frames, symbols = round(beat * pipe.codec.frame_rate), "lˈɑ "
    durations, pitch = [8], [lowest]
    for semitones, beats in melody:
        durations += [4, 1, beats * frames - 6, 1]
        pitch += [lowest * 2 ** (semitones / 12)] * len(symbols)
    phonemes = (symbols * len(melody)).strip()
    durations, pitch = durations[: len(phonemes) + 1] + [8], pitch[: len(phonemes) + 1] + [lowest]
    generator = torch.Generator().manual_seed(0)
    output = pipe(phonemes=phonemes, durations=durations, pitch=pitch, prompt_audio=str(prompt), generator=generator)
    return output.audios[0], np.repeat(pitch, durations)


@needs_weights
@pytest.mark.parametrize(("voice", "lowest"), [("af_bella", 165.0), ("am_michael", 100.0)])
@pytest.mark.parametrize("name", MELODIES)
def test_it_sings(voice_in_the_box, name, voice, lowest):
    """The notes that were asked for, held to their ends."""
    prosody = pytest.importorskip("ns2_diffusers.evaluation.prosody")
    pytest.importorskip("pyworld", reason="the train extra is not installed")
    codec = voice_in_the_box.codec
    prompt = next(path for path in PROMPTS if path.stem == voice)
    audio, asked = sing(voice_in_the_box, MELODIES[name], prompt, lowest)
    f0 = estimate_f0(torch.from_numpy(audio), codec.sampling_rate, codec.hop_length).numpy()
    assert prosody.audible_voice(audio, f0).mean() > 0.75
    assert prosody.f0_median_error(f0, asked) < 50
