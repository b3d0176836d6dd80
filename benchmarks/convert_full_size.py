"""Convert, load, run and time Amphion's checkpoint at its full size, with random weights.

    python benchmarks/convert_full_size.py --threads 2

The script writes a state dict with the published names and an EnCodec into a temporary directory (4 GB), and runs
`ns2-diffusers import` on them in a separate process. It compares a call of the denoiser with the rate at which the
same machine multiplies matrices, with the same threads and in turn with it. Random weights produce noise, so only
its length is checked. Use an idle machine: other load slows the long call more than the short product.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ns2_diffusers import EncodecCodec, NaturalSpeech2Pipeline
from ns2_diffusers.training.arguments import HelpFormatter

HIDDEN, FILTER, LATENT, LAYERS, VOCABULARY = 512, 2048, 128, 6, 100
PREDICTOR_LAYERS, WAVENET_LAYERS, QUERIES, ATTENTION_EVERY = 30, 40, 32, 3
MATRIX_SIZE = 2048

# `resource.getrusage` would count this process too: on Linux a new process begins with the peak of its parent.
IMPORT = """
import sys
from ns2_diffusers.cli import main

status = main(sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(status)
"""


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--threads", type=int, help="number of CPU threads; that of torch if not given")
    parser.add_argument("--steps", type=int, default=2, help="number of sampling steps")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of speech in the denoiser call")
    return parser.parse_args(argv)


def main(args):
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(Path(folder), args))
    print(f"threads: {torch.get_num_threads()}; torch {torch.__version__}\n")
    print("| what | measured |\n|---|---|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def measure(folder, args):
    codec = {name: random_like(tensor) for name, tensor in encodec_weights().items()}
    torch.save(codec, folder / "encodec.th")
    weights = amphion_weights() | {name: codec[name] for name in codec if name.startswith("quantizer.")}
    torch.save(weights, folder / "pytorch_model.bin")
    learned = sum(value.numel() for name, value in weights.items() if not is_buffer(name))
    yield "parameters", f"{learned / 1e6:.1f} M"
    yield "checkpoint", f"{(folder / 'pytorch_model.bin').stat().st_size / 1e9:.2f} GB"
    del weights, codec

    command = [sys.executable, "-c", IMPORT, "import", "amphion", "--checkpoint", folder]
    command += ["--codec", folder / "encodec.th", "-o", folder / "pipeline"]
    seconds, done = timed(lambda: subprocess.run(command, check=True, capture_output=True, text=True))
    memory = int(done.stdout.split()[-1]) * 1024
    yield "`ns2-diffusers import amphion`", f"{seconds:.1f} s, {memory / 1e9:.2f} GB at most"

    seconds, pipe = timed(lambda: NaturalSpeech2Pipeline.from_pretrained(folder / "pipeline"))
    yield "`from_pretrained`", f"{seconds:.1f} s"
    prompt = 0.1 * torch.randn(3 * 24000)
    seconds, output = timed(
        lambda: pipe(
            "Nice to meet you.",
            prompt_audio=prompt,
            prompt_sampling_rate=24000,
            num_inference_steps=args.steps,
            generator=torch.Generator(),
        )
    )
    frames = sum(output.durations[0])
    if output.audios[0].shape != (frames * 320,):
        raise RuntimeError(f"{frames} frames of 320 samples came out as {output.audios[0].shape}.")
    yield f"noise of {frames} frames, {args.steps} steps", f"{frames * 320} samples in {seconds:.1f} s"
    yield from measure_denoiser(pipe.denoiser, round(75 * args.seconds))


@torch.no_grad()
def measure_denoiser(denoiser, frames):
    matrix = torch.randn(MATRIX_SIZE, MATRIX_SIZE)
    conditioning = denoiser.encode_conditioning(torch.randn(1, frames, HIDDEN), torch.randn(1, 225, HIDDEN))
    sample = torch.randn(1, LATENT, frames)

    def call():
        return denoiser(sample, 500.0, conditioning=conditioning)

    with FlopCounterMode(display=False) as counter:
        call()
    # Run both in turn, so that other load on the machine slows both.
    times = [(timed(call)[0], timed(lambda: matrix @ matrix)[0]) for _ in range(10)]
    seconds, matrix_seconds = map(min, zip(*times, strict=True))
    product, rate = 2 * MATRIX_SIZE**3 / matrix_seconds, counter.get_total_flops() / seconds
    yield f"matrix product, {MATRIX_SIZE}³, float32", f"{product / 1e9:.0f} GFLOP/s"
    yield f"denoiser call, {frames} frames ({frames / 75:g} s)", f"{seconds:.3f} s"
    yield "that is", f"{rate / 1e9:.0f} GFLOP/s, {rate / product:.0%} of the matrix product"


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def is_buffer(name):
    return name.startswith("quantizer.") or name.endswith((".pe", "pitch_bins", "encoder.enc_emb_tokens.weight"))


def random_like(tensor):
    """Return random weights at a scale that propagates signals. Statistics and similar tensors stay unchanged."""
    if not tensor.is_floating_point() or tensor.ndim < 2:
        return tensor
    return torch.randn_like(tensor) * tensor[0].numel() ** -0.5


def encodec_weights():
    """Return the state dict of `encodec_24khz`, with 32 codebooks, one layer each."""
    codec = EncodecCodec(24000, latent_channels=128, num_codebooks=32, ratios=[8, 5, 4, 2], num_filters=32)
    weights = {name: value for name, value in codec.state_dict().items() if not name.startswith("quantizer.")}
    for layer, codebook in enumerate(codec.codebooks):
        prefix = f"quantizer.vq.layers.{layer}._codebook."
        weights[prefix + "inited"], weights[prefix + "cluster_size"] = (
            torch.ones(1),
            torch.ones(len(codebook)),
        )
        weights[prefix + "embed"], weights[prefix + "embed_avg"] = codebook, codebook
    return weights


def amphion_weights():
    """Return the state dict of amphion/naturalspeech2_libritts without its quantiser."""
    weights = {}

    def layer(name, *shape, bias=True):
        weights[f"{name}.weight"] = torch.randn(shape) * math.prod(shape[1:]) ** -0.5
        if bias:
            weights[f"{name}.bias"] = torch.zeros(shape[0])

    def norm(name):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(HIDDEN), torch.zeros(HIDDEN)

    def attention(name):
        weights[f"{name}.in_proj_weight"] = torch.randn(3 * HIDDEN, HIDDEN) * HIDDEN**-0.5
        weights[f"{name}.in_proj_bias"] = torch.zeros(3 * HIDDEN)
        layer(f"{name}.out_proj", HIDDEN, HIDDEN)

    def adaptive_norm(name):
        layer(f"{name}.style", 2 * HIDDEN, HIDDEN)

    def encoder(name, norm):
        weights[f"{name}.position_emb.pe"] = torch.randn(5000, 1, HIDDEN)
        for i in range(LAYERS):
            norm(f"{name}.layers.{i}.ln_1")
            norm(f"{name}.layers.{i}.ln_2")
            attention(f"{name}.layers.{i}.self_attn")
            layer(f"{name}.layers.{i}.ffn.ffn_1", FILTER, HIDDEN, 9)
            layer(f"{name}.layers.{i}.ffn.ffn_2", HIDDEN, FILTER)
        norm(f"{name}.last_ln")

    def predictor(name, kernel_size, centre):
        for i in range(PREDICTOR_LAYERS):
            layer(f"{name}.conv.{i}.0", HIDDEN, HIDDEN, kernel_size)
            norm(f"{name}.conv.{i}.2")
        for i in range(PREDICTOR_LAYERS // ATTENTION_EVERY):
            attention(f"{name}.cattn.{i}.0")
            norm(f"{name}.cattn.{i}.1")
        layer(f"{name}.linear", 1, HIDDEN)
        weights[f"{name}.linear.weight"] *= 0.02
        weights[f"{name}.linear.bias"].fill_(centre)

    def wavenet(name):
        layer(f"{name}.in_proj", HIDDEN, LATENT, 1)
        layer(f"{name}.mlp.0", 4 * HIDDEN, HIDDEN)
        layer(f"{name}.mlp.2", HIDDEN, 4 * HIDDEN)
        norm(f"{name}.cond_ln")
        for i in range(WAVENET_LAYERS):
            layer(f"{name}.layers.{i}.dilated_conv", 2 * HIDDEN, HIDDEN, 3)
            layer(f"{name}.layers.{i}.diffusion_proj", HIDDEN, HIDDEN)
            layer(f"{name}.layers.{i}.cond_proj", 2 * HIDDEN, HIDDEN, 1)
            layer(f"{name}.layers.{i}.out_proj", 2 * HIDDEN, HIDDEN, 1)
            if i % ATTENTION_EVERY == 0:
                attention(f"{name}.layers.{i}.attn")
                layer(f"{name}.layers.{i}.film.gain", 2 * HIDDEN, HIDDEN)
                layer(f"{name}.layers.{i}.film.bias", 2 * HIDDEN, HIDDEN)
                norm(f"{name}.layers.{i}.ln")
        layer(f"{name}.skip_proj", HIDDEN, HIDDEN, 1)
        layer(f"{name}.out_proj", LATENT, HIDDEN, 1)

    weights["prior_encoder.pitch_bins"] = torch.linspace(math.log(50), math.log(1100), 511).exp()
    layer("prior_encoder.enc_emb_tokens", VOCABULARY, HIDDEN, bias=False)
    weights["prior_encoder.encoder.enc_emb_tokens.weight"] = weights["prior_encoder.enc_emb_tokens.weight"]
    encoder("prior_encoder.encoder", adaptive_norm)
    predictor("prior_encoder.duration_predictor", 3, math.log(1 + 6))
    predictor("prior_encoder.pitch_predictor", 5, math.log(180))
    layer("prior_encoder.pitch_embedding", 512, HIDDEN, bias=False)
    wavenet("diffusion.diff_estimator")
    encoder("prompt_encoder", norm)
    layer("prompt_lin", HIDDEN, LATENT)
    layer("query_emb", QUERIES, HIDDEN, bias=False)
    attention("query_attn")
    return weights


if __name__ == "__main__":
    main(parse_args())
