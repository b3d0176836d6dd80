import json

import pytest
import torch
from accelerate import Accelerator

from ns2_diffusers.training.checkpoints import Checkpoints, save_beside


@pytest.fixture
def training():
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(2, 2)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.1))

    def step():
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        return model.weight.detach().clone()

    return accelerator, step


def test_resuming_goes_on_as_if_nothing_had_happened(tmp_path, training):
    accelerator, step = training
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    step()
    checkpoints.save(accelerator, {"step": 1, "seconds": 2.5})
    uninterrupted = [step(), step()]
    assert checkpoints.resume(accelerator, "latest") == {"step": 1, "seconds": 2.5}
    for expected in uninterrupted:
        assert torch.equal(step(), expected)


def test_the_oldest_go_first(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    for number in (9, 10, 11):
        checkpoints.save(training[0], {"step": number})
    assert [path.name for path in checkpoints.all()] == ["checkpoint-00000010", "checkpoint-00000011"]
    assert checkpoints.resume(training[0], str(tmp_path / "checkpoint-00000010"))["step"] == 10


def test_nothing_to_resume(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    assert checkpoints.resume(training[0], "latest") is None
    assert checkpoints.resume(training[0], None) is None
    with pytest.raises(ValueError, match="is no checkpoint"):
        checkpoints.resume(training[0], str(tmp_path))


def test_zero_keeps_all(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=0)
    for number in (1, 2, 3):
        checkpoints.save(training[0], {"step": number})
    assert len(checkpoints.all()) == 3


def test_a_half_written_checkpoint_is_none_and_goes(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    checkpoints.save(training[0], {"step": 4})
    (tmp_path / ".checkpoint-00000005").mkdir()
    (tmp_path / ".checkpoint-00000005" / "model.safetensors").write_text("half")
    assert checkpoints.resume(training[0], "latest")["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000004"]


def test_a_run_from_the_beginning_is_refused_where_another_has_been(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    checkpoints.save(training[0], {"step": 1})
    with pytest.raises(ValueError, match="choose another --output_dir"):
        checkpoints.resume(training[0], None)


def write(content):
    def save(folder):
        (folder / "config.json").write_text(json.dumps(content))
        (folder / "part").mkdir()
        (folder / "part" / "weights").write_text(str(content))

    return save


def test_saving_replaces_its_own_parts_and_no_others(tmp_path):
    (tmp_path / "checkpoint-00000001").mkdir()
    for content in (1, 2):
        save_beside(write(content), tmp_path)
        assert (tmp_path / "config.json").read_text() == (tmp_path / "part" / "weights").read_text() == str(content)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-00000001", "config.json", "part"]


def test_what_fails_midway_leaves_the_old(tmp_path):
    save_beside(write(1), tmp_path)

    def fail(folder):
        (folder / "config.json").write_text("{")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_beside(fail, tmp_path)
    assert (tmp_path / "config.json").read_text() == "1"
    save_beside(write(3), tmp_path)
    assert (tmp_path / "config.json").read_text() == "3" and not (tmp_path / ".saving").exists()
