"""Train a pipeline for unconditional audio generation, on recordings or on a prepared dataset.

    python examples/train_unconditional.py --train_data recordings/ --codec my-codec --output_dir my-noises
    python examples/train_unconditional.py --dataset_dir outputs/dataset --output_dir my-noises
    accelerate launch examples/train_unconditional.py …  # several GPUs or machines

The result is a pipeline directory: `NaturalSpeech2UnconditionalPipeline.from_pretrained(output_dir)`. The default
sizes are those of the class that `--denoiser` names. `--model_config` changes them; it takes JSON text or a JSON file,
such as `{"hidden_size": 256, "num_layers": 6}`.
"""

from pathlib import Path

import soundfile
import torch

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
from ns2_diffusers.training import arguments
from ns2_diffusers.training.batches import ConsecutiveBatches, EndlessBatches
from ns2_diffusers.training.components import build_models, model_configs, with_components
from ns2_diffusers.training.objective import TIMESTEP_SAMPLINGS
from ns2_diffusers.training.optimization import build_optimizer, step_schedule
from ns2_diffusers.training.run import TrainingRun
from ns2_diffusers.training.tracking import log_speech
from ns2_diffusers.training.unconditional import unconditional_loss

DENOISERS = {"transformer": TransformerDenoiser, "wavenet": WaveNetDenoiser}


def parse_args(argv=None):
    parser = arguments.TrainingArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--train_data",
        help="audio folder, or a list (.csv, .jsonl) with a column `file`; required if --dataset_dir is not given",
    )
    add(
        "--dataset_dir",
        help="directory of a prepared dataset (examples/prepare_dataset.py); required if --train_data is not given",
    )
    add("--codec", help="directory of the codec; the one inside --dataset_dir if not given")
    add("--output_dir", required=True, help="output directory of the pipeline, its checkpoints, log and samples")
    add(
        "--pretrained_pipeline",
        help="unconditional pipeline to continue from, with its noise schedule; untrained if not given",
    )
    arguments.add_model_arguments(parser, DENOISERS)
    add("--crop_seconds", type=float, default=4.0, help="seconds per random crop")
    add("--train_batch_size", type=int, default=16, help="number of crops per micro-batch and process")
    arguments.add_optimizer_arguments(parser)
    arguments.add_lr_scheduler_argument(parser)
    arguments.add_ema_argument(parser)
    add(
        "--min_snr_gamma",
        type=float,
        default=0.0,
        help="gamma of the Min-SNR weights; 0 weights all noise levels equally",
    )
    add("--timestep_sampling", choices=TIMESTEP_SAMPLINGS, default="uniform", help="distribution of the noise levels")
    add(
        "--self_conditioning",
        type=float,
        default=0.5,
        help="share of steps with self-conditioning, for a denoiser that has it",
    )
    arguments.add_run_arguments(parser)
    arguments.add_validation_argument(parser)
    add("--validation_samples", type=int, default=0, help="number of samples to generate at each validation")
    add("--validation_inference_steps", type=int, default=32, help="number of sampling steps for these samples")
    add("--license", help="licence of the weights, for the model card; none if not given")
    parser.set_defaults(tracker_project_name="ns2-unconditional")
    args = parser.parse_args(argv)
    if bool(args.train_data) == bool(args.dataset_dir):
        parser.error("give --train_data (with --codec) or --dataset_dir.")
    if args.train_data and not (args.codec or args.pretrained_pipeline):
        parser.error("--train_data needs --codec, the codec to hear it with.")
    return args


def load_pipeline(args):
    """Return the pipeline to train: a pretrained one, or an untrained one for the codec."""
    if args.pretrained_pipeline:
        return NaturalSpeech2UnconditionalPipeline.from_pretrained(args.pretrained_pipeline)
    codec = load_codec(args.codec or str(Path(args.dataset_dir) / "codec"))
    return NaturalSpeech2UnconditionalPipeline(
        codec=codec.eval(),
        denoiser=DENOISERS[args.denoiser](latent_channels=codec.latent_channels, **args.model_config),
        scheduler=NaturalSpeech2DDIMScheduler(prediction_type=args.prediction_type, beta_schedule=args.beta_schedule),
    )


