"""`ns2-diffusers generate`: writes speech to a file, a pipe, the loudspeakers, or many texts to a folder."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..audio.writing import SUFFIXES, check_suffix, write_blocks
from ..text.directions import speakers_of
from . import checks

# Texts of more sentences than this are written to disk while they are spoken.
LONG = 16
LIST_BATCH = 8
# Settings of audio that is written to a pipe or played while it is generated.
PIECE_SECONDS = 0.5
STREAM_KINDS = ("wav", "pcm", "mp3", "flac", "opus", "ogg")
CAPTIONS = ("srt", "vtt", "json")


def run(args: argparse.Namespace) -> None:
    with notes():
        if args.output_dir is not None:
            speak_list(args)
        elif args.play or args.output == Path("-"):
            stream(args)
        else:
            speak_file(args)


@contextmanager
def notes() -> Iterator[None]:
    """Print warnings about parts of a text that are left out as notes, one line each."""

    def show(message: Any, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, UserWarning):
            print(f"note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def check_options(args: argparse.Namespace) -> None:
    """Raise a ValueError for options that exclude each other, before anything is loaded."""
    wanted = [f"--{name}" for name in CAPTIONS if getattr(args, name)]
    to_pipe = args.output == Path("-")
    if args.output_dir is not None:
        for name in ("output", "play", "phonemes"):
            if getattr(args, name):
                raise ValueError(f"--output-dir makes a file of each text; leave --{name} out.")
        if args.file is None:
            raise ValueError("--output-dir needs --file: a text file with one text a line, a .csv, or a book.")
        if f".{args.format or 'wav'}" not in SUFFIXES:
            raise ValueError(f"--format {args.format} is not a file format; wanted one of {', '.join(SUFFIXES)}.")
    elif args.chapters:
        raise ValueError("--chapters needs --output-dir, a folder for the files of the chapters.")
    elif args.format is not None and not to_pipe:
        raise ValueError("--format is for -o - and --output-dir; the suffix of a file says its format.")
    elif to_pipe and args.format is not None and args.format not in STREAM_KINDS:
        raise ValueError(f"--format {args.format} cannot be written to a pipe; {', '.join(STREAM_KINDS)} can.")
    if args.output_dir is None and wanted and (to_pipe or args.output is None and args.play):
        raise ValueError(f"{wanted[0]} is written beside an audio file: name one with -o.")
    if args.cast and (args.voice or args.prompt):
        raise ValueError("--cast gives each speaker a voice; leave --voice and --prompt out.")
    checks.check_settings(args)
    for voice in [args.voice] if args.voice is not None else cast_of(args).values():
        checks.check_voice(voice)
    if args.prompt is not None:
        checks.check_recording(args.prompt)
    if args.play:
        sounddevice()


def sounddevice() -> Any:
    """The module that plays audio.

    Raises:
        ImportError: it is not installed, or does not find PortAudio.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise ImportError(
            f'--play needs sounddevice and PortAudio ({error}): pip install "ns2-diffusers[play]", and on Debian '
            "apt install libportaudio2."
        ) from error
    return sounddevice


def load(args: argparse.Namespace) -> Any:
    """The pipeline, with the options that change how it reads text applied."""
    from ..cli import load_pipeline

    pipe = load_pipeline(args)
    prepare_tokenizer(pipe.tokenizer, args)
    return pipe


def prepare_tokenizer(tokenizer: Any, args: argparse.Namespace) -> None:
    tokenizer.option_form = "--{name} {value}"
    if args.unknown is not None:
        tokenizer.unknown = args.unknown
    if args.emoji is not None:
        tokenizer.emoji = args.emoji
    if args.lexicon is not None:
        from ..text.lexicon_files import read_lexicon

        if tokenizer.backend not in ("english", "arpabet"):
            raise ValueError(f"--lexicon is for English; the model reads by the backend {tokenizer.backend}.")
        tokenizer.lexicon = (tokenizer.lexicon or {}) | read_lexicon(args.lexicon, tokenizer)


def cast_of(args: argparse.Namespace) -> dict[str, str]:
    """The voices of --cast by speaker."""
    cast = {}
    for each in args.cast or []:
        name, equals, voice = each.partition("=")
        if not equals or not name.strip() or not voice.strip():
            raise ValueError(f"--cast {each!r}: wanted NAME=VOICE, such as Anna=emma.")
        cast[name.strip()] = voice.strip()
    return cast


