"""Count the parameters of each model at its default size, beside the paper's (NaturalSpeech 2, table 11).

    python benchmarks/parameters.py

The script prints the table of docs/architecture.md. Weights are counted but not allocated, so it takes no memory.
"""

import torch

from ns2_diffusers import (
    EncodecCodec,
    NaturalSpeech2Tokenizer,
    PhonemeEncoder,
    SpeechPromptEncoder,
    TransformerDenoiser,
    VarianceAdaptor,
    VocosCodec,
    WaveNetDenoiser,
)


def models():
    """Return (name, module, millions in the paper or None) for each model."""
    with torch.device("meta"):
        adaptor = VarianceAdaptor()
        yield "phoneme encoder", PhonemeEncoder(vocab_size=len(NaturalSpeech2Tokenizer())), 72
        yield "duration predictor", adaptor.duration_predictor, 34
        yield "pitch predictor", adaptor.pitch_predictor, 50
        yield "prompt encoder", SpeechPromptEncoder(), 69
        yield "WaveNet denoiser", WaveNetDenoiser(), 183
        yield "codec (`EncodecCodec`)", EncodecCodec(), 27
        yield "Transformer denoiser", TransformerDenoiser(), None
        yield "codec (`VocosCodec`)", VocosCodec(), None


def millions(module):
    """Return the millions of learned numbers. A codec's codebooks are buffers, but learned, so they are counted."""
    count = sum(parameter.numel() for parameter in module.parameters())
    if hasattr(module, "codebooks"):
        count += module.codebooks.numel()
    return count / 1e6


def main():
    print("| model | here | paper | difference |\n|---|---|---|---|")
    for name, module, paper in models():
        here = millions(module)
        difference = f"{here / paper - 1:+.0%}" if paper else ""
        print(f"| {name} | {here:.1f} M | {f'{paper} M' if paper else ''} | {difference} |")


if __name__ == "__main__":
    main()
