"""How near learned durations come to known ones.

    python benchmarks/alignment.py --dataset_dir outputs/corpus

Takes a prepared dataset that has durations (of a synthetic corpus, say), hides them, trains a `PhonemeAligner` on the
rest, and measures how far each boundary between symbols is from where it should be. Boundaries in the silence before
and after the speech are moved to its edge first: which symbol lasts through it is a matter of taste.

An aligner is told nothing of where exactly a sound begins, and a corpus may have its own idea: so beside the plain
error stands the one after taking away the middle of all errors (the lag), found on every other utterance and taken
away from the rest. For comparison, the lag of known and of learned durations is also measured
against the recording itself: by how much to move them so that symbols tell most about which frames are voiced.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset
from ns2_diffusers.models.phoneme_aligner import monotonic_alignment_search
from ns2_diffusers.training.alignment import AlignmentObjective
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.losses import standardized_codebooks

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import align_dataset


def main(args):
    set_seed(args.seed)
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    root = Path(args.dataset_dir)
    codec, tokenizer = load_codec(root / "codec"), NaturalSpeech2Tokenizer.from_pretrained(root / "tokenizer")
    known = load_prepared_dataset(root, codec, tokenizer)
    hidden = known.remove_columns("durations").add_column("durations", [[]] * len(known)).with_format("numpy")
    sampler = FrameBudgetSampler(hidden["n_frames"], round(args.batch_seconds * codec.frame_rate), args.seed)
    collator = PromptCollator(hidden, tokenizer, 1, 1, args.seed)
    aligner = PhonemeAligner(vocab_size=len(tokenizer), feature_channels=codec.latent_channels)
    objective = AlignmentObjective(aligner, standardized_codebooks(codec))

    rows = known.select_columns(["id", "durations", "f0", "phonemes"]).to_list()
    report("the prior alone", rows, prior_durations(hidden, sampler, collator), codec.frame_rate)
    align_dataset.train(accelerator, objective, EndlessBatches(hidden, sampler, collator), args)
    learned = align_dataset.align(accelerator, objective, hidden, sampler, collator)
    report(f"after {args.max_train_steps} steps", rows, learned, codec.frame_rate)
    symbols = {row["id"]: tokenizer(row["phonemes"], is_phonemes=True)["input_ids"] for row in rows}
    exact = {row["id"]: row["durations"] for row in rows}
    for name, durations in {"known": exact, "learned": learned}.items():
        lag = 1000 * voicing_lag(rows, durations, symbols) / codec.frame_rate
        print(f"{name} boundaries are {lag:+.0f} ms after the change of voice in the recording")


def prior_durations(dataset, sampler, collator):
    """What monotonic alignment search makes of the prior, without an aligner."""
    found = {}
    for batch in sampler:
        rows = [dataset[index] for index in batch]
        inputs = collator(rows)
        scores = torch.log(inputs["alignment_prior"] + 1e-8)
        durations = monotonic_alignment_search(scores, inputs["frame_mask"], inputs["attention_mask"])
        for row, item, mask in zip(rows, durations, inputs["attention_mask"], strict=True):
            found[row["id"]] = item[mask].tolist()
    return found


def report(name, rows, durations, frame_rate):
    errors = [1000 / frame_rate * boundary_errors(row, durations[row["id"]]) for row in rows]
    flat = np.concatenate(errors)
    lags = [np.median(np.concatenate(errors[half::2])) for half in (1, 0)]
    centred = np.abs(np.concatenate([e - lags[i % 2] for i, e in enumerate(errors)]))
    print(
        f"{name}: mean error {np.abs(flat).mean():.1f} ms, lag {np.median(flat):+.0f} ms; without the lag mean "
        f"{centred.mean():.1f} ms, median {np.median(centred):.0f} ms, {np.mean(centred <= 50):.1%} within 50 ms",
        flush=True,
    )


def boundary_errors(row, found):
    """Frames by which each boundary of an utterance comes late, within its speech."""
    voiced = np.flatnonzero(np.asarray(row["f0"]) > 0)
    known, found = np.cumsum(row["durations"])[:-1], np.cumsum(found)[:-1]
    if len(voiced) == 0:
        return found - known
    first, last = voiced[0], voiced[-1] + 1
    return (found.clip(first, last) - known.clip(first, last)).astype(float)


def voicing_lag(rows, durations, symbols, furthest=5):
    """Frames by which to move the boundaries back to make symbol and voicing tell most about each other."""
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


if __name__ == "__main__":
    main(align_dataset.parse_args())
