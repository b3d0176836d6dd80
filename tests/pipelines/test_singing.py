"""A text sung to notes, with a tiny pipeline."""

import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, sing
from ns2_diffusers.pipelines.singing import transpose


@pytest.fixture
def pipe(tiny_pipeline_dir):
    pipe = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_is_sung_on_what_was_asked(pipe, clips):
    voice = pipe.encode_voice(str(clips[0]))
    options = {"num_inference_steps": 1, "generator": torch.Generator().manual_seed(0)}
    output, asked = sing(pipe, "La la.", voice, [(220.0, 1), (330.0, 1.5)], tempo=120, **options)
    assert len(asked) == len(output.f0[0]) == output.durations[0].sum()
    assert set(asked.tolist()) == {220.0, 330.0}
    assert output.f0[0].tolist() == pytest.approx(asked.tolist(), rel=1e-4)
    options["generator"] = torch.Generator().manual_seed(0)
    written, _ = sing(pipe, "La la.", voice, "A3 E4:1.5", tempo=120, **options)
    assert np.array_equal(written.durations[0], output.durations[0])


def test_the_extra_syllable_is_not_heard(pipe, clips):
    """The last symbol is a vowel that is as long as its note."""
    for text in ("La!", "La"):
        output, asked = sing(pipe, text, pipe.encode_voice(str(clips[0])), [(220.0, 4)], tempo=120)
        durations, audio = output.durations[0], output.audios[0]
        assert len(durations) == 4  # start, l, stress, vowel
        assert durations.sum() == len(asked) == len(output.f0[0]) == len(audio) / pipe.codec.hop_length
        assert durations[-1] == 2 * pipe.codec.frame_rate
        assert audio[-1] == 0


def test_what_cannot_be_sung(pipe, clips):
    voice = pipe.encode_voice(str(clips[0]))
    with pytest.raises(ValueError, match="2 notes for the 3 vowels"):
        sing(pipe, "La la la.", voice, "C4 D4")
    with pytest.raises(ValueError, match="is not a note"):
        sing(pipe, "La.", voice, "H4")
    for tempo in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="beats a minute: give a number above zero"):
            sing(pipe, "La.", voice, "C4", tempo=tempo)
    # The error comes before memory is allocated.
    for notes, tempo in (("C4", 1e-9), ("C4:1" + "0" * 300, 100), ([(220.0, 1e12)], 100), ([(220.0, 1e300)], 1e-300)):
        with pytest.raises(ValueError, match="the notes last .* s, and at most 300 s are made at once"):
            sing(pipe, "La.", voice, notes, tempo=tempo)
    for notes in ("B9", [(0, 1)], [(220, 0)], [(float("nan"), 1)], [(220, float("inf"))], [(-220, 1)]):
        with pytest.raises(ValueError, match="of a note is"):
            sing(pipe, "La.", voice, notes)
    for notes in (None, [220], [(220, 1, 1)], [("C4", 1)], [(220, True)]):
        with pytest.raises(TypeError, match="notes is|of a note is"):
            sing(pipe, "La.", voice, notes)


def test_transposition():
    assert transpose([(220.0, 1), (110.0, 2.5)], 12) == [(440.0, 1), (220.0, 2.5)]
    assert transpose([(440.0, 1)], -3)[0][0] == pytest.approx(369.994, abs=1e-3)
