import json
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
VOICES = ("af_heart", "af_nicole", "bf_isabella", "am_adam", "am_onyx", "bm_lewis")


@pytest.fixture(scope="session")
def synthetic_voices():
    """Two recordings each of three women and three men of the synthetic corpus, by voice."""
    if not (CORPUS / "manifest.jsonl").exists():
        pytest.skip(f"the synthetic corpus is not at {CORPUS}")
    recordings = {voice: [] for voice in VOICES}
    with open(CORPUS / "manifest.jsonl", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["voice2"] is None and row["samples"] > 60_000:
                recordings.get(row["voice"], []).append(CORPUS / "audio" / f"{row['id']}.ogg")
    return {voice: paths[:2] for voice, paths in recordings.items()}
