"""README.md and the guide in docs/ run as written."""

import importlib
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import ns2_diffusers
from ns2_diffusers.cli import make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The fenced blocks of a page whose whole info string is `language`; "python no-run" is not "python"."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(program):
    text = "".join(block for page in PAGES for block in blocks(page, "bash"))
    lines = text.replace("\\\n", "").splitlines()
    found = [line.split(program, 1)[1] for line in lines if program in line]
    assert found
    return [shlex.split(line) for line in found]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem)
def test_python_runs(page, tiny_pipeline, clips, tmp_path, monkeypatch):
    """Block after block, in one namespace, where `my-model`, `my-codec` and `voice.wav` exist."""
    monkeypatch.chdir(tmp_path)
    tiny_pipeline.save_pretrained("my-model")
    shutil.copytree("my-model/codec", "my-codec")
    shutil.copytree("my-model", "outputs/quickstart/pipeline")
    shutil.copy(clips[0], "voice.wav")
    namespace = {}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), namespace)


def test_shell_commands_parse():
    for arguments in commands("ns2-diffusers "):
        if arguments[0] in ("generate", "voice", "convert"):
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


PAPER_ROWS = [
    row.strip("|").split("|")
    for row in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\|.*\|.*`\S+\.py`", row) and "(" in row.split("|")[1]
]


@pytest.mark.parametrize("row", PAPER_ROWS, ids=lambda row: row[0].strip()[:40])
def test_the_paper_is_where_the_table_says(row):
    """Each row's files define its names, and their docstrings cite its sections."""
    claim, place = row
    spans = re.findall(r"`([^`]+)`", place)
    files = [next((ROOT / "src").rglob(span.rpartition("/")[2])) for span in spans if span.endswith(".py")]
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
    """An attribute of a module by its dotted name, or of one of its classes."""
    owners = [module, *(each for each in vars(module).values() if isinstance(each, type))]
    for owner in owners:
        value = owner
        for part in name.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return value
    return None
