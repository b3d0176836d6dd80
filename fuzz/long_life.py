"""Speak for a long time in one process, and print memory and time during the run.

    python fuzz/long_life.py calls --count 1000
    python fuzz/long_life.py stream --kilobytes 100 --count 500
    python fuzz/long_life.py call --kilobytes 100

`calls` are short ones. `stream` reads the first sentences of a long text, `--count` of them. `call` speaks a long
text by one call, whose audio is in memory as a whole. Memory is measured ten times, first after a tenth of the
work, and must then stay within 2 % (`call` excepted).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline

SENTENCES = Path(__file__).parents[1] / "benchmarks" / "sentences.txt"


def resident_megabytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "mode", choices=("calls", "stream", "call"), help="short calls, one long stream, or one call with a long text"
    )
    parser.add_argument("--count", type=int, default=1000, help="number of calls, or of sentences (1000)")
    parser.add_argument("--kilobytes", type=float, default=100.0, help="length of the text (100)")
    parser.add_argument("--model", help="pipeline directory (the bundled model)")
    parser.add_argument("--steps", type=int, default=1, help="steps of the sampler (1)")
    args = parser.parse_args(argv)
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.model or ns2_diffusers.bundled())
    pipe.set_progress_bar_config(disable=True)
    lines = [line.strip() for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line.strip()]
    voice = pipe.load_voice("emma")
    options = {"voice": voice, "num_inference_steps": args.steps}
    text = " ".join(lines) + " "
    text *= max(1, round(1000 * args.kilobytes / len(text)))
    begun, processor = time.perf_counter(), time.process_time()
    if args.mode == "call":
        before = resident_megabytes()
        audio = pipe(text, generator=torch.Generator().manual_seed(0), **options).audios[0]
        seconds, peak = len(audio) / pipe.sampling_rate, resident_megabytes()
        print(f"{len(text)} characters, {seconds:.0f} s of speech in {time.perf_counter() - begun:.0f} s")
        print(f"{before:.0f} MB before, {peak:.0f} MB after; the audio has {audio.nbytes / 2**20:.0f} MB")
        return 0

    def pieces():
        if args.mode == "stream":
            yield from pipe.stream(text, **options)
        for number in range(args.count):
            yield pipe(lines[number % len(lines)].split(",")[0][:40], **options).audios[0]

    part, seen = max(1, args.count // 10), []
    for number, piece in zip(range(1, args.count + 1), pieces(), strict=False):
        assert np.isfinite(piece).all()
        if number == 1:
            waited, worked = time.perf_counter() - begun, time.process_time() - processor
            print(f"first sound after {waited:.1f} s, {worked:.1f} s of a processor", flush=True)
        if number % part == 0:
            seen.append(resident_megabytes())
            print(f"{number}: {seen[-1]:.1f} MB, {(time.perf_counter() - begun) / part:.3f} s each", flush=True)
            begun = time.perf_counter()
    growth = max(seen) / seen[0] - 1
    print(f"{args.mode}: memory within {growth:+.2%} of what it was after a tenth")
    return int(growth > 0.02)


if __name__ == "__main__":
    sys.exit(main())