def only_speakers(cast: dict[str, Any], text: str) -> dict[str, Any]:
    """The voices of the speakers of a text, with a note that names the others; all of them if nobody speaks."""
    speakers = speakers_of(text, cast) if cast else []
    if speakers and (others := [name for name in cast if name not in speakers]):
        warnings.warn(f"{', '.join(others)} of --cast: no line of the text begins with the name.", stacklevel=2)
    return {name: voice for name, voice in cast.items() if name in speakers or not speakers}


def voice_options(pipe: Any, args: argparse.Namespace, cast: dict[str, str]) -> dict[str, Any]:
    if cast:
        return {"voice": {name: pipe.load_voice(voice) for name, voice in cast.items()}, "turn_pause": args.gap}
    if args.prompt is not None:
        return {"voice": pipe.encode_voice(args.prompt)}
    return {"voice": pipe.load_voice(args.voice)} if args.voice is not None else {}


def plan_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "speaking_rate": args.speed,
        "pitch_shift": args.pitch_shift,
        "pitch_range": args.pitch_range,
        "energy": args.energy,
    }


def sampling_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "temperature": args.temperature,
        "limiter": not args.no_limiter,
        "loudness": args.loudness,
        "watermark": args.watermark,
    }


def seeded(pipe: Any, seed: int | None) -> Any:
    return None if seed is None else pipe.make_generator(seed)


# One file


def speak_file(args: argparse.Namespace) -> None:
    from ..cli import check_output, read_text

    check_options(args)
    output = args.output if args.output is not None else Path("speech.wav")
    check_suffix(output)
    check_output(output, SUFFIXES, args.prompt, args.voice, args.file)
    text = read_text(args)
    cast = only_speakers(cast_of(args), text)
    checks.check_text(text, args.phonemes, cast)
    begun = time.perf_counter()
    pipe = load(args)
    start = time.perf_counter()
    options = plan_options(args) | voice_options(pipe, args, cast)
    if not args.phonemes and pipe.codec.channels == 1:
        count = len(pipe.plan(text, **options))
        if count > LONG:
            seconds = speak_book(pipe, text, options, args, output)
            report(args, seconds, start, begun, output)
            return
    spoken = pipe(
        **{"phonemes" if args.phonemes else "text": text},
        **options,
        **sampling_options(args),
        voice_matching=args.matching,
        generator=seeded(pipe, args.seed),
    )
    audio = spoken.audios[0]
    write_captions(args, output, spoken.words[0], audio.shape[-1] / spoken.sampling_rate)
    write_audio(audio, spoken.sampling_rate, output)
    report(args, audio.shape[-1] / spoken.sampling_rate, start, begun, output)


def report(
    args: argparse.Namespace, seconds: float, start: float, begun: float, output: Any, file: Any = None
) -> None:
    if not args.quiet:
        now = time.perf_counter()
        print(
            f"{seconds:.2f} s of audio in {now - start:.2f} s (real-time factor {(now - start) / seconds:.2f}), "
            f"{now - begun:.1f} s with loading: {output}",
            file=file,
        )


def write_captions(args: argparse.Namespace, output: Path, words: Sequence[Any], duration: float) -> None:
    from ..files import write_text
    from . import captions

    if args.srt:
        write_text(output.with_suffix(".srt"), captions.to_srt(words))
    if args.vtt:
        write_text(output.with_suffix(".vtt"), captions.to_vtt(words))
    if args.json:
        write_text(output.with_suffix(".json"), captions.to_json(words, duration))


def write_audio(audio: Any, sampling_rate: int, path: Path) -> None:
    """Write `path` completely or not at all; audio (samples,) or (channels, samples) that would clip is scaled down.

    Raises:
        OSError: the file cannot be written, or its format does not support such audio.
    """
    peak = abs(audio).max()
    if peak > 1:
        print(f"note: the audio peaked at {peak:.2f} and was scaled down to fit the file.", file=sys.stderr)
        audio = audio / peak
    write_blocks(path, [audio], sampling_rate, 1 if audio.ndim == 1 else len(audio))


