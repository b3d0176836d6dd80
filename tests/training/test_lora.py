import sys

import pytest
import torch

from ns2_diffusers.training.lora import add_lora, lora_to_save, merge_lora, split_lora


@pytest.fixture
def adapted(make_tiny_pipeline):
    """A function that returns a pipeline, and a copy with random adapters on its denoiser and phoneme encoder."""
    pytest.importorskip("peft", reason="peft is not installed")

    def make(denoiser="transformer", rank=3, alpha=1.5):
        pipe, other = make_tiny_pipeline(denoiser), make_tiny_pipeline(denoiser)
        models = {name: other.components[name] for name in ("denoiser", "phoneme_encoder", "prompt_encoder")}
        add_lora(models, ["denoiser", "phoneme_encoder"], rank, alpha)
        with torch.no_grad():
            for parameter in other.denoiser.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.1)
        return pipe, models, alpha

    return make


def state_of(models):
    return {f"{name}.{key}": value for name, model in models.items() for key, value in model.state_dict().items()}


def denoise(denoiser):
    g = torch.Generator().manual_seed(0)
    sample, condition, prompt = (torch.randn(shape, generator=g) for shape in ((2, 16, 9), (2, 9, 32), (2, 5, 32)))
    with torch.no_grad():
        return denoiser(sample, torch.tensor([10.0, 700.0]), condition, prompt).sample


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
def test_merged_weights_say_what_adapters_say(adapted, denoiser, tmp_path):
    pipe, models, alpha = adapted(denoiser)
    plain, wanted = denoise(pipe.denoiser), denoise(models["denoiser"].eval())
    assert (wanted - plain).abs().max() > 0.01
    base, adapters = split_lora(state_of(models))
    for name, tensor in base.items():
        component, _, key = name.partition(".")
        assert torch.equal(pipe.components[component].state_dict()[key], tensor), name
    pipe.save_lora_weights(tmp_path, **lora_to_save(adapters, alpha))
    pipe.load_lora_weights(tmp_path)
    torch.testing.assert_close(denoise(pipe.denoiser), wanted, atol=1e-5, rtol=1e-5)
    pipe.unload_lora_weights()
    torch.testing.assert_close(denoise(pipe.denoiser), plain, atol=1e-6, rtol=1e-6)
    merge_lora({"denoiser": pipe.denoiser, "phoneme_encoder": pipe.phoneme_encoder}, adapters, alpha)
    torch.testing.assert_close(denoise(pipe.denoiser), wanted, atol=1e-5, rtol=1e-5)
    pipe.save_pretrained(tmp_path / "merged")


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
def test_what_is_adapted(adapted, denoiser):
    _, models, _ = adapted(denoiser)
    learning = {
        f"{name}.{key}"
        for name, model in models.items()
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert all(".lora_A." in name or ".lora_B." in name for name in learning)
    assert not any(name.startswith("prompt_encoder") for name in learning)
    layers = {name.split(".lora_")[0] for name in learning}
    wanted = {"phoneme_encoder.encoder.blocks.0.attention.to_q", "phoneme_encoder.encoder.blocks.0.feed_forward.conv"}
    if denoiser == "wavenet":
        wanted |= {"denoiser.layers.1.dilated_conv", "denoiser.layers.0.attention.to_v", "denoiser.layers.0.proj_out"}
    else:
        wanted |= {"denoiser.blocks.1.cross_attention.to_k", "denoiser.blocks.0.feed_forward.net.2"}
    assert wanted <= layers
    assert not {"denoiser.proj_out", "denoiser.proj_in", "denoiser.blocks.0.conv"} & layers


def test_a_component_there_is_not(tiny_pipeline):
    pytest.importorskip("peft", reason="peft is not installed")
    with pytest.raises(ValueError, match="no component vocoder"):
        add_lora({"denoiser": tiny_pipeline.denoiser}, ["vocoder"], 2, 2)


def test_without_peft(tiny_pipeline, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match="pip install"):
        add_lora({"denoiser": tiny_pipeline.denoiser}, ["denoiser"], 2, 2)
