"""Operations of diffusers on every model: offloading, casting of layers, attention kernels, compilation."""

import copy
import logging

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry, attention_backend
from diffusers.models.modeling_utils import ModelMixin

from ns2_diffusers import EncodecCodec, VocosCodec
from ns2_diffusers.models.attention import Attention
from ns2_diffusers.models.codecs import residual_vector_quantizer

from .cases import CASES, DENOISER_INPUT, DENOISERS, build, mask, randn

WAVEFORM = {"waveform": 0.3 * randn(2, 1, 500), "sample_mask": mask(300, 500)}
VOCOS = {
    "sampling_rate": 8000,
    "hop_length": 16,
    "latent_channels": 6,
    "num_codebooks": 3,
    "codebook_size": 8,
    "encoder_config": {"n_fft": 64, "n_mels": 8, "dim": 12, "intermediate_dim": 24, "num_layers": 2},
    "backbone_config": {"dim": 12, "intermediate_dim": 24, "num_layers": 2},
    "head_config": {"n_fft": 64},
}
HARMONIC = {
    "head_config": {"type": "harmonic", "fine_hop_length": 16, "n_fft": 64, "fine_dim": 8, "fine_layers": 1},
}
ENCODEC = {"latent_channels": 8, "num_filters": 4, "num_codebooks": 4, "codebook_size": 16, "ratios": [4, 2, 2]}
CODECS = {
    "vocos": (VocosCodec, VOCOS),
    "vocos_harmonic": (VocosCodec, VOCOS | HARMONIC),
    "encodec": (EncodecCodec, ENCODEC),
}
MODELS = [*CASES, *CODECS]
WITH_ATTENTION = [name for name in CASES if name != "phoneme_aligner"]


def make(name):
    if name in CASES:
        return build(name)
    model_class, sizes = CODECS[name]
    torch.manual_seed(0)
    return model_class(**sizes).eval()


def use(name, model):
    """Use the model as a pipeline does: each method that reads weights, then the forward pass."""
    results = []
    if name in CODECS:
        waveform, sample_mask = WAVEFORM.values()
        latents = model.encode(waveform, sample_mask)
        quantized, codes = model.quantize(latents)
        results += [latents, quantized, model.codes_to_latents(codes)]
        results += [model.decode(quantized, model.latent_mask(sample_mask)), model.codebooks]
        batch = WAVEFORM
    else:
        batch = CASES[name][2]
    if name in DENOISERS:
        both = torch.tensor([True, False])
        condition, prompt = DENOISER_INPUT["encoder_hidden_states"], DENOISER_INPUT["prompt_hidden_states"]
        condition, prompt = model.replace_with_nulls(condition, prompt, both, ~both)
        conditioning = model.encode_conditioning(condition, prompt, DENOISER_INPUT["prompt_mask"])
        results += [condition, prompt, *conditioning.conditions]
        results += model(DENOISER_INPUT["sample"], 400.0, conditioning=conditioning, return_dict=False)
        results += [model.encode_conditioning(batch_size=2).conditions[0]]
    if name == "variance_adaptor":
        states, prompt = batch["phoneme_hidden_states"], (batch["prompt_hidden_states"], batch["prompt_mask"])
        results += model.predict_durations(states, batch["phoneme_mask"], *prompt)
        frames, frame_mask = model.expand(states, batch["durations"])
        results += model.add_pitch(frames, frame_mask, *prompt)
    results += [value for value in model(**batch, return_dict=False) if value is not None]
    return [value.clone() for value in results]


def assert_same(found, expected, **tolerance):
    assert len(found) == len(expected)
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, **tolerance)


