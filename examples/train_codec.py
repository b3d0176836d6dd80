"""Train a codec (VocosCodec or EncodecCodec) on your own recordings.

    python examples/train_codec.py --train_data recordings/ --output_dir my-codec --max_train_time 30
    accelerate launch examples/train_codec.py …  # several GPUs or machines

Adversarial losses make speech natural rather than merely intelligible; switch them on once the reconstruction is good:
`--adversarial_weight 1 --balance_losses --adversarial_start_step 20000`, or afterwards, from the codec as it then is:
`--pretrained_codec my-codec`, with `--freeze_encoder` if its codes must stay what they are.
"""

import argparse
import json
import math
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from safetensors.torch import load_file, save_file

from ns2_diffusers import EncodecCodec, VocosCodec, load_codec
from ns2_diffusers.data.recordings import RandomCrops, find_recordings
from ns2_diffusers.files import whole_file, whole_parts
from ns2_diffusers.training.checkpoints import Checkpoints
from ns2_diffusers.training.clock import TrainingClock
from ns2_diffusers.training.codec_losses import (
    LossBalancer,
    MultiResolutionMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    multi_resolution_stft_loss,
)
from ns2_diffusers.training.codec_validation import measure_latents, reconstruct_samples
from ns2_diffusers.training.discriminators import CodecDiscriminator, SideBySide
from ns2_diffusers.training.losses import pitch_loss
from ns2_diffusers.training.precision import fast_precision
from ns2_diffusers.training.stability import NonFiniteGuard
from ns2_diffusers.training.tracking import log_numbers, rewind_log, start_tracking

