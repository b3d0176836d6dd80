"""Logs numbers, speech and plots: TensorBoard, Weights & Biases, and `log.jsonl`."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..files import write_text

if TYPE_CHECKING:
    from accelerate import Accelerator
    from matplotlib.figure import Figure

LOG_NAME = "log.jsonl"
# Keys of a log line that are not losses.
NOT_LOSSES = ("step", "seconds", "learning_rate", "gradient_norm", "skipped_steps", "audio_seconds_per_second")


def start_tracking(accelerator: Accelerator, project: str, args: Any) -> None:
    """Open the trackers of `--report_to`; hyperparameters are arguments that are numbers or text, but no token."""
    plain = {
        name: value
        for name, value in vars(args).items()
        if isinstance(value, (int, float, str, bool)) and not name.endswith("_token")
    }
    accelerator.init_trackers(project, config=plain)


def log_numbers(accelerator: Accelerator, directory: str | Path, values: dict[str, float], step: int) -> None:
    """Send numbers to the trackers, and append them as a line of JSON to `log.jsonl` in `directory`."""
    accelerator.log(values, step=step)
    if accelerator.is_main_process:
        with open(Path(directory) / LOG_NAME, "a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")


def read_log(directory: str | Path) -> list[dict[str, float]]:
    """The lines of `log.jsonl` in `directory`, none if it does not exist. An incomplete last line is left out."""
    path = Path(directory) / LOG_NAME
    lines = path.read_text().splitlines() if path.exists() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def last_losses(rows: list[dict[str, float]]) -> dict[str, float]:
    """The last value of each loss in the lines of a log."""
    return {name: value for row in rows for name, value in row.items() if name not in NOT_LOSSES}


def in_words(values: dict[str, float]) -> str:
    """Format numbers by name, with four digits each."""
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def rewind_log(accelerator: Accelerator, directory: str | Path, step: int) -> None:
    """Remove the lines of `log.jsonl` after `step`, which a resumed run will write again."""
    if accelerator.is_main_process:
        lines = [json.dumps(row) + "\n" for row in read_log(directory) if row["step"] <= step]
        write_text(Path(directory) / LOG_NAME, "".join(lines))


class RunningMeans:
    """Running means of losses over the batches of all processes.

    Attributes:
        frames: latent frames of the batches of this process.
    """

    def __init__(self):
        self._clear()

    def add(self, losses: dict[str, torch.Tensor], frames: int = 0) -> None:
        """Add the scalar losses of a batch and its number of frames."""
        for name, value in losses.items():
            self.totals[name] += value.detach()
            self.counts[name] += 1
        self.frames += frames

    def take(self, accelerator: Accelerator) -> tuple[dict[str, float], int]:
        """Return the means by name and the number of frames, and reset both.

        All processes call this, after batches with the same losses.
        """
        totals = [float(total) for total in self.totals.values()]
        mine = torch.tensor([self.frames, *totals, *self.counts.values()], dtype=torch.float32)
        frames, *sums = accelerator.reduce(mine.to(accelerator.device), reduction="sum").tolist()
        means = {name: sums[i] / sums[i + len(totals)] for i, name in enumerate(self.totals)}
        self._clear()
        return means, round(frames)

    def _clear(self) -> None:
        self.totals: defaultdict[str, Any] = defaultdict(float)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.frames = 0


def log_speech(
    accelerator: Accelerator, name: str, audio: torch.Tensor | np.ndarray, sampling_rate: int, step: int
) -> None:
    """Log a mono waveform of any shape, in [−1, 1]."""
    audio = _to_numpy(audio).reshape(-1)
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_audio(name, audio.clip(-1, 1), step, sample_rate=sampling_rate)
        elif tracker.name == "wandb":
            import wandb

            tracker.log({name: wandb.Audio(audio, sample_rate=sampling_rate)}, step=step)


def log_picture(
    accelerator: Accelerator, name: str, figure_or_array: Figure | torch.Tensor | np.ndarray, step: int
) -> None:
    """Log a matplotlib figure or an RGB image (height, width, 3) in [0, 1]."""
    picture = figure_or_array
    if not isinstance(picture, (torch.Tensor, np.ndarray)):
        picture = _render(picture)
    picture = _to_numpy(picture)
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_image(name, picture, step, dataformats="HWC")
        elif tracker.name == "wandb":
            import wandb

            tracker.log({name: wandb.Image(picture)}, step=step)


def describe_hardware(accelerator: Accelerator) -> str:
    """Number and kind of the training devices, for a model card."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
    return f"{accelerator.num_processes} × {name}"


def _render(figure: Figure) -> np.ndarray:
    """A figure as an array (height, width, 3) in [0, 1]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.float32)[..., :3] / 255


def _to_numpy(values: torch.Tensor | np.ndarray) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values, dtype=np.float32)
