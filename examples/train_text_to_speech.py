"""Train NaturalSpeech 2 on a prepared dataset, or fine-tune a pipeline on one.

    python examples/train_text_to_speech.py --dataset_dir outputs/dataset --output_dir outputs/pipeline
    accelerate launch examples/train_text_to_speech.py --dataset_dir … --output_dir …  # several GPUs or machines

The result is a pipeline directory: `NaturalSpeech2Pipeline.from_pretrained(output_dir)`. Sizes and learning rate are
the paper's unless `--model_config` and the like say otherwise: JSON text, or a file of it, such as
`{"hidden_size": 256, "denoiser": {"num_layers": 6}}`; a number outside a component is for all that have it.
"""

import argparse
import inspect
import json
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    send_to_device,
    set_seed,
)
from diffusers.optimization import SchedulerType, get_scheduler
from transformers import get_inverse_sqrt_schedule

import ns2_diffusers
from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2Pipeline,
    NaturalSpeech2Tokenizer,
    PhonemeAligner,
    load_codec,
)
from ns2_diffusers.data.collation import PROMPT_SOURCES, FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset, read_card
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training.assembly import Blueprint, with_components
from ns2_diffusers.training.averaging import WeightAverage
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.checkpoints import Checkpoints
from ns2_diffusers.training.clock import TrainingClock
from ns2_diffusers.training.lora import add_lora, lora_to_save, merge_lora, split_lora
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.objective import ObjectiveConfig, TrainingObjective
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
from ns2_diffusers.training.validation import show_alignment, speak_samples, validation_losses

MODELS = {
    "phoneme_encoder": "PhonemeEncoder",
    "prompt_encoder": "SpeechPromptEncoder",
    "variance_adaptor": "VarianceAdaptor",
}
DENOISERS = {"transformer": "TransformerDenoiser", "wavenet": "WaveNetDenoiser"}
COMPONENTS = (*MODELS, "denoiser")
LOSSES = {"loss", *(field.name.removesuffix("_weight") for field in fields(ObjectiveConfig))}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset_dir", required=True, help="from examples/prepare_dataset.py")
    add("--output_dir", required=True, help="the pipeline goes here; checkpoints, log and samples below it")
    add("--codec", help="that prepared the dataset: its directory, if it is not inside it or not the pipeline's")
    add("--pretrained_pipeline", help="a pipeline to go on from, instead of untrained models; its noise stays")
    add("--denoiser", choices=sorted(DENOISERS), default="transformer")
    add("--model_config", default="{}", help="JSON text or file of sizes")
    add("--prediction_type", choices=["sample", "v_prediction", "epsilon"], default="sample")
    add("--beta_schedule", choices=["linear", "cosine", "sigmoid"], default="linear")
    add("--prompt_source", choices=PROMPT_SOURCES, default="other", help="the speaker's other utterances, or the same")
    add("--min_prompt_seconds", type=float, default=1.0)
    add("--max_prompt_seconds", type=float, default=5.0)
    add("--learn_alignment", action="store_true", help="learn durations along, for a dataset without")
    add("--lora_rank", type=int, help="train adapters of this rank instead of the weights")
    add("--lora_alpha", type=float, help="strength of the adapters; the rank if not given")
    add("--lora_components", nargs="+", default=["denoiser"], choices=COMPONENTS)

    add("--batch_seconds", type=float, default=60.0, help="speech a process' micro-batch, padding included")
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--learning_rate", type=float, default=5e-4)
    schedules = ["inverse_sqrt", *(kind.value for kind in SchedulerType)]
    add("--lr_scheduler", choices=schedules, default="inverse_sqrt", help="the paper's, or one of diffusers'")
    add("--lr_warmup_steps", type=int, default=32_000)
    add("--adam_beta1", type=float, default=0.9)
    add("--adam_beta2", type=float, default=0.98)
    add("--adam_weight_decay", type=float, default=0.01)
    add("--adam_epsilon", type=float, default=1e-8)
    add("--max_grad_norm", type=float, default=1.0)
    add("--ema_decay", type=float, default=0.9999)
    add("--max_train_steps", type=int, default=100_000)
    add("--max_train_time", type=float, help="minutes, those before a resumed run was stopped included")
    add("--mixed_precision", choices=["no", "bf16", "fp16"], default=fast_precision())
    add("--gradient_checkpointing", action="store_true")
    add("--dataloader_num_workers", type=int, default=0)
    add("--seed", type=int, default=0)
    for field in fields(ObjectiveConfig):
        add(f"--{field.name}", type=type(field.default), default=field.default)

    add("--checkpointing_steps", type=int, default=1000)
    add("--checkpoints_total_limit", type=int, default=2, help="the newest are kept; 0 keeps all")
    add("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    add("--logging_steps", type=int, default=20)
    add("--report_to", choices=["tensorboard", "wandb", "none"], default="none")
    add("--tracker_project_name", default="naturalspeech2")
    add("--validation_steps", type=int, default=1000)
    add("--validation_dataset_dir", help="a prepared dataset to measure losses on")
    add("--validation_utterances", type=int, default=0, help="so many of the dataset's are held out for that")
    add("--validation_texts", nargs="+", default=[], help="to speak while training")
    add("--validation_prompts", nargs="+", default=[], help="recordings of the voices to speak them with, in turn")
    add("--validation_inference_steps", type=int, default=32)
    add("--push_to_hub", action="store_true")
    add("--hub_model_id", help="user/name; the output directory's name if not given")
    add("--hub_token")
    add("--license", help="of the weights, for the model card (none)")
    return check_args(parser, parser.parse_args(argv))


def check_args(parser, args):
    if bool(args.validation_texts) != bool(args.validation_prompts):
        parser.error("--validation_texts and --validation_prompts go together: what to speak, and whose voice.")
    if args.lora_rank is not None and not args.pretrained_pipeline:
        parser.error("--lora_rank adapts a trained pipeline: give --pretrained_pipeline.")
    if args.validation_dataset_dir and args.validation_utterances:
        parser.error("give --validation_dataset_dir or --validation_utterances, not both.")
    return args


def start(args):
    """The accelerator, ready for one process or many."""
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=str(Path(args.output_dir) / "logs"),
        kwargs_handlers=[
            # A loss that is switched off leaves weights without gradient; buffers never change.
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            # The others wait while the main process validates.
            InitProcessGroupKwargs(timeout=timedelta(hours=2)),
        ],
    )
    if args.report_to != "none" and not accelerator.log_with:
        raise ImportError(f"--report_to {args.report_to} needs {args.report_to}: pip install {args.report_to}")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed wants a number of items, and a batch here has a number of seconds.
        accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
    set_seed(args.seed)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    return accelerator


