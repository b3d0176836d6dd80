"""Weights are found, read as untrusted data, and written completely or not at all."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ns2_diffusers.conversion import weights
from ns2_diffusers.conversion.weights import check_new_directory, find_file, read_weights, save_whole

WEIGHTS = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}


def test_a_file_a_directory_and_a_repository(tmp_path, monkeypatch):
    path = tmp_path / "model.bin"
    path.touch()
    asked = []
    monkeypatch.setattr(
        weights, "hf_hub_download", lambda *args, revision: asked.append((*args, revision)) or str(path)
    )
    assert find_file(path, "other.bin") == path
    assert find_file(str(tmp_path), "model.bin") == path
    assert asked == []
    assert find_file("somebody/some-model_1.0", "model.bin") == path
    assert asked == [("somebody/some-model_1.0", "model.bin", None)]


def test_a_revision_is_asked_for_and_the_newest_is_named(tmp_path, monkeypatch, caplog):
    commit = "4fe38d5d4cf7b3ddf2c5b1e1b9b5f5f4d4e0a1c2"
    asked = []
    monkeypatch.setattr(
        weights,
        "hf_hub_download",
        lambda *args, revision: asked.append(revision) or str(tmp_path / "snapshots" / commit / "model.bin"),
    )
    find_file("somebody/some-model", "model.bin", revision=commit)
    assert asked == [commit] and not caplog.records
    find_file("somebody/some-model", "model.bin")
    assert asked == [commit, None] and f"commit {commit}" in caplog.text
    with pytest.raises(ValueError, match="not on the hub"):
        find_file(tmp_path, "model.bin", revision=commit)


def test_what_was_downloaded_is_checked_each_time(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    asked, url = [], "https://example.org/v0/model-ab.th"

    def download(url, path):
        asked.append(url)
        Path(path).write_bytes(b"abc")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path = weights.download_file(url, sha256)
    assert path.read_bytes() == b"abc" and weights.download_file(url, sha256[:8]) == path and asked == [url]
    path.write_bytes(b"abd")
    with pytest.raises(ValueError, match="has SHA-256 a52d159f.*wanted ba7816bf.*remove it"):
        weights.download_file(url, sha256)


@pytest.mark.parametrize("source", ["model", "./no/such", "a/b/c", "folder/pytorch_model.bin", "/etc/none", "../x"])
def test_what_is_nowhere(source, monkeypatch):
    monkeypatch.setattr(weights, "hf_hub_download", lambda *args, **_: pytest.fail("asked the hub"))
    with pytest.raises(ValueError, match="no file or directory.*not a hub repository"):
        find_file(source, "model.bin")


def test_a_directory_without_it(tmp_path):
    with pytest.raises(ValueError, match="there is no config.yaml in the directory"):
        find_file(tmp_path, "config.yaml")


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
def test_both_formats(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(WEIGHTS, path)
    read = read_weights(path)
    assert read.keys() == WEIGHTS.keys() and all(torch.equal(read[name], WEIGHTS[name]) for name in read)


class Command:
    def __reduce__(self):
        return pytest.fail, ("a pickle ran",)


@pytest.mark.parametrize(
    "content", [{"a": Command()}, {"a": 5}, [torch.ones(1)], None], ids=["code", "number", "list", "none"]
)
def test_nothing_but_tensors_is_taken(content, tmp_path):
    path = tmp_path / "model.bin"
    torch.save(content, path)
    with pytest.raises(ValueError, match="state dict"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", ["model.bin", "model.safetensors"])
def test_damaged_files(name, tmp_path):
    path = tmp_path / name
    for content in (b"", b"not a checkpoint at all", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="state dict"):
            read_weights(path)


class Saver:
    def __init__(self, fails=False):
        self.fails = fails

    def save_pretrained(self, directory):
        directory.mkdir(exist_ok=True)
        (directory / "part").write_text("whole")
        if self.fails:
            raise OSError("the disk is full")


def test_written_beside_and_renamed(tmp_path):
    (tmp_path / "made.partial").mkdir()
    (tmp_path / "made.partial" / "mine").touch()
    save_whole(Saver(), tmp_path / "made")
    assert (tmp_path / "made" / "part").read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "made.partial"]
    assert (tmp_path / "made.partial" / "mine").exists()


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"):
        save_whole(Saver(fails=True), tmp_path / "made")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "there").write_text("precious")
    with pytest.raises(ValueError, match="already something"):
        save_whole(Saver(), tmp_path / "there")
    with pytest.raises(ValueError, match="no directory"):
        check_new_directory(tmp_path / "no" / "made")
