"""The training objective of a codec: reconstruction, F0, envelopes, codes and discriminators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from .arguments import option
from .codec_losses import (
    LossBalancer,
    MultiResolutionMelLoss,
    adversarial_loss,
    discriminator_loss,
    envelope_loss,
    feature_matching_loss,
    multi_resolution_stft_loss,
)
from .losses import pitch_loss

# Losses on the waveform, and losses on the other outputs of the codec.
SOUND_LOSSES = ("mel", "stft", "adversarial", "feature_matching")
INNER_LOSSES = ("commitment", "f0", "envelope")


@dataclass
class CodecObjectiveConfig:
    """Weights of the losses and the steps at which they start; the metadata of each field has a `help` text."""

    mel_weight: float = option(1.0, "weight of the log-mel spectrogram loss")
    stft_weight: float = option(0.0, "weight of the STFT loss")
    commitment_weight: float = option(0.25, "weight of the commitment loss, the distance of latents from their codes")
    quantizer_start_step: int = option(0, "step from which latents are quantised")
    envelope_weight: float = option(0.0, "weight of the loss on WORLD's spectral envelope, for a harmonic head")
    f0_weight: float = option(1.0, "weight of the log-F0 loss, for a decoder that predicts F0 (harmonic head)")
    adversarial_weight: float = option(0.0, "weight of the adversarial loss; 0 switches the discriminators off")
    feature_matching_weight: float = option(2.0, "weight of the feature matching loss")
    balance_losses: bool = option(
        False, "scale the losses on audio so that their weights are shares of the gradient norm"
    )
    adversarial_start_step: int = option(0, "step from which the discriminators are used")
    freeze_encoder: bool = option(False, "train the decoder only, so that the codes do not change")
    discriminator_warmup_steps: int = option(
        0, "number of steps at the start of adversarial training in which only the discriminators learn"
    )
    discriminator_interval: int = option(1, "number of codec steps per discriminator step")

    def weight(self, name: str) -> float:
        """The weight of a loss by its name."""
        return getattr(self, f"{name}_weight")


class CodecObjective:
    """The losses of a codec and its discriminators, including their backward passes.

    This is not a module, because two models are trained against each other, each with its own gradient.

    Args:
        accelerator: runs the backward passes.
        bare_codec: the codec before `prepare`.
        codec, discriminator: the prepared models.
        config: weights of the losses.
        start_codebooks: called before latents are quantised for the first time, if the codebooks are untrained; if
            None, the quantiser starts from its first batch.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        bare_codec: Any,
        codec: nn.Module,
        discriminator: nn.Module,
        config: CodecObjectiveConfig,
        start_codebooks: Callable[[], None] | None = None,
    ):
        self.accelerator, self.config, self.start_codebooks = accelerator, config, start_codebooks
        self.bare_codec, self.codec, self.discriminator = bare_codec, codec, discriminator
        self.mel_loss = MultiResolutionMelLoss(bare_codec.sampling_rate).to(accelerator.device)
        self.weights = {name: config.weight(name) for name in SOUND_LOSSES}
        self.balancer = LossBalancer(self.weights) if config.balance_losses else None

    def __call__(self, batch: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        """Losses of a batch from `RandomCrops`, each a scalar; the gradients are added to both models.

        Args:
            batch: `waveform`, `input` (the input of the codec, if it is degraded), `sample_mask`; `f0` and
                `log_envelope` if the codec has a harmonic head.
            step: current training step.
        """
        config = self.config
        if step < config.discriminator_warmup_steps:
            return self.warm_up_discriminators(batch, step)
        adversarial = config.adversarial_weight > 0 and step >= config.adversarial_start_step
        output = self.reconstruct(batch, step)
        # The losses use a copy, so that their gradient can be balanced before it is passed on to the codec.
        made, real = output.waveform.detach().float().requires_grad_(), batch["waveform"]
        losses = {"mel": self.mel_loss(made, real)}
        if config.stft_weight:
            losses["stft"] = multi_resolution_stft_loss(made, real)
        if adversarial:
            with self.accelerator.autocast():
                (real_scores, real_features), (made_scores, made_features) = self.discriminator(real, made)
            losses["adversarial"] = adversarial_loss(made_scores)
            losses["feature_matching"] = feature_matching_loss(real_features, made_features)
        if self.balancer:
            total = self.balancer(losses, made)
        else:
            total = sum(self.weights[name] * loss for name, loss in losses.items())
        (gradient,) = torch.autograd.grad(total, made, retain_graph=adversarial)
        losses |= self.inner_losses(output, batch)
        carried = (output.waveform.float() * gradient).sum()
        inner = sum(config.weight(name) * losses[name] for name in INNER_LOSSES if name in losses)
        self.accelerator.backward(carried + inner)
        if adversarial and step % config.discriminator_interval == 0:
            losses["discriminator"] = discriminator_loss(real_scores, made_scores)
            self.accelerator.backward(losses["discriminator"], inputs=list(self.discriminator.parameters()))
        return losses

    def warm_up_discriminators(self, batch: dict[str, torch.Tensor], step: int) -> dict[str, torch.Tensor]:
        """Train only the discriminators: untrained, they would make the codec worse. Returns their loss."""
        # Without gradients the codebooks do not learn either.
        with torch.no_grad():
            made = self.reconstruct(batch, step).waveform.float()
        with self.accelerator.autocast():
            (real_scores, _), (made_scores, _) = self.discriminator(batch["waveform"], made)
        loss = discriminator_loss(real_scores, made_scores)
        self.accelerator.backward(loss)
        return {"discriminator": loss}

    def reconstruct(self, batch: dict[str, torch.Tensor], step: int):
        """The codec's output for a batch."""
        quantize = step >= self.config.quantizer_start_step
        if quantize and self.start_codebooks is not None and not self.bare_codec.quantizer.initialized:
            self.start_codebooks()
        self.codec.train()
        if self.config.freeze_encoder:
            self.bare_codec.quantizer.eval()
        # The true F0 drives the pulses from the first step; the predicted F0 has its own loss.
        inputs = {"f0": batch["f0"]} if self.bare_codec.takes_f0 else {}
        with self.accelerator.autocast():
            heard = batch.get("input", batch["waveform"])
            return self.codec(heard, batch["sample_mask"], quantize=quantize, **inputs)

    def inner_losses(self, output, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses on the other outputs: codes, F0 and the filters of the decoder."""
        losses = {}
        if output.commitment_loss is not None:
            losses["commitment"] = output.commitment_loss
        if self.bare_codec.takes_f0:
            mask = self.bare_codec.latent_mask(batch["sample_mask"])
            losses["f0"] = pitch_loss(output.log_f0, batch["f0"], mask)
        if self.config.envelope_weight:
            rate = self.bare_codec.sampling_rate
            losses["envelope"] = envelope_loss(output.log_magnitudes, batch["log_envelope"], rate)
        return losses
