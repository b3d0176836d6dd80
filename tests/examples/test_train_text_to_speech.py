"""Preparing and training on a few real clips, as a user runs the scripts."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import prepare_dataset
import train_text_to_speech as training
from ns2_diffusers import EncodecCodec, NaturalSpeech2Pipeline, load_codec
from ns2_diffusers.conversion.amphion import from_amphion
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset

pytest.importorskip("datasets", reason="the train extra is not installed")
pytest.importorskip("pyworld", reason="the train extra is not installed")

TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_layers": 1,
    "filter_size": 32,
    "kernel_size": 3,
    "num_predictor_layers": 1,
    "num_query_tokens": 4,
    "dropout": 0.0,
}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def prepared(tmp_path, tiny_codec, clips, transcripts):
    """A codec's directory and a dataset of four clips of two speakers, made by the script."""
    tiny_codec.save_pretrained(tmp_path / "codec")
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "text", "speaker"])
        table.writerows([path, transcripts[path.name], f"s{index % 2}"] for index, path in enumerate(clips[:4]))
    options = ["--metadata", str(tmp_path / "metadata.csv"), "--codec", str(tmp_path / "codec")]
    options += ["--output_dir", str(tmp_path / "dataset"), "--aligner_steps", "6"]
    prepare_dataset.main(prepare_dataset.parse_args(options))
    return tmp_path


def train(folder, *options, output="pipeline"):
    options = ["--dataset_dir", str(folder / "dataset"), "--codec", str(folder / "codec"), *options]
    options += ["--output_dir", str(folder / output), "--model_config", json.dumps(TINY)]
    options += ["--batch_seconds", "8", "--logging_steps", "1", "--mixed_precision", "no"]
    training.main(training.parse_args(options))
    return folder / output


def weights(folder):
    return {
        f"{part}.{name}": tensor
        for part in ("denoiser", "variance_adaptor", "phoneme_encoder", "prompt_encoder")
        for name, tensor in load_file(folder / part / "diffusion_pytorch_model.safetensors").items()
    }


def test_a_dataset_holds_what_the_recordings_say(prepared, clips, transcripts):
    codec = load_codec(str(prepared / "codec"))
    tokenizer = training.NaturalSpeech2Tokenizer.from_pretrained(prepared / "dataset" / "tokenizer")
    dataset = load_prepared_dataset(prepared / "dataset", codec, tokenizer)
    assert list(dataset["id"]) == [path.stem for path in clips[:4]]
    assert list(dataset["speaker"]) == ["s0", "s1", "s0", "s1"]
    row = dataset[0]
    assert row["text"] == transcripts[clips[0].name]
    assert row["phonemes"] == tokenizer.phonemize(row["text"])
    waveform, _ = prepare_dataset.load_audio(clips[0])
    _, codes = codec.quantize(codec.encode(waveform[None, None]))
    assert torch.equal(torch.tensor(row["codes"]), codes[0])
    assert min(row["durations"]) >= 1 and sum(row["durations"]) == codes.shape[2]
    assert 0.3 < np.mean(np.array(row["f0"]) > 0) < 0.9


def test_training_ends_in_a_pipeline_that_speaks(prepared, clips, capsys):
    folder = train(prepared, "--max_train_steps", "3", "--lr_warmup_steps", "1")
    log = capsys.readouterr().out
    for name in ("data", "codebook", "duration", "pitch", "loss"):
        assert f" {name} " in log
    pipe = NaturalSpeech2Pipeline.from_pretrained(folder)
    assert len(pipe("Hello.", clips[5], num_inference_steps=2).audios[0])
    assert not list(folder.glob(".*")), "something was left half-written"


def test_the_loss_falls(prepared, capsys):
    train(prepared, "--max_train_steps", "60", "--learning_rate", "3e-3", "--lr_warmup_steps", "1")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    losses = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])


def test_the_learning_rate_warms_up_in_the_steps_that_were_asked_for(prepared):
    """After two steps, one of them warm-up, weights have moved by about the rate."""
    cold = weights(train(prepared, "--max_train_steps", "1", "--learning_rate", "1e-2", output="one"))
    warm = weights(
        train(
            prepared,
            "--max_train_steps",
            "4",
            "--learning_rate",
            "1e-2",
            "--lr_warmup_steps",
            "1",
            output="two",
        )
    )
    moved = max((warm[name] - cold[name]).abs().max() for name in warm)
    assert moved > 5e-3