def load_pipeline(args):
    """The pipeline to train: a published one, or an untrained one for the dataset's codec and tokenizer."""
    if args.pretrained_pipeline:
        changed = {"codec": load_codec(args.codec).eval()} if args.codec else {}
        pipe = NaturalSpeech2Pipeline.from_pretrained(args.pretrained_pipeline, **changed)
        if steps := pipe.scheduler.config.get("student_steps"):
            raise ValueError(
                f"{args.pretrained_pipeline} is a student of {steps} steps and answers at no other noise level: train "
                "its teacher further, and distill that again."
            )
        return pipe
    codec = load_codec(args.codec or str(Path(args.dataset_dir) / "codec")).eval()
    return build_pipeline(codec, NaturalSpeech2Tokenizer.from_pretrained(Path(args.dataset_dir) / "tokenizer"), args)


def build_pipeline(codec, tokenizer, args):
    """An untrained pipeline of the wanted sizes."""
    text = args.model_config
    sizes = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    scheduler = NaturalSpeech2DDIMScheduler(prediction_type=args.prediction_type, beta_schedule=args.beta_schedule)
    known = {"vocab_size": len(tokenizer), "latent_channels": codec.latent_channels}
    if "hidden_size" in sizes:
        known["condition_dim"] = sizes["hidden_size"]
    known |= {name: value for name, value in sizes.items() if not isinstance(value, dict)}
    models = {}
    for name, class_name in {**MODELS, "denoiser": DENOISERS[args.denoiser]}.items():
        model_class = getattr(ns2_diffusers, class_name)
        takes = inspect.signature(model_class).parameters
        config = {key: value for key, value in known.items() if key in takes} | sizes.get(name, {})
        models[name] = model_class(**config)
    return NaturalSpeech2Pipeline(
        codec=codec,
        scheduler=scheduler,
        tokenizer=tokenizer,
        max_prompt_seconds=args.max_prompt_seconds,
        **models,
    )


