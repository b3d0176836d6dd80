"""Generates audio from noise with the codec and the denoiser, without text and prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from ..models.transformer_denoiser import TransformerDenoiser
from ..models.wavenet_denoiser import WaveNetDenoiser
from ..registration import register_components
from .changes import speaks
from .inputs import MOST_ITEMS, check_components_fit, check_number, check_seconds, draw_seeds, per_text_latents
from .latent_diffusion import LatentDiffusionMixin
from .loading import CheckedLoadingMixin
from .model_card import ModelCardMixin
from .pipeline_output import NaturalSpeech2PipelineOutput

register_components()


class NaturalSpeech2UnconditionalPipeline(
    LatentDiffusionMixin, ModelCardMixin, CheckedLoadingMixin, DiffusionPipeline
):
    """Unconditional generation by latent diffusion: the right half of figure 1.

    `NaturalSpeech2UnconditionalPipeline.from_pipe(pipe)` makes one of a text-to-speech pipeline, if its denoiser was
    also trained without condition.

    Args:
        codec: converts waveforms to latents and back, e.g. `VocosCodec` or `EncodecCodec`.
        denoiser: `WaveNetDenoiser` or `TransformerDenoiser`.
        scheduler: a scheduler of this package, or one of diffusers made from its config.
        default_num_inference_steps: used where a call gives None.
        max_utterance_seconds: maximum duration of all items of a call together; more raises an error before memory is
            used.
    """

    _card_summary = "audio from noise alone, without text and prompt"
    _card_example = "audio_length_in_s=4.0"
    model_cpu_offload_seq = "denoiser->codec"

    def __init__(
        self,
        codec: VocosCodec | EncodecCodec,
        denoiser: WaveNetDenoiser | TransformerDenoiser,
        scheduler: SchedulerMixin,
        default_num_inference_steps: int = 32,
        max_utterance_seconds: float = 600.0,
    ):
        super().__init__()
        check_components_fit(codec, denoiser)
        self.register_modules(codec=codec, denoiser=denoiser, scheduler=scheduler)
        wanted = "seconds, above 0 and at most 36000"
        check_number("max_utterance_seconds", max_utterance_seconds, wanted, above=0.0, most=36000.0)
        self.register_to_config(
            default_num_inference_steps=default_num_inference_steps, max_utterance_seconds=max_utterance_seconds
        )

    @speaks
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        num_inference_steps: int | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        audio_length_in_s: float = 2.0,
        *,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
        temperature: float | None = None,
        eta: float = 0.0,
        latents: Any = None,
        limiter: bool = True,
        loudness: float | None = None,
        watermark: bool = False,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> NaturalSpeech2PipelineOutput | tuple:
        """Generate audio from noise.

        Args:
            batch_size: number of items.
            num_inference_steps: number of steps of the scheduler; the pipeline's default if None.
            generator: one for all items, or one per item; an item then does not depend on its batch.
            audio_length_in_s: seconds of each item; sampling uses whole latent frames, the audio is then cut.
            latents: unit noise (B, C, T) to start from.

        All other arguments are those of `NaturalSpeech2Pipeline.__call__`.

        Returns:
            `NaturalSpeech2PipelineOutput` with `audios` and `sampling_rate`, or a tuple if `return_dict` is False.

        Raises:
            TypeError, ValueError: invalid input; the message says what is expected.
        """
        settings = self.check_sampling(
            num_inference_steps,
            timesteps,
            sigmas,
            1.0,
            temperature,
            eta,
            output_type,
            callback_on_step_end,
            callback_on_step_end_tensor_inputs,
            limiter,
            loudness,
            watermark,
        )
        wanted = f"a whole number from 1 to {MOST_ITEMS}"
        check_number("batch_size", batch_size, wanted, least=1, most=MOST_ITEMS, whole=True)
        check_number("audio_length_in_s", audio_length_in_s, "a number of seconds above 0", above=0.0)
        check_seconds("the items", batch_size * float(audio_length_in_s), self.config.max_utterance_seconds)
        samples = max(1, round(audio_length_in_s * self.sampling_rate))
        frames = [self.codec.latent_length(samples)] * batch_size
        given = per_text_latents(latents, batch_size)
        generators = [torch.Generator().manual_seed(seed) for (seed,) in draw_seeds(generator, [1] * batch_size)]

        scheduler = self.prepare_scheduler(settings)
        noise = self.prepare_latents(frames, generators, scheduler, settings.temperature, given)
        audios = list(self.denoise(noise, scheduler, settings, generators, frames))
        if output_type != "latent":
            audios = [self.finish_audio(audio[..., :samples], settings) for audio in self.decode_latents(audios)]
        self.maybe_free_model_hooks()
        audios = [audio.numpy() for audio in audios] if output_type == "np" else audios
        output = NaturalSpeech2PipelineOutput(audios, self.sampling_rate)
        return output if return_dict else output.to_tuple()
