"""Train a codec (VocosCodec or EncodecCodec) on your own recordings.

    python examples/train_codec.py --train_data recordings/ --output_dir my-codec --max_train_time 30
    accelerate launch examples/train_codec.py …  # several GPUs or machines

Adversarial losses make speech natural rather than merely intelligible. Enable them once the reconstruction is good:
`--adversarial_weight 1 --balance_losses --adversarial_start_step 20000`. Alternatively, add them in a later run that
starts from the trained codec: `--pretrained_codec my-codec`, with `--freeze_encoder` if its codes must not change.
"""

from pathlib import Path

import torch

from ns2_diffusers import EncodecCodec, VocosCodec, load_codec
from ns2_diffusers.data.recordings import RandomCrops, find_recordings
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training import arguments
from ns2_diffusers.training.batches import ConsecutiveBatches, EndlessBatches
from ns2_diffusers.training.codec_initialization import (
    extend_codec,
    fit_codebooks,
    fit_linear_parts,
    keep_latent_channels,
)
from ns2_diffusers.training.codec_objective import CodecObjective, CodecObjectiveConfig
from ns2_diffusers.training.codec_validation import (
    measure_audibility,
    measure_latents,
    reconstruct_samples,
)
from ns2_diffusers.training.discriminators import (
    CodecDiscriminator,
    SideBySide,
    load_discriminator,
    save_discriminator,
)
from ns2_diffusers.training.optimization import build_optimizer, cosine_schedule
from ns2_diffusers.training.run import TrainingRun

DISCRIMINATOR_NAME = "discriminator.safetensors"
CODECS = {"vocos": VocosCodec, "encodec": EncodecCodec}


def parse_args(argv=None):
    parser = arguments.TrainingArgumentParser(__doc__)
    add = parser.add_argument
    add("--train_data", required=True, help="folder of audio, or a list (.csv, .jsonl) with a column `file`")
    add("--output_dir", required=True, help="output directory of the codec, its checkpoints, log and samples")
    add("--pretrained_codec", help="directory of a codec to start from; an untrained one if not given")
    add(
        "--keep_channels",
        type=int,
        help="number of latent channels of --pretrained_codec to keep, those of largest variance; all if not given",
    )
    add("--codec_type", choices=sorted(CODECS), default="vocos", help="class of the codec, if it is untrained")
    add(
        "--codec_config",
        type=arguments.json_object,
        help="config of the codec, or additions to that of a pretrained one: a JSON object, or a file of one; the "
        "sizes below if not given",
    )
    add("--sampling_rate", type=int, default=16000, help="sampling rate of the codec in Hz")
    add("--hop_length", type=int, default=320, help="samples per latent frame (VocosCodec)")
    add("--latent_channels", type=int, default=64, help="number of latent channels")
    add("--num_codebooks", type=int, default=8, help="number of residual codebooks")
    add("--codebook_size", type=int, default=1024, help="number of vectors per codebook")
    add("--dim", type=int, default=256, help="width of encoder and decoder (VocosCodec)")
    add("--encoder_layers", type=int, default=4, help="number of encoder layers (VocosCodec)")
    add("--decoder_layers", type=int, default=6, help="number of decoder layers (VocosCodec)")

    add("--crop_seconds", type=float, default=0.5, help="seconds per random crop of a recording")
    add(
        "--speed_perturbation",
        type=float,
        default=0.0,
        help="random speed change; 0.1 is up to 10 %% faster or slower",
    )
    add(
        "--degraded_share",
        type=float,
        default=0.0,
        help="share of crops that are encoded with noise and reverberation, and compared with the clean crop",
    )
    add("--train_batch_size", type=int, default=24, help="number of crops per micro-batch and process")
    arguments.add_optimizer_arguments(parser)
    arguments.add_run_arguments(parser)

    arguments.add_options(parser, CodecObjectiveConfig)
    add(
        "--fit_clips",
        type=int,
        default=0,
        help="number of clips to which linear layers and codebooks are fitted before training; 0 skips this",
    )
    add("--fit_seconds", type=float, default=4.0, help="length of each of these clips in seconds")
    add(
        "--pretrained_discriminator",
        help="discriminator.safetensors of an earlier run; untrained discriminators if not given",
    )
    add(
        "--discriminator",
        choices=["light", "encodec"],
        default="light",
        help="discriminators of this package (light) or of the encodec package",
    )
    add("--discriminator_channels", type=int, default=16, help="width of the first layer of each discriminator")
    add(
        "--discriminator_n_ffts",
        type=int,
        nargs="*",
        default=[256, 512, 1024, 2048],
        help="window lengths of the STFT discriminators (light)",
    )
    add(
        "--discriminator_periods",
        type=int,
        nargs="*",
        default=[2, 3, 5],
        help="periods of the period discriminators (light); none switches them off",
    )
    add(
        "--discriminator_learning_rate",
        type=float,
        help="peak learning rate of the discriminators; that of the codec if not given",
    )

    arguments.add_validation_argument(parser)
    add(
        "--validation_data",
        help="recordings to reconstruct at each validation, like --train_data; none if not given",
    )
    add("--validation_recordings", type=int, default=4, help="number of recordings to reconstruct")
    add(
        "--statistics_seconds",
        type=float,
        default=3600.0,
        help="seconds of audio on which the latent statistics are measured",
    )
    add(
        "--weight_latents",
        **arguments.FLAG,
        help="give audible latent channels a larger scale, so that a diffusion model learns them first",
    )
    # These betas of AdamW are usual in GAN training.
    parser.set_defaults(learning_rate=1e-3, lr_warmup_steps=50, adam_beta1=0.8, adam_beta2=0.99)
    arguments.add_ema_argument(parser)
    parser.set_defaults(
        ema_decay=None, max_train_steps=None, checkpointing_steps=500, tracker_project_name="ns2-codec"
    )
    args = parser.parse_args(argv)
    if args.max_train_steps is None and args.max_train_time is None:
        parser.error("say when to stop: --max_train_steps or --max_train_time (minutes).")
    if args.discriminator_warmup_steps and not args.adversarial_weight:
        parser.error("--discriminator_warmup_steps trains discriminators, and --adversarial_weight 0 uses none.")
    if args.mixed_precision == "fp16":
        parser.error(
            "--mixed_precision fp16: gradients of a mean over a million values are too small for it. Take bf16."
        )
    return args


