from pathlib import Path

import pytest

from ns2_diffusers.audio.loading import load_audio

PROMPTS = Path(__file__).parents[2] / "benchmarks" / "prompts"


@pytest.fixture(scope="session")
def voices():
    """Two halves each of recordings of seven voices, real and synthetic: pairs of a waveform and its sampling rate."""
    halves = {}
    for path in sorted(PROMPTS.glob("*/*.ogg")):
        if path.stem.startswith("allison"):  # who speaks the clips, too
            continue
        waveform, rate = load_audio(path)
        halves[path.stem] = [(half, rate) for half in waveform.tensor_split(2)]
    return halves
