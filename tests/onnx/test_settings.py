"""The runtime that a command chooses, and the location of exports."""

import argparse
import json

import pytest

from ns2_diffusers import cli
from ns2_diffusers.onnx.settings import CACHE_VARIABLE, CLASS_NAME, SETTINGS_FILE, cached_export


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A directory that stands for a model of torch, and an empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "model" / "codec").mkdir(parents=True)
    (tmp_path / "model" / SETTINGS_FILE).write_text(json.dumps({"_class_name": "NaturalSpeech2Pipeline"}))
    (tmp_path / "model" / "codec" / "config.json").write_text("{}")
    return str(tmp_path / "model")


def export(folder):
    folder.mkdir(parents=True)
    (folder / SETTINGS_FILE).write_text(json.dumps({"_class_name": CLASS_NAME}))
    return str(folder)


def asked(**options):
    defaults = {"runtime": "auto", "device": "auto", "dtype": "float32", "lora": None, "scheduler": None}
    return argparse.Namespace(**defaults | options)


def test_an_export_in_the_cache_runs_where_it_can(model):
    assert cli.exported_model(asked(), model) is None
    with pytest.raises(ValueError, match="make an ONNX model of it"):
        cli.exported_model(asked(runtime="onnx"), model)
    cached = export(cached_export(model))
    assert cli.exported_model(asked(), model) == cli.exported_model(asked(runtime="onnx"), model) == cached
    for options in ({"runtime": "torch"}, {"device": "cuda"}, {"dtype": "bfloat16"}, {"lora": "a"}):
        assert cli.exported_model(asked(**options), model) is None
    assert cli.exported_model(asked(), "owner/name") is None


def test_without_onnxruntime_torch_speaks(model, monkeypatch):
    export(cached_export(model))
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.exported_model(asked(), model) is None


def test_an_exported_directory_runs_itself(model, tmp_path):
    directory = export(tmp_path / "exported")
    assert cli.exported_model(asked(), directory) == cli.exported_model(asked(runtime="onnx"), directory) == directory
    with pytest.raises(ValueError, match="leave --runtime torch out"):
        cli.exported_model(asked(runtime="torch"), directory)


def test_another_version_or_other_files_have_another_place(model, tmp_path, monkeypatch):
    place = cached_export(model)
    assert place.parent == tmp_path / "cache" / "onnx" and cached_export(model) == place
    (tmp_path / "model" / "README.md").write_text("Nothing that is exported.")
    assert cached_export(model) == place
    (tmp_path / "model" / "codec" / "config.json").write_text('{"a": 1}')
    other = cached_export(model)
    monkeypatch.setattr("ns2_diffusers.onnx.settings.__version__", "0")
    assert len({place, other, cached_export(model)}) == 3


def test_only_a_local_model_as_it_is_goes_to_the_cache(model, capsys):
    for more in (["--lora", "few_steps"], ["--scheduler", "euler"], ["--model", "owner/name"]):
        assert cli.main(["export", "onnx", "--model", model, *more]) == 2
        assert "give --output" in capsys.readouterr().err
