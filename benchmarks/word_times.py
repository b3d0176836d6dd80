"""Compare the word times of the pipeline with those of whisper.

    pip install -e ".[eval]"
    python benchmarks/word_times.py --sentences 50 --word_delay 0.06

Whisper's times are not ground truth: its words are contiguous, so a word begins where the previous one ends, and the
first begins at 0. A model whose words have a constant delay stores it as `word_delay_seconds` in its config.
"""

import argparse
import difflib
import re

import numpy as np
import torch

from common import HERE, load_pipeline, read_sentences
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.words import SAMPLING_RATE, WordReader
from ns2_diffusers.pipelines.named_voices import NAMES
from ns2_diffusers.training.arguments import HelpFormatter

NEAR_SECONDS = 0.08


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory; the bundled model if not given")
    parser.add_argument("--sentences", type=int, default=50, help="number of sentences")
    parser.add_argument("--steps", type=int, help="number of sampling steps; the default of the pipeline if not given")
    parser.add_argument("--word_delay", type=float, help="word_delay_seconds; that of the config if not given")
    return parser.parse_args(argv)


def plain(word):
    return re.sub(r"[^a-z0-9]", "", word.lower())


def differences(ours, theirs):
    """Return differences of (start, end), ours minus theirs, in seconds, for words in both.

    Words are (text, start, end).
    """
    texts = [[plain(word[0]) for word in words] for words in (ours, theirs)]
    blocks = difflib.SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
    pairs = [(ours[block.a + index], theirs[block.b + index]) for block in blocks for index in range(block.size)]
    return [(a[1] - b[1], a[2] - b[2]) for a, b in pairs]


def main(args):
    pipe, reader, found = load_pipeline(args.model), WordReader(), []
    if args.word_delay is not None:
        pipe.register_to_config(word_delay_seconds=args.word_delay)
    for index, sentence in enumerate(read_sentences(HERE / "sentences.txt", args.sentences)):
        generator = torch.Generator().manual_seed(index)
        voice = NAMES[index % len(NAMES)]
        output = pipe(sentence, voice=voice, generator=generator, num_inference_steps=args.steps)
        waveform = load_audio((output.sampling_rate, output.audios[0]), target_sampling_rate=SAMPLING_RATE)[0]
        segments, _ = reader.model.transcribe(waveform.numpy(), language="en", beam_size=5, word_timestamps=True)
        theirs = [(word.word, word.start, word.end) for segment in segments for word in segment.words]
        found += differences([(word.text, word.start, word.end) for word in output.words[0]], theirs)
    starts, ends = np.asarray(found).T
    print(f"{len(found)} words of {args.sentences} sentences, ours minus whisper's:")
    for name, seconds in (("starts", starts), ("ends", ends)):
        near = np.mean(np.abs(seconds) <= NEAR_SECONDS + 1e-6)
        print(f"{name}: median {np.median(seconds):+.3f} s, {near:.0%} within {NEAR_SECONDS:g} s")


if __name__ == "__main__":
    main(parse_args())
