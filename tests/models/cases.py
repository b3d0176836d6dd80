"""A tiny case of every model: a function that builds it, and a batch of two whose first item is shorter."""

import torch

from ns2_diffusers import (
    PhonemeAligner,
    PhonemeEncoder,
    SpeechPromptEncoder,
    TransformerDenoiser,
    VarianceAdaptor,
    WaveNetDenoiser,
)

SHORT, LONG = 7, 11  # frames or phonemes of the two items
PROMPT_SHORT, PROMPT_LONG = 5, 9


def mask(short, long):
    return torch.arange(long) < torch.tensor([[short], [long]])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(seed=0):
    return torch.randint(1, 20, (2, LONG), generator=torch.Generator().manual_seed(seed))


PROMPT = {
    "prompt_hidden_states": randn(2, PROMPT_LONG, 16, seed=3),
    "prompt_mask": mask(PROMPT_SHORT, PROMPT_LONG),
}
DENOISER_INPUT = {
    "sample": randn(2, 6, LONG),
    "timestep": torch.tensor([300.0, 712.5]),
    "encoder_hidden_states": randn(2, LONG, 16, seed=1),
    "sample_mask": mask(SHORT, LONG),
    **PROMPT,
}
SIZES = {"hidden_size": 16, "num_attention_heads": 2}
ENCODER = {**SIZES, "num_layers": 2, "filter_size": 24, "kernel_size": 5}

# name: (class, config, batch, keys of the batch along the first length, keys along the prompt's length)
CASES = {
    "phoneme_encoder": (
        PhonemeEncoder,
        {"vocab_size": 20, **ENCODER},
        {"input_ids": ids(), "attention_mask": mask(SHORT, LONG)},
    ),
    "phoneme_encoder_following_prompt": (
        PhonemeEncoder,
        {"vocab_size": 20, "prompt_conditioning": True, "position_embedding": "none", **ENCODER},
        {"input_ids": ids(), "attention_mask": mask(SHORT, LONG), **PROMPT},
    ),
    "speech_prompt_encoder": (
        SpeechPromptEncoder,
        {"latent_channels": 6, **ENCODER},
        {"prompt_latents": randn(2, 6, PROMPT_LONG), "prompt_mask": mask(PROMPT_SHORT, PROMPT_LONG)},
    ),
    "variance_adaptor": (
        VarianceAdaptor,
        {**SIZES, "num_predictor_layers": 4, "cross_attention_every": 2, "pitch_bins": 16},
        {
            "phoneme_hidden_states": randn(2, LONG, 16),
            "phoneme_mask": mask(SHORT, LONG),
            "durations": torch.randint(0, 4, (2, LONG), generator=torch.Generator().manual_seed(1))
            * mask(SHORT, LONG),
            **PROMPT,
        },
    ),
    "wavenet_denoiser": (
        WaveNetDenoiser,
        {**SIZES, "latent_channels": 6, "condition_dim": 16, "num_layers": 4, "num_query_tokens": 3},
        DENOISER_INPUT,
    ),
    "transformer_denoiser_in_patches": (
        TransformerDenoiser,
        {
            **SIZES,
            "latent_channels": 6,
            "condition_dim": 16,
            "num_layers": 2,
            "num_query_tokens": 3,
            "patch_size": 2,
            "prompt_modulation": True,
        },
        DENOISER_INPUT,
    ),
    "transformer_denoiser": (
        TransformerDenoiser,
        {**SIZES, "latent_channels": 6, "condition_dim": 16, "num_layers": 2, "num_query_tokens": 3},
        DENOISER_INPUT,
    ),
    "phoneme_aligner": (
        PhonemeAligner,
        {
            "vocab_size": 20,
            "feature_channels": 6,
            "hidden_size": 8,
            "attention_channels": 4,
            "temperature": 0.1,
        },
        {
            "features": randn(2, 6, LONG + 4),
            "input_ids": ids(),
            "feature_mask": mask(SHORT + 3, LONG + 4),
            "attention_mask": mask(SHORT, LONG),
        },
    ),
}
DENOISERS = [name for name in CASES if "denoiser" in name]


def build(name, **config):
    """The model of a case, in evaluation mode; no parameter is zero."""
    model_class, sizes, _ = CASES[name]
    torch.manual_seed(0)
    model = model_class(**{**sizes, **config}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.2)
    return model


def alone(batch, item):
    """One item of a batch, without padding."""
    lengths = {}
    for value in batch.values():
        if value.dtype == torch.bool:
            lengths[value.shape[1]] = int(value[item].sum())
    single = {}
    for key, value in batch.items():
        value = value[item : item + 1]
        for axis in range(1, value.ndim):
            if value.shape[axis] in lengths:
                value = value.narrow(axis, 0, lengths[value.shape[axis]])
        single[key] = value
    return single
