"""Distill a trained pipeline into few-step students: guidance first, then 32 → 16 → 8 → 4 → 2 → 1.

    python examples/distill_text_to_speech.py --pretrained_pipeline outputs/pipeline --dataset_dir outputs/dataset \
        --output_dir outputs/distilled

Each stage is a pipeline directory below `--output_dir`: `guidance`, `steps-16`, `steps-08` … A stopped run
continues with `--resume_from_checkpoint latest`: finished stages are kept, and the interrupted stage continues.
`--method consistency` goes straight from the guided teacher to one student of 4, 2 and 1 steps.
"""

import copy
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState

from ns2_diffusers import NaturalSpeech2DistilledScheduler, NaturalSpeech2Pipeline
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_datasets
from ns2_diffusers.files import remove_partial, whole_parts
from ns2_diffusers.training import arguments, distillation
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.components import with_components
from ns2_diffusers.training.lora import add_lora, lora_to_save, merge_lora, split_lora
from ns2_diffusers.training.optimization import build_optimizer, linear_schedule
from ns2_diffusers.training.run import TrainingRun
from ns2_diffusers.training.validation import speak_samples

METHODS = ("guidance", "halving", "consistency")
TEACHER_STEPS = 32


def parse_args(argv=None):
    parser = arguments.TrainingArgumentParser(__doc__)
    add = parser.add_argument
    add("--pretrained_pipeline", required=True, help="the teacher, or a finished stage to continue from")
    add("--output_dir", required=True, help="output directory, with one pipeline directory per stage")
    arguments.add_dataset_arguments(parser)
    add("--guidance_min", type=float, default=1.0, help="smallest guidance scale that the student learns")
    add(
        "--guidance_max",
        type=float,
        default=4.0,
        help="largest guidance scale that the student learns; 1 leaves guidance out",
    )
    add(
        "--teacher_steps",
        type=int,
        help=f"number of DDIM steps of the teacher; {TEACHER_STEPS}, or those of a student, if not given",
    )
    add("--last_steps", type=int, default=1, help="number of steps of the last stage (--method halving)")
    add(
        "--method",
        choices=METHODS,
        default="halving",
        help="guidance distillation alone, or followed by progressive or consistency distillation",
    )
    add(
        "--few_steps",
        type=int,
        nargs="+",
        default=[4, 2, 1],
        help="numbers of steps of the student (--method consistency)",
    )
    add("--weighting", choices=distillation.WEIGHTINGS, default="truncated_snr", help="loss weights by noise level")
    arguments.add_lora_arguments(parser)
    arguments.add_optimizer_arguments(parser)
    arguments.add_ema_argument(parser)
    arguments.add_run_arguments(parser)
    add("--license", help="licence of the weights, for the model cards; none if not given")
    arguments.add_speech_arguments(parser)
    # The learning rate falls to 0 over each stage (arXiv 2202.00512).
    parser.set_defaults(learning_rate=1e-4, lr_warmup_steps=100, adam_weight_decay=0.0, max_train_steps=20_000)
    parser.set_defaults(checkpoints_total_limit=1, tracker_project_name="naturalspeech2-distillation")
    args = parser.parse_args(argv)
    arguments.check_speech(parser, args)
    args.lora_alpha = args.lora_rank if args.lora_alpha is None else args.lora_alpha
    return args


@dataclass
class Stage:
    """One student: its training method and the numbers of steps it supports (None: any number, with any sampler)."""

    name: str
    method: str
    student_steps: list[int] | None
    teacher_steps: int


