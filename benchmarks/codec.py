"""What codecs make of voices they never heard: naturalness, speaker, intelligibility, F0 and speed.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/codec.py outputs/voice-codec outputs/voice-codec-natural

Sends the recordings in `benchmarks/prompts` through each codec and prints a table, the recordings themselves first.
"""

import argparse
import time
from pathlib import Path
from statistics import mean

import torch

from bundled_voice import reconstruct
from ns2_diffusers import load_codec
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.evaluation.intelligibility import stoi
from ns2_diffusers.evaluation.naturalness import NaturalnessJudge
from ns2_diffusers.evaluation.prosody import f0_median_error
from ns2_diffusers.evaluation.speaker import SpeakerJudge

COLUMNS = {"DistilMOS": ".2f", "cosine": ".3f", "STOI": ".3f", "F0 error, cents": ".0f", "real-time factor": ".3f"}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codecs", nargs="+", help="directories")
    parser.add_argument("--recordings", type=Path, default=Path(__file__).parent / "prompts", help="a folder a kind")
    parser.add_argument("--num_threads", type=int, default=2)
    return parser.parse_args(argv)


def main(args):
    torch.set_num_threads(args.num_threads)
    naturalness, speaker = NaturalnessJudge(), SpeakerJudge()
    kinds = {folder.name: sorted(folder.iterdir()) for folder in sorted(args.recordings.iterdir()) if folder.is_dir()}
    print(f"| codec | recordings | {' | '.join(COLUMNS)} |\n|---|---{'|---' * len(COLUMNS)}|")
    for name in [None, *args.codecs]:
        codec = load_codec(name).eval() if name else None
        for kind, files in kinds.items():
            scores = [score(codec, file, naturalness, speaker) for file in files]
            means = {key: mean(each[key] for each in scores) for key in scores[0]}
            cells = " | ".join(format(means[key], form) if key in means else "" for key, form in COLUMNS.items())
            print(f"| {Path(name).name if name else 'none'} | {kind} | {cells} |", flush=True)


def score(codec, file, naturalness, speaker):
    waveform, rate = load_audio(file, None, codec.sampling_rate if codec else None)
    if codec is None:
        return {"DistilMOS": naturalness.score(waveform, rate)}
    reconstruct(codec, waveform)  # what is done once is not a recording's time
    started = time.perf_counter()
    heard = reconstruct(codec, waveform)
    elapsed = time.perf_counter() - started
    before, after = (estimate_f0(wave, rate, codec.hop_length) for wave in (waveform, heard))
    return {
        "DistilMOS": naturalness.score(heard, rate),
        "cosine": speaker.similarity(speaker.embed(waveform, rate), speaker.embed(heard, rate)),
        "STOI": stoi(heard, waveform, rate),
        "F0 error, cents": f0_median_error(after, before),
        "real-time factor": elapsed * rate / len(waveform),
    }


if __name__ == "__main__":
    main(parse_args())
