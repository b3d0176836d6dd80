import importlib.util
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import ns2_diffusers.training.run
from ns2_diffusers import VocosCodec
from ns2_diffusers.data.recordings import find_recordings, read_span
from ns2_diffusers.training.codec_losses import MultiResolutionMelLoss
from ns2_diffusers.training.codec_validation import measure_audibility

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = {
    "sampling_rate": 16000,
    "hop_length": 160,
    "latent_channels": 4,
    "num_codebooks": 2,
    "codebook_size": 16,
    "encoder_config": {"n_mels": 16, "dim": 16, "intermediate_dim": 16, "num_layers": 1, "n_fft": 640},
    "backbone_config": {"dim": 16, "intermediate_dim": 16, "num_layers": 1},
    "head_config": {"n_fft": 640},
}

TINY_ENCODEC = {
    "sampling_rate": 16000,
    "latent_channels": 4,
    "num_codebooks": 2,
    "codebook_size": 16,
    "ratios": [8, 5, 4],
    "num_filters": 2,
}


@pytest.fixture(scope="module")
def train_codec():
    spec = importlib.util.spec_from_file_location("train_codec", EXAMPLES / "train_codec.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps the first precision that was requested; one thread is enough for these sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def recordings(clips, tmp_path):
    """Three clips in a folder, one of them with another rate and in stereo."""
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
    arguments += ["--train_batch_size", "4", "--crop_seconds", "0.25", "--lr_warmup_steps", "1"]
    return train_codec.main(train_codec.parse_args([*arguments, *extra]))


def test_it_learns_and_leaves_a_codec_with_statistics(train_codec, recordings, tmp_path):
    output = tmp_path / "codec"
    extra = ["--max_train_steps", "40", "--logging_steps", "1", "--learning_rate", "5e-3"]
    extra += ["--validation_data", str(recordings), "--validation_recordings", "1", "--report_to", "tensorboard"]
    run(train_codec, recordings, output, *extra)
    *rows, validation = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert list(rows[0])[:3] == ["step", "seconds", "mel"]
    assert np.mean([row["mel"] for row in rows[-10:]]) < 0.8 * rows[0]["mel"]
    assert 0 < validation["validation_mel"] < rows[0]["mel"]
    samples = {path.name for path in (output / "samples").iterdir()}
    assert samples == {"00000040-0.wav", "00000040-0.png"} and list((output / "logs").rglob("events*"))

    codec = VocosCodec.from_pretrained(output)
    assert not list(output.glob(".*"))
    latents = []
    for file in find_recordings(recordings):
        with torch.no_grad():
            latents.append(codec.quantize(codec.encode(torch.from_numpy(read_span(file, 16000))[None]))[0][0])
    latents = torch.cat(latents, dim=1)
    torch.testing.assert_close(latents.mean(dim=1), torch.zeros(4), atol=1e-3, rtol=0)
    moving = torch.tensor(codec.config.latents_std) > 1.1e-3
    torch.testing.assert_close(latents[moving].std(dim=1), torch.ones(int(moving.sum())), atol=2e-3, rtol=0)
    assert moving.any()


HARMONIC = {"head_config": {"type": "harmonic", "n_fft": 256, "fine_dim": 8, "fine_layers": 1}}


# Fitted in closed form, and trained on the envelope.
LINEAR = {
    "latent_channels": 12,
    "encoder_config": TINY["encoder_config"] | {"linear_frames": 1},
    "head_config": HARMONIC["head_config"] | {"linear_channels": 12},
}


@pytest.mark.parametrize("kind", ["vocos", "encodec", "harmonic", "linear"])
def test_a_resumed_run_ends_where_an_unbroken_one_does(train_codec, recordings, tmp_path, kind):
    steps = ["--max_train_steps", "6", "--checkpointing_steps", "2", "--mixed_precision", "no", "--balance_losses"]
    steps += ["--adversarial_weight", "1", "--adversarial_start_step", "1", "--stft_weight", "1"]
    steps += ["--discriminator_channels", "2"]
    if kind == "encodec":
        steps += ["--codec_type", kind, "--codec_config", json.dumps(TINY_ENCODEC), "--discriminator", "encodec"]
    if kind == "harmonic":
        steps += ["--codec_config", json.dumps(TINY | HARMONIC), "--quantizer_start_step", "2"]
    if kind == "linear":
        steps += ["--codec_config", json.dumps(TINY | LINEAR), "--quantizer_start_step", "2", "--ema_decay", "0.9"]
        steps += ["--envelope_weight", "5", "--fit_clips", "3", "--fit_seconds", "1"]
    unbroken = run(train_codec, recordings, tmp_path / "unbroken", *steps)
    checkpoints = sorted(path.name for path in (tmp_path / "unbroken").glob("checkpoint-*"))
    assert checkpoints == ["checkpoint-00000004", "checkpoint-00000006"]

    shutil.copytree(tmp_path / "unbroken" / checkpoints[0], tmp_path / "resumed" / checkpoints[0])
    resumed = run(train_codec, recordings, tmp_path / "resumed", *steps, "--resume_from_checkpoint", "latest")
    assert resumed.fingerprint == unbroken.fingerprint
    for name, tensor in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor)
    ends = [tmp_path / run / checkpoints[1] for run in ("unbroken", "resumed")]
    weights, weights_again = (load_file(end / "model_1.safetensors") for end in ends)
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    early = load_file(tmp_path / "unbroken" / checkpoints[0] / "model.safetensors")
    assert not torch.equal(early["quantizer.codebooks"], unbroken.codebooks)
    early = load_file(tmp_path / "unbroken" / checkpoints[0] / "model_1.safetensors")
    assert not all(torch.equal(early[name], weights[name]) for name in weights)


