"""Amphion's checkpoint gives the same tensors here; damaged checkpoints are errors."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from ns2_diffusers import (
    EncodecCodec,
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2EulerScheduler,
    NaturalSpeech2Pipeline,
    Voice,
)
from ns2_diffusers.conversion.amphion import MODELS, from_amphion, read_settings
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.objective import ObjectiveConfig, TrainingObjective

# The sizes of the published model according to egs/tts/NaturalSpeech2/exp_config_base.json of Amphion.
PUBLISHED = {
    "model": {
        "latent_dim": 128,
        "prior_encoder": {
            "vocab_size": 100,
            "pitch_min": 50,
            "pitch_max": 1100,
            "pitch_bins_num": 512,
            "encoder": {
                "encoder_layer": 6,
                "encoder_hidden": 512,
                "encoder_head": 8,
                "conv_filter_size": 2048,
                "conv_kernel_size": 9,
                "encoder_dropout": 0.2,
                "use_cln": True,
            },
            **{
                f"{kind}_predictor": {
                    "input_size": 512,
                    "filter_size": 512,
                    "kernel_size": kernel_size,
                    "conv_layers": 30,
                    "cross_attn_per_layer": 3,
                    "attn_head": 8,
                    "drop_out": 0.5,
                }
                for kind, kernel_size in (("duration", 3), ("pitch", 5))
            },
        },
        "diffusion": {
            "wavenet": {
                "input_size": 128,
                "hidden_size": 512,
                "out_size": 128,
                "num_layers": 40,
                "cross_attn_per_layer": 3,
                "dilation_cycle": 2,
                "attn_head": 8,
                "drop_out": 0.2,
            },
            "beta_min": 0.05,
            "beta_max": 20,
            "sigma": 1.0,
            "noise_factor": 1.0,
            "ode_solver": "euler",
        },
        "prompt_encoder": {
            "encoder_layer": 6,
            "encoder_hidden": 512,
            "encoder_head": 8,
            "conv_filter_size": 2048,
            "conv_kernel_size": 9,
            "encoder_dropout": 0.2,
            "use_cln": False,
        },
        "query_emb": {"query_token_num": 32, "hidden_size": 512, "head_num": 8},
    }
}


@pytest.fixture
def converted(amphion, codec):
    pipe = from_amphion(amphion, amphion / "config.json", codec)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(params=["converted", "loaded"])
def pipe(request, converted, tmp_path):
    """The pipeline as converted, and after saving and loading."""
    if request.param == "converted":
        return converted
    converted.save_pretrained(tmp_path / "pipeline")
    loaded = NaturalSpeech2Pipeline.from_pretrained(tmp_path / "pipeline")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def assert_close(got, expected):
    """Compare with a tolerance of 1e-4 of the largest value."""
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def pad(items):
    """Join items (…, length) to a batch and its mask."""
    batch = pad_sequence([item.movedim(-1, 0) for item in items], batch_first=True).movedim(1, -1)
    lengths = torch.tensor([item.shape[-1] for item in items])
    return batch, torch.arange(batch.shape[-1]) < lengths[:, None]


@torch.no_grad()
def run(pipe, phonemes, prompts, noisy, noise, time, steps=10):
    """Every tensor of the reference for a batch of unpadded items; `noisy` and `noise` are (C, most frames)."""
    ids, mask = pad(phonemes)
    prompt_latents, prompt_mask = pad(prompts)
    prompt = pipe.prompt_encoder(prompt_latents, prompt_mask).last_hidden_state
    states = pipe.phoneme_encoder(ids, mask, prompt, prompt_mask).last_hidden_state
    adapted = pipe.variance_adaptor(states, mask, prompt, prompt_mask)
    condition, frames = adapted.condition, adapted.condition_mask
    noisy, noise = (
        tensor[:, : frames.shape[1]].expand(len(ids), -1, -1) * frames[:, None] for tensor in (noisy, noise)
    )
    given = (condition, prompt, frames, prompt_mask)
    latents = noise
    pipe.scheduler.set_timesteps(steps)
    for timestep in pipe.scheduler.timesteps:
        latents = pipe.scheduler.step(pipe.denoiser(latents, timestep, *given).sample, timestep, latents).prev_sample
    latents = latents * frames[:, None]
    return {
        "prompt_hidden_states": prompt.transpose(1, 2),
        "prompt_query_states": pipe.denoiser.prompt_queries(prompt, prompt_mask).transpose(1, 2),
        "log_durations": adapted.log_durations,
        "durations": adapted.durations,
        "log_pitch": adapted.log_pitch,
        "condition": condition.transpose(1, 2),
        "denoised": pipe.denoiser(noisy, 1000 * time - 1, *given).sample,
        "sampled_latents": latents,
        "sampled_codes": pipe.codec.quantize(latents)[1],
    }


def as_time_last(golden):
    """The reference tensors, named as by `run`."""
    expected = dict(golden)
    for name in ("prompt_hidden_states", "prompt_query_states", "condition"):
        expected[name] = golden[name].transpose(1, 2)
    expected["sampled_codes"] = golden["sampled_codes"].transpose(0, 1)
    return expected


def check(results, expected, item=0):
    """Compare an item of a batch with the reference, up to the reference's length."""
    for name, tensor in results.items():
        wanted = expected[name][0]
        got = tensor[item, ..., : wanted.shape[-1]]
        if wanted.is_floating_point():
            assert_close(got, wanted)
        else:
            assert torch.equal(got, wanted), name


