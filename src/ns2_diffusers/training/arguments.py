"""Arguments that the training scripts share, and settings files (`--config`) that can set them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Any, TypeVar

from diffusers.optimization import SchedulerType

from .precision import fast_precision

Settings = TypeVar("Settings")
FLAG: dict[str, Any] = {"action": argparse.BooleanOptionalAction, "default": False}
# Without `piecewise_constant`, which needs rules that no argument provides.
LR_SCHEDULERS = ["inverse_sqrt", *(kind.value for kind in SchedulerType if kind.value != "piecewise_constant")]


def option(default: Any, help: str) -> Any:
    """A field of a dataclass of settings, with the help text of its argument."""
    return field(default=default, metadata={"help": help})


def add_options(parser: argparse.ArgumentParser, settings: type) -> None:
    """Add an argument for each field of a dataclass whose fields were made with `option`."""
    for each in fields(settings):
        kind: dict[str, Any] = FLAG if isinstance(each.default, bool) else {"type": type(each.default)}
        parser.add_argument(f"--{each.name}", **(kind | {"default": each.default, "help": each.metadata["help"]}))


def read_options(settings: type[Settings], args: argparse.Namespace) -> Settings:
    """Make the dataclass from the values of its arguments."""
    return settings(**{each.name: getattr(args, each.name) for each in fields(settings)})  # type: ignore[arg-type]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions, and shows the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.required or action.default is None else super()._get_help_string(action)


class TrainingArgumentParser(argparse.ArgumentParser):
    """Also accepts `--config FILE`, a flat JSON object of arguments and values; the command line takes precedence."""

    def __init__(self, description: str | None = None):
        super().__init__(description=description, formatter_class=HelpFormatter, allow_abbrev=False)
        self.add_argument("--config", help="JSON file of argument names and values; the command line wins over it")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = list(sys.argv[1:] if args is None else args)
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--config")
        file = first.parse_known_args(words)[0].config
        # The last of two values is used.
        return super().parse_known_args([*self._words(file), *words] if file else words, namespace)

    def _words(self, file: str) -> list[str]:
        """The settings of a file as command-line arguments."""
        try:
            settings = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            self.error(f"--config {file} cannot be read as JSON: {error}")
        if not isinstance(settings, dict):
            self.error(f"--config {file} holds a {type(settings).__name__}. Wanted is an object of argument names.")
        actions = {action.dest: action for action in self._actions if action.dest not in ("help", "config")}
        if unknown := sorted(set(settings) - set(actions)):
            self.error(f"--config {file} has settings that are not arguments of this script: {', '.join(unknown)}.")
        words = []
        for name, value in settings.items():
            is_flag = isinstance(actions[name], argparse.BooleanOptionalAction)
            if value is None or is_flag != isinstance(value, bool):
                wanted = "true or false" if is_flag else "a number, a text or the like"
                self.error(f"--config {file}: {name} is {json.dumps(value)}; wanted is {wanted}.")
            if is_flag:
                words.append(f"--{name}" if value else f"--no-{name}")
            elif isinstance(value, list):
                words += [f"--{name}", *map(str, value)]
            else:
                words.append(f"--{name}={json.dumps(value) if isinstance(value, dict) else value}")
        return words


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, given as text or as the path of a file; for `type` of an argument."""
    try:
        value = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a JSON object nor a file of one: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} holds {type(value).__name__}, not a JSON object.")
    return value


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `TrainingRun` reads."""
    add = parser.add_argument
    add("--max_train_steps", type=int, default=100_000, help="number of optimizer steps, if they are limited")
    add(
        "--max_train_time",
        type=float,
        help="time limit in minutes, including the parts before a resume; no limit if not given",
    )
    add("--gradient_accumulation_steps", type=int, default=1, help="number of micro-batches per optimizer step")
    add("--max_grad_norm", type=float, default=1.0, help="gradients are clipped to this norm")
    add(
        "--mixed_precision",
        choices=["no", "bf16", "fp16"],
        default=fast_precision(),
        help="precision of the forward and backward pass",
    )
    add("--gradient_checkpointing", **FLAG, help="recompute activations in the backward pass to save memory")
    add("--dataloader_num_workers", type=int, default=0, help="number of data loading processes per training process")
    add("--seed", type=int, default=0, help="seed of the initial weights and of all random draws")
    add("--checkpointing_steps", type=int, default=1000, help="number of steps between checkpoints")
    add("--checkpoints_total_limit", type=int, default=2, help="number of newest checkpoints to keep; 0 keeps all")
    add("--resume_from_checkpoint", help="'latest' or a checkpoint directory; a new run if not given")
    add("--logging_steps", type=int, default=20, help="number of steps between log lines")
    add(
        "--report_to",
        choices=["tensorboard", "wandb", "none"],
        default="none",
        help="tracker to log to, besides log.jsonl",
    )
    add("--tracker_project_name", default="naturalspeech2", help="project name in the tracker")


def add_optimizer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `build_optimizer` reads."""
    add = parser.add_argument
    add("--learning_rate", type=float, default=5e-4, help="peak learning rate")
    add(
        "--lr_warmup_steps",
        type=int,
        default=1000,
        help="number of warm-up steps, over which the learning rate rises from 0",
    )
    add("--adam_beta1", type=float, default=0.9, help="beta1 of AdamW, the decay of the mean gradient")
    add("--adam_beta2", type=float, default=0.98, help="beta2 of AdamW, the decay of the mean squared gradient")
    add("--adam_weight_decay", type=float, default=0.01, help="weight decay of AdamW")
    add("--adam_epsilon", type=float, default=1e-8, help="epsilon of AdamW")


