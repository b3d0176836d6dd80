"""Make the score table of the bundled voice: words, speaker, naturalness, melody and speed on unseen voices.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/bundled_voice.py
    python benchmarks/bundled_voice.py --num_sentences 20 --steps 8 --schedulers ddim    # a small part
    python benchmarks/bundled_voice.py --resume --lora few_steps --schedulers own --steps 1    # adds rows

The script speaks the sentences of `benchmarks/sentences.txt`, which are in no training data: each sentence once with a
voice of `benchmarks/prompts/kokoro` and once with one of `benchmarks/prompts/real`, in turn. It writes `results.json`
(every utterance), `table.md` and, on request, examples as audio and pictures.
"""

import argparse
import csv
import hashlib
import json
import math
import time
from itertools import cycle
from pathlib import Path
from statistics import mean, median

import soundfile
import torch
from tqdm import tqdm

import ns2_diffusers
from common import (
    EXAMPLES,
    HERE,
    cell,
    embed_or_nobody,
    find_prompts,
    load_example,
    load_pipeline,
    make_scheduler,
    markdown_table,
    read_sentences,
    reconstruct,
    speak,
)
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.cli import SCHEDULERS
from ns2_diffusers.evaluation.intelligibility import stoi
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.prosody import f0_correlation, f0_range
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator, VoiceFilterEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.pipelines.lora import choose_lora
from ns2_diffusers.training.arguments import HelpFormatter

# Title, key of a cell, format.
COLUMNS = [
    ("word errors", "word_error_rate", ".1%"),
    ("cosine to the prompt", "cosine", ".3f"),
    ("to other prompts", "cosine_to_others", ".3f"),
    ("second cosine", "second_cosine", ".3f"),
    ("to others", "second_cosine_to_others", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
    ("STOI", "stoi", ".3f"),
    ("F0 correlation", "f0_correlation", ".3f"),
    ("F0 range, semitones", "f0_range", ".1f"),
    ("real-time factor", "real_time_factor", ".3f"),
    ("utterances", "utterances", "d"),
]


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory; the bundled model if not given")
    parser.add_argument(
        "--lora", help="LoRA weights: a path, or a folder in the pipeline's directory; none if not given"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32], help="numbers of sampling steps")
    parser.add_argument(
        "--schedulers",
        nargs="+",
        choices=["own", *SCHEDULERS],
        default=["ddim", "euler", "dpm", "unipc", "ddpm"],
        help="samplers to compare; `own` is that of the pipeline",
    )
    parser.add_argument("--num_sentences", type=int, default=100, help="number of sentences per kind of voice")
    parser.add_argument(
        "--prompts",
        default=HERE / "prompts",
        type=Path,
        help="directory with one folder of audio files per kind of voice",
    )
    parser.add_argument(
        "--references",
        default="outputs/unseen",
        type=Path,
        help="recordings of the synthetic voices, made by `examples/corpus/make_corpus.py --unseen`",
    )
    parser.add_argument(
        "--clips",
        default=EXAMPLES / "asterisk",
        type=Path,
        help="recordings of a real person: `metadata.csv` and audio, as made by `examples/asterisk/make_clips.py`",
    )
    parser.add_argument(
        "--num_recordings",
        type=int,
        default=30,
        help="number of recordings per kind of voice in the rows `recordings` and `codec`",
    )
    parser.add_argument(
        "--guidance_scale", type=float, help="guidance scale; the default of the pipeline if not given"
    )
    parser.add_argument(
        "--voice_matching", type=float, help="voice matching, 0 to 1; the default of the pipeline if not given"
    )
    parser.add_argument("--temperature", type=float, help="temperature; the default of the pipeline if not given")
    parser.add_argument("--device", default="cpu", help="device of the pipeline")
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument(
        "--num_examples", type=int, default=0, help="number of utterances to keep as audio and pictures"
    )
    parser.add_argument(
        "--examples_dir", type=Path, help="directory of these utterances; OUTPUT_DIR/examples if not given"
    )
    parser.add_argument("--output_dir", default="outputs/bundled_voice", type=Path, help="output directory")
    parser.add_argument(
        "--resume", action="store_true", help="keep results in --output_dir that have at least as many sentences"
    )
    return parser.parse_args(argv)


