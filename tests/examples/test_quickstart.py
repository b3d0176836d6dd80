"""The main command of the README, with very short training; and complete with `-m slow`."""

import json

import pytest
import soundfile
from accelerate.state import AcceleratorState

quickstart = pytest.importorskip("quickstart", reason="the train and eval extras are not installed")


CODEC = {
    "sampling_rate": 16000,
    "hop_length": 320,
    "latent_channels": 8,
    "num_codebooks": 2,
    "codebook_size": 16,
    "encoder_config": {"n_mels": 20, "dim": 16, "intermediate_dim": 16, "num_layers": 1},
    "backbone_config": {"dim": 16, "intermediate_dim": 16, "num_layers": 1},
}


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_every_station_is_passed(tmp_path, capsys):
    sizes = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_layers": 1,
        "filter_size": 32,
        "kernel_size": 3,
    }
    options = ["--output_dir", str(tmp_path), "--codec_minutes", "0.02", "--model_minutes", "0.02"]
    options += ["--aligner_steps", "3"]
    options += ["--model_config", json.dumps({**sizes, "num_predictor_layers": 1})]
    options += ["--num_texts", "1", "--num_inference_steps", "2", "--codec_config", json.dumps(CODEC)]
    scores = quickstart.main(quickstart.parse_args(options))
    assert set(scores) == {"ddim", "euler", "dpmsolver++"}
    for sampler in scores:
        assert soundfile.info(tmp_path / "speech" / sampler / "at-tone-time-exactly.wav").samplerate == 16000
    log = capsys.readouterr().out
    assert log.count("whisper:") == 4 and "At the sound of the tone, the time will be exactly." in log
    assert "recordings: 100.0% of the words right" in log


@pytest.mark.slow
def test_whisper_reads_it_back(tmp_path):
    """Takes a quarter of an hour on two cores."""
    scores = quickstart.main(quickstart.parse_args(["--output_dir", str(tmp_path)]))
    assert min(scores.values()) >= 0.8
