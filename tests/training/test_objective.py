import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.objective import ObjectiveConfig, TrainingObjective

MODELS = ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "denoiser")
NAMES = ("data", "score", "codebook", "duration", "pitch")


@pytest.fixture
def batch(tiny_codec):
    mask = torch.arange(30) < torch.tensor([[30], [21]])
    phonemes = torch.arange(12) < torch.tensor([[12], [9]])
    f0 = torch.rand(2, 30) * 200 + 100
    return {
        "input_ids": torch.randint(1, 200, (2, 12)),
        "attention_mask": phonemes,
        "durations": torch.tensor([[2, 3] * 6, [3, 2] * 3 + [4, 1, 1] + [0] * 3]),
        "codes": torch.randint(0, tiny_codec.codebook_size, (2, tiny_codec.num_codebooks, 30)),
        "frame_mask": mask,
        "f0": f0 * (torch.rand(2, 30) > 0.3) * mask,
        "pitch": f0 * mask,
        "prompt_codes": torch.randint(0, tiny_codec.codebook_size, (2, tiny_codec.num_codebooks, 15)),
        "prompt_mask": torch.arange(15) < torch.tensor([[15], [10]]),
    }


@pytest.fixture
def make_objective(tiny_pipeline):
    def make(prediction_type="sample", **config):
        scheduler = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type)
        models = {name: getattr(tiny_pipeline, name).eval() for name in MODELS}
        return TrainingObjective(
            **models,
            scheduler=scheduler,
            codebooks=standardized_codebooks(tiny_pipeline.codec),
            config=ObjectiveConfig(**{"condition_dropout": 0.0, "prompt_dropout": 0.0, **config}),
        )

    return make


def only(name, weight=1.0):
    return {f"{each}_weight": weight if each == name else 0.0 for each in NAMES}


def gradients(objective, batch):
    objective.zero_grad()
    torch.manual_seed(0)
    objective(batch)["loss"].backward()
    return {
        name: sum(p.grad.abs().sum().item() for p in getattr(objective, name).parameters() if p.grad is not None)
        for name in MODELS
    }


REACHES = {
    "data": MODELS,
    "score": MODELS,
    "codebook": MODELS,
    "duration": ("phoneme_encoder", "prompt_encoder", "variance_adaptor"),
    "pitch": ("phoneme_encoder", "prompt_encoder", "variance_adaptor"),
}


@pytest.mark.parametrize("name", NAMES)
def test_each_loss_reaches_the_models_it_should(make_objective, batch, name):
    found = gradients(make_objective(**only(name)), batch)
    assert {model for model, size in found.items() if size > 0} == set(REACHES[name])


def test_no_loss_no_gradient(make_objective, batch):
    assert not any(gradients(make_objective(**only(None)), batch).values())


def test_the_total_is_the_weighted_sum(make_objective, batch):
    weights = dict(zip(NAMES, (1.0, 0.3, 0.1, 2.0, 0.5), strict=True))
    found = make_objective(**{f"{name}_weight": weight for name, weight in weights.items()})(batch)
    assert set(found) == {*NAMES, "loss"}
    assert found["loss"].item() == pytest.approx(sum(weights[name] * found[name].item() for name in NAMES))


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_padding_changes_no_loss(make_objective, batch, kind, monkeypatch):
    """The second item alone, cut to its length, has the loss that it has in a padded batch."""
    objective = make_objective(kind, score_weight=1.0)
    # The same noise level and noise for both, whatever the shape.
    monkeypatch.setattr(objective, "_draw", lambda latents: torch.full((len(latents),), 0.4))
    monkeypatch.setattr(torch, "randn_like", lambda tensor: torch.full_like(tensor, 0.5))
    second = {key: value[1:] for key, value in batch.items()}
    cut = dict(second)
    for key in ("codes", "frame_mask", "f0", "pitch"):
        cut[key] = cut[key][..., :21]
    for key in ("input_ids", "attention_mask", "durations"):
        cut[key] = cut[key][:, :9]
    for key in ("prompt_codes", "prompt_mask"):
        cut[key] = cut[key][..., :10]
    padded, alone = objective(batch | {}), objective(cut)
    first = objective({key: value[:1] for key, value in batch.items()})
    frames = torch.tensor([30.0, 21.0])
    for name in ("data", "score", "codebook"):
        together = (first[name] * frames[0] + alone[name] * frames[1]) / frames.sum()
        assert padded[name].item() == pytest.approx(together.item(), rel=1e-4)


def test_dropping_everything_trains_the_nulls(make_objective, batch):
    objective = make_objective(condition_dropout=1.0, **only("data"))
    found = gradients(objective, batch)
    assert found["denoiser"] > 0 and objective.denoiser.null_condition.grad.abs().sum() > 0
    assert found["phoneme_encoder"] == found["prompt_encoder"] == found["variance_adaptor"] == 0


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
