import pytest
import torch

from .cases import build


def test_latents_of_another_codec_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 5, 9\).*6"):
        build("speech_prompt_encoder")(torch.zeros(1, 5, 9))
