"""`ns2-diffusers import`, from the published files to speech."""

import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import soundfile
import torch
from transformers import EncodecConfig, EncodecModel

from ns2_diffusers import NaturalSpeech2Pipeline, load_codec
from ns2_diffusers.cli import main
from ns2_diffusers.conversion.encodec import from_encodec


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verbosity = diffusers.utils.logging.get_verbosity()
    yield
    diffusers.utils.logging.set_verbosity(verbosity)
    diffusers.utils.logging.enable_progress_bar()


@pytest.fixture
def encodec_directory(weights):
    """A transformers EncodecModel with 600 frames per second and the codebooks of the reference checkpoint."""
    config = EncodecConfig(
        hidden_size=16, codebook_size=32, upsampling_ratios=[8, 5], num_filters=2, target_bandwidths=[12.0]
    )
    model = EncodecModel(config)
    for index, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.copy_(weights[f"quantizer.vq.layers.{index}._codebook.embed"])
    model.save_pretrained("encodec")
    return "encodec"


def test_amphion_to_speech(amphion, encodec_directory, clips, capsys):
    command = ["import", "amphion", "--checkpoint", str(amphion), "--config", str(amphion / "config.json")]
    assert main([*command, "--codec", encodec_directory, "-o", "made"]) == 0
    assert capsys.readouterr() == ("NaturalSpeech2Pipeline: made\n", "")
    assert sorted(path.name for path in Path().iterdir()) == ["encodec", "made"]
    pipe = NaturalSpeech2Pipeline.from_pretrained("made")
    assert pipe.codec.num_codebooks == 4 and pipe.tokenizer.backend == "arpabet"
    generate = ["generate", "Hello there.", "--prompt", str(clips[0]), "--model", "made", "--steps", "2"]
    assert main([*generate, "-o", "out.wav"]) == 0
    info = soundfile.info("out.wav")
    assert info.samplerate == 24000 and info.frames % 40 == 0 and info.frames > 0


def test_encodec(encodec_directory):
    assert main(["import", "encodec", "--checkpoint", "encodec", "--bandwidth", "6", "-o", "made", "-q"]) == 0
    codec = load_codec("made")
    waveform = torch.randn(1, 1, 400)
    expected = from_encodec("encodec", 6.0)
    with torch.no_grad():
        assert codec.num_codebooks == 2
        assert torch.equal(codec(waveform).codes, expected(waveform).codes)


def test_vocos(monkeypatch, tiny_codec):
    asked = []
    monkeypatch.setattr("ns2_diffusers.conversion.vocos.from_vocos", lambda *args: asked.append(args) or tiny_codec)
    assert main(["import", "vocos", "--bandwidth", "3", "--codec", "e.th", "--revision", "ab12", "-o", "made"]) == 0
    assert asked == [("charactr/vocos-encodec-24khz", 3.0, "e.th", "ab12")]
    assert load_codec("made").fingerprint == tiny_codec.fingerprint


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-o", "."], "already something at '.'"),
        (["-o", "no/made"], "no directory 'no'"),
        (["--checkpoint", "nothing.bin", "-o", "made"], "no file or directory 'nothing.bin'"),
        (["--checkpoint", "text.bin", "-o", "made"], "'text.bin' cannot be read as a state dict"),
        (["--config", "nothing.json", "-o", "made"], "nothing.json"),
        (["--codec", "nothing.th", "-o", "made"], "'nothing.th' is none of encodec_24khz"),
        ([], "required: -o/--output"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(amphion, capsys, arguments, message):
    Path("text.bin").write_text("no checkpoint")
    given = [] if "--checkpoint" in arguments else ["--checkpoint", str(amphion / "pytorch_model.bin")]
    status = main(["import", "amphion", *given, *arguments])
    printed = capsys.readouterr()
    assert status == 2 and printed.out == "" and message in printed.err
    assert printed.err.startswith("ns2-diffusers: error: ") and printed.err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["text.bin"]


def test_a_source_is_asked_for(capsys):
    assert main(["import"]) == 2
    assert "source" in capsys.readouterr().err


def test_a_mistyped_option_answers_without_torch():
    code = (
        "import sys; from ns2_diffusers.cli import main; status = main(['convert', 'amphion', '--x']);"
        "sys.exit(status if 'torch' not in sys.modules else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 2
