"""Measure quality against denoiser calls: distilled students and their teacher with each sampler and spacing.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/few_steps.py --teachers outputs/pipeline --students outputs/distilled/steps-*
    python benchmarks/few_steps.py --teachers outputs/pipeline --samplers unipc --steps 8 --num_sentences 20   # a part
    python benchmarks/few_steps.py --teachers outputs/pipeline --distances --num_sentences 3    # no evaluators

The script speaks sentences of `benchmarks/sentences.txt` with the voices of `benchmarks/prompts` in turn. The spectral
variance is relative to that of the prompts after one pass through the codec: below 1 is smoother than speech. It
writes `results.json` and `table.md` after every row, so that a stopped run keeps its results, and finally
`few_steps.png`.
"""

import argparse
import json
from itertools import cycle
from pathlib import Path
from statistics import mean

import diffusers
import matplotlib
import numpy as np
import torch
from tqdm import tqdm

from common import HERE, find_prompts, load_pipeline, make_scheduler, markdown_table, read_sentences, speak
from ns2_diffusers import NaturalSpeech2DDIMScheduler
from ns2_diffusers.cli import SCHEDULERS
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
from ns2_diffusers.evaluation.spectrum import global_variance, relative_variance
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.schedulers.noise_schedules import VariancePreservingMixin

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ns2_diffusers.training.arguments import HelpFormatter

# With more steps, all spacings are fine enough.
MOST_RESPACED_STEPS = 16
CONVERGED_STEPS = 200
# Title, key of a row, format.
COLUMNS = [
    ("word errors", "word_error_rate", ".1%"),
    ("cosine to the prompt", "cosine", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
    ("spectral variance", "relative_variance", ".2f"),
    ("real-time factor", "real_time_factor", ".3f"),
]
# Minimum range of each axis. A smaller range would make noise look like differences.
PLOTTED = {
    "word_error_rate": (0, 0.1),
    "cosine": (0.6, 0.9),
    "distilmos": (3, 5),
    "relative_variance": (0.5, 1.5),
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--teachers", nargs="+", required=True, help="pipeline directories of undistilled models")
    parser.add_argument("--students", nargs="*", default=[], help="pipeline directories of students")
    parser.add_argument(
        "--samplers",
        nargs="*",
        choices=SCHEDULERS,
        default=["ddim", "euler", "dpm", "unipc"],
        help="samplers of the teachers",
    )
    parser.add_argument(
        "--spacings",
        nargs="+",
        choices=SPACINGS,
        default=list(SPACINGS),
        help="spacings of the timesteps of the teachers",
    )
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[4, 8, 16, 32, 150], help="numbers of steps of the teachers"
    )
    parser.add_argument(
        "--sentences", type=Path, default=HERE / "sentences.txt", help="text file with one sentence per line"
    )
    parser.add_argument("--num_sentences", type=int, default=50, help="number of sentences per row")
    parser.add_argument(
        "--prompts",
        type=Path,
        default=HERE / "prompts",
        help="directory with one folder of audio files per kind of voice",
    )
    parser.add_argument(
        "--guidance_scale", type=float, help="guidance scale; the default of each pipeline if not given"
    )
    parser.add_argument("--temperature", type=float, help="temperature; the default of the pipeline if not given")
    parser.add_argument("--device", default="cpu", help="device of the pipeline")
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument(
        "--distances", action="store_true", help="measure only the distance of the latents from those of many steps"
    )
    parser.add_argument("--output_dir", default="outputs/few_steps", type=Path, help="output directory")
    return parser.parse_args(argv)


# Spacings: timesteps of a generation of n steps, in order of decreasing noise. The first one is pure noise.


def uniform(n, alpha, sigma):
    """Return timesteps that are even in t, as the training noise is drawn."""
    return len(alpha) * (1 - np.arange(n) / n) - 1


def karras(n, alpha, sigma, rho=7):
    """Return timesteps that are even in (σ/α)^(1/7) (arXiv 2206.00364, equation 5)."""
    level = sigma / alpha
    ramp = np.linspace(level[-1] ** (1 / rho), level[0] ** (1 / rho), n) ** rho
    return np.interp(np.log(ramp), np.log(level), np.arange(len(level)))


def sway(n, alpha, sigma):
    """Return timesteps dense near noise, by a cosine of flow time (F5-TTS, arXiv 2410.06885, equation 7, s = -1)."""
    return at_flow_time(1 - np.cos(np.pi / 2 * np.arange(n) / n), alpha, sigma)


def epss(n, alpha, sigma):
    """Put half of the steps in the first quarter of flow-matching time, and a quarter of them in the last half.

    This rule generalises the steps that remained in Fast F5-TTS (arXiv 2505.19931) after pruning by trial.
    """
    return at_flow_time(np.interp(np.arange(n) / n, [0, 0.5, 0.75, 1], [0, 0.25, 0.5, 1]), alpha, sigma)


def at_flow_time(share, alpha, sigma):
    """Return timesteps at these shares of the way from noise to data, in flow-matching time: α / (α + σ)."""
    flow = alpha / (alpha + sigma)
    wanted = flow[-1] + share * (1 - flow[-1])
    return np.interp(wanted, flow[::-1], np.arange(len(flow))[::-1])


SPACINGS = {"uniform": uniform, "karras": karras, "sway": sway, "epss": epss}


def respace(scheduler, spacing):
    """Make a scheduler of any class use another spacing."""
    noise = NaturalSpeech2DDIMScheduler.from_config(scheduler.config)
    alpha, sigma = (
        level.double().numpy() for level in noise.alpha_sigma(torch.arange(noise.config.num_train_timesteps))
    )

    class Respaced(type(scheduler)):
        """The scheduler with the spacing. It is a class because pipelines copy their scheduler for each call."""

        def set_timesteps(self, num_inference_steps, device=None):
            timesteps = SPACINGS[spacing](num_inference_steps, alpha, sigma)
            if isinstance(self, VariancePreservingMixin):
                super().set_timesteps(timesteps=timesteps.copy(), device=device)
                return
            super().set_timesteps(num_inference_steps, device=device)
            self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)
            if hasattr(self, "sigmas"):
                alpha_at, sigma_at = noise.alpha_sigma(self.timesteps.cpu())
                self.sigmas = torch.cat([sigma_at / alpha_at, torch.zeros(1)])

    scheduler.__class__ = Respaced
    return scheduler


