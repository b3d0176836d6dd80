"""`ns2-diffusers convert-voice`, `enhance` and `edit`: change a recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..pipelines.inputs import check_method, check_strength
from . import checks

# A long recording is processed in pieces of at most this many seconds.
PIECE_SECONDS = 15.0


def convert_voice(args: argparse.Namespace) -> None:
    if args.voice is None:
        raise ValueError("--voice is missing: the voice to convert to, a name, a voice file or a recording.")
    check(args)
    pipe, reader = load(args)
    options = {"voice": pipe.load_voice(args.voice), "move_f0": not args.keep_f0} | sampling_options(args)
    work(args, pipe, reader, lambda piece, text, generator: pipe.convert(piece, text, generator=generator, **options))


def enhance(args: argparse.Namespace) -> None:
    check(args)
    if args.text is None and not args.transcribe:
        print(
            "note: without its text a recording is hardly enhanced, and words can become less clear: give --text or "
            "--transcribe.",
            file=sys.stderr,
        )
    pipe, reader = load(args)
    voice = None if args.voice is None else pipe.load_voice(args.voice)
    options = {"voice": voice} | sampling_options(args)
    work(args, pipe, reader, lambda piece, text, generator: pipe.enhance(piece, text, generator=generator, **options))


def edit(args: argparse.Namespace) -> None:
    from .generate import load as load_pipeline
    from .generate import notes, seeded, write_audio

    check_options(args)
    for name, text in (("--text", args.text), ("--new-text", args.new_text)):
        check_not_empty(name, text)
    if args.text == args.new_text:
        raise ValueError("--text and --new-text are equal, and so there is nothing to edit: change a word.")
    pipe = load_pipeline(args)
    voice = None if args.voice is None else pipe.load_voice(args.voice)
    options = {"num_inference_steps": args.steps, "guidance_scale": args.guidance, "temperature": args.temperature}
    options |= {"voice": voice, "generator": seeded(pipe, args.seed)}
    with notes():
        output = pipe.edit(args.audio, args.text, args.new_text, **options)
    write_audio(output.audio, output.sampling_rate, args.output)
    if not args.quiet:
        made = ", ".join(f"{a / output.sampling_rate:.2f}-{b / output.sampling_rate:.2f} s" for a, b in output.regions)
        print(f"{len(output.audio) / output.sampling_rate:.2f} s of audio, of which {made} are new: {args.output}")


def check_options(args: argparse.Namespace) -> None:
    """Raise an error for an invalid recording, output, voice or setting before anything is loaded."""
    from ..audio.writing import SUFFIXES, check_suffix
    from ..cli import check_output

    check_suffix(args.output)
    check_output(args.output, SUFFIXES, args.audio, args.voice)
    checks.check_recording(args.audio)
    checks.check_settings(args)
    if args.voice is not None:
        checks.check_voice(args.voice)


def check(args: argparse.Namespace) -> None:
    """Raise an error for invalid arguments of `convert-voice` and `enhance`."""
    check_options(args)
    if args.text is not None and args.transcribe:
        raise ValueError("--text says what is said and --transcribe finds it out: give one of them.")
    if args.text is not None:
        check_not_empty("--text", args.text)
    method = check_method(args.method, "transcribed" if args.transcribe else args.text)
    check_strength(args.strength, method)


def check_not_empty(name: str, text: str) -> None:
    if not text.strip():
        raise ValueError(f"{name} is empty: give the words.")


def load(args: argparse.Namespace) -> tuple[Any, Any]:
    """The pipeline, and the speech recogniser if --transcribe asks for it."""
    from .generate import load as load_pipeline

    reader = None
    if args.transcribe:
        from ..evaluation.words import WordReader

        reader = WordReader()
        reader.model  # noqa: B018  # raises early if something is missing
    pipe = load_pipeline(args)
    pipe.set_progress_bar_config(disable=True)
    return pipe, reader


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "method": args.method,
        "strength": args.strength,
        "voice_matching": args.matching,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "temperature": args.temperature,
        "loudness": args.loudness,
        "watermark": args.watermark,
    }


def work(args: argparse.Namespace, pipe: Any, reader: Any, make: Callable[..., Any]) -> None:
    """Write the result for a recording; a long one without a given text is processed in pieces."""
    from ..audio.loading import seconds_in_header
    from ..audio.pieces import read_pieces
    from ..audio.writing import write_blocks
    from ..pipelines.utterances import fade
    from .generate import notes, seeded

    rate, least = pipe.sampling_rate, round(pipe.config.min_prompt_seconds * pipe.sampling_rate)
    generator = seeded(pipe, args.seed)
    total = seconds_in_header(args.audio)
    whole = args.text is not None
    pieces = read_pieces(args.audio, rate, pipe.config.max_utterance_seconds if whole else PIECE_SECONDS)
    seconds = 0.0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal seconds
        with progress_bar(args, total) as progress:
            for number, piece in enumerate(pieces):
                if whole and number:
                    most = pipe.config.max_utterance_seconds
                    raise ValueError(
                        f"{str(args.audio)!r} is longer than {most:g} s, what one text is aligned to at once: give "
                        "--transcribe in place of --text, or cut it."
                    )
                seconds += len(piece) / rate
                if len(piece) < least or np.sqrt(np.square(piece).mean()) < 1e-4:
                    yield silence(len(piece), pipe.codec.channels)  # nobody speaks in this piece
                else:
                    text = args.text if reader is None else reader.read((rate, piece)) or None
                    yield fade(make((rate, piece), text, generator).audios[0], rate)
                progress(len(piece) / rate)

    with notes():
        write_blocks(args.output, blocks(), rate, pipe.codec.channels)
    if not args.quiet:
        print(f"{seconds:.2f} s of audio: {args.output}")


def silence(samples: int, channels: int) -> np.ndarray:
    return np.zeros(samples if channels == 1 else (channels, samples), np.float32)


@contextmanager
def progress_bar(args: argparse.Namespace, total: float) -> Iterator[Callable[[float], Any]]:
    """Progress in seconds of the recording, on standard error if it is a terminal."""
    from tqdm import tqdm

    bar_format = "{l_bar}{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}]" if total else None
    with tqdm(desc=args.output.name, total=total or None, bar_format=bar_format, disable=args.quiet or None) as bar:
        yield bar.update
