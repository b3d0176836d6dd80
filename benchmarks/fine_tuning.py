"""Measure the effect of fine-tuning on a voice: similarity and words of held-out sentences, before and after.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/fine_tuning.py --held_out held_out.csv --prompt prompt.wav \
        before=my-model lora=outputs/lora all=outputs/fine-tuned

Every pipeline speaks the texts of `held_out.csv` (`file,text`, recordings of the new voice that it was not trained on)
with the same prompt and noise. Similarity is the cosine between its speech and the recording of the same sentence.
The script prints one table row per pipeline. The first row is the recordings themselves, through the codec of the
first pipeline.
"""

import argparse
import csv
from pathlib import Path
from statistics import mean

import torch

from common import load_pipeline, markdown_table, reconstruct
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "pipelines", nargs="+", metavar="TITLE=DIRECTORY", help="pipelines to compare, each with a title"
    )
    parser.add_argument(
        "--held_out",
        required=True,
        help="CSV of held-out recordings with the columns file (relative to the CSV) and text",
    )
    parser.add_argument("--prompt", required=True, help="recording of the new voice")
    parser.add_argument("--num_inference_steps", type=int, default=32, help="number of sampling steps")
    parser.add_argument("--max_sentences", type=int, help="number of recordings to use; all if not given")
    return parser.parse_args(argv)


def main(args, evaluator=None, reader=None):
    evaluator, reader = evaluator or SpeakerEvaluator(), reader or WordReader()
    folder = Path(args.held_out).parent
    with open(args.held_out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[: args.max_sentences]
    texts, recordings = [row["text"] for row in rows], [folder / row["file"] for row in rows]
    references = [evaluator.embed(recording) for recording in recordings]
    table = {}
    for named in args.pipelines:
        title, _, directory = named.rpartition("=")
        pipe = load_pipeline(directory)
        if not table:
            heard = [(through_codec(pipe, recording), pipe.sampling_rate) for recording in recordings]
            table["recordings through the codec"] = scores(heard, texts, references, evaluator, reader)
        heard = [(speak(pipe, text, index, args), pipe.sampling_rate) for index, text in enumerate(texts)]
        table[title or Path(directory).name] = scores(heard, texts, references, evaluator, reader)
    lines = [[title, f"{near:.3f}", f"{errors:.1%}", len(texts)] for title, (near, errors) in table.items()]
    print(markdown_table(["pipeline", "speaker similarity", "word errors", "sentences"], lines), end="")
    return table


def speak(pipe, text, index, args):
    generator = torch.Generator().manual_seed(index)
    steps = args.num_inference_steps
    return pipe(text, prompt_audio=args.prompt, num_inference_steps=steps, generator=generator).audios[0]


def through_codec(pipe, recording):
    waveform, _ = load_audio(recording, target_sampling_rate=pipe.sampling_rate)
    return reconstruct(pipe.codec, waveform).numpy()


def scores(heard, texts, references, evaluator, reader):
    similarities = [
        evaluator.similarity(evaluator.embed(audio, rate), reference)
        for (audio, rate), reference in zip(heard, references, strict=True)
    ]
    return mean(similarities), reader.word_error_rate(texts, [reader.read(audio, rate) for audio, rate in heard])


if __name__ == "__main__":
    main(parse_args())
