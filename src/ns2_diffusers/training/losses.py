"""Training losses (NaturalSpeech 2, section 3.2, equations 7 and 8), one function per loss.

Masked means are over the elements that the mask keeps, so padding and the composition of batches have no effect.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.modeling_utils import ModelMixin

from ..masks import masked_mean
from ..schedulers.noise_schedules import squared_error_ratio


def data_loss(
    predicted: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Squared error of latents (B, C, T), over the frames of `mask` (B, T); `weights` (B,) weight the items."""
    return masked_mean((predicted.float() - target.float()) ** 2, mask.unsqueeze(1), weights)


def score_loss(
    predicted_original: torch.Tensor,
    original: torch.Tensor,
    alpha: torch.Tensor,
    sigma: torch.Tensor,
    mask: torch.Tensor,
    max_weight: float = 5.0,
) -> torch.Tensor:
    """Squared error of the score (the second term of equation 8).

    With z = α z₀ + σ ε the score is (α z₀ − z)/σ². Its error is that of ẑ₀ times α²/σ⁴, which grows without bound as
    t → 0 and is clipped.

    Args:
        predicted_original, original: ẑ₀ and z₀, (B, C, T).
        alpha, sigma: (B,).
        max_weight: upper limit of α²/σ⁴.
    """
    weights = (alpha**2 / sigma**4).clamp(max=max_weight)
    return data_loss(predicted_original, original, mask, weights)


