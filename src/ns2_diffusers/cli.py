"""`ns2-diffusers`: the command line of the pipeline.

Libraries are imported where they are used, so that `--help` and errors in options are fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from . import __version__
from .text.typography import EMOJI_CHOICES

MODEL_VARIABLE = "NS2_DIFFUSERS_MODEL"
TRACEBACK_VARIABLE = "NS2_DIFFUSERS_TRACEBACK"
LONGEST_ERROR = 1000
# Schedulers of this package, or of diffusers, by name.
SCHEDULERS = {
    "ddim": "NaturalSpeech2DDIMScheduler",
    "ddpm": "NaturalSpeech2DDPMScheduler",
    "euler": "NaturalSpeech2EulerScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "heun": "HeunDiscreteScheduler",
    "deis": "DEISMultistepScheduler",
}
EXAMPLES = """examples:
  ns2-diffusers generate "Hello there."
  ns2-diffusers generate "Hello there." --voice george -o hello.wav
  ns2-diffusers generate "Hello there." --prompt voice.wav -o hello.wav
  ns2-diffusers voice voice.wav -o voice.safetensors --model my-model
  ns2-diffusers generate --file story.txt --voice voice.safetensors -o story.mp3 --model my-model
  ns2-diffusers generate --file book.txt --chapters --output-dir book --format opus --srt
  ns2-diffusers generate "Hello there." -o - | mpv -
  ns2-diffusers phonemes "Kubernetes is Greek."
  ns2-diffusers convert-voice speech.wav --voice george -o converted.wav
  ns2-diffusers edit speech.wav --text "I like tea." --new-text "I like coffee." -o edited.wav
  ns2-diffusers serve --voices voices
  ns2-diffusers import amphion -o my-model
  ns2-diffusers export onnx --output my-onnx-model --int8"""


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None: those of the process, which Ctrl-C then ends at once, with status 130.

    Returns: the exit status: 0; 2 for bad input and other errors, with one line on standard error; or 130 for Ctrl-C.
        If the environment variable `TRACEBACK_VARIABLE` is set, errors are raised instead.
    """
    if argv is None:
        end_on_interrupt()
    try:
        args = make_parser().parse_args(argv)
        args.run(args)
        if sys.stdout is not None:  # None if the shell closed it
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print("ns2-diffusers: error:", describe(error), file=sys.stderr)
        if isinstance(error, OSError):
            drop_unwritable_output()
        return 2
    return 0


def describe(error: Exception) -> str:
    """An error as one line of limited length; an error without a clear message is named by its class."""
    message = " ".join(str(error).split())
    if not isinstance(error, (ValueError, TypeError, OSError, ImportError)) or not message:
        message = f"{type(error).__name__}: {message} ({TRACEBACK_VARIABLE}=1 shows where)"
    return message if len(message) <= LONGEST_ERROR else f"{message[: LONGEST_ERROR - 20]} … {message[-17:]}"


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once.

    A KeyboardInterrupt could become another error during an import, or be lost in a destructor.
    """
    import signal

    from .files import remove_unfinished

    def end(*_: Any) -> NoReturn:
        remove_unfinished()
        os._exit(130)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # otherwise the shell ignores it
        signal.signal(signal.SIGINT, end)


def drop_unwritable_output() -> None:
    """If standard output is closed or full, drop it, so that Python does not report the error again at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        sys.stdout = None  # type: ignore[assignment]