def load_aligner(pipe, args):
    """What finds the durations of a dataset that has none: beside the pretrained pipeline, or a new one."""
    aligned = read_card(args.dataset_dir)["aligned"]
    if aligned == args.learn_alignment:
        raise ValueError(
            f"{args.dataset_dir} "
            + (
                "has durations: leave out --learn_alignment."
                if aligned
                else "has no durations: give them to it with "
                "examples/align_dataset.py, or learn them along with --learn_alignment."
            )
        )
    if aligned:
        return None
    trained = Path(args.pretrained_pipeline or "") / "aligner"
    if args.pretrained_pipeline and trained.exists():
        return PhonemeAligner.from_pretrained(trained)
    return PhonemeAligner(vocab_size=len(pipe.tokenizer), feature_channels=pipe.codec.latent_channels)


def build_objective(pipe, models, aligner, args, **changes):
    """The models with their losses; the noise is that of the pipeline's scheduler, whatever sampler that is."""
    config = ObjectiveConfig(**{field.name: getattr(args, field.name) for field in fields(ObjectiveConfig)})
    return TrainingObjective(
        **models,
        aligner=aligner,
        scheduler=NaturalSpeech2DDIMScheduler.from_config(pipe.scheduler.config),
        codebooks=standardized_codebooks(pipe.codec),
        config=replace(config, **changes),
    )


def build_optimizer(objective, args):
    optimizer = torch.optim.AdamW(
        [parameter for parameter in objective.parameters() if parameter.requires_grad],
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        weight_decay=args.adam_weight_decay,
        eps=args.adam_epsilon,
        fused=True,
    )
    if args.lr_scheduler == "inverse_sqrt":
        return optimizer, get_inverse_sqrt_schedule(optimizer, args.lr_warmup_steps)
    return optimizer, get_scheduler(
        args.lr_scheduler,
        optimizer,
        num_warmup_steps=args.lr_warmup_steps,
        num_training_steps=args.max_train_steps,
    )


def load_datasets(pipe, args):
    """The dataset to train on, the held-out one (or None), and the one that has the prompts of the held-out."""
    dataset = load_prepared_dataset(args.dataset_dir, pipe.codec, pipe.tokenizer).with_format("numpy")
    if args.validation_dataset_dir:
        held_out = load_prepared_dataset(args.validation_dataset_dir, pipe.codec, pipe.tokenizer)
        held_out = held_out.with_format("numpy")
        return dataset, held_out, held_out
    if args.validation_utterances:
        parts = dataset.train_test_split(test_size=args.validation_utterances, seed=args.seed)
        return parts["train"], parts["test"], dataset
    return dataset, None, None


def sampler_and_collator(dataset, prompts, pipe, args):
    rate = pipe.codec.frame_rate
    limits = round(args.min_prompt_seconds * rate), round(args.max_prompt_seconds * rate)
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * rate), args.seed)
    return sampler, PromptCollator(prompts, pipe.tokenizer, *limits, args.seed, args.prompt_source)


class Validation:
    """Losses, speech and pictures of models in training."""

    def __init__(self, accelerator, pipe, dataset, prompts, args):
        self.accelerator, self.pipe, self.args = accelerator, pipe, args
        self.directory = Path(args.output_dir) / "samples"
        self.loader = None
        if dataset is not None:
            sampler, collator = sampler_and_collator(dataset, prompts, pipe, args)
            self.loader = torch.utils.data.DataLoader(dataset, batch_sampler=list(sampler), collate_fn=collator)

    def __bool__(self):
        return self.loader is not None or bool(self.args.validation_texts)

    def run(self, models, step):
        """On the main process alone."""
        parts = {name: models[name] for name in COMPONENTS}
        pipe = with_components(self.pipe, **parts).to(self.accelerator.device)
        if self.loader is not None:
            no_dropout = {"condition_dropout": 0.0, "prompt_dropout": 0.0, "timestep_sampling": "stratified"}
            objective = build_objective(pipe, parts, models.get("aligner"), self.args, **no_dropout)
            self.measure(objective.to(self.accelerator.device), step)
        if self.args.validation_texts:
            texts, prompts = self.args.validation_texts, self.args.validation_prompts
            steps = self.args.validation_inference_steps
            speak_samples(self.accelerator, pipe, texts, prompts, steps, self.directory, step)

    def measure(self, objective, step):
        losses = validation_losses(objective, self.loader, self.accelerator.device)
        values = {f"validation_{name}": value for name, value in losses.items()}
        log_numbers(self.accelerator, self.args.output_dir, values, step)
        self.accelerator.print(f"step {step}: {in_words(values)}", flush=True)
        if objective.aligner is not None:
            batch, tokenizer = next(iter(self.loader)), self.pipe.tokenizer
            show_alignment(self.accelerator, objective, batch, tokenizer, self.directory, step)


