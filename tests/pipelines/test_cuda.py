"""The pipeline on a CUDA device; `pytest -m gpu`."""

import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2Pipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.fixture
def speak(clips):
    def speak(pipe):
        output = pipe("Hello there.", clips[0], num_inference_steps=4, generator=torch.Generator().manual_seed(0))
        return output.audios[0]

    return speak


def test_speech_is_that_of_the_cpu(tiny_pipeline, speak):
    expected = speak(tiny_pipeline)
    np.testing.assert_allclose(speak(tiny_pipeline.to("cuda")), expected, atol=1e-3)


def test_offloading_changes_nothing(tiny_pipeline, speak):
    expected = speak(tiny_pipeline)
    tiny_pipeline.enable_model_cpu_offload()
    np.testing.assert_allclose(speak(tiny_pipeline), expected, atol=1e-3)
    assert tiny_pipeline.denoiser.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(tiny_pipeline_dir, speak, dtype):
    pipe = NaturalSpeech2Pipeline.from_pretrained(tiny_pipeline_dir, dtype=dtype)
    assert np.isfinite(speak(pipe.to("cuda"))).all()


def test_compiled_denoiser(tiny_pipeline, speak):
    tiny_pipeline.to("cuda")
    expected = speak(tiny_pipeline)
    tiny_pipeline.denoiser = torch.compile(tiny_pipeline.denoiser, fullgraph=True)
    np.testing.assert_allclose(speak(tiny_pipeline), expected, atol=1e-3)
