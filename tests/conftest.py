"""Shared fixtures: real speech, and a pipeline that is small enough to build in a moment.

The weights are untrained. Parameters that start at zero (a denoiser's last layer, gates, nulls) are random, so that no
test passes because of a multiplication by zero. Codebooks and latent statistics are those of the clips. Phonemes last
about three frames, at about 180 Hz.
"""

import copy
import csv
import math
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# Exports in the cache of the user are not used.
os.environ["NS2_DIFFUSERS_CACHE"] = os.devnull

import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2Pipeline,
    NaturalSpeech2Tokenizer,
    NaturalSpeech2UnconditionalPipeline,
    PhonemeEncoder,
    SpeechPromptEncoder,
    TransformerDenoiser,
    VarianceAdaptor,
    VocosCodec,
    WaveNetDenoiser,
)
from ns2_diffusers.audio.loading import load_audio

FIXTURES = Path(__file__).parent / "fixtures"
CLIPS = Path(__file__).parents[1] / "examples" / "asterisk"
# "transformer" has the features of the bundled model; "undistilled" takes no guidance scale, so guidance calls it
# twice.
UNDISTILLED = {"num_layers": 2, "patch_size": 2, "prompt_modulation": True}
DENOISERS = {
    "transformer": (TransformerDenoiser, UNDISTILLED | {"guidance_embeds": True, "guidance_range": [1.0, 4.0]}),
    "undistilled": (TransformerDenoiser, UNDISTILLED),
    "wavenet": (WaveNetDenoiser, {"num_layers": 4}),
}


def pytest_configure():
    # One thread is faster for models of this size, much more so if other programs use the cores.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def clips():
    """Paths of twenty recordings of one voice, 16 kHz, mono."""
    return sorted(CLIPS.glob("*.flac"))


@pytest.fixture(scope="session")
def transcripts():
    """The texts of these recordings, by file name."""
    with open(CLIPS / "metadata.csv", newline="", encoding="utf-8") as file:
        return {row["file"]: row["text"] for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def corpus():
    """Three utterances of a synthetic corpus: `manifest.jsonl`, `audio/ID.ogg`; `durations.jsonl` has more rows."""
    return FIXTURES / "corpus"


@pytest.fixture(scope="session")
def amphion(tmp_path_factory):
    """Directory of `config.json`, `pytorch_model.bin` and `golden.safetensors` of Amphion's model, tiny and random."""
    directory = tmp_path_factory.mktemp("amphion")
    for path in (FIXTURES / "amphion_tiny").iterdir():
        shutil.copyfile(path, directory / path.name)
    weights = torch.load(directory / "pytorch_model.bin", weights_only=True)
    # This table is half of the checkpoint (two copies); the repository does not have it.
    angles = torch.arange(5000)[:, None] * torch.exp(torch.arange(0, 32, 2) * (-math.log(10000.0) / 32))
    table = torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(5000, 1, 32)
    weights |= {f"{name}.position_emb.pe": table for name in ("prompt_encoder", "prior_encoder.encoder")}
    torch.save(weights, directory / "pytorch_model.bin")
    return directory


@pytest.fixture(scope="session")
def _codec(clips):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        codec = VocosCodec(
            sampling_rate=16000,
            hop_length=320,
            latent_channels=16,
            num_codebooks=4,
            codebook_size=32,
            encoder_config={
                "n_mels": 40,
                "fine_hop_length": 80,
                "fine_n_mels": 16,
                "dim": 32,
                "intermediate_dim": 64,
                "num_layers": 1,
            },
            backbone_config={"dim": 32, "intermediate_dim": 64, "num_layers": 2},
            head_config={"type": "harmonic", "n_fft": 256, "fine_dim": 16, "fine_layers": 1},
        )
        with torch.no_grad():
            # In an untrained codec F0 jumps, which would make differences in the last bit audible.
            codec.head.f0.weight.mul_(1e-3)
        speech = torch.cat([load_audio(path)[0] for path in clips[:4]])[None, None]
        codec.train()(speech)
        codec.eval()
        with torch.no_grad():
            latents = codec.encode(speech)
    codec.set_latent_statistics(latents.mean((0, 2)), latents.std((0, 2)))
    return codec


@pytest.fixture
def tiny_codec(_codec):
    """`VocosCodec` at 16 kHz, 50 frames per second, 16 channels, 4 codebooks of 32."""
    return copy.deepcopy(_codec)


@pytest.fixture
def make_tiny_pipeline(tiny_codec):
    """A function that makes a pipeline over `tiny_codec`.

    `denoiser` is "transformer", "undistilled" or "wavenet"; `unconditional` makes an unconditional pipeline;
    further arguments are components, or settings such as `max_prompt_seconds`.
    """

    def make(denoiser="transformer", unconditional=False, **parts):
        sizes = {"hidden_size": 32, "num_attention_heads": 2}
        encoder = {"num_layers": 1, "filter_size": 64, "kernel_size": 3, **sizes}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(2)
            denoiser_class, config = DENOISERS[denoiser]
            made = {
                "codec": tiny_codec,
                "scheduler": NaturalSpeech2DDIMScheduler(),
                "denoiser": denoiser_class(
                    latent_channels=16, condition_dim=32, num_query_tokens=4, **config, **sizes
                ),
            }
            if not unconditional:
                tokenizer = NaturalSpeech2Tokenizer()
                made |= {
                    "tokenizer": tokenizer,
                    "phoneme_encoder": PhonemeEncoder(vocab_size=len(tokenizer), **encoder),
                    "prompt_encoder": SpeechPromptEncoder(latent_channels=16, **encoder),
                    "variance_adaptor": VarianceAdaptor(num_predictor_layers=3, pitch_bins=32, **sizes),
                }
                variance_adaptor = made["variance_adaptor"]
                centre(variance_adaptor.duration_predictor, math.log(1 + 3))
                centre(variance_adaptor.pitch_predictor, math.log(180))
            for part in made.values():
                if isinstance(part, torch.nn.Module) and part is not tiny_codec:
                    fill_zeros(part.eval())
        pipeline = NaturalSpeech2UnconditionalPipeline if unconditional else NaturalSpeech2Pipeline
        return pipeline(**(made | parts))

    return make


@pytest.fixture
def tiny_pipeline(make_tiny_pipeline):
    """A pipeline with a tokenizer; a test may change it."""
    pipe = make_tiny_pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def tiny_pipeline_dir(tiny_pipeline, tmp_path):
    """The directory of this pipeline."""
    tiny_pipeline.save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


@torch.no_grad()
def centre(predictor, value):
    """Let an untrained predictor return about `value`, with small differences."""
    predictor.proj_out.weight.mul_(0.2)
    predictor.proj_out.bias.fill_(value)


@torch.no_grad()
def fill_zeros(module):
    """Fill every parameter that starts at zero with random values: matrices of the usual scale, small vectors."""
    for parameter in module.parameters():
        if not parameter.any():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1)
