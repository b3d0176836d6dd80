"""Learn the duration of each phoneme from a prepared dataset alone, and write the durations into the dataset.

    python examples/align_dataset.py --dataset_dir outputs/dataset

The script trains a `PhonemeAligner` on the codec's latents (forward sum over all monotonic alignments, then towards
the likeliest one; arXiv 2108.10447), aligns every utterance, and fills in `durations`. The aligner is saved in the
dataset's folder. With `--aligner`, an aligner trained on another dataset of the same codec aligns this one.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object, send_to_device

from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.data.alignments import mark_pauses, voiced_vowels
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset, read_card, update_durations
from ns2_diffusers.files import remove_partial, whole_parts
from ns2_diffusers.training import arguments
from ns2_diffusers.training.alignment import AlignmentObjective
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.optimization import build_optimizer, step_schedule
from ns2_diffusers.training.run import TrainingRun


def parse_args(argv=None):
    parser = arguments.TrainingArgumentParser(__doc__)
    add = parser.add_argument
    add("--dataset_dir", required=True, help="prepared dataset, from examples/prepare_dataset.py")
    add(
        "--aligner",
        help="aligner to continue from (--max_train_steps 0 uses it unchanged); a new one if not given",
    )
    add("--batch_seconds", type=float, default=80.0, help="speech in a micro-batch of a process, padding included")
    add("--binarization_weight", type=float, default=1.0, help="final weight of the binarization loss")
    add(
        "--pause_seconds",
        type=float,
        help="put a comma where a space lasts this long, for transcripts without punctuation; none if not given",
    )
    add(
        "--min_voiced_vowels",
        type=float,
        default=0.0,
        help="least share of voice in the vowels of an utterance; one below is misaligned, and is left out",
    )
    arguments.add_optimizer_arguments(parser)
    arguments.add_lr_scheduler_argument(parser)
    arguments.add_run_arguments(parser)
    parser.set_defaults(learning_rate=3e-3, lr_scheduler="cosine", lr_warmup_steps=50, adam_beta2=0.999)
    parser.set_defaults(max_train_steps=500, checkpointing_steps=500, logging_steps=50, checkpoints_total_limit=1)
    return parser.parse_args(argv)


def main(args):
    if read_card(args.dataset_dir)["aligned"]:
        raise ValueError(f"{args.dataset_dir} has durations already: there is nothing to align.")
    root = Path(args.dataset_dir)
    codec, tokenizer = load_codec(root / "codec"), NaturalSpeech2Tokenizer.from_pretrained(root / "tokenizer")
    if args.pause_seconds is not None and args.pause_seconds * codec.frame_rate < 2:
        raise ValueError(
            f"--pause_seconds {args.pause_seconds} is shorter than two frames of the codec: wanted is "
            f"{2 / codec.frame_rate:g} or more."
        )
    run = TrainingRun(args, root / "alignment")
    if run.accelerator.is_main_process:
        # Remove files that a killed run left. The run's own folder is cleared separately.
        remove_partial(root / "aligner")
    dataset = load_prepared_dataset(root, codec, tokenizer).with_format("numpy")
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * codec.frame_rate), args.seed)
    # No prompt is needed, so the collator's prompts are as short as possible.
    collator = PromptCollator(dataset, tokenizer, 1, 1, args.seed)
    if args.aligner:
        aligner = PhonemeAligner.from_pretrained(args.aligner)
    else:
        aligner = PhonemeAligner(vocab_size=len(tokenizer), feature_channels=codec.latent_channels)
    objective = AlignmentObjective(aligner, standardized_codebooks(codec))
    train(run, objective, EndlessBatches(dataset, sampler, collator, **run.loading), codec.frame_rate, args)
    if run.accelerator.is_main_process:
        with whole_parts(root / "aligner") as folder:
            aligner.eval().save_pretrained(folder)
    durations, phonemes = align(run.accelerator, objective, dataset, sampler, collator), {}
    rejected = misaligned(dataset, durations, tokenizer, args.min_voiced_vowels)
    if args.pause_seconds is not None:
        least = round(args.pause_seconds * codec.frame_rate)
        durations, phonemes = with_pauses(dataset, durations, tokenizer, least)
    if run.accelerator.is_main_process:
        update_durations(root, durations, phonemes, rejected)
        # Remove the checkpoints: the run is complete and will not be resumed.
        shutil.rmtree(run.directory)
        run.say(f"aligned {len(durations) - len(rejected)} utterances of {root}, left out {len(rejected)}")
    run.end()


def symbols_of(tokenizer, phonemes):
    return tokenizer.convert_ids_to_tokens(tokenizer(phonemes, is_phonemes=True)["input_ids"])


def misaligned(dataset, durations, tokenizer, least):
    """Return the reason for each utterance that is left out, by id: too few of its vowels are voiced."""
    found = {}
    for row in dataset.select_columns(["id", "phonemes", "f0"]) if least else ():
        share = voiced_vowels(symbols_of(tokenizer, row["phonemes"]), durations[row["id"]], np.asarray(row["f0"]))
        if share < least:
            found[row["id"]] = f"misaligned: {share:.0%} of its vowels are voiced"
    return found


def with_pauses(dataset, durations, tokenizer, least):
    """Return durations and phonemes by id, with a comma at every pause of `least` frames."""
    marked, phonemes = {}, {}
    for id_, text in zip(dataset["id"], dataset["phonemes"], strict=True):
        symbols, marked[id_] = mark_pauses(symbols_of(tokenizer, text), durations[id_], least)
        inner = slice(tokenizer.bos_token is not None, len(symbols) - (tokenizer.eos_token is not None))
        phonemes[id_] = tokenizer.separator.join(symbols[inner])
    return marked, phonemes


def train(run, objective, batches, frame_rate, args):
    if args.gradient_checkpointing:
        objective.aligner.enable_gradient_checkpointing()
    optimizer = build_optimizer(objective, args)
    schedule = step_schedule(optimizer, args)
    prepared, _ = run.prepare(objective.train(), optimizer)

    def compute(batch):
        losses = prepared(batch)
        # A hard alignment is not informative until the soft alignments have settled.
        share = (run.step + 1) / args.max_train_steps
        loss = losses["alignment"] + share * args.binarization_weight * losses["binarization"]
        run.accelerator.backward(loss)
        return losses

    run.train(batches, compute, schedule, audio=("frame_mask", frame_rate))


@torch.no_grad()
def align(accelerator, objective, dataset, sampler, collator):
    """Return the frames of each symbol by id, for the whole dataset. Every process aligns its share."""
    objective.eval().to(accelerator.device)
    found = {}
    for batch in list(sampler)[accelerator.process_index :: accelerator.num_processes]:
        rows = [dataset[index] for index in batch]
        inputs = send_to_device(collator(rows), accelerator.device)
        durations = objective.align(inputs).cpu()
        for row, item, mask in zip(rows, durations, inputs["attention_mask"].cpu(), strict=True):
            found[row["id"]] = item[mask].tolist()
    return {id_: frames for part in gather_object([found]) for id_, frames in part.items()}


if __name__ == "__main__":
    main(parse_args())
