import numpy as np
import pytest
import soundfile

from ns2_diffusers.audio.loading import load_samples
from ns2_diffusers.audio.pieces import quietest, read_pieces

RATE = 16000


def test_pieces_are_cut_where_it_is_quiet(tmp_path):
    """Tones of 0.9 s, each with 0.1 s of silence behind it."""
    time = np.arange(RATE) / RATE
    second = np.where(time < 0.9, 0.3 * np.sin(2 * np.pi * 200 * time), 0)
    samples = np.tile(second, 10).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    pieces = list(read_pieces(tmp_path / "long.wav", RATE, 3.5))
    assert np.array_equal(np.concatenate(pieces), samples)
    ends = np.cumsum([len(piece) for piece in pieces])[:-1] / RATE
    assert ((ends % 1) > 0.9).all() and all(len(piece) <= 3.5 * RATE for piece in pieces)
    assert all(len(piece) > 1.7 * RATE for piece in pieces[:-1])


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_and_channels(tmp_path, rate):
    samples = 0.1 * np.random.default_rng(0).normal(size=(3 * rate, 2))
    soundfile.write(tmp_path / "stereo.flac", samples, rate)
    pieces = np.concatenate(list(read_pieces(tmp_path / "stereo.flac", RATE, 1.0)))
    expected, _ = load_samples(tmp_path / "stereo.flac", None, RATE)
    length = min(len(pieces), len(expected))
    assert abs(len(pieces) - len(expected)) < 10
    np.testing.assert_allclose(pieces[100 : length - 100], expected[100 : length - 100], atol=2e-3)


def test_short_recordings_are_one_piece(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(800, 0.5), RATE)
    (piece,) = read_pieces(tmp_path / "short.wav", RATE, 1.0)
    assert len(piece) == 800
    assert quietest(piece[:100], 200) == 100


def test_what_is_no_recording(tmp_path):
    with pytest.raises(ValueError, match="there is no audio file"):
        next(read_pieces(tmp_path / "none.wav", RATE, 1.0))
    (tmp_path / "text.wav").write_text("text")
    with pytest.raises(ValueError, match="cannot be read as audio"):
        next(read_pieces(tmp_path / "text.wav", RATE, 1.0))
