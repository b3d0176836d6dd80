"""Measure singing: a scale, and a tune with words, with given durations and F0, in unseen voices.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/singing.py

Every prompt of `benchmarks/prompts` sings both, starting near its speaking pitch. The table has one row per kind of
voice and song. `results.json` has every song, and the audio files are in the same folder.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from common import HERE, cell, embed_or_nobody, find_prompts, load_pipeline, markdown_table
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.prosody import audible_voice, f0_median_error
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.pipelines.singing import sing, sung_symbols, transpose
from ns2_diffusers.text.notes import VOWELS, read_notes
from ns2_diffusers.training.arguments import HelpFormatter

SONGS = {
    "scale": ("La la la la la la la la.", "C4 D4 E4 F4 G4 A4 B4 C5"),
    # "Ah! vous dirai-je, maman", France, before 1761, and Jane Taylor's "The Star" of 1806.
    "tune": (
        "Twinkle, twinkle, little star, how I wonder what you are.",
        "C4 C4 G4 G4 A4 A4 G4:2 F4 F4 E4 E4 D4 D4 C4:2",
    ),
}
COLUMNS = [
    ("notes held", "held", ".0%"),
    ("last note", "last_held", ".0%"),
    ("F0 error, cents", "f0_error", ".1f"),
    ("word errors", "word_errors", ".0%"),
    ("cosine to the prompt", "cosine", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
]


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory; the bundled model if not given")
    parser.add_argument(
        "--prompts",
        default=HERE / "prompts",
        type=Path,
        help="directory with one folder of audio files per kind of voice",
    )
    parser.add_argument("--tempo", type=float, default=100.0, help="beats per minute")
    parser.add_argument("--steps", type=int, help="number of sampling steps; the default of the pipeline if not given")
    parser.add_argument("--output_dir", default="outputs/singing", type=Path, help="output directory")
    return parser.parse_args(argv)


def main(args):
    pipe = load_pipeline(args.model)
    evaluators = WordReader(), SpeakerEvaluator(), NaturalnessEvaluator()
    paths = find_prompts(args.prompts)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    results = []
    for path in tqdm(paths):
        for name in SONGS:
            results.append({"kind": path.parent.name, "prompt": path.stem, "song": name})
            results[-1] |= score(pipe, path, name, evaluators, args)
    write_text(args.output_dir / "results.json", json.dumps(results, indent=1))
    print(table(results), end="")
    return results


def score(pipe, prompt, name, evaluators, args):
    """Score one song: the audible share of the notes, their pitch error, and the scores of the evaluators."""
    words, speaker, naturalness = evaluators
    text, notes = SONGS[name]
    notes = in_reach(read_notes(notes), prompt)
    options = {"num_inference_steps": args.steps, "generator": torch.Generator().manual_seed(0)}
    output, asked = sing(pipe, text, pipe.encode_voice(str(prompt)), notes, args.tempo, **options)
    audio, rate = output.audios[0], output.sampling_rate
    soundfile.write(args.output_dir / f"{prompt.stem}-{name}.wav", audio, rate)
    waveform, _ = load_audio(audio, rate)
    f0 = estimate_f0(waveform, rate, pipe.codec.hop_length).numpy()[: len(asked)]
    heard = [audible_voice(waveform, f0)[vowel] for vowel in vowels(pipe.tokenizer, text, output.durations[0])]
    vector = embed_or_nobody(speaker, waveform, rate)
    return {
        "held": float(np.concatenate(heard).mean()),
        "last_held": float(heard[-1].mean()),
        "f0_error": f0_median_error(f0, asked),
        "word_errors": words.word_error_rate([text], [words.read(waveform, rate)]) if name == "tune" else None,
        "cosine": float(speaker.similarity(vector, speaker.embed(prompt))),
        "distilmos": naturalness.score(waveform, rate),
    }


def vowels(tokenizer, text, durations):
    """Return the frames of each vowel, on which a note is held."""
    ends = np.cumsum(durations)
    of_symbols = zip(sung_symbols(tokenizer, text), ends - durations, ends, strict=True)
    return [slice(start, end) for symbol, start, end in of_symbols if symbol.rstrip("012") in VOWELS]


def in_reach(notes, prompt):
    """Transpose the notes by semitones, so that the first is near the prompt's median F0."""
    waveform, rate = load_audio(prompt)
    f0 = estimate_f0(waveform, rate, rate // 100).numpy()
    semitones = round(12 * np.log2(np.median(f0[f0 > 0]) / notes[0][0]))
    return transpose(notes, semitones)


def table(results):
    lines = []
    for kind, song in dict.fromkeys((result["kind"], result["song"]) for result in results):
        rows = [result for result in results if (result["kind"], result["song"]) == (kind, song)]
        lines.append([kind, song, *(cell(mean_or_none([row[key] for row in rows]), form) for _, key, form in COLUMNS)])
    return markdown_table(["prompts", "song", *(title for title, _, _ in COLUMNS)], lines)


def mean_or_none(values):
    return None if None in values else mean(values)


if __name__ == "__main__":
    main(parse_args())
