"""Singing from the command line, with a tiny pipeline."""

import sys
from pathlib import Path

import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import sing


def test_a_song_lasts_as_long_as_its_notes(tiny_pipeline_dir, clips, tmp_path, capsys):
    output = tmp_path / "songs" / "song.wav"
    words = ["--model", str(tiny_pipeline_dir), "--prompt", str(clips[0]), "--text", "La la la."]
    words += ["--notes", "C4 D4 E4:2", "--tempo", "60", "--num_inference_steps", "2", "--output", str(output)]
    sing.main(sing.parse_args(words))
    info = soundfile.info(output)
    # Four seconds of notes, and the silence and consonant before them.
    assert info.samplerate == 16000 and 4 <= info.duration < 30
    assert f"{output}: {info.duration:.1f} s" in capsys.readouterr().out
    first = output.read_bytes()
    sing.main(sing.parse_args([*words, "--transpose", "3"]))
    assert output.read_bytes() != first
    with pytest.raises(ValueError, match="2 notes for the 3 vowels"):
        sing.main(sing.parse_args([*words, "--notes", "C4 D4"]))