def load_crops(codec, args):
    if args.train_data:
        files = find_recordings(args.train_data)
        return RandomCrops(files, codec.sampling_rate, codec.channels, args.crop_seconds, args.seed)
    tokenizer = NaturalSpeech2Tokenizer.from_pretrained(Path(args.dataset_dir) / "tokenizer")
    dataset = load_prepared_dataset(args.dataset_dir, codec, tokenizer).with_format("numpy")
    return RandomCodeCrops(dataset, round(args.crop_seconds * codec.frame_rate), args.seed)


@torch.no_grad()
def latents_of(batch, codec):
    """Return standardised latents (B, C, T) that codes can represent, and their mask (B, T)."""
    if "codes" in batch:
        return codec.codes_to_latents(batch["codes"]), batch["frame_mask"]
    latents, _ = codec.quantize(codec.encode(batch["waveform"], batch["sample_mask"]))
    return latents, codec.latent_mask(batch["sample_mask"])


def generate_samples(run, pipe, args):
    """Generate samples from the same noise every time. Write them to `samples/` and to the trackers."""
    directory = Path(args.output_dir) / "samples"
    directory.mkdir(exist_ok=True)
    output = pipe.to(run.accelerator.device)(
        audio_length_in_s=args.crop_seconds,
        batch_size=args.validation_samples,
        num_inference_steps=args.validation_inference_steps,
        generator=torch.Generator().manual_seed(args.seed),
    )
    for number, audio in enumerate(output.audios):
        soundfile.write(directory / f"{run.step:08d}-{number}.wav", audio, pipe.sampling_rate)
        log_speech(run.accelerator, f"audio/{number}", audio, pipe.sampling_rate, run.step)


def main(args):
    run, pipe = TrainingRun(args, args.output_dir), load_pipeline(args)
    codec = pipe.codec.to(run.accelerator.device)
    scheduler = NaturalSpeech2DDIMScheduler.from_config(pipe.scheduler.config)
    configs = model_configs({"denoiser": pipe.denoiser})
    if args.gradient_checkpointing:
        pipe.denoiser.enable_gradient_checkpointing()
    optimizer = build_optimizer(pipe.denoiser, args)
    schedule = step_schedule(optimizer, args)
    denoiser, _ = run.prepare(pipe.denoiser.train(), optimizer, ema_decay=args.ema_decay)

    def compute(batch):
        latents, mask = latents_of(batch, codec)
        estimates = pipe.denoiser.config.self_conditioning and bool(torch.rand(()) < args.self_conditioning)
        options = args.min_snr_gamma, args.timestep_sampling, estimates
        with run.accelerator.autocast():
            loss = unconditional_loss(denoiser, scheduler, latents, mask, *options)
        run.accelerator.backward(loss)
        return {"data": loss}

    def averaged_pipeline():
        """Return the pipeline with averaged weights on the main process, and None on the others."""
        state = {f"denoiser.{name}": value for name, value in run.average.state_dict().items()}
        return with_components(pipe, **build_models(configs, state)) if state else None

    def validate():
        averaged = averaged_pipeline()
        if averaged is not None:
            generate_samples(run, averaged, args)

    batches = EndlessBatches(load_crops(codec, args), ConsecutiveBatches(args.train_batch_size), **run.loading)
    audio = ("sample_mask", codec.sampling_rate) if args.train_data else ("frame_mask", codec.frame_rate)
    run.train(batches, compute, schedule, validate if args.validation_samples else None, audio)
    averaged = averaged_pipeline()
    if averaged is not None:
        facts = {"data": Path(args.train_data or args.dataset_dir).name, **run.facts(), "licence": args.license}
        with whole_parts(args.output_dir) as folder:
            averaged.save_pretrained(folder)
            averaged.model_card(Path(args.output_dir).name, args.license, facts).save(folder / "README.md")
        run.say(f"pipeline saved to {args.output_dir} after {run.step} steps")
    run.end()
    return averaged


if __name__ == "__main__":
    main(parse_args())
