"""The content of wheel and sdist, and the README as a package index shows it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AUDIO = {".wav", ".flac", ".ogg", ".mp3", ".g722"}
# Made with Kokoro-82M (Apache-2.0) or with the bundled model; docs/voice is listed by its own test.
SYNTHETIC = (
    "benchmarks/prompts/kokoro",
    "docs/voice",
    "src/ns2_diffusers/voices",
    "tests/fixtures/bundled_model",
    "tests/fixtures/corpus/audio",
)


def files(target):
    """Paths, relative to the repository, of the files that hatch puts into a distribution."""
    builders = pytest.importorskip(f"hatchling.builders.{target}")
    builder = getattr(builders, {"sdist": "SdistBuilder", "wheel": "WheelBuilder"}[target])(str(ROOT))
    return {Path(file.relative_path) for file in builder.recurse_included_files()}


def test_audio_of_the_sdist_is_synthetic():
    audio = [path for path in files("sdist") if path.suffix in AUDIO]
    assert Path("src/ns2_diffusers/voices/emma.ogg") in audio
    assert all(str(path.parent) in SYNTHETIC for path in audio), audio


def test_wheel_has_the_model_and_its_voices_alone():
    found = files("wheel")
    assert Path("src/ns2_diffusers/bundled_model/denoiser/diffusion_pytorch_model.safetensors") in found
    assert {path.parent.name for path in found if path.suffix in AUDIO} == {"voices"}


def test_readme_of_the_index_has_no_relative_links():
    core = pytest.importorskip("hatchling.metadata.core")
    manager = pytest.importorskip("hatchling.plugin.manager").PluginManager()
    pytest.importorskip("hatch_fancy_pypi_readme")
    readme = core.ProjectMetadata(str(ROOT), manager).core.readme
    links = re.findall(r"\]\(([^)]+)\)", readme)
    assert "https://arxiv.org/abs/2304.09116" in links
    assert all(link.startswith("https://") for link in links)
    assert "`docs/installation.md`" in readme


def test_docs_sound_is_synthetic():
    """Clones of real people are only measured, not published."""
    pages = {path.stem for path in (ROOT / "docs" / "voice").glob("*.md")}
    names = {path.stem for path in (ROOT / "benchmarks" / "prompts" / "kokoro").glob("*.ogg")}
    assert pages == {"kokoro"}
    for path in (ROOT / "docs" / "voice").iterdir():
        if path.suffix in AUDIO | {".webp"}:
            assert path.stem.rpartition("-")[2] in names, path


def test_every_dependency_has_its_reason():
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items() if name != "dev"}
    rows = re.findall(r"^\| `([\w-]+)`(?: \(([\w, ]+)\))? \|", (ROOT / "docs" / "installation.md").read_text(), re.M)
    listed = {(package, extra) for package, names in rows for extra in (names.split(", ") if names else [""])}
    wanted = {(re.match(r"[\w-]+", need)[0], "") for need in project["dependencies"]}
    for extra, needs in extras.items():
        # `torch<2.15` of the extra encodec restricts a package of the core.
        names = {re.match(r"[\w-]+", need)[0] for need in needs} - {"ns2-diffusers", "torch"}
        wanted |= {(name, extra) for name in names}
    assert {(name, extra) for name, extra in listed if (name, extra) != ("peft", "train")} == wanted


def test_python_versions_agree():
    with open(ROOT / "pyproject.toml", "rb") as file:
        config = tomllib.load(file)
    versions = [name.rpartition(" ")[2] for name in config["project"]["classifiers"] if "Python :: 3." in name]
    lowest = min(versions, key=lambda version: int(version.split(".")[1]))
    assert config["project"]["requires-python"] == f">={lowest}"
    assert config["tool"]["mypy"]["python_version"] == lowest
    assert config["tool"]["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