def speak_book(pipe: Any, text: str, options: dict[str, Any], args: argparse.Namespace, output: Path) -> float:
    """Write a long text to a file while it is spoken; returns its duration in seconds."""
    from .books import UnfinishedSpeech, speak_to_disk

    settings = pipe.check_sampling(**sampling_options(args))
    matching = pipe.config.default_voice_matching if args.matching is None else args.matching
    unfinished = UnfinishedSpeech(output, asked(pipe, text, options, args), pipe.sampling_rate)

    def plan(seed: int) -> list[Any]:
        return pipe.plan(text, generator=seeded(pipe, seed), **options)

    with progress_bar(args, output.name) as progress:
        pipe.set_progress_bar_config(disable=True)
        seed = secrets.randbits(62) if args.seed is None else args.seed
        # Larger batches are no faster on a CPU.
        size = 1 if str(pipe.device) == "cpu" else pipe.config.max_batch_size
        speak_to_disk(pipe, plan, settings, matching, unfinished, seed, size, progress)
    if unfinished.peak > 1:
        print(f"note: the audio peaked at {unfinished.peak:.2f} and was scaled down to fit the file.", file=sys.stderr)
    seconds = unfinished.samples / unfinished.sampling_rate
    write_captions(args, output, unfinished.words() if args.srt or args.vtt or args.json else [], seconds)
    unfinished.finish()
    unfinished.remove()
    return seconds