def main(args):
    torch.set_num_threads(args.num_threads)
    if args.distances:
        rows = distances(args)
        print(table(rows, [("distance", "distance", ".3f")]))
        return rows
    evaluators = {"words": WordReader(), "speaker": SpeakerEvaluator(), "naturalness": NaturalnessEvaluator()}
    voices = [(path, evaluators["speaker"].embed(path)) for path in find_prompts(args.prompts)]
    sentences, rows = read_sentences(args.sentences, args.num_sentences), []
    lively = recorded_variances(load_pipeline(args.teachers[0], args.device), voices)
    for row, pipe in tqdm(list(plan(args)), "rows"):
        pipe = pipe()
        speech = speak(pipe, sentences, [path for path, _ in voices], **options(row["steps"], args))
        spoken = [each | {"vector": vector} for each, (_, vector) in zip(speech, cycle(voices), strict=False)]
        rows.append(row | score(spoken, lively, evaluators))
        write_results(rows, args)
    plot(rows, args.output_dir / "few_steps.png")
    print((args.output_dir / "table.md").read_text(encoding="utf-8"))
    return rows


def recorded_variances(pipe, voices):
    """Return the spectral variances of the prompts after the codec."""
    latents = [pipe.encode_voice(path).latents[None] for path, _ in voices]
    return [global_variance(pipe.codec.decode(each.to(pipe.device))[0], pipe.sampling_rate) for each in latents]


def distances(args):
    """Measure the distance of latents from those of many teacher steps, root mean square, relative to theirs."""
    sentences, prompts = read_sentences(args.sentences, args.num_sentences), find_prompts(args.prompts)

    def latents(pipe, steps):
        spoken = speak(pipe, sentences, prompts, **options(steps, args), output_type="latent")
        return torch.cat([each["audio"].flatten() for each in spoken])

    teacher = load_pipeline(args.teachers[0], args.device)
    teacher.scheduler = diffusers.UniPCMultistepScheduler.from_config(teacher.scheduler.config)
    converged = latents(teacher, CONVERGED_STEPS)
    rows = []
    for row, pipe in plan(args):
        error = latents(pipe(), row["steps"]) - converged
        rows.append(row | {"distance": (error.square().mean() / converged.square().mean()).sqrt().item()})
    return rows


