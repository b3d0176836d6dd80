"""Measure conversion, enhancement, editing, and voices made from several recordings.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4
    python benchmarks/beyond.py
    python benchmarks/beyond.py --tables conversion --number 4
    python benchmarks/beyond.py --readers FOLDER      # adds real readers: files SPEAKER_*.ogg
    python benchmarks/beyond.py --unseen outputs/unseen --readers FOLDER --kinds unseen readers

The script prints tables, and writes them with all utterances to `--output_dir`. It uses the recordings of
`benchmarks/prompts`, with one folder per kind of voice, of `--readers`, and of `--unseen`, which
`examples/corpus/make_corpus.py --unseen` makes. A recording is cut at the quietest place of the second half of
`--seconds`. The texts are whisper's transcripts of the clean recordings, so word errors are relative to those.
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
from ns2_diffusers.audio.pieces import QUIET_SECONDS, quietest
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.augmentation import make_pair
from ns2_diffusers.evaluation.intelligibility import stoi
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.prosody import f0_correlation
from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.training.arguments import HelpFormatter

TABLES = ("prompts", "conversion", "editing", "alignment", "enhancement")
# Title, key of a score, format.
COLUMNS = [
    ("cosine to the target", "target", ".3f"),
    ("to the source", "source", ".3f"),
    ("word errors", "word_errors", ".1%"),
    ("F0 correlation", "f0_correlation", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
    ("STOI", "stoi", ".3f"),
    ("new word heard", "heard", ".0%"),
    ("F0 from the words beside", "f0_of_the_edit", ".2f"),
    ("F0 step at the seams", "f0_at_seams", ".2f"),
    ("samples outside equal", "equal", ".0%"),
    ("boundaries off, ms", "milliseconds", ".0f"),
    ("over 100 ms", "far", ".1%"),
    ("utterances", "utterances", "d"),
]
# Seconds on both sides of a seam that are compared.
SEAM_SECONDS = 0.1
# Number of recordings in the longest row of prompts.
MOST_PROMPTS = 5
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
    parser.add_argument(
        "--unseen",
        type=Path,
        help="corpus of the held-out synthetic voices, several recordings each; none if not given",
    )
    parser.add_argument(
        "--kinds", nargs="+", help="kinds of voice to measure: folders, readers, unseen; all if not given"
    )
    parser.add_argument("--number", type=int, default=10, help="number of utterances per row")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each recording that are used")
    parser.add_argument("--levels", type=float, nargs="+", default=[0, 5, 10, 20], help="signal-to-noise ratios, dB")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["resynthesis", "resynthesis:1", "ode", "matching"],
        help="methods of conversion and enhancement; METHOD:STRENGTH for another strength than the default",
    )
    parser.add_argument("--steps", type=int, help="number of sampling steps; the defaults if not given")
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument("--output_dir", default="outputs/beyond", type=Path, help="output directory")
    return parser.parse_args(argv)


def main(args):
    torch.set_num_threads(args.num_threads)
    pipe = load_pipeline(args.model)
    evaluators = Evaluators(pipe, args.num_threads)
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
    for path in sorted((args.unseen / "audio").glob("*_*.ogg")) if args.unseen else []:
        kinds.setdefault("unseen", {}).setdefault(path.stem.rpartition("_")[0], []).append(path)
    if unknown := set(args.kinds or ()) - set(kinds):
        raise ValueError(f"there are no voices of kind {', '.join(sorted(unknown))}; there are {', '.join(kinds)}.")
    return {kind: speakers for kind, speakers in kinds.items() if kind in (args.kinds or kinds)}


def in_turn(speakers, number):
    """Return (speaker, index of its recording) for `number` utterances, each speaker in turn, as far as there are."""
    longest = max(map(len, speakers.values()), default=0)
    order = [(name, index) for index in range(longest) for name, paths in speakers.items() if index < len(paths)]
    return order[:number]


class Evaluators:
    """All evaluators, at the pipeline's sampling rate."""

    def __init__(self, pipe, num_threads=2):
        self.words, self.naturalness = WordReader(num_threads=num_threads), NaturalnessEvaluator()
        self.speakers = SpeakerEvaluator()
        self.rate, self.hop = pipe.sampling_rate, pipe.codec.hop_length
        self.transcripts = {}

    def read(self, audio):
        """Return the transcript of a waveform (samples,). A clean recording is read once for several rows."""
        key = np.asarray(audio, np.float32).tobytes()
        if key not in self.transcripts:
            self.transcripts[key] = self.words.read(audio, self.rate)
        return self.transcripts[key]

    def embed(self, audio):
        return embed_or_nobody(self.speakers, audio, self.rate)

    def f0(self, audio):
        return estimate_f0(torch.as_tensor(audio), self.rate, self.hop)

    def melody(self, audio, start, end):
        """Compare the F0 of samples [start, end) to that of a second on both sides, and F0 across the two seams."""
        f0, a, b = self.f0(audio).numpy(), start // self.hop, -(-end // self.hop)
        second, near = self.rate // self.hop, max(1, round(SEAM_SECONDS * self.rate / self.hop))
        around = np.concatenate([f0[max(0, a - second) : a], f0[b : b + second]])
        seams = [semitones(f0[max(0, at - near) : at], f0[at : at + near]) for at in (a, b)]
        return {"f0_of_the_edit": semitones(f0[a:b], around), "f0_at_seams": mean_or_nan(seams)}

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
    """Return the beginning of a recording (samples,), cut where it is quiet, and its transcript by whisper."""
    rate = pipe.sampling_rate
    waveform = load_audio(path, None, rate)[0].numpy()
    most = round(args.seconds * rate)
    if len(waveform) > most:
        waveform = waveform[: quietest(waveform[:most], round(QUIET_SECONDS * rate))]
    return waveform, evaluators.read(waveform)


