"""Pipelines whose weights lie between those of two others."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from ns2_diffusers import NaturalSpeech2Pipeline

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import blend_pipelines as script


@pytest.fixture
def second(tiny_pipeline):
    """The same pipeline with every weight one higher."""
    pipe = copy.deepcopy(tiny_pipeline)
    for name in script.COMPONENTS:
        for parameter in getattr(pipe, name).parameters():
            parameter.data += 1
    return pipe


def moved(first, pipe, name):
    """The difference between the weights of a component and those of the first pipeline, which is the same for all."""
    pairs = zip(getattr(first, name).parameters(), getattr(pipe, name).parameters(), strict=True)
    distances = torch.cat([(new - old).flatten() for old, new in pairs])
    assert distances.max() - distances.min() < 1e-5
    return distances.mean().item()


def test_a_component_has_its_share(tiny_pipeline, second, tmp_path, capsys):
    for name, pipe in (("first", tiny_pipeline), ("second", second)):
        pipe.save_pretrained(tmp_path / name)
    words = ["--pipelines", str(tmp_path / "first"), str(tmp_path / "second"), "--share", "0.75"]
    words += ["--shares", '{"denoiser": 0.25, "prompt_encoder": 0}', "--output_dir", str(tmp_path / "blend")]
    script.main(script.parse_args(words))
    blended = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "blend")
    found = {name: moved(tiny_pipeline, blended, name) for name in script.COMPONENTS}
    wanted = {"phoneme_encoder": 0.75, "prompt_encoder": 0, "variance_adaptor": 0.75, "denoiser": 0.25}
    assert found == pytest.approx(wanted, abs=1e-5)
    card = (tmp_path / "blend" / "README.md").read_text()
    assert "| blended of | first and second |" in card and "licen" not in card
    assert f"saved to {tmp_path / 'blend'}" in capsys.readouterr().out


def test_what_does_not_go_together(tiny_pipeline, second, make_tiny_pipeline):
    with pytest.raises(ValueError, match="shares of vocoder: the components are phoneme_encoder"):
        script.blend(tiny_pipeline, second, {"vocoder": 1.0})
    with pytest.raises(ValueError, match="weights of denoiser differ in name or shape"):
        script.blend(make_tiny_pipeline("wavenet"), second, {"denoiser": 0.5})
    second.codec.quantizer.codebooks.data[0, 0] += 1
    with pytest.raises(ValueError, match="different codecs"):
        script.blend(tiny_pipeline, second, {"denoiser": 0.5})
