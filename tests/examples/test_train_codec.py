import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from ns2_diffusers import VocosCodec

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = {
    "sampling_rate": 16000,
    "hop_length": 160,
    "n_fft": 640,
    "n_mels": 16,
    "latent_channels": 4,
    "num_codebooks": 2,
    "codebook_size": 16,
    "encoder_dim": 16,
    "encoder_intermediate_dim": 16,
    "encoder_layers": 1,
    "decoder_dim": 16,
    "decoder_intermediate_dim": 16,
    "decoder_layers": 1,
}


@pytest.fixture(scope="module")
def train_codec():
    spec = importlib.util.spec_from_file_location("train_codec", EXAMPLES / "train_codec.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the first precision it was asked for; one thread is enough for these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def recordings(clips, tmp_path):
    """Three clips in a folder, one of them at another rate and in stereo."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for clip in clips[:2]:
        shutil.copy(clip, folder)
    audio, _ = soundfile.read(clips[2])
    soundfile.write(folder / "stereo.wav", np.stack([audio, audio], axis=1)[::2], 8000)
    return folder


def run(train_codec, recordings, output, *extra):
    arguments = [
        "--train_data",
        str(recordings),
        "--output_dir",
        str(output),
        "--codec_config",
        json.dumps(TINY),
    ]
    arguments += ["--train_batch_size", "4", "--crop_seconds", "0.25", "--warmup_steps", "1"]
    return train_codec.main(train_codec.parse_args([*arguments, *extra]))


def test_it_learns_and_leaves_a_codec_with_statistics(train_codec, recordings, tmp_path, capsys):
    output = tmp_path / "codec"
    run(
        train_codec,
        recordings,
        output,
        "--max_train_steps",
        "30",
        "--logging_steps",
        "5",
        "--learning_rate",
        "5e-3",
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    mel = [float(line.split("mel ")[1].split(",")[0]) for line in lines]
    assert len(mel) == 6 and mel[-1] < 0.8 * mel[0]

    codec = VocosCodec.from_pretrained(output)
    assert not list(output.glob(".*"))
    latents = []
    for file in train_codec.find_audio(recordings):
        audio = torch.from_numpy(train_codec.read_audio(file, 16000, 1))[None]
        with torch.no_grad():
            latents.append(codec.quantize(codec.encode(audio))[0][0])
    latents = torch.cat(latents, dim=1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(4), atol=1e-3, rtol=0)
    moving = torch.tensor(codec.config.latents_std) > 1.1e-3
    torch.testing.assert_close(latents[moving].std(dim=1), torch.ones(int(moving.sum())), atol=2e-3, rtol=0)
    assert moving.any()


def test_a_resumed_run_ends_where_an_unbroken_one_does(train_codec, recordings, tmp_path):
    steps = ["--max_train_steps", "6", "--checkpointing_steps", "2", "--mixed_precision", "no"]
    steps += ["--adversarial_weight", "1", "--adversarial_start_step", "3", "--discriminator_channels", "2"]
    unbroken = run(train_codec, recordings, tmp_path / "unbroken", *steps)
    checkpoints = sorted(path.name for path in (tmp_path / "unbroken").glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-00000004", "checkpoint-00000006"]

    shutil.copytree(tmp_path / "unbroken" / checkpoints[0], tmp_path / "resumed" / checkpoints[0])
    resumed = run(train_codec, recordings, tmp_path / "resumed", *steps, "--resume_from_checkpoint", "latest")
    assert resumed.fingerprint == unbroken.fingerprint
    for name, tensor in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)
    early = load_file(tmp_path / "unbroken" / checkpoints[0] / "model.safetensors")
    assert not torch.equal(early["quantizer.codebooks"], unbroken.codebooks)


def test_resuming_with_nothing_there_starts_anew(train_codec, recordings, tmp_path):
    extra = ["--max_train_steps", "1", "--resume_from_checkpoint", "latest", "--stft_weight", "1"]
    run(train_codec, recordings, tmp_path / "codec", *extra)
    assert len(VocosCodec.from_pretrained(tmp_path / "codec").config.latents_mean) == TINY["latent_channels"]


def test_training_stops_by_the_clock(train_codec, recordings, tmp_path, capsys):
    run(train_codec, recordings, tmp_path / "codec", "--max_train_time", "0.02", "--logging_steps", "1")
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert steps
    assert float(steps[-2 if len(steps) > 1 else -1].split(", ")[1].split(" s")[0]) <= 2


def test_crops_are_the_same_in_every_run_and_cover_short_clips(train_codec, recordings):
    files = train_codec.find_audio(recordings)
    crops = train_codec.RandomCrops(files, 16000, 1, 0.5, seed=3, first_item=0)
    later = train_codec.RandomCrops(files, 16000, 1, 0.5, seed=3, first_item=5)
    assert torch.equal(crops[7]["waveform"], later[2]["waveform"])
    assert not torch.equal(crops[7]["waveform"], crops[8]["waveform"])
    long = train_codec.RandomCrops(files, 16000, 1, 60.0, seed=3, first_item=0)[0]
    assert long["waveform"].shape == (1, 960000) and long["sample_mask"].shape == (960000,)
    length = int(long["sample_mask"].sum())
    assert 16000 < length < 160000
    assert long["waveform"][:, length:].abs().max() == 0 and long["waveform"][:, :length].abs().max() > 0.01


def test_a_csv_names_files_beside_it(train_codec, clips, tmp_path):
    assert train_codec.find_audio(EXAMPLES / "asterisk" / "metadata.csv") == clips
    bad = tmp_path / "bad.csv"
    bad.write_text("path,text\na.wav,hello\n")
    with pytest.raises(ValueError, match="one named `file`"):
        train_codec.find_audio(bad)
    with pytest.raises(ValueError, match="no audio in"):
        train_codec.find_audio(tmp_path)


def test_an_end_must_be_named(train_codec, capsys):
    with pytest.raises(SystemExit):
        train_codec.parse_args(["--train_data", "a", "--output_dir", "b"])
    assert "--max_train_steps or --max_train_time" in capsys.readouterr().err