def averaged_models(average, blueprint, args):
    """The models with averaged weights, adapters merged in, and the adapters; nothing but on the main process."""
    state, adapters = split_lora(average.state_dict())
    if not state:
        return {}, {}
    models = blueprint.build(state)
    merge_lora(models, adapters, lora_alpha(args))
    return models, adapters


def lora_alpha(args):
    return args.lora_rank if args.lora_alpha is None else args.lora_alpha


def training_facts(accelerator, progress, args):
    """What a model card says of this run."""
    data = read_card(args.dataset_dir)
    frames_an_hour = 3600 * data["sampling_rate"] / data["hop_length"]
    losses = {}
    for row in read_log(args.output_dir):
        losses |= {name: value for name, value in row.items() if name.removeprefix("validation_") in LOSSES}
    hours, took = data["frames"] / frames_an_hour, progress["seconds"] / 3600
    facts = {
        "data": f"{Path(args.dataset_dir).name}: {data['utterances']:,} utterances, {hours:.2f} hours",
        "steps": f"{progress['step']:,}, over {progress['frames'] / frames_an_hour:.2f} hours of speech in all",
        "last losses": in_words(losses),
        "hardware": f"{describe_hardware(accelerator)}, {args.mixed_precision}, {took:.2f} hours",
        "licence": args.license,
    }
    if args.pretrained_pipeline:
        what = f"LoRA of rank {args.lora_rank}" if args.lora_rank else "all weights"
        facts["fine-tuned from"] = f"{Path(args.pretrained_pipeline).name} ({what})"
    return facts


def in_words(values):
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def describe_run(pipe, objective, dataset, args):
    counts = {name: f"{getattr(pipe, name).num_parameters() / 1e6:.1f} M" for name in COMPONENTS}
    trained = sum(parameter.numel() for parameter in objective.parameters() if parameter.requires_grad)
    said = f"parameters {counts}, {trained / 1e6:.2f} M of them in training; {len(dataset)} utterances"
    if args.lr_warmup_steps > args.max_train_steps:
        said += (
            f"\nThe learning rate rises for {args.lr_warmup_steps} steps and training ends after "
            f"{args.max_train_steps}: it never reaches {args.learning_rate}. Lower --lr_warmup_steps for a short run."
        )
    return said


