"""The speech prompt encoder: prompt latents to hidden states (NaturalSpeech 2, section 3.3 and table 11)."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from torch import nn

from .compact_weights import CompactModelMixin
from .lora import LoraModelMixin
from .modeling_outputs import EncoderOutput
from .transformer_encoder import TransformerEncoder


class SpeechPromptEncoder(LoraModelMixin, CompactModelMixin, ConfigMixin, AttentionMixin):
    """A Transformer over the codec latents of a few seconds of the target voice.

    Args:
        latent_channels: C of the codec.
        hidden_size: D.
        filter_size, kernel_size: width and kernel size of the convolutional feed-forward.
        position_embedding: "rotary" (the paper does not say) or "none".
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerEncoderBlock"]
    _repeated_blocks = ["TransformerEncoderBlock"]
    _skip_layerwise_casting_patterns = ["norm"]
    _group_offload_block_modules = ["encoder"]

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 256,
        hidden_size: int = 512,
        num_layers: int = 6,
        num_attention_heads: int = 8,
        filter_size: int = 2048,
        kernel_size: int = 9,
        dropout: float = 0.2,
        position_embedding: str = "rotary",
    ):
        super().__init__()
        self.proj_in = nn.Linear(latent_channels, hidden_size)
        self.encoder = TransformerEncoder(
            hidden_size,
            num_layers,
            num_attention_heads,
            filter_size,
            kernel_size,
            dropout,
            position_embedding,
        )

    def forward(
        self,
        prompt_latents: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> EncoderOutput | tuple[torch.Tensor]:
        """Encode `prompt_latents` (B, C, Tp), with `prompt_mask` (B, Tp) True where there is data.

        Raises:
            ValueError: the number of channels of the latents is not that of the model.
        """
        if prompt_latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"prompt latents have shape {tuple(prompt_latents.shape)}; wanted (batch, "
                f"{self.config.latent_channels}, frames): is this the codec the model was trained with?"
            )
        mask = None if prompt_mask is None else prompt_mask.bool()
        hidden_states = self.encoder(self.proj_in(prompt_latents.transpose(1, 2).to(self.dtype)), mask)
        return EncoderOutput(hidden_states) if return_dict else (hidden_states,)
