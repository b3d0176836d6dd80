"""Targets compared with the closed forms of Gaussian data, and stages with the teacher's own steps."""

import math

import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DistilledScheduler
from ns2_diffusers.training import distillation

PREDICTION_TYPES = ["sample", "v_prediction", "epsilon"]
every_type = pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
MEAN = torch.tensor([0.7, -0.4]).reshape(1, 2, 1)
STD = torch.tensor([0.6, 1.2]).reshape(1, 2, 1)


def levels(timesteps):
    """(α, σ) of the paper's schedule in double precision, from its betas."""
    betas = torch.linspace(5e-5, 0.02, 1000, dtype=torch.float64)
    integral = torch.cat([torch.zeros(1, dtype=torch.float64), -torch.log1p(-betas).cumsum(0)])
    position = torch.as_tensor(timesteps, dtype=torch.float64).reshape(-1, 1, 1) + 1
    below = position.floor().clamp(max=999).long()
    integral = torch.lerp(integral[below], integral[below + 1], position - below)
    return torch.exp(-integral / 2), torch.sqrt(-torch.expm1(-integral))


def exact(noisy, timesteps, mean=MEAN):
    """E[z_0 | z_t] for latents from N(mean, STD²)."""
    alpha, sigma = levels(timesteps)
    return mean + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (noisy - alpha * mean)


def exact_teacher(scheduler, mean=MEAN):
    def teacher(noisy, timesteps):
        original = exact(noisy, timesteps, mean)
        return scheduler.model_output_for(original, timesteps, noisy).float()

    return teacher


def two_steps(noisy, start, middle, end):
    """z at `end` by the teacher's two DDIM steps, in double precision."""
    for now, after in ((start, middle), (middle, end)):
        (alpha, sigma), (alpha_after, sigma_after) = levels(now), levels(after)
        original = exact(noisy, now)
        noisy = alpha_after * original + sigma_after * (noisy - alpha * original) / sigma
    return noisy


def make_scheduler(prediction_type="sample", **config):
    return NaturalSpeech2DistilledScheduler(prediction_type=prediction_type, temperature=1.0, **config)


def as_teacher(student, scheduler):
    """Turn a function for ẑ_0 into one that returns the scheduler's prediction type."""
    return lambda noisy, timesteps: scheduler.model_output_for(student(noisy, timesteps), timesteps, noisy)


@every_type
def test_target_is_the_papers_closed_form(prediction_type):
    scheduler = make_scheduler(prediction_type)
    start = torch.tensor([999.0, 700.5, 250.0, 124.0])
    middle, end = torch.tensor([812.25, 600.0, 100.0, 61.5]), torch.tensor([700.0, 3.0, 20.75, -1.0])
    noisy = torch.randn(4, 2, 5, dtype=torch.float64)
    (alpha, sigma), (alpha_end, sigma_end) = levels(start), levels(end)
    arrived = two_steps(noisy, start, middle, end)
    expected = (arrived - sigma_end / sigma * noisy) / (alpha_end - sigma_end / sigma * alpha)
    found = distillation.two_step_target(exact_teacher(scheduler), scheduler, noisy.float(), start, middle, end)
    # At timestep 999 an ε is divided by an α of 0.0067.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3 if prediction_type == "epsilon" else 1e-5)


