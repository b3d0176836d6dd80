"""Train NaturalSpeech 2 on a prepared dataset.

    python examples/train_text_to_speech.py --dataset_dir outputs/dataset --codec outputs/codec \
        --output_dir outputs/pipeline --max_train_time 60

The result is a pipeline directory: `NaturalSpeech2Pipeline.from_pretrained(output_dir)`. Sizes are the
paper's unless `--model_config` says otherwise: JSON text, or a file of it, such as
`{"hidden_size": 256, "denoiser": {"num_layers": 6}}`; a number outside a component is for all that have it.
"""

import argparse
import inspect
import json
import time
from dataclasses import fields
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel

import ns2_diffusers
from ns2_diffusers import NaturalSpeech2Pipeline, NaturalSpeech2Tokenizer, load_codec
from ns2_diffusers.data.collation import FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset
from ns2_diffusers.training.checkpoints import Checkpoints, save_beside
from ns2_diffusers.training.losses import standardized_codebooks
from ns2_diffusers.training.objective import ObjectiveConfig, TrainingObjective

MODELS = {
    "phoneme_encoder": "PhonemeEncoder",
    "prompt_encoder": "SpeechPromptEncoder",
    "variance_adaptor": "VarianceAdaptor",
}
DENOISERS = {"transformer": "TransformerDenoiser", "wavenet": "WaveNetDenoiser"}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, help="from examples/prepare_dataset.py")
    parser.add_argument("--codec", required=True, help="directory of the codec that prepared it")
    parser.add_argument("--output_dir", required=True, help="the pipeline goes here; checkpoints below it")
    parser.add_argument("--pretrained_pipeline", help="a pipeline to go on from, instead of untrained models")
    parser.add_argument("--denoiser", choices=sorted(DENOISERS), default="transformer")
    parser.add_argument("--model_config", default="{}", help="JSON text or file of sizes")
    parser.add_argument("--prediction_type", choices=["sample", "v_prediction", "epsilon"], default="sample")
    parser.add_argument("--beta_schedule", choices=["linear", "cosine", "sigmoid"], default="linear")
    parser.add_argument("--min_prompt_seconds", type=float, default=1.0)
    parser.add_argument("--max_prompt_seconds", type=float, default=5.0)

    parser.add_argument("--batch_seconds", type=float, default=60.0, help="speech a batch, padding included")
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--lr_scheduler", default="constant_with_warmup", help="any of diffusers'")
    parser.add_argument("--lr_warmup_steps", type=int, default=500)
    parser.add_argument("--max_grad_norm", type=float, default=1.0)
    parser.add_argument("--weight_decay", type=float, default=0.01)
    parser.add_argument("--ema_decay", type=float, default=0.9999)
    parser.add_argument("--max_train_steps", type=int, default=100_000)
    parser.add_argument("--max_train_time", type=float, help="minutes")
    parser.add_argument("--mixed_precision", choices=["no", "bf16", "fp16"], default="bf16")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logging_steps", type=int, default=20)
    parser.add_argument("--checkpointing_steps", type=int, default=1000)
    parser.add_argument("--checkpoints_total_limit", type=int, default=2)
    parser.add_argument("--resume_from_checkpoint", help="`latest`, or the folder of a checkpoint")
    for field in fields(ObjectiveConfig):
        parser.add_argument(f"--{field.name}", type=float, default=field.default)
    return parser.parse_args(argv)


def build_pipeline(codec, tokenizer, args):
    """An untrained pipeline of the wanted sizes."""
    text = args.model_config
    sizes = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    scheduler = ns2_diffusers.NaturalSpeech2DDIMScheduler(
        prediction_type=args.prediction_type, beta_schedule=args.beta_schedule
    )
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


def build_objective(pipe, args):
    config = ObjectiveConfig(**{field.name: getattr(args, field.name) for field in fields(ObjectiveConfig)})
    models = {name: getattr(pipe, name) for name in (*MODELS, "denoiser")}
    if args.gradient_checkpointing:
        for model in models.values():
            model.enable_gradient_checkpointing()
    return TrainingObjective(
        **models, scheduler=pipe.scheduler, codebooks=standardized_codebooks(pipe.codec), config=config
    )


def build_loader(dataset, tokenizer, codec, args):
    collator = PromptCollator(
        dataset,
        tokenizer,
        round(args.min_prompt_seconds * codec.frame_rate),
        round(args.max_prompt_seconds * codec.frame_rate),
        args.seed,
    )
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * codec.frame_rate), args.seed)
    return torch.utils.data.DataLoader(dataset, batch_sampler=sampler, collate_fn=collator)


def endless(loader):
    while True:
        yield from loader


def main(args):
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    set_seed(args.seed)
    Path(args.output_dir).mkdir(parents=True, exist_ok=True)
    codec = load_codec(args.codec).eval()
    tokenizer = NaturalSpeech2Tokenizer.from_pretrained(Path(args.dataset_dir) / "tokenizer")
    dataset = load_prepared_dataset(args.dataset_dir, codec, tokenizer)
    if args.pretrained_pipeline:
        pipe = NaturalSpeech2Pipeline.from_pretrained(args.pretrained_pipeline, codec=codec, tokenizer=tokenizer)
    else:
        pipe = build_pipeline(codec, tokenizer, args)
    objective = build_objective(pipe, args)
    optimizer = torch.optim.AdamW(
        objective.parameters(),
        lr=args.learning_rate,
        betas=(0.9, 0.98),
        weight_decay=args.weight_decay,
        fused=True,
    )
    schedule = get_scheduler(
        args.lr_scheduler,
        optimizer,
        num_warmup_steps=args.lr_warmup_steps,
        num_training_steps=args.max_train_steps,
    )
    loader = build_loader(dataset, tokenizer, codec, args)
    objective, optimizer, schedule, loader = accelerator.prepare(objective, optimizer, schedule, loader)
    parameters = list(objective.parameters())
    ema = EMAModel(parameters, decay=args.ema_decay, use_ema_warmup=True, power=0.75)
    ema.to(accelerator.device)
    accelerator.register_for_checkpointing(ema)
    checkpoints = Checkpoints(args.output_dir, args.checkpoints_total_limit)
    progress = checkpoints.resume(accelerator, args.resume_from_checkpoint) or {"step": 0}

    counts = {name: f"{getattr(pipe, name).num_parameters() / 1e6:.1f} M" for name in (*MODELS, "denoiser")}
    accelerator.print(f"parameters {counts}, {len(dataset)} utterances")
    objective.train()
    started, step = time.monotonic(), progress["step"]
    for batch in endless(loader):
        step += 1
        losses = objective(batch)
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(parameters, args.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        ema.step(parameters)

        minutes = (time.monotonic() - started) / 60
        out_of_time = args.max_train_time is not None and minutes >= args.max_train_time
        if step % args.logging_steps == 0:
            values = ", ".join(f"{name} {value.item():.4f}" for name, value in losses.items())
            accelerator.print(f"step {step}, {60 * minutes:.0f} s: {values}", flush=True)
        if step % args.checkpointing_steps == 0 or out_of_time:
            checkpoints.save(accelerator, {"step": step})
        if step >= args.max_train_steps or out_of_time:
            break

    ema.copy_to(parameters)
    if accelerator.is_main_process:
        for name in (*MODELS, "denoiser"):
            getattr(pipe, name).eval()
        save_beside(pipe.save_pretrained, args.output_dir)
        accelerator.print(f"pipeline saved to {args.output_dir} after {step} steps")
    accelerator.end_training()


if __name__ == "__main__":
    main(parse_args())
