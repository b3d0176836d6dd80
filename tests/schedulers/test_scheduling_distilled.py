import diffusers
import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DistilledScheduler


def test_grid():
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    assert scheduler.previous_timestep(scheduler.timesteps[1]) == 499
    assert scheduler.previous_timestep(scheduler.timesteps[3]) == -1
    # If N does not divide 1000, times are exact and lie between timesteps.
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[32])
    scheduler.set_timesteps()
    assert scheduler.timesteps[1].item() == 1000 * 31 / 32 - 1
    finer = scheduler.timesteps
    scheduler = scheduler.halved()
    scheduler.set_timesteps()
    assert torch.equal(scheduler.timesteps, finer[::2])


def test_only_the_students_steps():
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[4])
    for steps in (1, 2, 3, 8, 32):
        with pytest.raises(ValueError, match=rf"is {steps}, and this student was trained to take 4:"):
            scheduler.set_timesteps(steps)
    with pytest.raises(ValueError, match="trained to take"):
        scheduler.set_timesteps(4.5)


def test_coarser_grids_that_it_knows_too():
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[1, 4, 2])
    scheduler.set_timesteps()
    assert len(scheduler.timesteps) == 4
    for steps in (4, 2, 1):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == scheduler.num_inference_steps == steps
    with pytest.raises(ValueError, match="4 or 2 or 1"):
        scheduler.set_timesteps(3)


def test_only_the_students_grid_written_out():
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[32, 4])
    for steps in (32, 4):
        scheduler.set_timesteps(steps)
        grid = scheduler.timesteps.clone()
        alpha, sigma = scheduler.alpha_sigma(grid)
        for given in ({"timesteps": grid.tolist()}, {"sigmas": sigma / alpha}, {"sigmas": [*(sigma / alpha), 0.0]}):
            scheduler.set_timesteps(**given)
            assert torch.equal(scheduler.timesteps, grid) and scheduler.num_inference_steps == steps
    for timesteps in ([999, 750, 500, 250], [998, 749, 499, 249]):
        with pytest.raises(ValueError, match=r"this student was trained on \[999.0, 749.0, 499.0, 249.0\]"):
            scheduler.set_timesteps(timesteps=timesteps)
    with pytest.raises(ValueError, match="is 3, and this student was trained to take 32 or 4"):
        scheduler.set_timesteps(timesteps=[999, 499, 249])
    with pytest.raises(ValueError, match="`num_inference_steps` and `timesteps` was given"):
        scheduler.set_timesteps(4, timesteps=[999, 749, 499, 249])


def test_the_last_jump_ends_at_clean_data_whatever_a_config_says():
    """`set_alpha_to_one` and spacing belong to other samplers; a student has its own grid."""
    config = diffusers.PNDMScheduler(beta_start=5e-5, steps_offset=1).config
    scheduler = NaturalSpeech2DistilledScheduler.from_config(config, student_steps=[4])
    scheduler.set_timesteps()
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    assert scheduler.previous_timestep(249) == -1


def test_halving_down_to_one():
    scheduler = NaturalSpeech2DistilledScheduler(
        student_steps=[8, 4], beta_schedule="cosine", temperature=2.0, prediction_type="v_prediction"
    )
    half = scheduler.halved()
    assert half.config.student_steps == [4, 2] and scheduler.config.student_steps == [8, 4]
    for key in ("beta_schedule", "trained_betas", "temperature", "prediction_type"):
        assert half.config[key] == scheduler.config[key]
    with pytest.raises(ValueError, match=r"\[1\] cannot be halved"):
        half.halved().halved()


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction", "epsilon"])
def test_steps_are_ddims(prediction_type):
    """On a grid of whole timesteps it equals the DDIM scheduler exactly."""
    config = {"prediction_type": prediction_type, "beta_schedule": "cosine"}
    distilled = NaturalSpeech2DistilledScheduler(student_steps=[8], **config)
    ddim = NaturalSpeech2DDIMScheduler(**config)
    sample, output = torch.randn(2, 3, 2, 4)
    for scheduler in (distilled, ddim):
        scheduler.set_timesteps(8)
    assert torch.equal(distilled.timesteps, ddim.timesteps.float())
    for now, after in zip(distilled.timesteps, ddim.timesteps, strict=True):
        expected = ddim.step(output, after, sample).prev_sample
        assert torch.equal(distilled.step(output, now, sample).prev_sample, expected)
    assert distilled.init_noise_sigma == ddim.init_noise_sigma


