import shutil

import numpy as np
import pytest
import soundfile
import torch

from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.recordings import RandomCodeCrops, RandomCrops, find_recordings, read_span


@pytest.fixture
def tone(tmp_path):
    """Two seconds at 8 kHz: 400 Hz in the left channel and silence in the right one."""
    left = np.sin(2 * np.pi * 400 * np.arange(16000) / 8000) / 2
    soundfile.write(tmp_path / "tone.wav", np.stack([left, 0 * left], axis=1), 8000)
    return tmp_path / "tone.wav"


def test_a_csv_names_files_beside_it(clips, tmp_path):
    assert find_recordings(clips[0].parent / "metadata.csv") == clips == find_recordings(clips[0].parent)
    bad = tmp_path / "bad.csv"
    bad.write_text("path,text\na.wav,hello\n")
    with pytest.raises(ValueError, match="one named `file`"):
        find_recordings(bad)
    with pytest.raises(ValueError, match="no audio in"):
        find_recordings(tmp_path)


def test_a_jsonl_names_files_beside_it(tmp_path):
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"file": "a/1.ogg", "speaker": "x"}\n\n{"file": "b/2.ogg"}\n')
    assert find_recordings(listed) == [tmp_path / "a" / "1.ogg", tmp_path / "b" / "2.ogg"]
    listed.write_text('{"file": "a/1.ogg"}\n{"path": "b/2.ogg"}\n')
    with pytest.raises(ValueError, match="one named `file`"):
        find_recordings(listed)
    listed.write_text("")
    with pytest.raises(ValueError, match="no audio in"):
        find_recordings(listed)


def test_a_span_has_the_wanted_rate_channels_and_speed(tone):
    mono = read_span(tone, 8000, start=1.5, seconds=1.0)
    assert mono.shape == (1, 4000)
    np.testing.assert_allclose(mono[0], soundfile.read(tone)[0][12000:, 0] / 2, atol=1e-4)
    stereo = read_span(tone, 16000, channels=2, seconds=1.0)
    assert stereo.shape == (2, 16000) and np.abs(stereo[0]).max() > 0.4 and np.abs(stereo[1]).max() < 0.01
    quick = read_span(tone, 8000, seconds=1.0, speed=1.25)[0]
    assert len(quick) == 8000 and np.abs(np.fft.rfft(quick)).argmax() == 500


def test_crops_are_the_same_in_every_run_and_cover_short_recordings(clips):
    crops = RandomCrops(clips[:3], 16000, 1, 0.5, seed=3, speed_perturbation=0.1)
    later = RandomCrops(clips[:3], 16000, 1, 0.5, seed=3, speed_perturbation=0.1)
    assert torch.equal(crops[7]["waveform"], later[7]["waveform"])
    assert not torch.equal(crops[7]["waveform"], crops[8]["waveform"])
    long = RandomCrops(clips[:3], 16000, 1, 60.0, seed=3)[0]
    assert long["waveform"].shape == (1, 960000) and long["sample_mask"].shape == (960000,)
    length = int(long["sample_mask"].sum())
    assert 16000 < length < 160000
    assert long["waveform"][:, length:].abs().max() == 0 and long["waveform"][:, :length].abs().max() > 0.01


def test_unreadable_recordings_are_left_out(clips, tmp_path):
    shutil.copy(clips[0], tmp_path)
    (tmp_path / "broken.wav").write_bytes(b"no audio at all")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    files = [*find_recordings(tmp_path), tmp_path / "gone.wav"]
    crops = RandomCrops(files, 16000, 1, 0.1)
    assert crops.files == [tmp_path / clips[0].name]
    assert {path.name for path in crops.unreadable} == {"broken.wav", "empty.wav", "gone.wav"}
    with pytest.raises(ValueError, match="can be read"):
        RandomCrops(crops.unreadable, 16000, 1, 0.1)


def test_code_crops_are_cut_from_utterances():
    rows = [{"codes": np.arange(n)[None] + np.array([[start], [start + 50]])} for n, start in ((30, 100), (4, 900))]

    class Dataset(list):
        def __getitem__(self, key):
            return [30, 4] if key == "n_frames" else super().__getitem__(key)

    crops = RandomCodeCrops(Dataset(rows), 8, seed=1)
    seen = [crops[i] for i in range(40)]
    lengths = {int(item["frame_mask"].sum()) for item in seen}
    assert lengths == {8, 4}
    for item in seen:
        length = int(item["frame_mask"].sum())
        codes = item["codes"][:, :length]
        assert item["codes"].shape == (2, 8) and not item["codes"][:, length:].any()
        assert torch.equal(codes[0] - codes[0, 0], torch.arange(length))
        assert torch.equal(codes[1], codes[0] + 50)
    again = RandomCodeCrops(Dataset(rows), 8, seed=1)
    assert torch.equal(again[10]["codes"], crops[10]["codes"])


def test_crops_know_their_f0_at_any_speed(tmp_path):
    time = np.arange(3 * 16000) / 16000
    voice = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
    soundfile.write(tmp_path / "voice.wav", 0.1 * voice, 16000)
    crops = RandomCrops([tmp_path / "voice.wav"], 16000, 1, 0.5, speed_perturbation=0.2, f0_hop_length=320)
    seen = []
    for item in range(4):
        crop = crops[item]
        assert crop["f0"].shape == (25,)
        alone = estimate_f0(crop["waveform"][0], 16000, 320)
        torch.testing.assert_close(crop["f0"][3:-3], alone[3:-3], rtol=0.01, atol=0)
        seen.append(crop["f0"][12].item())
    assert max(seen) - min(seen) > 5


def test_degraded_crops_have_a_clean_target(clips):
    arguments = {"seed": 3, "speed_perturbation": 0.1, "f0_hop_length": 320}
    clean = RandomCrops(clips[:3], 16000, 1, 1.0, **arguments)
    crops = RandomCrops(clips[:3], 16000, 1, 1.0, **arguments, degraded_share=0.5)
    assert "input" not in clean[0]
    degraded = 0
    for item in range(16):
        crop = crops[item]
        assert torch.equal(crop["waveform"], clean[item]["waveform"]) and torch.equal(crop["f0"], clean[item]["f0"])
        assert crop["input"].dtype == torch.float32 and not crop["input"][:, ~crop["sample_mask"]].any()
        degraded += not torch.equal(crop["input"], crop["waveform"])
    assert 3 < degraded < 13
    assert torch.equal(
        crops[5]["input"], RandomCrops(clips[:3], 16000, 1, 1.0, **arguments, degraded_share=0.5)[5]["input"]
    )