def add_lr_scheduler_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that `step_schedule` reads in addition to those of the optimizer."""
    parser.add_argument(
        "--lr_scheduler",
        choices=LR_SCHEDULERS,
        default="inverse_sqrt",
        help="learning rate schedule: the paper's (inverse_sqrt), or one of diffusers",
    )


def add_ema_argument(parser: argparse.ArgumentParser) -> None:
    """Add the decay of the moving average of the weights."""
    parser.add_argument(
        "--ema_decay",
        type=float,
        default=0.9999,
        help="highest decay of the moving average of the weights, which is saved if there is one",
    )


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a prepared dataset, its batches and prompts."""
    add = parser.add_argument
    add(
        "--dataset_dir",
        nargs="+",
        required=True,
        help="directories of prepared datasets (examples/prepare_dataset.py) of one codec and tokenizer",
    )
    add(
        "--batch_seconds",
        type=float,
        default=60.0,
        help="seconds of speech per micro-batch and process, including padding",
    )
    add("--min_prompt_seconds", type=float, default=1.0, help="shortest prompt, in seconds")
    add("--max_prompt_seconds", type=float, default=5.0, help="longest prompt, in seconds")


def add_model_arguments(parser: argparse.ArgumentParser, denoisers: Sequence[str]) -> None:
    """Add the arguments of an untrained model."""
    add = parser.add_argument
    add("--denoiser", choices=sorted(denoisers), default="transformer", help="denoiser architecture")
    add("--model_config", type=json_object, default={}, help="model sizes: a JSON object, or a file of one")
    add(
        "--prediction_type",
        choices=["sample", "v_prediction", "epsilon"],
        default="sample",
        help="prediction target of the denoiser",
    )
    add("--beta_schedule", choices=["linear", "cosine", "sigmoid"], default="linear", help="noise schedule")


def add_lora_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of low-rank adapters."""
    parser.add_argument(
        "--lora_rank", type=int, help="train LoRA adapters of this rank; all weights are trained if not given"
    )
    parser.add_argument("--lora_alpha", type=float, help="LoRA alpha; the rank if not given")


def add_validation_argument(parser: argparse.ArgumentParser) -> None:
    """Add the validation interval of `TrainingRun`."""
    parser.add_argument("--validation_steps", type=int, default=1000, help="number of steps between validations")


def add_speech_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of validation texts, which `check_speech` checks."""
    add = parser.add_argument
    add(
        "--validation_texts",
        nargs="+",
        default=[],
        help="texts to speak at each validation, with the averaged weights",
    )
    add("--validation_prompts", nargs="+", default=[], help="recordings of voices for these texts, used in turn")


def check_speech(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Check that texts and prompts are either both given or both missing."""
    if bool(args.validation_texts) != bool(args.validation_prompts):
        parser.error("--validation_texts and --validation_prompts go together: what to speak, and whose voice.")
