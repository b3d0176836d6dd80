"""Singing from the command line, with a tiny pipeline."""

import sys
from pathlib import Path

import pytest
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import sing
from ns2_diffusers import NaturalSpeech2Pipeline


def test_a_song_lasts_as_long_as_its_notes(tiny_pipeline_dir, clips, tmp_path, capsys):
    output = tmp_path / "songs" / "song.wav"
    words = ["--model", str(tiny_pipeline_dir), "--prompt", str(clips[0]), "--text", "La la la."]
    words += ["--notes", "C4 D4 E4:2", "--tempo", "60", "--num_inference_steps", "2", "--output", str(output)]
    sing.main(sing.parse_args(words))
    info = soundfile.info(output)
    # Four seconds, and the silence and consonant before.
    assert info.samplerate == 16000 and 4 <= info.duration < 30
    assert f"{output}: {info.duration:.1f} s" in capsys.readouterr().out
    first = output.read_bytes()
    sing.main(sing.parse_args([*words, "--transpose", "3"]))
    assert output.read_bytes() != first
    with pytest.raises(ValueError, match="2 notes for the 3 vowels"):
        sing.main(sing.parse_args([*words, "--notes", "C4 D4"]))


def test_it_is_sung_on_what_was_asked(tiny_pipeline_dir, clips):
    pipe = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)
    pipe.set_progress_bar_config(disable=True)
    voice, notes = pipe.encode_voice(str(clips[0])), [(220.0, 1), (330.0, 1.5)]
    options = {"num_inference_steps": 1, "generator": torch.Generator().manual_seed(0)}
    output, asked = sing.sing(pipe, "La la.", voice, notes, 0.5, **options)
    assert len(asked) == len(output.f0[0]) == output.durations[0].sum()
    assert set(asked.tolist()) == {220.0, 330.0}
    assert output.f0[0].tolist() == pytest.approx(asked.tolist(), rel=1e-4)


def test_the_syllable_more_is_not_heard(tiny_pipeline_dir, clips):
    """The last is a vowel, as long as its note."""
    pipe = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)
    pipe.set_progress_bar_config(disable=True)
    for text in ("La!", "La"):
        output, asked = sing.sing(pipe, text, pipe.encode_voice(str(clips[0])), [(220.0, 4)], 0.5)
        durations, audio = output.durations[0], output.audios[0]
        assert len(durations) == 4  # start, l, stress, vowel
        assert durations.sum() == len(asked) == len(output.f0[0]) == len(audio) / pipe.codec.hop_length
        assert durations[-1] == 2 * pipe.codec.frame_rate
        assert audio[-1] == 0
