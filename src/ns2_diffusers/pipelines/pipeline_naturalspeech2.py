"""Text to speech with the voice of a recording (NaturalSpeech 2, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from ..arrays import as_array
from ..audio.loading import AudioInput
from ..audio.prompts import load_prompt
from ..masks import pad, pad_batch, padding_mask
from ..models import conditioning
from ..models.codecs.encodec_codec import EncodecCodec
from ..models.codecs.vocos_codec import VocosCodec
from ..models.modeling_outputs import VarianceAdaptorOutput
from ..models.phoneme_encoder import PhonemeEncoder
from ..models.speech_prompt_encoder import SpeechPromptEncoder
from ..models.transformer_denoiser import TransformerDenoiser
from ..models.variance_adaptor import VarianceAdaptor
from ..models.wavenet_denoiser import WaveNetDenoiser
from ..registration import register_components
from ..text.tokenizer import NaturalSpeech2Tokenizer
from . import style
from .changes import speaks
from .conversion import ConversionMixin
from .inputs import MOST_ITEMS, check_components_fit, check_number, draw_seeds, frame_pitch
from .latent_diffusion import LatentDiffusionMixin
from .loading import CheckedLoadingMixin
from .lora import LoraMixin
from .model_card import ModelCardMixin
from .pipeline_output import NaturalSpeech2PipelineOutput
from .sampling import SamplingSettings
from .speaking import MATCHING_SECONDS, SpeakingMixin
from .streaming import Part
from .utterances import JoinedUtterances, SpokenUtterance, Utterance
from .voice import Voice, VoiceMix
from .voice_matching import match_voices

register_components()


class EncodedUtterances(NamedTuple):
    """The conditioning of the denoiser for one batch.

    Args:
        prompt, prompt_mask: (B, Tp, D) and (B, Tp); the mask is None if no prompt is padded.
        durations: (B, N) latent frames.
        pitch: (B, T) Hz.
        condition: (B, T, D).
    """

    prompt: torch.Tensor
    prompt_mask: torch.Tensor | None
    durations: torch.Tensor
    pitch: torch.Tensor
    condition: torch.Tensor


class NaturalSpeech2Pipeline(
    ConversionMixin,
    SpeakingMixin,
    LatentDiffusionMixin,
    LoraMixin,
    ModelCardMixin,
    CheckedLoadingMixin,
    DiffusionPipeline,
):
    """Zero-shot text to speech by latent diffusion (NaturalSpeech 2, arXiv 2304.09116).

    The methods follow the order of figure 1: `encode_voice` (the codec's encoder, 3.1), `encode_prompt` (3.3),
    `encode_text` (phonemes to durations to pitch to frames, 3.2), `prepare_latents`, `denoise` (the reverse process,
    3.2) and `decode_latents` (the codec's decoder, 3.1); the last three are those of `LatentDiffusionMixin`.

    Args:
        codec: converts waveforms to latents and back, e.g. `VocosCodec` or `EncodecCodec`.
        denoiser: `WaveNetDenoiser` or `TransformerDenoiser`.
        scheduler: a scheduler of this package, or one of diffusers made from its config.
        tokenizer, phoneme_encoder, prompt_encoder, variance_adaptor: components that read the text and the prompt.
        max_prompt_seconds: duration of a prompt that the encoders use, from its beginning.
        max_voice_seconds: duration of a recording that a voice keeps for `voice_matching`, if that is longer.
        min_prompt_seconds: minimum duration of a recording; shorter ones are refused.
        default_num_inference_steps, default_guidance_scale, default_voice_matching: used where a call gives None.
        max_batch_size: sentences per batch. Further batches follow; the size only affects memory and speed.
        max_utterance_seconds: maximum duration of a sentence or song; longer ones raise an error at once.
        word_delay_seconds: how much later words begin in the learned durations than in the audio; word times are
            corrected by it.
    """

    _card_summary = "zero-shot speech from a few seconds of a voice"
    _card_example = '"Any text at all.", prompt_audio="voice.wav"'
    _card_task = "text-to-speech"
    model_cpu_offload_seq = "prompt_encoder->phoneme_encoder->variance_adaptor->denoiser->codec"

    def __init__(
        self,
        codec: VocosCodec | EncodecCodec,
        denoiser: WaveNetDenoiser | TransformerDenoiser,
        scheduler: SchedulerMixin,
        tokenizer: NaturalSpeech2Tokenizer,
        phoneme_encoder: PhonemeEncoder,
        prompt_encoder: SpeechPromptEncoder,
        variance_adaptor: VarianceAdaptor,
        max_prompt_seconds: float = 10.0,
        max_voice_seconds: float = 30.0,
        min_prompt_seconds: float = 0.5,
        default_num_inference_steps: int = 32,
        default_guidance_scale: float = 1.0,
        default_voice_matching: float = 0.0,
        max_batch_size: int = 16,
        max_utterance_seconds: float = 300.0,
        word_delay_seconds: float = 0.0,
    ):
        super().__init__()
        readers = {
            "tokenizer": tokenizer,
            "phoneme_encoder": phoneme_encoder,
            "prompt_encoder": prompt_encoder,
            "variance_adaptor": variance_adaptor,
        }
        if missing := [name for name, part in readers.items() if part is None]:
            raise ValueError(
                f"the pipeline got no {', '.join(missing)}: to speak it needs {', '.join(readers)}. To generate "
                "without text, use NaturalSpeech2UnconditionalPipeline."
            )
        check_components_fit(codec, denoiser, **readers)
        # The values may come from an untrusted file.
        for name, value in (
            ("max_prompt_seconds", max_prompt_seconds),
            ("max_voice_seconds", max_voice_seconds),
            ("min_prompt_seconds", min_prompt_seconds),
            ("max_utterance_seconds", max_utterance_seconds),
        ):
            check_number(name, value, "seconds, above 0 and at most 3600", above=0.0, most=3600.0)
        check_number("word_delay_seconds", word_delay_seconds, "seconds from -1 to 1", least=-1.0, most=1.0)
        wanted = f"a whole number from 1 to {MOST_ITEMS}"
        check_number("max_batch_size", max_batch_size, wanted, least=1, most=MOST_ITEMS, whole=True)
        self.register_modules(codec=codec, denoiser=denoiser, scheduler=scheduler, **readers)
        self.register_to_config(
            max_prompt_seconds=max_prompt_seconds,
            max_voice_seconds=max_voice_seconds,
            min_prompt_seconds=min_prompt_seconds,
            default_num_inference_steps=default_num_inference_steps,
            default_guidance_scale=default_guidance_scale,
            default_voice_matching=default_voice_matching,
            max_batch_size=max_batch_size,
            max_utterance_seconds=max_utterance_seconds,
            word_delay_seconds=word_delay_seconds,
        )

    @torch.no_grad()
    def _encode_recording(self, audio: AudioInput, sampling_rate: int | None) -> torch.Tensor:
        """Quantised latents (C, T) of a recording, float32 on the CPU."""
        kept = max(self.config.max_voice_seconds, self.config.max_prompt_seconds)
        options = (self.sampling_rate, self.config.min_prompt_seconds, kept)
        samples, _ = load_prompt(audio, sampling_rate, *options)
        waveform = torch.from_numpy(samples)
        channels = waveform.expand(1, self.codec.channels, -1).to(self._execution_device, self.codec.dtype)
        latents, _ = self.codec.quantize(self.codec.encode(channels))
        self.maybe_free_model_hooks()
        return latents[0].float().cpu()

    def _codec_state(self) -> Any:
        weights = [*self.codec.parameters(), *self.codec.buffers()]
        if any(each.is_meta or each.is_inference() for each in weights):
            return None
        # `_version` counts in-place changes. Changes through `.data` make new tensors, except in-place ones of it.
        return tuple((each.data_ptr(), each._version, each.dtype) for each in weights), id(self.codec)

    def encode_prompt(self, voices: Sequence[Voice | VoiceMix]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Encode voices to prompt states (the speech prompt encoder, section 3.3).

        Each recording of a voice is encoded separately; the states are concatenated.

        Args:
            voices: B voices; `max_prompt_seconds` of each recording are used.

        Returns: (B, Tp, D), and their mask (B, Tp), which is None if all have the same length.
        """
        if len(voices) > 1 and all(voice is voices[0] for voice in voices):
            states, mask = self.encode_prompt(voices[:1])
            return states.expand(len(voices), -1, -1), None if mask is None else mask.expand(len(voices), -1)
        heard = math.ceil(self.config.max_prompt_seconds * self.codec.frame_rate)
        recordings = [voice.heard(heard) for voice in voices]
        latents, mask = pad_batch([each.T for own in recordings for each in own])
        mask = None if mask is None else mask.to(self._execution_device)
        latents = latents.transpose(1, 2).to(self._execution_device)
        states = conditioning.encode_prompt(self, latents, mask)
        if len(states) == len(voices):
            return states, mask
        rows = iter(states)
        joined = [torch.cat([next(rows)[: each.shape[1]] for each in own]) for own in recordings]
        kept = [torch.from_numpy(voice.kept(heard)).to(states.device) for voice in voices]
        states, mask = pad_batch([each[chosen] for each, chosen in zip(joined, kept, strict=True)])
        return states, None if mask is None else mask.to(states.device)

    def encode_text(
        self,
        input_ids: Sequence[Any],
        prompt_hidden_states: torch.Tensor,
        prompt_mask: torch.Tensor | None = None,
        *,
        durations: Sequence[Any] | None = None,
        pitch: Sequence[Any] | None = None,
        speaking_rate: Any = 1.0,
        pitch_shift: Any = 0.0,
        pitch_range: Any = 1.0,
    ) -> VarianceAdaptorOutput:
        """Convert phonemes to durations, pitch and the per-frame condition (section 3.2).

        Args:
            input_ids: (N,) int64 per item, from the tokenizer; arrays or tensors, like all sequences here.
            prompt_hidden_states, prompt_mask: prompt states from `encode_prompt`.
            durations: (N,) latent frames per item; predicted if None.
            pitch: F0 in Hz per item, (N,) per phoneme or (T,) per frame; predicted if None.
            speaking_rate: divides predicted durations; one number, one per item, or (B, N) per symbol.
            pitch_shift: semitones added to predicted pitch; same forms.
            pitch_range: factor of the distance of predicted log F0 from its mean; one number, or one per item.

        Raises:
            ValueError: the length of pitch fits neither phonemes nor frames, or pitch is negative; the result is
                longer than `max_utterance_seconds`.
        """
        device, lengths = self._execution_device, [len(ids) for ids in input_ids]

        def padded(rows: Sequence[Any]) -> torch.Tensor:
            return pad([torch.as_tensor(row).long() for row in rows]).to(device)

        def pitch_of_frames(durations: torch.Tensor) -> torch.Tensor:
            rows = zip(pitch or (), durations.cpu(), lengths, strict=True)
            contours = [frame_pitch(as_array(f0), frames[:length].numpy()) for f0, frames, length in rows]
            return pad([torch.from_numpy(contour) for contour in contours]).to(device)

        return conditioning.encode_text(
            self,
            padded(input_ids),
            padding_mask(lengths, device),
            prompt_hidden_states,
            prompt_mask,
            durations=None
            if durations is None
            else pad([torch.as_tensor(each).long() for each in durations]).to(device),
            pitch=None if pitch is None else pitch_of_frames,
            speaking_rate=torch.as_tensor(speaking_rate, device=device),
            pitch_shift=torch.as_tensor(pitch_shift, device=device),
            pitch_range=pitch_range if isinstance(pitch_range, float) else torch.as_tensor(pitch_range, device=device),
            max_frames=math.ceil(self.config.max_utterance_seconds * self.codec.frame_rate),
        )

    @speaks
    @torch.no_grad()
    def encode_utterances(self, utterances: Sequence[Utterance]) -> EncodedUtterances:
        """Encode one batch, the left half of figure 1: prompts, phonemes, durations and pitch."""
        prompt, prompt_mask = self.encode_prompt([each.voice for each in utterances])
        has_durations, has_pitch = (getattr(utterances[0], name) is not None for name in ("durations", "pitch"))
        adapted = self.encode_text(
            [each.input_ids for each in utterances],
            prompt,
            prompt_mask,
            durations=[each.durations for each in utterances if each.durations is not None] if has_durations else None,
            pitch=[each.pitch for each in utterances if each.pitch is not None] if has_pitch else None,
            speaking_rate=style.rates(utterances),
            pitch_shift=style.shifts(utterances),
            pitch_range=style.ranges(utterances),
        )
        assert adapted.durations is not None and adapted.pitch is not None  # predicted if not given
        return EncodedUtterances(prompt, prompt_mask, adapted.durations, adapted.pitch, adapted.condition)

    @torch.no_grad()
    def speak(
        self,
        utterances: Sequence[Utterance],
        settings: SamplingSettings,
        voice_matching: float = 0.0,
        output_type: str = "np",
        part: Part | None = None,
    ) -> list[SpokenUtterance]:
        """Speak one batch of utterances: all of figure 1, from prompt and phonemes to waveforms.

        Args:
            utterances: utterances from `plan_utterances`, with their voices.
            settings: settings from `check_sampling`.
            voice_matching: 0 to 1.
            output_type: "latent" skips the decoder.
            part: range of frames of a single utterance to generate; its durations remain those of the whole.
        """
        encoded = self.encode_utterances(utterances) if part is None else part.encoded
        prompt, prompt_mask, durations, pitch, condition = encoded
        frames, skipped = durations.sum(1).tolist(), 0
        if part is not None:
            frames, skipped = [part.stop - part.start], part.start
            pitch, condition = (each[:, part.start : part.stop] for each in (pitch, condition))
        settings.count(sum(frames))
        generators = [torch.Generator().manual_seed(each.seed + skipped) for each in utterances]
        scheduler = self.prepare_scheduler(settings)
        given = [each.latents for each in utterances]
        noise = self.prepare_latents(frames, generators, scheduler, settings.temperature, given)
        batch = self.denoise(noise, scheduler, settings, generators, frames, condition, prompt, prompt_mask)
        latents = [item[:, :length] for item, length in zip(batch, frames, strict=True)]
        if voice_matching:
            # A given melody has other statistics than the speech of the voice, so it is not matched.
            shares = [0.0 if each.has_melody else voice_matching for each in utterances]
            voices, enough = [each.voice for each in utterances], MATCHING_SECONDS * self.codec.frame_rate
            latents = match_voices(latents, voices, self._silent_latents()[:, 0], shares, enough)
        f0 = [row[:length] for row, length in zip(pitch.float().cpu(), frames, strict=True)]
        rows = [row[: len(each.input_ids)] for row, each in zip(durations.cpu(), utterances, strict=True)]
        waveforms: Sequence[torch.Tensor | None] = [None] * len(latents)
        if output_type != "latent":
            # The decoder follows a given melody more exactly than latents do. It does not follow predicted F0.
            has_melody = utterances[0].pitch is not None and self.codec.takes_f0
            decoded = self.decode_latents(latents, f0 if has_melody else None)
            waveforms = [
                self.finish_audio(waveform, settings, self._energy(each, row))
                for waveform, each, row in zip(decoded, utterances, rows, strict=True)
            ]
        return [SpokenUtterance(*parts) for parts in zip(latents, rows, f0, waveforms, strict=True)]

    @staticmethod
    def make_generator(seed: int) -> torch.Generator:
        """A generator with a seed, as the argument `generator` takes it."""
        return torch.Generator().manual_seed(seed)

    @staticmethod
    def _draw_seeds(generator: Any, counts: list[int]) -> list[list[int]]:
        return draw_seeds(generator, counts)

    def _output(self, joined: JoinedUtterances, output_type: str) -> NaturalSpeech2PipelineOutput:
        output = NaturalSpeech2PipelineOutput(*joined)
        if output_type != "np":
            device = self._execution_device if output_type == "latent" else "cpu"
            output.audios = [torch.from_numpy(audio).to(device) for audio in joined.audios]
        return output
