"""The fields of requests: OpenAI's, and some additional ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..audio.finishing import LEAST_LOUDNESS, MOST_LOUDNESS

KINDS = Literal["wav", "mp3", "flac", "opus", "pcm"]


class VoiceId(BaseModel):
    """A voice by its id, which OpenAI's API allows in place of a name."""

    model_config = ConfigDict(extra="forbid")
    id: str


class SpeechBody(BaseModel):
    """The body of `POST /v1/audio/speech`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: str = Field(min_length=1, description="The text; `[pause 0.5s]`, `[word](/phonemes/)` or SSML are allowed.")
    model: str = Field("tts-1", description="One of `/v1/models`.")
    voice: str | VoiceId = Field("emma", description="A name of `/v1/audio/voices`, or a mix of them.")
    response_format: KINDS = Field("mp3", description="pcm: 24 kHz, 16 bits, little-endian, mono.")
    speed: Annotated[float, Field(strict=False, ge=0.25, le=4.0)] = 1.0
    stream: bool = Field(True, description="False: one complete file with its length in the header.")
    stream_format: Literal["audio", "sse"] = Field(
        "audio", description="sse: server-sent events with pieces of audio in base64."
    )
    instructions: str | None = Field(None, description="Ignored: the voice's recording sets the manner of speaking.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Equal seeds give equal audio; random by default.")
    num_inference_steps: int | None = Field(None, ge=1, description="The model's default if missing.")
    guidance_scale: Annotated[float, Field(strict=False, ge=0.0, le=100.0)] | None = None
    pitch_shift: Annotated[float, Field(strict=False, ge=-24.0, le=24.0, description="In semitones.")] = 0.0
    loudness: Annotated[float, Field(strict=False, ge=LEAST_LOUDNESS, le=MOST_LOUDNESS)] | None = Field(
        None, description="Loudness of each sentence in LUFS (EBU R128), such as -16; unchanged if missing."
    )
    watermark: bool = Field(False, description="Mark the audio inaudibly as synthetic.")
    emoji: Literal["skip", "name", "error"] | None = Field(
        None, description="Leave emoji out, read their names, or refuse them; the model's default if missing."
    )
    unknown: Literal["error", "drop"] | None = Field(
        None, description="Refuse unreadable characters, or leave them out; the model's default if missing."
    )
    timestamps: bool = Field(False, description="Word times: in the events of sse, or in JSON with `stream: false`.")
    prompt_audio: str | None = Field(None, description="A recording in place of `voice`: a base64 file. Not stored.")

    @field_validator("input")
    @classmethod
    def _has_no_surrogates(cls, text: str) -> str:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("it has half of a surrogate pair, which is not a character") from error
        return text