def residual_codebook_loss(
    predicted_original: torch.Tensor, codes: torch.Tensor, codebooks: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of ẑ₀ against the codec's codebooks, layer by layer (CE-RVQ, section 3.2).

    Layer j receives the residual of ẑ₀ after the true vectors of the layers before it. The logits are minus the
    distances of the residual to the vectors of the codebook. Each layer is scaled so that its codebook has unit power
    per channel: the residuals of the last layers are so small that distances would not distinguish the vectors.

    Args:
        predicted_original: (B, C, T) standardised latents.
        codes: (B, Q, T) int64.
        codebooks: (Q, K, C), from `standardized_codebooks`.
        mask: (B, T).
    """
    residual = predicted_original.float().transpose(1, 2)[mask]
    total = _CodebookCrossEntropy.apply(residual, codes.transpose(1, 2)[mask], codebooks.float())
    return total / max(1, len(codebooks) * len(residual))


class _CodebookCrossEntropy(torch.autograd.Function):
    """The sum of `residual_codebook_loss` over frames (M, C) with codes (M, Q), and its gradient in the same pass.

    On a CPU it works on pieces that fit into the cache: with autograd, writing the (M, K) distances of every layer and
    everything that follows from them to memory and back took a third of a training step.
    """

    @staticmethod
    def forward(ctx, residual, codes, codebooks):
        frames = 128 if residual.device.type == "cpu" else max(1, len(residual))
        gradient = torch.empty_like(residual)
        total = residual.new_zeros(())
        layers = [(book, book.square().sum(1), book.square().mean().sqrt()) for book in codebooks]
        # Autocast would round the products, and distances are differences of products.
        with torch.autocast(residual.device.type, enabled=False):
            for piece, wanted, out in zip(*(x.split(frames) for x in (residual, codes, gradient)), strict=True):
                out.zero_()
                for (book, power, scale), chosen in zip(layers, wanted.T, strict=True):
                    squares = torch.addmm(power, piece, book.T, alpha=-2).add_(piece.square().sum(1, keepdim=True))
                    distances = squares.clamp_(min=0).sqrt_()
                    log_probs = (distances / -scale).log_softmax(1)
                    total -= log_probs.gather(1, chosen[:, None]).sum()
                    # ∂/∂r of -d/s is (c - r) / (s d). The weight of each vector is its probability, minus 1 if chosen.
                    # Near a vector the direction is only rounding error; the clamp makes the gradient fade out there.
                    weights = log_probs.exp_()
                    weights.scatter_add_(1, chosen[:, None], weights.new_full((len(piece), 1), -1.0))
                    weights /= distances.clamp_(min=1e-3).mul_(scale)
                    out.addmm_(weights, book).sub_(weights.sum(1, keepdim=True) * piece)
                    piece = piece - book[chosen]
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None, None


@torch.no_grad()
def standardized_codebooks(codec: ModelMixin) -> torch.Tensor:
    """The codec's codebooks (Q, K, C) in the space of standardised latents, where they still sum to a latent.

    Standardising subtracts the mean once, not once per layer, so only the first codebook includes it.
    """
    vectors = codec.codebooks.transpose(1, 2)
    standardized = codec.normalize_latents(vectors)
    standardized[1:] -= codec.normalize_latents(torch.zeros_like(vectors[:1, :, :1]))
    return standardized.transpose(1, 2)


def latents_of(codes: torch.Tensor, codebooks: torch.Tensor) -> torch.Tensor:
    """Codes (B, Q, T) to standardised latents (B, C, T), with `standardized_codebooks` (Q, K, C)."""
    vectors = [book[layer] for book, layer in zip(codebooks, codes.unbind(1), strict=True)]
    return torch.stack(vectors).sum(0).transpose(1, 2)


def duration_loss(log_durations: torch.Tensor, durations: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 between predicted log(1 + frames) (B, N) and that of the true `durations` (B, N)."""
    return masked_mean((log_durations.float() - torch.log1p(durations.float())).abs(), mask)


def pitch_loss(log_pitch: torch.Tensor, f0: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 between predicted log F0 (B, T) and that of `f0` (B, T) in Hz, over voiced frames (F0 > 0)."""
    voiced = mask & (f0 > 0)
    return masked_mean((log_pitch.float() - torch.log(f0.clamp(min=1.0))).abs(), voiced)


def min_snr_weights(snr: torch.Tensor, prediction_type: str, gamma: float = 5.0) -> torch.Tensor:
    """Min-SNR weights (arXiv 2303.09556) of `snr` (B,) for a squared error of the prediction.

    Raises:
        ValueError: `prediction_type` is not sample, epsilon or v_prediction.
    """
    return snr.clamp(max=gamma) / squared_error_ratio(snr, prediction_type)


def forward_sum_loss(
    scores: torch.Tensor,
    feature_mask: torch.Tensor,
    attention_mask: torch.Tensor,
    blank_log_prob: float = -1e4,
) -> torch.Tensor:
    """Minus the log-likelihood of all monotonic alignments (arXiv 2108.10447, section 2.2), by CTC.

    Phonemes are the labels 1…N of each item, in order; CTC also requires a blank.

    Args:
        scores: (B, T, N), log-probabilities with the prior, from `PhonemeAligner`.
        feature_mask, attention_mask: (B, T) and (B, N) boolean.
    """
    phonemes = scores.shape[2]
    num_frames, num_phonemes = feature_mask.sum(1), attention_mask.sum(1)
    scores = scores.masked_fill(~attention_mask.bool().unsqueeze(1), -1e4)
    log_probs = F.pad(scores, (1, 0), value=blank_log_prob).log_softmax(-1)
    labels = torch.arange(1, phonemes + 1, device=scores.device).expand(len(scores), -1)
    # The reduction divides by each item's number of phonemes, then averages.
    return F.ctc_loss(
        log_probs.transpose(0, 1), labels, num_frames, num_phonemes, reduction="mean", zero_infinity=True
    )


def binarization_loss(log_probs: torch.Tensor, durations: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Minus the mean log-probability along the hard alignment (arXiv 2108.10447, section 2.3).

    Args:
        log_probs: (B, T, N).
        durations: (B, N) frames of the hard alignment.
        mask: (B, T).
    """
    ends = durations.cumsum(1)
    frames = torch.arange(log_probs.shape[1], device=log_probs.device).expand(len(ends), -1).contiguous()
    owner = torch.searchsorted(ends, frames, right=True).clamp(max=durations.shape[1] - 1)
    return -masked_mean(log_probs.gather(2, owner.unsqueeze(-1)).squeeze(-1), mask)
