"""Sing a text to given notes with a recorded voice.

    python examples/sing.py --prompt benchmarks/prompts/kokoro/af_bella.ogg \
        --text "Twinkle, twinkle, little star, how I wonder what you are." \
        --notes "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2" --output outputs/twinkle.wav

There is one note per vowel; `:2` means two beats. Notes near the speaking pitch of the voice give the best result.
"""

import argparse
from pathlib import Path

import soundfile
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.pipelines.singing import sing, transpose
from ns2_diffusers.text.notes import read_notes
from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory or hub id; the bundled model if not given")
    parser.add_argument("--prompt", required=True, help="recording of the voice, used with the consent of the speaker")
    parser.add_argument("--text", required=True, help="text to sing")
    parser.add_argument("--notes", required=True, help="one note per vowel, such as C4:2 (C4 for two beats)")
    parser.add_argument("--tempo", type=float, default=100.0, help="beats per minute")
    parser.add_argument("--transpose", type=float, default=0.0, help="transposition in semitones")
    parser.add_argument(
        "--num_inference_steps", type=int, help="number of sampling steps; the default of the pipeline if not given"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    parser.add_argument("--output", required=True, type=Path, help="audio file to write")
    return parser.parse_args(argv)


def main(args):
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.model or ns2_diffusers.bundled())
    notes = transpose(read_notes(args.notes), args.transpose)
    options = {"num_inference_steps": args.num_inference_steps, "generator": torch.Generator().manual_seed(args.seed)}
    output, _ = sing(pipe, args.text, pipe.encode_voice(args.prompt), notes, args.tempo, **options)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(args.output, output.audios[0], output.sampling_rate)
    print(f"{args.output}: {len(output.audios[0]) / output.sampling_rate:.1f} s")


if __name__ == "__main__":
    main(parse_args())