@pytest.fixture
def fill_with_nan():
    """Uninitialised memory is NaN, so that a missing weight cannot have the right value by chance."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(False)


# -- offloading ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offload_buffers", [False, True])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_sequential_offload(name, offload_buffers):
    """Weights are on the meta device until their layer runs."""
    model = make(name)
    expected = use(name, model)
    cpu_offload(model, torch.device("cpu"), offload_buffers=offload_buffers)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())
    assert_same(use(name, model), expected)
    assert all(parameter.device.type == "meta" for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_disk_offload(name, tmp_path):
    model = make(name)
    expected = use(name, model)
    disk_offload(model, str(tmp_path), torch.device("cpu"), offload_buffers=True)
    assert_same(use(name, model), expected)


@pytest.mark.parametrize("blocks", [None, 1, 2])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_group_offload(name, blocks, tmp_path, fill_with_nan):
    """Weights are on the disk, and NaN in memory, until their layer or block runs."""
    model = make(name)
    expected = use(name, model)
    level = {"offload_type": "leaf_level"} if blocks is None else {"num_blocks_per_group": blocks}
    model.enable_group_offload(torch.device("cpu"), offload_to_disk_path=str(tmp_path), **level)
    assert all(parameter.isnan().all() for parameter in model.parameters())
    assert_same(use(name, model), expected)
    assert all(parameter.isnan().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", CODECS)
def test_fingerprint_of_an_offloaded_codec(name, tmp_path, fill_with_nan):
    codec = make(name)
    expected = codec.fingerprint
    offloaded = cpu_offload(copy.deepcopy(codec), torch.device("cpu"), offload_buffers=True)
    assert offloaded.fingerprint == expected
    codec.enable_group_offload(torch.device("cpu"), offload_type="leaf_level", offload_to_disk_path=str(tmp_path))
    assert codec.fingerprint == expected


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_contiguous(name):
    """The properties that safetensors and offloading to the disk need."""
    state = [*make(name).named_parameters(), *make(name).named_buffers()]
    assert [key for key, value in state if not value.is_contiguous()] == []


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_device_map(name, tmp_path):
    """Half of the model is on the disk, and no block is split."""
    model = make(name)
    expected = use(name, model)
    model.save_pretrained(tmp_path)
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    loaded = type(model).from_pretrained(
        tmp_path, device_map="auto", max_memory={"cpu": size // 2}, offload_folder=tmp_path / "offloaded"
    )
    assert "disk" in loaded.hf_device_map.values()
    whole = [key for key, module in model.named_modules() if type(module).__name__ in model._no_split_modules]
    assert whole and not any(key.startswith(f"{block}.") for key in loaded.hf_device_map for block in whole)
    assert_same(use(name, loaded), expected)


# -- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", [torch.float16, torch.float8_e4m3fn])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_layerwise_casting(name, storage, monkeypatch):
    # Rounded weights can choose another code, which changes all that follows it, so the first choices are kept.
    find_nearest, chosen = residual_vector_quantizer.nearest, []
    monkeypatch.setattr(residual_vector_quantizer, "nearest", lambda *a: chosen.append(find_nearest(*a)) or chosen[-1])
    model = make(name)
    expected = use(name, model)[-1]
    monkeypatch.setattr(residual_vector_quantizer, "nearest", lambda *a: chosen.pop(0))
    before = model.get_memory_footprint()
    model.enable_layerwise_casting(storage_dtype=storage, compute_dtype=torch.float32)
    assert model.get_memory_footprint() < before
    result = use(name, model)[-1]
    assert result.dtype == expected.dtype and expected.is_floating_point()
    assert (result - expected).norm() <= (1e-3 if storage == torch.float16 else 0.1) * expected.norm()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_layerwise_casting_of_a_half_precision_model(name):
    model = make(name).to(torch.bfloat16)
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    for value in use(name, model):
        assert not value.is_floating_point() or value.isfinite().all()


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_a_half_precision_model_takes_inputs_in_single(name):
    model, batch = build(name), CASES[name][2]
    expected = model(**batch, return_dict=False)[-1]
    result = model.to(torch.bfloat16)(**batch, return_dict=False)[-1]
    assert (result.float() - expected).norm() < 0.03 * expected.norm()
    if name in DENOISERS:
        assert result.dtype == torch.float32
        given = (batch[key] for key in ("encoder_hidden_states", "prompt_hidden_states", "prompt_mask"))
        conditioning = model.encode_conditioning(*given, sample_mask=batch["sample_mask"])
        cached = model(batch["sample"], batch["timestep"], sample_mask=batch["sample_mask"], conditioning=conditioning)
        assert torch.equal(cached.sample, result)


# -- attention -----------------------------------------------------------------------------------------------


@pytest.fixture
def backends():
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)


@pytest.mark.parametrize("backend", ["native", "_native_math", "flex"])
@pytest.mark.parametrize("name", WITH_ATTENTION)
@torch.no_grad()
def test_attention_backends_agree_on_padded_batches(name, backend, backends):
    model = build(name)
    expected = use(name, model)
    model.set_attention_backend(backend)
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    assert {layer.processor._attention_backend for layer in layers} == {AttentionBackendName(backend)}
    assert len(model.attn_processors) == len(layers)
    # The layers keep their own backend, whatever the global one is.
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName._NATIVE_CUDNN)
    assert_same(use(name, model), expected, atol=1e-5, rtol=1e-5)
    model.reset_attention_backend()
    with attention_backend(backend):
        assert_same(use(name, model), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", WITH_ATTENTION)
@torch.no_grad()
def test_attention_gets_a_mask_of_four_dimensions_or_none(name, monkeypatch):
    from ns2_diffusers.models import attention

    masks, dispatch = [], attention.dispatch_attention_fn

    def spy(query, key, value, attn_mask=None, **arguments):
        masks.append(attn_mask)
        assert attn_mask is None or attn_mask.shape == (len(key), 1, 1, key.shape[1])
        return dispatch(query, key, value, attn_mask=attn_mask, **arguments)

    monkeypatch.setattr(attention, "dispatch_attention_fn", spy)
    model, batch = build(name), CASES[name][2]
    model(**batch)
    assert any(each is not None for each in masks)
    masks.clear()
    unpadded = {key: value for key, value in batch.items() if "mask" not in key}
    if name == "variance_adaptor":
        unpadded |= {"phoneme_mask": None, "durations": torch.full((2, 11), 2)}
    model(**unpadded)
    assert masks and all(each is None for each in masks)


# -- compilation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_repeated_blocks_compile(name):
    torch._dynamo.reset()
    model = make(name)
    expected = use(name, model)
    # The convolutions of transformers' EnCodec choose their padding by the value of a tensor, which breaks the graph.
    model.compile_repeated_blocks(backend="eager", fullgraph=name != "encodec")
    compiled = [module for module in model.modules() if module._compiled_call_impl is not None]
    assert len(compiled) > 1
    assert_same(use(name, model), expected)


@pytest.mark.parametrize("name", MODELS)
def test_names_of_layers_are_of_the_model(name):
    model = make(name)
    classes = {type(module).__name__ for module in model.modules()}
    assert isinstance(model, ModelMixin) and model._no_split_modules and classes & set(model._no_split_modules)
    assert set(model._repeated_blocks) <= classes
    assert model._skip_layerwise_casting_patterns is not None and model._supports_group_offloading


@pytest.mark.parametrize("name", MODELS)
def test_a_change_of_dtype_warns_of_modules_only_if_there_are_any(name):
    """diffusers would warn of `[]` too."""
    heard = []
    handler = logging.Handler()
    handler.emit = heard.append
    logger = logging.getLogger(ModelMixin.__module__)
    logger.addHandler(handler)
    try:
        model = make(name).to(torch.float16)
    finally:
        logger.removeHandler(handler)
    assert model.dtype == torch.float16
    kept = ["quantizer"] if name in CODECS else None
    assert model._keep_in_fp32_modules == kept
    assert [str(kept) in record.getMessage() for record in heard] == ([True] if kept else [])
