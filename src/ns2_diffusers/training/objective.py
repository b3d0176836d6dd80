"""The training objective of the model (NaturalSpeech 2, section 3.2, equation 8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import nn

from ..models.conditioning import encode_condition
from ..schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler
from . import losses
from .alignment import align_batch
from .arguments import option

if TYPE_CHECKING:
    from ..pipelines.pipeline_naturalspeech2 import NaturalSpeech2Pipeline

# The components of a pipeline that are trained.
COMPONENTS = ("phoneme_encoder", "prompt_encoder", "variance_adaptor", "denoiser")
TIMESTEP_SAMPLINGS = ("uniform", "logit_normal", "stratified")


@dataclass
class ObjectiveConfig:
    """Weights of the losses and settings of the random draws; the metadata of each field has a `help` text.

    Args:
        data_weight, score_weight, codebook_weight, duration_weight, pitch_weight, alignment_weight,
            binarization_weight: factors of the losses; the last two are for training with an aligner.
        binarization_warmup_steps: number of steps over which the weight of the binarisation loss rises from 0,
            because hard alignments mean little before the soft ones do (arXiv 2108.10447, section 2.3).
        max_score_weight: upper limit of the score loss's weight of an error in ẑ₀, for t near 0.
        min_snr_gamma: γ of the Min-SNR weights on the data loss; 0 weights all noise levels equally, as in the paper.
        timestep_sampling: "uniform"; "logit_normal", more from the middle (arXiv 2403.03206, section 3.1);
            "stratified", uniform with one timestep in each of B equal parts of the range.
        condition_dropout: probability that an item has neither condition nor prompt, which guidance needs.
        prompt_dropout: probability that it only lacks the prompt.
        self_conditioning: probability that a denoiser with self-conditioning receives its estimate (arXiv 2208.04202).
    """

    data_weight: float = option(1.0, "weight of the data loss, the squared error of the prediction")
    score_weight: float = option(0.0, "weight of the score loss")
    codebook_weight: float = option(0.1, "weight of the cross-entropy over residual codes")
    duration_weight: float = option(1.0, "weight of the duration loss")
    pitch_weight: float = option(1.0, "weight of the pitch loss")
    alignment_weight: float = option(1.0, "weight of the alignment loss (--learn_alignment)")
    binarization_weight: float = option(1.0, "weight of the binarization loss (--learn_alignment)")
    binarization_warmup_steps: int = option(
        1000, "number of steps over which the binarization loss rises to its weight"
    )
    max_score_weight: float = option(
        5.0, "upper bound of the weight that the score loss gives to an error of the clean latents"
    )
    min_snr_gamma: float = option(
        0.0, "gamma of the Min-SNR weights of the data loss; 0 weights all noise levels equally"
    )
    timestep_sampling: str = option("uniform", f"distribution of the noise levels: {', '.join(TIMESTEP_SAMPLINGS)}")
    condition_dropout: float = option(
        0.1, "share of items that are trained without condition and prompt, for guidance"
    )
    prompt_dropout: float = option(0.05, "share of items that are trained without the prompt")
    self_conditioning: float = option(0.5, "share of steps with self-conditioning, for a denoiser that has it")

    def __post_init__(self):
        if self.timestep_sampling not in TIMESTEP_SAMPLINGS:
            raise ValueError(
                f"timestep_sampling is {self.timestep_sampling!r}; it must be one of {', '.join(TIMESTEP_SAMPLINGS)}."
            )


class TrainingObjective(nn.Module):
    """The trained models of a pipeline with their losses: one module to prepare, average and save.

    All random numbers come from torch's global generator: if it is seeded with a batch's `seed`, the losses depend
    only on the batch and the weights.

    Args:
        phoneme_encoder, prompt_encoder, variance_adaptor, denoiser: the models.
        scheduler: any scheduler of this package; provides noise levels and `prediction_type`.
        codebooks: (Q, K, C), `losses.standardized_codebooks(codec)`.
        config: weights and settings of the random draws.
        aligner: a `PhonemeAligner` over the standardised latents; finds the durations of batches without durations.
    """

    def __init__(
        self,
        phoneme_encoder: nn.Module,
        prompt_encoder: nn.Module,
        variance_adaptor: nn.Module,
        denoiser: nn.Module,
        scheduler,
        codebooks: torch.Tensor,
        config: ObjectiveConfig | None = None,
        aligner: nn.Module | None = None,
    ):
        super().__init__()
        self.phoneme_encoder = phoneme_encoder
        self.prompt_encoder = prompt_encoder
        self.variance_adaptor = variance_adaptor
        self.denoiser = denoiser
        self.scheduler = scheduler
        self.config = config or ObjectiveConfig()
        self.aligner = aligner
        self.codebooks: torch.Tensor
        self.register_buffer("codebooks", codebooks, persistent=False)

    @classmethod
    def from_pipeline(
        cls, pipe: NaturalSpeech2Pipeline, config: ObjectiveConfig | None = None, aligner: nn.Module | None = None
    ) -> TrainingObjective:
        """An objective with the models of a pipeline, which are not copied.

        The noise levels are those of the pipeline's scheduler, whatever its sampler.

        Raises:
            ValueError: the pipeline has no text and prompt encoders; it only generates unconditionally.
        """
        missing = [name for name in COMPONENTS if getattr(pipe, name, None) is None]
        if missing:
            raise ValueError(
                f"the pipeline has no {', '.join(missing)}, so there is no text to learn: train it with "
                "examples/train_unconditional.py."
            )
        return cls(
            **{name: getattr(pipe, name) for name in COMPONENTS},
            scheduler=NaturalSpeech2DDIMScheduler.from_config(pipe.scheduler.config),
            codebooks=losses.standardized_codebooks(pipe.codec),
            config=config,
            aligner=aligner,
        )

    def forward(self, batch: dict[str, torch.Tensor], step: int | None = None) -> dict[str, torch.Tensor]:
        """Losses of a batch from `PromptCollator`, each a scalar, and `loss`, their weighted sum. Without `sung`, all
        items are speech.

        Args:
            step: current training step, for losses with a warm-up; None gives them their full weight.

        Raises:
            ValueError: the batch has no durations and there is no aligner.
        """
        latents = self.latents_of(batch["codes"]) * batch["frame_mask"].unsqueeze(1)
        durations, found = batch.get("durations"), {}
        if durations is None:
            durations, found = self._align(latents, batch)
        adapted, prompt, _ = encode_condition(
            self,
            batch["input_ids"],
            batch["attention_mask"],
            self.latents_of(batch["prompt_codes"]),
            batch["prompt_mask"],
            durations=durations,
            pitch=batch["pitch"],
        )
        found |= self._denoising_losses(latents, adapted.condition, prompt, batch)
        # The notes of a song come from elsewhere. Text and voice do not determine them, so they are not trained.
        spoken = ~batch.get("sung", torch.zeros_like(durations[:, 0], dtype=torch.bool)).unsqueeze(1)
        assert adapted.log_durations is not None and adapted.log_pitch is not None
        found["duration"] = losses.duration_loss(adapted.log_durations, durations, batch["attention_mask"] & spoken)
        found["pitch"] = losses.pitch_loss(adapted.log_pitch, batch["f0"], batch["loss_mask"] & spoken)
        found["loss"] = sum(self._weight(name, step) * value for name, value in found.items())
        return found

    def _weight(self, name: str, step: int | None) -> float:
        weight, warmup = getattr(self.config, f"{name}_weight"), self.config.binarization_warmup_steps
        if name == "binarization" and step is not None and step < warmup:
            return weight * step / warmup
        return weight

    def _align(self, latents, batch):
        """Durations (B, N), and the losses of the aligner, whose gradient stops at the latents."""
        if self.aligner is None:
            raise ValueError(
                "the batch has no durations: align the dataset first (examples/align_dataset.py), or train with an "
                "aligner beside the model."
            )
        return align_batch(self.aligner, latents, batch)

    def _denoising_losses(self, latents, condition, prompt, batch):
        config, mask, device = self.config, batch["loss_mask"], latents.device
        drop_condition, drop_prompt = torch.rand(2, len(latents), device=device).unbind()
        drop_condition = drop_condition < config.condition_dropout
        drop_prompt = drop_condition | (drop_prompt < config.prompt_dropout)
        condition, prompt = self.denoiser.replace_with_nulls(condition, prompt, drop_condition, drop_prompt)
        noise = torch.randn_like(latents)
        times = sample_times(config.timestep_sampling, len(latents), device)
        timesteps = times * (self.scheduler.config.num_train_timesteps - 1)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        inputs = {"sample_mask": batch["frame_mask"], "prompt_mask": batch["prompt_mask"]}
        if self.denoiser.config.self_conditioning and torch.rand(()) < config.self_conditioning:
            # Not under no_grad: autocast would cache the weights that are cast there, without gradients.
            first = self.denoiser(noisy, timesteps, condition, prompt, **inputs).sample.detach()
            inputs["self_condition"] = self.scheduler.predict_original_sample(first, timesteps, noisy)
        predicted = self.denoiser(noisy, timesteps, condition, prompt, **inputs).sample

        wanted = self.scheduler.training_target(latents, noise, timesteps)
        weights = None
        if config.min_snr_gamma:
            snr = self.scheduler.signal_to_noise_ratio(timesteps)
            weights = losses.min_snr_weights(snr, self.scheduler.config.prediction_type, config.min_snr_gamma)
        found = {"data": losses.data_loss(predicted, wanted, mask, weights)}
        original = self.scheduler.predict_original_sample(predicted, timesteps, noisy)
        if config.score_weight:
            alpha, sigma = self.scheduler.alpha_sigma(timesteps)
            found["score"] = losses.score_loss(original, latents, alpha, sigma, mask, config.max_score_weight)
        if config.codebook_weight:
            found["codebook"] = losses.residual_codebook_loss(original, batch["codes"], self.codebooks, mask)
        return found

    def latents_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, Q, T) to standardised latents (B, C, T)."""
        return losses.latents_of(codes, self.codebooks)


def sample_times(sampling: str, batch_size: int, device: torch.device) -> torch.Tensor:
    """Draw times (B,) in [0, 1); see `ObjectiveConfig.timestep_sampling`."""
    if sampling == "logit_normal":
        return compute_density_for_timestep_sampling(
            sampling, batch_size, logit_mean=0.0, logit_std=1.0, device=device
        )
    times = torch.rand(batch_size, device=device)
    if sampling == "stratified":
        # Shuffled, so that no part of the range belongs to a position in the batch.
        times = (torch.randperm(batch_size, device=device) + times) / batch_size
    return times
