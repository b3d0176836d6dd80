"""The chain from prompt and phonemes to the condition of the denoiser."""

import pytest
import torch

from ns2_diffusers.models.conditioning import encode_condition, encode_prompt, encode_text


@pytest.fixture
def inputs(tiny_pipeline):
    ids = tiny_pipeline.tokenizer(["Yes.", "Please hold."], padding=True, return_tensors="pt")
    mask = torch.ones(2, 30, dtype=torch.bool)
    mask[1, 20:] = False
    latents = torch.randn(2, 16, 30, generator=torch.Generator().manual_seed(0)) * mask.unsqueeze(1)
    return ids["input_ids"], ids["attention_mask"].bool(), latents, mask


@torch.no_grad()
def test_the_chain_is_its_models_called_in_turn(tiny_pipeline, inputs):
    ids, mask, latents, prompt_mask = inputs
    condition = encode_condition(tiny_pipeline, *inputs, speaking_rate=1.5, pitch_shift=2.0)
    prompt = tiny_pipeline.prompt_encoder(latents, prompt_mask).last_hidden_state
    states = tiny_pipeline.phoneme_encoder(ids, mask, prompt, prompt_mask).last_hidden_state
    adaptor = tiny_pipeline.variance_adaptor
    durations, _ = adaptor.predict_durations(states, mask, prompt, prompt_mask, 1.5)
    frames, frame_mask = adaptor.expand(states, durations)
    expected, pitch, _ = adaptor.add_pitch(frames, frame_mask, prompt, prompt_mask, pitch_shift=2.0)
    torch.testing.assert_close(condition.prompt_hidden_states, prompt)
    torch.testing.assert_close(condition.frames.condition, expected)
    torch.testing.assert_close(condition.frames.pitch, pitch)
    assert torch.equal(condition.frames.durations, durations) and torch.equal(
        condition.frames.condition_mask, frame_mask
    )


@torch.no_grad()
def test_pitch_may_depend_on_the_durations(tiny_pipeline, inputs):
    """Each predictor runs once if pitch is given for durations that are not known yet."""
    ids, mask, latents, prompt_mask = inputs
    prompt = encode_prompt(tiny_pipeline, latents, prompt_mask)
    calls = []
    tiny_pipeline.variance_adaptor.duration_predictor.register_forward_hook(lambda *_: calls.append(1))
    seen = []

    def pitch(durations):
        seen.append(durations)
        return torch.full((2, int(durations.sum(1).max())), 220.0)

    adapted = encode_text(tiny_pipeline, ids, mask, prompt, prompt_mask, pitch=pitch)
    assert len(calls) == 1 and torch.equal(seen[0], adapted.durations)
    torch.testing.assert_close(adapted.pitch, 220.0 * adapted.condition_mask)


@torch.no_grad()
def test_models_of_other_precisions_work_together(tiny_pipeline, inputs):
    expected = encode_condition(tiny_pipeline, *inputs).frames.pitch
    tiny_pipeline.prompt_encoder.to(torch.bfloat16)
    tiny_pipeline.variance_adaptor.to(torch.float64)
    found = encode_condition(tiny_pipeline, *inputs)
    assert found.prompt_hidden_states.dtype == torch.bfloat16 and found.frames.condition.dtype == torch.float64
    length = min(expected.shape[1], found.frames.pitch.shape[1], 3)
    torch.testing.assert_close(found.frames.pitch[:, :length], expected[:, :length], rtol=0.05, atol=5.0)
