"""All stages with a tiny pipeline and real clips, as a user runs the script."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import distill_text_to_speech as script
from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.data.prepared_dataset import PreparedRow, write_prepared_dataset
from ns2_diffusers.files import partial_name
from ns2_diffusers.training.checkpoints import Checkpoints

pytest.importorskip("datasets", reason="the train extra is not installed")

STAGES = ["guidance", "steps-04", "steps-02", "steps-01"]
NEW_IN_CONFIG = ("guidance_range", "student_steps")
FROZEN = ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "codec")


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def folder(tmp_path, make_tiny_pipeline, clips):
    """A teacher pipeline and a dataset for it: three clips of a second and a half."""
    pipe = make_tiny_pipeline("undistilled")
    pipe.save_pretrained(tmp_path / "teacher")
    # The config as it was saved before students existed.
    path = tmp_path / "teacher" / "denoiser" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in config.items() if name not in NEW_IN_CONFIG}))
    rows = []
    for path in clips[:3]:
        waveform, rate = load_audio(path)
        with torch.no_grad():
            _, codes = pipe.codec.quantize(pipe.codec.encode(waveform[None, None, : 3 * rate // 2]))
        phonemes = pipe.tokenizer.phonemize("Hello there.")
        symbols, frames = len(pipe.tokenizer(phonemes, is_phonemes=True)["input_ids"]), codes.shape[2]
        durations = np.diff(np.linspace(0, frames, symbols + 1).round().astype(int))
        row = {"id": path.stem, "speaker": "s", "text": "Hello there.", "phonemes": phonemes, "n_frames": frames}
        rows.append(PreparedRow(**row, durations=durations, codes=codes[0].numpy(), f0=np.full(frames, 150.0)))
    write_prepared_dataset(rows, tmp_path / "dataset", pipe.codec, pipe.tokenizer)
    return tmp_path


def as_arguments(folder, *options, output="distilled", teacher="teacher"):
    options = ["--pretrained_pipeline", str(folder / teacher), "--dataset_dir", str(folder / "dataset"), *options]
    options += ["--output_dir", str(folder / output), "--mixed_precision", "no", "--batch_seconds", "4"]
    options += ["--teacher_steps", "8"] if teacher == "teacher" else []
    return options + (["--max_train_steps", "3"] if "--max_train_steps" not in options else [])


def distill(folder, *options, output="distilled", **others):
    script.main(script.parse_args(as_arguments(folder, *options, output=output, **others)))
    return folder / output


def weights(folder, part="denoiser"):
    name = "diffusion_pytorch_model.safetensors"
    return load_file(folder / part / name)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def speak(folder, clips, **options):
    pipe = NaturalSpeech2Pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    calls = []
    pipe.denoiser.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    generator = torch.Generator().manual_seed(0)
    return pipe("Hello.", clips[5], generator=generator, **options).audios[0], calls


def test_all_stages(folder, clips):
    prompts = ["--validation_texts", "Hello.", "--validation_prompts", str(clips[4])]
    output = distill(folder, *prompts, "--logging_steps", "1")
    assert sorted(path.name for path in output.iterdir() if (path / "model_index.json").exists()) == sorted(STAGES)
    for stage, steps in zip(STAGES, (None, 4, 2, 1), strict=True):
        audio, calls = speak(output / stage, clips, guidance_scale=3.0)
        # Three calls of one item each: guidance costs no extra calls any more.
        assert calls == [1] * (steps or 32) and np.isfinite(audio).all()
        config = json.loads((output / stage / "denoiser" / "config.json").read_text())
        scheduler = json.loads((output / stage / "scheduler" / "scheduler_config.json").read_text())
        assert config["guidance_range"] == [1.0, 4.0]
        assert "student_steps" not in config and scheduler.get("student_steps") == (steps and [steps])
        for part in FROZEN:
            assert same(weights(output / stage, part), weights(folder / "teacher", part)), part
        assert list((output / "samples" / stage).glob("*.wav"))
        card = (output / stage / "README.md").read_text()
        assert f"| method | {'halving' if steps else 'guidance'} |" in card and "| steps | 3," in card
        log = [json.loads(line) for line in (output / "logs" / stage / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in log] == [1, 2, 3] and all(row["loss"] > 0 for row in log)
    assert not same(weights(output / "steps-01"), weights(output / "steps-02"))


def test_a_student_learns_what_its_teacher_says(folder):
    """The error falls between the halves of a stage, and the saved student has the low error too."""
    output = distill(
        folder, "--guidance_max", "1", "--last_steps", "4", "--max_train_steps", "40", "--learning_rate", "3e-3",
        "--logging_steps", "1", "--ema_decay", "0.9",
    )  # fmt: skip
    assert not (output / "guidance").exists()
    config = json.loads((output / "steps-04" / "denoiser" / "config.json").read_text())
    assert config["guidance_range"] is None
    log = [json.loads(line)["loss"] for line in (output / "logs" / "steps-04" / "log.jsonl").read_text().splitlines()]
    assert np.mean(log[-10:]) < 0.7 * np.mean(log[:10])


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "method, stages, killed",
    [
        ("halving", STAGES, ["guidance", "steps-02"]),
        ("consistency", ["guidance", "consistency"], ["consistency"]),
    ],
)
def test_resuming_at_any_stage_ends_where_an_uninterrupted_run_does(folder, monkeypatch, method, stages, killed):
    options = ["--checkpointing_steps", "2", "--method", method]
    whole = distill(folder, *options, output="whole")
    save = Checkpoints.save
    for stage in killed:
        resume = [] if stage == killed[0] else ["--resume_from_checkpoint", "latest"]

        def killed_after_saving(self, accelerator, progress, stage=stage):
            save(self, accelerator, progress)
            if self.directory.name == stage:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "save", killed_after_saving)
            with pytest.raises(Killed):
                distill(folder, *options, *resume, output="killed")
        assert not (folder / "killed" / stage).exists()
        assert list((folder / "killed" / "logs" / stage).glob("checkpoint-*"))
        AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.raises(ValueError, match="--resume_from_checkpoint latest"):
        distill(folder, *options, output="killed")
    unfinished = folder / "killed" / partial_name("killed")
    (unfinished / "steps-02").mkdir(parents=True)
    distill(folder, *options, "--resume_from_checkpoint", "latest", output="killed")
    assert not unfinished.exists()
    for name in stages:
        assert same(weights(folder / "killed" / name), weights(whole / name)), name
    assert not list((folder / "killed" / "logs").rglob("checkpoint-*"))


@pytest.mark.slow
def test_two_processes_make_the_stages_as_one_does_in_two_micro_batches(folder):
    one = distill(folder, "--gradient_accumulation_steps", "2", output="one")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29614"]
    command += [script.__file__, *as_arguments(folder, output="two")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for stage in STAGES:
        ours, theirs = weights(folder / "two" / stage), weights(one / stage)
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-5, msg=f"{stage}: {name}")


def test_the_shorter_way(folder, clips):
    output = distill(folder, "--method", "consistency")
    for steps in (4, 2, 1):
        _, calls = speak(output / "consistency", clips, num_inference_steps=steps, guidance_scale=2.0)
        assert calls == [1] * steps
    assert len(speak(output / "consistency", clips)[1]) == 4
    assert not same(weights(output / "consistency"), weights(output / "guidance"))


def test_going_on_from_a_stage(folder, clips):
    first = distill(folder, "--last_steps", "4")
    shutil.copytree(first / "steps-04", folder / "student")
    output = distill(folder, "--last_steps", "2", output="further", teacher="student")
    assert [path.name for path in output.iterdir() if (path / "model_index.json").exists()] == ["steps-02"]
    assert len(speak(output / "steps-02", clips, guidance_scale=4.0)[1]) == 2
    with pytest.raises(ValueError, match=r"student of \[4\] steps"):
        distill(folder, "--teacher_steps", "8", output="no", teacher="student")
    with pytest.raises(ValueError, match="this one is a student"):
        distill(folder, "--method", "guidance", output="no", teacher="student")


@pytest.mark.parametrize("method, stage", [("halving", "steps-04"), ("consistency", "consistency")])
def test_lora(folder, clips, method, stage):
    pytest.importorskip("peft", reason="peft is not installed")
    options = ["--lora_rank", "2", "--learning_rate", "1e-2", "--last_steps", "4", "--method", method]
    output = distill(folder, *options)
    before, after = weights(output / "guidance"), weights(output / stage)
    assert (
        before.keys()
        == after.keys()
        == weights(folder / "teacher").keys() | {name for name in before if "guidance_mlp" in name}
    )
    changed = {name: after[name] - before[name] for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(torch.linalg.matrix_rank(each.flatten(1), rtol=1e-2) <= 2 for each in changed.values())
    audio, calls = speak(output / stage, clips)
    assert len(calls) == 4
    # The adapters alone make the same student of the teacher; without them the teacher is as before.
    pipe = NaturalSpeech2Pipeline.from_pretrained(output / "guidance")
    teacher = weights(output / "guidance")
    pipe.load_lora_weights(output / stage)
    pipe.set_progress_bar_config(disable=True)
    again = pipe("Hello.", clips[5], generator=torch.Generator().manual_seed(0)).audios[0]
    np.testing.assert_allclose(again, audio, atol=1e-4)
    pipe.unload_lora_weights()
    assert type(pipe.scheduler).__name__ == "NaturalSpeech2DDIMScheduler"
    assert same(pipe.denoiser.state_dict(), teacher)


def test_guidance_alone(folder, monkeypatch):
    output = distill(folder, "--method", "guidance", "--guidance_max", "3")
    assert [path.name for path in output.iterdir() if (path / "model_index.json").exists()] == ["guidance"]
    config = json.loads((output / "guidance" / "denoiser" / "config.json").read_text())
    assert config["guidance_range"] == [1.0, 3.0]
    shutil.copytree(output / "guidance", folder / "guided")
    # Guidance is distilled again, as after further training: the teacher now is the model at its scale of 1.
    scales, answering = [], script.distillation.answering

    def spy(denoiser, conditioning, sample_mask=None, guidance=None):
        scales.append(guidance)
        return answering(denoiser, conditioning, sample_mask, guidance)

    monkeypatch.setattr(script.distillation, "answering", spy)
    again = distill(folder, "--method", "guidance", "--guidance_max", "4", output="again", teacher="guided")
    assert scales == [None] * 6  # with and without its condition, in each of three steps
    config = json.loads((again / "guidance" / "denoiser" / "config.json").read_text())
    assert config["guidance_range"] == [1.0, 4.0]
    before, after = weights(folder / "guided"), weights(again / "guidance")
    assert before.keys() == after.keys()
    assert not torch.equal(before["proj_out.weight"], after["proj_out.weight"])


def test_time_is_shared_by_the_stages(folder, capsys):
    output = distill(folder, "--max_train_time", "0.004", "--max_train_steps", "100000", "--logging_steps", "1")
    assert all((output / stage / "model_index.json").exists() for stage in STAGES)
    assert capsys.readouterr().out.count("saved after") == 4


def test_few_steps_must_be_on_the_grid(folder):
    with pytest.raises(ValueError, match="must divide the teacher's 8 steps"):
        distill(folder, "--method", "consistency", "--few_steps", "3")


def test_a_dataset_without_durations(folder, tiny_pipeline):
    batch = {"attention_mask": None, "prompt_mask": None}
    with pytest.raises(ValueError, match="no durations.*align_dataset"):
        script.distillation.read_batch(tiny_pipeline, batch)
