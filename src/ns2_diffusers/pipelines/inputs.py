"""Checks the inputs of the pipeline and converts them to one form: lists with one entry per text.

Arrays are NumPy arrays here, so that runtimes without torch can use this module.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import as_array, is_tensor
from ..audio.contour import bridge_unvoiced
from ..audio.finishing import LEAST_LOUDNESS, MOST_LOUDNESS
from ..text.directions import MAX_PAUSE

# Limits of one call: symbols per sentence, and sentences or recordings per batch.
MOST_SYMBOLS = 4096
MOST_ITEMS = 1024
# Methods of conversion, and the default strength of the first.
METHODS, STRENGTH = ("resynthesis", "ode", "matching"), 0.5
# What is wanted of each number, and its range.
SETTINGS: dict[str, tuple[str, dict[str, float]]] = {
    # At higher rates most phonemes would last less than half a latent frame and be left out.
    "speaking_rate": ("numbers between 0.1 and 4", {"least": 0.1, "most": 4.0}),
    "pitch_shift": ("semitones between -60 and 60", {"least": -60.0, "most": 60.0}),
    "pitch_range": ("numbers between 0 (monotone) and 4", {"least": 0.0, "most": 4.0}),
    "energy": ("factors of the amplitude between 0.01 and 10", {"least": 0.01, "most": 10.0}),
    "turn_pause": (f"seconds, 0 to {MAX_PAUSE:g}", {"least": 0.0, "most": MAX_PAUSE}),
    "num_inference_steps": ("a whole number of at least 1", {"least": 1, "whole": True}),
    "guidance_scale": ("1 (no guidance) or more", {"least": 0.0}),
    "temperature": ("a number above 0 (the paper: 1.44), from 0.001 to 1000", {"least": 1e-3, "most": 1e3}),
    "voice_matching": ("0 (none) to 1 (all the way)", {"least": 0.0, "most": 1.0}),
    "strength": ("a number above 0, to 1 (from noise alone)", {"above": 0.0, "most": 1.0}),
    "loudness": (
        f"LUFS from {LEAST_LOUDNESS:g} to {MOST_LOUDNESS:g}",
        {"least": LEAST_LOUDNESS, "most": MOST_LOUDNESS},
    ),
}
# Upper limit of F0 in Hz: nobody sings higher, and a period of less than 2 samples is no sound.
HIGHEST_PITCH = 10_000.0


def check_components_fit(codec: Any, denoiser: Any, **readers: Any) -> None:
    """Raise a ValueError if sizes that must agree between components do not.

    Args:
        readers: `tokenizer`, `phoneme_encoder`, `prompt_encoder` and `variance_adaptor` of a pipeline that reads text.
    """
    channels = {"codec": codec.latent_channels, "denoiser": denoiser.config.latent_channels}
    widths = {"denoiser": denoiser.config.condition_dim}
    if readers:
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
    """The number of steps of a generation: `wanted`; if None, the largest that a student supports, or `usual`.

    The scheduler's config says whether the denoiser is a distilled student, of which steps, and what it predicts.
    Schedulers made from that config keep these entries.

    Raises:
        ValueError: the denoiser is a student, and it does not support the scheduler or the number of steps.
    """
    trained = scheduler.config.get("student_steps")
    if not trained:
        return wanted or usual
    # Compared by name: the scheduler exists with and without torch.
    if not any(each.__name__.endswith("DistilledScheduler") for each in type(scheduler).__mro__):
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


def check_number(
    name: str,
    value: Any,
    wanted: str,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    whole: bool = False,
) -> None:
    """Check that a value is a finite number in its range.

    Raises:
        TypeError: it is not a number, or a bool, or not whole although it must be.
        ValueError: it is out of range, NaN or infinite.
    """
    kind = numbers.Integral if whole else numbers.Real
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; wanted {wanted}.")
    if (
        not isinstance(value, kind)
        or not math.isfinite(value)
        or (least is not None and float(value) < least)
        or (most is not None and float(value) > most)
        or (above is not None and float(value) <= above)
    ):
        raise ValueError(f"{name} is {value!r}; wanted {wanted}.")


def check_setting(name: str, value: Any, called: str | None = None) -> None:
    """Check that a number is in the range of `SETTINGS`; the error names it `called`, or by its name."""
    wanted, limits = SETTINGS[name]
    check_number(called or name, value, wanted, **limits)  # type: ignore[arg-type]


def check_method(method: str | None, text: str | None) -> str:
    """Choose the method of conversion.

    Raises:
        ValueError: the method is unknown, or needs a text.
    """
    if method is None:
        return "matching" if text is None else "resynthesis"
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; wanted one of {', '.join(METHODS)}, or None.")
    if text is None and method != "matching":
        raise ValueError(f"method {method!r} needs the text of the recording: give it, or leave the method out.")
    return method


def check_strength(strength: float | None, method: str) -> float:
    """The strength of a method; 1 for methods that have none.

    Raises:
        TypeError, ValueError: the strength is no number above 0 to 1, or given for another method than resynthesis.
    """
    if strength is None:
        return STRENGTH if method == "resynthesis" else 1.0
    check_setting("strength", strength)
    if method != "resynthesis":
        raise ValueError(f"strength is for method 'resynthesis', and the method is {method!r}: leave it out.")
    return strength


def check_steps(num_inference_steps: Any, timesteps: Any, sigmas: Any, most: int = 1000) -> None:
    """Raise if the steps are given in more than one way, are not numbers, or are more than `most`."""
    given = {"num_inference_steps": num_inference_steps, "timesteps": timesteps, "sigmas": sigmas}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} were given: they all say which steps to take; give one of them.")
    if num_inference_steps is not None:
        wanted = f"a whole number from 1 to {most}, the timesteps of training"
        check_number("num_inference_steps", num_inference_steps, wanted, least=1, most=most, whole=True)
    for name in ("timesteps", "sigmas"):
        if given[name] is None:
            continue
        if isinstance(given[name], (str, bytes)) or not hasattr(given[name], "__len__") or not len(given[name]):
            raise TypeError(f"{name} is {given[name]!r}; wanted a list of numbers, the most noise first.")
        if len(given[name]) > most + 1:
            raise ValueError(
                f"{name} has {len(given[name])} values; wanted at most {most}, the timesteps of training."
            )
        for value in given[name]:
            value = value.item() if hasattr(value, "item") else value
            check_number(f"a value of {name}", value, "a number of at least 0", least=0.0)


def as_texts(given: Any, name: str) -> list[str]:
    """Convert one text or a list of texts to a list."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{name} is a {type(given).__name__}; wanted a str or a list of str.")
    if not texts:
        raise ValueError(f"{name} is an empty list: give at least one.")
    for index, text in enumerate(texts):
        if not text.strip():
            raise ValueError(f"{name} {index} is empty: give something to say.")
    return list(texts)


