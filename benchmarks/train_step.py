"""Measure the speed of a training step, and its share of the machine's own matrix-product rate.

    python benchmarks/train_step.py --mixed_precision bf16 --threads 1

A step is forward, backward, clipping and AdamW over a synthetic batch. There are three rows, each from a separate
process: the whole objective; our denoiser alone, without text; and the denoiser of `naturalspeech2-pytorch`
(lucidrains) with the same number of parameters. That one is also trained without text, because its text encoders have
fixed sizes, larger than all of ours. If it cannot be imported, its row gives the reason. The share is the number
of multiplications and additions of a step (`torch.utils.flop_counter`, including attention), divided by its time and
by the rate of a 2048³ product of the same dtype, measured just before.
"""

import argparse
import inspect
import resource
import statistics
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import ns2_diffusers
from ns2_diffusers.training.arguments import HelpFormatter
from ns2_diffusers.training.losses import data_loss
from ns2_diffusers.training.objective import TrainingObjective
from ns2_diffusers.training.precision import fast_precision

FRAME_RATE, CHANNELS, CODEBOOKS, CODEBOOK_SIZE, VOCABULARY = 50, 64, 8, 1024, 227
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CLASSES = {
    "phoneme_encoder": ns2_diffusers.PhonemeEncoder,
    "prompt_encoder": ns2_diffusers.SpeechPromptEncoder,
    "variance_adaptor": ns2_diffusers.VarianceAdaptor,
    "denoiser": ns2_diffusers.TransformerDenoiser,
}
# Settings shared by all models of a size, and settings of single models; `paper` is table 11 of NaturalSpeech 2.
SMALL_ENCODER = {"num_layers": 2, "filter_size": 512, "kernel_size": 5, "dropout": 0.1}
SIZES = {
    "small": {
        "hidden_size": 256,
        "num_attention_heads": 4,
        "phoneme_encoder": SMALL_ENCODER,
        "prompt_encoder": SMALL_ENCODER,
        "variance_adaptor": {"num_predictor_layers": 4, "dropout": 0.2},
        "denoiser": {"num_layers": 7, "feed_forward_mult": 2},
    },
    "paper": {
        "hidden_size": 512,
        "num_attention_heads": 8,
        "denoiser": {"hidden_size": 768, "num_attention_heads": 12},
    },
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--size",
        choices=sorted(SIZES),
        default="small",
        help="model size: small has about 17 M parameters, paper those of the paper",
    )
    parser.add_argument(
        "--batch_seconds", type=int, default=48, help="seconds of speech per batch, in utterances of about 4 s"
    )
    parser.add_argument(
        "--steps", type=int, default=5, help="number of timed steps, after one that compiles and counts operations"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device")
    parser.add_argument(
        "--mixed_precision", choices=sorted(DTYPES), default=fast_precision(), help="precision of the forward pass"
    )
    parser.add_argument("--compile", action="store_true", help="use torch.compile for the timed models")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="number of CPU threads")
    return parser.parse_args(argv)


def build_model(name, size):
    """Return one of our models, untrained, in a given size."""
    sizes = SIZES[size]
    known = {"latent_channels": CHANNELS, "vocab_size": VOCABULARY, "condition_dim": sizes["hidden_size"]}
    known |= {key: value for key, value in sizes.items() if not isinstance(value, dict)}
    takes = inspect.signature(CLASSES[name]).parameters
    return CLASSES[name](**{key: known[key] for key in known if key in takes} | sizes.get(name, {}))