def test_a_harmonic_decoder_learns_f0_and_codes_start_late(train_codec, recordings, tmp_path):
    output = tmp_path / "codec"
    config = TINY | HARMONIC | {"encoder_config": TINY["encoder_config"] | {"n_mels": 64}}
    extra = [
        "--codec_config",
        json.dumps(config),
        "--f0_weight",
        "5",
        "--quantizer_start_step",
        "90",
        "--logging_steps",
        "1",
    ]
    run(train_codec, recordings, output, *extra, "--max_train_steps", "100", "--learning_rate", "5e-3")
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert ["commitment" in row for row in rows] == [False] * 90 + [True] * 10
    for name, share in (("f0", 0.9), ("mel", 0.9)):
        assert np.mean([row[name] for row in rows[-10:]]) < share * np.mean([row[name] for row in rows[:10]])
    codec = VocosCodec.from_pretrained(output)
    assert codec.takes_f0 and len(codec.config.latents_std) == TINY["latent_channels"]


def test_a_frozen_encoder_keeps_codes_and_fingerprint(train_codec, recordings, tmp_path):
    first = run(train_codec, recordings, tmp_path / "first", "--max_train_steps", "1")
    extra = ["--pretrained_codec", str(tmp_path / "first"), "--freeze_encoder", "--max_train_steps", "2"]
    second = run(train_codec, recordings, tmp_path / "second", *extra, "--adversarial_weight", "1")
    assert second.fingerprint == first.fingerprint
    before, after = first.state_dict(), second.state_dict()
    changed = {name.split(".")[0] for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {"backbone", "head"}


def test_weighted_latents_are_as_large_as_they_are_audible(train_codec, recordings, tmp_path):
    first = run(train_codec, recordings, tmp_path / "first", "--max_train_steps", "30", "--learning_rate", "5e-3")
    extra = ["--pretrained_codec", str(tmp_path / "first"), "--freeze_encoder", "--max_train_steps", "0"]
    weighted = run(train_codec, recordings, tmp_path / "weighted", *extra, "--weight_latents", "--seed", "3")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, weighted.state_dict()[name]), name
    plain, scaled = (torch.tensor(codec.config.latents_std).double() for codec in (first, weighted))
    files = find_recordings(recordings)
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(3))
    heard = measure_audibility(first, [files[i] for i in order], seed=3)
    torch.testing.assert_close(plain / scaled, heard, rtol=1e-3, atol=0)
    assert heard.max() > 1.05 and weighted.fingerprint != first.fingerprint
    # The codes and the sound are those of the codec before weighting.
    waveform = torch.from_numpy(read_span(files[0], 16000))[None]
    (_, codes), (_, same) = (codec.quantize(codec.encode(waveform)) for codec in (first, weighted))
    assert torch.equal(codes, same)
    sounds = [codec.decode(codec.codes_to_latents(codes)) for codec in (first, weighted)]
    torch.testing.assert_close(*sounds, atol=1e-5, rtol=0)


