"""The voices that ship with the package."""

from pathlib import Path

import numpy as np
import torch

from ns2_diffusers import named_voices

PROMPTS = Path(__file__).parents[2] / "benchmarks" / "prompts" / "kokoro"


def test_the_recordings_are_those_of_the_benchmarks():
    """The named voices are the held-out voices of the benchmarks: none was in the training data."""
    shipped = {path.read_bytes() for path in named_voices().values()}
    assert len(shipped) == 5 and shipped == {path.read_bytes() for path in PROMPTS.glob("*.ogg")}


def test_a_voice_by_name_is_its_recording(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def speak(**voice):
        generator = torch.Generator().manual_seed(0)
        return tiny_pipeline("Yes.", **voice, num_inference_steps=1, generator=generator).audios[0]

    default, george = speak(), speak(voice="george")
    assert np.array_equal(default, speak(voice="emma"))
    assert np.array_equal(george, speak(prompt_audio=named_voices()["george"]))
    assert not np.array_equal(default, george)
    pair = tiny_pipeline(["Yes.", "Yes."], voice=["emma", named_voices()["george"]], num_inference_steps=1)
    assert len(pair.audios) == 2
    # A file of the user takes precedence over a name.
    (tmp_path / "emma").write_bytes(named_voices()["george"].read_bytes())
    assert np.array_equal(speak(voice="emma"), george)
