"""Untrusted or damaged pipelines and components: one clear error, and no use of the rest."""

import json
import os

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline, NaturalSpeech2Tokenizer, NaturalSpeech2UnconditionalPipeline

WEIGHTS = "diffusion_pytorch_model.safetensors"
MODELS = ("codec", "denoiser", "phoneme_encoder", "prompt_encoder", "variance_adaptor")


def edit(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def model_class(folder):
    return getattr(ns2_diffusers, json.loads((folder / "config.json").read_text())["_class_name"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen"])
def test_weights_that_are_not_those_of_the_config(tiny_pipeline_dir, model, damage):
    folder = tiny_pipeline_dir / model
    weights = load_file(folder / WEIGHTS)
    name = sorted(name for name in weights if weights[name].ndim > 1)[0]
    if damage == "missing":
        del weights[name]
    elif damage == "unexpected":
        weights["stranger"] = torch.zeros(3)
        name = "stranger"
    else:
        weights[name] = torch.zeros(3, 3, 3)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    for load in (
        lambda: model_class(folder).from_pretrained(folder),
        lambda: NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir),
        lambda: diffusers.DiffusionPipeline.from_pretrained(tiny_pipeline_dir),
    ):
        with pytest.raises(ValueError, match=f"{damage}.*{name}|{name}.*shape|size mismatch for {name}"):
            load()


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"{}", None])
def test_weights_that_are_no_safetensors(tiny_pipeline_dir, content):
    path = tiny_pipeline_dir / "denoiser" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises((ValueError, OSError), match="denoiser"):
        NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)


def test_no_weights(tiny_pipeline_dir):
    os.remove(tiny_pipeline_dir / "denoiser" / WEIGHTS)
    with pytest.raises(OSError, match="no file named"):
        NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)


@pytest.mark.parametrize(
    "model, setting, value",
    [
        ("denoiser", "hidden_size", 10**9),
        ("denoiser", "num_layers", 10**9),
        ("codec", "codebook_size", 10**12),
        ("codec", "sampling_rate", 10**9),
        ("phoneme_encoder", "vocab_size", 10**9),
        ("variance_adaptor", "pitch_bins", 10**9),
        ("prompt_encoder", "hidden_size", float("nan")),
    ],
)
def test_configs_with_absurd_sizes(tiny_pipeline_dir, model, setting, value):
    edit(tiny_pipeline_dir / model / "config.json", lambda config: config.update({setting: value}))
    (tiny_pipeline_dir / model / WEIGHTS).write_bytes(b"never read")
    with pytest.raises(ValueError, match=f"{setting} is .* in the config of '?.*{model}"):
        NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)


def test_a_scheduler_with_absurd_sizes(tiny_pipeline_dir):
    path = tiny_pipeline_dir / "scheduler" / "scheduler_config.json"
    edit(path, lambda config: config.update(num_train_timesteps=10**12))
    for pipeline in (NaturalSpeech2Pipeline, DiffusionPipeline):
        with pytest.raises(ValueError, match="num_train_timesteps is 1e\\+12"):
            pipeline.from_pretrained(tiny_pipeline_dir)


@pytest.mark.parametrize("content", ["", "no JSON", "[]", "3", "null", '{"a": ' * 1000])
def test_configs_that_are_none(tiny_pipeline_dir, content):
    (tiny_pipeline_dir / "denoiser" / "config.json").write_text(content)
    with pytest.raises((ValueError, OSError), match="denoiser|config"):
        NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir)


