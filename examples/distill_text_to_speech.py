"""Distill a trained pipeline into students of few steps: guidance first, then 32 → 16 → 8 → 4 → 2 → 1.

    python examples/distill_text_to_speech.py --pretrained_pipeline outputs/pipeline --dataset_dir outputs/dataset \
        --output_dir outputs/distilled

Each rung is a pipeline directory below `--output_dir`: `guidance`, `steps-16`, `steps-08` … A run that was stopped
goes on with `--resume_from_checkpoint latest`: rungs that are there stay, the one it was at continues.
`--method consistency` goes straight from the guided teacher to one student of 4, 2 and 1 steps.
"""

import argparse
import copy
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast, send_to_device, set_seed

from ns2_diffusers import NaturalSpeech2DistilledScheduler, NaturalSpeech2Pipeline
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training import distillation
from ns2_diffusers.training.assembly import with_components
from ns2_diffusers.training.averaging import WeightAverage
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.checkpoints import Checkpoints
from ns2_diffusers.training.clock import TrainingClock
from ns2_diffusers.training.lora import add_lora, lora_to_save, merge_lora, split_lora
from ns2_diffusers.training.precision import fast_precision
from ns2_diffusers.training.stability import NonFiniteGuard
from ns2_diffusers.training.tracking import (
    RunningMeans,
    describe_hardware,
    log_numbers,
    read_log,
    rewind_log,
    start_tracking,
)
from ns2_diffusers.training.validation import speak_samples

METHODS = ("guidance", "halving", "consistency")
TEACHER_STEPS = 32


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pretrained_pipeline", required=True, help="the teacher; or a rung, to go on from there")
    add("--dataset_dir", required=True, help="from examples/prepare_dataset.py, with durations")
    add("--output_dir", required=True, help="a pipeline directory a rung goes here")
    add("--guidance_min", type=float, default=1.0, help="least guidance scale that the student is to take")
    add("--guidance_max", type=float, default=4.0, help="and greatest; 1 leaves guidance out")
    add("--teacher_steps", type=int, help="DDIM steps of the teacher (a student's own, or 32)")
    add("--last_steps", type=int, default=1, help="of the last rung, when halving")
    add("--method", choices=METHODS, default="halving")
    add("--few_steps", type=int, nargs="+", default=[4, 2, 1], help="of the student, when not halving")
    add("--weighting", choices=distillation.WEIGHTINGS, default="truncated_snr")
    add("--lora_rank", type=int, help="train adapters of this rank instead of the weights; they are saved too")
    add("--lora_alpha", type=float, help="strength of the adapters; the rank if not given")
    add("--min_prompt_seconds", type=float, default=1.0)
    add("--max_prompt_seconds", type=float, default=5.0)

    add("--batch_seconds", type=float, default=60.0, help="speech a process' micro-batch, padding included")
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--learning_rate", type=float, default=1e-4, help="falls to 0 over each rung (arXiv 2202.00512)")
    add("--lr_warmup_steps", type=int, default=100)
    add("--max_grad_norm", type=float, default=1.0)
    add("--ema_decay", type=float, default=0.9999)
    add("--max_train_steps", type=int, default=20_000, help="of each rung")
    add("--max_train_time", type=float, help="minutes for the whole ladder; each rung gets as much as another")
    add("--mixed_precision", choices=["no", "bf16", "fp16"], default=fast_precision())
    add("--gradient_checkpointing", action="store_true")
    add("--dataloader_num_workers", type=int, default=0)
    add("--seed", type=int, default=0)
    add("--license", help="of the weights, for the cards of the rungs (none)")

    add("--checkpointing_steps", type=int, default=1000)
    add("--checkpoints_total_limit", type=int, default=1)
    add("--resume_from_checkpoint", choices=["latest"])
    add("--logging_steps", type=int, default=20)
    add("--report_to", choices=["tensorboard", "wandb", "none"], default="none")
    add("--tracker_project_name", default="naturalspeech2-distillation")
    add("--validation_texts", nargs="+", default=[], help="to speak with each student")
    add("--validation_prompts", nargs="+", default=[], help="recordings of the voices to speak them with, in turn")
    args = parser.parse_args(argv)
    if bool(args.validation_texts) != bool(args.validation_prompts):
        parser.error("--validation_texts and --validation_prompts go together: what to speak, and whose voice.")
    return args


