"""Train NaturalSpeech 2 on a prepared dataset, or fine-tune a pipeline on one.

    python examples/train_text_to_speech.py --dataset_dir outputs/dataset --output_dir outputs/pipeline
    python examples/train_text_to_speech.py --config examples/configs/small.json --dataset_dir … --output_dir …
    accelerate launch examples/train_text_to_speech.py --dataset_dir … --output_dir …  # several GPUs or machines

The result is a pipeline directory: `NaturalSpeech2Pipeline.from_pretrained(output_dir)`. Sizes and learning rate are
those of the paper by default. `--model_config` and similar options change them. `--model_config` takes JSON text or a
JSON file, such as `{"hidden_size": 256, "denoiser": {"num_layers": 6}}`. A value outside a component applies to all
components that have it.
"""

import inspect
from dataclasses import replace
from pathlib import Path

import torch

import ns2_diffusers
from ns2_diffusers import (
    NaturalSpeech2DDIMScheduler,
    NaturalSpeech2Pipeline,
    NaturalSpeech2Tokenizer,
    PhonemeAligner,
    load_codec,
)
from ns2_diffusers.data.collation import PROMPT_SOURCES, FrameBudgetSampler, PromptCollator
from ns2_diffusers.data.prepared_dataset import load_prepared_dataset, load_prepared_datasets, read_card
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training import arguments
from ns2_diffusers.training.batches import EndlessBatches
from ns2_diffusers.training.components import build_models, model_configs, with_components
from ns2_diffusers.training.lora import add_lora, lora_to_save, merge_lora, split_lora
from ns2_diffusers.training.objective import COMPONENTS, ObjectiveConfig, TrainingObjective
from ns2_diffusers.training.optimization import build_optimizer, step_schedule
from ns2_diffusers.training.run import TrainingRun
from ns2_diffusers.training.validation import show_alignment, speak_samples, validation_losses

MODELS = {
    "phoneme_encoder": "PhonemeEncoder",
    "prompt_encoder": "SpeechPromptEncoder",
    "variance_adaptor": "VarianceAdaptor",
}
DENOISERS = {"transformer": "TransformerDenoiser", "wavenet": "WaveNetDenoiser"}


def parse_args(argv=None):
    parser = arguments.TrainingArgumentParser(__doc__)
    add = parser.add_argument
    add("--output_dir", required=True, help="output directory of the pipeline, its checkpoints, log and samples")
    add(
        "--codec", help="codec that the dataset was prepared with; that of the dataset or of the pipeline if not given"
    )
    add(
        "--pretrained_pipeline",
        help="pipeline to continue from, with its noise schedule; untrained models if not given",
    )
    arguments.add_dataset_arguments(parser)
    arguments.add_model_arguments(parser, DENOISERS)
    add(
        "--prompt_source",
        choices=PROMPT_SOURCES,
        default="other",
        help="take the prompt from another utterance of the speaker, or from the same one",
    )
    add(
        "--learn_alignment",
        **arguments.FLAG,
        help="learn durations together with the model, for a dataset without durations",
    )
    arguments.add_lora_arguments(parser)
    add("--lora_components", nargs="+", default=["denoiser"], choices=COMPONENTS, help="components that get adapters")
    arguments.add_optimizer_arguments(parser)
    arguments.add_lr_scheduler_argument(parser)
    arguments.add_ema_argument(parser)
    arguments.add_options(parser, ObjectiveConfig)
    arguments.add_run_arguments(parser)
    arguments.add_validation_argument(parser)
    add("--validation_dataset_dir", help="prepared dataset for validation losses; none if not given")
    add(
        "--validation_utterances",
        type=int,
        default=0,
        help="number of utterances of --dataset_dir held out for validation",
    )
    arguments.add_speech_arguments(parser)
    add("--validation_inference_steps", type=int, default=32, help="number of sampling steps for the validation texts")
    add("--push_to_hub", **arguments.FLAG, help="upload the pipeline to the hub at the end")
    add("--hub_model_id", help="hub repository, user/name; the name of the output directory if not given")
    add("--hub_token", help="hub token; that of the login if not given")
    add("--license", help="licence of the weights, for the model card; none if not given")
    parser.set_defaults(lr_warmup_steps=32_000)
    args = parser.parse_args(argv)
    arguments.check_speech(parser, args)
    if args.lora_rank is not None and not args.pretrained_pipeline:
        parser.error("--lora_rank adapts a trained pipeline: give --pretrained_pipeline.")
    if args.validation_dataset_dir and args.validation_utterances:
        parser.error("give --validation_dataset_dir or --validation_utterances, not both.")
    args.lora_alpha = args.lora_rank if args.lora_alpha is None else args.lora_alpha
    return args


