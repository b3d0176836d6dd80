import diffusers
import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler, PhonemeAligner
from ns2_diffusers.data.alignment_prior import beta_binomial_prior
from ns2_diffusers.training import objective as objective_module
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.objective import ObjectiveConfig, TrainingObjective, sample_times

MODELS = ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "denoiser")
NAMES = ("data", "score", "codebook", "duration", "pitch")
ALIGNER_NAMES = ("alignment", "binarization")


@pytest.fixture
def batch(tiny_codec):
    mask = torch.arange(31) < torch.tensor([[31], [21]])
    phonemes = torch.arange(12) < torch.tensor([[12], [9]])
    f0 = torch.rand(2, 31) * 200 + 100
    return {
        "input_ids": torch.randint(1, 200, (2, 12)),
        "attention_mask": phonemes,
        "durations": torch.tensor([[2, 3] * 5 + [2, 4], [3, 2] * 3 + [4, 1, 1] + [0] * 3]),
        "codes": torch.randint(0, tiny_codec.codebook_size, (2, tiny_codec.num_codebooks, 31)),
        "frame_mask": mask,
        "loss_mask": mask,
        "f0": f0 * (torch.rand(2, 31) > 0.3) * mask,
        "pitch": f0 * mask,
        "sung": torch.tensor([False, False]),
        "prompt_codes": torch.randint(0, tiny_codec.codebook_size, (2, tiny_codec.num_codebooks, 15)),
        "prompt_mask": torch.arange(15) < torch.tensor([[15], [10]]),
    }


@pytest.fixture
def batch_to_align(batch):
    """The same batch from a dataset without durations."""
    prior = torch.zeros(2, 31, 12)
    for item, (phonemes, frames) in enumerate([(12, 31), (9, 21)]):
        prior[item, :frames, :phonemes] = beta_binomial_prior(phonemes, frames)
    return {key: value for key, value in batch.items() if key != "durations"} | {"alignment_prior": prior}


@pytest.fixture
def make_objective(make_tiny_pipeline):
    def make(prediction_type="sample", aligner=False, denoiser="transformer", **config):
        pipe = make_tiny_pipeline(denoiser)
        scheduler = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type)
        models = {name: getattr(pipe, name).eval() for name in MODELS}
        if aligner:
            # At the paper's temperature the gradients of a tiny aligner would be lost in rounding.
            sizes = {"feature_channels": 16, "hidden_size": 16, "attention_channels": 8, "temperature": 1.0}
            sizes["dropout"] = 0.0
            models["aligner"] = PhonemeAligner(vocab_size=len(pipe.tokenizer), **sizes)
        return TrainingObjective(
            **models,
            scheduler=scheduler,
            codebooks=standardized_codebooks(pipe.codec),
            config=ObjectiveConfig(**{"condition_dropout": 0.0, "prompt_dropout": 0.0, **config}),
        )

    return make


