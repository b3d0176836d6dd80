"""Voice matching: moves latents towards those of a prompt, to restore timbre that the denoiser missed.

A denoiser that was trained on few voices moves an unknown voice towards them. The mean and the covariance of its
latents then differ from those of the prompt. Both can be corrected without knowledge of the text (whitening and
colouring, arXiv 1705.08086, there for images). Part of the remaining difference is corrected with the most similar
frames of the prompt (as in kNN-VC, arXiv 2305.18975, which uses only such frames). Pauses change little: those of a
prompt contain its noise, and pauses that matched its statistics would hum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .voice import VoiceArithmetic

# Shrinkage of the off-diagonal covariances, which a few seconds of speech estimate poorly.
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
        latents: (C, T) generated latents.
        prompt: (C, Tp) latents of the voice.
        silence: (C,) latent frame of silence; frames count and move more, the further they are from it.
        share: how far latents are moved, 0 to 1.

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
    """`match_voice` for each item, with its own share.

    An item with a mix of voices is matched to each voice; the result is the mean weighted by the mix.

    Args:
        latents: (C, T) per item; items with fewer than `enough` frames are moved less, because their statistics are
            uncertain.
        voices: voice of each item.
        silence: (C,).
        shares: share of each item; 0 leaves it unchanged.
        enough: number of frames.
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
    """For each frame (C, T), the mean of the frames of `prompt` (C, Tp) with the largest cosine to it."""
    directions, candidates = (torch.nn.functional.normalize(frames, dim=0) for frames in (latents, prompt))
    similarity = directions.T @ candidates
    chosen = similarity.topk(min(NEAREST, prompt.shape[1]), dim=1).indices
    return prompt[:, chosen].mean(2)


def presence(latents: torch.Tensor, silence: torch.Tensor) -> torch.Tensor:
    """Presence of a voice in each frame of `latents` (C, T): (T,), 0 in pauses, 1 at normal loudness and above."""
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
    """Power of a symmetric positive matrix; computed on the CPU, because some devices have no eigenvalues."""
    values, vectors = torch.linalg.eigh(matrix.cpu())
    return ((vectors * values.clamp(min=LEAST_VARIANCE).pow(exponent)) @ vectors.T).to(matrix.device)
