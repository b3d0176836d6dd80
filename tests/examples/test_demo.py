import numpy as np
import pytest
import soundfile
import torch

import demo


def test_a_click_speaks(tiny_pipeline, clips):
    samples, rate = soundfile.read(clips[0], dtype="int16")
    torch.manual_seed(0)
    sampling_rate, speech = demo.speak(tiny_pipeline, "Yes.", (rate, samples), 2.0, 1.0)
    torch.manual_seed(0)
    expected = tiny_pipeline("Yes.", clips[0], num_inference_steps=2).audios[0]
    assert sampling_rate == 16000 and np.array_equal(speech, expected)


def test_the_page_is_built(tiny_pipeline):
    pytest.importorskip("gradio", reason="the demo extra is not installed")
    page = demo.build(tiny_pipeline)
    assert len(page.input_components) == 4 and len(page.output_components) == 1