def seeded(index):
    return torch.Generator().manual_seed(index)


# Several recordings of a voice


def prompts(pipe, kinds, evaluators, args):
    """Measure the similarity to a held-out recording of the reader, by the number of prompts."""
    sentences = read_sentences(HERE / "sentences.txt")
    rows = []
    for kind, speakers in kinds.items():
        known = [paths for paths in speakers.values() if len(paths) > 2][: args.number]
        # The last recording is the target; every reader has all numbers of prompts.
        for number in range(1, min(MOST_PROMPTS + 1, min(map(len, known), default=1))):
            scores = []
            for index in tqdm(range(args.number), f"prompts {kind} {number}"):
                paths = known[index % len(known)]
                voice = pipe.encode_voice([str(path) for path in paths[:number]])
                target, source = evaluators.embed(load_audio(paths[-1], None, evaluators.rate)[0].numpy()), None
                options = {"voice": voice, "generator": seeded(index), "num_inference_steps": args.steps}
                audio = pipe(sentences[index], **options).audios[0]
                scores.append(evaluators.listen(audio, None, sentences[index], target, source))
            rows.append(evaluators.summary(scores, voices=kind, recordings=number))
    return rows


# Conversion


def way_options(way, text):
    """Return the arguments of `convert` for a method, METHOD or METHOD:STRENGTH."""
    method, _, strength = way.partition(":")
    return {"method": method, "text": None if method == "matching" else text} | (
        {"strength": float(strength)} if strength else {}
    )


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
        ways = {way: [] for way in ("source", "codec alone", "text to speech", *args.methods)}
        for index, (path, target) in enumerate(tqdm(list(pairs_of(speakers, args.number)), f"conversion {kind}")):
            clean, text = load_clean(path, pipe, evaluators, args)
            voice = pipe.encode_voice(str(target))
            to, own = evaluators.embed(load_audio(target, None, evaluators.rate)[0].numpy()), evaluators.embed(clean)
            options = {"voice": voice, "generator": seeded(index), "num_inference_steps": args.steps}
            ways["source"].append(evaluators.listen(clean, clean, text, to, own))
            coded = reconstruct(pipe.codec, torch.from_numpy(clean)).numpy()
            ways["codec alone"].append(evaluators.listen(coded, clean, text, to, own))
            spoken = pipe(text, **options).audios[0]
            ways["text to speech"].append(evaluators.listen(spoken, None, text, to, own))
            for way in args.methods:
                options["generator"] = seeded(index)
                output = pipe.convert((evaluators.rate, clean), **options, **way_options(way, text))
                ways[way].append(evaluators.listen(output.audios[0], clean, text, to, own))
        rows += [evaluators.summary(scores, voices=kind, way=way) for way, scores in ways.items() if scores]
    return rows


# Editing


def replaced(edited, samples):
    """Return (start, end) in the recording, of `samples` samples, of what its only edit replaced."""
    start, end = edited.regions[0]
    return start, end + samples - len(edited.audio)


def semitones(f0, other):
    """Return the distance of the medians of two F0 contours; NaN where one of them is unvoiced."""
    f0, other = f0[f0 > 0], other[other > 0]
    return 12 * abs(math.log2(np.median(f0) / np.median(other))) if len(f0) and len(other) else float("nan")


