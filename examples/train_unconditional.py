"""Train a pipeline that generates audio from nothing, on recordings or on a prepared dataset.

    python examples/train_unconditional.py --train_data recordings/ --codec my-codec --output_dir my-noises
    python examples/train_unconditional.py --dataset_dir outputs/dataset --output_dir my-noises
    accelerate launch examples/train_unconditional.py …  # several GPUs or machines

The result is a pipeline directory: `NaturalSpeech2UnconditionalPipeline.from_pretrained(output_dir)`. Sizes are those
of the class `--denoiser` names unless `--model_config` says otherwise: JSON text, or a file of it, such as
`{"hidden_size": 256, "num_layers": 6}`.
"""

import argparse
import json
from pathlib import Path

import soundfile
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from diffusers.optimization import SchedulerType, get_scheduler
from transformers import get_inverse_sqrt_schedule

from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2Tokenizer,
    NaturalSpeech2UnconditionalPipeline,
    TransformerDenoiser,
    WaveNetDenoiser,
    load_codec,
)
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset
from ns2_diffusers.data.recordings import RandomCodeCrops, RandomCrops, find_recordings
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training.assembly import Blueprint, with_components
from ns2_diffusers.training.averaging import WeightAverage
from ns2_diffusers.training.checkpoints import Checkpoints
from ns2_diffusers.training.clock import TrainingClock
from ns2_diffusers.training.objective import TIMESTEP_SAMPLINGS
from ns2_diffusers.training.precision import fast_precision
from ns2_diffusers.training.stability import NonFiniteGuard
from ns2_diffusers.training.tracking import RunningMeans, log_numbers, log_speech, rewind_log, start_tracking
from ns2_diffusers.training.unconditional import unconditional_loss

