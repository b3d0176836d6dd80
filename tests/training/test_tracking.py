import json
import sys
import types
from argparse import Namespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from matplotlib.figure import Figure

from ns2_diffusers.training import tracking


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True)


def test_means_of_what_was_added_since(accelerator):
    means = tracking.RunningMeans()
    means.add({"loss": torch.tensor(1.0, requires_grad=True), "pitch": torch.tensor(2.0)}, 10)
    means.add({"loss": torch.tensor(3.0), "pitch": torch.tensor(5.0)}, 20)
    assert means.take(accelerator) == ({"loss": 2.0, "pitch": 3.5}, 30)
    assert means.take(accelerator) == ({}, 0)
    means.add({"loss": torch.tensor(7.0)}, 1)
    assert means.take(accelerator) == ({"loss": 7.0}, 1)


def test_a_log_that_a_kill_cut_short_goes_on_from_the_checkpoint(accelerator, tmp_path):
    for step in (1, 2, 3):
        tracking.log_numbers(accelerator, tmp_path, {"loss": step / 2}, step)
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in tracking.read_log(tmp_path)] == [1, 2, 3]
    tracking.rewind_log(accelerator, tmp_path, 2)
    tracking.log_numbers(accelerator, tmp_path, {"loss": 9.0}, 3)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 9.0},
    ]


def test_no_log_yet(accelerator, tmp_path):
    assert tracking.read_log(tmp_path) == []
    tracking.rewind_log(accelerator, tmp_path, 0)
    assert tracking.read_log(tmp_path) == []


def test_weights_and_biases(monkeypatch):
    """Speech and pictures become wandb's own types, at their step."""
    wandb = types.ModuleType("wandb")
    wandb.Audio = lambda array, sample_rate: ("audio", array, sample_rate)
    wandb.Image = lambda array: ("image", array)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    logged = []
    tracker = types.SimpleNamespace(name="wandb", log=lambda values, step: logged.append((values, step)))
    accelerator = types.SimpleNamespace(trackers=[tracker])
    tracking.log_speech(accelerator, "speech", torch.tensor([[0.5, -0.5]]), 16000, 3)
    figure = Figure(figsize=(2, 1), dpi=50, facecolor=(1.0, 0.0, 0.0))
    tracking.log_picture(accelerator, "figure", figure, 4)
    tracking.log_picture(accelerator, "array", torch.zeros(2, 3, 3), 5)
    (speech, step), (figure, _), (array, _) = logged
    kind, audio, rate = speech["speech"]
    assert (kind, audio.tolist(), rate, step) == ("audio", [0.5, -0.5], 16000, 3)
    assert figure["figure"][1].shape == (50, 100, 3) and figure["figure"][1][0, 0].tolist() == [1, 0, 0]
    assert np.array_equal(array["array"][1], np.zeros((2, 3, 3)))


def test_hyperparameters_are_numbers_and_text(tmp_path):
    accelerator = Accelerator(cpu=True, log_with="tensorboard", project_dir=str(tmp_path))
    args = Namespace(learning_rate=1e-3, texts=["a", "b"], limit=None, name="x", hub_token="secret")
    tracking.start_tracking(accelerator, "project", args)
    accelerator.end_training()
    saved = next(tmp_path.rglob("hparams.yml")).read_text()
    assert "learning_rate: 0.001" in saved and "name: x" in saved and "texts" not in saved
    assert "secret" not in saved
