"""Prior probabilities of phonemes per frame, for training the aligner (arXiv 2108.10447, section 2.2.2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch


def elapsed_speech(f0: torch.Tensor, longest_gap: int = 8) -> np.ndarray:
    """Cumulative amount of speech at the end of each frame, (T,), in frames; pauses add almost nothing.

    A pause is a run of more than `longest_gap` unvoiced frames, without the half of `longest_gap` next to voiced
    frames, because consonants are there. Phonemes are spread evenly over speech, not over time. A prior that counts
    only speech is therefore much more accurate where recordings begin or end in silence.

    Args:
        f0: (T,) Hz, 0 where unvoiced.
    """
    voiced = np.flatnonzero(f0.cpu().numpy() > 0)
    edges = np.concatenate([[-1], voiced, [len(f0)]])
    speech = np.ones(len(f0))
    for before, after in zip(edges[:-1], edges[1:], strict=True):
        if after - before - 1 > longest_gap:
            begin = before + 1 + (longest_gap // 2 if before >= 0 else 0)
            end = after - (longest_gap // 2 if after < len(f0) else 0)
            speech[begin:end] = 0.02
    # Without voiced frames there is no estimate, so time is used.
    return np.arange(1.0, len(f0) + 1) if len(voiced) == 0 else speech.cumsum()


def alignment_priors(num_phonemes: Iterable[int], f0: Iterable[torch.Tensor]) -> torch.Tensor:
    """Beta-binomial priors over elapsed speech, padded with zeros: (B, T, N) probabilities.

    Args:
        num_phonemes: number of symbols of each item.
        f0: (T,) of each item, Hz.
    """
    priors = [beta_binomial_prior(n, elapsed_speech(item)) for n, item in zip(num_phonemes, f0, strict=True)]
    padded = torch.zeros(len(priors), max(len(p) for p in priors), max(p.shape[1] for p in priors))
    for row, prior in zip(padded, priors, strict=True):
        row[: prior.shape[0], : prior.shape[1]] = prior
    return padded


def beta_binomial_prior(num_phonemes: int, frames: int | np.ndarray, scaling: float = 1.0) -> torch.Tensor:
    """Probability of each phoneme in each frame, (T, num_phonemes), near the diagonal.

    Frame t of T has the beta-binomial distribution with α = ω t, β = ω (T − t + 1) over the N phonemes
    (arXiv 2108.10447, section 2.2.2); `scaling` is ω.

    Args:
        frames: T, or the value of t at the end of each frame, (T,) rising; see `elapsed_speech`.
    """
    t = np.arange(1, frames + 1) if isinstance(frames, int) else np.asarray(frames)
    t, total = t[:, None], t[-1]
    k = np.arange(num_phonemes)
    alpha, beta = scaling * t, scaling * (total - t + 1)
    n = num_phonemes - 1
    log_choose = _log_gamma(n + 1) - _log_gamma(k + 1) - _log_gamma(n - k + 1)
    log_prob = log_choose + _log_beta(k + alpha, n - k + beta) - _log_beta(alpha, beta)
    return log_prob.exp().float()


def _log_gamma(values: int | np.ndarray) -> torch.Tensor:
    return torch.lgamma(torch.as_tensor(values, dtype=torch.float64))


def _log_beta(a: np.ndarray, b: np.ndarray) -> torch.Tensor:
    return _log_gamma(a) + _log_gamma(b) - _log_gamma(a + b)
