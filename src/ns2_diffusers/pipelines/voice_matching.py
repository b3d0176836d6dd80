"""Voice matching: move latents towards those of a prompt, to add what the denoiser missed of its timbre.

A denoiser that has heard few voices draws an unknown one towards those. Its latents then have another mean and other
covariances than the prompt's, and both can be set right without knowing what is said (whitening and colouring, arXiv
1705.08086, there of pictures). What is left is taken in part from the prompt's own frames that are most like it (as
kNN-VC does, arXiv 2305.18975, there in whole). Pauses stay nearly as they are: a prompt's are full of its noise, and
to its statistics they would hum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .voice import VoiceArithmetic

# Shrinkage of the off-diagonal covariances, which a few seconds estimate poorly.
SHRINKAGE = 0.5
# Number of nearest prompt frames per frame, and the weight of their mean.
NEAREST, NEAREST_SHARE = 4, 0.3
LEAST_VARIANCE = 1e-4
# Fractions of the RMS distance from silence: frames below the first are pauses, above the second speech.
PAUSE, VOICE = 0.5, 1.0


def match_voice(
    latents: torch.Tensor, prompt: torch.Tensor, silence: torch.Tensor, share: float = 1.0
) -> torch.Tensor:
    """Move latents towards the statistics and the frames of a prompt.

    Args:
        latents: (C, T) of what was generated.
        prompt: (C, Tp) of the voice.
        silence: (C,) what a frame of silence is; the further a frame is from it, the more it counts and moves.
        share: of the way, 0 to 1.

    Returns: (C, T) float32.
    """
    latents, prompt = latents.float(), prompt.to(latents.device).float()
    silence = silence.to(latents)
    matched = colour(latents, prompt, silence)
    matched = torch.lerp(matched, nearest(matched, prompt), NEAREST_SHARE)
    return torch.lerp(latents, matched, share * presence(latents, silence))


def match_voices(
    latents: list[torch.Tensor],
    voices: Sequence[VoiceArithmetic],
    silence: torch.Tensor,
    shares: list[float],
    enough: float,
) -> list[torch.Tensor]:
    """`match_voice` of each item, by its own share.

    An item in a mix of voices is matched to each of them; the result is the mean of these by the weights of the mix.

    Args:
        latents: (C, T) per item; an item of fewer than `enough` frames is moved less far: a word has few statistics.
        voices: of each item.
        silence: (C,).
        shares: 0 leaves an item as it is.
        enough: frames.
    """
    shares = [share * min(1.0, item.shape[1] / enough) for share, item in zip(shares, latents, strict=True)]
    return [
        _match_parts(item, voice, silence, share) if share else item
        for item, voice, share in zip(latents, voices, shares, strict=True)
    ]


def _match_parts(latents: torch.Tensor, voice: VoiceArithmetic, silence: torch.Tensor, share: float) -> torch.Tensor:
    matched = [match_voice(latents, part.latents, silence, share) for _, part in voice.parts]
    if len(matched) == 1:
        return matched[0]
    return (torch.stack(matched) * torch.tensor(voice.weights).to(matched[0]).reshape(-1, 1, 1)).sum(0)


def colour(latents: torch.Tensor, prompt: torch.Tensor, silence: torch.Tensor) -> torch.Tensor:
    """`latents` (C, T) with the mean and the covariance of `prompt` (C, Tp)."""
    mean, covariance = _statistics(latents, silence)
    wanted_mean, wanted = _statistics(prompt, silence)
    return _power(wanted, 0.5) @ _power(covariance, -0.5) @ (latents - mean) + wanted_mean


def nearest(latents: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
    """For each frame (C, T) the mean of those of `prompt` (C, Tp) whose cosine to it is largest."""
    directions, candidates = (torch.nn.functional.normalize(frames, dim=0) for frames in (latents, prompt))
    similarity = directions.T @ candidates
    chosen = similarity.topk(min(NEAREST, prompt.shape[1]), dim=1).indices
    return prompt[:, chosen].mean(2)


def presence(latents: torch.Tensor, silence: torch.Tensor) -> torch.Tensor:
    """How much of a voice each frame of `latents` (C, T) has: (T,), 0 of a pause, 1 where it is as loud as most."""
    distance = (latents - silence[:, None]).norm(dim=0)
    level = distance / distance.square().mean().sqrt().clamp(min=1e-8)
    return ((level - PAUSE) / (VOICE - PAUSE)).clamp(0, 1)


def _statistics(latents: torch.Tensor, silence: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (C, 1) and shrunk covariance (C, C), each frame weighted by its squared distance from silence."""
    weight = (latents - silence[:, None]).square().sum(0)
    weight = weight / weight.sum().clamp(min=1e-8)
    mean = (weight * latents).sum(1, keepdim=True)
    centred = latents - mean
    covariance = (weight * centred) @ centred.T
    return mean, torch.lerp(covariance, covariance.diag().diag(), SHRINKAGE)


def _power(matrix: torch.Tensor, exponent: float) -> torch.Tensor:
    """Of a symmetric, positive matrix; on the CPU, as not every device knows eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix.cpu())
    return ((vectors * values.clamp(min=LEAST_VARIANCE).pow(exponent)) @ vectors.T).to(matrix.device)