def test_degraded_crops_are_encoded_and_clean_ones_are_the_target(train_codec, recordings, tmp_path, monkeypatch):
    encoded, targets = [], []
    forward, loss = VocosCodec.forward, MultiResolutionMelLoss.forward
    monkeypatch.setattr(
        VocosCodec,
        "forward",
        lambda self, waveform, *a, **k: encoded.append(waveform) or forward(self, waveform, *a, **k),
    )
    monkeypatch.setattr(
        MultiResolutionMelLoss,
        "forward",
        lambda self, made, real: targets.append(real) or loss(self, made, real),
    )
    run(train_codec, recordings, tmp_path / "clean", "--max_train_steps", "1")
    run(train_codec, recordings, tmp_path / "degraded", "--max_train_steps", "1", "--degraded_share", "1")
    assert torch.equal(encoded[0], targets[0]) and torch.equal(targets[1], targets[0])
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(encoded[1], targets[1], strict=True))


def test_discriminators_learn_alone_first(train_codec, recordings, tmp_path):
    first = run(train_codec, recordings, tmp_path / "first", "--max_train_steps", "1")
    extra = [
        "--pretrained_codec",
        str(tmp_path / "first"),
        "--adversarial_weight",
        "1",
        "--discriminator_channels",
        "2",
    ]
    extra += ["--discriminator_warmup_steps", "3", "--discriminator_learning_rate", "1e-2", "--logging_steps", "1"]
    extra += ["--lr_warmup_steps", "2", "--learning_rate", "1e-3", "--checkpointing_steps", "1"]
    extra += ["--checkpoints_total_limit", "0", "--max_train_steps", "5"]
    run(train_codec, recordings, tmp_path / "second", *extra)
    checkpoints = sorted((tmp_path / "second").glob("checkpoint-*"))
    codecs, discriminators = zip(
        *((load_file(path / "model.safetensors"), load_file(path / "model_1.safetensors")) for path in checkpoints),
        strict=True,
    )
    before = first.state_dict()
    assert all(torch.equal(codecs[2][name], tensor) for name, tensor in before.items() if name in codecs[2])
    assert not all(torch.equal(codecs[3][name], codecs[2][name]) for name in codecs[2])
    assert all(
        any(not torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(discriminators, discriminators[1:], strict=False)
    )
    rows = [json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()]
    assert ["mel" in row for row in rows] == [False] * 3 + [True] * 2
    # The codec's own warm-up begins at its own first step: half of 1e-3, times the cosine's share at 3 of 5 steps.
    shares = [0.05 + 0.475 * (1 + math.cos(math.pi * step / 5)) for step in (3, 4)]
    assert [row["learning_rate"] for row in rows[3:]] == pytest.approx([0.5e-3 * shares[0], 1e-3 * shares[1]])


def test_a_warm_up_without_discriminators_is_refused(train_codec, capsys):
    with pytest.raises(SystemExit):
        arguments = ["--train_data", "a", "--output_dir", "b", "--max_train_steps", "1"]
        train_codec.parse_args([*arguments, "--discriminator_warmup_steps", "5"])
    assert "--adversarial_weight 0 uses none" in capsys.readouterr().err


def test_discriminators_are_kept_from_run_to_run(train_codec, recordings, tmp_path):
    extra = ["--max_train_steps", "2", "--adversarial_weight", "1", "--discriminator_channels", "2"]
    run(train_codec, recordings, tmp_path / "first", *extra, "--discriminator_learning_rate", "1e-2")
    saved = tmp_path / "first" / "discriminator.safetensors"
    first = load_file(saved)
    # A learning rate of almost zero keeps the weights of the start.
    start = ["--pretrained_discriminator", str(saved), "--discriminator_learning_rate", "1e-12"]
    run(train_codec, recordings, tmp_path / "second", *extra, *start)
    second = load_file(tmp_path / "second" / "discriminator.safetensors")
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=0)
    run(train_codec, recordings, tmp_path / "anew", *extra, *start[2:])
    anew = load_file(tmp_path / "anew" / "discriminator.safetensors")
    assert max((anew[name] - tensor).abs().max() for name, tensor in first.items()) > 1e-3
    with pytest.raises(ValueError, match="does not fit"):
        run(train_codec, recordings, tmp_path / "third", *extra, *start, "--discriminator_n_ffts", "256")


