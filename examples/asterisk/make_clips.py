"""Make the clips of this folder again from Debian's packages of the Asterisk prompts.

    apt-get install ffmpeg asterisk-core-sounds-en asterisk-core-sounds-en-g722
    python examples/asterisk/make_clips.py

The recordings are by Allison Smith, CC-BY-SA-3.0 (LICENSE.md beside this file).
"""

import csv
import gzip
import subprocess
from pathlib import Path

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
CLIPS = """at-tone-time-exactly cannot-complete-as-dialed conf-getchannel conf-onlyone conf-placeintoconf
conf-roll-callcomplete conf-waitforleader confbridge-lock-no-join confbridge-removed demo-nomatch dir-nomore
feature-not-avail-line followme/pls-hold-while-try privacy-prompt queue-quantity2 vm-newpassword vm-nobodyavail
vm-review-urgent vm-sorry vm-whichbox""".split()


def main():
    folder = Path(__file__).parent
    transcripts = dict(line.rstrip("\n").split(": ", 1) for line in gzip.open(TRANSCRIPTS, "rt") if ": " in line)
    with open(folder / "metadata.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "text"])
        for name in CLIPS:
            flac = f"{Path(name).name}.flac"
            command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "g722", "-i", SOUNDS / f"{name}.g722"]
            subprocess.run([*command, "-ar", "16000", "-ac", "1", folder / flac], check=True)
            text = " ".join(transcripts[name].strip(". ").split())
            table.writerow([flac, text[0].upper() + text[1:] + "."])


if __name__ == "__main__":
    main()