def test_every_tensor_is_the_references(pipe, golden):
    results = run(
        pipe,
        [golden["phoneme_ids"][0]],
        [golden["prompt_latents"][0]],
        golden["noisy_latents"][0],
        golden["initial_noise"][0],
        golden["time"],
    )
    assert_close(pipe.codec.codes_to_latents(golden["prompt_codes"]), golden["prompt_latents"])
    check(results, as_time_last(golden))


def test_and_in_a_batch_of_three_lengths(pipe, golden):
    """The reference between a shorter and a longer item; each item is the same as alone."""
    noisy, noise = torch.randn(2, 16, 400)
    noisy[:, :32], noise[:, :32] = golden["noisy_latents"][0], golden["initial_noise"][0]
    phonemes = [torch.randint(0, 84, (5,)), golden["phoneme_ids"][0], torch.randint(0, 84, (19,))]
    prompts = [torch.randn(16, 9), golden["prompt_latents"][0], torch.randn(16, 40)]
    together = run(pipe, phonemes, prompts, noisy, noise, golden["time"])
    check(together, as_time_last(golden), item=1)
    lengths = together["durations"].sum(1)
    assert lengths[0] < lengths[1] < lengths[2] < 400
    for item in (0, 2):
        alone = run(pipe, [phonemes[item]], [prompts[item]], noisy, noise, golden["time"])
        check(together, alone, item)


@torch.no_grad()
def test_given_durations_and_pitch(pipe, golden):
    prompt = pipe.prompt_encoder(golden["prompt_latents"]).last_hidden_state
    states = pipe.phoneme_encoder(golden["phoneme_ids"], None, prompt).last_hidden_state
    adapted = pipe.variance_adaptor(
        states, None, prompt, durations=golden["train_durations"], pitch=golden["train_pitch"]
    )
    assert_close(adapted.condition, golden["train_condition"])
    assert_close(adapted.log_pitch, golden["train_log_pitch"])


def test_the_pipeline_speaks_the_reference(pipe, golden):
    """The call of the pipeline: from phonemes and a voice to the latents of the reference."""
    phonemes = pipe.tokenizer.decode(golden["phoneme_ids"][0])
    voice = Voice(golden["prompt_latents"][0], pipe.codec.fingerprint)
    output = pipe(
        phonemes=phonemes,
        voice=voice,
        latents=1.2 * golden["initial_noise"],
        num_inference_steps=10,
        output_type="latent",
    )
    assert_close(output.audios[0], golden["sampled_latents"][0])
    assert output.durations[0].tolist() == golden["durations"][0].tolist()
    spoken = pipe("Hello there, you two. How are you?", voice=voice, num_inference_steps=2)
    assert len(spoken.audios[0]) >= 40 * sum(spoken.durations[0])
    assert spoken.sampling_rate == 24000


def test_it_is_a_pipeline_like_any_other(converted, golden):
    """Other samplers, half precision, a batch and a stream, which the original does not have."""
    voice = Voice(golden["prompt_latents"][0], converted.codec.fingerprint)
    texts = ["One.", "And two, perhaps."]
    generator = torch.Generator().manual_seed(0)
    both = converted(texts, voice=voice, num_inference_steps=2, generator=generator)
    assert len(both.audios) == 2 and all(len(audio) for audio in both.audios)
    story = "It rained all day long. Nobody came to see her. In the evening there was a letter."
    assert len(list(converted.stream(story, voice=voice, num_inference_steps=2))) == 3
    converted.scheduler = NaturalSpeech2DDIMScheduler.from_config(converted.scheduler.config)
    assert len(converted("One.", voice=voice, num_inference_steps=2).audios[0])
    for dtype in (torch.bfloat16, torch.float16):
        converted.to(dtype=dtype)
        voice = Voice(golden["prompt_latents"][0], converted.codec.fingerprint)
        assert len(converted("One.", voice=voice, num_inference_steps=2).audios[0])