# Models


def load_pipeline(args):
    """Return the pipeline to train: a pretrained one, or an untrained one for the dataset's codec and tokenizer."""
    if args.pretrained_pipeline:
        changed = {"codec": load_codec(args.codec).eval()} if args.codec else {}
        pipe = NaturalSpeech2Pipeline.from_pretrained(args.pretrained_pipeline, **changed)
        if steps := pipe.scheduler.config.get("student_steps"):
            raise ValueError(
                f"{args.pretrained_pipeline} is a student of {steps} steps and answers at no other noise level: train "
                "its teacher further, and distill that again."
            )
        if args.lora_rank is None and args.max_prompt_seconds > pipe.config.max_prompt_seconds:
            # The pipeline uses prompts of the length that it was trained with.
            pipe.register_to_config(max_prompt_seconds=args.max_prompt_seconds)
        return pipe
    codec = load_codec(args.codec or str(Path(args.dataset_dir[0]) / "codec")).eval()
    return build_pipeline(
        codec, NaturalSpeech2Tokenizer.from_pretrained(Path(args.dataset_dir[0]) / "tokenizer"), args
    )


def build_pipeline(codec, tokenizer, args):
    """Return an untrained pipeline of the requested sizes."""
    sizes = args.model_config
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
        scheduler=NaturalSpeech2DDIMScheduler(prediction_type=args.prediction_type, beta_schedule=args.beta_schedule),
        tokenizer=tokenizer,
        max_prompt_seconds=args.max_prompt_seconds,
        **models,
    )


def load_aligner(pipe, args):
    """Return the aligner for a dataset without durations, pretrained or new; None for a dataset with durations."""
    # `load_prepared_datasets` has checked that they match.
    aligned, name = read_card(args.dataset_dir[0])["aligned"], args.dataset_dir[0]
    if aligned and args.learn_alignment:
        raise ValueError(f"{name} has durations: leave out --learn_alignment.")
    if not aligned and not args.learn_alignment:
        raise ValueError(
            f"{name} has no durations: give them to it with examples/align_dataset.py, or learn them "
            "along with --learn_alignment."
        )
    if aligned:
        return None
    trained = Path(args.pretrained_pipeline or "") / "aligner"
    if args.pretrained_pipeline and trained.exists():
        return PhonemeAligner.from_pretrained(trained)
    return PhonemeAligner(vocab_size=len(pipe.tokenizer), feature_channels=pipe.codec.latent_channels)


def averaged_models(run, configs, args):
    """Return the models with averaged weights, adapters merged in, and the adapters; on the main process only."""
    state, adapters = split_lora(run.average.state_dict())
    if not state:
        return {}, {}
    models = build_models(configs, state)
    merge_lora(models, adapters, args.lora_alpha)
    return models, adapters


# Data


def load_datasets(pipe, args):
    """Return the training dataset, the held-out one (or None), and the one with the prompts of the held-out one."""
    dataset = load_prepared_datasets(args.dataset_dir, pipe.codec, pipe.tokenizer).with_format("numpy")
    if args.validation_dataset_dir:
        held_out = load_prepared_dataset(args.validation_dataset_dir, pipe.codec, pipe.tokenizer)
        held_out = held_out.with_format("numpy")
        return dataset, held_out, held_out
    if args.validation_utterances:
        parts = dataset.train_test_split(test_size=args.validation_utterances, seed=args.seed)
        return parts["train"], parts["test"], dataset
    return dataset, None, None


def sampler_and_collator(dataset, prompts, pipe, args):
    sampler = FrameBudgetSampler(dataset["n_frames"], round(args.batch_seconds * pipe.codec.frame_rate), args.seed)
    seconds = args.min_prompt_seconds, args.max_prompt_seconds
    return sampler, PromptCollator.from_pipeline(pipe, prompts, *seconds, args.seed, args.prompt_source)


# Validation and result


