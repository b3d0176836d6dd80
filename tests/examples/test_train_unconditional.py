import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState

from ns2_diffusers import NaturalSpeech2Tokenizer, NaturalSpeech2UnconditionalPipeline
from ns2_diffusers.data.prepared_dataset import PreparedRow, write_prepared_dataset

SCRIPT = Path(__file__).parents[2] / "examples" / "train_unconditional.py"
TINY = json.dumps({"hidden_size": 32, "num_layers": 2, "num_attention_heads": 2})


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_unconditional", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the first precision that was requested."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def codec(tiny_codec, tmp_path):
    tiny_codec.save_pretrained(tmp_path / "codec")
    return tmp_path / "codec"


def run(script, output, *extra):
    arguments = [
        "--output_dir",
        str(output),
        "--model_config",
        TINY,
        "--crop_seconds",
        "0.4",
        "--mixed_precision",
        "no",
    ]
    arguments += ["--mixed_precision", "no", "--train_batch_size", "4", "--lr_warmup_steps", "1"]
    arguments += ["--logging_steps", "10"]
    return script.main(script.parse_args([*arguments, *map(str, extra)]))


def test_it_learns_one_sound_and_leaves_a_pipeline(script, codec, clips, tmp_path):
    audio, rate = soundfile.read(clips[0])
    folder, output = tmp_path / "one", tmp_path / "noises"
    folder.mkdir()
    # A crop is the whole sound, so only the gain is random.
    soundfile.write(folder / "sound.wav", audio[rate : rate + int(0.4 * rate)], rate)
    extra = ["--train_data", folder, "--codec", codec, "--max_train_steps", 60, "--lr_scheduler", "constant"]
    extra += ["--learning_rate", 3e-3, "--ema_decay", 0.9, "--validation_samples", 2, "--validation_steps", 60]
    extra += ["--validation_inference_steps", 2, "--report_to", "tensorboard", "--license", "cc-by-4.0"]
    made = run(script, output, *extra)
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    assert list(rows[0])[:3] == ["step", "seconds", "data"]
    assert rows[-1]["data"] < 0.6 * rows[0]["data"]
    assert {path.name for path in (output / "samples").iterdir()} == {"00000060-0.wav", "00000060-1.wav"}

    card = (output / "README.md").read_text(encoding="utf-8")
    for part in ("license: cc-by-4.0", "| data | one |", "| steps | 60", "| licence | cc-by-4.0 |"):
        assert part in card
    pipe = NaturalSpeech2UnconditionalPipeline.from_pretrained(output)
    for name, tensor in made.denoiser.state_dict().items():
        assert torch.equal(pipe.denoiser.state_dict()[name], tensor)
    sampled = pipe(audio_length_in_s=0.4, num_inference_steps=4, generator=torch.Generator().manual_seed(0)).audios[0]
    assert sampled.shape == (20 * pipe.codec.hop_length,) and np.isfinite(sampled).all()


@pytest.mark.parametrize("source", ["recordings", "dataset"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(script, codec, tiny_codec, clips, tmp_path, source):
    if source == "recordings":
        extra = ["--train_data", clips[0].parent / "metadata.csv", "--codec", codec]
    else:
        tokenizer, phonemes = NaturalSpeech2Tokenizer(), "a"
        with torch.no_grad():
            _, codes = tiny_codec.quantize(tiny_codec.encode(torch.randn(3, 1, 320 * 25)))
        rows = [
            {
                "id": str(number),
                "speaker": "",
                "text": "a",
                "phonemes": phonemes,
                "durations": [],
                "codes": one.numpy().astype(np.int16),
                "f0": np.zeros(25, dtype=np.float32),
                "n_frames": 25,
            }
            for number, one in enumerate(codes)
        ]
        write_prepared_dataset([PreparedRow(**row) for row in rows], tmp_path / "dataset", tiny_codec, tokenizer)
        extra = ["--dataset_dir", tmp_path / "dataset"]
    extra += ["--max_train_steps", 5, "--checkpointing_steps", 2, "--gradient_accumulation_steps", 2]
    unbroken = run(script, tmp_path / "unbroken", *extra)
    name = "checkpoint-00000004"
    shutil.copytree(tmp_path / "unbroken" / name, tmp_path / "resumed" / name)
    resumed = run(script, tmp_path / "resumed", *extra, "--resume_from_checkpoint", "latest")
    for name, tensor in unbroken.denoiser.state_dict().items():
        assert torch.equal(resumed.denoiser.state_dict()[name], tensor), name
    assert resumed.codec.fingerprint == tiny_codec.fingerprint


def test_training_goes_on_from_a_pipeline_and_stops_by_the_clock(script, codec, clips, tmp_path):
    data = ["--train_data", clips[0].parent]
    run(script, tmp_path / "first", *data, "--codec", codec, "--max_train_steps", 1, "--denoiser", "wavenet")
    extra = ["--pretrained_pipeline", tmp_path / "first", "--max_train_time", 0.01, "--logging_steps", 1]
    pipe = run(script, tmp_path / "second", *data, *extra)
    assert type(pipe.denoiser).__name__ == "WaveNetDenoiser"
    rows = [json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()]
    assert rows and all(row["seconds"] <= 0.6 for row in rows[:-1])


@pytest.mark.parametrize(
    "extra", [[], ["--train_data", "a"], ["--train_data", "a", "--codec", "b", "--dataset_dir", "c"]]
)
def test_data_must_be_named_once(script, extra, capsys):
    with pytest.raises(SystemExit):
        script.parse_args(["--output_dir", "o", *extra])
    assert "--codec" in capsys.readouterr().err