@every_type
@pytest.mark.parametrize("steps", [16, 4, 1])
def test_one_step_of_the_student_is_two_of_the_teacher(prediction_type, steps):
    scheduler = make_scheduler(prediction_type, student_steps=[steps])
    scheduler.set_timesteps()
    teacher, half = exact_teacher(scheduler), 500 / steps
    noisy = torch.randn(3, 2, 5)
    for start in scheduler.timesteps:
        times = start, start - half, start - 2 * half
        target = distillation.two_step_target(teacher, scheduler, noisy, *(t.reshape(1) for t in times))
        answer = scheduler.model_output_for(target, start, noisy)
        arrived = scheduler.step(answer, start, noisy).prev_sample
        expected = two_steps(noisy.double(), *(t.reshape(1) for t in times))
        tolerance = 2e-3 if prediction_type == "epsilon" and start == 999 else 1e-5
        torch.testing.assert_close(arrived.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_halvings_reproduce_the_teachers_steps(prediction_type):
    """Students that match their targets: 32 → 16 → 8 → 4 → 2 → 1, with the same function each time."""
    scheduler = make_scheduler(prediction_type)
    noise = torch.randn(2, 2, 5)
    student, expected = exact_teacher(scheduler), None
    for rung in (32, 16, 8, 4, 2, 1):
        if rung < 32:
            student = half_as_many_steps(student, scheduler, rung)
            scheduler = scheduler.halved()
        scheduler.set_timesteps()
        assert len(scheduler.timesteps) == rung
        latents = noise
        for timestep in scheduler.timesteps:
            latents = scheduler.step(student(latents, timestep.reshape(1)), timestep, latents).prev_sample
        expected = latents if expected is None else expected
        torch.testing.assert_close(latents, expected, rtol=0, atol=5e-5)
    reference = NaturalSpeech2DDIMScheduler(prediction_type=prediction_type)
    reference.timesteps = torch.arange(32, 0, -1) / 32 * 1000 - 1
    for timestep in reference.timesteps:
        answer = exact_teacher(reference)(noise, timestep.reshape(1))
        noise = reference.step(answer, timestep, noise).prev_sample
    torch.testing.assert_close(expected, noise, rtol=0, atol=1e-5)


def half_as_many_steps(teacher, scheduler, steps):
    def original(noisy, timesteps):
        times = timesteps, timesteps - 500 / steps, timesteps - 1000 / steps
        return distillation.two_step_target(teacher, scheduler, noisy, *times)

    return as_teacher(original, scheduler)


@every_type
@pytest.mark.parametrize("times", [(999, 998, 997), (2, 1, 0), (1, 0, -1), (999, 0, -1), (0, -0.5, -1)])
def test_target_is_finite_and_between_the_answers_at_both_ends(prediction_type, times):
    scheduler = make_scheduler(prediction_type)
    original, noise = torch.randn(2, 4, 2, 5)
    times = tuple(torch.tensor([float(time)]) for time in times)
    noisy = scheduler.add_noise(original, noise, times[0])
    answers = []

    def teacher(noisy, timesteps):
        answers.append(original + 0.1 * len(answers))
        return scheduler.model_output_for(answers[-1], timesteps, noisy)

    target = distillation.two_step_target(teacher, scheduler, noisy, *times)
    slack = 2e-2 if prediction_type == "epsilon" and times[0] == 999 else 2e-3
    assert (target >= answers[0] - slack).all() and (target <= answers[1] + slack).all()
    answer = scheduler.model_output_for(target, times[0], noisy)
    assert answer.isfinite().all() and answer.abs().max() < 100
    if times[2] < 0:  # The clean latents are the second output itself.
        torch.testing.assert_close(target, answers[1], rtol=0, atol=slack)


def test_pure_noise_without_any_signal():
    """At the end of this schedule there is almost no signal (α = 3e-4): ε does not determine ẑ_0, but ẑ_0 and v do."""
    for prediction_type in ("sample", "v_prediction"):
        config = {"num_train_timesteps": 4, "trained_betas": [0.1, 0.2, 0.3, 1 - 1e-7], "student_steps": [2]}
        scheduler = make_scheduler(prediction_type, **config)
        noisy = torch.randn(1, 2, 5)
        target = distillation.two_step_target(
            lambda noisy, timesteps: torch.ones_like(noisy), scheduler, noisy, *torch.tensor([[3.0], [1.0], [-1.0]])
        )
        assert target.isfinite().all()


@every_type
def test_weights(prediction_type):
    """A unit error of ẑ_0 has the same loss in all prediction types: as v it is 1/σ, as ε α/σ."""
    snr = torch.tensor([1e-4, 0.5, 1.0, 30.0, 9999.0], dtype=torch.float64)
    sigma = (1 / (1 + snr)).sqrt()
    error = {"sample": torch.ones(5), "v_prediction": 1 / sigma, "epsilon": (1 - sigma**2).sqrt() / sigma}
    squared = error[prediction_type].double() ** 2
    truncated = distillation.distillation_weights(snr, prediction_type)
    torch.testing.assert_close(truncated * squared, torch.tensor([1.0, 1.0, 1.0, 30.0, 100.0]).double())
    plus_one = distillation.distillation_weights(snr, prediction_type, "snr_plus_one")
    torch.testing.assert_close(plus_one * squared, torch.tensor([1.0001, 1.5, 2.0, 31.0, 101.0], dtype=torch.float64))


def test_loss_by_hand():
    scheduler = make_scheduler("v_prediction")
    target = distillation.Target(torch.zeros(2, 1, 2), torch.tensor([999.0, 99.0]), torch.zeros(2, 1, 2))
    mask = torch.tensor([[True, True], [True, False]])
    snr = scheduler.signal_to_noise_ratio(target.timesteps)
    loss = distillation.distillation_loss(torch.full((2, 1, 2), 2.0), target, scheduler, mask)
    # Three frames of error 4; the first item weighs 1 / (SNR + 1), the second SNR / (SNR + 1).
    assert loss.item() == pytest.approx(4 / 3 * (2 / (snr[0] + 1) + snr[1] / (snr[1] + 1)).item())


def test_bad_weights():
    with pytest.raises(ValueError, match="weighting is 'snr'.*truncated_snr, snr_plus_one"):
        distillation.distillation_weights(torch.ones(1), "sample", "snr")
    with pytest.raises(ValueError, match="'noise'.*sample, v_prediction, epsilon"):
        distillation.distillation_weights(torch.ones(1), "noise")


@every_type
def test_guidance_moves_the_mean(prediction_type):
    """For two Gaussians of one variance, guidance by s gives the Gaussian with the mean u + s (c − u)."""
    scheduler, scale = make_scheduler(prediction_type), torch.tensor([1.0, 2.5])
    other = MEAN - torch.tensor([0.5, 1.0]).reshape(1, 2, 1)
    teacher = distillation.guided(exact_teacher(scheduler), exact_teacher(scheduler, other), scale)
    latents = torch.randn(2, 2, 5)
    target = distillation.guidance_target(teacher, scheduler, latents)
    assert ((target.timesteps >= 0) & (target.timesteps < 1000)).all()
    mean = other + scale.reshape(-1, 1, 1) * (MEAN - other)
    expected = exact_teacher(scheduler, mean)(target.noisy, target.timesteps)
    torch.testing.assert_close(target.output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 8])
