"""The training loop with a model of a few weights, in one process and in two."""

import json
import os
import shutil
from argparse import Namespace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from ns2_diffusers.training import run as runs
from ns2_diffusers.training.arguments import TrainingArgumentParser, add_run_arguments, add_validation_argument
from ns2_diffusers.training.batches import ConsecutiveBatches, EndlessBatches
from ns2_diffusers.training.optimization import cosine_schedule
from ns2_diffusers.training.run import TrainingRun
from ns2_diffusers.training.tracking import read_log


class Points:
    """A dataset whose item i is a point (3,), always the same."""

    def __getitem__(self, index):
        return {"point": torch.randn(3, generator=torch.Generator().manual_seed(index)), "mask": torch.ones(4)}


def make_args(*words):
    parser = TrainingArgumentParser()
    add_run_arguments(parser)
    add_validation_argument(parser)
    args = parser.parse_args(["--mixed_precision", "no", "--logging_steps", "1", *map(str, words)])
    return Namespace(**vars(args), learning_rate=0.1, lr_warmup_steps=2)


def make_model():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))


def train(directory, *words, spoilt=(), batch_size=2, seen=None, keep=None, validate=None, name="", dropout=True):
    """Weights and averaged weights after a run in which the losses of the steps `spoilt` are NaN."""
    run = TrainingRun(make_args(*words), directory, name)
    model = make_model()
    model, _ = run.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1), ema_decay=0.9)
    model.train(dropout)
    if keep is not None:
        run.keep("counter", keep)

    def compute(batch):
        loss = (model(batch["point"]) - 1).square().mean() * (torch.nan if run.step in spoilt else 1.0)
        run.accelerator.backward(loss)
        if keep is not None:
            keep.total += 1
        if seen is not None:
            seen.append((run.step, run.seconds, run.done, run.optimizers[0].param_groups[0]["lr"]))
        return {"loss": loss}

    batches = EndlessBatches(Points(), ConsecutiveBatches(batch_size, epoch_length=3), **run.loading)
    run.train(batches, compute, cosine_schedule(2), validate, audio=("mask", 2.0))
    weights = {
        name: tensor.detach().clone() for name, tensor in run.accelerator.unwrap_model(model).state_dict().items()
    }
    average = run.average.state_dict()
    run.end()
    AcceleratorState._reset_state(reset_partial_state=True)
    return weights, average


def assert_same(ours, theirs, atol=0.0):
    for one, other in zip(ours, theirs, strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(tensor, other[name], rtol=0, atol=atol, msg=name)


def checkpoints(directory):
    return sorted(path.name for path in directory.glob("checkpoint-*"))


class Counter:
    total = 0

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


@pytest.mark.parametrize("form", ["latest", "folder"])
def test_resumed_is_uninterrupted(tmp_path, form):
    """Dropout, data, learning rate, average, kept objects and log are equal; the stop is in the middle of an epoch."""
    words = ("--gradient_accumulation_steps", 2, "--checkpointing_steps", 3, "--max_train_steps", 7)
    counter, again = Counter(), Counter()
    whole = train(tmp_path / "whole", *words, "--checkpoints_total_limit", 0, keep=counter)
    assert checkpoints(tmp_path / "whole") == [f"checkpoint-0000000{step}" for step in (3, 6, 7)]
    where = tmp_path / "whole" / "checkpoint-00000003"
    state = json.loads((where / "progress.json").read_text())
    assert state["batches"] == {"epoch": 1, "position": 3} and state["kept"] == {"counter": {"total": 6}}
    if form == "latest":
        shutil.copytree(where, tmp_path / "resumed" / where.name)
        where = "latest"
    resumed = train(tmp_path / "resumed", *words, "--resume_from_checkpoint", where, keep=again)
    assert_same(resumed, whole)
    assert again.total == counter.total == 14
    ours, theirs = ([{**row, "seconds": 0} for row in read_log(tmp_path / run)] for run in ("resumed", "whole"))
    for mine, other in zip(ours, theirs[3:], strict=True):
        speed = {"audio_seconds_per_second": 0}
        assert mine | speed == other | speed


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train(tmp_path / "one", "--max_train_steps", 1, name="one")
    folder = tmp_path / "one" / "checkpoint-00000001"
    with pytest.raises(ValueError, match="checkpoint of the run 'one', not of 'two'"):
        train(tmp_path / "two", "--max_train_steps", 2, "--resume_from_checkpoint", folder, name="two")
    AcceleratorState._reset_state(reset_partial_state=True)
    (folder / "progress.json").write_text('{"step": 1, "seconds": 0}')
    with pytest.raises(ValueError, match="another version"):
        train(tmp_path / "three", "--max_train_steps", 2, "--resume_from_checkpoint", folder, name="one")


def test_a_skipped_step_changes_nothing_and_has_no_checkpoint(tmp_path):
    words = ("--checkpointing_steps", 2, "--checkpoints_total_limit", 0)
    before = train(tmp_path / "before", *words, "--max_train_steps", 5)
    spoilt = train(tmp_path / "spoilt", *words, "--max_train_steps", 5, spoilt={1, 2})
    # Steps 2 and 3 are skipped: the checkpoint that was due after step 2 comes after step 4.
    assert checkpoints(tmp_path / "before") == [f"checkpoint-0000000{step}" for step in (2, 4, 5)]
    assert checkpoints(tmp_path / "spoilt") == [f"checkpoint-0000000{step}" for step in (4, 5)]
    log = read_log(tmp_path / "spoilt")
    assert [row["skipped_steps"] for row in log] == [0, 1, 2, 2, 2]
    assert ["loss" in row for row in log] == [True, False, False, True, True]
    assert all(tensor.isfinite().all() for part in spoilt for tensor in part.values())
    assert any(not torch.equal(spoilt[0][name], before[0][name]) for name in before[0])


def test_the_average_takes_no_skipped_step(tmp_path):
    """One good step of three: the average is that after the good step."""
    one = train(tmp_path / "one", "--max_train_steps", 1)
    many = train(tmp_path / "many", "--max_train_steps", 3, spoilt={1, 2})
    assert_same(many[:1], many[1:])
    # The learning rate of the first step does not depend on the length of the run.
    assert_same(many, one)
    # No checkpoint follows skipped steps, not even at the end.
    assert checkpoints(tmp_path / "many") == []


def test_skipped_steps_are_counted_over_stops_and_many_end_the_run(tmp_path):
    train(tmp_path, "--max_train_steps", 3, spoilt={1})
    train(tmp_path, "--max_train_steps", 5, "--resume_from_checkpoint", "latest", spoilt={3})
    assert read_log(tmp_path)[-1]["skipped_steps"] == 2
    with pytest.raises(RuntimeError, match="11 steps in a row"):
        train(tmp_path, "--max_train_steps", 40, "--resume_from_checkpoint", "latest", spoilt=set(range(99)))
    assert checkpoints(tmp_path) == ["checkpoint-00000003", "checkpoint-00000005"]


def fake_clock(monkeypatch, start=1000.0, pace=1.0):
    """A clock that advances by `pace` seconds every time it is read."""
    ticks = count()
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: start + pace * next(ticks)))