def per_text(value: Any, count: int, name: str) -> list[float]:
    """Convert one number for all texts, or one number per text, to a list."""
    values = list(value) if isinstance(value, (list, tuple)) else [value] * count
    if len(values) != count or not all(np.isscalar(each) and np.isfinite(each) for each in values):
        raise ValueError(f"{name} is {value!r}; wanted a number, or one for each of {count} texts.")
    return [float(each) for each in values]


def per_text_array(value: Any, count: int, name: str) -> Sequence[np.ndarray | None]:
    """Convert None, or one sequence of numbers per text, to a list of None or float32 arrays (L,)."""
    if value is None:
        return [None] * count
    nested = isinstance(value, (list, tuple)) and not any(np.isscalar(each) for each in value)
    sequences = list(value) if nested or getattr(value, "ndim", 1) == 2 else [value]
    if len(sequences) != count:
        raise ValueError(f"{name} has {len(sequences)} sequences for {count} texts: give one each.")
    arrays = [as_array(sequence) for sequence in sequences]
    if any(array.ndim != 1 or array.dtype.kind not in "biuf" or not np.isfinite(array).all() for array in arrays):
        raise ValueError(f"{name} must be one sequence of finite numbers per text.")
    return [array.astype(np.float32) for array in arrays]


def per_text_latents(value: Any, count: int) -> Sequence[np.ndarray | None]:
    """Convert None, or unit noise (B, C, T) or a list of (C, T), to a list of None or arrays."""
    if value is None:
        return [None] * count
    if not isinstance(value, (np.ndarray, list, tuple)) and not is_tensor(value):
        raise TypeError(f"latents is a {type(value).__name__}; wanted unit noise (B, C, T), a tensor or an array.")
    if len(value) != count:
        raise ValueError(f"latents are for {len(value)} texts and there are {count}.")
    arrays = [as_array(each) for each in value]
    for array in arrays:
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise ValueError(
                f"latents of shape {array.shape} and dtype {array.dtype} were given for a text; wanted "
                "finite floating-point noise (C, T)."
            )
    return arrays


