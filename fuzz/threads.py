"""Speak in many threads with one model, and compare every output with the output of a run without other threads.

    python fuzz/threads.py --threads 8 --minutes 2

The threads share the models, the tokenizer and the voices, and take requests that differ in text, voice, sampler,
steps, guidance, seed and in whether they are streamed. Equal means to the last bit.
"""

import argparse
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import diffusers
import numpy as np
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2DDIMScheduler, NaturalSpeech2EulerScheduler, NaturalSpeech2Pipeline

SAMPLERS = (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2EulerScheduler,
    diffusers.DPMSolverMultistepScheduler,
    diffusers.UniPCMultistepScheduler,
    diffusers.HeunDiscreteScheduler,
)
TEXTS = ("Yes.", "Not today.", "It costs $5.", "Ask Zblorfen. He knows.", "Two of them [pause 0.2s] are here.")
VOICES = ("emma", "george", "bella", "michael")


def make_requests(count, draw):
    """Draw requests, each with the number of its sampler."""
    return [
        (
            draw.randrange(len(SAMPLERS)),
            draw.random() < 0.3,
            {
                "text": TEXTS[number % len(TEXTS)],
                "voice": draw.choice(VOICES),
                "num_inference_steps": draw.randint(2, 8),
                "guidance_scale": draw.choice((1.0, 1.5, 2.0)),
                "speaking_rate": draw.choice((0.9, 1.0, 1.2)),
            },
            draw.randrange(2**32),
        )
        for number in range(count)
    ]


def answer(pipes, request):
    sampler, is_streamed, options, seed = request
    options = options | {"generator": torch.Generator().manual_seed(seed)}
    if is_streamed:
        return np.concatenate(list(pipes[sampler].stream(**options)))
    return pipes[sampler](**options).audios[0]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=8, help="number of threads (8)")
    parser.add_argument("--minutes", type=float, default=2.0, help="duration in minutes (2)")
    parser.add_argument("--requests", type=int, default=20, help="number of different requests (20)")
    parser.add_argument("--model", help="pipeline directory (the bundled model)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random requests (0)")
    args = parser.parse_args(argv)
    first = NaturalSpeech2Pipeline.from_pretrained(args.model or ns2_diffusers.bundled())
    pipes = []
    for sampler in SAMPLERS:
        pipe = NaturalSpeech2Pipeline.from_pipe(first)
        pipe.scheduler = sampler.from_config(first.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        pipes.append(pipe)
    requests = make_requests(args.requests, random.Random(args.seed))
    alone = [answer(pipes, request) for request in requests]
    end = time.monotonic() + 60 * args.minutes

    def work(number):
        draw, counts = random.Random(f"{args.seed} {number}"), Counter()
        while time.monotonic() < end:
            index = draw.randrange(len(requests))
            try:
                is_equal = np.array_equal(answer(pipes, requests[index]), alone[index])
            except Exception as error:
                print(f"request {index} {requests[index]}: {type(error).__name__}: {error}", file=sys.stderr)
                counts["failed"] += 1
                continue
            if not is_equal:
                print(f"request {index} {requests[index]}: another output", file=sys.stderr)
            counts["equal" if is_equal else "different"] += 1
        return counts

    with ThreadPoolExecutor(args.threads) as pool:
        counts = sum(pool.map(work, range(args.threads)), Counter())
    print(f"{args.threads} threads, {args.minutes:g} minutes, {len(requests)} requests: {dict(counts)}")
    return int(counts["failed"] + counts["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
