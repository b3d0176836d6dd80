"""What the pipeline is given, checked and brought into one form: a list entry a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.utils import logging

from ..audio.pitch import interpolate_unvoiced
from ..schedulers.scheduling_distilled import NaturalSpeech2DistilledScheduler
from ..text.sentences import split_sentences

logger = logging.get_logger(__name__)


def check_components_fit(codec, denoiser, readers: dict[str, Any]) -> None:
    """Raise a ValueError where sizes that must agree between components do not."""
    channels = {"codec": codec.latent_channels, "denoiser": denoiser.config.latent_channels}
    widths = {"denoiser": denoiser.config.condition_dim}
    if readers["prompt_encoder"] is not None:
        channels["prompt_encoder"] = readers["prompt_encoder"].config.latent_channels
        for name in ("phoneme_encoder", "prompt_encoder", "variance_adaptor"):
            widths[name] = readers[name].config.hidden_size
        symbols, known = len(readers["tokenizer"]), readers["phoneme_encoder"].config.vocab_size
        if symbols > known:
            raise ValueError(
                f"the tokenizer has {symbols} symbols and the phoneme_encoder knows {known}: they are of different "
                "checkpoints; load both from one."
            )
    for what, sizes in (("latent channels", channels), ("hidden size", widths)):
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the components do not fit together: {what} are {sizes}; load them from one checkpoint.")


def steps_to_take(scheduler, wanted: int | None, usual: int) -> int:
    """The number of steps of a generation: `wanted`, else the most that a student knows, else `usual`.

    That the denoiser is a distilled student, and of which steps, is in the scheduler's config, as is what it predicts.
    Other schedulers made from that config keep it.

    Raises:
        ValueError: the denoiser is a student, and the scheduler or the number of steps is not its own.
    """
    trained = scheduler.config.get("student_steps")
    if not trained:
        return wanted or usual
    if not isinstance(scheduler, NaturalSpeech2DistilledScheduler):
        raise ValueError(
            f"this denoiser is a student distilled for {list(trained)} steps: each of its answers is a jump over one "
            f"of them, which {type(scheduler).__name__} would take for something else. Put its own scheduler back, "
            "NaturalSpeech2DistilledScheduler.from_config(pipe.scheduler.config), or load its teacher."
        )
    if wanted is not None and wanted not in trained:
        raise ValueError(
            f"num_inference_steps is {wanted} and this denoiser was distilled for {list(trained)}: take one of these "
            "(or None), or load a student of other steps."
        )
    return wanted or max(trained)


def as_texts(given: Any, name: str) -> list[str]:
    """One text or a list of them, as a list."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} is a {type(given).__name__}; wanted a str or a list of str.")
    if not texts:
        raise ValueError(f"{name} is an empty list: give at least one.")
    for index, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"{name} {index} is empty: give something to say.")
    return list(texts)


def speakable_sentences(text: str, max_length: int) -> list[str]:
    """The sentences of a text, without those that have no letter or digit (a line of dashes, say)."""
    parts = split_sentences(text, max_length)
    return [part for part in parts if any(character.isalnum() for character in part)] or [text]


def per_text(value: Any, count: int, name: str) -> list[float]:
    """A number for all texts, or one each, as a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count or not all(np.isscalar(each) and np.isfinite(each) for each in values):
        raise ValueError(f"{name} is {value!r}; wanted a number, or one for each of {count} texts.")
    return [float(each) for each in values]


def per_text_tensor(value: Any, count: int, name: str) -> list[torch.Tensor | None]:
    """None, or one sequence of numbers a text, as a list of 1-D tensors."""
    if value is None:
        return [None] * count
    nested = isinstance(value, (list, tuple)) and not any(np.isscalar(each) for each in value)
    sequences = list(value) if nested or getattr(value, "ndim", 1) == 2 else [value]
    if len(sequences) != count:
        raise ValueError(f"{name} has {len(sequences)} sequences for {count} texts: give one each.")
    tensors = [torch.as_tensor(sequence, dtype=torch.float32) for sequence in sequences]
    if any(tensor.ndim != 1 or not tensor.isfinite().all() for tensor in tensors):
        raise ValueError(f"{name} must be one sequence of finite numbers a text.")
    return tensors


def draw_seeds(generator: Any, counts: list[int]) -> list[list[int]]:
    """A seed for every sentence of every text, from one generator for all, one a text, or torch's own.

    Sentences have generators of their own, so that neither the batch nor streaming changes how they sound.
    """
    if isinstance(generator, (list, tuple)) and len(generator) != len(counts):
        raise ValueError(f"{len(generator)} generators for {len(counts)} texts: give one for all, or one each.")
    generators = generator if isinstance(generator, (list, tuple)) else [generator] * len(counts)
    for each in generators:
        if each is not None and not isinstance(each, torch.Generator):
            raise TypeError(f"generator is a {type(each).__name__}; wanted a torch.Generator or a list of them.")
    return [
        [int(torch.randint(2**62, (), generator=each, device=each.device if each else "cpu")) for _ in range(count)]
        for each, count in zip(generators, counts, strict=True)
    ]


def frame_pitch(pitch: torch.Tensor, durations: torch.Tensor) -> torch.Tensor:
    """F0 a frame from F0 a frame or a phoneme, without gaps."""
    frames = int(durations.sum())
    if len(pitch) == len(durations) != frames:
        pitch = pitch.repeat_interleave(durations)
    if len(pitch) != frames:
        raise ValueError(
            f"pitch has {len(pitch)} values; wanted {frames}, one a latent frame, or {len(durations)}, one a phoneme "
            "with start and end."
        )
    if (pitch < 0).any():
        raise ValueError("pitch has negative values; wanted F0 in Hz, 0 where unvoiced.")
    return interpolate_unvoiced(pitch)