DENOISERS = {"transformer": TransformerDenoiser, "wavenet": WaveNetDenoiser}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train_data", help="folder of audio, or a list (.csv, .jsonl) with a column `file`; needs --codec")
    add("--dataset_dir", help="instead: from examples/prepare_dataset.py")
    add("--codec", help="directory of the codec, if not the one inside --dataset_dir")
    add("--output_dir", required=True, help="the pipeline goes here; checkpoints, log and samples below it")
    add("--pretrained_pipeline", help="an unconditional pipeline to go on from; its noise stays")
    add("--denoiser", choices=sorted(DENOISERS), default="transformer")
    add("--model_config", default="{}", help="JSON text or file of sizes")
    add("--prediction_type", choices=["sample", "v_prediction", "epsilon"], default="sample")
    add("--beta_schedule", choices=["linear", "cosine", "sigmoid"], default="linear")

    add("--crop_seconds", type=float, default=4.0)
    add("--train_batch_size", type=int, default=16, help="crops a process' micro-batch")
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--learning_rate", type=float, default=5e-4)
    schedules = ["inverse_sqrt", *(kind.value for kind in SchedulerType)]
    add("--lr_scheduler", choices=schedules, default="inverse_sqrt", help="the paper's, or one of diffusers'")
    add("--lr_warmup_steps", type=int, default=1000)
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
    add("--min_snr_gamma", type=float, default=0.0)
    add("--timestep_sampling", choices=TIMESTEP_SAMPLINGS, default="uniform")
    add("--self_conditioning", type=float, default=0.5, help="share of steps, for a denoiser made for it")

    add("--checkpointing_steps", type=int, default=1000)
    add("--checkpoints_total_limit", type=int, default=2, help="the newest are kept; 0 keeps all")
    add("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    add("--logging_steps", type=int, default=20)
    add("--report_to", choices=["tensorboard", "wandb", "none"], default="none")
    add("--tracker_project_name", default="ns2-unconditional")
    add("--validation_steps", type=int, default=1000)
    add("--validation_samples", type=int, default=0, help="so many are generated every --validation_steps")
    add("--validation_inference_steps", type=int, default=32)
    args = parser.parse_args(argv)
    if bool(args.train_data) == bool(args.dataset_dir):
        parser.error("give --train_data (with --codec) or --dataset_dir.")
    if args.train_data and not (args.codec or args.pretrained_pipeline):
        parser.error("--train_data needs --codec, the codec to hear it with.")
    return args


def load_pipeline(args):
    """The pipeline to train: a trained one, or an untrained one for the codec."""
    if args.pretrained_pipeline:
        return NaturalSpeech2UnconditionalPipeline.from_pretrained(args.pretrained_pipeline)
    codec = load_codec(args.codec or str(Path(args.dataset_dir) / "codec"))
    text = args.model_config
    sizes = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    return NaturalSpeech2UnconditionalPipeline(
        codec=codec.eval(),
        denoiser=DENOISERS[args.denoiser](latent_channels=codec.latent_channels, **sizes),
        scheduler=NaturalSpeech2DDIMScheduler(prediction_type=args.prediction_type, beta_schedule=args.beta_schedule),
    )


def load_crops(codec, args, first_item):
    if args.train_data:
        files = find_recordings(args.train_data)
        return RandomCrops(files, codec.sampling_rate, codec.channels, args.crop_seconds, args.seed, first_item)
    tokenizer = NaturalSpeech2Tokenizer.from_pretrained(Path(args.dataset_dir) / "tokenizer")
    dataset = load_prepared_dataset(args.dataset_dir, codec, tokenizer).with_format("numpy")
    return RandomCodeCrops(dataset, round(args.crop_seconds * codec.frame_rate), args.seed, first_item)


@torch.no_grad()
def latents_of(batch, codec):
    """Standardised latents (B, C, T) that codes can say, and their mask (B, T)."""
    if "codes" in batch:
        return codec.codes_to_latents(batch["codes"]), batch["frame_mask"]
    latents, _ = codec.quantize(codec.encode(batch["waveform"], batch["sample_mask"]))
    return latents, codec.latent_mask(batch["sample_mask"])


def build_optimizer(denoiser, args):
    optimizer = torch.optim.AdamW(
        denoiser.parameters(),
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


class Trainer:
    """A run of training: what it needs at every step, and how far it is."""

    def __init__(self, accelerator, pipe, args):
        self.accelerator, self.pipe, self.args = accelerator, pipe, args
        self.codec = pipe.codec.to(accelerator.device)
        self.scheduler = NaturalSpeech2DDIMScheduler.from_config(pipe.scheduler.config)
        self.blueprint = Blueprint({"denoiser": pipe.denoiser})
        if args.gradient_checkpointing:
            pipe.denoiser.enable_gradient_checkpointing()
        optimizer, self.schedule = build_optimizer(pipe.denoiser, args)
        self.denoiser, self.optimizer = accelerator.prepare(pipe.denoiser, optimizer)
        # Not prepared, or accelerate would step it once for each process.
        accelerator.register_for_checkpointing(self.schedule)
        self.average = WeightAverage(accelerator, self.denoiser, args.ema_decay)
        self.checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
        self.progress = {"step": 0, "seconds": 0.0, "skipped": 0}
        self.progress |= self.checkpoints.resume(accelerator, args.resume_from_checkpoint) or {}
        self.guard, self.means = NonFiniteGuard(skipped=self.progress["skipped"]), RunningMeans()
        self.clock = TrainingClock(accelerator, args.max_train_time, self.progress["seconds"])
        rewind_log(accelerator, args.output_dir, self.progress["step"])
        start_tracking(accelerator, args.tracker_project_name, args)
        self.batches = self.load_batches()

    def load_batches(self):
        args, accelerator = self.args, self.accelerator
        crops_a_step = args.train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes
        crops = load_crops(self.codec, args, self.progress["step"] * crops_a_step)
        loader = torch.utils.data.DataLoader(crops, args.train_batch_size, num_workers=args.dataloader_num_workers)
        return iter(accelerator.prepare(loader))

    def run(self):
        args = self.args
        over = self.clock.is_over()
        self.denoiser.train()
        while self.progress["step"] < args.max_train_steps and not over:
            self.step()
            over, step = self.clock.is_over(), self.progress["step"]
            last = over or step == args.max_train_steps
            if last or step % args.logging_steps == 0:
                self.log()
            # After a skipped step the weights may be no good.
            if (last or step % args.checkpointing_steps == 0) and not self.guard.in_a_row:
                self.checkpoints.save(self.accelerator, self.progress | {"seconds": self.clock.seconds})
            if args.validation_samples and (last or step % args.validation_steps == 0):
                self.validate()

    def step(self):
        """One step of the optimizer, after as many micro-batches as are accumulated."""
        args, accelerator, losses = self.args, self.accelerator, []
        for micro_step in range(args.gradient_accumulation_steps):
            batch = next(self.batches)
            with accelerator.accumulate(self.denoiser):
                # Noise and dropout depend on nothing but how far the run is, so a resumed one draws the same.
                draw = self.progress["step"] * args.gradient_accumulation_steps + micro_step
                torch.manual_seed(args.seed + draw * accelerator.num_processes + accelerator.process_index)
                losses.append(self.loss(batch))
                accelerator.backward(losses[-1])
        norm = accelerator.clip_grad_norm_(self.denoiser.parameters(), args.max_grad_norm)
        skipped = self.guard.skips(norm)
        # The scaler of half precision skips by itself, and learns from it.
        if not skipped or accelerator.scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        if not skipped:
            self.average.step()
            for loss in losses:
                self.means.add({"data": loss})
        self.schedule.step()
        self.progress |= {"step": self.progress["step"] + 1, "skipped": self.guard.skipped}

    def loss(self, batch):
        args = self.args
        latents, mask = latents_of(batch, self.codec)
        estimates = self.pipe.denoiser.config.self_conditioning and bool(torch.rand(()) < args.self_conditioning)
        with self.accelerator.autocast():
            return unconditional_loss(
                self.denoiser,
                self.scheduler,
                latents,
                mask,
                args.min_snr_gamma,
                args.timestep_sampling,
                estimates,
            )

    def log(self):
        losses, _ = self.means.take(self.accelerator)
        step, seconds = self.progress["step"], round(self.clock.seconds, 1)
        numbers = {"learning_rate": self.schedule.get_last_lr()[0], "skipped_steps": self.guard.skipped}
        log_numbers(self.accelerator, self.args.output_dir, {"seconds": seconds} | losses | numbers, step)
        said = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.accelerator.print(f"step {step}, {seconds:.0f} s: {said}", flush=True)

    def averaged_pipeline(self):
        """The pipeline with averaged weights; None but on the main process."""
        state = {f"denoiser.{name}": value for name, value in self.average.state_dict().items()}
        return with_components(self.pipe, **self.blueprint.build(state)) if state else None

    def validate(self):
        args, step = self.args, self.progress["step"]
        pipe = self.averaged_pipeline()
        if pipe is not None:
            directory = Path(args.output_dir) / "samples"
            directory.mkdir(exist_ok=True)
            output = pipe.to(self.accelerator.device)(
                audio_length_in_s=args.crop_seconds,
                batch_size=args.validation_samples,
                num_inference_steps=args.validation_inference_steps,
                generator=torch.Generator().manual_seed(args.seed),
            )
            for number, audio in enumerate(output.audios):
                soundfile.write(directory / f"{step:08d}-{number}.wav", audio, pipe.sampling_rate)
                log_speech(self.accelerator, f"audio/{number}", audio, pipe.sampling_rate, step)
        self.accelerator.wait_for_everyone()

    def finish(self):
        pipe = self.averaged_pipeline()
        if pipe is not None:
            with whole_parts(self.args.output_dir) as folder:
                pipe.save_pretrained(folder)
            self.accelerator.print(f"pipeline saved to {self.args.output_dir} after {self.progress['step']} steps")
        self.accelerator.end_training()
        return pipe


def main(args):
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=str(Path(args.output_dir) / "logs"),
        # What reads prompts has no use here; buffers never change.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    if args.report_to != "none" and not accelerator.log_with:
        raise ImportError(f"--report_to {args.report_to} needs {args.report_to}: pip install {args.report_to}")
    set_seed(args.seed)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(accelerator, load_pipeline(args), args)
    trainer.run()
    return trainer.finish()


if __name__ == "__main__":
    main(parse_args())
