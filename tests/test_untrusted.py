"""Names that could be another person's repository, and untrusted files and configs."""

import contextlib

import diffusers
import pytest

from ns2_diffusers.untrusted import check_config, check_config_file, check_safetensors_header, check_source


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "model" / "inner").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", ["model", "./model", "model/inner", "outputs/../model"])
def test_what_is_there_is_taken(here, name):
    check_source(name)
    check_source(here / name)


@pytest.mark.parametrize("name", ["owner/name", "some-owner/some.name_2", "0/1"])
def test_what_looks_like_a_repository_is_asked_of_the_hub(here, name):
    check_source(name)


@pytest.mark.parametrize(
    "name",
    [
        "outputs/pipeline",  # its first part is there
        "./owner/name",
        "./name",
        "../name",
        "../../owner/name",
        "owner/../name",
        "~/name",
        "/owner/name",
        "owner/name/",
        "owner/name/part",
        "owner",
        "owner\\name",
        "",
        "a\0b/c",
        "-/-",
        "x" * 5000,
    ],
)
def test_what_looks_like_a_path_is_never_asked_of_the_hub(here, monkeypatch, name):
    with pytest.raises(ValueError, match="there is no file or directory"):
        check_source(name)


def test_the_error_names_the_folder_that_was_looked_for(here):
    with pytest.raises(ValueError) as raised:
        check_source("outputs/pipeline")
    assert repr(str(here / "outputs" / "pipeline")) in str(raised.value) and "'outputs' here" in str(raised.value)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": 10**9},
        {"hidden_size": -(10**9)},
        {"num_layers": 5000},
        {"encoder_config": {"num_layers": 10**6}},
        {"list": [1, 2, 10**7]},
        {"sampling_rate": 10**6},
        {"num_train_timesteps": 10**9},
        {"dropout": float("nan")},
        {"dropout": float("inf")},
        {"latents_mean": [0.0] * 100_001},
        [],
        None,
        "text",
    ],
)
def test_configs_that_no_model_has(config):
    with pytest.raises(ValueError, match="config of it"):
        check_config(config, "it")


def test_configs_that_models_have():
    check_config({"hidden_size": 1024, "num_layers": 40, "sampling_rate": 48_000, "vocab_size": 50_000}, "it")
    check_config(
        {"num_train_timesteps": 1000, "dropout": 0.5, "flag": True, "name": "x", "latents_mean": [0.1] * 64}, "it"
    )


def test_files_that_are_too_large(tmp_path):
    path = tmp_path / "config.json"
    check_config_file(path)
    with open(path, "wb") as file:
        file.truncate(2**24)
    check_config_file(path)
    with open(path, "wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(ValueError, match="has 16777217 bytes"):
        check_config_file(path)


@pytest.mark.parametrize("content", [b"", b"\1\0\0", b"\xff" * 8, b"\xff" * 100, (1000).to_bytes(8, "little") + b"{}"])
def test_headers_that_are_no_headers(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a safetensors file, or is cut off"):
        check_safetensors_header(path)


def test_a_header_that_is_too_large(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes((1000).to_bytes(8, "little") + bytes(1000))
    check_safetensors_header(path, 1000)
    with pytest.raises(ValueError, match="would have 1000 bytes, and there are at most 999"):
        check_safetensors_header(path, 999)


def test_default_configs_of_every_scheduler_of_diffusers():
    checked = 0
    for name in dir(diffusers):
        kind = getattr(diffusers, name) if name.endswith("Scheduler") else None
        if isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin):
            # Some need a library that is not installed, or have no defaults.
            with contextlib.suppress(ImportError, TypeError):
                check_config(kind().config, name)
                checked += 1
    assert checked > 30


def test_infinity_is_no_bound_and_nan_is_no_number():
    check_config({"lambda_min_clipped": float("-inf")}, "it")
    with pytest.raises(ValueError, match="lambda_min_clipped is nan"):
        check_config({"lambda_min_clipped": float("nan")}, "it")
