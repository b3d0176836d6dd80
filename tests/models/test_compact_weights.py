"""Weights in a few bits: exact and approximate values, file sizes, and that every model loads them."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ns2_diffusers import PhonemeEncoder, VocosCodec
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.models.compact_weights import BITS, compact_weights, expand_weights

from .cases import CASES, build, randn
from .test_all_models import outputs


def there_and_back(state_dict, bits, **options):
    compact = compact_weights(state_dict, bits, **options)
    expand_weights(compact, {name: tensor.shape for name, tensor in state_dict.items()})
    return compact


@pytest.mark.parametrize("bits", BITS)
def test_whole_numbers_of_a_step_are_exact(bits):
    limit = 2 ** (bits - 1) - 1
    # Each row has its own step; 1023 weights do not fill the last word of three bytes.
    numbers = torch.arange(1023).view(3, 341) % (2 * limit + 1) - limit
    weight = numbers * torch.tensor([[0.25], [2.0**-9], [4.0]])
    assert torch.equal(there_and_back({"weight": weight}, bits)["weight"], weight)


def test_bytes_by_hand():
    """1, -1, 2 and 31 as six bits each, plus 32, from the lowest bit of the first byte on: 33, 31, 34, 63."""
    row = torch.tensor([[1.0, -1, 2, 31] * 4])
    compact = compact_weights({"weight": row}, 6)
    word = 33 | 31 << 6 | 34 << 12 | 63 << 18
    assert compact["weight.6bit"].tolist() == [word & 255, word >> 8 & 255, word >> 16] * 4
    assert compact["weight.step"].tolist() == [[1.0]]


# The bound is a tenth above the rounding error; one bit less would double the error.
@pytest.mark.parametrize(("bits", "bound"), [(4, 0.12), (6, 0.032), (8, 0.008)])
@pytest.mark.parametrize("shape", [(64, 512), (64, 128, 5)])
def test_rounding_is_no_more_than_bits_cost(bits, bound, shape):
    weight = randn(*shape) * randn(64, *[1] * (len(shape) - 1), seed=1)
    back = there_and_back({"weight": weight}, bits)["weight"]
    errors = (back - weight).flatten(1).norm(dim=1) / weight.flatten(1).norm(dim=1)
    assert bound / 2 < errors.mean() < bound and errors.max() < 1.5 * bound


def test_rows_of_nothing_stay_nothing():
    weight = torch.zeros(2, 16)
    weight[0, 3] = 0.1
    back = there_and_back({"weight": weight}, 6)["weight"]
    assert torch.equal(back[1], weight[1]) and torch.isclose(back[0, 3], weight[0, 3], rtol=1e-3)


def test_what_is_small_is_half_precision_and_a_quantizer_apart():
    state = {
        "bias": randn(40),
        "depthwise": randn(40, 1, 7),
        "quantizer.codebooks": randn(2, 8, 16),
        "quantizer.ready": torch.tensor(True),
        "weight": randn(40, 16),
    }
    compact = compact_weights(state, 8, apart=["quantizer."])
    assert sorted(compact) == sorted([*(name for name in state if name != "weight"), "weight.8bit", "weight.step"])
    assert torch.equal(compact["bias"], state["bias"].half())
    assert torch.equal(compact["depthwise"], state["depthwise"].half())
    assert torch.equal(compact["quantizer.codebooks"], state["quantizer.codebooks"].bfloat16())
    assert compact["quantizer.ready"].dtype == torch.bool
    assert compact["weight.8bit"].shape == (642,) and compact["weight.step"].shape == (40, 1)


def make_compact(folder, bits, **options):
    """Rewrites a saved model, and returns the new size of its file."""
    file = folder / "diffusion_pytorch_model.safetensors"
    save_file(compact_weights(load_file(file), bits, **options), file, metadata={"format": "pt"})
    return file.stat().st_size


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_every_model_reads_them(name, tmp_path):
    model, batch = build(name), CASES[name][2]
    model.save_pretrained(tmp_path)
    make_compact(tmp_path, 8)
    for options in ({}, {"low_cpu_mem_usage": False}):
        loaded, report = CASES[name][0].from_pretrained(tmp_path, output_loading_info=True, **options)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
        before, after = outputs(model, batch)[-1], outputs(loaded.eval(), batch)[-1]
        assert 0 < (after - before).norm() / before.norm() < 0.03
    assert CASES[name][0].from_pretrained(tmp_path, torch_dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_codec_keeps_its_codes(tmp_path, tiny_codec, clips):
    tiny_codec.save_pretrained(tmp_path)
    before = (tmp_path / "diffusion_pytorch_model.safetensors").stat().st_size
    assert make_compact(tmp_path, 8, apart=["quantizer."]) < 0.5 * before
    codec = VocosCodec.from_pretrained(tmp_path).eval()
    assert codec.fingerprint == tiny_codec.fingerprint
    speech = load_audio(clips[0])[0][None, None]
    old, new = tiny_codec.encode(speech), codec.encode(speech)
    assert 0 < (new - old).norm() / old.norm() < 0.05
    same = codec.quantize(new)[1] == tiny_codec.quantize(old)[1]
    assert 0.9 < same[:, 0].float().mean()


def test_wrong_bits_say_which_are_right():
    with pytest.raises(ValueError, match="bits is 5: give one of 4, 6, 8"):
        compact_weights({"weight": randn(4, 16)}, 5)


def test_what_half_precision_does_not_reach_is_refused():
    with pytest.raises(ValueError, match="out.bias does not fit float16: it goes up to 100000"):
        compact_weights({"out.bias": torch.tensor([1e5])}, 8)


def test_weights_of_another_config_are_refused(tmp_path):
    _, sizes, _ = CASES["phoneme_encoder"]
    build("phoneme_encoder").save_pretrained(tmp_path)
    make_compact(tmp_path, 8)
    PhonemeEncoder(**{**sizes, "filter_size": 32}).save_config(tmp_path)
    with pytest.raises(ValueError, match=r"the model has one of shape \(.*another config"):
        PhonemeEncoder.from_pretrained(tmp_path)
    PhonemeEncoder(**{**sizes, "num_layers": 1}).save_config(tmp_path)
    with pytest.raises(ValueError, match="the model has no such weight"):
        PhonemeEncoder.from_pretrained(tmp_path)
