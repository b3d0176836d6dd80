"""Compare the word times of the pipeline with those of whisper and of a forced aligner.

    pip install -e ".[eval]" pocketsphinx
    python benchmarks/word_times.py --sentences 50

The aligner is pocketsphinx: it is told the words and finds them in the audio, in steps of 10 ms. Whisper's times are
less accurate, as the third comparison shows: its words are contiguous, so a word begins where the previous one ends,
and the first begins at 0. Sentences with words that the dictionary of the aligner lacks are left out of all
comparisons. A model whose words have a constant delay stores it as `word_delay_seconds` in its config.
"""

import argparse
import difflib
import re

import numpy as np
import torch

from common import HERE, load_pipeline, read_sentences
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.pipelines.named_voices import NAMES
from ns2_diffusers.training.arguments import HelpFormatter

NEAR_SECONDS = 0.08
SAMPLING_RATE = 16000
SECONDS_PER_FRAME = 0.01


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


class ForcedAligner:
    """Times of known words by pocketsphinx's English model."""

    def __init__(self):
        try:
            import pocketsphinx
        except ImportError as error:
            raise SystemExit("the forced aligner is missing: pip install pocketsphinx") from error
        self.config = pocketsphinx.Config(samprate=SAMPLING_RATE, bestpath=False, loglevel="FATAL")
        self.new_decoder = pocketsphinx.Decoder
        self.known = self.new_decoder(self.config).lookup_word

    def align(self, audio, rate, text):
        """Return (word, start, end) of each word of a text in a waveform (samples,); None if a word is unknown."""
        words = [re.sub(r"[^a-z']", "", word.lower()) for word in text.split()]
        if not all(self.known(word) for word in words):
            return None
        waveform = load_audio((rate, audio), target_sampling_rate=SAMPLING_RATE)[0].numpy()
        decoder = self.new_decoder(self.config)
        decoder.set_align_text(" ".join(words))
        decoder.start_utt()
        decoder.process_raw((waveform.clip(-1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        # Pauses and noises are in angle or square brackets; other pronunciations have a number in parentheses.
        return [
            (
                re.sub(r"\(\d+\)", "", part.word),
                part.start_frame * SECONDS_PER_FRAME,
                (part.end_frame + 1) * SECONDS_PER_FRAME,
            )
            for part in decoder.seg()
            if part.word[0] not in "<["
        ]


def report(title, found):
    print(f"{title}, {len(found)} words:")
    for name, seconds in zip(("starts", "ends"), np.asarray(found).T, strict=True):
        near = np.mean(np.abs(seconds) <= NEAR_SECONDS + 1e-6)
        print(f"  {name}: median {np.median(seconds):+.3f} s, {near:.1%} within {NEAR_SECONDS:g} s")


def main(args):
    pipe, reader, aligner = load_pipeline(args.model), WordReader(), ForcedAligner()
    found = {"pipeline minus aligner": [], "pipeline minus whisper": [], "whisper minus aligner": []}
    if args.word_delay is not None:
        pipe.register_to_config(word_delay_seconds=args.word_delay)
    for index, sentence in enumerate(read_sentences(HERE / "sentences.txt", args.sentences)):
        generator = torch.Generator().manual_seed(index)
        voice = NAMES[index % len(NAMES)]
        output = pipe(sentence, voice=voice, generator=generator, num_inference_steps=args.steps)
        aligned = aligner.align(output.audios[0], output.sampling_rate, sentence)
        if aligned is None:
            continue
        ours = [(word.text, word.start, word.end) for word in output.words[0]]
        heard = reader.read_words((output.sampling_rate, output.audios[0]))
        for pair, name in zip(((ours, aligned), (ours, heard), (heard, aligned)), found, strict=True):
            found[name] += differences(*pair)
    for title, pairs in found.items():
        report(title, pairs)


if __name__ == "__main__":
    main(parse_args())