def plan(args):
    """Return the rows of the table, each with a function that makes its pipeline."""
    for folder in args.students:
        student = load_pipeline(folder, args.device)
        for steps in sorted(student.scheduler.config.student_steps):
            row = {"model": Path(folder).name, "sampler": "distilled", "spacing": "", "steps": steps, "calls": steps}
            yield row, lambda student=student: student
    for folder in args.teachers:
        yield from plan_teacher(folder, args)


def plan_teacher(folder, args):
    teacher = load_pipeline(folder, args.device)
    own = teacher.scheduler
    scale = teacher.config.default_guidance_scale if args.guidance_scale is None else args.guidance_scale
    guided = scale != 1 and not teacher.denoiser.config.guidance_embeds
    for sampler in args.samplers:
        # The timesteps of the paper's sampler are fixed: the middles of its steps.
        spacings = [spacing for spacing in args.spacings if spacing == "uniform" or sampler != "euler"]
        for spacing in spacings:
            for steps in args.steps:
                if spacing != "uniform" and steps > MOST_RESPACED_STEPS:
                    continue
                row = {"model": Path(folder).name, "sampler": sampler, "spacing": spacing, "steps": steps}

                def make(sampler=sampler, spacing=spacing):
                    scheduler = make_scheduler(sampler, own.config)
                    teacher.scheduler = scheduler if spacing == "uniform" else respace(scheduler, spacing)
                    return teacher

                yield row | {"calls": steps * (2 if guided else 1) * (2 if sampler == "heun" else 1)}, make


def options(steps, args):
    return {"num_inference_steps": steps, "guidance_scale": args.guidance_scale, "temperature": args.temperature}


def score(spoken, lively, evaluators):
    """Score with all evaluators: word errors over all words, means over utterances for the rest."""
    words, speaker, naturalness = evaluators.values()
    heard, cosines, opinions, variances = [], [], [], []
    for each in spoken:
        recording = each["audio"], each["rate"]
        heard.append(words.read(*recording))
        cosines.append(speaker.similarity(speaker.embed(*recording), each["vector"]))
        opinions.append(naturalness.score(*recording))
        variances.append(global_variance(*recording))
    texts, seconds = [each["text"] for each in spoken], sum(len(each["audio"]) / each["rate"] for each in spoken)
    return {
        "word_error_rate": words.word_error_rate(texts, heard),
        "cosine": mean(cosines),
        "distilmos": mean(opinions),
        "relative_variance": relative_variance(variances, lively),
        "real_time_factor": sum(each["elapsed"] for each in spoken) / seconds,
        "heard": heard,
    }


def write_results(rows, args):
    args.output_dir.mkdir(parents=True, exist_ok=True)
    settings = {name: value for name, value in vars(args).items() if isinstance(value, (int, float))}
    write_text(args.output_dir / "results.json", json.dumps(settings | {"rows": rows}, indent=1))
    write_text(args.output_dir / "table.md", table(rows))


def table(rows, columns=COLUMNS):
    names = ["model", "sampler", "spacing", "steps", "calls"]
    lines = [[*(row[name] for name in names), *(format(row[key], form) for _, key, form in columns)] for row in rows]
    return markdown_table([*names, *(title for title, _, _ in columns)], lines)


def plot(rows, path):
    """Plot one panel per evaluator, one line per model, sampler and spacing. A distillation's stages share one."""
    figure, panels = plt.subplots(1, 4, figsize=(20, 5), layout="constrained")
    lines = {}
    for row in sorted(rows, key=lambda row: row["calls"]):
        name = f"{row['model']}: {row['sampler']}, {row['spacing']}"
        if row["sampler"] == "distilled":
            name = "halving" if row["model"].startswith("steps-") else row["model"]
        lines.setdefault(name, []).append(row)
    titles = {key: title for title, key, _ in COLUMNS}
    for panel, (key, shown) in zip(panels, PLOTTED.items(), strict=True):
        for name, points in lines.items():
            is_student = points[0]["sampler"] == "distilled"
            style = {"linewidth": 3 if is_student else 1, "marker": "o"}
            style["linestyle"] = "-" if is_student or name.endswith("uniform") else "--"
            panel.plot([row["calls"] for row in points], [row[key] for row in points], label=name, **style)
        panel.set_xscale("log", base=2)
        panel.set_xlabel("calls of the denoiser")
        found = [row[key] for row in rows]
        panel.set_ylim(min(shown[0], *found), max(shown[1], *found))
        panel.set_title(titles[key])
    panels[0].legend(fontsize="small")
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main(parse_args())
