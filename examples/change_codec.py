"""Adapt a trained pipeline to another codec, as a starting point for training with that codec.

    python examples/change_codec.py --pipeline outputs/pipeline --codec outputs/new-codec --train_data recordings/ \
        --output_dir outputs/moved

The script fits linear maps between the two codecs' latents of the same recordings by least squares. It merges them
into the layers that read or write latents. The pipeline has not learned the information that only the new latents
contain, so it needs further training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from ns2_diffusers import NaturalSpeech2Pipeline, load_codec
from ns2_diffusers.data.recordings import find_recordings, read_span
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training.arguments import HelpFormatter

# Weight of the squared coefficients relative to the squared errors, as a share of the latents' variance.
RIDGE = 1e-3


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--pipeline", required=True, help="directory or hub id of the trained pipeline")
    add("--codec", required=True, help="directory or hub id of the new codec, of the same frame rate")
    add(
        "--train_data",
        required=True,
        help="recordings to encode by both: a folder, or a list with a column `file`",
    )
    add("--clips", type=int, default=300, help="number of clips of the recordings")
    add("--seconds", type=float, default=5.0, help="length of a clip in seconds")
    add("--seed", type=int, default=0, help="seed of the random choice of clips")
    add("--output_dir", required=True, help="output directory of the pipeline with the new codec")
    add("--license", help="licence of the weights, for the model card; none if not given")
    return parser.parse_args(argv)


@torch.no_grad()
def encode_alike(codecs, files, clips, seconds, seed):
    """Return standardised latents (frames, C) of the same clips from each of two codecs.

    Raises:
        ValueError: the codecs differ in sampling rate or hop, or no clip can be read.
    """
    rates = [(codec.sampling_rate, codec.hop_length, codec.channels) for codec in codecs]
    if rates[0] != rates[1]:
        raise ValueError(
            f"the codecs have {rates[0]} and {rates[1]} of sampling rate, hop and channels: a frame of one must be a "
            "frame of the other."
        )
    rate, hop, channels = rates[0]
    random = np.random.default_rng(seed)
    found = [], []
    for index in random.choice(len(files), clips, replace=clips > len(files)):
        waveform = torch.from_numpy(read_span(files[index], rate, channels, seconds=seconds))[None]
        if waveform.shape[-1] >= hop:
            for codec, latents in zip(codecs, found, strict=True):
                latents.append(codec.encode(waveform)[0].T)
    if not found[0]:
        raise ValueError(f"none of {clips} clips of the {len(files)} recordings has a frame of {hop} samples.")
    return [torch.cat(latents) for latents in found]


def linear_map(source, target):
    """Return the least-squares map: (frames, N), (frames, M) → (M, N). Both are standardised, so no bias is needed."""
    source, target = source.double(), target.double()
    penalty = RIDGE * source.square().sum() / source.shape[1] * torch.eye(source.shape[1], dtype=torch.float64)
    return torch.linalg.solve(source.T @ source + penalty, source.T @ target).T.float()


@torch.no_grad()
def on_other_latents(model, channels, to_old, to_new):
    """Return a copy of a model that reads, and perhaps writes, the latents of another codec."""
    old = model.config.latent_channels
    moved = type(model).from_config(dict(model.config) | {"latent_channels": channels}).eval()
    state = model.state_dict()
    weight = state["proj_in.weight"].float()
    # The frames of a patch and an earlier estimate are concatenated. A convolution has one tap.
    read = weight.flatten(1).unflatten(1, (-1, old)) @ to_old
    state["proj_in.weight"] = read.flatten(1).view(len(weight), -1, *weight.shape[2:])
    if "proj_out.weight" in state:
        for name in ("proj_out.weight", "proj_out.bias"):
            parameter = state[name].float()
            written = torch.einsum("nc,pc...->pn...", to_new, parameter.unflatten(0, (-1, old)))
            state[name] = written.flatten(0, 1)
    moved.load_state_dict(state)
    return moved


def change_codec(pipe, codec, files, clips, seconds, seed):
    """Return the pipeline with `codec`, and the share of the variance of its latents that the linear map explains.

    Raises:
        ValueError: the model does not predict clean latents; only those can be mapped. See also `encode_alike`.
    """
    prediction = pipe.scheduler.config.prediction_type
    if prediction != "sample":
        raise ValueError(f"the model predicts {prediction}; only clean latents (`sample`) can be mapped to others.")
    old, new = encode_alike((pipe.codec, codec), files, clips, seconds, seed)
    to_old, to_new = linear_map(new, old), linear_map(old, new)
    explained = 1 - ((old @ to_new.T - new).square().sum() / new.square().sum()).item()
    parts = {
        name: on_other_latents(getattr(pipe, name), codec.latent_channels, to_old, to_new)
        for name in ("prompt_encoder", "denoiser")
    }
    return type(pipe).from_pipe(pipe, codec=codec, **parts), explained


def main(args):
    pipe, codec = NaturalSpeech2Pipeline.from_pretrained(args.pipeline), load_codec(args.codec).eval()
    files = find_recordings(args.train_data)
    moved, explained = change_codec(pipe, codec, files, args.clips, args.seconds, args.seed)
    facts = {"moved from": Path(args.pipeline).name, "explained variance of the latents": f"{explained:.1%}"}
    facts["licence"] = args.license
    card = moved.model_card(Path(args.output_dir).name, args.license, facts)
    with whole_parts(args.output_dir) as folder:
        moved.save_pretrained(folder)
        card.save(folder / "README.md")
    print(f"{explained:.1%} of the variance of the latents is explained; pipeline saved to {args.output_dir}")


if __name__ == "__main__":
    main(parse_args())