def editing(pipe, kinds, evaluators, args):
    """Measure editing: replace the longest word in the middle of a recording by another word."""
    rows = []
    for kind, speakers in kinds.items():
        paths = [speakers[name][index] for name, index in in_turn(speakers, args.number)]
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
            before = evaluators.listen(clean, None, text, None, own)
            ways["recording"].append(before | evaluators.melody(clean, *replaced(edited, len(clean))))
            scores = evaluators.listen(edited.audio, None, changed, None, own)
            scores |= evaluators.melody(edited.audio, *edited.regions[0])
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


def with_voices(speakers, number):
    """Return (recording, voice prompt) for each utterance: the last recording of a speaker is the prompt.

    It is also the recording of a speaker who has no other.
    """
    chosen = in_turn({name: paths[:-1] or paths for name, paths in speakers.items()}, number)
    return [(speakers[name][index], speakers[name][-1]) for name, index in chosen]


def degraded(waveform, rate, index, level):
    """Return a recording with noise of a level in dB, and the reverberation of a room if its index is odd."""
    random = np.random.default_rng([index, round(level) + 100])
    (noisy,), _ = make_pair(waveform[None], rate, random, level, float(index % 2), 0.0)
    return noisy


def alignment(pipe, kinds, evaluators, args):
    """Measure how far noise moves the boundaries of phonemes, by the voice that they are aligned with."""
    rate, rows = evaluators.rate, []
    for kind, speakers in kinds.items():
        chosen = with_voices(speakers, args.number)
        clean = [load_clean(path, pipe, evaluators, args) for path, _ in chosen]
        voices = [pipe.encode_voice(str(path)) for _, path in chosen]
        for level in args.levels:
            ways = {"the noisy recording": [], "another recording": []}
            for index, (waveform, text) in enumerate(tqdm(clean, f"alignment {kind} {level:g} dB")):
                noisy = degraded(waveform, rate, index, level)
                wanted = boundaries(pipe.align((rate, waveform), text), evaluators)
                for way, voice in zip(ways, (None, voices[index]), strict=True):
                    found = boundaries(pipe.align((rate, noisy), text, voice=voice), evaluators)
                    off = 1000 * np.abs(found - wanted)
                    ways[way].append({"milliseconds": float(off.mean()), "far": float((off > 100).mean())})
            labels = {"voices": kind, "level": f"{level:g} dB"}
            rows += [evaluators.summary(scores, way=way, **labels) for way, scores in ways.items()]
    return rows


def boundaries(speech, evaluators):
    """Return the end of each phoneme of aligned speech, in seconds."""
    return np.cumsum(speech.durations) * evaluators.hop / evaluators.rate


def enhancement(pipe, kinds, evaluators, args):
    """Measure enhancement with noise at each level, and a room for every other recording.

    The clean voice prompt is another recording, if there is one. Methods that need the text get whisper's transcript
    of the clean recording.
    """
    rows = []
    for kind, speakers in kinds.items():
        chosen = with_voices(speakers, args.number)
        clean = [load_clean(path, pipe, evaluators, args) for path, _ in chosen]
        voices = [pipe.encode_voice(str(path)) for _, path in chosen]
        for level in args.levels:
            ways = {way: [] for way in ("noisy", "codec alone", *args.methods)}
            for index, (waveform, text) in enumerate(tqdm(clean, f"enhancement {kind} {level:g} dB")):
                noisy, own = degraded(waveform, evaluators.rate, index, level), evaluators.embed(waveform)
                coded = reconstruct(pipe.codec, torch.from_numpy(noisy)).numpy()
                ways["noisy"].append(evaluators.listen(noisy, waveform, text, None, own))
                ways["codec alone"].append(evaluators.listen(coded, waveform, text, None, own))
                for way in args.methods:
                    options = {"generator": seeded(index), "num_inference_steps": args.steps, "voice": voices[index]}
                    output = pipe.enhance((evaluators.rate, noisy), **options, **way_options(way, text))
                    ways[way].append(evaluators.listen(output.audios[0], waveform, text, None, own))
            labels = {"voices": kind, "level": f"{level:g} dB"}
            rows += [evaluators.summary(scores, way=way, **labels) for way, scores in ways.items() if scores]
    return rows


MAKERS = {
    "prompts": prompts,
    "conversion": conversion,
    "editing": editing,
    "alignment": alignment,
    "enhancement": enhancement,
}

if __name__ == "__main__":
    main(parse_args())
