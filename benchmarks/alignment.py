"""Measure the error of learned durations against known ones.

    python benchmarks/alignment.py --dataset_dir outputs/corpus

The script takes a prepared dataset that has durations (a synthetic corpus, for instance), hides them, and trains a
`PhonemeAligner` on the rest. It measures the distance of each boundary between symbols from the known boundary.
Boundaries in the silence before and after the speech are first moved to the edge of the speech, because the choice of
the symbol that includes the silence is arbitrary.

An aligner has no information on where exactly a sound begins, and a corpus may have its own convention: Kokoro's
durations are about 40 ms late relative to the audio. This delay is measured against the recording, without an aligner:
it is the shift at which the symbols tell most about which frames are voiced. The script therefore prints three errors:
the plain error, the error against the known boundaries corrected for their delay, and the error without the lag of the
learned boundaries.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import set_seed
from matplotlib.figure import Figure

from common import load_example
from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.audio.mel import LogMelSpectrogram
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset
from ns2_diffusers.models.phoneme_aligner import monotonic_alignment_search
from ns2_diffusers.training.alignment import AlignmentObjective
from ns2_diffusers.training.arguments import HelpFormatter
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.losses import latents_of, standardized_codebooks
from ns2_diffusers.training.run import TrainingRun

align_dataset = load_example("align_dataset")


def main(args):
    set_seed(args.seed)
    root = Path(args.dataset_dir)
    codec, tokenizer = load_codec(root / "codec"), NaturalSpeech2Tokenizer.from_pretrained(root / "tokenizer")
    known = load_prepared_dataset(root, codec, tokenizer)
    hidden = known.remove_columns("durations").add_column("durations", [[]] * len(known)).with_format("numpy")
    sampler = FrameBudgetSampler(hidden["n_frames"], round(args.batch_seconds * codec.frame_rate), args.seed)
    collator = PromptCollator(hidden, tokenizer, 1, 1, args.seed)
    aligner = PhonemeAligner(vocab_size=len(tokenizer), feature_channels=codec.latent_channels)
    objective = AlignmentObjective(aligner, standardized_codebooks(codec))

    rows = known.select_columns(["id", "durations", "f0", "phonemes"]).to_list()
    symbols = {row["id"]: tokenizer(row["phonemes"], is_phonemes=True)["input_ids"] for row in rows}
    late = voicing_lag(rows, {row["id"]: row["durations"] for row in rows}, symbols)
    report("the prior alone", rows, prior_durations(hidden, sampler, collator), codec.frame_rate, late)
    with tempfile.TemporaryDirectory() as directory:
        run = TrainingRun(args, directory)
        batches = EndlessBatches(hidden, sampler, collator, **run.loading)
        align_dataset.train(run, objective, batches, codec.frame_rate, args)
    learned = align_dataset.align(run.accelerator, objective, hidden, sampler, collator)
    report(f"after {args.max_train_steps} steps", rows, learned, codec.frame_rate, late)
    for name, lag in {"known": late, "learned": voicing_lag(rows, learned, symbols)}.items():
        milliseconds = 1000 * lag / codec.frame_rate
        print(f"{name} boundaries are {milliseconds:+.0f} ms after the change of voice in the recording")
    if args.picture:
        draw(args.picture, codec, tokenizer, known, learned, objective, collator, hidden)


@torch.no_grad()
def draw(path, codec, tokenizer, known, learned, objective, collator, hidden):
    """Plot the first utterance: the output of the aligner, and the boundaries over the spectrogram."""
    row, frame = known[0], 1 / codec.frame_rate
    waveform = codec.decode(codec.codes_to_latents(torch.tensor(row["codes"])[None]))[0, 0]
    mel = LogMelSpectrogram(codec.sampling_rate, n_fft=1024, n_mels=80)(waveform[None])[0]
    batch = collator([hidden[0]])
    latents = latents_of(batch["codes"], objective.codebooks)
    masks = batch["frame_mask"], batch["attention_mask"]
    scores = objective.aligner(latents, batch["input_ids"], *masks, batch["alignment_prior"]).log_probs[0]
    symbols = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    seconds, found = row["n_frames"] * frame, learned[row["id"]]

    figure = Figure(figsize=(12, 8), layout="tight")
    above, below = figure.subplots(2, sharex=True)
    above.imshow(scores.softmax(-1).T, origin="lower", aspect="auto", extent=(0, seconds, 0, len(symbols)), vmax=1)
    for name, durations, color in (("learned", found, "red"), ("known", row["durations"], "white")):
        times = (np.arange(row["n_frames"]) + 0.5) * frame
        path_of = np.repeat(np.arange(len(symbols)), durations) + 0.5
        above.step(times, path_of, where="mid", color=color, linewidth=1, label=name)
    above.set(ylabel="symbol")
    above.legend()
    below.imshow(mel, origin="lower", aspect="auto", extent=(0, seconds, 0, 80), vmin=-9, vmax=2)
    ends = np.cumsum(found) * frame
    below.vlines(ends, 40, 80, color="red", linewidth=0.7)
    below.vlines(np.cumsum(row["durations"]) * frame, 0, 40, color="white", linewidth=0.7)
    below.secondary_xaxis("top").set_xticks(ends - np.asarray(found) * frame / 2, symbols, fontsize=7)
    below.set(xlabel="seconds", ylabel="mel band")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def prior_durations(dataset, sampler, collator):
    """Return durations from monotonic alignment search on the prior alone, without an aligner."""
    found = {}
    for batch in sampler:
        rows = [dataset[index] for index in batch]
        inputs = collator(rows)
        scores = torch.log(inputs["alignment_prior"] + 1e-8)
        durations = monotonic_alignment_search(scores, inputs["frame_mask"], inputs["attention_mask"])
        for row, item, mask in zip(rows, durations, inputs["attention_mask"], strict=True):
            found[row["id"]] = item[mask].tolist()
    return found


def report(name, rows, durations, frame_rate, late):
    errors = [1000 / frame_rate * boundary_errors(row, durations[row["id"]]) for row in rows]
    lag = np.median(np.concatenate(errors))
    plain, without, own = (np.abs(np.concatenate(errors) - moved) for moved in (0, lag, -1000 * late / frame_rate))
    print(
        f"{name}: mean error {plain.mean():.1f} ms; {own.mean():.1f} ms if the known were not late; "
        f"lag {lag:+.0f} ms, without it {without.mean():.1f} ms, {np.mean(without <= 50):.1%} within 50 ms",
        flush=True,
    )


def boundary_errors(row, found):
    """Return the delay in frames of each boundary within the speech of an utterance."""
    voiced = np.flatnonzero(np.asarray(row["f0"]) > 0)
    known, found = np.cumsum(row["durations"])[:-1], np.cumsum(found)[:-1]
    if len(voiced) == 0:
        return found - known
    first, last = voiced[0], voiced[-1] + 1
    return (found.clip(first, last) - known.clip(first, last)).astype(float)


def voicing_lag(rows, durations, symbols, furthest=5):
    """Return the backward shift of boundaries, in frames, that maximises the information of symbols about voicing."""
    spoken = [np.repeat(symbols[row["id"]], durations[row["id"]]) for row in rows]
    voiced = [np.asarray(row["f0"]) > 0 for row in rows]

    def information(lag):
        pairs = Counter()
        for names, voice in zip(spoken, voiced, strict=True):
            names, voice = (
                (names[lag:], voice[: len(voice) - lag]) if lag > 0 else (names[: len(names) + lag], voice[-lag:])
            )
            pairs.update(zip(names.tolist(), voice.tolist(), strict=True))
        total, of_symbol, of_voice = sum(pairs.values()), Counter(), Counter()
        for (symbol, voice), count in pairs.items():
            of_symbol[symbol] += count
            of_voice[voice] += count
        return sum(
            n / total * np.log(n * total / of_symbol[symbol] / of_voice[voice]) for (symbol, voice), n in pairs.items()
        )

    return max(range(-furthest, furthest + 1), key=information)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--picture", help="PNG file for the alignment of the first utterance; none if not given")
    parser.epilog = "All options of examples/align_dataset.py are there too."
    own, rest = parser.parse_known_args(argv)
    args = align_dataset.parse_args(rest)
    args.picture = own.picture
    return args


if __name__ == "__main__":
    main(parse_args())