@dataclass
class Rung:
    """One student: how it is taught, and the numbers of steps it will know (None: any, of any sampler)."""

    name: str
    method: str
    student_steps: list[int] | None
    teacher_steps: int


def plan(pipe, args):
    """The rungs from a teacher's pipeline down."""
    teacher, known = pipe.denoiser.config, pipe.scheduler.config.get("student_steps")
    steps = args.teacher_steps or max(known or [TEACHER_STEPS])
    if known and steps not in known:
        raise ValueError(
            f"the teacher is a student of {known} steps and knows no noise levels between theirs: leave out "
            "--teacher_steps, or start from the undistilled pipeline."
        )
    rungs = []
    # Who guides itself is taught again on request alone: training it further goes on at a scale of 1.
    is_asked = args.method == "guidance" or not teacher.guidance_embeds
    if args.guidance_max > max(1.0, args.guidance_min) and is_asked and not known:
        rungs.append(Rung("guidance", "guidance", None, steps))
    if args.method == "guidance" and not rungs:
        raise ValueError(
            "--method guidance teaches a denoiser to guide itself, and there is nothing to teach: this one is a "
            "student, or --guidance_max is not above 1."
        )
    if args.method == "halving":
        while steps % 2 == 0 and steps // 2 >= args.last_steps:
            rungs.append(Rung(f"steps-{steps // 2:02d}", "halving", [steps // 2], steps))
            steps //= 2
    if args.method == "consistency":
        if any(steps % few for few in args.few_steps):
            raise ValueError(f"--few_steps {args.few_steps} must divide the teacher's {steps} steps.")
        rungs.append(Rung("consistency", "consistency", sorted(args.few_steps, reverse=True), steps))
    return rungs


def main(args):
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.pretrained_pipeline)
    rungs = plan(pipe, args)
    for rung in rungs:
        folder = Path(args.output_dir) / rung.name
        if not folder.exists():
            distill(pipe, rung, len(rungs), args)
        elif not args.resume_from_checkpoint:
            raise ValueError(f"{folder} is there already: go on with --resume_from_checkpoint latest, or remove it.")
        pipe = NaturalSpeech2Pipeline.from_pretrained(folder)
    PartialState().destroy_process_group()


def distill(pipe, rung, num_rungs, args):
    """Teach one student by the denoiser of `pipe`, and write its pipeline."""
    logs = Path(args.output_dir) / "logs" / rung.name
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=str(logs),
    )
    set_seed(args.seed)
    logs.mkdir(parents=True, exist_ok=True)
    start_tracking(accelerator, args.tracker_project_name, args)
    dataset, sampler, collator = load_data(pipe, args)
    student, averaged = build_student(pipe.denoiser, rung, args)
    blank = type(student).from_config(student.config)
    for part in (pipe.codec, pipe.phoneme_encoder, pipe.prompt_encoder, pipe.variance_adaptor, pipe.denoiser):
        part.to(accelerator.device).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(trainable(student), args.learning_rate, (0.9, 0.98), weight_decay=0.0, fused=True)
    student, optimizer = accelerator.prepare(student, optimizer)
    average = WeightAverage(accelerator, student, args.ema_decay)

    checkpoints = Checkpoints(Path(args.output_dir) / "checkpoints" / rung.name, args.checkpoints_total_limit)
    progress = checkpoints.resume(accelerator, args.resume_from_checkpoint)
    progress = progress or {"step": 0, "seconds": 0.0, "skipped": 0, "epoch": 0, "position": 0}
    rewind_log(accelerator, logs, progress["step"])
    batches = EndlessBatches(
        dataset,
        sampler,
        collator,
        accelerator.process_index,
        accelerator.num_processes,
        args.dataloader_num_workers,
        progress["epoch"],
        progress["position"],
    )
    clock = TrainingClock(accelerator, args.max_train_time and args.max_train_time / num_rungs, progress["seconds"])
    guard = NonFiniteGuard()
    guard.skipped = progress["skipped"]
    means, step = RunningMeans(), progress["step"]
    teacher = Teacher(pipe, averaged and averaged.to(accelerator.device), rung)
    size = sum(parameter.numel() for parameter in trainable(student))
    accelerator.print(f"{rung.name}: {size / 1e6:.2f} M weights in training")
    source = iter(batches)
    while (done := fraction_done(clock, step, args)) < 1:
        rate = args.learning_rate * min(1.0, (step + 1) / max(1, args.lr_warmup_steps)) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        if averaged is not None:
            average.ema.copy_to(trainable(averaged))
        means.add(train_step(accelerator, student, optimizer, guard, source, teacher, args))
        average.step()
        step += 1
        if step % args.logging_steps == 0:
            values, _ = means.take(accelerator)
            log_numbers(accelerator, logs, values, step)
            said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            accelerator.print(f"{rung.name} step {step}, {clock.seconds:.0f} s: {said}", flush=True)
        if step % args.checkpointing_steps == 0:
            progress = {"step": step, "seconds": clock.seconds, "skipped": guard.skipped}
            checkpoints.save(accelerator, progress | {"epoch": batches.epoch, "position": batches.position})

    state = average.state_dict()
    if accelerator.is_main_process:
        facts = training_facts(accelerator, rung, step, clock, args)
        finish(accelerator, assemble(pipe, blank, state, rung), split_lora(state)[1], rung, step, facts, args)
        shutil.rmtree(checkpoints.directory, ignore_errors=True)
    accelerator.wait_for_everyone()
    # Not end_training: it would part the processes, which the next rung needs together.
    for tracker in accelerator.trackers:
        tracker.finish()


def train_step(accelerator, student, optimizer, guard, batches, teacher, args):
    """One step: as many micro-batches as are accumulated. Returns what to log; nothing if it was skipped."""
    losses = []
    for _ in range(args.gradient_accumulation_steps):
        batch = next(batches)
        with accelerator.accumulate(student):
            # Noise and guidance belong to the batch: to whichever process and run it comes.
            torch.manual_seed(int(batch["seed"]))
            loss = teacher.loss(accelerator, student, send_to_device(batch, accelerator.device), args)
            accelerator.backward(loss)
            losses.append(loss.detach())
    norm = accelerator.clip_grad_norm_(trainable(student), args.max_grad_norm)
    skipped = guard.skips(norm)
    # The scaler of half precision skips by itself, and learns from it.
    if not skipped or accelerator.scaler is not None:
        optimizer.step()
    optimizer.zero_grad()
    return {} if skipped else {"loss": torch.stack(losses).mean(), "gradient_norm": norm}


def training_facts(accelerator, rung, step, clock, args):
    """What a model card says of this rung."""
    log = read_log(Path(args.output_dir) / "logs" / rung.name)
    losses = {name: value for name, value in (log[-1] if log else {}).items() if name.endswith("loss")}
    return {
        "data": Path(args.dataset_dir).name,
        "distilled from": Path(args.pretrained_pipeline).name,
        "method": rung.method,
        "steps": f"{step:,}",
        "last losses": ", ".join(f"{name} {value:.4g}" for name, value in losses.items()),
        "hardware": f"{describe_hardware(accelerator)}, {args.mixed_precision}, {clock.seconds / 60:.0f} minutes",
        "licence": args.license,
    }


def finish(accelerator, made, adapters, rung, step, facts, args):
    """Let the student speak, and write its pipeline with its card, and its adapters beside."""
    alpha = args.lora_alpha or args.lora_rank
    adapters = {f"denoiser.{name}": tensor for name, tensor in adapters.items()}
    merge_lora({"denoiser": made.denoiser}, adapters, alpha)
    if args.validation_texts:
        made.to(accelerator.device)
        folder = Path(args.output_dir) / "samples" / rung.name
        speak_samples(accelerator, made, args.validation_texts, args.validation_prompts, None, folder, step)
    with whole_parts(args.output_dir) as folder:
        made.save_pretrained(folder / rung.name)
        made.model_card(rung.name, args.license, facts).save(folder / rung.name / "README.md")
        # Adapters alone do not bring the input for guidance.
        if adapters and rung.method != "guidance":
            steps = rung.student_steps
            made.save_lora_weights(folder / rung.name, **lora_to_save(adapters, alpha), student_steps=steps)
    accelerator.print(f"{rung.name} saved after {step} steps", flush=True)


def load_data(pipe, args):
    dataset = load_prepared_dataset(args.dataset_dir, pipe.codec, pipe.tokenizer)
    rate = pipe.codec.frame_rate
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * rate), args.seed)
    limits = round(args.min_prompt_seconds * rate), round(args.max_prompt_seconds * rate)
    return dataset, sampler, PromptCollator(dataset, pipe.tokenizer, *limits, args.seed)


