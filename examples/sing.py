"""Sing a text to notes, with a recorded voice.

    python examples/sing.py --prompt benchmarks/prompts/kokoro/af_bella.ogg \
        --text "Twinkle, twinkle, little star, how I wonder what you are." \
        --notes "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2" --output outputs/twinkle.wav

A note a vowel, `:2` for two beats. The nearer the notes are to how high the voice speaks, the better.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.pipelines.utterances import fade
from ns2_diffusers.text.notes import read_notes, set_to_notes

# Speech lets a last vowel die away, and so do models that learned from it, however long the note. So songs are sung
# with one syllable more, so many seconds a symbol, which is cut off.
ENCORE, ENCORE_SECONDS = "la.", 0.1


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
    words, encore = words_of(pipe.tokenizer, text), pipe.tokenizer.phonemize(ENCORE)
    what = {"phonemes": f"{words} {encore}", "voice": voice}
    spoken = pipe(**what, num_inference_steps=1, output_type="latent").durations[0]
    # The end, if there is a symbol for it, is the encore's.
    symbols = symbols_of(pipe.tokenizer, words)
    symbols = symbols[: len(symbols) - (pipe.tokenizer.eos_token is not None)]
    count, rate = len(symbols), pipe.codec.frame_rate
    durations, pitch = set_to_notes(symbols, spoken[:count], notes, seconds_a_beat * rate)
    more = len(spoken) - count
    what["durations"] = np.append(durations, [round(ENCORE_SECONDS * rate)] * more)
    what["pitch"] = np.append(pitch, [pitch[-1]] * more)
    output = pipe(**what, **options)
    frames = durations.sum()
    audio = torch.as_tensor(output.audios[0])[..., : frames * pipe.codec.hop_length]
    audio, f0 = fade(audio, output.sampling_rate).numpy(), output.f0[0][:frames]
    return replace(output, audios=[audio], durations=[durations], f0=[f0]), pitch.repeat(durations)


def words_of(tokenizer, text):
    """Phonemes of a text without its last stop, after which nothing is sung."""
    return tokenizer.phonemize(text.rstrip(" .,;:!?…"))


def symbols_of(tokenizer, phonemes):
    return tokenizer.convert_ids_to_tokens(tokenizer(phonemes, is_phonemes=True)["input_ids"])


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