@pytest.mark.parametrize(
    "name, value",
    [
        ("../elsewhere", ["ns2_diffusers", "VocosCodec"]),
        ("/etc", ["ns2_diffusers", "VocosCodec"]),
        ("vocoder", ["ns2_diffusers", "VocosCodec"]),
        ("codec", ["os", "system"]),
        ("codec", ["diffusers", "UNet2DConditionModel"]),
        ("codec", ["transformers", "AutoModel"]),
        ("codec", ["transformers_modules", "Evil"]),
        ("codec", ["ns2_diffusers", "cli"]),
        ("codec", ["ns2_diffusers.cli", "main"]),
        ("codec", ["codec", "Evil"]),
        ("codec", ["pipeline", "Evil"]),
        ("codec", "VocosCodec"),
        ("codec", ["VocosCodec"]),
        ("codec", [1, 2]),
        ("codec", ["ns2_diffusers", ["VocosCodec"]]),
        ("scheduler", ["diffusers", "DiffusionPipeline"]),
        ("scheduler", ["diffusers", "nothing"]),
        ("scheduler", ["os", "system"]),
        ("max_batch_size", 10**9),
    ],
)
def test_components_of_strangers(tiny_pipeline_dir, name, value):
    edit(tiny_pipeline_dir / "model_index.json", lambda index: index.update({name: value}))
    for model in MODELS:
        (tiny_pipeline_dir / model / WEIGHTS).write_bytes(b"never read")
    for pipeline in (NaturalSpeech2Pipeline, diffusers.DiffusionPipeline):
        with pytest.raises((TypeError, ValueError), match="model_index.json has|the pipeline|wanted"):
            pipeline.from_pretrained(tiny_pipeline_dir)


def test_schedulers_of_diffusers_are_no_strangers(tiny_pipeline, tiny_pipeline_dir):
    tiny_pipeline.scheduler = diffusers.UniPCMultistepScheduler.from_config(tiny_pipeline.scheduler.config)
    tiny_pipeline.save_pretrained(tiny_pipeline_dir)
    assert isinstance(
        NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir).scheduler, diffusers.UniPCMultistepScheduler
    )


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "there is no vocab.json"),
        ("", "is not JSON"),
        ("Once upon a time.", "is not JSON"),
        ("[1, 2]", "is a list"),
        ("{}", "is a dict"),
        ('{"a": "b"}', "not symbols with numbers"),
        ('{"a": 0, "b": 0}', "numbers twice"),
        ('{"a": 1}', "leaves some out"),
        ('{"a": true}', "not symbols with numbers"),
        ('{"": 0}', "not symbols with numbers"),
        ('{"a": 0, "b": 1}', "lacks '<s>', '</s>', '\\$'"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_tokenizer_without_its_vocabulary(tiny_pipeline_dir, content, message):
    path = tiny_pipeline_dir / "tokenizer" / "vocab.json"
    os.remove(path)
    if content is not None:
        path.write_text(content)
    for load in (
        lambda: NaturalSpeech2Tokenizer.from_pretrained(tiny_pipeline_dir / "tokenizer"),
        lambda: NaturalSpeech2Tokenizer.from_pretrained(tiny_pipeline_dir, subfolder="tokenizer"),
        lambda: NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir),
    ):
        with pytest.raises(ValueError, match=message):
            load()


@pytest.fixture
def no_hub(monkeypatch):
    def ask(*args, **kwargs):
        raise AssertionError(f"the hub was asked: {args} {kwargs}")

    for place in ("huggingface_hub.hf_hub_download", "huggingface_hub.file_download.hf_hub_download"):
        monkeypatch.setattr(place, ask)
    monkeypatch.setattr("diffusers.configuration_utils.hf_hub_download", ask)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.snapshot_download", ask)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.model_info", ask)


@pytest.mark.parametrize("name", ["outputs/pipeline", "./owner/name", "./pipeline", "~/pipeline", "/tmp/no/pipeline"])
@pytest.mark.parametrize(
    "load",
    [
        NaturalSpeech2Pipeline.from_pretrained,
        NaturalSpeech2UnconditionalPipeline.from_pretrained,
        ns2_diffusers.load_codec,
        ns2_diffusers.VocosCodec.from_pretrained,
        ns2_diffusers.TransformerDenoiser.from_pretrained,
        NaturalSpeech2Tokenizer.from_pretrained,
    ],
)
def test_a_missing_folder_is_not_asked_of_the_hub(tmp_path, monkeypatch, no_hub, load, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    with pytest.raises(ValueError, match="there is no file or directory"):
        load(name)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_pipeline_that_cannot_be_saved(tiny_pipeline, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file/pipeline"):
        tiny_pipeline.save_pretrained(tmp_path / "file" / "pipeline")
