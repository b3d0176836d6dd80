import diffusers
import pytest

from ns2_diffusers.cli import MODEL_VARIABLE, main


@pytest.fixture(autouse=True)
def restore_diffusers_settings():
    verbosity = diffusers.utils.logging.get_verbosity()
    yield
    diffusers.utils.logging.set_verbosity(verbosity)
    diffusers.utils.logging.enable_progress_bar()


@pytest.fixture
def run(tiny_pipeline_dir, tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder with a configured model; `generate` takes two steps."""
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny_pipeline_dir))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(command, *args):
        defaults = ["--steps", "2", "--seed", "3"] if command == "generate" else []
        status = main([command, *defaults, *args])
        return status, capsys.readouterr()

    return run
