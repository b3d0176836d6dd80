"""Training with a few real clips, as a user runs the script."""

import copy
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file

pytest.importorskip("datasets", reason="the train extra is not installed")

import plot_training
import train_text_to_speech as training
from ns2_diffusers import (
    EncodecCodec,
    NaturalSpeech2DistilledScheduler,
    NaturalSpeech2Pipeline,
    NaturalSpeech2Tokenizer,
    PhonemeAligner,
)
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.conversion.amphion import from_amphion
from ns2_diffusers.data.prepared_dataset import PreparedRow, write_prepared_dataset
from ns2_diffusers.training.distillation import make_student
from ns2_diffusers.training.tracking import NOT_LOSSES, read_log

TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_layers": 1,
    "filter_size": 32,
    "kernel_size": 3,
    "num_predictor_layers": 1,
    "num_query_tokens": 4,
}
LOSSES = ("data", "codebook", "duration", "pitch", "loss")


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def write_dataset(directory, codec, tokenizer, clips, transcripts, aligned=True):
    """Clips of two speakers, about two seconds each, with phonemes of equal length."""
    rows = []
    for index, path in enumerate(clips):
        waveform, rate = load_audio(path, target_sampling_rate=codec.sampling_rate)
        waveform = waveform[: int((2 + 0.1 * index) * rate)]
        with torch.no_grad():
            _, codes = codec.quantize(codec.encode(waveform[None, None]))
        frames, f0 = codes.shape[2], np.zeros(codes.shape[2], np.float32)
        f0[frames // 4 : frames // 2] = 180 + index
        phonemes = tokenizer.phonemize(transcripts[path.name].split(",")[0][:12])
        symbols = len(tokenizer(phonemes, is_phonemes=True)["input_ids"])
        durations = np.full(symbols, frames // symbols)
        durations[-1] += frames - durations.sum()
        rows.append(
            {
                "id": path.stem,
                "speaker": f"s{index % 2}",
                "text": transcripts[path.name],
                "phonemes": phonemes,
                "durations": durations if aligned else [],
                "codes": codes[0],
                "f0": f0,
                "n_frames": frames,
            }
        )
    write_prepared_dataset([PreparedRow(**row) for row in rows], directory, codec, tokenizer)


@pytest.fixture
def root(tmp_path, tiny_codec, clips, transcripts):
    """A folder with `dataset`: six clips, which make three batches of 5 s."""
    write_dataset(tmp_path / "dataset", tiny_codec, NaturalSpeech2Tokenizer(), clips[:6], transcripts)
    return tmp_path


def options(root, *more, output="pipeline"):
    given = ["--dataset_dir", str(root / "dataset"), "--output_dir", str(root / output), "--batch_seconds", "5"]
    given += ["--model_config", json.dumps(TINY), "--mixed_precision", "no", "--logging_steps", "1"]
    return [*given, "--lr_warmup_steps", "1", *map(str, more)]


def train(root, *more, output="pipeline"):
    training.main(training.parse_args(options(root, *more, output=output)))
    AcceleratorState._reset_state(reset_partial_state=True)
    return root / output


def weights(folder):
    return {
        f"{part}.{name}": tensor
        for part in training.COMPONENTS
        for name, tensor in load_file(folder / part / "diffusion_pytorch_model.safetensors").items()
    }


def assert_same_weights(one, other, atol=0.0):
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, weights(other)[name], atol=atol, rtol=0, msg=name)


def moved(before, after):
    """The largest change of a weight in each component."""
    before, after = weights(before), weights(after)
    far = dict.fromkeys(training.COMPONENTS, 0.0)
    for name in before:
        component = name.split(".")[0]
        far[component] = max(far[component], (after[name] - before[name]).abs().max().item())
    return far


# Results


def test_training_ends_in_a_pipeline_that_speaks(root, clips):
    folder = train(root, "--max_train_steps", 3)
    pipe = NaturalSpeech2Pipeline.from_pretrained(folder)
    assert len(pipe("Hello.", clips[5], num_inference_steps=2).audios[0])
    assert not list(folder.glob(".*")), "something was left half-written"
    log = read_log(folder)
    assert [row["step"] for row in log] == [1, 2, 3]
    # Warm-up from zero in one step, then 5e-4 · √(warm-up / step).
    assert [row["learning_rate"] for row in log] == pytest.approx([0, 5e-4, 5e-4 / 2**0.5])
    for row in log:
        assert all(row[name] > 0 for name in (*LOSSES, "gradient_norm", "audio_seconds_per_second"))
        assert row["loss"] == pytest.approx(row["data"] + 0.1 * row["codebook"] + row["duration"] + row["pitch"])


def test_the_loss_falls(root):
    folder = train(root, "--max_train_steps", 40, "--learning_rate", 5e-3, "--lr_warmup_steps", 5)
    losses = [row["loss"] for row in read_log(folder)]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:5])
    plot_training.main(plot_training.parse_args([str(folder), "--output", str(root / "curves.png")]))
    assert (root / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("denoiser", ["wavenet", "transformer"])
def test_kinds_of_denoiser_and_prediction(root, denoiser):
    folder = train(root, "--max_train_steps", 1, "--denoiser", denoiser, "--prediction_type", "v_prediction")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["denoiser"] == ["ns2_diffusers", training.DENOISERS[denoiser]]
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"


def test_gradient_checkpointing_changes_nothing_but_memory(root):
    few = ("--max_train_steps", 3)
    assert_same_weights(train(root, *few), train(root, *few, "--gradient_checkpointing", output="less"), atol=1e-6)


def test_half_precision(root):
    folder = train(root, "--max_train_steps", 2, "--mixed_precision", "bf16")
    assert all(np.isfinite(row["loss"]) for row in read_log(folder))


def test_workers_load_the_same(root):
    few = ("--max_train_steps", 5)
    assert_same_weights(train(root, *few), train(root, *few, "--dataloader_num_workers", 1, output="two"))


def test_two_datasets_are_learned_together(root, tiny_codec, clips, transcripts):
    write_dataset(root / "more", tiny_codec, NaturalSpeech2Tokenizer(), clips[6:8], transcripts)
    both = train(root, "--dataset_dir", root / "dataset", root / "more", "--max_train_steps", "2")
    assert "dataset: 6 utterances" in (both / "README.md").read_text()
    assert "more: 2 utterances" in (both / "README.md").read_text()


def test_a_longer_prompt_than_before_is_heard_afterwards(root):
    first = train(root, "--max_train_steps", "1", "--max_prompt_seconds", "3", output="first")
    assert NaturalSpeech2Pipeline.from_pretrained(first).config.max_prompt_seconds == 3
    options = ["--max_train_steps", "1", "--pretrained_pipeline", first]
    longer = train(root, *options, "--max_prompt_seconds", "8", output="longer")
    assert NaturalSpeech2Pipeline.from_pretrained(longer).config.max_prompt_seconds == 8
    shorter = train(root, *options, "--max_prompt_seconds", "2", output="shorter")
    assert NaturalSpeech2Pipeline.from_pretrained(shorter).config.max_prompt_seconds == 3


def test_a_dataset_of_another_codec_is_refused(root, tiny_codec):
    with torch.no_grad():
        tiny_codec.codebooks.mul_(2)
    tiny_codec.save_pretrained(root / "codec")
    with pytest.raises(ValueError, match="prepared with codec_fingerprint"):
        train(root, "--max_train_steps", 1, "--codec", root / "codec")


@pytest.mark.parametrize(
    "given",
    [
        ["--validation_texts", "Hello."],
        ["--lora_rank", "4"],
        ["--validation_dataset_dir", "there", "--validation_utterances", "2"],
    ],
)
def test_arguments_that_do_not_go_together(root, given):
    with pytest.raises(SystemExit):
        training.parse_args(options(root, *given))


# Resuming


def test_resuming_goes_on_as_if_nothing_had_happened(root):
    """Two micro-batches per step and three per epoch: one stop is within an epoch, one at its end."""
    always = ("--gradient_accumulation_steps", 2, "--learning_rate", 1e-3)
    whole = train(root, "--max_train_steps", 7, *always, output="whole")
    for step in (1, 3, 7):
        latest = train(root, "--max_train_steps", step, "--resume_from_checkpoint", "latest", *always)
    assert_same_weights(latest, whole)
    ours, theirs = read_log(latest), read_log(whole)
    assert [row["loss"] for row in ours] == [row["loss"] for row in theirs]
    assert [row["learning_rate"] for row in ours] == [row["learning_rate"] for row in theirs]
    progress = [
        json.loads((folder / "checkpoint-00000007" / "progress.json").read_text()) for folder in (latest, whole)
    ]
    # 14 micro-batches, three per epoch.
    assert progress[0]["batches"] == {"epoch": 4, "position": 2}
    for name in ("step", "batches", "audio_seconds", "skipped"):
        assert progress[0][name] == progress[1][name]


def test_time_before_a_stop_counts(root, capsys):
    folder = train(root, "--max_train_steps", 2)
    file = folder / "checkpoint-00000002" / "progress.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 60.0}))
    train(root, "--max_train_steps", 9, "--max_train_time", 1, "--resume_from_checkpoint", "latest")
    assert "after 2 steps" in capsys.readouterr().out
    folder = train(root, "--max_train_steps", 9, "--max_train_time", 0, output="none")
    assert read_log(folder) == [] and (folder / "model_index.json").exists()


def test_a_new_run_does_not_mix_with_another(root):
    train(root, "--max_train_steps", 1)
    with pytest.raises(ValueError, match="resume_from_checkpoint latest"):
        train(root, "--max_train_steps", 1)


@pytest.mark.slow
def test_two_processes_learn_what_one_does_in_two_micro_batches(root):
    few = ("--max_train_steps", 5, "--learning_rate", 1e-3, "--validation_utterances", 2, "--validation_steps", 3)
    one = train(root, *few, "--gradient_accumulation_steps", 2, output="one")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29612"]
    command += [training.__file__, *options(root, *few, output="two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_weights(root / "two", one, atol=1e-5)
    ours, theirs = read_log(root / "two"), read_log(one)
    assert len(ours) == 7
    for mine, other in zip(ours, theirs, strict=True):
        times = {"audio_seconds_per_second": 0, "seconds": 0}
        assert mine | times == pytest.approx(other | times, abs=1e-5)


# Faults


@pytest.fixture
def poison(monkeypatch):
    """A function that makes every batch with the named utterance have a gradient of NaN."""
    bad = set()

    class Collator(training.PromptCollator):
        def __call__(self, rows):
            return super().__call__(rows) | {"poisoned": torch.tensor(any(row["id"] in bad for row in rows))}

    class Objective(training.TrainingObjective):
        def forward(self, batch, step=None):
            losses = super().forward(batch, step)
            return losses | {"loss": losses["loss"] * torch.where(batch["poisoned"], torch.nan, 1.0)}

    monkeypatch.setattr(training, "PromptCollator", Collator)
    monkeypatch.setattr(training, "TrainingObjective", Objective)
    return bad.update


def test_a_poisoned_batch_is_skipped_and_counted(root, clips, poison):
    poison([clips[5].stem])
    folder = train(root, "--max_train_steps", 6)
    # Two epochs of three batches, one of which has the last clip.
    log = read_log(folder)
    assert log[-1]["skipped_steps"] == 2 and sum("loss" in row for row in log) == 4
    assert all(tensor.isfinite().all() for tensor in weights(folder).values())
    more = train(root, "--max_train_steps", 9, "--resume_from_checkpoint", "latest")
    assert read_log(more)[-1]["skipped_steps"] == 3


def test_nothing_but_poison_stops_the_run_and_leaves_the_checkpoint(root, clips, poison):
    folder = train(root, "--max_train_steps", 2)
    kept = load_file(folder / "checkpoint-00000002" / "model.safetensors")
    poison(path.stem for path in clips)
    with pytest.raises(RuntimeError, match="not finite 11 steps in a row"):
        train(root, "--max_train_steps", 40, "--checkpointing_steps", 1, "--resume_from_checkpoint", "latest")
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-00000002"]
    for name, tensor in load_file(folder / "checkpoint-00000002" / "model.safetensors").items():
        assert torch.equal(tensor, kept[name])


# Alignment learned during training


def test_durations_are_learned_along(root, clips, transcripts, tiny_codec):
    write_dataset(root / "dataset", tiny_codec, NaturalSpeech2Tokenizer(), clips[:6], transcripts, aligned=False)
    with pytest.raises(ValueError, match="--learn_alignment"):
        train(root, "--max_train_steps", 1)
    folder = train(
        root, "--max_train_steps", 3, "--learn_alignment", "--validation_utterances", 2, "--validation_steps", 3
    )
    log = read_log(folder)
    assert all(row["alignment"] > 0 and row["binarization"] > 0 for row in log[:3])
    # The weight of the binarisation loss rises slowly from zero.
    first = {name: value for name, value in log[0].items() if name not in NOT_LOSSES}
    parts = first["data"] + 0.1 * first["codebook"] + first["duration"] + first["pitch"] + first["alignment"]
    assert first["loss"] == pytest.approx(parts)
    assert log[-1]["validation_alignment"] > 0
    assert (folder / "samples" / "00000003-alignment.png").exists()
    aligner = PhonemeAligner.from_pretrained(folder / "aligner")
    again = train(root, "--max_train_steps", 0, "--learn_alignment", "--pretrained_pipeline", folder, output="again")
    for name, tensor in PhonemeAligner.from_pretrained(again / "aligner").state_dict().items():
        assert torch.equal(tensor, aligner.state_dict()[name])


def test_durations_that_are_there_are_not_learned(root):
    with pytest.raises(ValueError, match="leave out --learn_alignment"):
        train(root, "--max_train_steps", 1, "--learn_alignment")


# Monitoring


def test_validation_hears_the_same_every_time(root, clips):
    """Constant weights have constant validation losses; speech, pictures and numbers reach TensorBoard."""
    watch = ("--validation_utterances", 2, "--validation_steps", 1, "--report_to", "tensorboard")
    watch += ("--validation_texts", "Hello.", "Yes.", "--validation_prompts", clips[0])
    watch += ("--validation_inference_steps", 2)
    folder = train(root, "--max_train_steps", 2, "--learning_rate", 0, "--adam_weight_decay", 0, *watch)
    measured = [row for row in read_log(folder) if "validation_loss" in row]
    assert len(measured) == 2
    ours, theirs = ({name: row[name] for name in row if name.startswith("validation_")} for row in measured)
    assert ours == theirs
    names = {path.name for path in (folder / "samples").iterdir()}
    assert names == {f"{step:08d}-{number}.{kind}" for step in (1, 2) for number in (0, 1) for kind in ("wav", "png")}
    assert (folder / "samples/00000001-0.wav").read_bytes() == (folder / "samples/00000002-0.wav").read_bytes()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((folder / "logs").rglob("events*")).parent), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert {"loss", "pitch", "learning_rate", "validation_data"} <= set(tags["scalars"])
    assert "spectrogram/0" in tags["images"] and "speech/1" in tags["audio"]


def test_validation_does_not_change_training(root):
    plain = train(root, "--max_train_steps", 4, output="plain")
    watched = train(
        root,
        *("--max_train_steps", 4, "--validation_dataset_dir", root / "dataset", "--validation_steps", 3),
    )
    assert_same_weights(plain, watched)
    assert sum("validation_loss" in row for row in read_log(watched)) == 2


@pytest.mark.skipif(importlib.util.find_spec("wandb") is not None, reason="wandb is installed")
def test_a_tracker_that_is_not_installed(root):
    with pytest.raises(ImportError, match="pip install wandb"):
        train(root, "--max_train_steps", 1, "--report_to", "wandb")


# Fine-tuning


def test_fine_tuning_starts_from_a_pipeline_and_keeps_its_noise(root):
    first = train(root, "--max_train_steps", 2, "--learning_rate", 1e-2, "--prediction_type", "v_prediction")
    pipe = NaturalSpeech2Pipeline.from_pretrained(first)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(first)
    again = ("--max_train_steps", 2, "--pretrained_pipeline", first)
    tuned = train(root, *again, "--learning_rate", 1e-6, output="tuned")
    assert 0 < max(moved(first, tuned).values()) < 1e-5
    scheduler = NaturalSpeech2Pipeline.from_pretrained(tuned).scheduler
    assert isinstance(scheduler, DPMSolverMultistepScheduler)
    assert scheduler.config.prediction_type == "v_prediction"
    assert "fine-tuned from" in (tuned / "README.md").read_text()


def test_a_denoiser_that_guides_itself_goes_on_doing_so_and_a_student_of_few_steps_does_not(root):
    pipe = NaturalSpeech2Pipeline.from_pretrained(train(root, "--max_train_steps", 1))
    pipe.register_modules(denoiser=make_student(pipe.denoiser, (1.0, 3.0)))
    pipe.save_pretrained(root / "guided")
    pipe.scheduler = NaturalSpeech2DistilledScheduler.from_config(pipe.scheduler.config, student_steps=[4])
    pipe.save_pretrained(root / "student")
    options = ("--max_train_steps", 2, "--learning_rate", 1e-3)
    tuned = train(root, *options, "--pretrained_pipeline", root / "guided", output="tuned")
    assert NaturalSpeech2Pipeline.from_pretrained(tuned).denoiser.config.guidance_range == [1.0, 3.0]
    assert moved(root / "guided", tuned)["denoiser"] > 0
    with pytest.raises(ValueError, match=r"student of \[4\] steps.*train its teacher"):
        train(root, *options, "--pretrained_pipeline", root / "student", output="refused")


def test_a_pipeline_goes_on_with_a_better_codec(root, tiny_codec, clips, transcripts):
    first = train(root, "--max_train_steps", 1)
    better = copy.deepcopy(tiny_codec)
    with torch.no_grad():
        better.quantizer.codebooks *= 1.1
    write_dataset(root / "again", better, NaturalSpeech2Tokenizer(), clips[:6], transcripts)
    again = ("--max_train_steps", 1, "--pretrained_pipeline", first, "--dataset_dir", root / "again")
    with pytest.raises(ValueError, match=better.fingerprint):
        train(root, *again, output="refused")
    went_on = train(root, *again, "--codec", root / "again" / "codec", "--learning_rate", 1e-6, output="went_on")
    assert NaturalSpeech2Pipeline.from_pretrained(went_on).codec.fingerprint == better.fingerprint
    assert moved(first, went_on)["denoiser"] < 1e-5


@pytest.mark.parametrize("denoiser", ["wavenet", "transformer"])
def test_lora_learns_a_small_file(root, clips, denoiser):
    pytest.importorskip("peft", reason="peft is not installed")
    base = train(root, "--max_train_steps", 2, "--denoiser", denoiser, output="base")
    tune = ("--pretrained_pipeline", base, "--lora_rank", 2, "--lora_components", "denoiser", "variance_adaptor")
    tune += ("--learning_rate", 1e-2, "--ema_decay", 0)
    tuned = train(root, *tune, "--max_train_steps", 4, output="tuned")
    far = moved(base, tuned)
    assert far["denoiser"] > 1e-4 and far["variance_adaptor"] > 1e-4
    assert far["phoneme_encoder"] == far["prompt_encoder"] == 0
    file = tuned / "pytorch_lora_weights.safetensors"
    assert {name.rsplit(".", 2)[1] for name in load_file(file)} == {"lora_A", "lora_B"}

    pipe = NaturalSpeech2Pipeline.from_pretrained(base)
    pipe.load_lora_weights(tuned)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    for name, tensor in weights(tuned).items():
        component, _, key = name.partition(".")
        assert torch.equal(pipe.components[component].state_dict()[key], tensor), name
    assert len(pipe("Hello.", clips[5], num_inference_steps=2).audios[0])

    train(root, *tune, "--max_train_steps", 1, output="halves")
    halves = train(root, *tune, "--max_train_steps", 4, "--resume_from_checkpoint", "latest", output="halves")
    assert_same_weights(halves, tuned)


def test_a_converted_pipeline_can_be_fine_tuned(tmp_path, clips, transcripts, amphion):
    """Amphion's phonemes have no start and end and are words of letters; its codec is EnCodec."""
    codec = EncodecCodec(
        sampling_rate=24000, latent_channels=16, num_codebooks=4, codebook_size=32, ratios=(8, 5, 4, 2), num_filters=2
    )
    for name, tensor in torch.load(amphion / "pytorch_model.bin", weights_only=True).items():
        if name.startswith("quantizer") and name.endswith("embed"):
            codec.codebooks[int(name.split(".")[3])] = tensor
    pipe = from_amphion(str(amphion / "pytorch_model.bin"), str(amphion / "config.json"), codec)
    pipe.save_pretrained(tmp_path / "converted")
    write_dataset(tmp_path / "dataset", pipe.codec, pipe.tokenizer, clips[:3], transcripts)
    folder = train(tmp_path, "--pretrained_pipeline", tmp_path / "converted", "--max_train_steps", 2)
    tuned = NaturalSpeech2Pipeline.from_pretrained(folder)
    assert len(tuned("Hello.", clips[5], num_inference_steps=2).audios[0])


# Publishing


def test_published_with_a_card_that_says_how(root, monkeypatch):
    uploaded = {}

    def push_to_hub(pipe, repo_id, token=None, card=None):
        uploaded.update(repo_id=repo_id, token=token, card=str(card), parameters=pipe.denoiser.num_parameters())

    monkeypatch.setattr(NaturalSpeech2Pipeline, "push_to_hub", push_to_hub)
    hub = ("--push_to_hub", "--hub_model_id", "me/voice", "--hub_token", "secret", "--license", "cc-by-sa-3.0")
    folder = train(root, "--max_train_steps", 2, *hub)
    assert uploaded["repo_id"] == "me/voice" and uploaded["token"] == "secret"
    assert uploaded["parameters"] == NaturalSpeech2Pipeline.from_pretrained(folder).denoiser.num_parameters()
    last = read_log(folder)[-1]
    for part in (
        "license: cc-by-sa-3.0",
        "dataset: 6 utterances",
        "| steps | 2,",
        f"pitch {last['pitch']:.4g}",
        "cpu",
    ):
        assert part in uploaded["card"], part
    assert "secret" not in uploaded["card"] and "secret" not in "".join(
        path.read_text() for path in folder.rglob("*.json*")
    )