def test_resuming_goes_on_where_it_stopped(prepared, capsys):
    options = ["--checkpointing_steps", "2", "--learning_rate", "1e-3", "--lr_warmup_steps", "1"]
    train(prepared, "--max_train_steps", "4", *options)
    assert sorted(path.name for path in (prepared / "pipeline").glob("checkpoint-*")) == [
        "checkpoint-00000002",
        "checkpoint-00000004",
    ]
    before = weights(prepared / "pipeline")
    train(prepared, "--max_train_steps", "5", "--resume_from_checkpoint", "latest", *options)
    log = capsys.readouterr().out
    assert "resumed from" in log and "after 5 steps" in log
    after = weights(prepared / "pipeline")
    moved = max((after[name] - before[name]).abs().max().item() for name in before)
    assert 0 < moved < 0.02


def test_a_dataset_of_another_codec_is_refused(prepared, tiny_codec):
    with torch.no_grad():
        tiny_codec.codebooks.mul_(2)
    tiny_codec.save_pretrained(prepared / "codec")
    with pytest.raises(ValueError, match="prepared with codec_fingerprint"):
        train(prepared, "--max_train_steps", "1")


@pytest.mark.parametrize("denoiser", ["wavenet", "transformer"])
def test_kinds_of_denoiser_and_prediction(prepared, denoiser):
    folder = train(prepared, "--max_train_steps", "1", "--denoiser", denoiser, "--prediction_type", "v_prediction")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["denoiser"] == ["ns2_diffusers", training.DENOISERS[denoiser]]
    assert json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["prediction_type"] == (
        "v_prediction"
    )


def test_fine_tuning_starts_from_a_pipeline(prepared):
    first = train(prepared, "--max_train_steps", "2", "--learning_rate", "1e-2", "--lr_warmup_steps", "0")
    tuned = train(
        prepared,
        *("--max_train_steps", "1", "--learning_rate", "1e-6", "--pretrained_pipeline", str(first)),
        output="tuned",
    )
    before, after = weights(first), weights(tuned)
    for name in before:
        torch.testing.assert_close(after[name], before[name], atol=1e-5, rtol=0)


def test_a_converted_pipeline_can_be_fine_tuned(tmp_path, clips, transcripts):
    """Amphion's phonemes have no start and end and are words of letters; its codec is EnCodec."""
    pytest.importorskip("encodec", reason="encodec cannot be imported")
    fixture = Path(__file__).parents[2] / "../shared/fixtures/amphion_tiny"
    if not fixture.exists():
        pytest.skip("the reference checkpoint is not beside the repository")
    codec = EncodecCodec(
        sampling_rate=24000, latent_channels=16, num_codebooks=4, codebook_size=32, ratios=(8, 5, 4, 2), num_filters=2
    )
    for name, tensor in torch.load(fixture / "pytorch_model.bin", weights_only=True).items():
        if name.startswith("quantizer") and name.endswith("embed"):
            codec.codebooks[int(name.split(".")[3])] = tensor
    pipe = from_amphion(str(fixture / "pytorch_model.bin"), str(fixture / "config.json"), codec)
    pipe.save_pretrained(tmp_path / "converted")
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "text"])
        table.writerows([path, transcripts[path.name]] for path in clips[:3])
    options = ["--metadata", str(tmp_path / "metadata.csv"), "--codec", str(tmp_path / "converted" / "codec")]
    options += ["--tokenizer", str(tmp_path / "converted" / "tokenizer"), "--aligner_steps", "2"]
    prepare_dataset.main(prepare_dataset.parse_args([*options, "--output_dir", str(tmp_path / "dataset")]))
    options = ["--dataset_dir", str(tmp_path / "dataset"), "--codec", str(tmp_path / "converted" / "codec")]
    options += ["--pretrained_pipeline", str(tmp_path / "converted"), "--output_dir", str(tmp_path / "tuned")]
    options += ["--max_train_steps", "2", "--lr_warmup_steps", "1", "--mixed_precision", "no"]
    training.main(training.parse_args(options))
    tuned = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "tuned")
    assert len(tuned("Hello.", clips[5], num_inference_steps=2).audios[0])
