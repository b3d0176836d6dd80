import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from ns2_diffusers.files import partial_name
from ns2_diffusers.training.checkpoints import Checkpoints, check_contents, weights_only


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


def resume(checkpoints, accelerator, which):
    folder = checkpoints.find(accelerator, which)
    if folder is None:
        return None
    checkpoints.load(accelerator, folder)
    return checkpoints.progress(folder)


def test_resuming_goes_on_as_if_nothing_had_happened(tmp_path, training):
    accelerator, step = training
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    step()
    checkpoints.save(accelerator, {"step": 1, "seconds": 2.5})
    uninterrupted = [step(), step()]
    assert resume(checkpoints, accelerator, "latest") == {"step": 1, "seconds": 2.5}
    for expected in uninterrupted:
        assert torch.equal(step(), expected)


def test_the_oldest_go_first(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    for number in (9, 10, 11):
        checkpoints.save(training[0], {"step": number})
    assert [path.name for path in checkpoints.all()] == ["checkpoint-00000010", "checkpoint-00000011"]
    assert resume(checkpoints, training[0], str(tmp_path / "checkpoint-00000010"))["step"] == 10


def test_nothing_to_resume(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    assert resume(checkpoints, training[0], "latest") is None
    assert resume(checkpoints, training[0], None) is None
    with pytest.raises(ValueError, match="is not a checkpoint"):
        resume(checkpoints, training[0], str(tmp_path))


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
    assert resume(checkpoints, training[0], "latest")["step"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000004"]


def test_a_run_from_the_beginning_is_refused_where_another_has_been(tmp_path, training):
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    checkpoints.save(training[0], {"step": 1})
    with pytest.raises(ValueError, match="choose another --output_dir"):
        resume(checkpoints, training[0], None)


class Program:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "name", ["custom_checkpoint_0.pkl", "optimizer.bin", "random_states_0.pkl", "scaler.pt", "sub/model_states.pt"]
)
@pytest.mark.parametrize("as_torch_file", [True, False])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_program_in_a_checkpoint_does_not_run(tmp_path, training, name, as_torch_file):
    accelerator, step = training
    checkpoints = Checkpoints(tmp_path, total_limit=2)
    checkpoints.save(accelerator, {"step": 1})
    before = step()
    path, marker = tmp_path / "checkpoint-00000001" / name, tmp_path / "ran"
    path.parent.mkdir(exist_ok=True)
    program = {"state": {}, "param_groups": [], "evil": Program(marker)}
    torch.save(program, path) if as_torch_file else path.write_bytes(pickle.dumps(program))
    with pytest.raises(ValueError, match=f"{path.name} is not loaded, as it may run a program"):
        checkpoints.load(accelerator, path.parents[name.count("/")])
    assert not marker.exists()
    assert torch.equal(accelerator._models[0].weight, before)


def test_torch_loads_weights_alone_whatever_its_caller_wants(tmp_path, monkeypatch):
    """DeepSpeed loads like this, and accelerate for registered objects; the environment variable has no effect."""
    torch.save({"evil": Program(tmp_path / "ran"), "good": torch.ones(1)}, tmp_path / "file.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with weights_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "file.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.fixture
def one_process(tmp_path_factory):
    store = dist.FileStore(str(tmp_path_factory.mktemp("store") / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_the_index_of_a_sharded_checkpoint_is_read_and_no_more(tmp_path, one_process):
    """torch.distributed.checkpoint unpickles this file, and every value that is not a tensor."""
    mesh = init_device_mesh("cpu", (1,))
    weight = distribute_tensor(torch.arange(6.0).reshape(3, 2), mesh, [Shard(0)])
    dcp.save({"weight": weight, "half": torch.ones(2).half(), "step": 3}, checkpoint_id=tmp_path / "shards")
    check_contents(tmp_path)
    loaded = {"weight": torch.zeros_like(weight), "half": torch.zeros(2).half(), "step": 0}
    with weights_only():
        dcp.load(loaded, checkpoint_id=tmp_path / "shards")
    assert torch.equal(loaded["weight"].full_tensor(), weight.full_tensor()) and loaded["step"] == 3

    (tmp_path / "shards" / ".metadata").write_bytes(pickle.dumps(Program(tmp_path / "ran")))
    with pytest.raises(ValueError, match="metadata is not loaded.*it wants"):
        check_contents(tmp_path)
    (tmp_path / "shards" / ".metadata").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(ValueError, match="it wants os.system"):
        check_contents(tmp_path)
    assert not (tmp_path / "ran").exists()