def check_durations(durations: np.ndarray, symbols: int, frame_rate: float, max_seconds: float) -> None:
    """Raise a ValueError if durations (N,) are not one whole number of latent frames per symbol, or too long."""
    if len(durations) != symbols:
        raise ValueError(
            f"{len(durations)} durations were given and {symbols} are wanted: one for each symbol that the "
            f"tokenizer makes, start and end included (in latent frames of {1 / frame_rate:.4f} s)."
        )
    if (durations != durations.round()).any() or (durations < 0).any() or durations.sum() < 1:
        raise ValueError("durations must be whole latent frames, none negative, and not all zero.")
    check_seconds("durations", float(durations.astype(np.float64).sum()) / frame_rate, max_seconds)


def check_seconds(what: str, seconds: float, max_seconds: float) -> None:
    """Raise a ValueError if something is longer than the maximum of one utterance."""
    if seconds > max_seconds:
        raise ValueError(
            f"{what} last {seconds:.6g} s, and at most {max_seconds:g} s are made at once: shorten or split it, or "
            "raise max_utterance_seconds in the pipeline's config."
        )


def check_rate(speaking_rate: float, pitch_shift: float) -> None:
    """Raise a ValueError if the rate or the pitch shift of a sentence is out of range."""
    check_setting("speaking_rate", speaking_rate)
    check_setting("pitch_shift", pitch_shift)


def check_style(pitch_range: float, energy: float) -> None:
    """Raise a ValueError if the range of the pitch or the energy of a sentence is out of range."""
    check_setting("pitch_range", pitch_range)
    check_setting("energy", energy)


def check_symbols(input_ids: np.ndarray) -> None:
    """Raise a ValueError if a sentence (N,) has more symbols than the maximum."""
    if len(input_ids) > MOST_SYMBOLS:
        raise ValueError(
            f"one sentence has {len(input_ids)} symbols, and at most {MOST_SYMBOLS} are spoken at once: split it, or "
            "choose a smaller max_sentence_length."
        )


def draw_seeds(generator: Any, counts: list[int]) -> list[list[int]]:
    """One seed per sentence of every text, from one generator for all texts, one per text, or torch's global one.

    Each sentence has its own generator, so neither the batch nor streaming changes how it sounds.
    """
    import torch

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


def frame_pitch(pitch: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """F0 (T,) per frame from F0 per frame or per phoneme, given durations (N,) int64; gaps are interpolated."""
    frames = int(durations.sum())
    if len(pitch) == len(durations) != frames:
        pitch = pitch.repeat(durations)
    if len(pitch) != frames:
        raise ValueError(
            f"pitch has {len(pitch)} values; wanted {frames}, one per latent frame, or {len(durations)}, one per "
            "phoneme with start and end."
        )
    if (pitch < 0).any() or (pitch > HIGHEST_PITCH).any():
        raise ValueError(
            f"pitch has values from {pitch.min():g} to {pitch.max():g}; wanted F0 in Hz, 0 where unvoiced, none "
            f"negative and at most {HIGHEST_PITCH:g}."
        )
    return bridge_unvoiced(pitch)
