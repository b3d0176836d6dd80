"""The table of quality by number of calls, with stand-in evaluators that find no errors."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import torch

from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2DistilledScheduler
from ns2_diffusers.training.distillation import make_student

pytest.importorskip("jiwer", reason="the eval extra is not installed")
few_steps = pytest.importorskip("few_steps", reason="the train extra is not installed")


def levels():
    return (level.double().numpy() for level in NaturalSpeech2DDIMScheduler().alpha_sigma(torch.arange(1000)))


@pytest.mark.parametrize("steps", [1, 4, 7, 16])
def test_spacings_go_from_noise_to_data(steps):
    for name, spacing in few_steps.SPACINGS.items():
        timesteps = spacing(steps, *levels())
        assert len(timesteps) == steps and timesteps[0] == pytest.approx(999), name
        assert (np.diff(timesteps) < 0).all() and timesteps[-1] >= 0, name


def test_spacings_by_hand():
    alpha, sigma = levels()
    flow = alpha / (alpha + sigma)
    assert few_steps.uniform(4, alpha, sigma).tolist() == [999, 749, 499, 249]
    # The steps of Fast F5-TTS for eight calls: 0, 2, 4, 6, 8, 12, 16, 24 of 32.
    shares = np.interp(few_steps.epss(8, alpha, sigma), np.arange(1000), flow)
    expected = flow[-1] + np.array([0, 2, 4, 6, 8, 12, 16, 24]) / 32 * (1 - flow[-1])
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    middle = np.interp(few_steps.sway(2, alpha, sigma)[1], np.arange(1000), flow)
    assert middle == pytest.approx(flow[-1] + (1 - np.cos(np.pi / 4)) * (1 - flow[-1]), abs=1e-6)
    level = sigma / alpha
    ends = level[-1] ** (1 / 7), level[0] ** (1 / 7)
    middle = np.interp(few_steps.karras(3, alpha, sigma)[1], np.arange(1000), np.log(level))
    assert middle == pytest.approx(np.log(np.mean(ends) ** 7), abs=1e-6)


@pytest.mark.parametrize("spacing", ["uniform", "karras", "sway", "epss"])
@pytest.mark.parametrize(
    "cls", [NaturalSpeech2DDIMScheduler, diffusers.UniPCMultistepScheduler, diffusers.DPMSolverMultistepScheduler]
)
def test_respaced_samplers_find_gaussian_data(cls, spacing):
    """The exact denoiser of N(0.5, 0.8²) finds the data when it gets the noise levels of the sampler."""
    scheduler = cls.from_config(NaturalSpeech2DDIMScheduler(temperature=1.0).config)
    scheduler = few_steps.respace(scheduler, spacing)
    noise = NaturalSpeech2DDIMScheduler()
    latents = torch.linspace(-2, 2, 9).reshape(1, 1, 9)
    expected = 0.5 + 0.8 * latents
    scheduler.set_timesteps(24, device="cpu")
    for timestep in scheduler.timesteps:
        alpha, sigma = noise.alpha_sigma(timestep)
        gain = alpha * 0.8**2 / (alpha**2 * 0.8**2 + sigma**2)
        latents = scheduler.step(0.5 + gain * (latents - alpha * 0.5), timestep, latents).prev_sample
    tolerance = 0.2 if cls is NaturalSpeech2DDIMScheduler else 0.06
    torch.testing.assert_close(latents, expected, rtol=0, atol=tolerance)


class Evaluator:
    """A stand-in for all evaluators; it transcribes everything as "One."."""

    def read(self, audio, rate):
        return "One."

    def word_error_rate(self, texts, heard):
        return float(np.mean([text != words for text, words in zip(texts, heard, strict=True)]))

    def embed(self, audio, rate=None):
        return np.ones(1)

    def similarity(self, a, b):
        return float(a @ b)

    def score(self, audio, rate):
        return 3.0


def test_table_of_teacher_and_student(tiny_pipeline, clips, tmp_path, monkeypatch, capsys):
    tiny_pipeline.save_pretrained(tmp_path / "teacher")
    student = make_student(tiny_pipeline.denoiser)
    scheduler = NaturalSpeech2DistilledScheduler.from_config(tiny_pipeline.scheduler.config, student_steps=[2, 1])
    tiny_pipeline.register_modules(denoiser=student, scheduler=scheduler)
    tiny_pipeline.save_pretrained(tmp_path / "student")
    (tmp_path / "prompts" / "real").mkdir(parents=True)
    shutil.copy(clips[0], tmp_path / "prompts" / "real" / "a.flac")
    (tmp_path / "sentences.txt").write_text("One.\nTwo.\n")
    for name in ("WordReader", "SpeakerEvaluator", "NaturalnessEvaluator"):
        monkeypatch.setattr(few_steps, name, Evaluator)
    options = ["--teachers", tmp_path / "teacher", "--students", tmp_path / "student", "--samplers", "ddim", "euler"]
    options += ["--spacings", "uniform", "sway", "--steps", 2, 20, "--num_threads", 1, "--output_dir", tmp_path]
    options += ["--sentences", tmp_path / "sentences.txt", "--prompts", tmp_path / "prompts"]
    options = [str(option) for option in options]
    distances = few_steps.main(few_steps.parse_args([*options, "--distances"]))
    assert distances[3]["distance"] < 0.5 * distances[2]["distance"], "ten times the steps end nearer"
    few_steps.main(few_steps.parse_args(options))
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    found = [(row["model"], row["sampler"], row["spacing"], row["calls"]) for row in rows]
    assert found == [
        ("student", "distilled", "", 1),
        ("student", "distilled", "", 2),
        ("teacher", "ddim", "uniform", 2),
        ("teacher", "ddim", "uniform", 20),
        ("teacher", "ddim", "sway", 2),
        ("teacher", "euler", "uniform", 2),
        ("teacher", "euler", "uniform", 20),
    ]
    assert all(row["word_error_rate"] == 0.5 and row["real_time_factor"] > 0 for row in rows)
    assert all(0 < row["relative_variance"] for row in rows)
    assert "| student | distilled |  | 1 | 1 | 50.0% | 1.000 | 3.00 |" in capsys.readouterr().out
    assert (tmp_path / "few_steps.png").stat().st_size > 10_000