def test_halving_target_is_on_the_grid(steps):
    scheduler, seen = make_scheduler("v_prediction"), []

    def teacher(noisy, timesteps):
        seen.append(timesteps)
        return exact_teacher(scheduler)(noisy, timesteps)

    torch.manual_seed(3)
    latents = MEAN + STD * torch.randn(64, 2, 3)
    target = distillation.halving_target(teacher, scheduler, latents, steps)
    grid = 1000 * torch.arange(1, steps + 1) / steps - 1
    assert torch.equal(target.timesteps.unique(), grid)
    torch.testing.assert_close(seen[1], seen[0] - 500 / steps)
    original = distillation.two_step_target(
        exact_teacher(scheduler), scheduler, target.noisy, seen[0], seen[1], seen[0] - 1000 / steps
    )
    expected = scheduler.model_output_for(original, target.timesteps, target.noisy)
    torch.testing.assert_close(target.output, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
def test_a_consistent_student_says_where_the_teacher_ends(prediction_type):
    """A student that ends where the teacher's eight steps end has a loss of zero."""
    scheduler = make_scheduler(prediction_type)
    teacher = exact_teacher(scheduler)

    def end_of_the_trajectory(noisy, timesteps):
        noisy, timesteps = noisy.clone(), timesteps.clone()
        while (going := timesteps > 0).any():
            now = timesteps[going]
            original = exact(noisy[going], now).float()
            noisy[going] = distillation.ddim_step(scheduler, original, noisy[going], now, now - 125)
            timesteps[going] = now - 125
        return noisy

    student = as_teacher(end_of_the_trajectory, scheduler)
    latents = MEAN + STD * torch.randn(32, 2, 3)
    target = distillation.consistency_target(teacher, student, scheduler, latents, 8)
    assert {124.0, 999.0} <= set(target.timesteps.tolist())
    torch.testing.assert_close(target.output, student(target.noisy, target.timesteps), rtol=0, atol=2e-5)


def test_a_student_begins_as_its_teacher(make_tiny_pipeline):
    teacher = make_tiny_pipeline("undistilled").denoiser
    student = distillation.make_student(teacher, (1.0, 3.0))
    assert student.config.guidance_embeds and student.config.guidance_range == [1.0, 3.0]
    sample, condition, prompt = torch.randn(2, 16, 7), torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    expected = teacher(sample, 500.0, condition, prompt).sample
    assert torch.equal(student(sample, 500.0, condition, prompt, guidance=3.0).sample, expected)
    again = distillation.make_student(student)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))
    assert again.config.guidance_range == [1.0, 3.0]
    assert distillation.make_student(student, (1.0, 4.0)).config.guidance_range == [1.0, 4.0]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1)
    assert torch.equal(teacher(sample, 500.0, condition, prompt).sample, expected)
    assert not math.isclose(student(sample, 500.0, condition, prompt).sample.sum().item(), expected.sum().item())


def test_a_teacher_without_nulls_cannot_be_guided(tiny_pipeline):
    tiny_pipeline.denoiser.register_to_config(learned_nulls=False)
    with pytest.raises(ValueError, match="never learned.*condition_dropout"):
        distillation.make_student(tiny_pipeline.denoiser, (1.0, 3.0))


@pytest.mark.parametrize("kind", ["transformer", "wavenet"])
def test_a_denoiser_as_a_function(make_tiny_pipeline, kind):
    denoiser = make_tiny_pipeline(kind).denoiser
    sample, condition, prompt = torch.randn(2, 16, 7), torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    timesteps = torch.tensor([10.0, 700.0])
    found = distillation.answering(denoiser, denoiser.encode_conditioning(condition, prompt), mask)(sample, timesteps)
    assert torch.equal(found, denoiser(sample, timesteps, condition, prompt, sample_mask=mask).sample)


@pytest.mark.parametrize("kind", ["transformer", "wavenet"])
def test_a_student_of_a_self_conditioned_teacher_sees_no_estimate(make_tiny_pipeline, kind):
    denoiser = make_tiny_pipeline(kind).denoiser
    config = {name: value for name, value in denoiser.config.items() if not name.startswith("_")}
    teacher = type(denoiser)(**config | {"self_conditioning": True}).eval()
    student = distillation.make_student(teacher)
    for model in (teacher, student):
        torch.nn.init.ones_(model.proj_out.weight)
    assert not student.config.self_conditioning
    sample, condition, prompt = torch.randn(2, 16, 7), torch.randn(2, 7, 32), torch.randn(2, 5, 32)
    expected = teacher(sample, 500.0, condition, prompt).sample
    torch.testing.assert_close(student(sample, 500.0, condition, prompt).sample, expected)
