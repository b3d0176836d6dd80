"""The code of README.md and of the guide in docs/ runs as written."""

import importlib
import itertools
import re
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import EncodecConfig, EncodecModel, Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

import ns2_diffusers
from ns2_diffusers import EncodecCodec, NaturalSpeech2DistilledScheduler
from ns2_diffusers.cli import make_parser
from ns2_diffusers.pipelines import model_card
from ns2_diffusers.training.distillation import make_student

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# The pages that a new user runs use the bundled model; the others use a tiny one in its place.
FIRST_PAGES = ("README", "index")


def blocks(page, language):
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(program):
    text = "".join(block for page in PAGES for block in blocks(page, "bash"))
    lines = text.replace("\\\n", "").splitlines()
    found = [line.split(program, 1)[1] for line in lines if program in line]
    assert found
    # The rest after a pipe or redirection is no argument.
    return [
        list(itertools.takewhile(lambda word: word not in ("|", ">"), shlex.split(line, comments=True)))
        for line in found
    ]


def write_adapters(pipe, folder, student_steps=None):
    """LoRA weights for one layer of the denoiser."""
    weight = pipe.denoiser.proj_in.weight
    layers = {"proj_in.lora_A.weight": torch.rand(2, weight.shape[1])}
    layers["proj_in.lora_B.weight"] = torch.rand(weight.shape[0], 2)
    pipe.save_lora_weights(folder, denoiser_lora_layers=layers, student_steps=student_steps)


@pytest.fixture
def models(tiny_pipeline, clips, amphion, tmp_path, monkeypatch):
    """Tiny versions of the files that the pages use, in the current directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(clips[0], "voice.wav")
    tiny_pipeline.save_pretrained("my-model")
    write_adapters(tiny_pipeline, "my-model/few_steps", [4, 2, 1])
    shutil.copytree("my-model/codec", "my-codec")
    shutil.copytree("my-model", "outputs/quickstart/pipeline")
    for name in ("lora", "other-lora"):
        write_adapters(tiny_pipeline, f"outputs/{name}")
    # Distillation: a pipeline with a guidance input, its student of four steps, and another student as adapters.
    scheduler = tiny_pipeline.scheduler
    tiny_pipeline.register_modules(denoiser=make_student(tiny_pipeline.denoiser, (1.0, 4.0)))
    tiny_pipeline.save_pretrained("outputs/distilled/guidance")
    write_adapters(tiny_pipeline, "outputs/consistency/consistency", [4, 2, 1])
    student = NaturalSpeech2DistilledScheduler.from_config(scheduler.config, student_steps=[4])
    tiny_pipeline.register_modules(scheduler=student)
    tiny_pipeline.save_pretrained("outputs/distilled/steps-04")
    # Weights published elsewhere.
    sizes = {"num_filters": 4, "hidden_size": 16, "target_bandwidths": [3.0, 6.0], "codebook_size": 16}
    EncodecModel(EncodecConfig(**sizes)).save_pretrained("models/encodec_24khz")
    shutil.copy(amphion / "pytorch_model.bin", "pytorch_model.bin")
    shutil.copy(amphion / "config.json", "exp_config_base.json")
    codebooks = torch.load("pytorch_model.bin", weights_only=True)
    codec = EncodecCodec(
        sampling_rate=24000, latent_channels=16, num_codebooks=4, codebook_size=32, ratios=[8, 5], num_filters=2
    )
    for layer in range(4):
        codec.codebooks[layer] = codebooks[f"quantizer.vq.layers.{layer}._codebook.embed"]
    codec.save_pretrained("my-encodec")


@pytest.fixture
def hub(monkeypatch):
    """Uploads are discarded."""
    repository = SimpleNamespace(repo_id="you/your-voice")
    monkeypatch.setattr(model_card, "create_repo", lambda *_, **__: repository)
    monkeypatch.setattr(model_card, "upload_folder", lambda **_: "")
    monkeypatch.setattr(model_card.ModelCardMixin, "_card_for", card_of)


def card_of(pipe, repo_id, token):
    return pipe.model_card(repo_id)


@pytest.fixture
def speaker_model(tmp_path, monkeypatch):
    """A tiny WavLM in place of the one that is downloaded."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    WavLMForXVector(WavLMConfig(**sizes, **convolutions, tdnn_dim=[16] * 5)).save_pretrained(tmp_path / "wavlm")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "wavlm")
    monkeypatch.setenv("NS2_SPEAKER_MODEL", str(tmp_path / "wavlm"))


