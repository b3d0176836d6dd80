"""Make training pairs for enhancement: clean recordings and copies with noise, room reverberation and clipping.

    python examples/make_noisy_pairs.py --recordings examples/asterisk --output_dir outputs/pairs

`pairs.jsonl` has one row per pair: the paths `clean` and `noisy` within the directory, and the degradation that was
applied to the recording (`data.augmentation.Degradation`). Several `--levels` make one pair per recording and level.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.data.augmentation import make_pair
from ns2_diffusers.files import write_text
from ns2_diffusers.training.arguments import HelpFormatter

SUFFIXES = (".flac", ".mp3", ".ogg", ".opus", ".wav")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--recordings", required=True, type=Path, help="directory of clean recordings")
    parser.add_argument("--output_dir", required=True, type=Path, help="directory to write")
    parser.add_argument("--sampling_rate", type=int, default=16000, help="Hz of the pairs")
    parser.add_argument(
        "--levels", type=float, nargs="+", help="signal-to-noise ratios in dB; drawn from 0 to 20 if not given"
    )
    parser.add_argument("--room_share", type=float, default=0.5, help="share of pairs with reverberation")
    parser.add_argument("--clipped_share", type=float, default=0.2, help="share of pairs that are clipped")
    parser.add_argument("--number", type=int, help="number of recordings; all if not given")
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn")
    return parser.parse_args(argv)


def main(args):
    paths = sorted(path for path in args.recordings.rglob("*") if path.suffix.lower() in SUFFIXES)[: args.number]
    if not paths:
        raise ValueError(f"there are no recordings in {str(args.recordings)!r}: wanted {', '.join(SUFFIXES)} files.")
    rows = []
    for kind in ("clean", "noisy"):
        (args.output_dir / kind).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(tqdm(paths)):
        waveform, _ = load_audio(path, None, args.sampling_rate)
        clean = f"clean/{number:06}.flac"
        soundfile.write(args.output_dir / clean, waveform.numpy(), args.sampling_rate)
        for level in args.levels or [None]:
            # A pair does not depend on which other pairs are made.
            random = np.random.default_rng([args.seed, number, 1000 if level is None else round(level) + 100])
            shares = (args.room_share, args.clipped_share)
            degraded, done = make_pair(waveform.numpy()[None], args.sampling_rate, random, level, *shares)
            noisy = f"noisy/{number:06}.flac" if level is None else f"noisy/{number:06}_{level:g}.flac"
            soundfile.write(args.output_dir / noisy, degraded[0], args.sampling_rate)
            rows.append({"clean": clean, "noisy": noisy, "source": path.name, **asdict(done)})
    write_text(args.output_dir / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} pairs: {args.output_dir}")


if __name__ == "__main__":
    main(parse_args())