def asked(pipe: Any, text: str, options: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The settings on which the speech depends; unfinished speech is only resumed if all of them are equal."""

    def voice(given: Any) -> Any:
        if isinstance(given, dict):
            return {name: voice(each) for name, each in given.items()}
        return given if given is None else given.digest

    sampling = ("seed", "steps", "guidance", "temperature", "matching", "scheduler", "lora", "dtype")
    style = ("speed", "pitch_shift", "pitch_range", "energy")
    names = (*sampling, *style, "unknown", "emoji", "gap", "loudness", "no_limiter", "watermark")
    numbers = {name: getattr(args, name) for name in names}
    reading = [pipe.tokenizer.fingerprint, pipe.tokenizer.lexicon]
    model = str(args.model or os.environ.get("NS2_DIFFUSERS_MODEL") or "")
    speaker = {"voice": voice(options.get("voice")), "model": model, "revision": args.revision}
    return numbers | speaker | {"text": text, "reading": reading}


@contextmanager
def progress_bar(args: argparse.Namespace, name: str) -> Iterator[Callable[[int, int], None]]:
    """Progress in sentences and time left, on standard error if it is a terminal."""
    from tqdm import tqdm

    with tqdm(desc=name, unit="sentence", disable=args.quiet or None) as bar:

        def progress(made: int, count: int) -> None:
            if bar.total is None and made and not args.quiet:
                print(f"note: {made} of {count} sentences are there already; going on behind them.", file=sys.stderr)
            if bar.total is None:
                bar.reset(count)
                bar.initial = made
            bar.update(made - bar.n)

        yield progress


# Output to a pipe or the loudspeakers


def stream(args: argparse.Namespace) -> None:
    """Write or play speech while it is generated."""
    import numpy as np

    from ..audio.encoding import AudioEncoder
    from ..cli import check_output, read_text

    check_options(args)
    to_pipe = args.output == Path("-")
    if to_pipe and (sys.stdout is None or sys.stdout.isatty()):
        raise ValueError("-o - writes audio to standard output, which is a terminal: pipe it to a player or a file.")
    if not to_pipe and args.output is not None:
        check_suffix(args.output)
        check_output(args.output, SUFFIXES, args.prompt, args.voice, args.file)
    text = read_text(args)
    cast = only_speakers(cast_of(args), text)
    checks.check_text(text, args.phonemes, cast)
    begun = time.perf_counter()
    pipe = load(args)
    if args.phonemes or pipe.codec.channels != 1:
        raise ValueError("speech that is heard while it is made is mono and made of text: leave --phonemes out.")
    pipe.set_progress_bar_config(disable=True)
    start = time.perf_counter()
    options = {
        "generator": seeded(pipe, args.seed),
        "voice_matching": args.matching,
        **plan_options(args),
        **voice_options(pipe, args, cast),
        **sampling_options(args),
    }
    if to_pipe or args.output is None:
        # Loudness and watermark need complete sentences.
        seconds = None if args.loudness is not None or args.watermark else PIECE_SECONDS
        audios = pipe.stream(text, chunk_seconds=seconds, **options)
        pieces: Iterator[tuple[Any, Any]] = ((audio, ()) for audio in audios)
    else:
        pieces = ((piece.audios[0], piece.words[0]) for piece in pipe.sentences(text, **options))
    encoder = AudioEncoder(args.format or "wav", pipe.sampling_rate) if to_pipe else None
    kept: list[Any] = []
    words: list[Any] = []
    samples = 0
    try:
        with player(args, pipe.sampling_rate) as play:
            for audio, own in pieces:
                if encoder is not None:
                    write_out(encoder.encode(audio))
                elif args.output is not None:
                    words += [(word, samples / pipe.sampling_rate) for word in own]
                    kept.append(audio)
                play(audio)
                samples += len(audio)
        if encoder is not None:
            write_out(encoder.finish())
    except BrokenPipeError:
        # The reader of the pipe has closed it, so the rest is not generated.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if kept:
        from ..pipelines.utterances import SpokenWord

        timed = [SpokenWord(word.text, word.start + begins, word.end + begins) for word, begins in words]
        write_captions(args, args.output, timed, samples / pipe.sampling_rate)
        write_audio(np.concatenate(kept), pipe.sampling_rate, args.output)
    report(args, samples / pipe.sampling_rate, start, begun, "-" if to_pipe else args.output or "played", sys.stderr)


def write_out(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def player(args: argparse.Namespace, sampling_rate: int) -> Iterator[Callable[[Any], None]]:
    """A function that plays samples (n,) float32; it does nothing without --play."""
    if not args.play:
        yield lambda audio: None
        return
    library = sounddevice()
    try:
        output = library.OutputStream(samplerate=sampling_rate, channels=1, dtype="float32")
    except library.PortAudioError as error:
        raise OSError(f"there is no loudspeaker to play to ({error}): write a file with -o.") from error
    with output:
        yield lambda audio: output.write(audio.clip(-1, 1).reshape(-1, 1))


# Many texts


def speak_list(args: argparse.Namespace) -> None:
    """Write one file per text; existing files are kept."""
    from ..cli import read_text
    from ..pipelines.named_voices import NAMES
    from .lists import read_chapters, read_lines

    check_options(args)
    content = read_text(args)
    items = read_chapters(content) if args.chapters else read_lines(args.file, content)
    suffix = "." + (args.format or "wav")
    args.output_dir.mkdir(parents=True, exist_ok=True)
    paths = {item.id: args.output_dir / f"{item.id}{suffix}" for item in items}
    for path in paths.values():
        check_suffix(path)
    missing = [item for item in items if not paths[item.id].exists()]
    if not args.quiet:
        print(f"{len(items) - len(missing)} of {len(items)} are there already: {args.output_dir}")
    if not missing:
        return
    if args.cast and any(item.voice for item in missing):
        raise ValueError("--cast gives each speaker a voice, and so does the column voice: leave one of them out.")
    pipe = load(args)
    common = voice_options(pipe, args, cast_of(args)) or {"voice": pipe.load_voice(NAMES[0])}
    failed: list[str] = []

    def leave_out(item: Any, error: Exception) -> None:
        print(f"note: {item.id} was left out: {error}", file=sys.stderr)
        failed.append(item.id)

    voices, unusable = {}, {}
    for name in {item.voice: None for item in missing if item.voice}:
        try:
            voices[name] = pipe.load_voice(name)
        except (ValueError, TypeError, OSError) as error:
            unusable[name] = error
    for item in missing:
        if item.voice in unusable:
            leave_out(item, unusable[item.voice])
    missing = [item for item in missing if item.voice not in unusable]

    def speak(batch: list[Any]) -> None:
        for item in batch if args.chapters or args.cast else []:
            speakers = {"voice": only_speakers(common["voice"], item.text)} if args.cast else {}
            speak_book(pipe, item.text, plan_options(args) | common | speakers, args, paths[item.id])
            done(item)
        if args.chapters or args.cast:
            return
        own = [voices[item.voice] if item.voice else common["voice"] for item in batch]
        seeds = [seeded(pipe, args.seed) for _ in batch]
        spoken = pipe(
            [item.text for item in batch],
            voice=own,
            **plan_options(args),
            **sampling_options(args),
            voice_matching=args.matching,
            generator=None if args.seed is None else seeds,
        )
        for item, audio, words in zip(batch, spoken.audios, spoken.words, strict=True):
            write_captions(args, paths[item.id], words, audio.shape[-1] / spoken.sampling_rate)
            write_audio(audio, spoken.sampling_rate, paths[item.id])
            done(item)

    def done(item: Any) -> None:
        if not args.quiet:
            print(paths[item.id], flush=True)

    size = 1 if args.chapters or args.cast else LIST_BATCH
    for start in range(0, len(missing), size):
        batch = missing[start : start + size]
        try:
            speak(batch)
            continue
        except (ValueError, TypeError):
            pass
        # A text that cannot be spoken does not stop the others.
        for item in batch:
            try:
                speak([item])
            except (ValueError, TypeError) as error:
                leave_out(item, error)
    if failed:
        raise ValueError(f"{len(failed)} of {len(items)} texts could not be spoken: {', '.join(failed[:10])}.")
