"""Voice matching with NumPy; `pipelines.voice_matching` explains the method."""

from __future__ import annotations

import numpy as np

# The same as in pipelines.voice_matching; a test compares the two.
SHRINKAGE = 0.5
NEAREST, NEAREST_SHARE = 4, 0.3
LEAST_VARIANCE = 1e-4
PAUSE, VOICE = 0.5, 1.0


def match_voice(latents: np.ndarray, prompt: np.ndarray, silence: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Move latents (C, T) towards the statistics and the frames of a prompt (C, Tp), given a frame of silence (C,)."""
    matched = colour(latents, prompt, silence)
    matched = matched + np.float32(NEAREST_SHARE) * (nearest(matched, prompt) - matched)
    return latents + np.float32(share) * presence(latents, silence) * (matched - latents)


def colour(latents: np.ndarray, prompt: np.ndarray, silence: np.ndarray) -> np.ndarray:
    """`latents` (C, T) with the mean and the covariance of `prompt` (C, Tp)."""
    mean, covariance = _statistics(latents, silence)
    wanted_mean, wanted = _statistics(prompt, silence)
    return _power(wanted, 0.5) @ _power(covariance, -0.5) @ (latents - mean) + wanted_mean


def nearest(latents: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """For each frame (C, T), the mean of the frames of `prompt` (C, Tp) with the largest cosine to it."""
    directions, candidates = (
        frames / np.maximum(np.linalg.norm(frames, axis=0), 1e-12) for frames in (latents, prompt)
    )
    count = min(NEAREST, prompt.shape[1])
    chosen = np.argpartition(-(directions.T @ candidates), count - 1, axis=1)[:, :count]
    return prompt[:, chosen].mean(2)


def presence(latents: np.ndarray, silence: np.ndarray) -> np.ndarray:
    """Presence of a voice in each frame of `latents` (C, T): (T,), 0 in pauses, 1 at normal loudness and above."""
    distance = np.linalg.norm(latents - silence[:, None], axis=0)
    level = distance / max(float(np.sqrt(np.square(distance).mean())), 1e-8)
    return ((level - PAUSE) / (VOICE - PAUSE)).clip(0, 1).astype(np.float32)


def _statistics(latents: np.ndarray, silence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (C, 1) and shrunk covariance (C, C), each frame weighted by its squared distance from silence."""
    weight = np.square(latents - silence[:, None]).sum(0)
    weight = weight / max(float(weight.sum()), 1e-8)
    mean = (weight * latents).sum(1, keepdims=True)
    centred = latents - mean
    covariance = (weight * centred) @ centred.T
    return mean, covariance + np.float32(SHRINKAGE) * (np.diag(np.diag(covariance)) - covariance)


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, LEAST_VARIANCE) ** exponent) @ vectors.T
