"""Sing a text to notes, with a recorded voice.

    python examples/sing.py --prompt benchmarks/prompts/kokoro/af_bella.ogg \
        --text "Twinkle, twinkle, little star, how I wonder what you are." \
        --notes "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2" --output outputs/twinkle.wav

A note a vowel, `:2` for two beats. The nearer the notes are to how high the voice speaks, the better.
"""

import argparse
from pathlib import Path

import soundfile
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.text.notes import draw_out, read_notes, set_to_notes


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="pipeline directory or hub id (the bundled voice)")
    parser.add_argument("--prompt", required=True, help="a recording of the voice, with its owner's consent")
    parser.add_argument("--text", required=True)
    parser.add_argument("--notes", required=True)
    parser.add_argument("--tempo", type=float, default=100.0, help="beats a minute")
    parser.add_argument("--transpose", type=float, default=0.0, help="semitones")
    parser.add_argument("--num_inference_steps", type=int, help="the pipeline's own number if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, type=Path, help="audio file")
    return parser.parse_args(argv)


def sing(pipe, text, voice, notes, seconds_a_beat, **options):
    """What the pipeline makes of a text on notes (Hz and beats, a note a vowel), and the pitch asked of it, a value a
    frame. Consonants are as long as it would speak them.
    """
    phonemes = draw_out(pipe.tokenizer.phonemize(text), pipe.tokenizer)
    symbols = pipe.tokenizer.convert_ids_to_tokens(pipe.tokenizer(phonemes, is_phonemes=True)["input_ids"])
    spoken = pipe(phonemes=phonemes, voice=voice, num_inference_steps=1, output_type="latent")
    frames_a_beat = seconds_a_beat * pipe.codec.frame_rate
    durations, pitch = set_to_notes(symbols, spoken.durations[0], notes, frames_a_beat)
    output = pipe(phonemes=phonemes, voice=voice, durations=durations, pitch=pitch, **options)
    return output, pitch.repeat(durations)


def main(args):
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.model or ns2_diffusers.bundled())
    notes = [(hz * 2 ** (args.transpose / 12), beats) for hz, beats in read_notes(args.notes)]
    options = {"num_inference_steps": args.num_inference_steps, "generator": torch.Generator().manual_seed(args.seed)}
    output, _ = sing(pipe, args.text, pipe.encode_voice(args.prompt), notes, 60 / args.tempo, **options)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(args.output, output.audios[0], output.sampling_rate)
    print(f"{args.output}: {len(output.audios[0]) / output.sampling_rate:.1f} s")


if __name__ == "__main__":
    main(parse_args())