DISCRIMINATOR_NAME = "discriminator.safetensors"
CODECS = {"vocos": VocosCodec, "encodec": EncodecCodec}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train_data", required=True, help="folder of audio, or a list (.csv, .jsonl) with a column `file`")
    add("--output_dir", required=True, help="the codec goes here; checkpoints, log and samples below it")
    add("--pretrained_codec", help="folder of a codec to start from")
    add("--codec_type", choices=sorted(CODECS), default="vocos")
    add("--codec_config", help="json file or text: the codec's config, or what grows in a pretrained one")
    add("--sampling_rate", type=int, default=16000)
    add("--hop_length", type=int, default=320)
    add("--latent_channels", type=int, default=64)
    add("--num_codebooks", type=int, default=8)
    add("--codebook_size", type=int, default=1024)
    add("--dim", type=int, default=256, help="width of VocosCodec's encoder and decoder")
    add("--encoder_layers", type=int, default=4)
    add("--decoder_layers", type=int, default=6)

    add("--crop_seconds", type=float, default=0.5)
    add("--speed_perturbation", type=float, default=0.0, help="0.1: up to 10 %% faster or slower, as new voices")
    add("--degraded_share", type=float, default=0.0, help="share of crops encoded with noise and reverberation")
    add("--train_batch_size", type=int, default=24, help="of a process")
    add("--learning_rate", type=float, default=1e-3)
    add("--lr_warmup_steps", type=int, default=50)
    add("--max_grad_norm", type=float, default=1.0)
    add("--max_train_steps", type=int, default=None)
    add("--max_train_time", type=float, default=None, help="minutes")
    add("--seed", type=int, default=0)
    # No fp16: gradients of a mean over a million values are too small for it.
    add("--mixed_precision", choices=["no", "bf16"], default=fast_precision())
    add("--gradient_checkpointing", action="store_true")
    add("--dataloader_num_workers", type=int, default=0)

    add("--mel_weight", type=float, default=1.0)
    add("--stft_weight", type=float, default=0.0)
    add("--commitment_weight", type=float, default=0.25)
    add("--quantizer_start_step", type=int, default=0, help="no codes before: a trained encoder makes good codebooks")
    add("--f0_weight", type=float, default=1.0, help="of log F0, where the decoder says it (a harmonic head)")
    add("--adversarial_weight", type=float, default=0.0, help="0 switches discriminators off")
    add("--feature_matching_weight", type=float, default=2.0)
    add("--balance_losses", action="store_true", help="weights of what is heard are shares of the gradient")
    add("--adversarial_start_step", type=int, default=0)
    add("--freeze_encoder", action="store_true", help="train the decoder alone: codes stay what they are")
    add("--pretrained_discriminator", help="discriminator.safetensors of an earlier run, made with the same options")
    add(
        "--discriminator_warmup_steps", type=int, default=0, help="first steps, in which only the discriminators learn"
    )
    add("--discriminator", choices=["light", "encodec"], default="light", help="ours, or the encodec package's")
    add("--discriminator_channels", type=int, default=16)
    add("--discriminator_n_ffts", type=int, nargs="*", default=[256, 512, 1024, 2048], help="of the light ones")
    add("--discriminator_periods", type=int, nargs="*", default=[2, 3, 5], help="of the light ones")
    add("--discriminator_interval", type=int, default=1, help="steps of the codec to one of theirs")
    add("--discriminator_learning_rate", type=float, help="that of the codec if not given")

    add("--logging_steps", type=int, default=20)
    add("--report_to", choices=["tensorboard", "wandb", "none"], default="none")
    add("--tracker_project_name", default="ns2-codec")
    add("--validation_data", help="recordings to send through the codec now and then; like --train_data")
    add("--validation_recordings", type=int, default=4)
    add("--validation_steps", type=int, default=1000)
    add("--checkpointing_steps", type=int, default=500)
    add("--checkpoints_total_limit", type=int, default=2, help="the newest are kept; 0 keeps all")
    add("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    add("--statistics_seconds", type=float, default=3600.0, help="of audio to measure the latents on")
    args = parser.parse_args(argv)
    if args.max_train_steps is None and args.max_train_time is None:
        parser.error("say when to stop: --max_train_steps or --max_train_time (minutes).")
    if args.discriminator_warmup_steps and not args.adversarial_weight:
        parser.error("--discriminator_warmup_steps trains discriminators, and --adversarial_weight 0 uses none.")
    return args


def build_codec(args):
    config = {}
    if args.codec_config:
        text = args.codec_config
        config = json.loads(Path(text).read_text() if not text.lstrip().startswith("{") else text)
        config = {key: v for key, v in config.items() if not key.startswith("_")}
    if args.pretrained_codec:
        codec = load_codec(args.pretrained_codec)
        return grow(codec, config) if config else codec
    codec_class = CODECS[args.codec_type]
    if config:
        return codec_class.from_config(config)
    sizes = {
        name: getattr(args, name) for name in ("sampling_rate", "latent_channels", "num_codebooks", "codebook_size")
    }
    if args.codec_type == "encodec":
        return EncodecCodec(**sizes)
    width = {"dim": args.dim, "intermediate_dim": 3 * args.dim}
    return VocosCodec(
        **sizes,
        hop_length=args.hop_length,
        encoder_config={"n_fft": 4 * args.hop_length, "n_mels": 80, "num_layers": args.encoder_layers, **width},
        backbone_config={"num_layers": args.decoder_layers, **width},
        head_config={"n_fft": 4 * args.hop_length},
    )


def grow(codec, changes):
    """The codec with a config that gives it more to see; what is new starts at zero, where it changes nothing."""
    config = {key: value for key, value in codec.config.items() if not key.startswith("_")}
    for name, change in changes.items():
        config[name] = {**config[name], **change} if isinstance(change, dict) else change
    grown = type(codec).from_config(config)
    state = grown.state_dict()
    for name, old in codec.state_dict().items():
        new = state.get(name)
        fits = new is not None and new.shape[:1] + new.shape[2:] == old.shape[:1] + old.shape[2:]
        if not fits or new.numel() < old.numel():
            raise ValueError(
                f"--codec_config changes {name} of --pretrained_codec, {tuple(old.shape)}, in more than the number of "
                "its inputs: leave the other sizes as they are."
            )
        new.zero_()[tuple(slice(size) for size in old.shape)] = old
    return grown


def set_learning_rates(optimizers, step, seconds, args, first_step=0):
    """Linear warm-up from `first_step`, then half a cosine down to a twentieth, by whichever limit comes first."""
    shares = [step / args.max_train_steps] if args.max_train_steps else []
    shares += [seconds / (60 * args.max_train_time)] if args.max_train_time else []
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, max(shares))))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * min(1.0, (step + 1 - first_step) / args.lr_warmup_steps) * cosine