def make_batch(seconds):
    """Return utterances of 3.5 to 4.5 s, 4 frames per phoneme, prompts of 3 s, as `PromptCollator` makes them."""
    count = max(1, seconds // 4)
    lengths = torch.linspace(43, 57, count).round().long() * 4
    frames = torch.arange(int(lengths.max()))
    mask = frames < lengths[:, None]
    phonemes = frames[: len(frames) // 4] < lengths[:, None] // 4
    pitch = 100 + 100 * torch.rand(mask.shape)
    return {
        "input_ids": torch.randint(1, VOCABULARY, phonemes.shape) * phonemes,
        "attention_mask": phonemes,
        "durations": 4 * phonemes.long(),
        "codes": torch.randint(0, CODEBOOK_SIZE, (count, CODEBOOKS, len(frames))) * mask[:, None],
        "frame_mask": mask,
        "loss_mask": mask,
        "f0": pitch * mask * (torch.rand(mask.shape) < 0.7),
        "pitch": pitch * mask,
        "prompt_codes": torch.randint(0, CODEBOOK_SIZE, (count, CODEBOOKS, 3 * FRAME_RATE)),
        "prompt_mask": torch.ones(count, 3 * FRAME_RATE, dtype=torch.bool),
    }


def whole_objective(args, batch):
    """Return a module and its loss function: text, prompt, durations, pitch and latents."""
    codebooks = torch.randn(CODEBOOKS, CODEBOOK_SIZE, CHANNELS) / CODEBOOKS**0.5
    models = {name: build_model(name, args.size) for name in CLASSES}
    scheduler = ns2_diffusers.NaturalSpeech2DDIMScheduler()
    objective = TrainingObjective(**models, scheduler=scheduler, codebooks=codebooks)
    return objective, lambda: objective(batch)["loss"]


def our_denoiser(args, batch):
    """Return the same for the denoiser alone, which predicts clean latents without text or prompt."""
    denoiser, mask = build_model("denoiser", args.size), batch["frame_mask"]
    scheduler = ns2_diffusers.NaturalSpeech2DDIMScheduler()
    latents = torch.randn(len(mask), CHANNELS, mask.shape[1], device=mask.device)

    def loss():
        timesteps = 999 * torch.rand(len(mask), device=mask.device)
        noisy = scheduler.add_noise(latents, torch.randn_like(latents), timesteps)
        return data_loss(denoiser(noisy, timesteps, sample_mask=mask).sample, latents, mask)

    return denoiser, loss


def lucidrains_denoiser(args, batch):
    """Return the same for `naturalspeech2-pytorch`. Its latents are as wide as its model, and it has no mask."""
    try:
        import fairseq  # noqa: F401
    except Exception:
        # Its dependency audiolm-pytorch imports fairseq, for HuBERT, and fairseq 0.12.2 does not import on Python 3.11
        # ("mutable default … for field common"). No part of it runs here.
        sys.modules["fairseq"] = types.ModuleType("fairseq")
    from naturalspeech2_pytorch import Model, NaturalSpeech2

    sizes = SIZES[args.size] | SIZES[args.size]["denoiser"]
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    wanted = parameters(build_model("denoiser", args.size))

    def build(depth):
        model = Model(dim=width, depth=depth, heads=heads, dim_head=width // heads, wavenet_stacks=1, wavenet_layers=2)
        return NaturalSpeech2(model=model, target_sample_hz=16000, objective="x0")

    model = min(map(build, range(1, 13)), key=lambda each: abs(parameters(each) - wanted))
    latents = torch.randn(*batch["frame_mask"].shape, width, device=batch["frame_mask"].device)
    return model, lambda: model(latents)


ROWS = {
    "ours, all of the objective": whole_objective,
    "ours, the denoiser": our_denoiser,
    "naturalspeech2-pytorch, the denoiser": lucidrains_denoiser,
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def measure(name, args):
    """Measure one row of the table."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    batch = {key: value.to(args.device) for key, value in make_batch(args.batch_seconds).items()}
    try:
        module, loss = ROWS[name](args, batch)
    except Exception as error:
        return f"| {name} | not measured: {type(error).__name__}: {error} |"
    module.to(args.device).train()
    rate = matmul_rate(args.device, DTYPES[args.mixed_precision])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step():
        with torch.autocast(args.device, DTYPES[args.mixed_precision], enabled=args.mixed_precision != "no"):
            value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    # The counter supports the matrix products of attention, but not the kernels of every backend.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    if args.compile:
        for model in module.children() if isinstance(module, TrainingObjective) else [module]:
            model.compile(dynamic=True)
        step()
    seconds = statistics.median(timed(step, args.device) for _ in range(args.steps))
    speech = batch["frame_mask"].sum().item() / FRAME_RATE
    share = counter.get_total_flops() / seconds / rate
    cells = [
        f"{parameters(module) / 1e6:.1f} M",
        f"{1 / seconds:.3f}",
        f"{speech / seconds:.1f}",
        f"{peak_memory(args.device):.2f} GB",
        f"{counter.get_total_flops() / 1e9:.0f} GFLOP",
        f"{share:.1%} of {rate / 1e9:.0f} GFLOP/s",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def matmul_rate(device, dtype, size=2048, repeats=8):
    """Return the operations per second of the fastest of several square products."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    left @ right
    return 2 * size**3 / min(timed(lambda: left @ right, device) for _ in range(repeats))


def timed(call, device):
    """Return the seconds that `call` takes, including its pending GPU work."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def peak_memory(device):
    """Return the peak memory in GB, of the GPU or of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(args):
    print("| | parameters | steps/s | audio s/s | peak memory | a step | share of the matrix-product rate |")
    print("|---" * 7 + "|")
    for name in ROWS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            print(pool.submit(measure, name, args).result(), flush=True)


if __name__ == "__main__":
    main(parse_args())
