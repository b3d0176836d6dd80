"""Measure conversion, enhancement, editing, and voices made from several recordings.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/beyond.py
    python benchmarks/beyond.py --tables conversion --number 4
    python benchmarks/beyond.py --readers FOLDER      # adds real readers: files SPEAKER_*.ogg

The script prints tables, and writes them with all utterances to `--output_dir`. It uses the recordings of
`benchmarks/prompts`, with one folder per kind of voice, and of `--readers`. The texts are whisper's transcripts of the
clean recordings, so word errors are relative to those.
"""

import argparse
import json
import math
import re
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from tqdm import tqdm

from common import (
    HERE,
    cell,
    embed_or_nobody,
    find_prompts,
    load_pipeline,
    markdown_table,
    read_sentences,
    reconstruct,
)
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.augmentation import make_pair
from ns2_diffusers.evaluation.intelligibility import stoi
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.prosody import f0_correlation
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.training.arguments import HelpFormatter

TABLES = ("prompts", "conversion", "editing", "enhancement")
# Title, key of a score, format.
COLUMNS = [
    ("cosine to the target", "target", ".3f"),
    ("to the source", "source", ".3f"),
    ("word errors", "word_errors", ".1%"),
    ("F0 correlation", "f0_correlation", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
    ("STOI", "stoi", ".3f"),
    ("new word heard", "heard", ".0%"),
    ("samples outside equal", "equal", ".0%"),
    ("utterances", "utterances", "d"),
]
# Common words that fit into most sentences.
NEW_WORDS = ("yellow", "seven", "Monday", "garden", "music")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", help="pipeline directory; the bundled model if not given")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), help="what to measure")
    parser.add_argument(
        "--prompts", default=HERE / "prompts", type=Path, help="directory with a folder a kind of voice"
    )
    parser.add_argument("--readers", type=Path, help="recordings of real readers, SPEAKER_*.*; none if not given")
    parser.add_argument("--number", type=int, default=10, help="number of utterances per row")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each recording that are used")
    parser.add_argument("--levels", type=float, nargs="+", default=[0, 5, 10, 20], help="signal-to-noise ratios, dB")
    parser.add_argument(
        "--methods", nargs="+", default=["resynthesis", "ode", "matching"], help="ways of conversion and enhancement"
    )
    parser.add_argument("--steps", type=int, help="number of sampling steps; the defaults if not given")
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument("--output_dir", default="outputs/beyond", type=Path, help="output directory")
    return parser.parse_args(argv)


def main(args):
    torch.set_num_threads(args.num_threads)
    pipe = load_pipeline(args.model)
    evaluators = Evaluators(pipe)
    kinds = find_voices(args)
    results = []
    for table in args.tables:
        rows = MAKERS[table](pipe, kinds, evaluators, args)
        results += [row | {"table": table} for row in rows]
        args.output_dir.mkdir(parents=True, exist_ok=True)
        write_text(args.output_dir / "results.json", json.dumps(results, indent=1))
        text = f"## {table}\n\n{render(rows)}"
        write_text(args.output_dir / f"{table}.md", text)
        print(text)
    return results


def find_voices(args):
    """Return recordings by kind and speaker: {kind: {speaker: [path, …]}}."""
    kinds = {}
    for path in find_prompts(args.prompts):
        kinds.setdefault(path.parent.name, {}).setdefault(path.stem.split(".")[0], []).append(path)
    for path in sorted(args.readers.glob("*_*.*")) if args.readers else []:
        kinds.setdefault("readers", {}).setdefault(path.stem.split("_")[0], []).append(path)
    return kinds


class Evaluators:
    """All evaluators, at the pipeline's sampling rate."""

    def __init__(self, pipe):
        self.words, self.naturalness, self.speakers = WordReader(), NaturalnessEvaluator(), SpeakerEvaluator()
        self.rate, self.hop = pipe.sampling_rate, pipe.codec.hop_length

    def read(self, audio):
        return self.words.read(audio, self.rate)

    def embed(self, audio):
        return embed_or_nobody(self.speakers, audio, self.rate)

    def f0(self, audio):
        return estimate_f0(torch.as_tensor(audio), self.rate, self.hop)

    def listen(self, audio, clean, text, target=None, source=None):
        """Score a waveform (samples,) that says `text` against the clean one (None if the two are not synchronous)."""
        audio = np.asarray(audio, np.float32)
        scores = {"text": text, "said": self.read(audio), "distilmos": self.naturalness.score(audio, self.rate)}
        vector = self.embed(audio)
        for name, other in (("target", target), ("source", source)):
            scores[name] = float("nan") if other is None else self.speakers.similarity(vector, other)
        if clean is not None:
            length = min(len(audio), len(clean))
            scores["f0_correlation"] = f0_correlation(self.f0(audio[:length]), self.f0(clean[:length]))
            scores["stoi"] = stoi(audio, clean, self.rate)
        return scores

    def summary(self, scores, **labels):
        """Return a row: the word error rate over all words, and means of the other scores."""
        numbers = {key for each in scores for key, value in each.items() if isinstance(value, float)}
        row = {key: mean_or_nan([each.get(key, float("nan")) for each in scores]) for key in sorted(numbers)}
        if scores and "said" in scores[0]:
            texts, heard = ([each[key] for each in scores] for key in ("text", "said"))
            row["word_errors"] = self.words.word_error_rate(texts, heard)
        return labels | row | {"utterances": len(scores), "details": scores}


def mean_or_nan(values):
    values = [value for value in values if not math.isnan(value)]
    return mean(values) if values else float("nan")


def render(rows):
    labels = list(dict.fromkeys(key for row in rows for key in row if key in ("voices", "level", "way", "recordings")))
    columns = [each for each in COLUMNS if any(not math.isnan(row.get(each[1], float("nan"))) for row in rows)]
    lines = [
        [row.get(key, "") for key in labels] + [cell(row.get(key), form) for _, key, form in columns] for row in rows
    ]
    return markdown_table([*labels, *(title for title, _, _ in columns)], lines)


def load_clean(path, pipe, evaluators, args):
    """Return the beginning of a recording (samples,) and its transcript by whisper."""
    waveform, _ = load_audio(path, None, pipe.sampling_rate, args.seconds)
    return waveform.numpy(), evaluators.read(waveform.numpy())


def seeded(index):
    return torch.Generator().manual_seed(index)


# Several recordings of a voice


def prompts(pipe, kinds, evaluators, args):
    """Measure the similarity to a held-out recording of the reader, by the number of prompts."""
    sentences = read_sentences(HERE / "sentences.txt")
    rows = []
    for kind, speakers in kinds.items():
        known = [paths for paths in speakers.values() if len(paths) > 2][: args.number]
        for number in range(1, max((len(paths) for paths in known), default=1)):
            scores = []
            for index, paths in enumerate(tqdm(known, f"prompts {kind} {number}")):
                if len(paths) <= number:
                    continue
                voice = pipe.encode_voice([str(path) for path in paths[:number]])
                target, source = evaluators.embed(load_audio(paths[-1], None, evaluators.rate)[0].numpy()), None
                options = {"voice": voice, "generator": seeded(index), "num_inference_steps": args.steps}
                audio = pipe(sentences[index], **options).audios[0]
                scores.append(evaluators.listen(audio, None, sentences[index], target, source))
            rows.append(evaluators.summary(scores, voices=kind, recordings=number))
    return rows


# Conversion


def pairs_of(speakers, number):
    """Return (source, target) recordings of different speakers, each speaker in turn."""
    names = list(speakers)
    for index in range(number if len(names) > 1 else 0):
        source, target = names[index % len(names)], names[(index + 1 + index // len(names)) % len(names)]
        if source != target:
            yield speakers[source][index // len(names) % len(speakers[source])], speakers[target][0]


def conversion(pipe, kinds, evaluators, args):
    rows = []
    for kind, speakers in kinds.items():
        ways = {way: [] for way in ("source", "text to speech", *args.methods)}
        for index, (path, target) in enumerate(tqdm(list(pairs_of(speakers, args.number)), f"conversion {kind}")):
            clean, text = load_clean(path, pipe, evaluators, args)
            voice = pipe.encode_voice(str(target))
            to, own = evaluators.embed(load_audio(target, None, evaluators.rate)[0].numpy()), evaluators.embed(clean)
            options = {"voice": voice, "generator": seeded(index), "num_inference_steps": args.steps}
            ways["source"].append(evaluators.listen(clean, clean, text, to, own))
            spoken = pipe(text, **options).audios[0]
            ways["text to speech"].append(evaluators.listen(spoken, None, text, to, own))
            for method in args.methods:
                given = None if method == "matching" else text
                options["generator"] = seeded(index)
                output = pipe.convert((evaluators.rate, clean), given, method=method, **options)
                ways[method].append(evaluators.listen(output.audios[0], clean, text, to, own))
        rows += [evaluators.summary(scores, voices=kind, way=way) for way, scores in ways.items() if scores]
    return rows


# Editing


def editing(pipe, kinds, evaluators, args):
    """Measure editing: replace the longest word in the middle of a recording by another word."""
    rows = []
    for kind, speakers in kinds.items():
        paths = [path for speaker in speakers.values() for path in speaker][: args.number]
        ways = {"recording": [], "edited": []}
        for index, path in enumerate(tqdm(paths, f"editing {kind}")):
            clean, text = load_clean(path, pipe, evaluators, args)
            words = text.split()
            middle = range(1, max(2, len(words) - 1))
            place = max(middle, key=lambda at: len(words[at]) if at < len(words) else 0)
            if place >= len(words):
                continue
            new = NEW_WORDS[index % len(NEW_WORDS)]
            changed = " ".join([*words[:place], re.sub(r"[\w'-]+", new, words[place], count=1), *words[place + 1 :]])
            options = {"generator": seeded(index), "num_inference_steps": args.steps}
            edited = pipe.edit((evaluators.rate, clean), text, changed, **options)
            own = evaluators.embed(clean)
            ways["recording"].append(evaluators.listen(clean, None, text, None, own))
            scores = evaluators.listen(edited.audio, None, changed, None, own)
            scores["heard"] = float(
                new.lower() in scores["said"].lower() or (new == "seven" and "7" in scores["said"])
            )
            (start, end), after = edited.regions[0], len(edited.audio) - edited.regions[-1][1]
            same = np.array_equal(edited.audio[:start], clean[:start])
            scores["equal"] = float(same and (not after or np.array_equal(edited.audio[end:], clean[-after:])))
            ways["edited"].append(scores)
        rows += [evaluators.summary(scores, voices=kind, way=way) for way, scores in ways.items() if scores]
    return rows


# Enhancement


def enhancement(pipe, kinds, evaluators, args):
    """Measure enhancement with noise at each level, and a room for every other recording.

    The clean voice prompt is another recording, if there is one. Methods that need the text get whisper's transcript
    of the clean recording.
    """
    rows = []
    for kind, speakers in kinds.items():
        chosen = [(paths[0], paths[-1]) for paths in speakers.values()]
        chosen = [chosen[index % len(chosen)] for index in range(min(args.number, len(chosen)))]
        clean = [load_clean(path, pipe, evaluators, args) for path, _ in chosen]
        voices = [pipe.encode_voice(str(path)) for _, path in chosen]
        for level in args.levels:
            ways = {way: [] for way in ("noisy", "codec alone", *args.methods)}
            for index, (waveform, text) in enumerate(tqdm(clean, f"enhancement {kind} {level:g} dB")):
                random = np.random.default_rng([index, round(level) + 100])
                room, own = float(index % 2), evaluators.embed(waveform)
                (noisy,), _ = make_pair(waveform[None], evaluators.rate, random, level, room, 0.0)
                coded = reconstruct(pipe.codec, torch.from_numpy(noisy)).numpy()
                ways["noisy"].append(evaluators.listen(noisy, waveform, text, None, own))
                ways["codec alone"].append(evaluators.listen(coded, waveform, text, None, own))
                for method in args.methods:
                    given = None if method == "matching" else text
                    options = {"generator": seeded(index), "num_inference_steps": args.steps, "voice": voices[index]}
                    output = pipe.enhance((evaluators.rate, noisy), given, method=method, **options)
                    ways[method].append(evaluators.listen(output.audios[0], waveform, text, None, own))
            labels = {"voices": kind, "level": f"{level:g} dB"}
            rows += [evaluators.summary(scores, way=way, **labels) for way, scores in ways.items() if scores]
    return rows


MAKERS = {"prompts": prompts, "conversion": conversion, "editing": editing, "enhancement": enhancement}

if __name__ == "__main__":
    main(parse_args())
