"""Words right and speed of each sampler at each number of steps, on the quickstart's pipeline.

    python benchmarks/samplers.py --model outputs/quickstart/pipeline

Prints the table of docs/schedulers.md.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import diffusers
import torch

import ns2_diffusers

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from ns2_diffusers.evaluation.words import WordReader
from quickstart import CLIPS

SAMPLERS = [
    "NaturalSpeech2DDIMScheduler",
    "NaturalSpeech2EulerScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
]


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32])
    return parser.parse_args(argv)


def main(args):
    pipe = ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    with open(CLIPS / "metadata.csv", newline="", encoding="utf-8") as file:
        clips = list(csv.DictReader(file))
    texts = [clip["text"] for clip in clips]
    voices = [pipe.encode_voice(CLIPS / clip["file"]) for clip in clips[1:] + clips[:1]]
    reader, factors = WordReader(), {}
    print("| words right | " + " | ".join(f"{steps} steps" for steps in args.steps) + " |")
    print("|---" * (len(args.steps) + 1) + "|")
    for name in SAMPLERS:
        cells = []
        for steps in args.steps:
            sampler = getattr(diffusers if hasattr(diffusers, name) else ns2_diffusers, name)
            pipe.scheduler = sampler.from_config(pipe.scheduler.config)
            generators = [torch.Generator().manual_seed(index) for index in range(len(texts))]
            start = time.perf_counter()
            output = pipe(texts, voice=voices, num_inference_steps=steps, generator=generators)
            seconds = sum(len(audio) for audio in output.audios) / output.sampling_rate
            factors.setdefault(steps, []).append((time.perf_counter() - start) / seconds)
            heard = [reader.read(audio, output.sampling_rate) for audio in output.audios]
            cells.append(f"{1 - reader.word_error_rate(texts, heard):.1%}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)
    mean = [f"{sum(values) / len(values):.3f}" for values in factors.values()]
    print(f"| real-time factor | {' | '.join(mean)} |")


if __name__ == "__main__":
    main(parse_args())
