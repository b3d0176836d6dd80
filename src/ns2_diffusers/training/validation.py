"""Validation of a model in training: losses on held-out speech, and generated samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
from accelerate.utils import send_to_device

from .pictures import picture_alignment, picture_speech
from .tracking import log_picture, log_speech

if TYPE_CHECKING:
    from accelerate import Accelerator

    from ..pipelines.pipeline_naturalspeech2 import NaturalSpeech2Pipeline
    from .objective import TrainingObjective


@torch.no_grad()
def validation_losses(
    objective: TrainingObjective, batches: Iterable[dict[str, torch.Tensor]], device: torch.device
) -> dict[str, float]:
    """Means of the losses over held-out batches, weighted by frames.

    The seed of a batch determines its noise levels and noise, so they are the same in every validation.
    """
    totals: dict[str, Any] = {}
    frames = 0
    objective.eval()
    for batch in batches:
        torch.manual_seed(int(batch["seed"]))
        weight = int(batch["frame_mask"].sum())
        for name, value in objective(send_to_device(batch, device)).items():
            totals[name] = totals.get(name, 0.0) + weight * value.item()
        frames += weight
    return {name: total / frames for name, total in totals.items()}


def speak_samples(
    accelerator: Accelerator,
    pipe: NaturalSpeech2Pipeline,
    texts: Sequence[str],
    prompts: Sequence[str],
    num_inference_steps: int,
    directory: Path,
    step: int,
) -> None:
    """Speak each text with the voice of its prompt, and log the speech. Fewer prompts than texts are used in turn.

    The same text starts from the same noise every time. Speech and plot are also written into `directory`, as
    `<step>-<number>.wav` and `.png`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for number, (text, prompt) in enumerate(zip(texts, itertools.cycle(prompts), strict=False)):
        generator = torch.Generator().manual_seed(number)
        output: Any = pipe(text, prompt_audio=prompt, num_inference_steps=num_inference_steps, generator=generator)
        audio, durations = output.audios[0], output.durations[0]
        figure = picture_speech(
            torch.from_numpy(audio),
            pipe.sampling_rate,
            pipe.codec.hop_length,
            output.f0[0],
            durations,
            symbols_of(pipe.tokenizer, text, len(durations)),
        )
        path = directory / f"{step:08d}-{number}"
        soundfile.write(path.with_suffix(".wav"), audio, pipe.sampling_rate)
        figure.savefig(path.with_suffix(".png"), dpi=100)
        log_speech(accelerator, f"speech/{number}", audio, pipe.sampling_rate, step)
        log_picture(accelerator, f"spectrogram/{number}", figure, step)


@torch.no_grad()
def show_alignment(
    accelerator: Accelerator,
    objective: TrainingObjective,
    batch: dict[str, torch.Tensor],
    tokenizer: Any,
    directory: Path,
    step: int,
) -> None:
    """Log a plot of the alignment of the first utterance of a batch without durations."""
    directory.mkdir(parents=True, exist_ok=True)
    first = {name: value[:1] for name, value in batch.items() if value.ndim}
    first = send_to_device(first, accelerator.device)
    masks = first["frame_mask"], first["attention_mask"]
    latents = objective.latents_of(first["codes"]) * first["frame_mask"].unsqueeze(1)
    inputs = (latents, first["input_ids"], *masks, first["alignment_prior"])
    aligner: Any = objective.aligner
    durations = aligner.align(*inputs)[0][masks[1][0]]
    probabilities = aligner(*inputs).log_probs[0].softmax(-1)[: int(masks[0].sum()), : len(durations)]
    symbols = tokenizer.convert_ids_to_tokens(first["input_ids"][0][: len(durations)].tolist())
    figure = picture_alignment(probabilities, durations.cpu().numpy(), symbols)
    figure.savefig(directory / f"{step:08d}-alignment.png", dpi=100)
    log_picture(accelerator, "alignment", figure, step)


def symbols_of(tokenizer: Any, text: str, count: int) -> list[str]:
    """The symbols that `count` durations belong to; blanks if a long text was split."""
    symbols = tokenizer.convert_ids_to_tokens(np.asarray(tokenizer(text)["input_ids"]).tolist())
    return symbols if len(symbols) == count else [""] * count