@pytest.mark.parametrize("scheduler", [NaturalSpeech2EulerScheduler, diffusers.DPMSolverMultistepScheduler])
def test_a_pipelines_objective_is_made_of_its_own_models_codebooks_and_noise(tiny_pipeline, batch, scheduler):
    """The losses equal those computed by hand, whatever the sampler; training changes the pipeline itself."""
    settings = {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"}
    tiny_pipeline.scheduler = scheduler.from_config(NaturalSpeech2DDIMScheduler(**settings).config)
    config, aligner = ObjectiveConfig(condition_dropout=0.5), torch.nn.Identity()
    objective = TrainingObjective.from_pipeline(tiny_pipeline, config, aligner)
    assert objective.config is config and objective.aligner is aligner
    assert all(getattr(objective, name) is getattr(tiny_pipeline, name) for name in MODELS)
    by_hand = TrainingObjective(
        **{name: getattr(tiny_pipeline, name) for name in MODELS},
        scheduler=NaturalSpeech2DDIMScheduler(**settings),
        codebooks=standardized_codebooks(tiny_pipeline.codec),
        config=config,
    )
    losses = []
    for each in (objective, by_hand):
        torch.manual_seed(0)
        losses.append(each(batch))
    assert losses[0].keys() == losses[1].keys()
    for name, loss in losses[0].items():
        torch.testing.assert_close(loss, losses[1][name], msg=name)
    before = tiny_pipeline.denoiser.proj_out.weight.clone()
    losses[0]["loss"].backward()
    torch.optim.SGD(objective.parameters(), lr=1.0).step()
    assert not torch.equal(tiny_pipeline.denoiser.proj_out.weight, before)
    assert TrainingObjective.from_pipeline(tiny_pipeline).config == ObjectiveConfig()


def test_an_unconditional_pipeline_has_no_such_objective(make_tiny_pipeline):
    with pytest.raises(ValueError, match="no phoneme_encoder.*train_unconditional"):
        TrainingObjective.from_pipeline(make_tiny_pipeline(unconditional=True))


def only(name, weight=1.0):
    return {f"{each}_weight": weight if each == name else 0.0 for each in NAMES + ALIGNER_NAMES}


def gradients(objective, batch):
    """The sum of absolute gradients of every parameter, by name."""
    objective.zero_grad()
    torch.manual_seed(0)
    objective(batch)["loss"].backward()
    return {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().sum().item()
        for name, parameter in objective.named_parameters()
    }


ENCODERS = {"phoneme_encoder", "prompt_encoder"}
DENOISING = ENCODERS | {"variance_adaptor.pitch_embedding", "denoiser"}
REACHES = {
    "data": DENOISING,
    "score": DENOISING,
    "codebook": DENOISING,
    "duration": ENCODERS | {"variance_adaptor.duration_predictor"},
    "pitch": ENCODERS | {"variance_adaptor.pitch_predictor"},
    "alignment": {"aligner"},
    "binarization": {"aligner"},
}
# These replace a dropped condition or prompt, and no item of this batch drops them.
UNUSED = {"denoiser.null_condition", "denoiser.null_prompt"}


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
@pytest.mark.parametrize("name", REACHES)
def test_each_loss_reaches_every_parameter_that_it_should_and_no_other(make_objective, batch_to_align, name, denoiser):
    """Only this loss has a weight. All losses use the durations of the aligner, but only its own reach it."""
    objective = make_objective(aligner=True, denoiser=denoiser, **only(name))
    found = {parameter for parameter, size in gradients(objective, batch_to_align).items() if size > 0}
    wanted = {
        parameter
        for parameter, _ in objective.named_parameters()
        if parameter.startswith(tuple(REACHES[name])) and parameter not in UNUSED
    }
    assert found == wanted


def test_no_loss_no_gradient(make_objective, batch_to_align):
    assert not any(gradients(make_objective(aligner=True, **only(None)), batch_to_align).values())


def test_the_total_is_the_weighted_sum(make_objective, batch_to_align):
    names = NAMES + ALIGNER_NAMES
    weights = dict(zip(names, (1.0, 0.3, 0.1, 2.0, 0.5, 0.7, 0.2), strict=True))
    objective = make_objective(aligner=True, **{f"{name}_weight": weight for name, weight in weights.items()})
    found = objective(batch_to_align)
    assert set(found) == {*names, "loss"}
    assert found["loss"].item() == pytest.approx(sum(weights[name] * found[name].item() for name in names))


def test_binarization_comes_in_by_steps(make_objective, batch_to_align):
    objective = make_objective(aligner=True, binarization_warmup_steps=10, **only("binarization", 3.0))
    for step, share in [(0, 0.0), (4, 0.4), (10, 1.0), (99, 1.0), (None, 1.0)]:
        found = objective(batch_to_align, step)
        assert found["loss"].item() == pytest.approx(share * 3.0 * found["binarization"].item())


def test_the_aligners_durations_are_used(make_objective, batch_to_align):
    """The losses of a batch that the aligner aligns equal those of the batch with these durations given."""
    objective = make_objective(aligner=True)
    latents = objective.latents_of(batch_to_align["codes"])
    keys = ("input_ids", "frame_mask", "attention_mask", "alignment_prior")
    durations = objective.aligner.align(latents, *(batch_to_align[key] for key in keys))
    assert durations.sum(1).tolist() == [31, 21]
    torch.manual_seed(0)
    aligned = objective(batch_to_align)
    torch.manual_seed(0)
    given = objective(batch_to_align | {"durations": durations})
    for name in set(NAMES) - {"score"}:
        assert aligned[name].item() == pytest.approx(given[name].item(), rel=1e-6)
    assert not set(ALIGNER_NAMES) & set(given)


def test_without_durations_an_aligner_is_needed(make_objective, batch_to_align):
    with pytest.raises(ValueError, match="no durations"):
        make_objective()(batch_to_align)


def test_what_the_loss_mask_leaves_out_costs_nothing(make_objective, batch):
    """A prompt cut from the same utterance: the loss uses neither its codes nor its F0."""
    objective = make_objective(score_weight=1.0)
    # The denoiser still gets the masked frames as noise; only their targets must have no effect.
    objective.denoiser.forward = lambda noisy, *_, **__: type("Output", (), {"sample": torch.zeros_like(noisy)})
    left_out = torch.zeros(2, 31, dtype=torch.bool)
    left_out[0, 5:15] = True
    batch["loss_mask"] = batch["frame_mask"] & ~left_out
    other = dict(batch)
    other["codes"] = torch.where(left_out[:, None], (batch["codes"] + 1) % 32, batch["codes"])
    other["f0"] = torch.where(left_out, 77.0, batch["f0"])
    results = []
    for each in (batch, other, other | {"loss_mask": batch["frame_mask"]}):
        torch.manual_seed(0)
        results.append(objective(each))
    for name in NAMES:
        assert results[0][name].item() == results[1][name].item()
        assert name == "duration" or results[2][name].item() != results[1][name].item()


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_padding_changes_no_loss(make_objective, batch, kind, monkeypatch):
    """The losses of a batch are those of its items alone, cut to their lengths, averaged over frames."""
    objective = make_objective(kind, score_weight=1.0)
    # Both have the same noise level and noise, whatever the shape.
    monkeypatch.setattr(objective_module, "sample_times", lambda sampling, count, device: torch.full((count,), 0.4))
    monkeypatch.setattr(torch, "randn_like", lambda tensor: torch.full_like(tensor, 0.5))
    second = {key: value[1:] for key, value in batch.items()}
    cut = dict(second)
    for key in ("codes", "frame_mask", "loss_mask", "f0", "pitch"):
        cut[key] = cut[key][..., :21]
    for key in ("input_ids", "attention_mask", "durations"):
        cut[key] = cut[key][:, :9]
    for key in ("prompt_codes", "prompt_mask"):
        cut[key] = cut[key][..., :10]
    padded, alone = objective(batch | {}), objective(cut)
    first = objective({key: value[:1] for key, value in batch.items()})
    frames = torch.tensor([31.0, 21.0])
    voiced = (batch["f0"] > 0).sum(1)
    counts = {"duration": torch.tensor([12.0, 9.0]), "pitch": voiced}
    for name in NAMES:
        count = counts.get(name, frames)
        together = (first[name] * count[0] + alone[name] * count[1]) / count.sum()
        assert padded[name].item() == pytest.approx(together.item(), rel=1e-4)


def test_durations_and_pitch_are_learned_from_speech_alone(make_objective, batch, monkeypatch):
    """The denoiser learns from songs; the predictors do not."""
    objective = make_objective(score_weight=1.0)
    monkeypatch.setattr(objective_module, "sample_times", lambda sampling, count, device: torch.full((count,), 0.4))
    monkeypatch.setattr(torch, "randn_like", lambda tensor: torch.full_like(tensor, 0.5))
    spoken = objective(batch)
    mixed = objective(batch | {"sung": torch.tensor([False, True])})
    alone = objective({key: value[:1] for key, value in batch.items()})
    for name in ("duration", "pitch"):
        assert mixed[name].item() == pytest.approx(alone[name].item(), rel=1e-4) != spoken[name].item()
    for name in ("data", "score", "codebook"):
        assert mixed[name] == spoken[name]
    unmarked = objective({key: value for key, value in batch.items() if key != "sung"})
    assert unmarked == spoken
    sung = objective(batch | {"sung": torch.tensor([True, True])})
    assert sung["duration"] == sung["pitch"] == 0 < sung["loss"]


def test_dropping_the_condition_trains_the_nulls(make_objective, batch):
    found = gradients(make_objective(condition_dropout=1.0, **only("data")), batch)
    reached = {name.split(".")[0] for name, size in found.items() if size > 0}
    assert reached == {"denoiser"} and all(found[name] > 0 for name in UNUSED)


def test_dropping_the_prompt_trains_its_null_and_keeps_the_text(make_objective, batch):
    found = gradients(make_objective(prompt_dropout=1.0, **only("data")), batch)
    assert found["denoiser.null_prompt"] > 0 and found["denoiser.null_condition"] == 0
    assert found["phoneme_encoder.embedding.weight"] > 0
    assert not any(size for name, size in found.items() if name.startswith("prompt_encoder"))


def test_items_are_dropped_as_often_as_asked(make_objective, batch):
    objective = make_objective(condition_dropout=0.3, prompt_dropout=0.2)
    drawn = []
    replace = objective.denoiser.replace_with_nulls
    objective.denoiser.replace_with_nulls = lambda *inputs: drawn.append(inputs[2:]) or replace(*inputs)
    with torch.no_grad():
        for _ in range(150):
            objective(batch)
    condition, prompt = (torch.cat(each) for each in zip(*drawn, strict=True))
    assert condition.float().mean().item() == pytest.approx(0.3, abs=0.09)
    # The prompt is dropped with the condition, and in a fifth of the other items.
    assert prompt[condition].all()
    assert prompt[~condition].float().mean().item() == pytest.approx(0.2, abs=0.09)


def test_stratified_times_have_one_in_each_part():
    for _ in range(20):
        times = sample_times("stratified", 8, torch.device("cpu"))
        assert (times.sort().values * 8).floor().tolist() == list(range(8))
    places = {int((sample_times("stratified", 8, torch.device("cpu"))[0] * 8).floor()) for _ in range(100)}
    assert places == set(range(8))


@pytest.mark.parametrize(
    ("sampling", "mean_log_odds", "quartiles"),
    [("uniform", 0.0, (0.25, 0.75)), ("logit_normal", 0.0, (0.3375, 0.6625)), ("stratified", 0.0, (0.25, 0.75))],
)
def test_times_are_distributed_as_named(sampling, mean_log_odds, quartiles):
    times = sample_times(sampling, 20000, torch.device("cpu"))
    assert times.shape == (20000,) and times.min() >= 0 and times.max() < 1
    assert torch.logit(times.double(), eps=1e-6).mean().item() == pytest.approx(mean_log_odds, abs=0.05)
    # sigmoid(±0.6745) = 0.3375 and 0.6625: the quartiles of a normal distribution, through the sigmoid.
    found = times.quantile(torch.tensor([0.25, 0.75])).tolist()
    assert found == pytest.approx(quartiles, abs=0.012)


def test_other_samplings_are_refused():
    with pytest.raises(ValueError, match="'cosine'.*stratified"):
        ObjectiveConfig(timestep_sampling="cosine")


def test_the_seed_decides_all_that_is_drawn(make_objective, batch):
    objective = make_objective(condition_dropout=0.5, timestep_sampling="stratified").train()
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(objective(batch)["loss"].item())
    assert results[0] == results[1] != results[2]


def test_latents_of_codes_are_the_codecs(make_objective, batch, tiny_pipeline):
    objective = make_objective()
    torch.testing.assert_close(
        objective.latents_of(batch["codes"]),
        tiny_pipeline.codec.codes_to_latents(batch["codes"]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_perfect_denoiser_has_no_data_loss(make_objective, batch):
    for kind in ("sample", "epsilon", "v_prediction"):
        objective = make_objective(kind)
        clean = objective.latents_of(batch["codes"]) * batch["frame_mask"].unsqueeze(1)

        def predict(noisy, timesteps, *_, sample_mask, objective=objective, clean=clean, kind=kind, **__):
            alpha, sigma = (level[:, None, None] for level in objective.scheduler.alpha_sigma(timesteps))
            noise = (noisy - alpha * clean) / sigma
            answer = {"sample": clean, "epsilon": noise, "v_prediction": alpha * noise - sigma * clean}[kind]
            return type("Output", (), {"sample": answer})

        objective.denoiser.forward = predict
        assert objective(batch)["data"].item() == pytest.approx(0, abs=1e-5)


def with_self_conditioning(objective):
    """The same denoiser with an input for its estimate, whose weights are still zero."""
    denoiser = objective.denoiser
    wide = type(denoiser).from_config(denoiser.config, self_conditioning=True).eval()
    weights = denoiser.state_dict()
    # Each frame of a patch has its latents, followed by the estimate.
    of_frames = weights["proj_in.weight"].unflatten(1, (denoiser.config.get("patch_size", 1), -1))
    weights["proj_in.weight"] = torch.cat([of_frames, torch.zeros_like(of_frames)], 2).flatten(1, 2)
    wide.load_state_dict(weights)
    objective.denoiser = wide
    return objective


@pytest.mark.parametrize("denoiser", ["transformer", "wavenet"])
def test_an_estimate_that_weighs_nothing_changes_nothing(make_objective, batch, denoiser):
    plain = make_objective(denoiser=denoiser)
    wide = with_self_conditioning(make_objective(denoiser=denoiser, self_conditioning=0.0))
    for objective in (plain, wide):
        torch.manual_seed(0)
        # The wide denoiser draws its extra random number last, so that all others are equal.
        objective.found = objective(batch)
    for name, value in plain.found.items():
        assert wide.found[name].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_self_conditioning_feeds_the_detached_estimate_back(make_objective, batch, kind):
    objective = with_self_conditioning(make_objective(kind, self_conditioning=1.0))
    calls, forward = [], objective.denoiser.forward

    def record(noisy, timesteps, *inputs, **others):
        output = forward(noisy, timesteps, *inputs, **others)
        calls.append((noisy, timesteps, others.get("self_condition"), output.sample))
        return output

    objective.denoiser.forward = record
    objective(batch)
    (noisy, timesteps, nothing, first), (noisy_again, _, estimate, _) = calls
    assert nothing is None and noisy is noisy_again and not estimate.requires_grad
    torch.testing.assert_close(estimate, objective.scheduler.predict_original_sample(first, timesteps, noisy))


@pytest.mark.parametrize("cast", [False, True])
def test_self_conditioning_reaches_the_same_parameters(make_objective, batch, cast):
    """Also in mixed precision, where the first pass must not fill the cache of cast weights."""
    objective = with_self_conditioning(make_objective(self_conditioning=1.0, **only("data")))
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        found = gradients(objective, batch)
    reached = {name for name, size in found.items() if size > 0 and name.startswith("denoiser")}
    assert reached == {name for name in found if name.startswith("denoiser")} - UNUSED


def test_mixed_precision_reaches_the_aligner(make_objective, batch_to_align):
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(make_objective(aligner=True, **only("alignment")), batch_to_align)
    assert all(size > 0 for name, size in found.items() if name.startswith("aligner"))


def test_self_conditioning_happens_as_often_as_asked(make_objective, batch):
    objective = with_self_conditioning(make_objective(self_conditioning=0.5))
    calls, forward = [], objective.denoiser.forward
    objective.denoiser.forward = lambda *inputs, **others: calls.append(1) or forward(*inputs, **others)
    with torch.no_grad():
        for _ in range(60):
            objective(batch)
    assert 75 <= len(calls) <= 105
