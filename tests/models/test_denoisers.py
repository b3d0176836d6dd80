"""Properties of both denoisers."""

import pytest
import torch

from ns2_diffusers.models.transformer_denoiser import RMSNorm

from .cases import CASES, DENOISER_INPUT, DENOISERS, build, randn

CONDITION, PROMPT = ("encoder_hidden_states",), ("prompt_hidden_states", "prompt_mask")


@pytest.fixture(params=DENOISERS)
def denoiser(request):
    return build(request.param)


def without(*keys):
    return {key: value for key, value in DENOISER_INPUT.items() if key not in keys}


@torch.no_grad()
def test_condition_and_prompt_are_each_optional_and_each_matter(denoiser):
    results = [denoiser(**without(*dropped)).sample for dropped in ((), CONDITION, PROMPT, (*CONDITION, *PROMPT))]
    for i, first in enumerate(results):
        assert first.shape == (2, 6, 11)
        for second in results[i + 1 :]:
            assert (first - second).abs().max() > 1e-3


@torch.no_grad()
def test_left_out_is_the_learned_null(denoiser):
    both = torch.tensor([True, True])
    condition, prompt = denoiser.replace_with_nulls(
        DENOISER_INPUT["encoder_hidden_states"], DENOISER_INPUT["prompt_hidden_states"], both, both
    )
    replaced = {**DENOISER_INPUT, "encoder_hidden_states": condition, "prompt_hidden_states": prompt}
    torch.testing.assert_close(
        denoiser(**replaced).sample, denoiser(**without(*CONDITION, *PROMPT)).sample, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_replacing_some_items_leaves_the_others(denoiser):
    first = torch.tensor([True, False])
    condition, prompt = denoiser.replace_with_nulls(
        DENOISER_INPUT["encoder_hidden_states"], DENOISER_INPUT["prompt_hidden_states"], first, ~first
    )
    assert torch.equal(condition[1], DENOISER_INPUT["encoder_hidden_states"][1])
    assert torch.equal(prompt[0], DENOISER_INPUT["prompt_hidden_states"][0])
    assert torch.equal(condition[0], denoiser.null_condition.expand(11, -1))
    assert torch.equal(prompt[1], denoiser.null_prompt.expand(9, -1))


@torch.no_grad()
def test_cached_conditioning_is_exact(denoiser):
    conditioning = denoiser.encode_conditioning(
        DENOISER_INPUT["encoder_hidden_states"],
        DENOISER_INPUT["prompt_hidden_states"],
        DENOISER_INPUT["prompt_mask"],
        sample_mask=DENOISER_INPUT["sample_mask"],
    )
    for timestep in (0.0, 499.5, 999.0):
        inputs = {**DENOISER_INPUT, "timestep": timestep}
        cached = denoiser(inputs["sample"], timestep, sample_mask=inputs["sample_mask"], conditioning=conditioning)
        assert torch.equal(cached.sample, denoiser(**inputs).sample)


@torch.no_grad()
def test_timesteps_matter_and_may_be_one_for_all(denoiser):
    one = denoiser(**{**DENOISER_INPUT, "timestep": 250}).sample
    each = denoiser(**{**DENOISER_INPUT, "timestep": torch.tensor([250.0, 250.0])}).sample
    other = denoiser(**{**DENOISER_INPUT, "timestep": 251}).sample
    assert torch.equal(one, each)
    assert (one - other).abs().max() > 1e-5


@pytest.mark.parametrize("name", DENOISERS)
@torch.no_grad()
def test_guidance_is_an_input_of_models_made_for_it(name):
    denoiser = build(name, guidance_embeds=True)
    none, one, three = (denoiser(**DENOISER_INPUT, guidance=scale).sample for scale in (None, 1.0, 3.0))
    assert torch.equal(none, one)
    assert (one - three).abs().max() > 1e-4
    with pytest.raises(ValueError, match="guidance_embeds"):
        build(name)(**DENOISER_INPUT, guidance=3.0)


@pytest.mark.parametrize("name", DENOISERS)
@torch.no_grad()
def test_an_estimate_is_an_input_of_models_made_for_it(name):
    denoiser, estimate = build(name, self_conditioning=True), randn(2, 6, 11, seed=5)
    none, zeros, other = (
        denoiser(**DENOISER_INPUT, self_condition=each).sample for each in (None, torch.zeros(2, 6, 11), estimate)
    )
    assert torch.equal(none, zeros)
    assert (none - other).abs().max() > 1e-4
    with pytest.raises(ValueError, match="self_conditioning"):
        build(name)(**DENOISER_INPUT, self_condition=estimate)


@pytest.mark.parametrize("name", DENOISERS)
@torch.no_grad()
def test_continuous_time_embeds_t(name):
    torch.manual_seed(0)
    continuous, plain = build(name, continuous_time=True), build(name)
    plain.load_state_dict(continuous.state_dict())
    # t = 0.5 is timestep 499; a model that embeds timesteps gets the same number at timestep 0.5.
    expected = plain(**{**DENOISER_INPUT, "timestep": 0.5}).sample
    assert torch.equal(continuous(**{**DENOISER_INPUT, "timestep": 499.0}).sample, expected)


def test_latents_of_another_codec_are_refused(denoiser):
    with pytest.raises(ValueError, match=r"\(2, 5, 11\).*6"):
        denoiser(**{**DENOISER_INPUT, "sample": randn(2, 5, 11)})


@pytest.mark.parametrize("name", DENOISERS)
def test_an_untrained_denoiser_predicts_the_mean(name):
    model_class, config, batch = CASES[name]
    assert not model_class(**config).eval()(**batch).sample.any()


@pytest.mark.parametrize("name", DENOISERS)
@torch.no_grad()
def test_compiles_without_graph_breaks(name):
    torch._dynamo.reset()
    denoiser = build(name)
    compiled = torch.compile(denoiser, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**DENOISER_INPUT).sample, denoiser(**DENOISER_INPUT).sample)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="16 cannot be split into 3"):
        build("wavenet_denoiser", num_attention_heads=3)


def test_norms_in_half_precision_are_fused(recwarn):
    """The weights stay in float32 under autocast, where torch would warn that it uses a slow kernel."""
    norm = RMSNorm(64, eps=1e-6)
    norm.weight.data.uniform_(0.5, 2)
    states = torch.randn(2, 5, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = norm(states.bfloat16())
    assert found.dtype == torch.bfloat16 and not recwarn.list
    wanted = torch.nn.functional.rms_norm(states, (64,), norm.weight, 1e-6)
    torch.testing.assert_close(found.float(), wanted, rtol=0.02, atol=0.02)
    assert torch.equal(norm(states), wanted)
