"""Make the clips of this folder again from Debian's packages of the Asterisk prompts, or make a set of other clips.

    apt-get install ffmpeg asterisk-core-sounds-en asterisk-core-sounds-en-g722
    python examples/asterisk/make_clips.py
    python examples/asterisk/make_clips.py --minutes 5 --output_dir outputs/allison

The second command writes the given number of minutes of sentences that are not in this folder, to fine-tune to this
voice with this folder's clips held out. The recordings are by Allison Smith, CC-BY-SA-3.0 (LICENSE.md beside this
file).
"""

import argparse
import csv
import gzip
import random
import subprocess
from pathlib import Path

import soundfile

from ns2_diffusers.training.arguments import HelpFormatter

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
CLIPS = """at-tone-time-exactly cannot-complete-as-dialed conf-getchannel conf-onlyone conf-placeintoconf
conf-roll-callcomplete conf-waitforleader confbridge-lock-no-join confbridge-removed demo-nomatch dir-nomore
feature-not-avail-line followme/pls-hold-while-try privacy-prompt queue-quantity2 vm-newpassword vm-nobodyavail
vm-review-urgent vm-sorry vm-whichbox""".split()


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--minutes",
        type=float,
        help="minutes of other clips, each 2 to 12 seconds long; the clips of this folder if not given",
    )
    parser.add_argument("--output_dir", default=Path(__file__).parent, help="output directory of the clips")
    args = parser.parse_args(argv)
    if args.minutes and Path(args.output_dir).resolve() == Path(__file__).parent.resolve():
        parser.error("--minutes needs an --output_dir of its own: this folder has the held-out clips.")
    return args


def main(args):
    folder = Path(args.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    transcripts = dict(line.rstrip("\n").split(": ", 1) for line in gzip.open(TRANSCRIPTS, "rt") if ": " in line)
    texts = {name: as_sentence(text) for name, text in transcripts.items() if "[" not in text and text.strip(". ")}
    seconds = 0.0
    with open(folder / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "text"])
        for name in others(texts) if args.minutes else CLIPS:
            if args.minutes and seconds >= 60 * args.minutes:
                break
            flac = decode(name, folder)
            length = soundfile.info(flac).duration
            if args.minutes and not 2 <= length <= 12:
                flac.unlink()
                continue
            seconds += length
            table.writerow([flac.name, texts[name]])


def others(texts):
    """Return the names of clips whose texts are not in this folder, in a fixed order."""
    held_out = {texts[name] for name in CLIPS}
    there = sorted(name for name in texts if texts[name] not in held_out and (SOUNDS / f"{name}.g722").exists())
    # Keep one clip per file name: the names come from several folders.
    names = list({Path(name).name: name for name in there}.values())
    random.Random(0).shuffle(names)
    return names


def as_sentence(text):
    text = " ".join(text.strip(". ").split())
    return text[0].upper() + text[1:] + "."


def decode(name, folder):
    flac = folder / f"{Path(name).name}.flac"
    command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "g722", "-i", SOUNDS / f"{name}.g722"]
    subprocess.run([*command, "-ar", "16000", "-ac", "1", flac], check=True)
    return flac


if __name__ == "__main__":
    main(parse_args())