class Trainer:
    """A run of training: what it needs at every step, and how far it is."""

    def __init__(self, accelerator, pipe, args):
        self.accelerator, self.pipe, self.args = accelerator, pipe, args
        dataset, held_out, prompts_of_held_out = load_datasets(pipe, args)
        models, aligner = {name: getattr(pipe, name) for name in COMPONENTS}, load_aligner(pipe, args)
        self.blueprint = Blueprint(models if aligner is None else models | {"aligner": aligner})
        if args.lora_rank is not None:
            add_lora(models, args.lora_components, args.lora_rank, lora_alpha(args))
        objective = build_objective(pipe, models, aligner, args)
        if args.gradient_checkpointing:
            for name in self.blueprint.plans:
                getattr(objective, name).enable_gradient_checkpointing()
        optimizer, self.schedule = build_optimizer(objective, args)
        accelerator.print(describe_run(pipe, objective, dataset, args))
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        # Not prepared, or accelerate would step it once for each process.
        accelerator.register_for_checkpointing(self.schedule)
        self.average = WeightAverage(accelerator, self.objective, args.ema_decay)
        self.checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
        self.validation = Validation(accelerator, pipe, held_out, prompts_of_held_out, args)
        self.resume(dataset)

    def resume(self, dataset):
        args, accelerator = self.args, self.accelerator
        self.progress = {"step": 0, "epoch": 0, "position": 0, "frames": 0, "seconds": 0.0, "skipped": 0}
        self.progress |= self.checkpoints.resume(accelerator, args.resume_from_checkpoint) or {}
        rewind_log(accelerator, args.output_dir, self.progress["step"])
        start_tracking(accelerator, args.tracker_project_name, args)
        self.rows = EndlessBatches(
            dataset,
            *sampler_and_collator(dataset, dataset, self.pipe, args),
            accelerator.process_index,
            accelerator.num_processes,
            args.dataloader_num_workers,
            self.progress["epoch"],
            self.progress["position"],
        )
        self.batches = iter(self.rows)
        self.guard, self.means = NonFiniteGuard(skipped=self.progress["skipped"]), RunningMeans()
        self.clock = TrainingClock(accelerator, args.max_train_time, self.progress["seconds"])
        self.logged_at = self.clock.seconds

    def run(self):
        args = self.args
        over = self.clock.is_over()
        self.objective.train()
        while self.progress["step"] < args.max_train_steps and not over:
            numbers = self.step()
            over, step = self.clock.is_over(), self.progress["step"]
            last = over or step == args.max_train_steps
            save = last or step % args.checkpointing_steps == 0
            if save or step % args.logging_steps == 0:
                self.log(numbers)
            paused = self.clock.seconds
            # After a skipped step the weights may be no good.
            if save and not self.guard.in_a_row:
                self.checkpoints.save(self.accelerator, self.progress | {"seconds": paused})
            if self.validation and (last or step % args.validation_steps == 0):
                self.validate()
            self.logged_at += self.clock.seconds - paused
        self.progress["seconds"] = self.clock.seconds

    def step(self):
        """One step of the optimizer, after as many micro-batches as are accumulated. Returns numbers to log."""
        found = []
        for _ in range(self.args.gradient_accumulation_steps):
            batch = next(self.batches)
            with self.accelerator.accumulate(self.objective):
                # Noise and dropout belong to the batch, to whichever process and run it comes.
                torch.manual_seed(int(batch["seed"]))
                losses = self.objective(send_to_device(batch, self.accelerator.device), self.progress["step"])
                self.accelerator.backward(losses["loss"])
                found.append((losses, int(batch["frame_mask"].sum())))
        norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.args.max_grad_norm)
        # DeepSpeed makes its step in `backward`, and may have no norm.
        skipped = norm is not None and self.guard.skips(norm)
        # The scaler of half precision skips by itself, and learns from it.
        if not skipped or self.accelerator.scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        if not skipped:
            self.average.step()
            for losses, frames in found:
                self.means.add(losses, frames)
        numbers = {"learning_rate": self.schedule.get_last_lr()[0], "gradient_norm": float(norm or 0.0)}
        self.schedule.step()
        self.progress["step"] += 1
        self.progress |= {"epoch": self.rows.epoch, "position": self.rows.position, "skipped": self.guard.skipped}
        return numbers | {"skipped_steps": self.guard.skipped}

    def log(self, numbers):
        losses, frames = self.means.take(self.accelerator)
        self.progress["frames"] += frames
        spent = self.clock.seconds - self.logged_at
        numbers = numbers | {"audio_seconds_per_second": frames / self.pipe.codec.frame_rate / spent}
        step, self.logged_at = self.progress["step"], self.clock.seconds
        log_numbers(self.accelerator, self.args.output_dir, losses | numbers, step)
        self.accelerator.print(f"step {step}, {self.clock.seconds:.0f} s: {in_words(losses | numbers)}", flush=True)

    def validate(self):
        models, _ = averaged_models(self.average, self.blueprint, self.args)
        if models:
            self.validation.run(models, self.progress["step"])
        self.accelerator.wait_for_everyone()

    def finish(self):
        """Write the pipeline, its card and, if they were trained, adapters and aligner; then to the hub."""
        args = self.args
        models, adapters = averaged_models(self.average, self.blueprint, args)
        if models:
            pipe = with_components(self.pipe, **{name: models[name] for name in COMPONENTS})
            hub_id = args.hub_model_id or Path(args.output_dir).name
            card = pipe.model_card(hub_id, args.license, training_facts(self.accelerator, self.progress, args))

            with whole_parts(args.output_dir) as folder:
                pipe.save_pretrained(folder)
                card.save(folder / "README.md")
                if adapters:
                    pipe.save_lora_weights(folder, **lora_to_save(adapters, lora_alpha(args)))
                if "aligner" in models:
                    models["aligner"].save_pretrained(folder / "aligner")
            self.accelerator.print(f"pipeline saved to {args.output_dir} after {self.progress['step']} steps")
            if args.push_to_hub:
                pipe.push_to_hub(hub_id, token=args.hub_token, card=card)
        self.accelerator.end_training()


def main(args):
    accelerator = start(args)
    trainer = Trainer(accelerator, load_pipeline(args), args)
    trainer.run()
    trainer.finish()


if __name__ == "__main__":
    main(parse_args())