class Validation:
    """Computes losses, speech and pictures with averaged models."""

    def __init__(self, run, pipe, dataset, prompts, args):
        self.run, self.pipe, self.args = run, pipe, args
        self.directory = Path(args.output_dir) / "samples"
        self.loader = None
        if dataset is not None:
            sampler, collator = sampler_and_collator(dataset, prompts, pipe, args)
            self.loader = torch.utils.data.DataLoader(dataset, batch_sampler=list(sampler), collate_fn=collator)

    def __bool__(self):
        return self.loader is not None or bool(self.args.validation_texts)

    def __call__(self, models, config):
        """Run the validation, on the main process only."""
        run, args = self.run, self.args
        pipe = with_components(self.pipe, **{name: models[name] for name in COMPONENTS}).to(run.accelerator.device)
        if self.loader is not None:
            config = replace(config, condition_dropout=0.0, prompt_dropout=0.0, timestep_sampling="stratified")
            objective = TrainingObjective.from_pipeline(pipe, config, models.get("aligner"))
            self.measure(objective.to(run.accelerator.device))
        if args.validation_texts:
            speech = args.validation_texts, args.validation_prompts, args.validation_inference_steps
            speak_samples(run.accelerator, pipe, *speech, self.directory, run.step)

    def measure(self, objective):
        run, device = self.run, self.run.accelerator.device
        losses = validation_losses(objective, self.loader, device)
        run.log({f"validation_{name}": value for name, value in losses.items()})
        if objective.aligner is not None:
            batch, tokenizer = next(iter(self.loader)), self.pipe.tokenizer
            show_alignment(run.accelerator, objective, batch, tokenizer, self.directory, run.step)


def training_facts(run, args):
    """Return facts about this run for the model card."""
    data = []
    for directory in args.dataset_dir:
        card = read_card(directory)
        hours = card["frames"] * card["hop_length"] / card["sampling_rate"] / 3600
        data.append(f"{Path(directory).name}: {card['utterances']:,} utterances, {hours:.2f} hours")
    facts = {"data": "; ".join(data)}
    facts |= run.facts() | {"licence": args.license}
    if args.pretrained_pipeline:
        what = f"LoRA of rank {args.lora_rank}" if args.lora_rank else "all weights"
        facts["fine-tuned from"] = f"{Path(args.pretrained_pipeline).name} ({what})"
    return facts


def save(run, pipe, models, adapters, args):
    """Write the pipeline, its card and any trained adapters and aligner, then upload them to the hub if requested."""
    pipe = with_components(pipe, **{name: models[name] for name in COMPONENTS})
    hub_id = args.hub_model_id or Path(args.output_dir).name
    card = pipe.model_card(hub_id, args.license, training_facts(run, args))
    with whole_parts(args.output_dir) as folder:
        pipe.save_pretrained(folder)
        card.save(folder / "README.md")
        if adapters:
            pipe.save_lora_weights(folder, **lora_to_save(adapters, args.lora_alpha))
        if "aligner" in models:
            models["aligner"].save_pretrained(folder / "aligner")
    run.say(f"pipeline saved to {args.output_dir} after {run.step} steps")
    if args.push_to_hub:
        pipe.push_to_hub(hub_id, token=args.hub_token, card=card)


def main(args):
    run, pipe = TrainingRun(args, args.output_dir), load_pipeline(args)
    dataset, held_out, prompts_of_held_out = load_datasets(pipe, args)
    models, aligner = {name: getattr(pipe, name) for name in COMPONENTS}, load_aligner(pipe, args)
    configs = model_configs(models if aligner is None else models | {"aligner": aligner})
    if args.lora_rank is not None:
        add_lora(models, args.lora_components, args.lora_rank, args.lora_alpha)
    config = arguments.read_options(ObjectiveConfig, args)
    objective = TrainingObjective.from_pipeline(pipe, config, aligner)
    if args.gradient_checkpointing:
        for name in configs:
            getattr(objective, name).enable_gradient_checkpointing()
    optimizer = build_optimizer(objective, args)
    schedule = step_schedule(optimizer, args)
    objective, _ = run.prepare(objective, optimizer, ema_decay=args.ema_decay)
    objective.train()
    validation = Validation(run, pipe, held_out, prompts_of_held_out, args)
    run.say(f"{len(dataset)} utterances")

    def compute(batch):
        losses = objective(batch, run.step)
        run.accelerator.backward(losses["loss"])
        return losses

    def validate():
        models, _ = averaged_models(run, configs, args)
        if models:
            validation(models, config)

    batches = EndlessBatches(dataset, *sampler_and_collator(dataset, dataset, pipe, args), **run.loading)
    run.train(batches, compute, schedule, validate if validation else None, ("frame_mask", pipe.codec.frame_rate))
    models, adapters = averaged_models(run, configs, args)
    if models:
        save(run, pipe, models, adapters, args)
    run.end()


if __name__ == "__main__":
    main(parse_args())
