import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.pipelines import model_card


def test_a_card_says_how_the_weights_came_about(tiny_pipeline):
    facts = {"data": "a corpus: 3 hours", "steps": "1,000", "licence": None}
    card = tiny_pipeline.model_card("me/voice", license="cc-by-4.0", training=facts)
    assert card.data.license == "cc-by-4.0"
    assert "## Training\n\n| | |\n|---|---|\n| data | a corpus: 3 hours |\n| steps | 1,000 |\n\n" in card.content
    assert "## Training" not in tiny_pipeline.model_card("me/voice").content


def test_a_card_licenses_nothing_unasked(tiny_pipeline):
    card = tiny_pipeline.model_card("me/voice", training={"steps": "1"})
    assert card.data.license is None and "licen" not in card.content.lower() and "apache" not in card.content.lower()


@pytest.mark.parametrize("unconditional", [False, True])
def test_the_example_of_a_card_runs(make_tiny_pipeline, clips, tmp_path, monkeypatch, unconditional):
    pipe = make_tiny_pipeline(unconditional=unconditional)
    pipe.save_pretrained(tmp_path / "voice")
    shutil.copyfile(clips[0], tmp_path / "voice.wav")
    monkeypatch.chdir(tmp_path)
    card = pipe.model_card("./voice")
    found = {}
    exec(card.content.split("```python\n")[1].split("```")[0], found)
    assert type(found["pipe"]) is type(pipe) and np.isfinite(found["audio"]).all()
    assert card.data.pipeline_tag == (None if unconditional else "text-to-speech")
    assert ("tokenizer" in card.content) == (not unconditional)


# A process in which diffusers knows this package only from the files of the repository.
LOAD = """
import sys
from diffusers import DiffusionPipeline
try:
    DiffusionPipeline.from_pretrained(sys.argv[1])
except Exception as error:
    print(type(error).__name__, "trust_remote_code" in str(error), "ns2_diffusers" in sys.modules)
pipe = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
print(type(pipe).__module__, type(pipe).__name__, sum(p.numel() for p in pipe.denoiser.parameters()))
"""


def test_what_is_pushed_is_found_by_diffusers(tiny_pipeline, tmp_path, monkeypatch):
    folder = tmp_path / "repository"

    def upload(folder_path, **_):
        os.rename(folder_path, folder)
        os.mkdir(folder_path)
        return "url"

    monkeypatch.setattr(model_card, "create_repo", lambda name, **_: type("Repo", (), {"repo_id": f"me/{name}"}))
    monkeypatch.setattr(model_card, "upload_folder", upload)
    tiny_pipeline.push_to_hub("voice", card=tiny_pipeline.model_card("me/voice"))
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == ["pipeline", "NaturalSpeech2Pipeline"]
    size = sum(parameter.numel() for parameter in tiny_pipeline.denoiser.parameters())
    run = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    lines = run.stdout.splitlines()
    assert lines == [
        "ValueError True False",
        f"ns2_diffusers.pipelines.pipeline_naturalspeech2 NaturalSpeech2Pipeline {size}",
    ], run.stderr
    # Loading through the class itself runs no code of the repository, and saves the pipeline as usual.
    (folder / "pipeline.py").write_text("raise RuntimeError")
    loaded = NaturalSpeech2Pipeline.from_pretrained(folder)
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert again["_class_name"] == "NaturalSpeech2Pipeline"
