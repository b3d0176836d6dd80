"""Classifier-free guidance: a denoiser with the condition of a batch."""

from __future__ import annotations

from typing import Any

import torch

from ..models.denoiser import DenoiserConditioning


class GuidedDenoiser:
    """Predicts with a guidance scale that may change from step to step.

    Inputs that do not depend on the noisy latents are encoded once, at the first step that needs them.

    Args:
        denoiser: `WaveNetDenoiser` or `TransformerDenoiser`.
        noise_levels: a scheduler of this package, for the ẑ_0 of a denoiser with self-conditioning; otherwise None.
        condition: (B, T, D), or None for unconditional generation.
        prompt_hidden_states, prompt_mask: (B, Tp, D) and (B, Tp) boolean, or None.
        sample_mask: (B, T) boolean, or None if nothing is padded.
        batch_size: B; only needed if condition and prompt are None.
    """

    def __init__(
        self,
        denoiser: Any,
        noise_levels: Any,
        condition: torch.Tensor | None = None,
        prompt_hidden_states: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        sample_mask: torch.Tensor | None = None,
        batch_size: int = 1,
    ):
        self.denoiser, self.noise_levels = denoiser, noise_levels
        self.condition, self.prompt, self.prompt_mask = condition, prompt_hidden_states, prompt_mask
        self.sample_mask, self.batch_size = sample_mask, batch_size
        self._encoded: dict[bool, DenoiserConditioning] = {}
        self._estimate: torch.Tensor | None = None

    def __call__(
        self, sample: torch.Tensor, timestep: torch.Tensor | float, guidance_scale: float = 1.0
    ) -> torch.Tensor:
        """The prediction of the denoiser for z_t (B, C, T) at one timestep: (B, C, T), float32.

        A scale other than 1 runs a doubled batch, with and without the condition (arXiv 2207.12598); a denoiser that
        was distilled for guidance takes the scale as an input instead.
        """
        embeds = self.denoiser.config.guidance_embeds
        doubled = guidance_scale != 1 and not embeds and self.condition is not None
        sample = torch.cat([sample, sample]) if doubled else sample
        sample = sample.to(self.denoiser.dtype)
        mask = self._twice(self.sample_mask) if doubled else self.sample_mask
        if self._estimate is not None and len(self._estimate) != len(sample):
            self._estimate = None
        predicted = self.denoiser(
            sample,
            timestep,
            sample_mask=mask,
            guidance=guidance_scale if embeds else None,
            conditioning=self._conditioning(doubled, mask),
            self_condition=self._estimate,
        ).sample.float()
        if self.denoiser.config.self_conditioning:
            self._estimate = self.noise_levels.predict_original_sample(predicted, timestep, sample)
        if not doubled:
            return predicted
        conditional, unconditional = predicted.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def _conditioning(self, doubled: bool, mask: torch.Tensor | None) -> DenoiserConditioning:
        if doubled not in self._encoded:
            condition, prompt, prompt_mask = (
                self._in_dtype(self.condition),
                self._in_dtype(self.prompt),
                self.prompt_mask,
            )
            if doubled:
                condition, prompt, prompt_mask = (self._twice(each) for each in (condition, prompt, prompt_mask))
                assert condition is not None  # there is no guidance without a condition
                without = torch.arange(len(condition), device=condition.device) >= len(condition) // 2
                condition, prompt = self.denoiser.replace_with_nulls(condition, prompt, without, without)
            self._encoded[doubled] = self.denoiser.encode_conditioning(
                condition, prompt, prompt_mask, batch_size=self.batch_size, sample_mask=mask
            )
        return self._encoded[doubled]

    def _in_dtype(self, states: torch.Tensor | None) -> torch.Tensor | None:
        return None if states is None else states.to(self.denoiser.dtype)

    @staticmethod
    def _twice(tensor: torch.Tensor | None) -> torch.Tensor | None:
        return None if tensor is None else torch.cat([tensor, tensor])