def test_no_weight_is_left_to_chance_and_all_can_be_trained(amphion, codec):
    """The nulls, which the checkpoint lacks, are zeros."""
    one, other = (from_amphion(amphion, amphion / "config.json", codec) for _ in range(2))
    for name in ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "denoiser"):
        ours, again = getattr(one, name), getattr(other, name)
        assert not ours.training and ours.dtype == torch.float32
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in ours.state_dict().items())
        assert all(parameter.requires_grad and not parameter.is_meta for parameter in ours.parameters())
    assert not one.denoiser.null_condition.any() and not one.denoiser.null_prompt.any()


def test_from_the_hub(amphion, config, codec, converted, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ns2_diffusers.conversion.weights.hf_hub_download",
        lambda *args, revision: asked.append((*args, revision)) or str(amphion / "pytorch_model.bin"),
    )
    pipe = from_amphion(config=config, codec=codec, revision="ab12")
    assert asked == [("amphion/naturalspeech2_libritts", "pytorch_model.bin", "ab12")]
    assert torch.equal(pipe.phoneme_encoder.embedding.weight, converted.phoneme_encoder.embedding.weight)


def test_training_goes_on_from_it(converted, golden):
    """Every weight gets a gradient, also the nulls, as text and prompt are dropped at random."""
    models = {name: getattr(converted, name) for name in MODELS}
    objective = TrainingObjective(
        **models,
        scheduler=converted.scheduler,
        codebooks=standardized_codebooks(converted.codec),
        config=ObjectiveConfig(condition_dropout=0.5, prompt_dropout=0.0),
    )
    batch = {
        "input_ids": golden["phoneme_ids"],
        "attention_mask": torch.ones(1, 11, dtype=torch.bool),
        "durations": golden["train_durations"],
        "codes": golden["train_codes"],
        "frame_mask": torch.ones(1, 32, dtype=torch.bool),
        "loss_mask": torch.ones(1, 32, dtype=torch.bool),
        "f0": golden["train_pitch"],
        "sung": torch.zeros(1, dtype=torch.bool),
        "pitch": golden["train_pitch"],
        "prompt_codes": golden["prompt_codes"],
        "prompt_mask": torch.ones(1, 23, dtype=torch.bool),
    }
    batch = {name: torch.cat([value] * 8) for name, value in batch.items()}
    losses = objective(batch)
    losses["loss"].backward()
    assert all(loss.isfinite() for loss in losses.values())
    for name, model in models.items():
        idle = [key for key, parameter in model.named_parameters() if not parameter.grad.any()]
        # A bias of the keys is added to all of them, which does not change attention.
        assert [key for key in idle if not key.endswith("to_k.bias")] == [], name


def test_without_a_config_the_sizes_are_the_published_ones():
    classes = {**MODELS, "scheduler": NaturalSpeech2EulerScheduler}
    for name, given in read_settings(PUBLISHED).items():
        with torch.device("meta"):
            ours, theirs = (classes[name](**each).config for each in (read_settings(None)[name], given))
        assert {key: ours[key] for key in given} == given
        assert {key: theirs[key] for key in given} == given


# -- what can be wrong ---------------------------------------------------------------------------------------


def drop(name):
    return lambda weights, config: weights.pop(name)


def put(name, tensor):
    return lambda weights, config: weights.update({name: tensor})


def change(path, value):
    def apply(weights, config):
        *sections, name = path.split(".")
        section = config
        for each in sections:
            section = section[each]
        section[name] = value

    return apply


