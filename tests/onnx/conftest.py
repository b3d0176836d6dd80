"""A tiny pipeline with every part that the export handles in its own way, and its export, made once."""

import math

import pytest
import torch

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2Pipeline,
    NaturalSpeech2Tokenizer,
    OnnxNaturalSpeech2Pipeline,
    PhonemeEncoder,
    SpeechPromptEncoder,
    TransformerDenoiser,
    VarianceAdaptor,
    VocosCodec,
)
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.onnx.export import export_onnx

from ..conftest import centre, fill_zeros

SIZES = {"hidden_size": 32, "num_attention_heads": 2}


def make_codec(clips, head):
    codec = VocosCodec(
        sampling_rate=16000,
        hop_length=320,
        latent_channels=16,
        num_codebooks=2,
        codebook_size=16,
        encoder_config={
            "n_fft": 1024,
            "n_mels": 40,
            "fine_hop_length": 80,
            "fine_n_mels": 8,
            "dim": 32,
            "intermediate_dim": 64,
            "num_layers": 1,
            "linear_frames": 3,
        },
        backbone_config={"dim": 32, "intermediate_dim": 64, "num_layers": 1},
        head_config=head,
    )
    speech = torch.cat([load_audio(path)[0] for path in clips[:3]])[None, None]
    codec.train()(speech)
    fill_zeros(codec.eval())
    with torch.no_grad():
        latents = codec.encode(speech)
    codec.set_latent_statistics(latents.mean((0, 2)), latents.std((0, 2)))
    return codec


@pytest.fixture(scope="session")
def harmonic_codec(clips):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make_codec(clips, {"type": "harmonic", "fine_dim": 16, "fine_layers": 1, "linear_channels": 16})


@pytest.fixture(scope="session")
def istft_codec(clips):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make_codec(clips, {"type": "istft", "n_fft": 640})


@pytest.fixture(scope="session")
def torch_pipeline(harmonic_codec):
    """A denoiser with patches, a prompt in its norms, and guidance by nulls."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        encoder = {"num_layers": 1, "filter_size": 64, "kernel_size": 3, **SIZES}
        tokenizer = NaturalSpeech2Tokenizer()
        denoiser = TransformerDenoiser(
            latent_channels=16,
            condition_dim=32,
            num_query_tokens=4,
            num_layers=2,
            patch_size=2,
            prompt_modulation=True,
            **SIZES,
        )
        adaptor = VarianceAdaptor(num_predictor_layers=3, pitch_bins=32, **SIZES)
        centre(adaptor.duration_predictor, math.log(1 + 3))
        centre(adaptor.pitch_predictor, math.log(180))
        readers = {
            "phoneme_encoder": PhonemeEncoder(vocab_size=len(tokenizer), prompt_conditioning=True, **encoder),
            "prompt_encoder": SpeechPromptEncoder(latent_channels=16, **encoder),
            "variance_adaptor": adaptor,
        }
        for part in (denoiser, *readers.values()):
            fill_zeros(part.eval())
        pipe = NaturalSpeech2Pipeline(
            harmonic_codec,
            denoiser,
            NaturalSpeech2DDIMScheduler(),
            tokenizer,
            **readers,
            max_prompt_seconds=2.0,
            default_num_inference_steps=3,
            default_guidance_scale=1.5,
            default_voice_matching=0.5,
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def exported(torch_pipeline, tmp_path_factory):
    """The directory of the export of this pipeline."""
    directory = tmp_path_factory.mktemp("onnx") / "model"
    export_onnx(torch_pipeline, directory)
    return directory


@pytest.fixture(scope="session")
def pipe(exported):
    pipe = OnnxNaturalSpeech2Pipeline.from_pretrained(exported)
    pipe.set_progress_bar_config(disable=True)
    return pipe