def build_codec(args):
    config = {key: value for key, value in (args.codec_config or {}).items() if not key.startswith("_")}
    if args.pretrained_codec:
        codec = load_codec(args.pretrained_codec)
        if args.keep_channels is not None:
            codec = keep_latent_channels(codec, args.keep_channels)
        return extend_codec(codec, config) if config else codec
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

    made = MultiScaleSTFTDiscriminator(args.discriminator_channels, in_channels=channels)
    for discriminator in made.discriminators:
        # The window is a view of a longer tensor, which safetensors does not save.
        discriminator.spec_transform.window = discriminator.spec_transform.window.clone()
    return made


def load_crops(codec, args):
    filters = None
    if args.envelope_weight:
        if not codec.takes_f0:
            raise ValueError("--envelope_weight is for a codec with a harmonic head: leave it out, or give one.")
        filters = {name: codec.config.head_config[name] for name in ("fine_hop_length", "n_fft")}
    return RandomCrops(
        find_recordings(args.train_data),
        codec.sampling_rate,
        codec.channels,
        args.crop_seconds,
        args.seed,
        args.speed_perturbation,
        codec.hop_length if codec.takes_f0 else None,
        args.degraded_share,
        filters,
    )


def save(run, codec, crops, args):
    """Measure the latents and save the codec."""
    if run.average is not None:
        run.average.copy_to(codec)
    codec.eval()
    # Frozen latents keep exactly the same statistics, so the codec keeps its fingerprint.
    if not args.freeze_encoder or codec.config.latents_mean is None or args.weight_latents:
        draw = torch.Generator().manual_seed(args.seed)
        files = [crops.files[i] for i in torch.randperm(len(crops.files), generator=draw)]
        mean, deviation = measure_latents(codec, files, args.statistics_seconds)
        codec.set_latent_statistics(mean, deviation)
        if args.weight_latents:
            heard = measure_audibility(codec, files, seed=args.seed)
            codec.set_latent_statistics(mean, deviation / heard)
            run.say(f"audibility of the latent channels: {' '.join(f'{value:.2f}' for value in heard.tolist())}")
    with whole_parts(args.output_dir) as folder:
        codec.save_pretrained(folder)
    run.say(f"codec {codec.fingerprint} saved to {args.output_dir}")


def main(args):
    run, codec = TrainingRun(args, args.output_dir), build_codec(args)
    crops = load_crops(codec, args)
    run.say(
        f"{codec.num_parameters() / 1e6:.1f} M parameters, {len(crops.files)} recordings of "
        f"{crops.durations.sum() / 60:.1f} minutes, {len(crops.unreadable)} left out as unreadable"
    )
    if args.fit_clips and not args.pretrained_codec and not run.resumes:
        run.say(f"linear parts from {args.fit_clips} clips")
        fit_linear_parts(codec, crops.files, args.fit_clips, args.fit_seconds, args.seed)
    if args.gradient_checkpointing:
        codec.enable_gradient_checkpointing()
    if args.freeze_encoder:
        codec.encoder.requires_grad_(False)
    discriminator = SideBySide(build_discriminator(args, codec.channels))
    if args.pretrained_discriminator:
        load_discriminator(discriminator, args.pretrained_discriminator)
    optimizers = build_optimizer(codec, args), build_optimizer(discriminator, args, args.discriminator_learning_rate)
    prepared = run.prepare(codec, discriminator, *optimizers, ema_decay=args.ema_decay)

    def start_codebooks():
        run.say(f"codebooks from {args.fit_clips} clips")
        fit_codebooks(codec, crops.files, args.fit_clips, args.fit_seconds, args.seed)

    config = arguments.read_options(CodecObjectiveConfig, args)
    start = start_codebooks if args.fit_clips else None
    objective = CodecObjective(run.accelerator, codec, *prepared[:2], config, start)
    if objective.balancer:
        run.keep("balancer", objective.balancer)

    def compute(batch):
        return objective(batch, run.step)

    def validate():
        if run.accelerator.is_main_process:
            files = find_recordings(args.validation_data)[: args.validation_recordings]
            directory = Path(args.output_dir) / "samples"
            mel = reconstruct_samples(run.accelerator, codec, files, objective.mel_loss, directory, run.step)
            run.log({"validation_mel": mel})

    batches = EndlessBatches(crops, ConsecutiveBatches(args.train_batch_size), **run.loading)
    first_steps, audio = (args.discriminator_warmup_steps, 0), ("sample_mask", codec.sampling_rate)
    schedules = [cosine_schedule(args.lr_warmup_steps, last=0.05, first_step=first) for first in first_steps]
    run.train(batches, compute, schedules, validate if args.validation_data else None, audio)
    if run.accelerator.is_main_process:
        save(run, codec, crops, args)
        if args.adversarial_weight:
            save_discriminator(run.accelerator.unwrap_model(prepared[1]), Path(args.output_dir) / DISCRIMINATOR_NAME)
    run.end()
    return codec


if __name__ == "__main__":
    main(parse_args())