WRONG = {
    "a tensor too many": (put("diffusion.ema.decay", torch.ones(1)), "no place for diffusion.ema.decay"),
    "a layer too many": (
        put("prompt_encoder.layers.2.ln_1.weight", torch.ones(32)),
        "no place for prompt_encoder.layers.2.ln_1.weight",
    ),
    "a tensor missing": (
        drop("diffusion.diff_estimator.layers.3.attn.in_proj_bias"),
        "nothing for denoiser.layers.3.attention.to_q.bias",
    ),
    "a buffer missing": (drop("prior_encoder.pitch_bins"), "has no prior_encoder.pitch_bins"),
    "a codebook's part missing": (
        drop("quantizer.vq.layers.2._codebook.inited"),
        r"has no quantizer.vq.layers.2._codebook.inited",
    ),
    "no projection": (drop("prompt_lin.bias"), "has no prompt_lin.bias"),
    "another size": (
        put("prompt_lin.weight", torch.ones(32, 15)),
        r"prompt_lin.weight makes .*proj_in.weight \(32, 15\) where the config asks for \(32, 16\)",
    ),
    "untied embeddings": (
        put("prior_encoder.encoder.enc_emb_tokens.weight", torch.ones(100, 32)),
        "should be one and the same",
    ),
    "positions of another width": (
        put("prompt_encoder.position_emb.pe", torch.ones(10, 1, 31)),
        "prompt_encoder.position_emb.pe is 31 wide and prompt_lin.bias 32",
    ),
    "more layers in the config": (
        change("model.diffusion.wavenet.num_layers", 8),
        "nothing for denoiser.layers.7.dilated_conv.weight",
    ),
    "fewer layers in the config": (
        change("model.prior_encoder.encoder.encoder_layer", 1),
        "no place for prior_encoder.encoder.layers.1.ln_1.style.weight",
    ),
    "another width in the config": (
        change("model.prompt_encoder.conv_filter_size", 48),
        r"prompt_encoder.layers.0.ffn.ffn_1.weight makes .* \(64, 32, 9\) .* asks for \(48, 32, 9\)",
    ),
    "other pitch bins": (change("model.prior_encoder.pitch_min", 60), "511 from 60.0 to 1100.0"),
    "fewer pitch bins": (change("model.prior_encoder.pitch_bins_num", 256), "make 255"),
    "sizes that must agree": (
        change("model.prior_encoder.pitch_predictor.conv_layers", 3),
        r"duration_predictor.conv_layers 6, .*pitch_predictor.conv_layers 3, which must be the same",
    ),
    "flow matching": (
        change("model.diffusion.diffusion_type", "flow"),
        "'flow' in the config; only 'diffusion'",
    ),
    "plain norms": (change("model.prior_encoder.encoder.use_cln", False), "only True can be converted"),
    "another solver": (
        change("model.diffusion.ode_solver", "rk4"),
        "'rk4'; it must be one of euler, midpoint",
    ),
    "half a config": (change("model.query_emb", {}), "no model.query_emb.hidden_size"),
    "no model section": (
        lambda weights, config: config.pop("model"),
        "has codec, sampling_steps and no model",
    ),
}


@pytest.mark.parametrize("spoil, message", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(weights, config, codec, spoil, message):
    spoil(weights, config)
    with pytest.raises(ValueError, match=message):
        from_amphion(weights, config, codec)


def test_a_config_that_is_no_json(weights, codec, tmp_path):
    path = tmp_path / "exp_config.json"
    path.write_text('{"model": {} // a comment\n}')
    with pytest.raises(ValueError, match="exp_config.json.*not plain JSON"):
        from_amphion(weights, path, codec)


def test_problems_are_counted_and_the_first_ones_named(weights, config, codec):
    config["model"]["prompt_encoder"]["encoder_layer"] = 0
    with pytest.raises(ValueError, match="fit its config, 24 times.*and 14 more"):
        from_amphion(weights, config, codec)


def test_a_codec_with_other_codebooks_is_refused(weights, config, codec, amphion):
    codec.codebooks[3, 5, 2] += 0.1
    with pytest.raises(
        ValueError, match=r"the given state dict\) has 4 codebooks of \(32, 16\).*given EncodecCodec\) 4"
    ):
        from_amphion(weights, config, codec)
    with pytest.raises(ValueError, match="amphion.*given EncodecCodec"):
        from_amphion(amphion, config, codec)
    sizes = {"sampling_rate": 24000, "codebook_size": 32, "ratios": [8, 5], "num_filters": 2}
    with pytest.raises(ValueError, match=r"5 of \(32, 16\) that are others"):
        from_amphion(weights, config, EncodecCodec(latent_channels=16, num_codebooks=5, **sizes))
    for name in [name for name in weights if name.startswith("quantizer.")]:
        del weights[name]
    with pytest.raises(ValueError, match="has 0 codebooks, and"):
        from_amphion(weights, config, codec)


def test_of_a_larger_quantiser_the_first_codebooks_count(weights, config, codec, tmp_path):
    """The published checkpoint has all 32 codebooks and was trained with the 16 of 12 kbps."""
    for statistic in ("inited", "cluster_size", "embed", "embed_avg"):
        name = f"quantizer.vq.layers.%d._codebook.{statistic}"
        weights[name % 4] = weights[name % 3].clone()
    assert from_amphion(weights, config, codec).codec is codec


def test_the_codec_from_a_file_is_cut_to_12_kbps(weights, config, monkeypatch):
    asked = []

    def from_encodec(source, bandwidth):
        asked.append((source, bandwidth))
        raise ValueError("enough")

    monkeypatch.setattr("ns2_diffusers.conversion.amphion.from_encodec", from_encodec)
    with pytest.raises(ValueError, match="enough"):
        from_amphion(weights, config, "encodec.th")
    with pytest.raises(ValueError, match="enough"):
        from_amphion(weights, config)
    assert asked == [("encodec.th", 12.0), ("encodec_24khz", 12.0)]


def test_the_schedule_is_the_papers(converted):
    """β(t) = 0.05 + 19.95 t."""
    alpha, _ = converted.scheduler.alpha_sigma(torch.tensor(499.0))
    assert float(alpha) == pytest.approx(math.exp(-(0.05 * 0.5 + 19.95 * 0.5**2 / 2) / 2), rel=1e-5)
