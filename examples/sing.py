"""Sing a text to notes, with a recorded voice.

    python examples/sing.py --prompt benchmarks/prompts/kokoro/af_bella.ogg \
        --text "Twinkle, twinkle, little star, how I wonder what you are." \
        --notes "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2" --output outputs/twinkle.wav

A note a vowel, `:2` for two beats. The nearer the notes are to how high the voice speaks, the better.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import soundfile
import torch

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.pipelines.pipeline_naturalspeech2 import fade
from ns2_diffusers.text.notes import read_notes, set_to_notes

# Speech lets a last vowel die away, and so do models that learned from it, however long the note. So songs are sung
# with one syllable more, of so many seconds, which is cut off.
ENCORE, ENCORE_SECONDS = "la.", 0.4


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
    words = words_of(pipe.tokenizer, text)
    phonemes = f"{words} {pipe.tokenizer.phonemize(ENCORE)}"
    spoken = pipe(phonemes=phonemes, voice=voice, num_inference_steps=1, output_type="latent")
    encore = notes[-1][0], ENCORE_SECONDS / seconds_a_beat
    frames_a_beat = seconds_a_beat * pipe.codec.frame_rate
    symbols = symbols_of(pipe.tokenizer, phonemes)
    durations, pitch = set_to_notes(symbols, spoken.durations[0], [*notes, encore], frames_a_beat)
    output = pipe(phonemes=phonemes, voice=voice, durations=durations, pitch=pitch, **options)
    # The end, if there is a symbol for it, is the encore's.
    count = len(symbols_of(pipe.tokenizer, words)) - (pipe.tokenizer.eos_token is not None)
    frames = durations[:count].sum()
    audio = torch.as_tensor(output.audios[0])[..., : frames * pipe.codec.hop_length]
    audio, f0 = fade(audio, output.sampling_rate).numpy(), output.f0[0][:frames]
    output = replace(output, audios=[audio], durations=[durations[:count]], f0=[f0])
    return output, pitch.repeat(durations)[:frames]


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