def main(args):
    torch.set_num_threads(args.num_threads)
    model = args.model or ns2_diffusers.bundled()
    pipe = load_pipeline(model, args.device)
    results = begin(pipe, model, args)
    if args.lora:
        pipe.load_lora_weights(choose_lora(args.lora, model))
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    evaluators = Evaluators(pipe.codec.hop_length)
    prompts = read_prompts(args.prompts, evaluators)
    sentences = read_sentences(HERE / "sentences.txt", args.num_sentences)
    for kind, voices in prompts.items():
        for codec in (None, pipe.codec):
            row = {"kind": kind, "scheduler": "codec" if codec else "recordings"}
            # Accept any number of recordings, because some voices have few.
            if is_wanted(results["levels"], row, min(args.num_recordings, 1)):
                results["levels"].append(recordings_level(kind, voices, evaluators, args, codec) | row)
    own = pipe.scheduler
    for name in args.schedulers:
        pipe.scheduler = own if name == "own" else make_scheduler(name, own.config)
        for steps in args.steps:
            for kind, voices in prompts.items():
                row = {"kind": kind, "scheduler": label(name, args.lora), "steps": steps}
                if not is_wanted(results["cells"], row, len(sentences)):
                    continue
                speech = speak(pipe, sentences, [voice["path"] for voice in voices], **options(steps, args))
                speech = tqdm(speech, f"{name} {steps} {kind}", len(sentences))
                spoken = [each | {"voice": voice} for each, voice in zip(speech, cycle(voices), strict=False)]
                results["cells"].append(score(spoken, voices, evaluators) | row)
                keep = args.num_examples if name == args.schedulers[0] and steps == max(args.steps) else 0
                folder = args.examples_dir or args.output_dir / "examples"
                keep_examples(spoken[: math.ceil(keep / len(prompts))], kind, folder)
                write_results(results, args.output_dir)
    write_results(results, args.output_dir)
    print((args.output_dir / "table.md").read_text(encoding="utf-8"))
    return results


def begin(pipe, model, args):
    """Return empty results, or the results to resume, which must have the same weights and settings."""
    scale = pipe.config.default_guidance_scale if args.guidance_scale is None else args.guidance_scale
    matching = pipe.config.default_voice_matching if args.voice_matching is None else args.voice_matching
    settings = {
        "model": Path(model).name,
        "weights": digest(pipe),
        "num_threads": args.num_threads,
        "device": args.device,
        "guidance_scale": scale,
        "voice_matching": matching,
        "temperature": args.temperature,
    }
    path = args.output_dir / "results.json"
    if not (args.resume and path.exists()):
        return settings | {"levels": [], "cells": []}
    before = json.loads(path.read_text(encoding="utf-8"))
    others = {key: before.get(key) for key, value in settings.items() if before.get(key) != value}
    if others:
        raise ValueError(
            f"{path} was measured with {others}, and now it is { {key: settings[key] for key in others} }: leave out "
            "--resume, or choose another --output_dir."
        )
    return before


