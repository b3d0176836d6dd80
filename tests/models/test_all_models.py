"""Properties of every model."""

import pytest
import torch

from .cases import CASES, alone, build


def outputs(model, batch):
    result = model(**batch)
    return [value for value in result.to_tuple() if value.is_floating_point()]


@pytest.mark.parametrize("item", [0, 1])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_padding_changes_nothing(name, item):
    model, batch = build(name), CASES[name][2]
    together, single = outputs(model, batch), outputs(model, alone(batch, item))
    for padded, expected in zip(together, single, strict=True):
        kept = tuple(slice(0, size) for size in expected.shape[1:])
        torch.testing.assert_close(padded[item][kept], expected[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if name != "phoneme_aligner"])
@torch.no_grad()
def test_output_is_zero_in_the_padding(name):
    model, batch = build(name), CASES[name][2]
    output = outputs(model, batch)[0]
    long_axis = 2 if "denoiser" in name else 1
    length = outputs(model, alone(batch, 0))[0].shape[long_axis]
    padding = output[0].narrow(long_axis - 1, length, output.shape[long_axis] - length)
    assert padding.numel() and not padding.any()


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_saved_is_loaded(name, tmp_path):
    model, batch = build(name), CASES[name][2]
    model.save_pretrained(tmp_path)
    assert (tmp_path / "diffusion_pytorch_model.safetensors").exists()
    loaded = CASES[name][0].from_pretrained(tmp_path).eval()
    for key in CASES[name][1]:
        assert loaded.config[key] == model.config[key]
    for before, after in zip(outputs(model, batch), outputs(loaded, batch), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][0]._supports_gradient_checkpointing])
def test_gradient_checkpointing_gives_the_same_gradients(name):
    gradients = []
    for checkpointing in (False, True):
        model = build(name)
        if checkpointing:
            model.enable_gradient_checkpointing()
        sum(value.square().sum() for value in outputs(model, CASES[name][2])).backward()
        gradients.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_half_precision_is_near_single(name, dtype):
    model, batch = build(name), CASES[name][2]
    # Only the last output: the first output of the adaptor has pitch bins, which rounding may move by one.
    expected = outputs(model, batch)[-1]
    half = {
        key: value.to(dtype) if value.is_floating_point() and key != "timestep" else value
        for key, value in batch.items()
    }
    result = outputs(model.to(dtype), half)[-1]
    computed_in_single = name in ("phoneme_aligner", "variance_adaptor")
    assert result.dtype == (torch.float32 if computed_in_single else dtype)
    error = (result.float() - expected).norm() / expected.norm()
    assert error < (0.03 if dtype == torch.bfloat16 else 0.005)


@pytest.mark.parametrize("name", CASES)
def test_mixed_precision_gradients_are_near_those_in_single(name):
    """On a CPU, attention uses another kernel for gradients in half precision."""
    gradients = []
    for cast in (False, True):
        model = build(name)
        with torch.autocast("cpu", torch.bfloat16, enabled=cast):
            found = outputs(model, CASES[name][2])[-1]
        found.float().square().mean().backward()
        parameters = [p.grad for p in model.parameters() if p.grad is not None]
        assert parameters and all(gradient.dtype == torch.float32 for gradient in parameters)
        gradients.append(torch.cat([gradient.flatten() for gradient in parameters]))
    assert (gradients[1] - gradients[0]).norm() / gradients[0].norm() < 0.15
