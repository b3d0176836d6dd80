"""Blend the weights of a pipeline with those of a pipeline that was trained further from it.

    python examples/blend_pipelines.py --pipelines outputs/pipeline outputs/fine-tuned --share 0.7 \
        --output_dir outputs/blended

A blend keeps most of what each of the two pipelines has learned (arXiv 2109.01903). After fine-tuning on little
speech, for instance, it forgets less. `--shares` sets separate shares for single components. The codec, the scheduler
and the tokenizer are those of the second pipeline.
"""

import argparse
import json
from pathlib import Path

import torch

from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.files import whole_parts
from ns2_diffusers.training.arguments import HelpFormatter

COMPONENTS = ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "denoiser")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument(
        "--pipelines",
        nargs=2,
        required=True,
        metavar=("FIRST", "SECOND"),
        help="two pipelines: directories or hub ids",
    )
    parser.add_argument(
        "--share", type=float, default=0.5, help="share of the second pipeline: 0 gives the first, 1 the second"
    )
    parser.add_argument(
        "--shares", type=json.loads, default={}, help='shares of single components, such as {"prompt_encoder": 0}'
    )
    parser.add_argument("--output_dir", required=True, help="output directory of the blended pipeline")
    parser.add_argument("--license", help="licence of the weights, for the model card; none if not given")
    return parser.parse_args(argv)


def blend(first, second, shares):
    """Blend the weights of `first` into the components of `second`, in place. A share is the part of `second` kept.

    Raises:
        ValueError: a share names no component, or the codecs, the tokenizers or the weights do not match.
    """
    if unknown := set(shares) - set(COMPONENTS):
        raise ValueError(f"shares of {', '.join(sorted(unknown))}: the components are {', '.join(COMPONENTS)}.")
    for part in ("codec", "tokenizer"):
        if getattr(first, part).fingerprint != getattr(second, part).fingerprint:
            raise ValueError(f"the pipelines have different {part}s, and so mean different things: nothing to blend.")
    for name, share in shares.items():
        old, new = (dict(getattr(pipe, name).named_parameters()) for pipe in (first, second))
        shapes = [{key: tensor.shape for key, tensor in weights.items()} for weights in (old, new)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"the weights of {name} differ in name or shape: the second must come from the first.")
        with torch.no_grad():
            for key, tensor in new.items():
                tensor.copy_(torch.lerp(old[key].float(), tensor.float(), share))


def main(args):
    first, second = map(NaturalSpeech2Pipeline.from_pretrained, args.pipelines)
    blend(first, second, dict.fromkeys(COMPONENTS, args.share) | args.shares)
    facts = {"blended of": " and ".join(Path(folder).name for folder in args.pipelines)}
    facts |= {"share of the second": f"{args.share:g}", "shares of components": json.dumps(args.shares)}
    facts["licence"] = args.license
    card = second.model_card(Path(args.output_dir).name, args.license, facts)
    with whole_parts(args.output_dir) as folder:
        second.save_pretrained(folder)
        card.save(folder / "README.md")
    print(f"blended pipeline saved to {args.output_dir}")


if __name__ == "__main__":
    main(parse_args())
