"""Pairs of clean and degraded recordings."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import make_noisy_pairs


def test_pairs_of_levels(clips, tmp_path):
    words = ["--recordings", str(clips[0].parent), "--number", "2", "--levels", "0", "20"]
    words += ["--room_share", "0", "--clipped_share", "0", "--output_dir", str(tmp_path)]
    make_noisy_pairs.main(make_noisy_pairs.parse_args(words))
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [row["snr_db"] for row in rows] == [0, 20, 0, 20] and rows[0]["clean"] == rows[1]["clean"]
    for row in rows:
        (clean, rate), (noisy, _) = (soundfile.read(tmp_path / row[kind]) for kind in ("clean", "noisy"))
        assert rate == 16000 and len(clean) == len(noisy)
        gain = (clean @ noisy) / (clean @ clean)
        measured = 10 * np.log10((gain * clean @ (gain * clean)) / np.square(noisy - gain * clean).sum())
        assert measured == pytest.approx(row["snr_db"], abs=1)


def test_no_recordings(tmp_path):
    words = ["--recordings", str(tmp_path), "--output_dir", str(tmp_path / "pairs")]
    with pytest.raises(ValueError, match="there are no recordings"):
        make_noisy_pairs.main(make_noisy_pairs.parse_args(words))