def build_student(teacher, rung, args):
    """The student, and a second one for its moving average where the method asks that too.

    It stays in evaluation mode: dropout would only blur what it is taught.
    """
    wanted = (args.guidance_min, args.guidance_max) if rung.method == "guidance" else None
    student = distillation.make_student(teacher, wanted)
    # Nothing is asked without condition and prompt any more.
    student.null_condition.requires_grad_(False)
    student.null_prompt.requires_grad_(False)
    if args.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    if args.lora_rank is not None:
        add_lora({"denoiser": student}, ["denoiser"], args.lora_rank, args.lora_alpha or args.lora_rank)
        if rung.method == "guidance":
            student.time_embedding.guidance_mlp.requires_grad_(True)
    return student, copy.deepcopy(student) if rung.method == "consistency" else None


def trainable(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class Teacher:
    """Makes lessons of batches, and marks the answers."""

    def __init__(self, pipe, averaged, rung):
        self.pipe, self.averaged, self.rung = pipe, averaged, rung
        self.scheduler = NaturalSpeech2DistilledScheduler.from_config(pipe.scheduler.config)

    def loss(self, accelerator, student, batch, args):
        with torch.no_grad(), accelerator.autocast():
            utterances = distillation.read_batch(self.pipe, batch)
            guidance = self.draw_guidance(utterances.latents, args)
            lesson = self.lesson(utterances, batch, guidance)
        # Whole, not as a function: what accelerate prepared may be called and nothing else.
        answer = student(
            lesson.noisy,
            lesson.timesteps,
            utterances.condition,
            utterances.prompt,
            sample_mask=batch["frame_mask"],
            prompt_mask=batch["prompt_mask"],
            guidance=guidance,
            return_dict=False,
        )[0].float()
        return distillation.distillation_loss(answer, lesson, self.scheduler, batch["frame_mask"], args.weighting)

    def draw_guidance(self, latents, args):
        """A scale for each item, (B,), from the student's range; None if it takes none."""
        config, least, most = self.pipe.denoiser.config, args.guidance_min, args.guidance_max
        if self.rung.method != "guidance":
            if not config.guidance_embeds:
                return None
            least, most = config.guidance_range or (least, most)
        return least + (most - least) * torch.rand(len(latents), device=latents.device)

    def lesson(self, utterances, batch, guidance):
        rung, scheduler, latents = self.rung, self.scheduler, utterances.latents
        if rung.method == "guidance":
            nothing = self.pipe.denoiser.encode_conditioning(batch_size=len(latents))
            conditional = self.answering(self.pipe.denoiser, utterances, batch)
            unconditional = distillation.answering(self.pipe.denoiser, nothing, batch["frame_mask"])
            teacher = distillation.guided(conditional, unconditional, guidance)
            return distillation.guidance_lesson(teacher, scheduler, latents)
        teacher = self.answering(self.pipe.denoiser, utterances, batch, guidance)
        if rung.method == "consistency":
            averaged = self.answering(self.averaged, utterances, batch, guidance)
            return distillation.consistency_lesson(teacher, averaged, scheduler, latents, rung.teacher_steps)
        return distillation.halving_lesson(teacher, scheduler, latents, rung.student_steps[0])

    @staticmethod
    def answering(denoiser, utterances, batch, guidance=None):
        conditioning = denoiser.encode_conditioning(utterances.condition, utterances.prompt, batch["prompt_mask"])
        return distillation.answering(denoiser, conditioning, batch["frame_mask"], guidance)


def fraction_done(clock, step, args):
    """How far a rung is, by its steps or by its time; the main process' clock is everybody's."""
    done = step / args.max_train_steps
    if clock.minutes is not None:
        spent = torch.tensor(clock.seconds / (60 * clock.minutes), device=clock.accelerator.device)
        done = max(done, broadcast(spent).item())
    return done


def assemble(pipe, blank, state, rung):
    """The teacher's pipeline with the student in its place, adapters not yet merged, on the CPU."""
    blank.load_state_dict(split_lora(state)[0])
    scheduler = pipe.scheduler
    if rung.student_steps:
        scheduler = NaturalSpeech2DistilledScheduler.from_config(scheduler.config, student_steps=rung.student_steps)
    return with_components(pipe, denoiser=blank.eval(), scheduler=scheduler)


if __name__ == "__main__":
    main(parse_args())
