"""What a training step computes (NaturalSpeech 2, section 3.2, equation 8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from . import losses


@dataclass
class ObjectiveConfig:
    """Weights of the losses and what is left out at random.

    Args:
        data_weight, score_weight, codebook_weight, duration_weight, pitch_weight: factors of the losses.
        min_snr_gamma: γ of the Min-SNR weights on the data loss; 0 weighs all noise levels alike, as the paper does.
        condition_dropout: probability that an item goes without condition and without prompt, which
            guidance needs.
        prompt_dropout: probability that it goes without the prompt alone.
    """

    data_weight: float = 1.0
    score_weight: float = 0.0
    codebook_weight: float = 0.1
    duration_weight: float = 1.0
    pitch_weight: float = 1.0
    min_snr_gamma: float = 0.0
    condition_dropout: float = 0.1
    prompt_dropout: float = 0.05


class TrainingObjective(nn.Module):
    """The trained models of a pipeline with their losses: one module to prepare, average and save.

    Args:
        phoneme_encoder, prompt_encoder, variance_adaptor, denoiser: the models.
        scheduler: any of this package's; gives noise levels and `prediction_type`.
        codebooks: (Q, K, C), `losses.standardized_codebooks(codec)`.
        config: weights and dropouts.
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
    ):
        super().__init__()
        self.phoneme_encoder = phoneme_encoder
        self.prompt_encoder = prompt_encoder
        self.variance_adaptor = variance_adaptor
        self.denoiser = denoiser
        self.scheduler = scheduler
        self.config = config or ObjectiveConfig()
        self.register_buffer("codebooks", codebooks, persistent=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses of a batch of `PromptCollator`, each a scalar, and `loss`, their weighted sum."""
        config = self.config
        latents = self.latents_of(batch["codes"]) * batch["frame_mask"].unsqueeze(1)
        prompt_mask = batch["prompt_mask"]
        prompt = self.prompt_encoder(self.latents_of(batch["prompt_codes"]), prompt_mask)
        prompt = prompt.last_hidden_state
        phonemes = self.phoneme_encoder(batch["input_ids"], batch["attention_mask"], prompt, prompt_mask)
        adapted = self.variance_adaptor(
            phonemes.last_hidden_state,
            batch["attention_mask"],
            prompt,
            prompt_mask,
            durations=batch["durations"],
            pitch=batch["pitch"],
        )
        found = self._denoising_losses(latents, adapted.condition, prompt, batch)
        found["duration"] = losses.duration_loss(adapted.log_durations, batch["durations"], batch["attention_mask"])
        found["pitch"] = losses.pitch_loss(adapted.log_pitch, batch["f0"], batch["frame_mask"])
        found["loss"] = sum(getattr(config, f"{name}_weight") * value for name, value in found.items())
        return found

    def _denoising_losses(self, latents, condition, prompt, batch):
        config, mask = self.config, batch["frame_mask"]
        drop_condition = self._draw(latents) < config.condition_dropout
        drop_prompt = drop_condition | (self._draw(latents) < config.prompt_dropout)
        condition, prompt = self.denoiser.replace_with_nulls(condition, prompt, drop_condition, drop_prompt)
        noise = torch.randn_like(latents)
        timesteps = self._draw(latents) * (self.scheduler.config.num_train_timesteps - 1)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        predicted = self.denoiser(
            noisy, timesteps, condition, prompt, sample_mask=mask, prompt_mask=batch["prompt_mask"]
        ).sample

        kind = self.scheduler.config.prediction_type
        wanted = self._target(kind, latents, noise, timesteps)
        weights = None
        if config.min_snr_gamma:
            snr = self.scheduler.signal_to_noise_ratio(timesteps)
            weights = losses.min_snr_weights(snr, kind, config.min_snr_gamma)
        found = {"data": losses.data_loss(predicted, wanted, mask, weights)}
        original = self.scheduler.predict_original_sample(predicted, timesteps, noisy)
        if config.score_weight:
            alpha, sigma = self.scheduler.alpha_sigma(timesteps)
            found["score"] = losses.score_loss(original, latents, alpha, sigma, mask)
        if config.codebook_weight:
            found["codebook"] = losses.residual_codebook_loss(original, batch["codes"], self.codebooks, mask)
        return found

    def latents_of(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (B, Q, T) to standardised latents (B, C, T)."""
        vectors = [book[layer] for book, layer in zip(self.codebooks, codes.unbind(1), strict=True)]
        return torch.stack(vectors).sum(0).transpose(1, 2)

    def _target(self, kind, latents, noise, timesteps):
        if kind == "sample":
            return latents
        return noise if kind == "epsilon" else self.scheduler.get_velocity(latents, noise, timesteps)

    @staticmethod
    def _draw(latents: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(latents), device=latents.device)
