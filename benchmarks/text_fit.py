"""Measure how the fit of `pipe.align` tells the text of a recording from other texts.

    python benchmarks/text_fit.py
    python benchmarks/text_fit.py --noise 20 10 0

The recordings are the real ones of `examples/asterisk` and the five of `benchmarks/prompts/kokoro`. Each is aligned to
its own text and to the text of the same set whose length is nearest to that of its own.
"""

import argparse
import csv
import warnings

import numpy as np
import torch

from common import HERE, load_pipeline
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.training.arguments import HelpFormatter

EXAMPLES = HERE.parent / "examples"
# Voices of `prompts/kokoro`, in the order in which they read seven sentences of `unseen.txt` each.
VOICES = ("af_bella", "am_michael", "bf_emma", "bm_george", "am_puck")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory; the bundled model if not given")
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[], help="also with white noise, in dB below the speech"
    )
    return parser.parse_args(argv)


def recordings():
    """The recordings of each set, with their texts."""
    with open(EXAMPLES / "asterisk" / "metadata.csv", encoding="utf-8") as file:
        real = [(EXAMPLES / "asterisk" / row["file"], row["text"]) for row in csv.DictReader(file)]
    lines = (EXAMPLES / "corpus" / "unseen.txt").read_text(encoding="utf-8").splitlines()
    texts = dict(zip(VOICES, lines[::7], strict=True))
    kokoro = [(HERE / "prompts" / "kokoro" / f"{voice}.ogg", text) for voice, text in texts.items()]
    return {"asterisk": real, "kokoro": kokoro}


def other_text(texts, own):
    """The text whose length is nearest to that of another."""
    return min((text for text in texts if text != own), key=lambda text: abs(len(text) - len(own)))


def measure(pipe, items, noise=None):
    """Fit and warnings of each recording with its own text, and with another one: two lists of (fit, warned)."""
    found = [], []
    for index, (path, text) in enumerate(items):
        waveform, rate = load_audio(path)
        if noise is not None:
            generator = torch.Generator().manual_seed(index)
            level = waveform.std() * 10 ** (-noise / 20)
            waveform = waveform + level * torch.randn(waveform.shape, generator=generator)
        for given, rows in zip((text, other_text([each for _, each in items], text)), found, strict=True):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit = pipe.align((rate, waveform), given).fit
            rows.append((fit, any("fits the recording badly" in str(each.message) for each in caught)))
    return found


def main(args):
    pipe = load_pipeline(args.model)
    print("| recordings | noise | text | fit: least, median, most | warnings |")
    print("|---|---|---|---|---|")
    for noise in (None, *args.noise):
        for name, items in recordings().items():
            for what, rows in zip(("own", "other"), measure(pipe, items, noise), strict=True):
                fits = np.array([fit for fit, _ in rows])
                spread = f"{fits.min():.2f}, {np.median(fits):.2f}, {fits.max():.2f}"
                level = "none" if noise is None else f"{noise:g} dB"
                print(f"| {name} | {level} | {what} | {spread} | {sum(warned for _, warned in rows)} of {len(rows)} |")


if __name__ == "__main__":
    main(parse_args())
