import pytest
import torch

from ns2_diffusers import PhonemeEncoder

from .cases import CASES, build


@torch.no_grad()
def test_order_matters_with_and_without_rotary_positions():
    batch = {"input_ids": torch.tensor([[3, 4, 5, 6]])}
    turned = {"input_ids": torch.tensor([[6, 5, 4, 3]])}
    for name in ("phoneme_encoder", "phoneme_encoder_following_prompt"):
        prompt = {key: value[:1] for key, value in CASES[name][2].items() if key.startswith("prompt")}
        model = build(name)
        forwards = model(**batch, **prompt).last_hidden_state
        backwards = model(**turned, **prompt).last_hidden_state
        assert (forwards - backwards.flip(1)).abs().max() > 1e-3


def test_a_prompt_follower_needs_the_prompt():
    model = build("phoneme_encoder_following_prompt")
    with pytest.raises(ValueError, match="prompt_hidden_states"):
        model(torch.tensor([[1, 2]]))


def test_unknown_positions_are_refused():
    with pytest.raises(ValueError, match="rotary"):
        PhonemeEncoder(position_embedding="absolute")
