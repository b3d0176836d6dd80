"""The phoneme encoder: phonemes to hidden states (NaturalSpeech 2, section 3.2 and table 11)."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import AttentionMixin
from torch import nn

from ..masks import mean_over_time
from .compact_weights import CompactModelMixin
from .lora import LoraModelMixin
from .modeling_outputs import EncoderOutput
from .transformer_encoder import TransformerEncoder


class PhonemeEncoder(LoraModelMixin, CompactModelMixin, ConfigMixin, AttentionMixin):
    """A Transformer over phoneme embeddings with convolutional feed-forward layers.

    Args:
        vocab_size: number of symbols of the tokenizer, special ones included.
        hidden_size: D.
        filter_size, kernel_size: width and kernel size of the convolutional feed-forward.
        position_embedding: "rotary" (the paper does not say) or "none".
        prompt_conditioning: whether every norm takes its scale and shift from the mean of the prompt states.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerEncoderBlock"]
    _repeated_blocks = ["TransformerEncoderBlock"]
    _skip_layerwise_casting_patterns = ["norm"]
    _group_offload_block_modules = ["encoder"]

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 227,
        hidden_size: int = 512,
        num_layers: int = 6,
        num_attention_heads: int = 8,
        filter_size: int = 2048,
        kernel_size: int = 9,
        dropout: float = 0.2,
        position_embedding: str = "rotary",
        prompt_conditioning: bool = False,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.encoder = TransformerEncoder(
            hidden_size,
            num_layers,
            num_attention_heads,
            filter_size,
            kernel_size,
            dropout,
            position_embedding,
            adaptive_norm_dim=hidden_size if prompt_conditioning else None,
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        prompt_hidden_states: torch.Tensor | None = None,
        prompt_mask: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> EncoderOutput | tuple[torch.Tensor]:
        """Encode phonemes.

        Args:
            input_ids: (B, N) int64 from the tokenizer.
            attention_mask: (B, N) boolean, True where there is a phoneme.
            prompt_hidden_states: (B, Tp, D) from the prompt encoder; used with `prompt_conditioning`.
            prompt_mask: (B, Tp) boolean.

        Raises:
            ValueError: `prompt_conditioning` is on and no prompt states are given.
        """
        condition = None
        if self.config.prompt_conditioning:
            if prompt_hidden_states is None:
                raise ValueError(
                    "this PhonemeEncoder follows the prompt (prompt_conditioning=True): "
                    "give prompt_hidden_states, the prompt encoder's output."
                )
            condition = mean_over_time(prompt_hidden_states.to(self.dtype), prompt_mask)
        mask = None if attention_mask is None else attention_mask.bool()
        hidden_states = self.encoder(self.embedding(input_ids), mask, condition)
        return EncoderOutput(hidden_states) if return_dict else (hidden_states,)