class Parser(argparse.ArgumentParser):
    """Raises argument errors as exceptions, so that all errors look the same."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="ns2-diffusers",
        description="Text to speech and voice cloning.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    generate = commands.add_parser("generate", help="generate speech from a text")
    generate.set_defaults(run=run_generate)
    add_text(generate)
    generate.add_argument("--phonemes", action="store_true", help="the text consists of phonemes")
    whose = generate.add_mutually_exclusive_group()
    whose.add_argument("--prompt", type=Path, help="recording of the voice to clone")
    whose.add_argument(
        "--voice",
        help="name of a voice (`ns2-diffusers voices`), voice file (`ns2-diffusers voice`), recording, or a mix such "
        "as '0.7 * emma + 0.3 * george' (emma)",
    )
    generate.add_argument(
        "--cast",
        action="append",
        metavar="NAME=VOICE",
        help="voice of the speaker whose lines begin with 'NAME:'; repeat it for each speaker",
    )
    generate.add_argument(
        "--gap", type=float, default=0.5, metavar="SECONDS", help="silence between two speakers (%(default)s)"
    )
    add_lora(generate)
    generate.add_argument("--steps", type=int, help="number of sampling steps (that of the model)")
    generate.add_argument("--scheduler", choices=SCHEDULERS, help="sampler (that of the model)")
    generate.add_argument("--speed", type=float, default=1.0, help="speaking rate; 2 is twice as fast (%(default)s)")
    generate.add_argument("--pitch-shift", type=float, default=0.0, help="pitch shift in semitones (%(default)s)")
    generate.add_argument(
        "--pitch-range", type=float, default=1.0, help="range of the pitch; 0 is monotone, 2 is twice (%(default)s)"
    )
    generate.add_argument("--energy", type=float, default=1.0, help="factor of the amplitude (%(default)s)")
    generate.add_argument(
        "--guidance", type=float, help="guidance scale; above 1 is closer to text and voice (that of the model)"
    )
    generate.add_argument(
        "--matching",
        type=float,
        help="voice matching, 0 to 1: how far latents are moved towards the prompt (that of the model)",
    )
    generate.add_argument(
        "--temperature", type=float, help="temperature; higher gives calmer speech (that of the scheduler, 1.44)"
    )
    generate.add_argument(
        "--loudness",
        type=float,
        help="loudness of each sentence in LUFS, such as -16; needs pyloudnorm (as generated)",
    )
    generate.add_argument("--no-limiter", action="store_true", help="do not limit samples that would clip")
    generate.add_argument("--watermark", action="store_true", help="add an inaudible watermark; needs Perth")
    generate.add_argument("--seed", type=seed, help="seed; equal seeds give equal audio (random)")
    kinds = "wav, flac, ogg, opus, mp3, m4a (by ffmpeg)"
    generate.add_argument(
        "-o",
        "--output",
        type=Path,
        help=f"audio file: {kinds}; - writes to standard output while it is generated (speech.wav)",
    )
    generate.add_argument(
        "--play", action="store_true", help="play the audio while it is generated; needs sounddevice"
    )
    generate.add_argument(
        "--format",
        choices=("wav", "pcm", "mp3", "flac", "opus", "ogg", "m4a"),
        help="audio format of -o - and --output-dir; pcm is 16-bit samples without a header (wav)",
    )
    generate.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="write one file per line of --file, or per row of a .csv (id, text, voice); existing files are kept",
    )
    generate.add_argument(
        "--chapters", action="store_true", help="write one file per chapter of a book to --output-dir"
    )
    generate.add_argument("--srt", action="store_true", help="write subtitles beside the audio")
    generate.add_argument("--vtt", action="store_true", help="write WebVTT subtitles beside the audio")
    generate.add_argument("--json", action="store_true", help="write word times as JSON beside the audio")
    add_model(generate)

    phonemes = commands.add_parser("phonemes", help="show the phonemes of a text")
    phonemes.set_defaults(run=run_phonemes)
    add_text(phonemes)
    phonemes.add_argument(
        "--guesses", action="store_true", help="show only words that are in no lexicon, as lines for --lexicon"
    )
    phonemes.add_argument(
        "--model", help=f"model whose tokenizer is used (that of {MODEL_VARIABLE}, or the bundled model)"
    )
    add_revision(phonemes, "--model")

    add_serve(commands.add_parser("serve", help="serve speech over HTTP, with the interface of OpenAI's speech API"))

    completion = commands.add_parser("completion", help="print a completion script for a shell; needs shtab")
    completion.set_defaults(run=run_completion)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="shell")

    voice = commands.add_parser("voice", help="make a voice file from recordings or a mix of voices")
    voice.set_defaults(run=run_voice)
    voice.add_argument(
        "audio",
        nargs="+",
        help="recordings of one person, a few seconds each; or a mix, such as '0.7 * emma + 0.3 * george.wav'",
    )
    add_common(voice, "voice file, .safetensors")

    detect = commands.add_parser("detect", help="detect the watermark in recordings; needs Perth")
    detect.set_defaults(run=run_detect)
    detect.add_argument("audio", type=Path, nargs="+", help="audio files; the first ten minutes of each are examined")

    voices = commands.add_parser("voices", help="list the named voices, or write a sample of each")
    voices.set_defaults(run=run_voices)
    voices.add_argument(
        "--samples", type=Path, metavar="DIR", help="write a sample of each voice, NAME.wav, to this directory"
    )
    voices.add_argument("--text", default="Hello. This is my voice.", help="text of the samples (%(default)s)")
    add_reading(voices)
    add_model(voices)

    converted = commands.add_parser("convert-voice", help="convert a recording to another voice")
    converted.set_defaults(run=run_convert_voice)
    add_recording(converted, "the voice to convert to: name, voice file, recording or mix")
    converted.add_argument("--keep-f0", action="store_true", help="keep the pitch")
    enhanced = commands.add_parser("enhance", help="remove noise, reverberation and clipping from recorded speech")
    enhanced.set_defaults(run=run_enhance)
    add_recording(enhanced, "a clean voice of the same speaker: voice file or recording (the recording itself)")
    edited = commands.add_parser("edit", help="change words of a recording, or continue it")
    edited.set_defaults(run=run_edit)
    edited.add_argument("audio", type=Path, help="recording")
    edited.add_argument("--text", required=True, help="text that is spoken in the recording")
    edited.add_argument("--new-text", required=True, help="text that the edited recording will have")
    edited.add_argument("--voice", help="voice of the new words (the recording itself)")
    add_reading(edited)
    add_steps(edited)
    add_common(edited, "audio file")

    add_import(commands.add_parser("import", help="convert published weights to a pipeline or codec"))
    add_export(commands.add_parser("export", help="export a pipeline to a runtime without torch"))
    return parser


def add_recording(parser: argparse.ArgumentParser, whose: str) -> None:
    parser.add_argument("audio", type=Path, help="recording, of any length")
    parser.add_argument("--voice", help=whose)
    parser.add_argument("--text", help="text that is spoken in the recording; it improves the result")
    add_reading(parser)
    parser.add_argument("--transcribe", action="store_true", help="find the text with whisper; needs faster-whisper")
    parser.add_argument(
        "--method",
        choices=("resynthesis", "ode", "matching"),
        help="method (resynthesis with a text, matching without)",
    )
    parser.add_argument(
        "--strength",
        type=float,
        help="how much of the recording resynthesis replaces: 1 all, lower values keep more of the speaker (0.5)",
    )
    parser.add_argument("--matching", type=float, help="voice matching, 0 to 1 (that of the model; 1 without a text)")
    parser.add_argument("--loudness", type=float, help="loudness in LUFS, such as -16; needs pyloudnorm (unchanged)")
    parser.add_argument("--watermark", action="store_true", help="add an inaudible watermark; needs Perth")
    add_steps(parser)
    add_common(parser, "audio file")


def add_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, help="number of sampling steps (that of the model)")
    parser.add_argument("--scheduler", choices=SCHEDULERS, help="sampler (that of the model)")
    parser.add_argument("--guidance", type=float, help="guidance scale (that of the model)")
    parser.add_argument("--temperature", type=float, help="temperature (that of the scheduler)")
    parser.add_argument("--seed", type=seed, help="seed; equal seeds give equal audio (random)")


def add_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", help="text to speak; standard input if it is - or not given")
    parser.add_argument("--file", type=Path, help="file to read the text from")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lexicon", type=Path, help="pronunciations, one per line: a word, a tab, /phonemes/ or a respelling"
    )
    parser.add_argument(
        "--unknown",
        choices=("error", "drop"),
        help="treatment of unreadable characters: an error, or left out with a note (that of the model)",
    )
    parser.add_argument(
        "--emoji",
        choices=EMOJI_CHOICES,
        help="treatment of emoji: left out with a note, read by their names, or an error (that of the model)",
    )


def add_serve(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_serve)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--voices", type=Path, metavar="DIR", help="folder of voices, to which requests can add voices (none)"
    )
    parser.add_argument(
        "--max-requests",
        type=int,
        default=32,
        help="number of simultaneous requests; further ones get 503 (%(default)s)",
    )
    parser.add_argument("--max-batch-size", type=int, default=8, help="number of sentences per batch (%(default)s)")
    parser.add_argument("--max-characters", type=int, default=4096, help="longest text in characters (%(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="time limit of a request in seconds (%(default)s)"
    )
    add_lora(parser)
    add_model(parser)


def seed(text: str) -> int:
    """Parse a seed of torch's generators."""
    number = int(text)
    if not 0 <= number < 2**64:
        raise argparse.ArgumentTypeError("wanted a whole number from 0 to 2**64 - 1")
    return number