def digest(pipe):
    """Return a hash that identifies the weights of a pipeline."""
    found = hashlib.sha256()
    for _, part in sorted(pipe.components.items()):
        for tensor in part.state_dict().values() if isinstance(part, torch.nn.Module) else ():
            found.update(tensor.cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def is_wanted(rows, row, utterances):
    """Return whether a row has to be made. Remove an equal row with fewer utterances."""
    like = [each for each in rows if row.items() <= each.items()]
    for each in like:
        if each["utterances"] < utterances:
            rows.remove(each)
    return all(each["utterances"] < utterances for each in like)


def label(scheduler, lora):
    """Return the table label of a sampler, or of adapters, which include their own sampler."""
    names = [Path(lora).name] if lora else []
    return ", ".join(names + [scheduler] * (not lora or scheduler != "own"))


class Evaluators:
    """All evaluators, loaded before anything is spoken, so that a missing package is an error at once."""

    def __init__(self, hop_length):
        self.words, self.naturalness = WordReader(), NaturalnessEvaluator()
        self.speakers = {"cosine": SpeakerEvaluator(), "second_cosine": VoiceFilterEvaluator()}
        self.hop_length = hop_length

    def listen(self, audio, rate):
        """Return scores that do not depend on a prompt: transcript, naturalness, d-vectors by evaluator, and F0."""
        waveform, rate = load_audio(audio, rate)
        f0 = estimate_f0(waveform, rate, self.hop_length)
        return {
            "heard": self.words.read(waveform, rate),
            "vectors": self.embed(waveform, rate),
            "distilmos": self.naturalness.score(waveform, rate),
            "f0_range": f0_range(f0),
        }, f0

    def embed(self, audio, rate=None):
        return {name: embed_or_nobody(evaluator, audio, rate) for name, evaluator in self.speakers.items()}

    def cosines(self, vectors, own, others):
        """Return mean cosines of d-vectors to those of voices that should be near, and of voices that should not."""
        found = {}
        for name, evaluator in self.speakers.items():
            for key, voices in ((name, own), (f"{name}_to_others", others)):
                near = [evaluator.similarity(vectors[name], voice["vectors"][name]) for voice in voices]
                found[key] = mean_or_nan(near)
        return found


def read_prompts(folder, evaluators):
    """Return voices by kind, one folder per kind: name, speaker (the name up to a full stop), path and d-vectors."""
    kinds = {}
    for path in find_prompts(folder):
        voice = {"name": path.stem, "speaker": path.stem.split(".")[0], "path": path}
        kinds.setdefault(path.parent.name, []).append(voice | {"vectors": evaluators.embed(path)})
    return kinds


def options(steps, args):
    own = {name: getattr(args, name) for name in ("guidance_scale", "voice_matching", "temperature")}
    return {"num_inference_steps": steps} | own


def score(spoken, voices, evaluators):
    """Score utterances with all evaluators, for one row of the table."""
    utterances = []
    for each in tqdm(spoken, "scored", leave=False):
        scored, f0 = evaluators.listen(each["audio"], each["rate"])
        others = [voice for voice in voices if voice["speaker"] != each["voice"]["speaker"]]
        planned = torch.as_tensor(each["planned_f0"])
        each["heard"] = scored["heard"]
        utterances.append(
            {
                "text": each["text"],
                "prompt": each["voice"]["name"],
                **evaluators.cosines(scored.pop("vectors"), [each["voice"]], others),
                # Compare the planned melody with the spoken one. A text of several sentences has pauses in between.
                "f0_correlation": f0_correlation(f0, planned) if len(f0) == len(planned) else float("nan"),
                **scored,
            }
        )
    seconds = sum(len(each["audio"]) / each["rate"] for each in spoken)
    return summary(utterances, evaluators) | {
        "real_time_factor": sum(each["elapsed"] for each in spoken) / seconds,
        "utterances": len(utterances),
        "details": utterances,
    }


def summary(utterances, evaluators):
    """Return the word error rate over all words, medians of the ranges, and means of the other scores."""
    texts, heard = ([utterance[key] for utterance in utterances] for key in ("text", "heard"))
    numbers = {key for utterance in utterances for key, value in utterance.items() if isinstance(value, float)}
    averages = {key: mean_or_nan([utterance[key] for utterance in utterances]) for key in sorted(numbers)}
    ranges = [utterance["f0_range"] for utterance in utterances if not math.isnan(utterance["f0_range"])]
    f0 = median(ranges) if ranges else float("nan")
    return averages | {"word_error_rate": evaluators.words.word_error_rate(texts, heard), "f0_range": f0}


def mean_or_nan(values):
    values = [value for value in values if not math.isnan(value)]
    return mean(values) if values else float("nan")


def recordings_level(kind, voices, evaluators, args, codec=None):
    """Score recordings of the same voices, or their reconstruction by a codec: the upper bound."""
    recordings = {
        "kokoro": lambda: read_references(args.references),
        "real": lambda: read_clips(args.clips),
    }.get(kind, list)()
    name, utterances, elapsed, seconds = "codec" if codec else "recordings", [], 0.0, 0.0
    for path, text, speaker in tqdm(recordings[: args.num_recordings], f"{name} {kind}"):
        audio, rate = load_audio(path, None, codec.sampling_rate if codec else None)
        extra = {}
        if codec:
            started = time.perf_counter()
            original, audio = audio, reconstruct(codec, audio)
            elapsed += time.perf_counter() - started
            extra["stoi"] = stoi(audio, original, rate)
        seconds += len(audio) / rate
        scored, _ = evaluators.listen(audio, rate)
        same = [voice for voice in voices if voice["speaker"] == speaker]
        others = [voice for voice in voices if voice["speaker"] != speaker]
        cosines = evaluators.cosines(scored.pop("vectors"), same, others)
        utterances.append({"text": text, **cosines, **extra, **scored})
    level = summary(utterances, evaluators) if utterances else {}
    if codec and utterances:
        level["real_time_factor"] = elapsed / seconds
    return level | {"utterances": len(utterances)}


def read_references(folder):
    """Return all utterances of each voice except the first, which is its prompt."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        print(
            f"no recordings of the Kokoro voices at {folder}: make them with examples/corpus/make_corpus.py --unseen"
        )
        return []
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    return [
        (folder / "audio" / f"{row['id']}.ogg", row["text"], row["speaker"])
        for row in rows
        if not row["id"].endswith("_0")
    ]


def read_clips(folder):
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        return [(folder / row["file"], row["text"], "allison") for row in csv.DictReader(file)]


def write_results(results, folder):
    """Rewrite both files after every cell, so that a stopped run keeps its results."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"results.json": json.dumps(results, indent=1), "table.md": table(results)}.items():
        write_text(folder / name, text)


def table(results):
    lines, rows = [], results["levels"] + results["cells"]
    names = list(dict.fromkeys(row["scheduler"] for row in rows))
    for row in sorted(rows, key=lambda row: (row["kind"], names.index(row["scheduler"]), row.get("steps"))):
        values = [cell(row.get(key), form) for _, key, form in COLUMNS]
        lines.append([row["kind"], row["scheduler"], row.get("steps", ""), *values])
    return markdown_table(["prompts", "scheduler", "steps", *(title for title, _, _ in COLUMNS)], lines)


def keep_examples(spoken, kind, folder):
    """Write audio, a picture of prompt and result, and a list of the texts."""
    if not spoken:
        return
    folder.mkdir(parents=True, exist_ok=True)
    plot_spectrograms = load_example("plot_spectrograms")
    lines = [f"\n## {kind}\n", "| prompt | text | whisper heard | audio |", "|---|---|---|---|"]
    for number, each in enumerate(spoken, 1):
        voice = each["voice"]
        audio = folder / f"{kind}-{number:02d}-{voice['name']}.ogg"
        peak = max(abs(each["audio"]).max(), 1)
        soundfile.write(audio, each["audio"] / peak, each["rate"], format="OGG", subtype="OPUS")
        pictures = [f"prompt={voice['path']}", f"result={audio}", "--output", str(audio.with_suffix(".webp"))]
        plot_spectrograms.main(plot_spectrograms.parse_args(pictures))
        links = f"[listen]({audio.name}), [look]({audio.with_suffix('.webp').name})"
        lines.append(f"| {voice['name']} | {each['text']} | {each['heard']} | {links} |")
    (folder / f"{kind}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(parse_args())
