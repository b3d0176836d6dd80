"""Adapters of a pipeline with the interface of diffusers: named, several, all or nothing, removable."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DistilledScheduler, NaturalSpeech2Pipeline
from ns2_diffusers.models.compact_weights import compact_weights
from ns2_diffusers.pipelines.bundled import FOLDER

peft = pytest.importorskip("peft", reason="peft is not installed")

FILE = "pytorch_lora_weights.safetensors"
# One linear layer and one convolution of some components.
LAYERS = {
    "denoiser": ["blocks.0.attention.to_q", "condition_proj", "proj_out"],
    "phoneme_encoder": ["encoder.blocks.0.feed_forward.conv"],
    "prompt_encoder": ["proj_in"],
    "variance_adaptor": ["pitch_predictor.convs.1"],
}


def draw(pipe, component, seed=0, rank=2):
    """Tensors of adapters, and the updates that they add to the weights if alpha is the rank."""
    generator, tensors, updates = torch.Generator().manual_seed(seed), {}, {}
    for layer in LAYERS[component]:
        weight = getattr(pipe, component).get_parameter(f"{layer}.weight")
        down = torch.randn(rank, *weight.shape[1:], generator=generator) / 4
        up = torch.randn(len(weight), rank, generator=generator) / 4
        updates[layer] = torch.tensordot(up, down, 1)
        tensors[f"{layer}.lora_A.weight"] = down
        tensors[f"{layer}.lora_B.weight"] = up.reshape(len(weight), rank, *[1] * (weight.ndim - 2))
    return tensors, updates


def save(pipe, folder, components=("denoiser",), seed=0, alpha=None, **options):
    """Write adapters; returns the updates that they add to the weights, by component."""
    arguments, updates = {}, {}
    for index, component in enumerate(components):
        arguments[f"{component}_lora_layers"], updates[component] = draw(pipe, component, 10 * seed + index)
        if alpha is not None:
            arguments[f"{component}_lora_adapter_metadata"] = {"lora_alpha": alpha}
            updates[component] = {layer: alpha / 2 * update for layer, update in updates[component].items()}
    type(pipe).save_lora_weights(folder, **arguments, **options)
    return updates


@torch.no_grad()
def with_updates(pipe, *updates):
    """The latents of a pipeline whose weights have these updates: pairs (factor, updates by component)."""
    for factor, components in updates:
        for component, layers in components.items():
            for layer, update in layers.items():
                getattr(pipe, component).get_parameter(f"{layer}.weight").add_(factor * update)
    return speak(pipe)


def speak(pipe, **options):
    voice = torch.randn(1, generator=torch.Generator().manual_seed(5))
    recording = torch.sin(torch.arange(16000) * (0.05 + 0.001 * voice.item())) / 2
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "durations": [3] * 7, "output_type": "latent"} | options
    generator = torch.Generator().manual_seed(0)
    return pipe(phonemes="hɛloʊ", prompt_audio=(16000, recording.numpy()), generator=generator, **options).audios[0]


def state_of(pipe):
    """The state that adapters must not change."""
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    weights = {
        f"{name}.{key}": value.clone() for name, part in modules.items() for key, value in part.state_dict().items()
    }
    learning = {
        f"{name}.{key}": each.requires_grad for name, part in modules.items() for key, each in part.named_parameters()
    }
    return weights, learning, pipe.scheduler, dict(pipe.scheduler.config), pipe.get_list_adapters()


def assert_unchanged(pipe, before):
    weights, *rest = state_of(pipe)
    assert rest == list(before[1:])
    assert set(weights) == set(before[0])
    assert not [name for name, tensor in weights.items() if not torch.equal(tensor, before[0][name])]


@pytest.fixture
def make(make_tiny_pipeline):
    return lambda: make_tiny_pipeline("transformer")


@pytest.mark.parametrize("components", [("denoiser",), tuple(LAYERS)])
def test_adapters_are_added_and_taken_away(make, tmp_path, components):
    pipe = make()
    updates, before = save(pipe, tmp_path, components, alpha=3.0), state_of(pipe)
    plain = speak(pipe)
    pipe.load_lora_weights(tmp_path)
    assert pipe.get_list_adapters() == {component: ["default_0"] for component in components}
    assert pipe.get_active_adapters() == ["default_0"]
    wanted = with_updates(make(), (1, updates))
    assert (wanted - plain).abs().max() > 0.05
    torch.testing.assert_close(speak(pipe), wanted, atol=2e-5, rtol=1e-4)
    pipe.unload_lora_weights()
    assert_unchanged(pipe, before)
    torch.testing.assert_close(speak(pipe), plain, atol=1e-5, rtol=1e-5)


def test_sources(make, tmp_path):
    """A folder, a file, another name, a subfolder, the tensors themselves and the cache of the hub."""
    pipe = make()
    updates = save(pipe, tmp_path / "a", alpha=3.0)
    save(pipe, tmp_path / "a" / "b", alpha=3.0, weight_name="voice.safetensors")
    wanted = with_updates(make(), (1, updates))
    snapshot = tmp_path / "cache" / "models--me--voice" / "snapshots" / ("0" * 40)
    (snapshot / "b").mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    for name in (FILE, "b/voice.safetensors"):
        os.link(tmp_path / "a" / name, snapshot / name)
    tensors, metadata = pipe.lora_state_dict(tmp_path / "a", return_lora_metadata=True)
    assert metadata == {"denoiser.lora_alpha": 3.0} and set(tensors) == set(load_file(tmp_path / "a" / FILE))
    named = {"weight_name": "voice.safetensors"}
    for source, options in (
        (tmp_path / "a", {}),
        (str(tmp_path / "a" / FILE), {}),
        (tmp_path / "a" / "b", named),
        (tmp_path / "a", {"subfolder": "b", **named}),
        (tensors, {"metadata": metadata}),
        ("me/voice", {"cache_dir": tmp_path / "cache"}),
        ("me/voice", {"cache_dir": tmp_path / "cache", "subfolder": "b", **named}),
    ):
        pipe.load_lora_weights(source, **options)
        torch.testing.assert_close(speak(pipe), wanted, atol=2e-5, rtol=1e-4)
        pipe.unload_lora_weights()


def test_what_is_not_there(make, tmp_path, monkeypatch):
    pipe = make()
    save(pipe, tmp_path / "owner" / "b", weight_name="voice.safetensors")
    monkeypatch.chdir(tmp_path)
    for source in ("nowhere", "./nowhere/lora", "../lora/voice", "owner/lora", tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="there is no file or directory|is empty"):
            pipe.load_lora_weights(source)
    with pytest.raises(ValueError, match="the hub has no 'pytorch_lora_weights.safetensors'"):
        pipe.load_lora_weights("nobody/lora", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="there is no file .*give the weight_name"):
        pipe.load_lora_weights("owner/b")
    with pytest.raises(ValueError, match="can run code"):
        pipe.load_lora_weights("owner/b", weight_name="voice.bin")
    torch.save({"denoiser.proj_out.lora_A.weight": torch.ones(1, 1)}, tmp_path / "voice.bin")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        pipe.load_lora_weights(tmp_path / "voice.bin")


def test_adapters_are_not_swapped_in_place(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path, seed=1)
    tensors = load_file(tmp_path / FILE)
    pipe.load_lora_weights(tmp_path, adapter_name="first")
    before = speak(pipe)
    for source in ("me/voice", tmp_path, tmp_path / FILE, tensors):
        with pytest.raises(TypeError, match="without hotswap; .*delete_adapters"):
            pipe.load_lora_weights(source, adapter_name="first", hotswap=True)
    with pytest.raises(NotImplementedError, match="delete_adapters"):
        pipe.enable_lora_hotswap(target_rank=4)
    assert torch.equal(speak(pipe), before)
    # The advice of the messages works.
    second = save(pipe, tmp_path, seed=2)
    pipe.delete_adapters("first")
    pipe.load_lora_weights(tmp_path, adapter_name="first")
    torch.testing.assert_close(speak(pipe), with_updates(make(), (1, second)), rtol=1e-4, atol=1e-5)


def test_two_do_not_add_up_unless_they_are_set(make, tmp_path):
    pipe = make()
    first = save(pipe, tmp_path / "a", ("denoiser", "phoneme_encoder"), seed=1)
    second = save(pipe, tmp_path / "b", ("denoiser", "variance_adaptor"), seed=2)

    def assert_says(*updates):
        torch.testing.assert_close(speak(pipe), with_updates(make(), *updates), atol=5e-5, rtol=1e-4)

    pipe.load_lora_weights(tmp_path / "a", adapter_name="a")
    pipe.load_lora_weights(tmp_path / "a", adapter_name="again")
    pipe.load_lora_weights(tmp_path / "b", adapter_name="b")
    assert pipe.get_active_adapters() == ["a"]
    assert_says((1, first))
    pipe.set_adapters("b")
    assert_says((1, second))
    pipe.set_adapters(["a", "b"], [0.5, -1.5])
    assert pipe.get_active_adapters() == ["a", "b"]
    assert_says((0.5, first), (-1.5, second))
    pipe.set_adapters(["b", "a"], [{"denoiser": 0.25}, 2])
    parts = {name: {name: second[name]} for name in second}
    assert_says((2, first), (0.25, parts["denoiser"]), (1, parts["variance_adaptor"]))
    pipe.disable_lora()
    assert_says()
    pipe.enable_lora()
    pipe.delete_adapters("b")
    assert pipe.get_active_adapters() == ["a"] and "variance_adaptor" not in pipe.get_list_adapters()
    assert_says((2, first))
    # If the active adapter is deleted, no other one takes its place.
    pipe.delete_adapters(["a"])
    assert pipe.get_active_adapters() == [] and pipe.get_list_adapters()["denoiser"] == ["again"]
    assert_says()
    # Scales are set, not multiplied.
    for _ in range(3):
        pipe.set_adapters("again", 0.1)
    scales = {layer.scaling["again"] for layer in pipe.denoiser.modules() if hasattr(layer, "scaling")}
    assert scales == {0.1}


def test_fused_and_put_back(make, tmp_path):
    pipe = make()
    first, second = save(pipe, tmp_path / "a", tuple(LAYERS), seed=1), save(pipe, tmp_path / "b", seed=2)
    weights = state_of(pipe)[0]
    pipe.load_lora_weights(tmp_path / "a", adapter_name="a")
    pipe.load_lora_weights(tmp_path / "b", adapter_name="b")
    pipe.set_adapters(["a", "b"], [0.5, 0.25])
    before = state_of(pipe)
    both = with_updates(make(), (0.5 / 3, first), (0.25 / 3, second))
    # The second round would show anything left over from the first.
    for _ in range(2):
        pipe.fuse_lora(lora_scale=1 / 3)
        assert pipe.fused_loras == {"a", "b"} and pipe.num_fused_loras == 2
        torch.testing.assert_close(speak(pipe), both, atol=5e-5, rtol=1e-4)
        pipe.unfuse_lora()
        assert pipe.num_fused_loras == 0 and pipe.get_active_adapters() == ["a", "b"]
        assert_unchanged(pipe, before)
    pipe.fuse_lora(adapter_names="b", lora_scale=2.0)
    torch.testing.assert_close(speak(pipe), with_updates(make(), (0.5, second)), atol=5e-5, rtol=1e-4)
    pipe.unfuse_lora()
    torch.testing.assert_close(speak(pipe), with_updates(make(), (0.5, first), (0.25, second)), atol=5e-5, rtol=1e-4)
    pipe.fuse_lora(components=["denoiser"])
    torch.testing.assert_close(speak(pipe), with_updates(make(), (0.5, first), (0.25, second)), atol=5e-5, rtol=1e-4)
    pipe.unfuse_lora(["denoiser"])
    assert_unchanged(pipe, before)
    # Merge for good: the adapters are gone and the sum is saved.
    pipe.fuse_lora(["denoiser"])
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path / "sum")
    again = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "sum")
    for component in LAYERS:
        for name, tensor in getattr(again, component).state_dict().items():
            wanted = weights[f"{component}.{name}"]
            layer = name.removesuffix(".weight")
            if component == "denoiser" and layer in LAYERS["denoiser"] and name.endswith(".weight"):
                wanted = wanted + 0.5 * first[component][layer] + 0.25 * second[component][layer]
            torch.testing.assert_close(tensor, wanted, atol=1e-6, rtol=1e-6)


def test_changes_of_fused_adapters_are_refused(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path)
    with pytest.raises(ValueError, match="components with adapters are"):
        pipe.fuse_lora()
    pipe.load_lora_weights(tmp_path, adapter_name="a")
    with pytest.raises(ValueError, match="fuse the adapters of"):
        pipe.fuse_lora(["prompt_encoder"])
    with pytest.raises(ValueError, match="no adapter 'c'"):
        pipe.fuse_lora(adapter_names=["c"])
    with pytest.raises(ValueError, match="wanted a finite number"):
        pipe.fuse_lora(lora_scale=float("nan"))
    with pytest.raises(ValueError, match="fused are"):
        pipe.unfuse_lora(["denoiser"])
    pipe.fuse_lora()
    for change in (
        lambda: pipe.load_lora_weights(tmp_path, adapter_name="b"),
        lambda: pipe.set_adapters("a", 0.5),
        lambda: pipe.delete_adapters("a"),
        lambda: pipe.fuse_lora(),
        lambda: pipe.disable_lora(),
    ):
        with pytest.raises(ValueError, match="unfuse_lora"):
            change()


def test_a_fusion_that_fails_changes_nothing(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path, ("denoiser", "phoneme_encoder"))
    pipe.load_lora_weights(tmp_path)
    with torch.no_grad():
        # The last component, so that others are merged before it.
        pipe.phoneme_encoder.get_submodule(LAYERS["phoneme_encoder"][0]).lora_A["default_0"].weight.fill_(float("inf"))
    before = state_of(pipe)
    with pytest.raises(ValueError, match="NaN"):
        pipe.fuse_lora(safe_fusing=True)
    assert_unchanged(pipe, before)
    assert pipe.num_fused_loras == 0


def test_bad_names_and_weights(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="a")
    for name in ("", "a.b", 3):
        with pytest.raises(ValueError, match="a name without dots"):
            pipe.load_lora_weights(tmp_path, adapter_name=name)
    with pytest.raises(ValueError, match="there is an adapter 'a' already"):
        pipe.load_lora_weights(tmp_path, adapter_name="a")
    pipe.load_lora_weights(tmp_path)
    pipe.set_adapters("a", 0.5)
    said = speak(pipe)
    for names, weights, message in (
        ("c", 1.0, "no adapter 'c': loaded are"),
        (["a", "a"], 1.0, "one twice"),
        (["a", "default_0"], [1.0], "give one for each"),
        ("a", float("nan"), "finite number"),
        ("a", "strong", "finite number"),
        ("a", {"denoiser": {"blocks": 1.0}}, "finite number"),
        ("a", {"codec": 1.0}, "'codec', and 'a' has adapters of denoiser"),
        ("a", {"phoneme_encoder": 1.0}, "'phoneme_encoder', and 'a' has"),
    ):
        with pytest.raises(ValueError, match=message):
            pipe.set_adapters(names, weights)
        assert torch.equal(speak(pipe), said)
    with pytest.raises(ValueError, match="no adapter 'c'"):
        pipe.delete_adapters(["a", "c"])
    assert pipe.get_list_adapters() == {"denoiser": ["a", "default_0"]}


def drop(name):
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def put(name, value):
    return lambda tensors: {**tensors, name: value}


TO_Q = "denoiser.blocks.0.attention.to_q.lora_"
DAMAGE = {
    "lacks a tensor": (drop(f"{TO_Q}B.weight"), "lacks denoiser.blocks.0.attention.to_q.lora_B.weight"),
    "lacks the other": (drop(f"{TO_Q}A.weight"), "lacks denoiser.blocks.0.attention.to_q.lora_A.weight"),
    "no tensors": (lambda tensors: {}, "holds no LoRA weights.*got none"),
    "nothing fits": (lambda tensors: {"unet.weight": torch.ones(2)}, "holds no LoRA weights.*got unet.weight"),
    "an unexpected one": (
        put("denoiser.proj_out.alpha", torch.tensor(1.0)),
        "not LoRA weights: denoiser.proj_out.alpha",
    ),
    "DoRA": (put("denoiser.proj_out.lora_magnitude_vector", torch.ones(16)), "no DoRA"),
    "a component it has not": (put("vocoder.proj.lora_A.weight", torch.ones(2, 2)), "LoRA weights of vocoder"),
    "the codec": (put("codec.head.out.lora_A.weight", torch.ones(2, 2)), "LoRA weights of codec"),
    "a layer it has not": (
        lambda tensors: {key.replace("blocks.0", "blocks.9"): value for key, value in tensors.items()},
        "no such layer",
    ),
    "a norm": (
        lambda tensors: {key.replace("blocks.0.attention.to_q", "norm_out"): value for key, value in tensors.items()},
        "a RMSNorm there, which takes none",
    ),
    "a depthwise convolution": (
        lambda tensors: {
            key.replace("blocks.0.attention.to_q", "blocks.0.conv"): value for key, value in tensors.items()
        },
        "a Conv1d there",
    ),
    "another width": (put(f"{TO_Q}A.weight", torch.ones(2, 33)), r"shapes \(2, 33\) and \(32, 2\); wanted \(2, 32\)"),
    "another rank": (put(f"{TO_Q}B.weight", torch.ones(32, 3)), r"and \(32, 3\); wanted \(2, 32\) and \(32, 2\)"),
    "rank 0": (lambda tensors: {f"{TO_Q}A.weight": torch.ones(0, 32), f"{TO_Q}B.weight": torch.ones(32, 0)}, "shapes"),
    "no dimension": (put(f"{TO_Q}A.weight", torch.tensor(1.0)), "shapes"),
    "NaN": (put(f"{TO_Q}A.weight", torch.full((2, 32), float("nan"))), "finite floats"),
    "whole numbers": (put(f"{TO_Q}A.weight", torch.ones(2, 32, dtype=torch.int64)), "finite floats"),
}


@pytest.mark.parametrize("loaded", [False, True], ids=["alone", "beside another"])
@pytest.mark.parametrize("kind", DAMAGE)
def test_a_file_that_does_not_fit_is_refused_whole(make, tmp_path, kind, loaded):
    pipe = make()
    save(pipe, tmp_path, tuple(LAYERS), student_steps=[2])
    if loaded:
        save(pipe, tmp_path / "before", tuple(LAYERS), seed=1)
        pipe.load_lora_weights(tmp_path / "before")
    damage, message = DAMAGE[kind]
    save_file(damage(load_file(tmp_path / FILE)), tmp_path / FILE, {"student_steps": "[2]"})
    before, said = state_of(pipe), speak(pipe)
    with pytest.raises(ValueError, match=message):
        pipe.load_lora_weights(tmp_path)
    assert_unchanged(pipe, before)
    assert torch.equal(speak(pipe), said)


@pytest.mark.parametrize(
    "header, message",
    [
        ({"student_steps": "[2"}, "cannot be read"),
        ({"student_steps": '"two"'}, "wanted a list of numbers of steps"),
        ({"student_steps": "[0]"}, "wanted a list of numbers of steps"),
        ({"lora_alpha": "much"}, "cannot be read"),
        ({"lora_alpha": "nan"}, "wanted a finite number"),
        ({"lora_adapter_metadata": "[1, 2]"}, "cannot be read"),
        ({"lora_adapter_metadata": '{"denoiser.lora_alpha": "much"}'}, "wanted a finite number"),
        ({"lora_adapter_metadata": '{"denoiser.use_dora": true}'}, "use_dora.*not supported"),
    ],
)
def test_bad_metadata_is_refused_whole(make, tmp_path, header, message):
    pipe = make()
    save(pipe, tmp_path)
    save_file(load_file(tmp_path / FILE), tmp_path / FILE, header)
    before = state_of(pipe)
    with pytest.raises(ValueError, match=message):
        pipe.load_lora_weights(tmp_path)
    assert_unchanged(pipe, before)


CHANGES = {
    "load_lora_weights": lambda pipe, folder: pipe.load_lora_weights(folder, adapter_name="another"),
    "unload_lora_weights": lambda pipe, folder: pipe.unload_lora_weights(),
    "delete_adapters": lambda pipe, folder: pipe.delete_adapters("one"),
    "set_adapters": lambda pipe, folder: pipe.set_adapters("one", 0.5),
    "disable_lora": lambda pipe, folder: pipe.disable_lora(),
    "enable_lora": lambda pipe, folder: pipe.enable_lora(),
    "fuse_lora": lambda pipe, folder: pipe.fuse_lora(),
    "unfuse_lora": lambda pipe, folder: pipe.unfuse_lora(),
}


def test_nothing_changes_while_it_speaks(make, tmp_path):
    """During a call, in another thread or in a callback, each change is refused and the speech does not change."""
    pipe = make()
    save(pipe, tmp_path)
    pipe.load_lora_weights(tmp_path, adapter_name="one")
    wanted, before, refused = speak(pipe), state_of(pipe), []

    def change(running, step, timestep, tensors):
        for name, method in CHANGES.items():
            for run in (method, lambda *given, method=method: pool.submit(method, *given).result(60)):
                with pytest.raises(RuntimeError, match=f"{name} changes the pipeline, which is speaking"):
                    run(running, tmp_path)
                refused.append(name)

    with ThreadPoolExecutor(1) as pool:
        assert torch.equal(speak(pipe, callback_on_step_end=change), wanted)
    assert len(refused) == 2 * 2 * len(CHANGES)
    after = state_of(pipe)
    assert all(torch.equal(value, after[0][name]) for name, value in before[0].items())
    assert before[1:] == after[1:] and torch.equal(speak(pipe), wanted)


def test_a_stream_goes_no_further_with_other_adapters(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path)
    recording = (16000, np.sin(np.arange(16000) / 20))
    text = "The line is busy. Please hold while we try again!"
    stream = pipe.stream(text, recording, num_inference_steps=1)
    next(stream)
    pipe.load_lora_weights(tmp_path)
    with pytest.raises(RuntimeError, match="begin the stream anew"):
        next(stream)
    assert len(list(pipe.stream(text, recording, num_inference_steps=1))) == 2


@pytest.mark.parametrize("loaded", [False, True], ids=["alone", "beside another"])
def test_a_failure_half_way_leaves_nothing(make, tmp_path, monkeypatch, loaded):
    pipe = make()
    save(pipe, tmp_path, ("denoiser", "variance_adaptor"), student_steps=[2])
    if loaded:
        save(pipe, tmp_path / "before", ("denoiser", "phoneme_encoder"), seed=1)
        pipe.load_lora_weights(tmp_path / "before", adapter_name="before")
        pipe.set_adapters("before", 0.5)
    before, said = state_of(pipe), speak(pipe)

    def fail(model, *args, **options):
        original(model, *args, **options)
        raise MemoryError("no more")

    import ns2_diffusers.models.lora as home

    # This is the last call for the last component, whose layers exist by then.
    original, calls = home.dilate_adapters, []
    monkeypatch.setattr(
        home, "dilate_adapters", lambda model: calls.append(model) or (len(calls) == 2 and fail(model))
    )
    with pytest.raises(MemoryError):
        pipe.load_lora_weights(tmp_path, adapter_name="new")
    assert len(calls) == 2
    assert_unchanged(pipe, before)
    assert torch.equal(speak(pipe), said)
    assert pipe.get_active_adapters() == (["before"] if loaded else [])
    monkeypatch.setattr(home, "dilate_adapters", original)
    pipe.load_lora_weights(tmp_path, adapter_name="new")


# Students


def test_a_student_brings_its_scheduler_and_takes_it_away(make, tmp_path):
    pipe = make()
    pipe.scheduler = own = NaturalSpeech2DDIMScheduler(temperature=3.0)
    save(pipe, tmp_path / "student", student_steps=[4, 2])
    save(pipe, tmp_path / "voice", seed=1)

    def is_student():
        if pipe.scheduler is own:
            return False
        assert isinstance(pipe.scheduler, NaturalSpeech2DistilledScheduler)
        assert pipe.scheduler.config.student_steps == [4, 2] and pipe.scheduler.config.temperature == 3.0
        with pytest.raises(ValueError, match="distilled for"):
            speak(pipe, num_inference_steps=3)
        return True

    pipe.load_lora_weights(tmp_path / "student", adapter_name="student")
    assert is_student()
    pipe.unload_lora_weights()
    assert not is_student()
    pipe.load_lora_weights(tmp_path / "voice", adapter_name="voice")
    pipe.load_lora_weights(tmp_path / "student", adapter_name="student")
    assert not is_student()
    for names, expected in (("student", True), ("voice", False), (["voice", "student"], True)):
        pipe.set_adapters(names)
        assert is_student() == expected
    pipe.set_adapters(["voice", "student"], [0.5, 1])
    for away, back in (
        (pipe.disable_lora, pipe.enable_lora),
        (lambda: pipe.set_adapters("voice"), lambda: pipe.set_adapters("student")),
        (lambda: pipe.fuse_lora(adapter_names="voice"), pipe.unfuse_lora),
    ):
        away()
        assert not is_student()
        back()
        assert is_student()
    pipe.fuse_lora()
    assert is_student()
    pipe.unfuse_lora()
    pipe.delete_adapters("student")
    assert not is_student()
    pipe.load_lora_weights(tmp_path / "student", adapter_name="student")
    pipe.fuse_lora(adapter_names=["student"])
    pipe.unload_lora_weights()
    # The weights contain the student now.
    assert is_student()
    pipe.save_pretrained(tmp_path / "saved")
    pipe = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "saved")
    assert is_student()


def test_there_is_no_part_of_a_student_and_no_two(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path, student_steps=[2])
    pipe.load_lora_weights(tmp_path, adapter_name="a")
    pipe.load_lora_weights(tmp_path, adapter_name="b")
    before, said = state_of(pipe), speak(pipe)
    for weight in (0.5, -1, 0, {"denoiser": 0.5}):
        with pytest.raises(ValueError, match=r"distilled for \[2\] steps, which there is no part of"):
            pipe.set_adapters("b", weight)
    with pytest.raises(ValueError, match="there is no part of"):
        pipe.fuse_lora(lora_scale=0.5)
    for method in (pipe.set_adapters, lambda names: pipe.fuse_lora(adapter_names=names)):
        with pytest.raises(ValueError, match="a and b each make a distilled student"):
            method(["a", "b"])
    assert_unchanged(pipe, before)
    assert torch.equal(speak(pipe), said)
    save(pipe, tmp_path / "c", ("phoneme_encoder",), student_steps=[2])
    with pytest.raises(ValueError, match="no adapters of the denoiser, whose steps"):
        pipe.load_lora_weights(tmp_path / "c")


def test_files_of_the_first_releases(make, tmp_path):
    """One alpha for all in the header, and half precision, as in the bundled file."""
    pipe = make()
    updates = save(pipe, tmp_path, ("denoiser", "phoneme_encoder"), alpha=3.0)
    tensors = {name: tensor.half() for name, tensor in load_file(tmp_path / FILE).items()}
    save_file(tensors, tmp_path / FILE, {"format": "pt", "lora_alpha": "3.0", "student_steps": "[2, 1]"})
    pipe.load_lora_weights(tmp_path / FILE)
    assert pipe.scheduler.config.student_steps == [2, 1]
    assert {parameter.dtype for parameter in pipe.denoiser.parameters()} == {torch.float32}
    torch.testing.assert_close(speak(pipe), with_updates(make(), (1, updates)), atol=5e-3, rtol=1e-2)


@pytest.mark.skipif(not (FOLDER / "model_index.json").exists(), reason="no weights in this checkout")
def test_the_bundled_student(tmp_path):
    pipe = NaturalSpeech2Pipeline.from_pretrained(FOLDER)
    own, before = pipe.scheduler, state_of(pipe)
    pipe.load_lora_weights(FOLDER / "few_steps")
    assert pipe.scheduler.config.student_steps == [4, 2, 1]
    said = speak(pipe, num_inference_steps=1)
    tensors = load_file(FOLDER / "few_steps" / FILE)
    layer = "blocks.3.feed_forward.net.0.proj"
    update = tensors[f"denoiser.{layer}.lora_B.weight"].float() @ tensors[f"denoiser.{layer}.lora_A.weight"].float()
    pipe.fuse_lora()
    fused = pipe.denoiser.state_dict()[f"{layer}.base_layer.weight"]
    torch.testing.assert_close(fused, before[0][f"denoiser.{layer}.weight"] + update, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(speak(pipe, num_inference_steps=1), said, atol=1e-4, rtol=1e-4)
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    assert pipe.scheduler is own
    assert_unchanged(pipe, before)


# Other parts of the package


def test_compact_weights_have_adapters_too(make, tmp_path):
    pipe = make()
    updates = save(pipe, tmp_path / "lora")
    pipe.save_pretrained(tmp_path / "pipe")
    file = tmp_path / "pipe" / "denoiser" / "diffusion_pytorch_model.safetensors"
    save_file(compact_weights(load_file(file), 8), file)
    pipe = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "pipe")
    pipe.load_lora_weights(tmp_path / "lora")
    wanted = with_updates(NaturalSpeech2Pipeline.from_pretrained(tmp_path / "pipe"), (1, updates))
    torch.testing.assert_close(speak(pipe), wanted, atol=2e-5, rtol=1e-4)


def test_in_half_precision(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path)
    pipe.denoiser.to(torch.bfloat16)
    pipe.load_lora_weights(tmp_path)
    assert {parameter.dtype for parameter in pipe.denoiser.parameters()} == {torch.bfloat16}


def test_a_pipeline_with_adapters_is_not_saved_by_halves(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path / "lora", ("variance_adaptor",))
    pipe.load_lora_weights(tmp_path / "lora")
    with pytest.raises(ValueError, match="variance_adaptor has the LoRA adapters default_0.*unload_lora_weights"):
        pipe.save_pretrained(tmp_path / "pipe")
    assert not (tmp_path / "pipe").exists()


def test_adapters_trained_with_peft_are_saved_and_loaded(make, tmp_path):
    """The way of diffusers: `add_adapter`, then `save_lora_weights` with the state and config of peft."""
    pipe = make()
    config = peft.LoraConfig(
        r=4,
        lora_alpha=3,
        use_rslora=True,
        rank_pattern={"blocks.1.attention.to_q": 2},
        alpha_pattern={"blocks.0.attention.to_q": 5},
        target_modules=["to_q", "modulation"],
        init_lora_weights=False,
    )
    pipe.denoiser.add_adapter(config)
    wanted, denoiser = speak(pipe), pipe.denoiser
    NaturalSpeech2Pipeline.save_lora_weights(
        tmp_path,
        denoiser_lora_layers=peft.get_peft_model_state_dict(denoiser, adapter_name="default"),
        denoiser_lora_adapter_metadata=denoiser.peft_config["default"].to_dict(),
    )
    with pytest.raises(ValueError, match="no adapters to save"):
        NaturalSpeech2Pipeline.save_lora_weights(tmp_path)
    pipe = make()
    pipe.load_lora_weights(tmp_path)
    assert torch.equal(speak(pipe), wanted)
    scales = {name: layer.scaling for name, layer in denoiser.named_modules() if hasattr(layer, "scaling")}
    found = {name: layer.scaling for name, layer in pipe.denoiser.named_modules() if hasattr(layer, "scaling")}
    assert {name: list(each.values()) for name, each in found.items()} == {
        name: list(each.values()) for name, each in scales.items()
    }


def test_learning_goes_on_after_adapters(make, tmp_path):
    pipe = make()
    save(pipe, tmp_path)
    pipe.denoiser.null_condition.requires_grad_(False)
    pipe.load_lora_weights(tmp_path)
    pipe.unload_lora_weights()
    frozen = [name for name, parameter in pipe.denoiser.named_parameters() if not parameter.requires_grad]
    assert frozen == ["null_condition"]


WITHOUT_PEFT = """
import sys
sys.modules["peft"] = None
from ns2_diffusers import NaturalSpeech2Pipeline
pipe = NaturalSpeech2Pipeline.from_pretrained(sys.argv[1])
for method in (lambda: pipe.load_lora_weights(sys.argv[1]), lambda: pipe.set_adapters("a"), pipe.fuse_lora):
    try:
        method()
    except ImportError as error:
        print(error)
pipe.save_pretrained(sys.argv[2])
"""


def test_without_peft_all_but_adapters_works(tiny_pipeline_dir, tmp_path):
    command = [sys.executable, "-c", WITHOUT_PEFT, tiny_pipeline_dir, tmp_path / "again"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == 'LoRA needs peft: pip install "ns2-diffusers[lora]".\n' * 3
    assert (tmp_path / "again" / "model_index.json").exists()