def add_import(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_subparsers(required=True, metavar="source")
    amphion = sources.add_parser("amphion", help="NaturalSpeech 2 of Amphion, as a pipeline")
    amphion.set_defaults(run=run_import_amphion)
    add_conversion(amphion, "amphion/naturalspeech2_libritts", "pytorch_model.bin, ")
    amphion.add_argument(
        "--config", type=Path, help="config of the checkpoint, JSON with a model section (the published sizes)"
    )
    amphion.add_argument(
        "--codec",
        default="encodec_24khz",
        help="codec: encodec_24khz, a .th file, or a directory of transformers' EncodecModel (%(default)s)",
    )
    add_revision(amphion, "--checkpoint")
    encodec = sources.add_parser("encodec", help="EnCodec, as a codec")
    encodec.set_defaults(run=run_import_encodec)
    add_conversion(encodec, "encodec_24khz", "encodec_48khz, a .th file, ")
    encodec.add_argument("--bandwidth", type=float, help="kbps; only the codebooks that fit are kept (all)")
    vocos = sources.add_parser("vocos", help="a Vocos decoder of EnCodec's codes, as a codec")
    vocos.set_defaults(run=run_import_vocos)
    add_conversion(vocos, "charactr/vocos-encodec-24khz", "")
    vocos.add_argument("--bandwidth", type=float, default=6.0, help="bandwidth in kbps: 1.5, 3, 6 or 12 (%(default)s)")
    add_revision(vocos, "--checkpoint")
    vocos.add_argument("--codec", help="EnCodec that provides the encoder, as for amphion (none: decoding only)")


def add_export(parser: argparse.ArgumentParser) -> None:
    formats = parser.add_subparsers(required=True, metavar="format")
    onnx = formats.add_parser("onnx", help="ONNX graphs, for onnxruntime; needs onnx and onnxscript")
    onnx.set_defaults(run=run_export_onnx, device="cpu", dtype="float32", runtime="torch")
    onnx.add_argument(
        "-o",
        "--output",
        type=Path,
        help="output directory (a cache; other commands use it for the same --model)",
    )
    onnx.add_argument("--int8", action="store_true", help="store the weights of matrix products in 8 bits")
    add_lora(onnx)
    onnx.add_argument("--scheduler", choices=["ddim", "euler"], help="sampler (that of the model)")
    onnx.add_argument("--model", help=f"model, as for generate (that of {MODEL_VARIABLE}, or the bundled model)")
    add_revision(onnx, "--model")
    onnx.add_argument("-q", "--quiet", action="store_true", help="print nothing")


def add_conversion(parser: argparse.ArgumentParser, published: str, kinds: str) -> None:
    parser.add_argument(
        "--checkpoint", default=published, help=f"weights: {kinds}a directory or a hub repository (%(default)s)"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="output directory")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing")


def add_common(parser: argparse.ArgumentParser, output_help: str, default: Path | None = None) -> None:
    parser.add_argument("-o", "--output", type=Path, required=default is None, default=default, help=output_help)
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", help=f"model: a directory or hub repository (that of {MODEL_VARIABLE}, or the bundled model)"
    )
    add_revision(parser, "--model")
    parser.add_argument(
        "--device", default="auto", help="device: auto (CUDA or MPS if there is one), cpu, cuda, mps … (%(default)s)"
    )
    parser.add_argument(
        "--dtype",
        choices=["float32", "bfloat16", "float16", "auto"],
        default="float32",
        help="precision; auto measures for half a second whether bfloat16 is faster (%(default)s)",
    )
    parser.add_argument(
        "--runtime",
        choices=["auto", "torch", "onnx"],
        default="auto",
        help="runtime; auto is onnx for an exported model, or a model with an export in the cache (%(default)s)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print no progress bar and no report")