def build_discriminator(args, channels):
    if args.discriminator == "light":
        return CodecDiscriminator(args.discriminator_n_ffts, args.discriminator_periods, args.discriminator_channels)
    try:
        from encodec.msstftd import MultiScaleSTFTDiscriminator
    except (ImportError, OSError) as error:
        raise ImportError(
            f"--discriminator encodec needs the encodec package, which cannot be imported ({error}): pip install "
            '"ns2-diffusers[encodec]", or train with --discriminator light.'
        ) from error

    judges = MultiScaleSTFTDiscriminator(args.discriminator_channels, in_channels=channels)
    for judge in judges.discriminators:
        # As it comes it is a part of a longer tensor, which safetensors will not save.
        judge.spec_transform.window = judge.spec_transform.window.clone()
    return judges


def load_discriminator(discriminator, file):
    """Load the weights that an earlier run saved.

    Raises:
        ValueError: they are of a discriminator with other options.
    """
    state = load_file(file)
    expected = discriminator.state_dict()
    differing = sorted(
        name
        for name in state.keys() | expected.keys()
        if name not in state or name not in expected or state[name].shape != expected[name].shape
    )
    if differing:
        raise ValueError(
            f"--pretrained_discriminator {file} does not fit the discriminator of this run ({differing[0]} and "
            f"{len(differing) - 1} other tensors differ): give the --discriminator options of the run that saved it."
        )
    discriminator.load_state_dict(state)


def reconstruction_losses(reconstruction, waveform, mel_loss, args):
    losses = {"mel": mel_loss(reconstruction, waveform)}
    if args.stft_weight:
        losses["stft"] = multi_resolution_stft_loss(reconstruction, waveform)
    return losses


def build_optimizer(model, learning_rate):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{"params": parameters, "peak_lr": learning_rate}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.8, 0.99), weight_decay=0.01)


def loss_weights(args):
    names = ("mel", "stft", "adversarial", "feature_matching")
    return {name: getattr(args, f"{name}_weight") for name in names}


def weighted_sum(losses, weights):
    return sum(weights[name] * loss for name, loss in losses.items())


