"""Range of F0, energy and emphasis, without training."""

import numpy as np
import pytest
import torch

from ns2_diffusers.pipelines import style
from ns2_diffusers.pipelines.style import emphasis_of_symbols, set_energy
from ns2_diffusers.pipelines.utterances import Utterance
from ns2_diffusers.text.words import WordSymbols

TEXT = "I never said that she stole it."
EMPHASISED = TEXT.replace("never", "<emphasis level='strong'>never</emphasis>")


def utterance(symbols=4, **style):
    return Utterance(np.zeros(symbols, np.int64), None, 0, **style)


def test_symbols_of_emphasised_words():
    words = [WordSymbols("I", 1, 2, 0, 1), WordSymbols("never,", 3, 5, 2, 8)]
    assert emphasis_of_symbols([(2, 7, 2.0)], words, 7).tolist() == [0, 0, 0, 2, 2, 0, 0]
    assert emphasis_of_symbols([(8, 9, 2.0)], words, 7) is None


def test_factors_of_symbols():
    plain = utterance(2, speaking_rate=0.5, pitch_shift=1.0)
    assert style.rates([plain]).tolist() == [0.5] and style.shifts([plain]).tolist() == [1.0]
    both = [plain, utterance(3, emphasis=np.array([0, 2, -1], np.float32))]
    np.testing.assert_allclose(style.rates(both), [[0.5] * 3, [1, 1.15**-2, 1.15]], rtol=1e-6)
    np.testing.assert_allclose(style.shifts(both), [[1] * 3, [0, 2, -1]])
    assert style.ranges(both) == 1.0 and style.ranges([plain, utterance(pitch_range=2)]).tolist() == [1, 2]


@pytest.mark.parametrize("kind", [np.float32, torch.float32])
def test_energy(kind):
    samples = np.ones((2, 4000), np.float32) if kind is np.float32 else torch.ones(2, 4000)
    form = {"durations": np.array([4, 2, 4]), "hop_length": 400, "sampling_rate": 16000}
    assert set_energy(samples, utterance(3), **form) is samples
    assert (set_energy(samples, utterance(3, energy=0.5), **form) == 0.5).all()
    found = set_energy(samples, utterance(3, energy=0.5, emphasis=np.array([0, 2, 0], np.float32)), **form)
    assert type(found) is type(samples) and found.dtype == kind
    gain = np.asarray(found)[1]
    # Half at the edges of the word, which are 30 ms wide.
    assert gain[0] == pytest.approx(0.5) and gain[2000] == pytest.approx(0.5 * 1.44)
    assert gain[1600] == pytest.approx(0.5 * 1.22, rel=1e-2) and gain[1600 - 250] == pytest.approx(0.5)


@pytest.fixture
def speak(tiny_pipeline, clips):
    voice = tiny_pipeline.encode_voice(clips[0])

    def speak(text, **options):
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline(text, voice=voice, num_inference_steps=2, generator=generator, **options)

    return speak


def test_range_of_f0(speak):
    plain, wide, flat = (speak(TEXT, pitch_range=scale).f0[0].astype(np.float64) for scale in (1.0, 2.0, 0.0))
    mean = np.log(plain).mean()
    np.testing.assert_allclose(np.log(wide), mean + 2 * (np.log(plain) - mean), atol=1e-4)
    np.testing.assert_allclose(flat, np.exp(mean), rtol=1e-4)


def test_each_text_has_its_own(speak):
    pair = speak([TEXT, TEXT], pitch_range=[1.0, 0.0], energy=[1.0, 0.25])
    assert np.ptp(pair.f0[0]) > 1e-3 and np.ptp(pair.f0[1]) < 1e-3
    plain, quiet = speak(TEXT).audios[0], speak(TEXT, energy=0.25).audios[0]
    np.testing.assert_allclose(quiet, 0.25 * plain, atol=1e-6)


def test_an_emphasised_word_is_longer_and_higher(speak):
    plain, emphasised = speak(TEXT), speak(f"<speak>{EMPHASISED}</speak>")
    words = {word.text: word for word in plain.words[0]}
    longer = {word.text: word for word in emphasised.words[0]}
    assert list(words) == list(longer) == TEXT.split()
    spans = {text: longer[text].end - longer[text].start for text in longer}
    assert spans["never"] > 1.15 * (words["never"].end - words["never"].start)
    assert spans["stole"] == pytest.approx(words["stole"].end - words["stole"].start)
    # With a monotone melody the word is two semitones higher.
    f0 = speak(f"<speak>{EMPHASISED}</speak>", pitch_range=0.0).f0[0].astype(np.float64)
    first, last = (round(seconds * 50) for seconds in (longer["never"].start, longer["never"].end))
    steps = 12 * np.log2(f0 / f0[0])
    raised = np.flatnonzero(np.isclose(steps, 2, atol=1e-3))
    # Word times follow the sound, which may begin and end some frames beside the symbols.
    assert abs(raised[0] - first) <= 3 and abs(raised[-1] + 1 - last) <= 3
    np.testing.assert_array_equal(raised, np.arange(raised[0], raised[-1] + 1))
    np.testing.assert_allclose(np.delete(steps, raised), 0, atol=1e-3)


def test_prosody_of_ssml(speak):
    flat = speak("<speak><prosody range='0%' volume='-20dB'>Please hold.</prosody></speak>")
    assert np.ptp(flat.f0[0][flat.f0[0] > 0]) < 1e-3
    plain = speak("<speak><prosody range='0%'>Please hold.</prosody></speak>").audios[0]
    np.testing.assert_allclose(flat.audios[0], 0.1 * plain, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitch_range": -1.0}, "between 0"),
        ({"pitch_range": 5.0}, "between 0"),
        ({"energy": 0.0}, "between 0.01"),
        ({"energy": float("nan")}, "energy is nan"),
        ({"energy": [1.0, 1.0]}, "one for each of 1 texts"),
    ],
)
def test_style_that_no_voice_has(speak, options, message):
    with pytest.raises(ValueError, match=message):
        speak(TEXT, **options)