@pytest.mark.parametrize("steps", [32, 7, 1])
def test_noise_that_is_known_is_followed_between_float_timesteps(steps):
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=[steps])
    scheduler.set_timesteps()
    original, noise = torch.randn(2, 2, 3, 4)
    noisy = scheduler.add_noise(original, noise, scheduler.timesteps[0])
    for timestep, following in zip(scheduler.timesteps[:-1], scheduler.timesteps[1:], strict=True):
        noisy = scheduler.step(original, timestep, noisy).prev_sample
        torch.testing.assert_close(noisy, scheduler.add_noise(original, noise, following), rtol=1e-4, atol=1e-5)
    assert torch.equal(scheduler.step(original, scheduler.timesteps[-1], noisy).prev_sample, original)


def test_temperature():
    scheduler = NaturalSpeech2DistilledScheduler(temperature=4.0)
    assert scheduler.init_noise_sigma == 0.5
    assert NaturalSpeech2DistilledScheduler().init_noise_sigma == pytest.approx(1 / 1.2)


def test_saved_and_loaded(tmp_path):
    scheduler = NaturalSpeech2DistilledScheduler(student_steps=(2, 4), beta_schedule="sigmoid", temperature=2.0)
    scheduler.save_pretrained(tmp_path)
    loaded = NaturalSpeech2DistilledScheduler.from_pretrained(tmp_path)
    assert loaded.config.student_steps == [4, 2]
    assert torch.equal(loaded.betas, scheduler.betas)
    sample, output = torch.randn(2, 1, 2, 4)
    for each in (scheduler, loaded):
        each.set_timesteps(2)
    expected = scheduler.step(output, 499.0, sample).prev_sample
    assert torch.equal(loaded.step(output, 499.0, sample).prev_sample, expected)


@pytest.mark.parametrize("cls", [NaturalSpeech2DDIMScheduler, diffusers.UniPCMultistepScheduler])
def test_from_config_keeps_the_students_numbers(cls):
    origin = NaturalSpeech2DistilledScheduler(student_steps=[2], prediction_type="v_prediction", temperature=2.0)
    there = cls.from_config(origin.config)
    assert there.config.prediction_type == "v_prediction"
    back = NaturalSpeech2DistilledScheduler.from_config(there.config)
    assert back.config.student_steps == [2] and back.config.temperature == 2
    fresh = NaturalSpeech2DistilledScheduler.from_config(cls(prediction_type="epsilon").config, student_steps=[4, 2])
    assert fresh.config.student_steps == [4, 2] and fresh.config.prediction_type == "epsilon"


def test_few_steps_of_the_exact_denoiser_are_a_coarse_ddim(gaussian, noise):
    """Without distillation, one step ends at the mean, and eight come nearer to the spread of the data."""
    spreads = []
    for steps in (1, 8):
        scheduler = NaturalSpeech2DistilledScheduler(student_steps=[steps], temperature=1.0)
        spreads.append(gaussian.generate(scheduler, steps, noise).std((0, 2)))
    assert (spreads[0] < 0.02).all()
    torch.testing.assert_close(spreads[1], gaussian.std.flatten(), rtol=0.3, atol=0)


@pytest.mark.parametrize(
    ("steps", "message"), [([], "empty"), ([0], "0.*takes 1 to"), ([1001], "1001.*takes 1 to 1000")]
)
def test_bad_steps(steps, message):
    with pytest.raises(ValueError, match=message):
        NaturalSpeech2DistilledScheduler(student_steps=steps)
    with pytest.raises(TypeError, match="integer"):
        NaturalSpeech2DistilledScheduler(student_steps=[2.5])