@pytest.fixture
def server(tiny_pipeline, monkeypatch):
    """OpenAI's client asks a server of a tiny pipeline, whatever address it gets."""
    openai = pytest.importorskip("openai")
    from .serving.conftest import running

    with running(tiny_pipeline) as here:
        client = openai.OpenAI
        monkeypatch.setattr(openai, "OpenAI", lambda base_url, **given: client(base_url=f"{here.url}/v1", **given))
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_runs(page, models, hub, speaker_model, tmp_path, monkeypatch, request):
    """Run the blocks one after another in one namespace."""
    if page.stem == "serving":
        request.getfixturevalue("server")
    if page.stem not in FIRST_PAGES:
        monkeypatch.setattr(ns2_diffusers, "bundled", lambda: tmp_path / "my-model")
    namespace = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


def test_other_languages_are_not_ours():
    """Only code of other projects does not run; its blocks are marked `py`."""
    for page in PAGES:
        found = re.findall(r"^```(.+)$", page.read_text(encoding="utf-8"), re.M)
        assert set(found) <= {"python", "bash", "py", "mermaid"}, page.name
        assert all(block.startswith("# naturalspeech2-pytorch\n") for block in blocks(page, "py"))


def test_shell_commands_parse():
    for arguments in commands("ns2-diffusers "):
        if arguments and not arguments[0].startswith("-") and arguments[0] != "COMMAND":
            make_parser().parse_args(arguments)


@pytest.mark.parametrize(
    "script",
    [
        "train_codec",
        "prepare_dataset",
        "align_dataset",
        "train_text_to_speech",
        "train_unconditional",
        "distill_text_to_speech",
        "sing",
        "blend_pipelines",
    ],
)
def test_commands_of_scripts_parse(script, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    for arguments in commands(f"python examples/{script}.py"):
        importlib.import_module(script).parse_args(arguments)


def test_sizes_are_those_counted(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    importlib.import_module("parameters").main()
    assert capsys.readouterr().out in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_links_and_files_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
        for link in re.findall(r"\]\(([^):]+)\)", prose):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name} links to {link}"
        for name in re.findall(r"\b(?:examples|benchmarks)/\w+\.py", text):
            assert (ROOT / name).exists(), f"{page.name} speaks of {name}"


def test_api_lists_every_public_name():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| `([\w/]+)\.py` \|", text, re.M)
    homes = {name: f"ns2_diffusers.{home.replace('/', '.')}" for name, home in listed}
    assert set(homes) == set(ns2_diffusers.__all__) - {"__version__"}
    for name, home in homes.items():
        assert getattr(ns2_diffusers, name).__module__ == home


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert set(re.findall(r": (\S+\.md)$", nav, re.M)) == pages | {"model_card.md"}


def test_reference_has_every_public_name():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    for name in set(ns2_diffusers.__all__) - {"__version__"}:
        assert f"::: {getattr(ns2_diffusers, name).__module__}.{name}\n" in pages, name


PAPER_ROWS = [
    row.strip("|").split("|")
    for row in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\|.*\|.*`\S+\.py`", row) and "(" in row.split("|")[1]
]


@pytest.mark.parametrize("row", PAPER_ROWS, ids=lambda row: row[0].strip()[:40])
def test_the_paper_is_where_the_table_says(row):
    """The files of each row define its names, and their docstrings cite its sections."""
    claim, place = row
    spans = re.findall(r"`([^`]+)`", place)
    files = [next((ROOT / "src").rglob(span)) for span in spans if span.endswith(".py")]
    modules = [
        importlib.import_module(".".join(file.relative_to(ROOT / "src").with_suffix("").parts)) for file in files
    ]
    docstrings = [module.__doc__ for module in modules]
    for name in (span for span in spans if not span.endswith(".py")):
        found = [attribute for module in modules if (attribute := find(module, name)) is not None]
        assert found, f"none of {files} defines {name}"
        docstrings += [attribute.__doc__ or "" for attribute in found]
    cited = " ".join(" ".join(docstrings).split())
    for section in re.findall(r"\((\d[^)]*)\)", claim):
        for number in re.findall(r"\d\.\d|^\d$", section):
            assert re.search(rf"sections? (?:\d\.\d(?:,| and) )*{re.escape(number)}", cited), number


def find(module, name):
    """An attribute of a module, or of one of its classes, by its dotted name."""
    owners = [module, *(each for each in vars(module).values() if isinstance(each, type))]
    for owner in owners:
        value = owner
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return value
    return None
