import numpy as np
import pytest
import soundfile

import ns2_diffusers
from ns2_diffusers.audio.writing import write_blocks


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_files_say_what_made_them_and_when(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    write_blocks(path, [np.zeros(16000, np.float32)], 16000)
    with soundfile.SoundFile(path) as file:
        metadata = file.copy_metadata()
    made = f"ns2-diffusers {ns2_diffusers.__version__}"
    # libsndfile writes the name of the encoder into MP3.
    assert metadata["software"].startswith(made) or suffix == "mp3"
    assert metadata["comment"] == f"Synthetic speech (NaturalSpeech 2), made by {made}."
    year, month, day = metadata["date"].split("-")
    assert len(year) == 4 and 1 <= int(month) <= 12 and 1 <= int(day) <= 31
    assert {name for name, value in metadata.items() if value} <= {"software", "comment", "date"}
