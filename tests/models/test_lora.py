"""Adapters of every model: every layer takes them, merging does not change the output, removal restores the model."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ns2_diffusers import EncodecCodec
from ns2_diffusers.models.lora import LoraModelMixin

from .cases import CASES, build

peft = pytest.importorskip("peft", reason="peft is not installed")


def layers_of(model):
    return [
        name
        for name, layer in model.named_modules()
        if (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d) and layer.groups == 1))
    ]


def output_of(model, batch):
    return model(**batch, return_dict=False)[0]


def assert_same_state(state, wanted):
    assert set(state) == set(wanted)
    assert not [key for key, tensor in wanted.items() if not torch.equal(state[key], tensor)]


def adapted(name):
    """The model of a case, with adapters of rank 2 and scale 3/2 on every layer that supports them."""
    model = build(name)
    layers = layers_of(model)
    model.add_adapter(peft.LoraConfig(r=2, lora_alpha=3, target_modules=layers, init_lora_weights=False), "voice")
    return model, layers


@pytest.mark.parametrize("name", CASES)
def test_every_layer_has_an_adapter_that_is_heard(name):
    model, layers = adapted(name)
    for output in model(**CASES[name][2], return_dict=False):
        if output.is_floating_point() and output.requires_grad:
            output.float().square().sum().backward(retain_graph=True)
    learning = {key: parameter for key, parameter in model.named_parameters() if ".lora_" in key}
    assert {key.split(".lora_")[0] for key in learning} == set(layers)
    # If code read the weight of a layer outside its forward pass, its adapter would get no gradient.
    assert not [key for key, parameter in learning.items() if parameter.grad is None or not parameter.grad.any()]


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_merged_and_unmerged_say_the_same(name):
    batch = CASES[name][2]
    plain = output_of(build(name), batch)
    model, _ = adapted(name)
    unmerged = output_of(model, batch)
    assert (unmerged - plain).abs().max() > 0.01
    model.fuse_lora()
    torch.testing.assert_close(output_of(model, batch), unmerged, atol=2e-5, rtol=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_saved_loaded_and_unloaded(name, tmp_path):
    batch = CASES[name][2]
    model, _ = adapted(name)
    wanted, fresh = output_of(model, batch), build(name)
    before = {key: tensor.clone() for key, tensor in fresh.state_dict().items()}
    model.save_lora_adapter(tmp_path, adapter_name="voice")
    fresh.load_lora_adapter(tmp_path, prefix=None, adapter_name="again", use_safetensors=True)
    assert torch.equal(output_of(fresh, batch), wanted)
    fresh.unload_lora()
    assert_same_state(fresh.state_dict(), before)


def test_adapters_of_dilated_convolutions_are_dilated():
    model, _ = adapted("wavenet_denoiser")
    convolutions = [layer.dilated_conv for layer in model.layers]
    assert {conv.base_layer.dilation for conv in convolutions} == {(1,), (2,)}
    assert all(conv.lora_A["voice"].dilation == conv.base_layer.dilation for conv in convolutions)


@pytest.mark.parametrize("name", CASES)
def test_a_model_with_adapters_is_not_saved(name, tmp_path):
    model, _ = adapted(name)
    assert isinstance(model, LoraModelMixin)
    with pytest.raises(ValueError, match="has the LoRA adapters voice.*unload_lora"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    model.unload_lora()
    model.save_pretrained(tmp_path / "model")
    assert_same_state(type(model).from_pretrained(tmp_path / "model").state_dict(), model.state_dict())


WITHOUT_PEFT = """
import sys
sys.modules["peft"] = None
import ns2_diffusers as ns2
for name in ns2.__all__:
    getattr(ns2, name)
model = ns2.PhonemeEncoder(vocab_size=4, hidden_size=8, num_layers=1, num_attention_heads=1, filter_size=8)
for method in (model.add_adapter, model.load_lora_adapter):
    try:
        method({})
    except ImportError as error:
        print(error)
"""


def test_the_package_imports_without_peft_and_says_what_to_install():
    printed = subprocess.run([sys.executable, "-c", WITHOUT_PEFT], capture_output=True, text=True, check=True).stdout
    assert printed == 'LoRA needs peft: pip install "ns2-diffusers[lora]".\n' * 2


def test_a_codec_with_weight_norm_says_that_it_takes_none(tmp_path):
    sizes = {"latent_channels": 8, "num_filters": 4, "num_codebooks": 4, "codebook_size": 16, "ratios": [4, 2, 2]}
    config = peft.LoraConfig(r=2, target_modules=["shortcut.conv"], init_lora_weights=False)
    grouped = EncodecCodec(**sizes, norm="time_group_norm")
    grouped.add_adapter(config)
    grouped.save_lora_adapter(tmp_path)
    codec = EncodecCodec(**sizes)
    names = list(codec.state_dict())
    for add in (lambda: codec.add_adapter(config), lambda: codec.load_lora_adapter(tmp_path, prefix=None)):
        with pytest.raises(ValueError, match="takes no LoRA adapters where norm is 'weight_norm'.*as a whole"):
            add()
    assert list(codec.state_dict()) == names