class Trainer:
    """A run of training: what it needs at every step, and how far it is."""

    def __init__(self, accelerator, codec, args):
        self.accelerator, self.bare_codec, self.args = accelerator, codec, args
        self.says_f0 = codec.takes_f0
        if args.gradient_checkpointing:
            codec.enable_gradient_checkpointing()
        if args.freeze_encoder:
            codec.encoder.requires_grad_(False)
        discriminator = SideBySide(build_discriminator(args, codec.channels))
        if args.pretrained_discriminator:
            load_discriminator(discriminator, args.pretrained_discriminator)
        self.judges = list(discriminator.parameters())
        self.mel_loss = MultiResolutionMelLoss(codec.sampling_rate).to(accelerator.device)
        self.weights = loss_weights(args)
        self.codec, self.discriminator, self.optimizer, self.judges_optimizer = accelerator.prepare(
            codec,
            discriminator,
            build_optimizer(codec, args.learning_rate),
            build_optimizer(discriminator, args.discriminator_learning_rate or args.learning_rate),
        )
        self.balancer = LossBalancer(self.weights) if args.balance_losses else None
        if self.balancer:
            accelerator.register_for_checkpointing(self.balancer)
        self.checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
        progress = self.checkpoints.resume(accelerator, args.resume_from_checkpoint) or {}
        self.progress = {"step": 0, "seconds": 0.0, "skipped": 0} | progress
        self.guard = NonFiniteGuard(skipped=self.progress["skipped"])
        self.clock = TrainingClock(accelerator, args.max_train_time, self.progress["seconds"])
        rewind_log(accelerator, args.output_dir, self.progress["step"])
        start_tracking(accelerator, args.tracker_project_name, args)
        self.crops = self.load_crops()

    def load_crops(self):
        args, codec, processes = self.args, self.bare_codec, self.accelerator.num_processes
        crops = RandomCrops(
            find_recordings(args.train_data),
            codec.sampling_rate,
            codec.channels,
            args.crop_seconds,
            args.seed,
            self.progress["step"] * args.train_batch_size * processes,
            args.speed_perturbation,
            codec.hop_length if self.says_f0 else None,
            args.degraded_share,
        )
        self.accelerator.print(
            f"{codec.num_parameters() / 1e6:.1f} M parameters, {len(crops.files)} recordings of "
            f"{crops.durations.sum() / 60:.1f} minutes, {len(crops.unreadable)} left out as unreadable"
        )
        return crops

    def run(self):
        args = self.args
        # A generator of its own: a loader draws a seed when it starts, which a resumed run does once more.
        loader = torch.utils.data.DataLoader(
            self.crops,
            args.train_batch_size,
            num_workers=args.dataloader_num_workers,
            generator=torch.Generator().manual_seed(args.seed),
        )
        batches = iter(self.accelerator.prepare(loader))
        over = self.clock.is_over()
        while self.progress["step"] < (args.max_train_steps or math.inf) and not over:
            losses = self.step(next(batches))
            over, step = self.clock.is_over(), self.progress["step"]
            last = over or step == args.max_train_steps
            if last or step % args.logging_steps == 0:
                self.log(losses)
            # After a skipped step the weights may be no good.
            if (last or step % args.checkpointing_steps == 0) and not self.guard.in_a_row:
                self.checkpoints.save(self.accelerator, self.progress | {"seconds": self.clock.seconds})
            if args.validation_data and (last or step % args.validation_steps == 0):
                self.validate()

    def train_mode(self):
        self.codec.train()
        if self.args.freeze_encoder:
            self.bare_codec.quantizer.eval()

    def reconstruct(self, batch):
        with self.accelerator.autocast():
            # Pulses at the true F0 are heard from the first step; the prediction has a loss of its own.
            inputs = {"f0": batch["f0"]} if self.says_f0 else {}
            inputs["quantize"] = self.progress["step"] >= self.args.quantizer_start_step
            return self.codec(batch.get("input", batch["waveform"]), batch["sample_mask"], **inputs)

    def step(self, batch):
        """One step of the codec, and of the discriminators if it is their turn. Returns the losses."""
        args, accelerator, step = self.args, self.accelerator, self.progress["step"]
        self.train_mode()
        if step < args.discriminator_warmup_steps:
            return self.warm_up_discriminators(batch)
        set_learning_rates((self.optimizer,), step, self.clock.seconds, args, args.discriminator_warmup_steps)
        set_learning_rates((self.judges_optimizer,), step, self.clock.seconds, args)
        adversarial = args.adversarial_weight > 0 and step >= args.adversarial_start_step
        output = self.reconstruct(batch)
        # The losses see a copy, so that their gradient can be weighed before it goes on to the codec.
        made, real = output.waveform.detach().float().requires_grad_(), batch["waveform"]
        losses = reconstruction_losses(made, real, self.mel_loss, args)
        if adversarial:
            with accelerator.autocast():
                (real_scores, real_features), (made_scores, made_features) = self.discriminator(real, made)
            losses["adversarial"] = adversarial_loss(made_scores)
            losses["feature_matching"] = feature_matching_loss(real_features, made_features)
        total = self.balancer(losses, made) if self.balancer else weighted_sum(losses, self.weights)
        (gradient,) = torch.autograd.grad(total, made, retain_graph=adversarial)
        losses |= self.inner_losses(output, batch)
        carried = (output.waveform.float() * gradient).sum()
        weights = {"commitment": args.commitment_weight, "f0": args.f0_weight}
        accelerator.backward(carried + sum(weights[name] * losses[name] for name in weights if name in losses))
        norm = accelerator.clip_grad_norm_(self.codec.parameters(), args.max_grad_norm)

        optimizers = [self.optimizer]
        if adversarial and step % args.discriminator_interval == 0:
            losses["discriminator"] = discriminator_loss(real_scores, made_scores)
            accelerator.backward(losses["discriminator"], inputs=self.judges)
            norm = norm + accelerator.clip_grad_norm_(self.judges, args.max_grad_norm)
            optimizers.append(self.judges_optimizer)
        if not self.guard.skips(norm):
            for optimizer in optimizers:
                optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.progress |= {"step": step + 1, "skipped": self.guard.skipped}
        return losses

    def warm_up_discriminators(self, batch):
        """One step of the discriminators alone. Returns their loss.

        What they say means nothing yet, and following it would cost the codec quality.
        """
        accelerator, step = self.accelerator, self.progress["step"]
        set_learning_rates((self.judges_optimizer,), step, self.clock.seconds, self.args)
        # Codebooks do not learn either without gradients.
        with torch.no_grad():
            made = self.reconstruct(batch).waveform.float()
        with accelerator.autocast():
            (real_scores, _), (made_scores, _) = self.discriminator(batch["waveform"], made)
        loss = discriminator_loss(real_scores, made_scores)
        accelerator.backward(loss)
        if not self.guard.skips(accelerator.clip_grad_norm_(self.judges, self.args.max_grad_norm)):
            self.judges_optimizer.step()
        self.judges_optimizer.zero_grad()
        self.progress |= {"step": step + 1, "skipped": self.guard.skipped}
        return {"discriminator": loss}

    def inner_losses(self, output, batch):
        """Of what is not heard: the codes, and the F0 that the decoder says."""
        losses = {}
        if output.commitment_loss is not None:
            losses["commitment"] = output.commitment_loss
        if self.says_f0:
            mask = self.bare_codec.latent_mask(batch["sample_mask"])
            losses["f0"] = pitch_loss(output.log_f0, batch["f0"], mask)
        return losses

    def log(self, losses):
        names, values = list(losses), torch.stack([loss.detach().float() for loss in losses.values()])
        values = dict(zip(names, self.accelerator.reduce(values, reduction="mean").tolist(), strict=True))
        said = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        step, seconds = self.progress["step"], round(self.clock.seconds, 1)
        self.accelerator.print(f"step {step}, {seconds:.0f} s: {said}", flush=True)
        values |= {"learning_rate": self.optimizer.param_groups[0]["lr"], "skipped_steps": self.guard.skipped}
        log_numbers(self.accelerator, self.args.output_dir, {"seconds": seconds} | values, step)

    def validate(self):
        args, step = self.args, self.progress["step"]
        if self.accelerator.is_main_process:
            files = find_recordings(args.validation_data)[: args.validation_recordings]
            directory = Path(args.output_dir) / "samples"
            mel = reconstruct_samples(self.accelerator, self.bare_codec, files, self.mel_loss, directory, step)
            log_numbers(self.accelerator, args.output_dir, {"validation_mel": mel}, step)
            self.accelerator.print(f"step {step}: validation_mel {mel:.4f}", flush=True)
        self.accelerator.wait_for_everyone()

    def finish(self):
        """Measure the latents and save the codec."""
        args, codec = self.args, self.bare_codec
        if self.accelerator.is_main_process:
            codec.eval()
            # Frozen latents keep their statistics to the last digit, and the codec its fingerprint.
            if not args.freeze_encoder or codec.config.latents_mean is None:
                draw = torch.Generator().manual_seed(args.seed)
                files = [self.crops.files[i] for i in torch.randperm(len(self.crops.files), generator=draw)]
                codec.set_latent_statistics(*measure_latents(codec, files, args.statistics_seconds))
            with whole_parts(args.output_dir) as folder:
                codec.save_pretrained(folder)
            if args.adversarial_weight:
                state = self.accelerator.unwrap_model(self.discriminator).state_dict()
                with whole_file(Path(args.output_dir) / DISCRIMINATOR_NAME) as partial:
                    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
            self.accelerator.print(f"codec {codec.fingerprint} saved to {args.output_dir}")
        self.accelerator.end_training()


def main(args):
    accelerator = Accelerator(
        mixed_precision=args.mixed_precision,
        log_with=None if args.report_to == "none" else args.report_to,
        project_dir=str(Path(args.output_dir) / "logs"),
    )
    if args.report_to != "none" and not accelerator.log_with:
        raise ImportError(f"--report_to {args.report_to} needs {args.report_to}: pip install {args.report_to}")
    set_seed(args.seed, device_specific=True)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    trainer = Trainer(accelerator, build_codec(args), args)
    trainer.run()
    trainer.finish()
    return trainer.bare_codec


if __name__ == "__main__":
    main(parse_args())