def test_the_run_ends_by_its_time_and_time_before_a_stop_counts(tmp_path, monkeypatch):
    fake_clock(monkeypatch)
    seen = []
    train(tmp_path / "whole", "--max_train_time", 0.5, seen=seen)
    # The clock is read three times per step.
    assert [seconds for _, seconds, _, _ in seen] == [3 * step for step in range(10)]
    assert [done for _, _, done, _ in seen] == pytest.approx([step / 10 for step in range(10)])
    assert seen[5][3] == pytest.approx(0.05) and checkpoints(tmp_path / "whole")[-1] == "checkpoint-00000010"
    again = []
    train(tmp_path / "whole", "--max_train_time", 0.6, "--resume_from_checkpoint", "latest", seen=again)
    assert [seconds for _, seconds, _, _ in again] == [30, 33]
    over = []
    train(tmp_path / "whole", "--max_train_time", 0.6, "--resume_from_checkpoint", "latest", seen=over)
    train(tmp_path / "nothing", "--max_train_time", 0, seen=over)
    train(tmp_path / "none", "--max_train_steps", 0, seen=over)
    assert over == []


def test_validation_is_called_when_it_is_due_and_changes_nothing(tmp_path):
    steps = []

    def validate():
        steps.append(read_log(tmp_path / "watched")[-1]["step"])
        torch.manual_seed(99)

    words = ("--max_train_steps", 5, "--validation_steps", 2)
    plain = train(tmp_path / "plain", *words)
    watched = train(tmp_path / "watched", *words, validate=validate)
    assert_same(watched, plain)
    assert steps == [2, 4, 5]


def test_numbers_of_the_log(tmp_path, monkeypatch, capsys):
    fake_clock(monkeypatch)
    train(tmp_path, "--max_train_steps", 4, "--logging_steps", 2, name="first")
    first, second = read_log(tmp_path)
    assert list(first) == [
        "step", "seconds", "loss", "learning_rate", "gradient_norm", "skipped_steps", "audio_seconds_per_second",
    ]  # fmt: skip
    assert (first["step"], first["seconds"], second["step"], second["seconds"]) == (2, 6, 4, 12)
    # Two steps of two items of four samples, at two samples per second, in a second each.
    assert first["audio_seconds_per_second"] == pytest.approx(2 * 2 * 4 / 2 / 2)
    out = capsys.readouterr().out
    assert "first step 4, 12 s: loss " in out and "first 0.00 M weights in training" in out


def test_processes_that_would_train_alone_are_refused(tmp_path, monkeypatch):
    """As on a Mac, whose accelerator supports one process."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda *args: True)
    with pytest.raises(ValueError, match="2 processes were started on cpu, and each would train alone"):
        train(tmp_path, "--max_train_steps", 1)
    assert not list(tmp_path.iterdir())


def in_one_of_two(rank, directory, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    os.environ.update(LOCAL_WORLD_SIZE="2")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        # Another clock with another pace.
        fake_clock(patch, start=1000.0 + 500 * rank, pace=1.0 + 6 * rank)
        seen = []
        weights, _ = train(directory / "two", "--max_train_time", 0.5, seen=seen, dropout=False)
    torch.save({"weights": weights, "seen": seen}, directory / f"{rank}.pt")


def test_two_processes_with_clocks_of_their_own_end_as_one_does(tmp_path, monkeypatch):
    """The learning rate follows the time: in both processes it and the last step are those of the main process."""
    torch.multiprocessing.spawn(in_one_of_two, (tmp_path, "29641"), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["seen"] == second["seen"] and len(first["seen"]) == 10
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name])
    fake_clock(monkeypatch)
    one, _ = train(tmp_path / "one", "--max_train_time", 0.5, batch_size=4, dropout=False)
    assert_same([first["weights"]], [one], atol=1e-6)