def plan(pipe, args):
    """Return the stages that follow a teacher's pipeline, in order."""
    teacher, known = pipe.denoiser.config, pipe.scheduler.config.get("student_steps")
    steps = args.teacher_steps or max(known or [TEACHER_STEPS])
    if known and steps not in known:
        raise ValueError(
            f"the teacher is a student of {known} steps and knows no noise levels between theirs: leave out "
            "--teacher_steps, or start from the undistilled pipeline."
        )
    stages = []
    # A self-guided denoiser is distilled for guidance again only on request: its training continues at a scale of 1.
    is_asked = args.method == "guidance" or not teacher.guidance_embeds
    if args.guidance_max > max(1.0, args.guidance_min) and is_asked and not known:
        stages.append(Stage("guidance", "guidance", None, steps))
    if args.method == "guidance" and not stages:
        raise ValueError(
            "--method guidance teaches a denoiser to guide itself, and there is nothing to teach: this one is a "
            "student, or --guidance_max is not above 1."
        )
    if args.method == "halving":
        while steps % 2 == 0 and steps // 2 >= args.last_steps:
            stages.append(Stage(f"steps-{steps // 2:02d}", "halving", [steps // 2], steps))
            steps //= 2
    if args.method == "consistency":
        if any(steps % few for few in args.few_steps):
            raise ValueError(f"--few_steps {args.few_steps} must divide the teacher's {steps} steps.")
        stages.append(Stage("consistency", "consistency", sorted(args.few_steps, reverse=True), steps))
    return stages


def main(args):
    pipe = NaturalSpeech2Pipeline.from_pretrained(args.pretrained_pipeline)
    stages, resume = plan(pipe, args), args.resume_from_checkpoint
    minutes = args.max_train_time and args.max_train_time / len(stages)
    for stage in stages:
        folder = Path(args.output_dir) / stage.name
        if not folder.exists():
            distill(
                pipe, stage, Namespace(**vars(args) | {"max_train_time": minutes, "resume_from_checkpoint": resume})
            )
            # A named checkpoint belongs to one stage. Later stages start anew or continue where they stopped.
            resume = resume and "latest"
        elif not resume:
            raise ValueError(f"{folder} is there already: go on with --resume_from_checkpoint latest, or remove it.")
        pipe = NaturalSpeech2Pipeline.from_pretrained(folder)
    PartialState().destroy_process_group()


def distill(pipe, stage, args):
    """Train one student with the denoiser of `pipe` as the teacher, and write its pipeline."""
    run = TrainingRun(args, Path(args.output_dir) / "logs" / stage.name, stage.name)
    accelerator = run.accelerator
    if accelerator.is_main_process:
        # Remove files that a killed run left. The run's own folder is cleared separately.
        remove_partial(args.output_dir)
    dataset = load_prepared_datasets(args.dataset_dir, pipe.codec, pipe.tokenizer)
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * pipe.codec.frame_rate), args.seed)
    seconds = args.min_prompt_seconds, args.max_prompt_seconds
    batches = EndlessBatches(
        dataset, sampler, PromptCollator.from_pipeline(pipe, dataset, *seconds, args.seed), **run.loading
    )
    bare_student, averaged = build_student(pipe.denoiser, stage, args)
    blank = type(bare_student).from_config(bare_student.config)
    for part in (pipe.codec, pipe.phoneme_encoder, pipe.prompt_encoder, pipe.variance_adaptor, pipe.denoiser):
        part.to(accelerator.device).requires_grad_(False).eval()
    student, _ = run.prepare(bare_student, build_optimizer(bare_student, args), ema_decay=args.ema_decay)
    teacher = Teacher(pipe, averaged and averaged.to(accelerator.device), stage)

    def compute(batch):
        if averaged is not None:
            run.average.copy_to(averaged)
        loss = teacher.loss(accelerator, student, batch, args)
        accelerator.backward(loss)
        return {"loss": loss}

    audio = ("frame_mask", pipe.codec.frame_rate)
    run.train(batches, compute, linear_schedule(args.lr_warmup_steps), audio=audio)
    state = run.average.state_dict()
    if accelerator.is_main_process:
        save(run, assemble(pipe, blank, state, stage), split_lora(state)[1], stage, args)
        run.checkpoints.remove_all()
    accelerator.wait_for_everyone()
    run.finish_trackers()


def save(run, made, adapters, stage, args):
    """Generate samples with the student, then write its pipeline with its card, and its adapters beside it."""
    adapters = {f"denoiser.{name}": tensor for name, tensor in adapters.items()}
    merge_lora({"denoiser": made.denoiser}, adapters, args.lora_alpha)
    if args.validation_texts:
        made.to(run.accelerator.device)
        folder = Path(args.output_dir) / "samples" / stage.name
        speak_samples(run.accelerator, made, args.validation_texts, args.validation_prompts, None, folder, run.step)
    facts = {
        "data": ", ".join(Path(directory).name for directory in args.dataset_dir),
        "distilled from": Path(args.pretrained_pipeline).name,
        "method": stage.method,
        **run.facts(),
        "licence": args.license,
    }
    with whole_parts(args.output_dir) as folder:
        made.save_pretrained(folder / stage.name)
        made.model_card(stage.name, args.license, facts).save(folder / stage.name / "README.md")
        # Adapters alone do not add the guidance input.
        if adapters and stage.method != "guidance":
            steps = stage.student_steps
            made.save_lora_weights(folder / stage.name, **lora_to_save(adapters, args.lora_alpha), student_steps=steps)
    run.say(f"saved after {run.step} steps")


def build_student(teacher, stage, args):
    """Return the student, and a second one for its moving average if the method needs it.

    The student stays in evaluation mode: dropout would only blur its targets.
    """
    wanted = (args.guidance_min, args.guidance_max) if stage.method == "guidance" else None
    student = distillation.make_student(teacher, wanted)
    # The student is never called without a condition and a prompt, so the null embeddings need no training.
    student.null_condition.requires_grad_(False)
    student.null_prompt.requires_grad_(False)
    if args.gradient_checkpointing:
        student.enable_gradient_checkpointing()
    if args.lora_rank is not None:
        add_lora({"denoiser": student}, ["denoiser"], args.lora_rank, args.lora_alpha)
        if stage.method == "guidance":
            student.time_embedding.guidance_mlp.requires_grad_(True)
    return student, copy.deepcopy(student) if stage.method == "consistency" else None


class Teacher:
    """Computes targets for batches, and the loss of a student that is trained towards them."""

    def __init__(self, pipe, averaged, stage):
        self.pipe, self.averaged, self.stage = pipe, averaged, stage
        self.scheduler = NaturalSpeech2DistilledScheduler.from_config(pipe.scheduler.config)

    def loss(self, accelerator, student, batch, args):
        with torch.no_grad(), accelerator.autocast():
            utterances = distillation.read_batch(self.pipe, batch)
            guidance = self.draw_guidance(utterances.latents, args)
            target = self.target(utterances, batch, guidance)
        # Call the prepared model itself: accelerate wraps only that call.
        answer = student(
            target.noisy,
            target.timesteps,
            utterances.condition,
            utterances.prompt,
            sample_mask=batch["frame_mask"],
            prompt_mask=batch["prompt_mask"],
            guidance=guidance,
            return_dict=False,
        )[0].float()
        return distillation.distillation_loss(answer, target, self.scheduler, batch["frame_mask"], args.weighting)

    def draw_guidance(self, latents, args):
        """Draw a guidance scale for each item, (B,), from the student's range. Return None if it takes no scale."""
        config, least, most = self.pipe.denoiser.config, args.guidance_min, args.guidance_max
        if self.stage.method != "guidance":
            if not config.guidance_embeds:
                return None
            least, most = config.guidance_range or (least, most)
        return least + (most - least) * torch.rand(len(latents), device=latents.device)

    def target(self, utterances, batch, guidance):
        stage, scheduler, latents = self.stage, self.scheduler, utterances.latents
        if stage.method == "guidance":
            nothing = self.pipe.denoiser.encode_conditioning(batch_size=len(latents))
            conditional = self.answering(self.pipe.denoiser, utterances, batch)
            unconditional = distillation.answering(self.pipe.denoiser, nothing, batch["frame_mask"])
            teacher = distillation.guided(conditional, unconditional, guidance)
            return distillation.guidance_target(teacher, scheduler, latents)
        teacher = self.answering(self.pipe.denoiser, utterances, batch, guidance)
        if stage.method == "consistency":
            averaged = self.answering(self.averaged, utterances, batch, guidance)
            return distillation.consistency_target(teacher, averaged, scheduler, latents, stage.teacher_steps)
        return distillation.halving_target(teacher, scheduler, latents, stage.student_steps[0])

    @staticmethod
    def answering(denoiser, utterances, batch, guidance=None):
        conditioning = denoiser.encode_conditioning(utterances.condition, utterances.prompt, batch["prompt_mask"])
        return distillation.answering(denoiser, conditioning, batch["frame_mask"], guidance)


def assemble(pipe, blank, state, stage):
    """Return the teacher's pipeline with the student in its place, on the CPU. Adapters are not yet merged."""
    blank.load_state_dict(split_lora(state)[0])
    scheduler = pipe.scheduler
    if stage.student_steps:
        scheduler = NaturalSpeech2DistilledScheduler.from_config(scheduler.config, student_steps=stage.student_steps)
    return with_components(pipe, denoiser=blank.eval(), scheduler=scheduler)


if __name__ == "__main__":
    main(parse_args())
