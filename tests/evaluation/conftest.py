from pathlib import Path

import pytest

from ns2_diffusers.audio.loading import load_audio

PROMPTS = Path(__file__).parents[2] / "benchmarks" / "prompts"


@pytest.fixture(scope="session")
def voices():
    """Two recordings of each of seven voices, real and synthetic, as pairs of a waveform and its sampling rate."""
    halves = {}
    for path in sorted(PROMPTS.glob("*/*.ogg")):
        if path.stem.startswith("allison"):  # the speaker of the clips
            continue
        waveform, rate = load_audio(path)
        halves[path.stem] = [(half, rate) for half in waveform.tensor_split(2)]
    return halves
