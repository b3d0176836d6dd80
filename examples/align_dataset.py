"""Learn how long each phoneme lasts, from a prepared dataset alone, and write it into the dataset.

    python examples/align_dataset.py --dataset_dir outputs/dataset

Trains a `PhonemeAligner` on the codec's latents (forward sum over all monotonic alignments, then towards the
likeliest one; arXiv 2108.10447), aligns every utterance, and fills in `durations`. The aligner stays in the dataset's
folder. An aligner that was trained on another dataset of the same codec can align this one: `--aligner`.
"""

import argparse
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device, set_seed
from diffusers.optimization import get_scheduler

from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset, read_card, update_durations
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training.alignment import AlignmentObjective
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.checkpoints import Checkpoints
from ns2_diffusers.training.clock import TrainingClock
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.precision import fast_precision
from ns2_diffusers.training.stability import NonFiniteGuard


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset_dir", required=True, help="from examples/prepare_dataset.py")
    add("--aligner", help="directory of a trained aligner to go on from; --max_train_steps 0 takes it as it is")
    add("--max_train_steps", type=int, default=500)
    add("--max_train_time", type=float, help="minutes")
    add("--batch_seconds", type=float, default=80.0, help="seconds of speech per batch, with padding")
    add("--learning_rate", type=float, default=3e-3)
    add("--lr_scheduler", default="cosine", help="any of diffusers'")
    add("--lr_warmup_steps", type=int, default=50)
    add("--max_grad_norm", type=float, default=1.0)
    add("--binarization_weight", type=float, default=1.0, help="rises to this over the run")
    add("--mixed_precision", choices=["no", "bf16", "fp16"], default=fast_precision())
    add("--seed", type=int, default=0)
    add("--logging_steps", type=int, default=50)
    add("--checkpointing_steps", type=int, default=500)
    add("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    return parser.parse_args(argv)


def main(args):
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    set_seed(args.seed)
    if read_card(args.dataset_dir)["aligned"]:
        raise ValueError(f"{args.dataset_dir} has durations already: there is nothing to align.")
    root = Path(args.dataset_dir)
    codec, tokenizer = load_codec(root / "codec"), NaturalSpeech2Tokenizer.from_pretrained(root / "tokenizer")
    dataset = load_prepared_dataset(root, codec, tokenizer).with_format("numpy")
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * codec.frame_rate), args.seed)
    # No prompt is needed: the collator's are as short as can be.
    collator = PromptCollator(dataset, tokenizer, 1, 1, args.seed)
    if args.aligner:
        aligner = PhonemeAligner.from_pretrained(args.aligner)
    else:
        aligner = PhonemeAligner(vocab_size=len(tokenizer), feature_channels=codec.latent_channels)
    objective = AlignmentObjective(aligner, standardized_codebooks(codec))
    train(accelerator, objective, EndlessBatches(dataset, sampler, collator), root / "alignment", args)
    if accelerator.is_main_process:
        with whole_parts(root / "aligner") as folder:
            aligner.eval().save_pretrained(folder)
    durations = align(accelerator, objective, dataset, sampler, collator)
    if accelerator.is_main_process:
        update_durations(root, durations)
        # Checkpoints of a run that nobody has to go on with.
        shutil.rmtree(root / "alignment", ignore_errors=True)
        accelerator.print(f"aligned {len(durations)} utterances of {root}")
    accelerator.wait_for_everyone()
    accelerator.end_training()


def train(accelerator, objective, batches, directory, args):
    optimizer = torch.optim.AdamW(objective.parameters(), lr=args.learning_rate)
    schedule = get_scheduler(
        args.lr_scheduler,
        optimizer,
        num_warmup_steps=args.lr_warmup_steps,
        num_training_steps=args.max_train_steps,
    )
    objective, optimizer = accelerator.prepare(objective, optimizer)
    accelerator.register_for_checkpointing(schedule)
    checkpoints = Checkpoints(directory, total_limit=1)
    progress = {"step": 0, "epoch": 0, "position": 0, "seconds": 0.0, "skipped": 0}
    progress |= checkpoints.resume(accelerator, args.resume_from_checkpoint) or {}
    batches.epoch, batches.position = progress["epoch"], progress["position"] + accelerator.process_index
    batches.num_processes = accelerator.num_processes
    clock, guard = TrainingClock(accelerator, args.max_train_time, progress["seconds"]), NonFiniteGuard()
    objective.train()
    rows = iter(batches)
    for step in range(progress["step"] + 1, args.max_train_steps + 1):
        batch = send_to_device(next(rows), accelerator.device)
        torch.manual_seed(int(batch["seed"]))
        losses = objective(batch)
        share = step / args.max_train_steps
        # A hard alignment says little before the soft ones have settled.
        loss = losses["alignment"] + share * args.binarization_weight * losses["binarization"]
        accelerator.backward(loss)
        if not guard.skips(accelerator.clip_grad_norm_(objective.parameters(), args.max_grad_norm)):
            optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        over = clock.is_over()
        if step % args.logging_steps == 0 or over:
            values = ", ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
            accelerator.print(f"step {step}, {clock.seconds:.0f} s: {values}", flush=True)
        if step % args.checkpointing_steps == 0:
            place = {"epoch": batches.epoch, "position": batches.position - accelerator.process_index}
            checkpoints.save(accelerator, {"step": step, "seconds": clock.seconds, **place})
        if over:
            break


@torch.no_grad()
def align(accelerator, objective, dataset, sampler, collator):
    """Frames of each symbol by id, of the whole dataset; every process aligns its share."""
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
