import pytest
import torch
from accelerate import Accelerator

from ns2_diffusers.files import partial_name
from ns2_diffusers.training.checkpoints import Checkpoints


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
    half = tmp_path / partial_name("checkpoint-00000005")
    half.mkdir()
    (half / "model.safetensors").write_text("half")
    assert checkpoints.resume(training[0], "latest")["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000004"]


def test_a_run_from_the_beginning_is_refused_where_another_has_been(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    checkpoints.save(training[0], {"step": 1})
    with pytest.raises(ValueError, match="choose another --output_dir"):
        checkpoints.resume(training[0], None)