def test_a_pretrained_codec_can_be_given_more_to_see(train_codec, recordings, tmp_path):
    first = run(train_codec, recordings, tmp_path / "first", "--max_train_steps", "1").eval()
    start = ["--train_data", "x", "--output_dir", "y", "--max_train_steps", "1"]
    start += ["--pretrained_codec", str(tmp_path / "first"), "--codec_config"]
    grown = train_codec.build_codec(
        train_codec.parse_args([*start, '{"encoder_config": {"fine_hop_length": 40}}'])
    ).eval()
    waveform = 0.1 * torch.randn(1, 1, 4000)
    assert grown.num_parameters() > first.num_parameters()
    torch.testing.assert_close(grown.encode(waveform), first.encode(waveform), atol=1e-5, rtol=0)
    assert torch.equal(grown.codebooks, first.codebooks)
    with pytest.raises(ValueError, match="number of its inputs"):
        train_codec.build_codec(train_codec.parse_args([*start, '{"encoder_config": {"dim": 32}}']))


def test_a_nan_is_left_out_and_many_end_the_run(train_codec, recordings, tmp_path, monkeypatch):
    extra = ["--max_train_steps", "3", "--checkpointing_steps", "1", "--adversarial_weight", "1"]
    extra += ["--mixed_precision", "no", "--logging_steps", "1", "--discriminator_channels", "2"]
    loss, calls = MultiResolutionMelLoss.forward, []

    def spoilt(self, made, real):
        calls.append(len(calls))
        return loss(self, made, real) * (torch.nan if spoils(calls[-1]) else 1.0)

    monkeypatch.setattr(MultiResolutionMelLoss, "forward", spoilt)
    spoils = {1}.__contains__
    codec = run(train_codec, recordings, tmp_path / "one", *extra)
    assert all(tensor.isfinite().all() for tensor in codec.state_dict().values())
    rows = [json.loads(line) for line in (tmp_path / "one" / "log.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in rows] == [0, 1, 1]
    # No checkpoint is written after the skipped step, and two are kept.
    assert {path.name for path in (tmp_path / "one").glob("checkpoint-*")} == {
        "checkpoint-00000001",
        "checkpoint-00000003",
    }
    calls.clear()
    spoils = range(1, 99).__contains__
    with pytest.raises(RuntimeError, match="not finite"):
        run(train_codec, recordings, tmp_path / "many", *extra[2:], "--max_train_steps", "20")
    assert [path.name for path in (tmp_path / "many").glob("checkpoint-*")] == ["checkpoint-00000001"]


def test_resuming_with_nothing_there_starts_anew(train_codec, recordings, tmp_path):
    extra = ["--max_train_steps", "1", "--resume_from_checkpoint", "latest", "--stft_weight", "1"]
    run(train_codec, recordings, tmp_path / "codec", *extra)
    assert len(VocosCodec.from_pretrained(tmp_path / "codec").config.latents_mean) == TINY["latent_channels"]


def test_training_stops_by_the_clock(train_codec, recordings, tmp_path, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(ns2_diffusers.training.run, "time", SimpleNamespace(monotonic=lambda: 0.1 * next(ticks)))
    run(train_codec, recordings, tmp_path / "codec", "--max_train_time", "0.02", "--logging_steps", "1")
    rows = [json.loads(line) for line in (tmp_path / "codec" / "log.jsonl").read_text().splitlines()]
    # The clock is read three times per step, so it shows 1.2 s after four steps.
    assert [row["seconds"] for row in rows if "step" in row] == pytest.approx([0.3, 0.6, 0.9, 1.2])


def test_an_end_must_be_named(train_codec, capsys):
    with pytest.raises(SystemExit):
        train_codec.parse_args(["--train_data", "a", "--output_dir", "b"])
    assert "--max_train_steps or --max_train_time" in capsys.readouterr().err


CLOCKED = """
import sys
from itertools import count
from types import SimpleNamespace
from ns2_diffusers.training import run
sys.path.insert(0, {examples!r})
import train_codec
import os
rank = int(os.environ.get("RANK", 0))
ticks = count()
# Each process has a clock of its own, which goes on whenever it is read.
run.time = SimpleNamespace(monotonic=lambda: 100.0 * rank + (1 + 4 * rank) * next(ticks))
train_codec.main(train_codec.parse_args(sys.argv[1:]))
"""


@pytest.mark.slow
def test_two_processes_and_one_give_the_same_codec_under_a_time_limit(train_codec, recordings, tmp_path):
    """Encoder, decoder and codebooks are the same: all learning rates follow the main process's clock."""
    config = json.dumps(TINY_ENCODEC | {"dead_code_threshold": 0.0})
    start = ["--codec_type", "encodec", "--codec_config", config, "--mixed_precision", "no"]
    run(train_codec, recordings, tmp_path / "start", *start, "--max_train_steps", "1")
    AcceleratorState._reset_state(reset_partial_state=True)
    script = tmp_path / "clocked.py"
    script.write_text(CLOCKED.format(examples=str(EXAMPLES)))
    common = [str(script), "--train_data", str(recordings), "--pretrained_codec", str(tmp_path / "start")]
    common += ["--crop_seconds", "0.25", "--lr_warmup_steps", "1", "--max_train_time", "0.25"]
    common += ["--learning_rate", "1e-2"]
    common += ["--mixed_precision", "no", "--checkpoints_total_limit", "0", "--checkpointing_steps", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29617"]
    for name, batch, before in (("one", "4", []), ("two", "2", launcher)):
        options = ["--output_dir", str(tmp_path / name), "--train_batch_size", batch]
        command = [sys.executable, *before, *common, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
    names = [sorted(path.name for path in (tmp_path / run).glob("checkpoint-*")) for run in ("one", "two")]
    # Three ticks per step are fifteen seconds.
    assert names[0] == names[1] == [f"checkpoint-0000000{step}" for step in range(1, 6)]
    start, one, two = (train_codec.load_codec(str(tmp_path / name)) for name in ("start", "one", "two"))
    for part in ("encoder", "decoder", "quantizer"):
        # AdamW makes full steps even for gradients that are only rounding errors, so single weights may differ.
        first, second, before = (flat(getattr(codec, part).state_dict()) for codec in (one, two, start))
        assert (second - first).norm() < 0.01 * (first - before).norm(), part


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def test_training_from_closed_forms_begins_well_and_gets_better(train_codec, recordings, tmp_path):
    rows = {}
    for fit_clips in (0, 6):
        output = tmp_path / f"{fit_clips}"
        extra = ["--codec_config", json.dumps(TINY | LINEAR), "--envelope_weight", "5", "--logging_steps", "1"]
        extra += ["--fit_clips", str(fit_clips), "--max_train_steps", "30", "--quantizer_start_step", "25"]
        run(train_codec, recordings, output, *extra, "--learning_rate", "2e-3")
        rows[fit_clips] = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert rows[6][0]["envelope"] < 0.5 * rows[0][0]["envelope"]
    first, last = (np.mean([row["envelope"] for row in rows[6][a:b]]) for a, b in ((0, 8), (17, 25)))
    assert last < 0.95 * first
    assert ["commitment" in row for row in rows[6]] == [False] * 25 + [True] * 5


def test_envelopes_are_for_harmonic_heads(train_codec, recordings, tmp_path):
    with pytest.raises(ValueError, match="harmonic head"):
        run(train_codec, recordings, tmp_path / "codec", "--envelope_weight", "1", "--max_train_steps", "1")
