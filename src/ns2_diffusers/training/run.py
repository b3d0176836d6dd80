"""The training loop that all scripts share."""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    broadcast,
    send_to_device,
    set_seed,
)
from tqdm.auto import tqdm

from .averaging import WeightAverage
from .batches import EndlessBatches
from .checkpoints import Checkpoints
from .nonfinite import NonFiniteGuard
from .optimization import Schedule, trainable
from .tracking import (
    RunningMeans,
    describe_hardware,
    in_words,
    last_losses,
    log_numbers,
    read_log,
    rewind_log,
    start_tracking,
)


class TrainingRun:
    """The loop of a training run. Data, model, losses and validation belong to the script.

    - A resumed run ends with the same weights as an uninterrupted one: bit for bit on a CPU, unless the learning rate
      depends on the clock. All random numbers of a micro-batch come from torch's generator, seeded for that
      micro-batch.
    - A step whose gradient is not finite changes neither the weights nor their average, and is counted. No checkpoint
      is saved after it, because the weights may be bad; the checkpoint follows after the next good step.
    - The run ends after `--max_train_steps` or `--max_train_time`. The clock of the main process is used by all
      processes, so that they have one learning rate and stop at the same step.

    Args:
        args: arguments of `arguments.add_run_arguments`.
        directory: directory of checkpoints, `log.jsonl` and the trackers' files.
        name: name of this run, if a script has several: checkpoints of other runs are refused.

    Attributes:
        accelerator: accelerate's, for one process or many.
        average: moving average of the weights of the first model; None without `ema_decay`.
        step, seconds, audio_seconds: progress so far, resumed parts included; the same in all processes.

    Raises:
        ImportError: the library of `--report_to` is not installed.
        ValueError: several processes were started, and accelerate would train in each of them alone.
    """

    def __init__(self, args: Namespace, directory: str | Path, name: str = ""):
        self.args, self.directory, self.name = args, Path(directory), name
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.accelerator = Accelerator(
            # Without this, accelerate ignores other processes on a machine with CPUs only.
            cpu=processes > 1 and not torch.accelerator.is_available(),
            mixed_precision=args.mixed_precision,
            gradient_accumulation_steps=args.gradient_accumulation_steps,
            log_with=None if args.report_to == "none" else args.report_to,
            project_dir=str(self.directory / "logs"),
            kwargs_handlers=[
                # The weights of a loss that is off get no gradient; buffers are equal on all processes.
                DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
                # The other processes wait while the main process validates.
                InitProcessGroupKwargs(timeout=timedelta(hours=2)),
            ],
        )
        if processes > 1 and self.accelerator.num_processes == 1:
            raise ValueError(
                f"{processes} processes were started on {self.accelerator.device.type}, and each would train alone "
                "and overwrite the files of the others: start one process, or set ACCELERATE_USE_CPU=true."
            )
        if args.report_to != "none" and not self.accelerator.log_with:
            raise ImportError(f"--report_to {args.report_to} needs {args.report_to}: pip install {args.report_to}")
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            # DeepSpeed requires a number of items, but a batch here has a number of seconds.
            self.accelerator.state.deepspeed_plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        set_seed(args.seed)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.checkpoints = Checkpoints(self.directory, args.checkpoints_total_limit)
        self.guard, self.means = NonFiniteGuard(), RunningMeans()
        self.average: WeightAverage | None = None
        self.step, self.seconds, self.audio_seconds = 0, 0.0, 0.0
        self._kept: dict[str, Any] = {}

    # Preparation

    def prepare(self, *objects: Any, ema_decay: float | None = None) -> tuple[Any, ...]:
        """Prepare models, then an optimizer for each, with `accelerator.prepare`.

        Args:
            ema_decay: decay of an average of the first model's weights.
        """
        half = len(objects) // 2
        prepared = self.accelerator.prepare(*objects)
        self.models, self.optimizers = prepared[:half], prepared[half:]
        self._highest_rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        if ema_decay is not None:
            self.average = WeightAverage(self.accelerator, self.models[0], ema_decay)
        return prepared

    def keep(self, name: str, thing: Any) -> None:
        """Also save `thing` in checkpoints; its `state_dict` and `load_state_dict` use plain numbers and text."""
        self._kept[name] = thing

    @property
    def loading(self) -> dict[str, int]:
        """Number and index of the processes, for `EndlessBatches`."""
        index, count = self.accelerator.process_index, self.accelerator.num_processes
        return {"process_index": index, "num_processes": count, "num_workers": self.args.dataloader_num_workers}

    @property
    def resumes(self) -> bool:
        """Whether `train` will resume from a checkpoint.

        Raises:
            ValueError: the checkpoint of `--resume_from_checkpoint` does not exist.
        """
        return self.checkpoints.find(self.accelerator, self.args.resume_from_checkpoint) is not None

    # The loop

    def train(
        self,
        batches: EndlessBatches,
        compute: Callable[[Any], dict[str, torch.Tensor]],
        schedule: Schedule | list[Schedule],
        validate: Callable[[], None] | None = None,
        audio: tuple[str, float] = ("frame_mask", 1.0),
    ) -> None:
        """Resume if asked to, and train until the run is complete.

        Args:
            batches: batches of this process.
            compute: returns the losses of a micro-batch on the device, each a scalar; calls `accelerator.backward`.
            schedule: learning rate as a share of the highest; one schedule, or one for each optimizer.
            validate: called by all processes every `--validation_steps`, and at the end.
            audio: name of the mask in a batch that marks audio, and the number of its items per second.
        """
        args, mask, rate = self.args, *audio
        self._resume(batches)
        self._describe()
        source, busy, due = iter(batches), 0.0, False
        with self._progress_bar() as bar:
            while self.done < 1:
                started = time.monotonic()
                self._set_learning_rates(schedule)
                numbers = self._step(source, compute, mask)
                busy += time.monotonic() - started
                self._read_clock()
                bar.update()
                last = self.done >= 1
                due = due or last or self.step % args.checkpointing_steps == 0
                save = due and not self.guard.in_a_row
                if save or last or self.step % args.logging_steps == 0:
                    losses, frames = self.means.take(self.accelerator)
                    self.audio_seconds += frames / rate
                    self.log(losses | numbers | {"audio_seconds_per_second": frames / rate / busy})
                    busy = 0.0
                if save:
                    self._save(batches)
                    due = False
                if validate and (last or self.step % args.validation_steps == 0):
                    validate()
                    self.accelerator.wait_for_everyone()

    @property
    def done(self) -> float:
        """The completed share of the run, 0 to 1, by steps or by time, whichever is larger."""
        minutes = self.args.max_train_time
        limits = [(self.step, self.args.max_train_steps), (self.seconds, None if minutes is None else 60 * minutes)]
        return max(min(1.0, spent / limit) if limit else 1.0 for spent, limit in limits if limit is not None)

    def _step(self, source: Iterator[Any], compute: Callable, mask: str) -> dict[str, float]:
        """One step of the optimizers, after the accumulated micro-batches. Returns numbers to log."""
        accelerator, found = self.accelerator, []
        for micro_step in range(self.args.gradient_accumulation_steps):
            batch = next(source)
            with accelerator.accumulate(*self.models):
                torch.manual_seed(self._seed_of(batch, micro_step))
                losses = compute(send_to_device(batch, accelerator.device))
                found.append((losses, int(batch[mask].sum()) if mask in batch else 0))
        norms = [accelerator.clip_grad_norm_(model.parameters(), self.args.max_grad_norm) for model in self.models]
        # DeepSpeed takes its step in `backward`, and may have no norm.
        norm = sum(float(norm) for norm in norms if norm is not None)
        skipped = self.guard.skips(norm)
        for optimizer in self.optimizers:
            # The scaler of half precision skips steps itself, and adjusts its scale.
            if not skipped or accelerator.scaler is not None:
                optimizer.step()
            optimizer.zero_grad()
        if not skipped:
            if self.average is not None:
                self.average.step()
            for losses, frames in found:
                self.means.add(losses, frames)
        self.step += 1
        rate = self.optimizers[0].param_groups[0]["lr"]
        return {"learning_rate": rate, "gradient_norm": norm, "skipped_steps": self.guard.skipped}

    def _seed_of(self, batch: Any, micro_step: int) -> int:
        """The seed of the batch, which does not depend on process and run; otherwise one from the current step."""
        if "seed" in batch:
            return int(batch["seed"])
        draw = self.step * self.args.gradient_accumulation_steps + micro_step
        return self.args.seed + draw * self.accelerator.num_processes + self.accelerator.process_index

    def _set_learning_rates(self, schedule: Schedule | list[Schedule]) -> None:
        schedules = schedule if isinstance(schedule, list) else [schedule] * len(self.optimizers)
        highest = iter(self._highest_rates)
        for optimizer, factor in zip(self.optimizers, schedules, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = next(highest) * factor(self.step, self.done)

    def _read_clock(self) -> None:
        """Set the time of every process to that of the main process."""
        seconds = torch.tensor(time.monotonic() - self._started, dtype=torch.float32, device=self.accelerator.device)
        self.seconds = broadcast(seconds).item()

    # Checkpoints

    def _save(self, batches: EndlessBatches) -> None:
        progress = {"name": self.name, "step": self.step, "seconds": self.seconds, "skipped": self.guard.skipped}
        progress |= {"audio_seconds": self.audio_seconds, "batches": batches.state_dict()}
        progress["kept"] = {name: thing.state_dict() for name, thing in self._kept.items()}
        self.checkpoints.save(self.accelerator, progress)

    def _resume(self, batches: EndlessBatches) -> None:
        folder = self.checkpoints.find(self.accelerator, self.args.resume_from_checkpoint)
        if folder is not None:
            progress = self.checkpoints.progress(folder)
            if "batches" not in progress:
                raise ValueError(f"{folder} was written by another version of these scripts: begin a new run.")
            if progress["name"] != self.name:
                raise ValueError(f"{folder} is a checkpoint of the run {progress['name']!r}, not of {self.name!r}.")
            self.checkpoints.load(self.accelerator, folder)
            self.step, self.seconds, self.guard.skipped = (progress[name] for name in ("step", "seconds", "skipped"))
            self.audio_seconds = progress["audio_seconds"]
            batches.load_state_dict(progress["batches"])
            for name, thing in self._kept.items():
                thing.load_state_dict(progress["kept"][name])
            self.say(f"resumed from {folder}")
        self._started = time.monotonic() - self.seconds
        rewind_log(self.accelerator, self.directory, self.step)
        start_tracking(self.accelerator, self.args.tracker_project_name, self.args)

    # Output

    def say(self, text: str) -> None:
        """Print a line on the main process, without disturbing the progress bar."""
        if self.accelerator.is_main_process:
            tqdm.write(f"{self.name} {text}".lstrip())
            sys.stdout.flush()

    def log(self, values: dict[str, float]) -> None:
        """Log numbers of this step to the trackers, `log.jsonl` and the screen."""
        seconds = {"seconds": round(self.seconds, 1)}
        log_numbers(self.accelerator, self.directory, seconds | values, self.step)
        self.say(f"step {self.step}, {self.seconds:.0f} s: {in_words(values)}")

    def _describe(self) -> None:
        weights = sum(parameter.numel() for model in self.models for parameter in trainable(model))
        self.say(f"{weights / 1e6:.2f} M weights in training")
        warmup, steps = self.args.lr_warmup_steps, self.args.max_train_steps
        if steps is not None and warmup > steps > 0:
            self.say(
                f"The learning rate rises for {warmup} steps and training ends after {steps}: it never reaches "
                f"{self.args.learning_rate}. Lower --lr_warmup_steps for a short run."
            )

    def _progress_bar(self) -> tqdm:
        shown = self.accelerator.is_main_process
        # None: the bar is only shown on a terminal.
        disable = None if shown else True
        return tqdm(total=self.args.max_train_steps, initial=self.step, unit="step", disable=disable, desc=self.name)

    def facts(self) -> dict[str, str]:
        """Facts about this run for the model card."""
        heard = f", over {self.audio_seconds / 3600:.2f} hours of speech in all" if self.audio_seconds else ""
        hardware = describe_hardware(self.accelerator)
        return {
            "steps": f"{self.step:,}{heard}",
            "last losses": in_words(last_losses(read_log(self.directory))),
            "hardware": f"{hardware}, {self.args.mixed_precision}, {self.seconds / 3600:.2f} hours",
        }

    # End

    def finish_trackers(self) -> None:
        """Close only the trackers; another run still needs the process group."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def end(self) -> None:
        """Close the trackers and the process group."""
        self.accelerator.end_training()
