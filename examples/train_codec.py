"""Train a codec (VocosCodec or EncodecCodec) on your own recordings.

    python examples/train_codec.py --train_data recordings/ --output_dir my-codec --max_train_time 30

Adversarial losses make speech natural rather than merely intelligible; switch them on once the
reconstruction is good: --adversarial_weight 1 --adversarial_start_step 2000. Several GPUs:
`accelerate launch examples/train_codec.py …`.
"""

import argparse
import csv
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from ns2_diffusers import EncodecCodec, VocosCodec
from ns2_diffusers.models.codecs.loading import load_codec
from ns2_diffusers.training.checkpoints import Checkpoints, save_beside
from ns2_diffusers.training.codec_losses import (
    MultiResolutionMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    multi_resolution_stft_loss,
)
from ns2_diffusers.training.discriminators import CodecDiscriminator

AUDIO_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_data", required=True, help="folder of audio, or a csv with a column `file`")
    parser.add_argument("--output_dir", required=True, help="the codec goes here; checkpoints below it")
    parser.add_argument("--pretrained_codec", help="folder of a codec to start from; its config is kept")
    parser.add_argument("--codec_type", choices=["vocos", "encodec"], default="vocos")
    parser.add_argument(
        "--codec_config", help="the codec's config: a json file or json text; wins over the sizes below"
    )
    parser.add_argument("--sampling_rate", type=int, default=16000)
    parser.add_argument("--hop_length", type=int, default=320)
    parser.add_argument("--latent_channels", type=int, default=64)
    parser.add_argument("--num_codebooks", type=int, default=8)
    parser.add_argument("--codebook_size", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=256, help="width of VocosCodec's encoder and decoder")
    parser.add_argument("--encoder_layers", type=int, default=4)
    parser.add_argument("--decoder_layers", type=int, default=6)

    parser.add_argument("--crop_seconds", type=float, default=0.5)
    parser.add_argument("--train_batch_size", type=int, default=24)
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--warmup_steps", type=int, default=50)
    parser.add_argument("--max_grad_norm", type=float, default=1.0)
    parser.add_argument("--max_train_steps", type=int, default=None)
    parser.add_argument("--max_train_time", type=float, default=None, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], default="bf16")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--dataloader_num_workers", type=int, default=0)

    parser.add_argument("--mel_weight", type=float, default=1.0)
    parser.add_argument("--stft_weight", type=float, default=0.0)
    parser.add_argument("--commitment_weight", type=float, default=0.25)
    parser.add_argument("--adversarial_weight", type=float, default=0.0, help="0 switches discriminators off")
    parser.add_argument("--feature_matching_weight", type=float, default=2.0)
    parser.add_argument("--adversarial_start_step", type=int, default=0)
    parser.add_argument("--discriminator_channels", type=int, default=16)

    parser.add_argument("--logging_steps", type=int, default=20)
    parser.add_argument("--checkpointing_steps", type=int, default=500)
    parser.add_argument("--checkpoints_total_limit", type=int, default=2)
    parser.add_argument("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    parser.add_argument("--statistics_seconds", type=float, default=3600.0)
    args = parser.parse_args(argv)
    if args.max_train_steps is None and args.max_train_time is None:
        parser.error("say when to stop: --max_train_steps or --max_train_time (minutes).")
    return args


# -- data ----------------------------------------------------------------------------------------------------


def find_audio(train_data):
    """Paths of a csv's `file` column, relative to the csv, or all audio below a folder."""
    path = Path(train_data)
    if path.is_file():
        with open(path, newline="", encoding="utf-8") as handle:
            rows = csv.DictReader(handle)
            if "file" not in (rows.fieldnames or []):
                raise ValueError(f"{path} has the columns {rows.fieldnames}: it needs one named `file`.")
            files = [path.parent / row["file"] for row in rows]
    else:
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(f"no audio in {train_data}: wanted files with {', '.join(sorted(AUDIO_SUFFIXES))}.")
    return files


def read_audio(file, sampling_rate, channels, start_second=0.0, seconds=None):
    """(channels, samples) float32 at the wanted rate."""
    with soundfile.SoundFile(file) as audio:
        rate = audio.samplerate
        audio.seek(min(int(start_second * rate), audio.frames))
        samples = audio.read(-1 if seconds is None else math.ceil(seconds * rate), dtype="float32", always_2d=True)
    if channels == 1 or samples.shape[1] != channels:
        samples = samples.mean(axis=1, keepdims=True).repeat(channels, axis=1)
    if rate != sampling_rate:
        samples = soxr.resample(samples, rate, sampling_rate)
    return samples.T


class RandomCrops(torch.utils.data.Dataset):
    """An endless list of random crops; item i is the same in every run with the same seed."""

    def __init__(self, files, sampling_rate, channels, seconds, seed, first_item):
        self.files, self.sampling_rate, self.channels, self.seconds = files, sampling_rate, channels, seconds
        self.seed, self.first_item = seed, first_item
        self.durations = np.array([soundfile.info(file).duration for file in files])
        self.probabilities = self.durations / self.durations.sum()

    def __len__(self):
        return 2**40

    def __getitem__(self, item):
        random = np.random.default_rng([self.seed, self.first_item + item])
        index = random.choice(len(self.files), p=self.probabilities)
        start = random.uniform(0, max(0.0, self.durations[index] - self.seconds))
        audio = read_audio(self.files[index], self.sampling_rate, self.channels, start, self.seconds)
        length = round(self.seconds * self.sampling_rate)
        audio = audio[:, :length]
        waveform = np.zeros((self.channels, length), dtype=np.float32)
        waveform[:, : audio.shape[1]] = audio
        return {
            # A recorder's gain is nothing to learn by heart.
            "waveform": torch.from_numpy(waveform) * random.uniform(0.5, 1.0),
            "sample_mask": torch.arange(length) < audio.shape[1],
        }


# -- the codec -----------------------------------------------------------------------------------------------


def build_codec(args):
    if args.pretrained_codec:
        return load_codec(args.pretrained_codec)
    codec_class = {"vocos": VocosCodec, "encodec": EncodecCodec}[args.codec_type]
    if args.codec_config:
        text = args.codec_config
        config = json.loads(Path(text).read_text() if not text.lstrip().startswith("{") else text)
        return codec_class.from_config({key: v for key, v in config.items() if not key.startswith("_")})
    sizes = {
        name: getattr(args, name) for name in ("sampling_rate", "latent_channels", "num_codebooks", "codebook_size")
    }
    if args.codec_type == "encodec":
        return EncodecCodec(**sizes)
    return VocosCodec(
        **sizes,
        hop_length=args.hop_length,
        n_fft=4 * args.hop_length,
        n_mels=80,
        encoder_dim=args.dim,
        encoder_intermediate_dim=3 * args.dim,
        encoder_layers=args.encoder_layers,
        decoder_dim=args.dim,
        decoder_intermediate_dim=3 * args.dim,
        decoder_layers=args.decoder_layers,
    )


@torch.no_grad()
def measure_latents(codec, files, seconds, device):
    """Mean and standard deviation of each channel of the quantised latents, over at most so much audio."""
    codec.eval()
    count, total, squares = 0, 0.0, 0.0
    for file in files:
        # Minutes at a time, so that an hour-long file fits.
        for start in itertools.count(step=60):
            audio = read_audio(file, codec.sampling_rate, codec.channels, start, 60)
            if audio.shape[1] == 0:
                break
            latents, _ = codec.quantize(codec.encode(torch.from_numpy(audio)[None].to(device)))
            latents = codec.denormalize_latents(latents)[0].double()
            count += latents.shape[1]
            total = total + latents.sum(dim=1)
            squares = squares + latents.square().sum(dim=1)
        if count / codec.frame_rate > seconds:
            break
    mean = total / count
    # A channel that never moves is divided by a small number, not by zero.
    std = (squares / count - mean.square()).clamp(min=1e-6).sqrt()
    return mean, std


# -- training ------------------------------------------------------------------------------------------------


def training_progress(step, seconds, args):
    """Share of the run that is over, 0 … 1, by whichever limit comes first."""
    shares = [step / args.max_train_steps] if args.max_train_steps else []
    shares += [seconds / (60 * args.max_train_time)] if args.max_train_time else []
    return min(1.0, max(shares))


def learning_rate(step, progress, args):
    """Linear warm-up, then half a cosine down to a twentieth."""
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
    return args.learning_rate * min(1.0, (step + 1) / args.warmup_steps) * cosine


def codec_losses(codec, discriminator, mel_loss, batch, adversarial, args):
    """Total loss and its named parts; the reconstruction comes along for the discriminator."""
    waveform = batch["waveform"]
    output = codec(waveform, batch["sample_mask"])
    reconstruction = output.waveform.float()
    parts = {"mel": mel_loss(reconstruction, waveform), "commitment": output.commitment_loss}
    total = args.mel_weight * parts["mel"] + args.commitment_weight * parts["commitment"]
    if args.stft_weight:
        parts["stft"] = multi_resolution_stft_loss(reconstruction, waveform)
        total = total + args.stft_weight * parts["stft"]
    if adversarial:
        with torch.no_grad():
            _, real_features = discriminator(waveform)
        fake_scores, fake_features = discriminator(reconstruction)
        parts["adversarial"] = adversarial_loss(fake_scores)
        parts["features"] = feature_matching_loss(real_features, fake_features)
        total = total + args.adversarial_weight * parts["adversarial"]
        total = total + args.feature_matching_weight * parts["features"]
    return total, parts, reconstruction


def main(args):
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    set_seed(args.seed, device_specific=True)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    codec = build_codec(args)
    if args.gradient_checkpointing:
        codec.enable_gradient_checkpointing()
    discriminator = CodecDiscriminator(channels=args.discriminator_channels)
    mel_loss = MultiResolutionMelLoss(codec.sampling_rate).to(accelerator.device)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=args.learning_rate, betas=(0.8, 0.99), weight_decay=0.01)
    discriminator_optimizer = torch.optim.AdamW(
        discriminator.parameters(), lr=args.learning_rate, betas=(0.8, 0.99), weight_decay=0.01
    )
    codec, discriminator, optimizer, discriminator_optimizer = accelerator.prepare(
        codec, discriminator, optimizer, discriminator_optimizer
    )

    progress = {"step": 0, "seconds": 0.0}
    checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
    progress = checkpoints.resume(accelerator, args.resume_from_checkpoint) or progress

    files = find_audio(args.train_data)
    bare_codec = accelerator.unwrap_model(codec)
    crops = RandomCrops(
        files,
        bare_codec.sampling_rate,
        bare_codec.channels,
        args.crop_seconds,
        args.seed,
        progress["step"] * args.train_batch_size * accelerator.num_processes,
    )
    accelerator.print(
        f"{sum(p.numel() for p in bare_codec.parameters()) / 1e6:.1f} M parameters, {len(files)} files, "
        f"{crops.durations.sum() / 60:.1f} minutes"
    )
    loader = accelerator.prepare(
        torch.utils.data.DataLoader(crops, args.train_batch_size, num_workers=args.dataloader_num_workers)
    )

    # The codec's step leaves the discriminators as they are: there is nothing to synchronise.
    judge = accelerator.unwrap_model(discriminator)
    codec.train()
    step, started = progress["step"], time.monotonic() - progress["seconds"]
    for batch in loader:
        share = training_progress(step, time.monotonic() - started, args)
        if share >= 1:
            break
        for group in optimizer.param_groups + discriminator_optimizer.param_groups:
            group["lr"] = learning_rate(step, share, args)
        adversarial = args.adversarial_weight > 0 and step >= args.adversarial_start_step

        judge.requires_grad_(False)
        with accelerator.autocast():
            loss, parts, reconstruction = codec_losses(codec, judge, mel_loss, batch, adversarial, args)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(codec.parameters(), args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

        if adversarial:
            judge.requires_grad_(True)
            with accelerator.autocast():
                # In one call: DistributedDataParallel expects one forward pass for each backward pass.
                scores, _ = discriminator(torch.cat([batch["waveform"], reconstruction.detach()]))
                real_scores, fake_scores = zip(*(score.chunk(2) for score in scores), strict=True)
                parts["discriminator"] = discriminator_loss(real_scores, fake_scores)
            accelerator.backward(parts["discriminator"])
            accelerator.clip_grad_norm_(discriminator.parameters(), args.max_grad_norm)
            discriminator_optimizer.step()
            discriminator_optimizer.zero_grad()

        step += 1
        progress = {"step": step, "seconds": time.monotonic() - started}
        if step % args.logging_steps == 0:
            losses = ", ".join(f"{name} {value.item():.3f}" for name, value in parts.items())
            accelerator.print(f"step {step}, {progress['seconds']:.0f} s: {losses}", flush=True)
        if step % args.checkpointing_steps == 0:
            checkpoints.save(accelerator, progress)

    checkpoints.save(accelerator, progress)
    if accelerator.is_main_process:
        order = np.random.default_rng(args.seed).permutation(len(files))
        shuffled = [files[index] for index in order]
        mean, std = measure_latents(bare_codec, shuffled, args.statistics_seconds, accelerator.device)
        bare_codec.set_latent_statistics(mean, std)
        save_beside(bare_codec.save_pretrained, args.output_dir)
        accelerator.print(f"codec {bare_codec.fingerprint} saved to {args.output_dir}")
    accelerator.end_training()
    return bare_codec


if __name__ == "__main__":
    main(parse_args())
