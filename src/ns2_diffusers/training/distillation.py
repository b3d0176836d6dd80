"""Training targets of a distilled student, each from several outputs of the teacher.

The methods are progressive distillation (Salimans & Ho, arXiv 2202.00512), guidance distillation before it (Meng et
al., arXiv 2210.03142), and a shorter method for the last stages, consistency distillation (CoMoSpeech, arXiv
2305.06908).

Denoisers are functions of noisy latents z_t (B, C, T) and timesteps (B,) that return the scheduler's
`prediction_type`; `answering` makes such a function from a model. Only `two_step_target` and `ddim_step` depend on the
length of a step. All computation is in float32, whatever the dtype of the denoiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..models.conditioning import encode_condition
from ..models.denoiser import DenoiserConditioning
from ..schedulers.noise_schedules import squared_error_ratio
from .losses import data_loss
from .objective import sample_times

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

WEIGHTINGS = ("truncated_snr", "snr_plus_one")
# Upper limit of the SNR in the weights: above it, rounding errors of bfloat16 would dominate.
MOST_SNR = 100.0


class Target(NamedTuple):
    """A student's inputs and its training target.

    Args:
        noisy: z_t, (B, C, T).
        timesteps: (B,) floats.
        output: (B, C, T), of the scheduler's `prediction_type`.
    """

    noisy: torch.Tensor
    timesteps: torch.Tensor
    output: torch.Tensor


class Utterances(NamedTuple):
    """An encoded batch: latents (B, C, T), condition (B, T, D), prompt states (B, Tp, D)."""

    latents: torch.Tensor
    condition: torch.Tensor
    prompt: torch.Tensor


@torch.no_grad()
def read_batch(pipe, batch: dict[str, torch.Tensor]) -> Utterances:
    """Encode a batch of `PromptCollator` with the encoders of a pipeline, which distillation does not train.

    Durations and pitch are the true ones, because a student only learns to denoise.

    Raises:
        ValueError: the dataset has no durations.
    """
    if "durations" not in batch:
        raise ValueError("the dataset has no durations: align it first, with examples/align_dataset.py.")
    latents = pipe.codec.codes_to_latents(batch["codes"]) * batch["frame_mask"].unsqueeze(1)
    adapted, prompt, _ = encode_condition(
        pipe,
        batch["input_ids"],
        batch["attention_mask"],
        pipe.codec.codes_to_latents(batch["prompt_codes"]),
        batch["prompt_mask"],
        durations=batch["durations"],
        pitch=batch["pitch"],
    )
    return Utterances(latents, adapted.condition, prompt)


def answering(
    denoiser: torch.nn.Module,
    conditioning: DenoiserConditioning,
    sample_mask: torch.Tensor | None = None,
    guidance: torch.Tensor | float | None = None,
) -> Denoise:
    """A denoiser as a function, with its condition (from `encode_conditioning`) and guidance scale filled in."""

    def denoise(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        answer = denoiser(noisy, timesteps, sample_mask=sample_mask, guidance=guidance, conditioning=conditioning)
        return answer.sample.float()

    return denoise


def guided(conditional: Denoise, unconditional: Denoise, scale: torch.Tensor) -> Denoise:
    """Classifier-free guidance of two denoisers; `scale` (B,), 1 is off (w + 1 of arXiv 2210.03142)."""
    scale = scale.reshape(-1, 1, 1)

    def denoise(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        without = unconditional(noisy, timesteps)
        return without + scale * (conditional(noisy, timesteps) - without)

    return denoise


def make_student(
    teacher: Any,
    guidance_range: tuple[float, float] | None = None,
) -> Any:
    """Copy a denoiser for training as a student.

    A new input for guidance has no effect at first, so the student starts as a copy of its teacher. The student of a
    teacher with self-conditioning has none, because few steps leave no earlier estimates to use.

    Args:
        teacher: the denoiser.
        guidance_range: least and greatest scale to train; None keeps that of the teacher.

    Raises:
        ValueError: guidance is requested from a teacher that was never trained without its condition.
    """
    config = {name: value for name, value in teacher.config.items() if not name.startswith("_")}
    state = teacher.state_dict()
    if guidance_range is not None:
        if not teacher.config.learned_nulls:
            raise ValueError(
                "guidance steers away from what the teacher says without text and prompt, which this one never "
                "learned: train it further with condition_dropout, or distill with --guidance_max 1."
            )
        config |= {"guidance_embeds": True, "guidance_range": list(guidance_range)}
    if teacher.config.self_conditioning:
        config["self_conditioning"] = False
        weight, channels = state["proj_in.weight"], teacher.config.latent_channels
        # The channels of each frame in a patch are those of the noisy latents, then those of the estimate.
        state["proj_in.weight"] = weight[:, torch.arange(weight.shape[1]) % (2 * channels) < channels]
    student = type(teacher)(**config)
    if student.load_state_dict(state, strict=False).missing_keys:
        torch.nn.init.zeros_(student.time_embedding.guidance_mlp.linear_2.weight)
        torch.nn.init.zeros_(student.time_embedding.guidance_mlp.linear_2.bias)
    return student.to(teacher.device).eval()


# Steps of the teacher.


def ddim_step(scheduler, original: torch.Tensor, noisy: torch.Tensor, start, end) -> torch.Tensor:
    """z at `end` from ẑ_0 and z at `start`, without new noise; all (B, C, T), timesteps (B,), where -1 is clean."""
    (alpha, sigma), (alpha_end, sigma_end) = _levels(scheduler, start), _levels(scheduler, end)
    return alpha_end * original + sigma_end / sigma * (noisy - alpha * original)


def two_step_target(teacher: Denoise, scheduler, noisy: torch.Tensor, start, middle, end) -> torch.Tensor:
    """The ẑ_0 with which one DDIM step of a student ends where two steps of the teacher end.

    The paper's x̃ = (z'' − (σ''/σ) z) / (α'' − (σ''/σ) α) (arXiv 2202.00512, equation 8 and appendix G) is computed as
    a mean of the teacher's two predictions: x̃ = λ x̂ + (1 − λ) x̂', with
    λ = σ'' (α'σ − ασ') / (σ' (α''σ − ασ'')) between 0 and 1. This avoids cancellation between similar levels and
    division by values that may be zero: at clean data λ is 0, at pure noise all terms are finite.

    Args:
        teacher: the denoiser.
        scheduler: a scheduler of this package.
        noisy: z at `start`, (B, C, T).
        start, middle, end: decreasing timesteps (B,); the last may be -1, clean data.

    Returns: x̃, (B, C, T).
    """
    first = scheduler.predict_original_sample(teacher(noisy, start), start, noisy)
    arrived = ddim_step(scheduler, first, noisy, start, middle)
    second = scheduler.predict_original_sample(teacher(arrived, middle), middle, arrived)
    (alpha, sigma), (alpha1, sigma1), (alpha2, sigma2) = (_levels(scheduler, t) for t in (start, middle, end))
    weight = sigma2 * (alpha1 * sigma - alpha * sigma1) / (sigma1 * (alpha2 * sigma - alpha * sigma2))
    return torch.lerp(second, first, weight.to(second))


def _levels(scheduler, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    alpha, sigma = scheduler.alpha_sigma(timesteps)
    return alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)


# Targets of each method.


def guidance_target(teacher: Denoise, scheduler, latents: torch.Tensor) -> Target:
    """The output of a guided teacher, at any noise level (arXiv 2210.03142, section 3, stage one).

    Args:
        teacher: function from `guided`; the student receives the scale as an input instead.
        latents: clean latents, (B, C, T).
    """
    # Stratified over the batch, because it has few items.
    times = sample_times("stratified", len(latents), latents.device)
    timesteps = times * (scheduler.config.num_train_timesteps - 1)
    noisy = scheduler.add_noise(latents, torch.randn_like(latents), timesteps)
    return Target(noisy, timesteps, teacher(noisy, timesteps))


def halving_target(teacher: Denoise, scheduler, latents: torch.Tensor, num_steps: int) -> Target:
    """Two steps of the teacher as one step of a student of `num_steps` steps (arXiv 2202.00512, algorithm 2)."""
    index = torch.randint(1, num_steps + 1, (len(latents),), device=latents.device)
    start, middle, end = (_timesteps(scheduler, (index - part) / num_steps) for part in (0.0, 0.5, 1.0))
    noisy = scheduler.add_noise(latents, torch.randn_like(latents), start)
    original = two_step_target(teacher, scheduler, noisy, start, middle, end)
    return Target(noisy, start, scheduler.model_output_for(original, start, noisy))


def consistency_target(
    teacher: Denoise, averaged: Denoise, scheduler, latents: torch.Tensor, num_steps: int
) -> Target:
    """The output of the averaged student after one step of the teacher from z_t (arXiv 2305.06908, algorithm 1).

    The teacher takes `num_steps` steps. If its step ends at clean data, the target is that result: the boundary
    condition for which consistency models otherwise need a parametrisation.

    Args:
        teacher: the denoiser that moves along the trajectory.
        averaged: the student with the moving average of its weights.
        latents: clean latents, (B, C, T).
        num_steps: number of steps of the teacher's grid.
    """
    index = torch.randint(1, num_steps + 1, (len(latents),), device=latents.device)
    start, end = (_timesteps(scheduler, (index - part) / num_steps) for part in (0.0, 1.0))
    noisy = scheduler.add_noise(latents, torch.randn_like(latents), start)
    original = scheduler.predict_original_sample(teacher(noisy, start), start, noisy)
    arrived = ddim_step(scheduler, original, noisy, start, end)
    # The student is also evaluated at clean data, to keep one batch; this result is not used.
    asked = end.clamp(min=0)
    consistent = scheduler.predict_original_sample(averaged(arrived, asked), asked, arrived)
    original = torch.where((end < 0).reshape(-1, 1, 1), arrived, consistent)
    return Target(noisy, start, scheduler.model_output_for(original, start, noisy))


def _timesteps(scheduler, times: torch.Tensor) -> torch.Tensor:
    return scheduler.config.num_train_timesteps * times - 1


# Loss


def distillation_weights(snr: torch.Tensor, prediction_type: str, weighting: str = "truncated_snr") -> torch.Tensor:
    """Weights of the squared errors of a prediction (arXiv 2202.00512, section 4).

    For errors of ẑ_0 the weight is max(SNR, 1), `truncated_snr`, or SNR + 1, at most its value at an SNR of 100. An
    error of v is √(SNR + 1) times as large as that of ẑ_0, an error of ε √SNR times. Both weightings include pure
    noise, where SNR is 0 and from where a student of one step starts.

    Args:
        snr: (B,).
        prediction_type: `sample`, `v_prediction` or `epsilon`.
        weighting: one of `WEIGHTINGS`.

    Raises:
        ValueError: the weighting or the prediction type is unknown.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting is {weighting!r}; it must be one of {', '.join(WEIGHTINGS)}.")
    bounded = snr.clamp(max=MOST_SNR)
    weights = bounded.clamp(min=1) if weighting == "truncated_snr" else bounded + 1
    return weights / squared_error_ratio(snr, prediction_type)


def distillation_loss(
    predicted: torch.Tensor, target: Target, scheduler, mask: torch.Tensor, weighting: str = "truncated_snr"
) -> torch.Tensor:
    """Weighted squared error of a student's output (B, C, T) from a target, over the frames of `mask` (B, T)."""
    snr = scheduler.signal_to_noise_ratio(target.timesteps)
    weights = distillation_weights(snr, scheduler.config.prediction_type, weighting)
    return data_loss(predicted, target.output, mask, weights)