def add_lora(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lora",
        help="LoRA weights: a path, a folder in the model's directory, or a hub repository; needs peft (none)",
    )
    parser.add_argument(
        "--lora-revision", metavar="COMMIT", help="commit of the hub repository of --lora (the newest, with a warning)"
    )


def add_revision(parser: argparse.ArgumentParser, of: str) -> None:
    parser.add_argument(
        "--revision", metavar="COMMIT", help=f"commit of the hub repository of {of} (the newest, with a warning)"
    )


def run_generate(args: argparse.Namespace) -> None:
    from .commands import generate

    generate.run(args)


def run_phonemes(args: argparse.Namespace) -> None:
    from .commands import phonemes

    phonemes.run(args)


def run_serve(args: argparse.Namespace) -> None:
    from .commands import serve

    serve.run(args)


def run_completion(args: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise ImportError(f'completion needs shtab ({error}): pip install "ns2-diffusers[completion]"') from error
    print(shtab.complete(make_parser(), args.shell))


def run_voice(args: argparse.Namespace) -> None:
    from .commands import checks

    check_output(args.output, [".safetensors"], *args.audio)
    if len(args.audio) == 1:
        checks.check_voice(args.audio[0])
    else:
        for path in args.audio:
            checks.check_recording(path)
    pipe = load_pipeline(args)
    voice = pipe.load_voice(args.audio[0]) if len(args.audio) == 1 else pipe.encode_voice(args.audio)
    voice.save(args.output)
    if not args.quiet:
        frames = sum(part.latents.shape[1] for _, part in voice.parts)
        print(f"{frames / pipe.codec.frame_rate:.2f} s of voice: {args.output}")


def run_convert_voice(args: argparse.Namespace) -> None:
    from .commands import recordings

    recordings.convert_voice(torch_only(args))


def run_enhance(args: argparse.Namespace) -> None:
    from .commands import recordings

    recordings.enhance(torch_only(args))


def run_edit(args: argparse.Namespace) -> None:
    from .commands import recordings

    recordings.edit(torch_only(args))


def torch_only(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of a command that onnxruntime does not support.

    Raises:
        ValueError: --runtime is onnx.
    """
    if args.runtime == "onnx":
        raise ValueError("recordings are changed with torch alone: leave --runtime onnx out.")
    args.runtime = "torch"
    return args


def run_detect(args: argparse.Namespace) -> None:
    from .audio.loading import load_audio
    from .audio.watermark import has_watermark, watermarker

    watermarker()
    for path in args.audio:
        waveform, rate = load_audio(path, max_seconds=600)
        print(f"{path}: {'marked' if has_watermark(waveform.numpy(), rate) else 'not marked'}")


def run_voices(args: argparse.Namespace) -> None:
    from .commands import checks
    from .commands.generate import load, notes, write_audio
    from .pipelines.named_voices import named_voices

    if args.samples is None:
        print(*named_voices(), sep="\n")
        return
    checks.check_settings(args)
    checks.check_text(args.text)
    pipe = load(args)
    args.samples.mkdir(parents=True, exist_ok=True)
    with notes():
        for name in named_voices():
            output = pipe(args.text, voice=name)
            path = args.samples / f"{name}.wav"
            write_audio(output.audios[0], output.sampling_rate, path)
            print(path)


def run_export_onnx(args: argparse.Namespace) -> None:
    from .conversion.weights import check_new_directory
    from .onnx.export import check_installed, export_onnx
    from .onnx.settings import cached_export

    check_installed()
    output = args.output
    if output is None:
        model = model_of(args)
        if args.lora is not None or args.scheduler is not None or not os.path.isdir(model):
            raise ValueError(
                "only a local model as it is can be exported to the cache: give --output for one with --lora or "
                "--scheduler, or of the hub."
            )
        output = cached_export(model)
    check_new_directory(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(load_pipeline(args), output, args.int8)
    if not args.quiet:
        size = sum(path.stat().st_size for path in output.rglob("*.onnx"))
        print(f"{size / 1e6:.1f} MB of graphs: {output}")


def run_import_amphion(args: argparse.Namespace) -> None:
    def make():
        from .conversion.amphion import from_amphion

        return from_amphion(args.checkpoint, args.config, args.codec, args.revision)

    import_weights(make, args)


def run_import_encodec(args: argparse.Namespace) -> None:
    def make():
        from .conversion.encodec import from_encodec

        return from_encodec(args.checkpoint, args.bandwidth)

    import_weights(make, args)


def run_import_vocos(args: argparse.Namespace) -> None:
    def make():
        from .conversion.vocos import from_vocos

        return from_vocos(args.checkpoint, args.bandwidth, args.codec, args.revision)

    import_weights(make, args)


def import_weights(make: Callable[[], Any], args: argparse.Namespace) -> None:
    """Convert foreign weights and write the result to a new directory."""
    import diffusers

    from .conversion.weights import check_new_directory, save_whole

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    check_new_directory(args.output)
    made = make()
    save_whole(made, args.output)
    if not args.quiet:
        print(f"{type(made).__name__}: {args.output}")


def check_output(path: Path, suffixes: Any, *inputs: str | Path | None) -> None:
    """Check before the work that its result can be written, and that the output is none of the input files."""
    from .files import check_writable

    if path.suffix.lower() not in suffixes:
        raise ValueError(f"the output {str(path)!r} must end in one of {', '.join(suffixes)}.")
    for given in inputs:
        if given is not None and os.path.exists(path) and os.path.exists(given) and os.path.samefile(path, given):
            raise ValueError(f"the output {str(path)!r} is a file that is read ({str(given)!r}): name another output.")
    check_writable(path)


def read_text(args: argparse.Namespace) -> str:
    if args.file is not None:
        if args.text is not None:
            raise ValueError("give the text either as an argument or as --file, not both.")
        try:
            return args.file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{str(args.file)!r} is not a UTF-8 text file ({error.reason}).") from error
    if args.text not in (None, "-"):
        return args.text
    if sys.stdin is None or args.text is None and sys.stdin.isatty():
        raise ValueError("there is no text: give it as an argument, with --file, or on standard input.")
    return sys.stdin.read()


def load_pipeline(args: argparse.Namespace) -> Any:
    model = model_of(args)
    from .untrusted import check_source

    check_source(model, revision=args.revision)
    lora = lora_of(args, model)
    exported = exported_model(args, model)
    if exported is not None:
        return load_onnx_pipeline(args, exported)
    import diffusers
    import torch

    import ns2_diffusers

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    device = best_device() if args.device == "auto" else args.device
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        # After the first sentence torch appends details for its developers.
        reason = str(error).splitlines()[0].split(". ")[0]
        raise ValueError(f"the device {device!r} cannot be used here ({reason}).") from error
    pipe = ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(model, revision=args.revision)
    if lora is not None:
        pipe.load_lora_weights(lora, revision=args.lora_revision)
        # Fused adapters cost no time.
        pipe.fuse_lora()
        pipe.unload_lora_weights()
    name = SCHEDULERS.get(getattr(args, "scheduler", None) or "")
    if name is not None:
        scheduler = getattr(ns2_diffusers if name in ns2_diffusers.__all__ else diffusers, name)
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    # None disables the progress bar where standard error is not a terminal.
    pipe.set_progress_bar_config(disable=args.quiet or None)
    return pipe.to(device, ns2_diffusers.fastest_dtype(device) if args.dtype == "auto" else getattr(torch, args.dtype))


def lora_of(args: argparse.Namespace, model: str) -> str | Path | None:
    """The weights of --lora, which exist here or can be a repository; None without that option.

    Raises:
        ValueError: the weights are missing, or a revision is given without a repository.
    """
    lora, revision = getattr(args, "lora", None), getattr(args, "lora_revision", None)
    if lora is None:
        if revision is not None:
            raise ValueError(f"--lora-revision is {revision!r}, and there is no --lora: give both, or neither.")
        return None
    from .pipelines.lora import choose_lora
    from .untrusted import check_source

    chosen = choose_lora(lora, model)
    check_source(chosen, "LoRA", revision)
    return chosen


def model_of(args: argparse.Namespace) -> str:
    """The model of --model, that of the environment variable, or the bundled one."""
    return args.model if args.model is not None else os.environ.get(MODEL_VARIABLE) or bundled_voice()


def exported_model(args: argparse.Namespace, model: str) -> str | None:
    """The ONNX model to run: `model` or its export in the cache; None if torch runs `model`.

    Raises:
        ValueError: there is no model for the runtime that was asked for.
    """
    from .onnx.settings import cached_export, is_exported

    asked = getattr(args, "runtime", "auto")
    if not os.path.isdir(model):
        return model if asked == "onnx" else None
    if is_exported(model):
        if asked == "torch":
            raise ValueError(
                f"{model!r} is a model for onnxruntime: leave --runtime torch out; a command without --runtime needs "
                "the model that was exported."
            )
        return model
    if asked == "torch" or asked == "auto" and (wanted_of_torch(args) or find_spec("onnxruntime") is None):
        return None
    cached = cached_export(model)
    if is_exported(cached):
        return str(cached)
    if asked == "auto":
        return None
    raise ValueError(
        f"{model!r} is a model for torch: make an ONNX model of it with `ns2-diffusers export onnx`, or leave "
        "--runtime onnx out."
    )


# Options of a model, and their values that an exported model supports.
ONNX_OPTIONS = {"device": ("auto", "cpu"), "dtype": ("float32",), "lora": (None,), "scheduler": (None,)}


def wanted_of_torch(args: argparse.Namespace) -> list[str]:
    """Names of the given options that only torch supports."""
    return [name for name, known in ONNX_OPTIONS.items() if getattr(args, name, None) not in (*known, None)]


def load_onnx_pipeline(args: argparse.Namespace, model: str) -> Any:
    """An exported pipeline, with the scheduler and LoRA weights of the export.

    Raises:
        ValueError: an option that only torch supports.
    """
    for name in wanted_of_torch(args):
        raise ValueError(
            f"--{name} {getattr(args, name)} is not for {model!r}, an ONNX model, which has its scheduler and LoRA "
            "weights from `ns2-diffusers export onnx` and runs in float32 on the processor: leave it out."
        )
    from .onnx.pipeline import OnnxNaturalSpeech2Pipeline

    pipe = OnnxNaturalSpeech2Pipeline.from_pretrained(model, revision=args.revision)
    pipe.set_progress_bar_config(disable=args.quiet or None)
    return pipe


def best_device() -> str:
    """CUDA if available, else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def bundled_voice() -> str:
    from .pipelines.bundled import bundled

    try:
        return str(bundled())
    except FileNotFoundError as error:
        raise ValueError(
            "no model was given: name a directory or a hub repository with --model or in the environment variable "
            f"{MODEL_VARIABLE} ({error})"
        ) from error


if __name__ == "__main__":
    sys.exit(main())
