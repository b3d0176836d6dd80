"""Functions shared by the benchmarks: read prompts and sentences, speak, measure time, and print a table."""

import importlib.util
import math
import time
from pathlib import Path

import diffusers
import torch

import ns2_diffusers
from ns2_diffusers.cli import SCHEDULERS

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"


def load_example(name):
    """Return the module of a script in `examples/`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_pipeline(folder, device="cpu"):
    """Return a pipeline without progress bars; the bundled one if no folder is given."""
    pipe = ns2_diffusers.NaturalSpeech2Pipeline.from_pretrained(folder or ns2_diffusers.bundled()).to(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_scheduler(name, config):
    """Return the scheduler with the command-line name `name`, ours or diffusers', from another one's config."""
    name = SCHEDULERS[name]
    return getattr(diffusers if hasattr(diffusers, name) else ns2_diffusers, name).from_config(config)


def find_prompts(folder):
    """Return the recordings in the subfolders of `folder`, one for each kind of voice.

    Raises:
        ValueError: there is no recording.
    """
    paths = sorted(folder.glob("*/*.*"))
    if not paths:
        raise ValueError(
            f"there are no prompts at {str(folder)!r}: wanted folders of recordings, one for each kind of voice."
        )
    return paths


def read_sentences(path, number=None):
    return path.read_text(encoding="utf-8").splitlines()[:number]


def embed_or_nobody(evaluator, audio, rate=None):
    """Return a d-vector; zeros (cosine 0 to any other) for audio without speech, which a bad model may produce."""
    try:
        return evaluator.embed(audio, rate)
    except ValueError:
        return torch.zeros(256).numpy()


@torch.no_grad()
def reconstruct(codec, waveform, codes=True):
    """Return a waveform (samples,) encoded, quantised if `codes`, and decoded. The length is unchanged."""
    latents = codec.encode(waveform.expand(1, codec.channels, -1).to(codec.device))
    if codes:
        latents, _ = codec.quantize(latents)
    return codec.decode(latents)[0, :, : len(waveform)].mean(0).cpu()


def speak(pipe, sentences, prompts, **options):
    """Speak one sentence at a time with the next prompt, as a user does. Yield a dict for each."""
    # One-time work of the process is excluded from the time of a sentence.
    pipe("Ready.", str(prompts[0]), **options)
    for index, text in enumerate(sentences):
        generator = torch.Generator().manual_seed(index)
        started = time.perf_counter()
        output = pipe(text, str(prompts[index % len(prompts)]), generator=generator, **options)
        yield {
            "text": text,
            "elapsed": time.perf_counter() - started,
            "audio": output.audios[0],
            "rate": output.sampling_rate,
            "planned_f0": output.f0[0],
        }


def markdown_table(titles, rows):
    head, *lines = (f"| {' | '.join(map(str, line))} |" for line in [titles, *rows])
    return "\n".join([head, "|---" * len(titles) + "|", *lines]) + "\n"


def cell(value, form):
    """Return a number formatted for a table; an empty string for None and NaN."""
    return "" if value is None or math.isnan(value) else format(value, form)
