"""Run the targets on crafted and random input, and print a table of the outcomes.

python fuzz/attack.py --minutes 2 --seed 0
"""

import argparse
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from targets import TARGETS, SilentLoss, outcome

CORPUS = Path(__file__).parent / "corpus"
# Longer than this is a hang.
SECONDS = 20
WORDS = ["Dr.", "$5", "1/2", "9" * 50, "a-b" * 20, "CamelCase" * 9, "http://x.y", "3.5e9"]
WORDS += ["\u202e", "\0", "é", "日本", "😀", "<b>", "&amp;", "C4:2", "F#3"]


class Hang(BaseException):
    """Raised by the alarm; no `except Exception` catches it."""


def stop(*_):
    raise Hang


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Damage a file: flip bits, change bytes, write extreme numbers, drop, repeat or cut off pieces."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed) + 1)
        match draw.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\x7f" + b"\xff" * 3, draw.randbytes(4)])
            case 2:
                del changed[at : at + draw.randrange(64)]
            case 3:
                changed[at:at] = changed[at : at + draw.randrange(64)]
            case 4:
                del changed[at:]
            case 5:
                # Headers are where it hurts.
                changed[draw.randrange(64) : draw.randrange(64)] = draw.randbytes(draw.randrange(8))
    return bytes(changed)


def make(name: str, seeds: list[bytes], draw: random.Random) -> bytes:
    if name in ("text", "notes") and draw.random() < 0.5:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randrange(1, 30))).encode()
    if draw.random() < 0.05:
        return draw.randbytes(draw.randrange(2000))
    return mutate(draw.choice(seeds), draw)


def attack(name: str, seconds: float, draw: random.Random) -> tuple[Counter, float]:
    """Outcomes of one target, and the longest time of one input."""
    seeds = [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    counts, longest, end = Counter(), 0.0, time.monotonic() + seconds
    for data in seeds:
        outcome(name, data) if name != "text" else None  # imports and caches
    while time.monotonic() < end:
        data, start = make(name, seeds, draw), time.monotonic()
        signal.alarm(SECONDS)
        try:
            counts[outcome(name, data)] += 1
        except Hang:
            counts["hang"] += 1
        except SilentLoss as loss:
            counts["silent loss"] += 1
            print(f"{name}: {loss}: {data[:200]!r}", file=sys.stderr)
        except Exception:
            counts["crash"] += 1
            traceback.print_exc()
            print(f"{name}: {data[:200]!r}", file=sys.stderr)
        finally:
            signal.alarm(0)
        longest = max(longest, time.monotonic() - start)
    return counts, longest


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="duration of all targets together, in minutes (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random inputs (%(default)s)")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, stop)
    kinds = ("right", "clear error", "crash", "hang", "silent loss")
    print(f"| input | tried | {' | '.join(kinds)} | longest | peak memory |")
    print("|" + "---|" * (len(kinds) + 4))
    bad = 0
    for name in TARGETS:
        counts, longest = attack(name, 60 * args.minutes / len(TARGETS), random.Random(args.seed))
        cells = [counts.total(), *(counts[what] for what in kinds)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {name} | {' | '.join(map(str, cells))} | {longest:.1f} s | {peak:.0f} MB |", flush=True)
        bad += counts["crash"] + counts["hang"] + counts["silent loss"]
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
