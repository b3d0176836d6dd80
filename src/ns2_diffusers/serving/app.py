"""The HTTP application: speech in the form of OpenAI's API, voices, metrics and a web page."""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import json
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.responses import FileResponse, JSONResponse, Response

from .. import __version__
from ..audio.encoding import COMMON_RATE, MEDIA_TYPES, AudioEncoder, encode_whole
from .engine import BusyError, Engine, Sound
from .errors import APIError, add_handlers, error_body
from .gate import Gate
from .schema import SpeechBody
from .voices import OPENAI_VOICES, UnknownVoiceError, VoiceError, VoiceStore

logger = logging.getLogger(__name__)

API_KEY_VARIABLE = "NS2_DIFFUSERS_API_KEY"
PAGE = Path(__file__).parent / "page"
PAGE_POLICY = (
    "default-src 'self'; connect-src 'self' blob:; media-src blob:; img-src 'self' data:; frame-ancestors 'none'"
)
# Model names that clients of OpenAI send by default; the server accepts them.
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_TIMES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0)

GivenKey = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


@dataclass(frozen=True)
class ServerSettings:
    """Limits and names of a server.

    Args:
        model: the name of the model in responses.
        voices: a folder of voices; None: no voices can be added.
        api_key: key that requests under `/v1` and to `/metrics` must have; None: no key is needed.
        is_local: whether to accept only requests that address this machine by a local name.
        max_characters: maximum number of characters of a text.
        max_pause_seconds: maximum of all pauses of a text together.
        max_upload_bytes: maximum size of a recording.
        max_prompt_seconds: maximum duration of a recording.
        max_steps: maximum number of steps of the sampler.
        request_timeout: maximum seconds from the arrival of a request to its last sound.
        max_requests: maximum number of requests at once; further requests get 503.
        max_batch_size: maximum number of sentences in a batch.
        batch_wait: seconds that a batch waits for more sentences.
    """

    model: str = "naturalspeech2"
    voices: str | os.PathLike | None = None
    api_key: str | None = None
    is_local: bool = True
    max_characters: int = 4096
    max_pause_seconds: float = 60.0
    max_upload_bytes: int = 10 * 2**20
    max_prompt_seconds: float = 60.0
    max_steps: int = 200
    request_timeout: float = 120.0
    max_requests: int = 32
    max_batch_size: int = 8
    batch_wait: float = 0.01


class Metrics:
    """The metrics of `/metrics`, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        one: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("ns2_requests", "Speech requests by outcome", ["outcome"], **one)
        self.characters = Counter("ns2_characters", "Characters of accepted texts", **one)
        self.audio_seconds = Counter("ns2_audio_seconds", "Seconds of generated speech", **one)
        self.first_sound = Histogram(
            "ns2_first_sound_seconds", "Seconds from a request to its first sound", buckets=_TIMES, **one
        )
        self.duration = Histogram("ns2_request_seconds", "Seconds from a request to its end", buckets=_TIMES, **one)
        self.batch = Histogram("ns2_batch_sentences", "Sentences per batch", buckets=(1, 2, 4, 8, 16, 32), **one)
        self.places = Gauge("ns2_requests_in_progress", "Requests in progress", **one)
        self.waiting = Gauge("ns2_sentences_waiting", "Sentences that wait for a batch", **one)


class LiveSpeech:
    """The pieces of audio of one request, as they are made. It holds a place in the engine until `close`."""

    def __init__(self, server: Server):
        self.server, self.begun = server, time.monotonic()
        self.deadline = self.begun + server.settings.request_timeout
        self.queue: asyncio.Queue = asyncio.Queue()
        self.outcome = "cancelled"
        self.heard = self.closed = False
        loop = asyncio.get_running_loop()

        def deliver(piece: Any) -> None:
            try:
                loop.call_soon_threadsafe(self.queue.put_nowait, piece)
            except RuntimeError:  # the event loop has ended
                pass

        try:
            self.speech = server.engine.enter(deliver)
        except BusyError:
            server.metrics.requests.labels("busy").inc()
            raise APIError(
                503, "all places are taken: try again.", None, "server_busy", Retry_After=str(server.retry_after())
            ) from None

    async def next(self) -> Sound | None:
        """The next piece, or None after the last.

        Raises:
            APIError: the piece took too long, or could not be made.
        """
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self.deadline - time.monotonic()):
                piece = await self.queue.get()
        except TimeoutError:
            self.outcome = "timeout"
            limit = self.server.settings.request_timeout
            raise APIError(504, f"the speech took longer than {limit:g} s: send less text.", None, "timeout") from None
        if isinstance(piece, Exception):
            self.outcome = "failed"
            raise APIError(500, "a sentence could not be spoken; the server's log says why.", None, "speech_failed")
        if piece is None:
            self.outcome = "done"
            return None
        metrics = self.server.metrics
        if not self.heard:
            self.heard = True
            metrics.first_sound.observe(time.monotonic() - self.begun)
        metrics.audio_seconds.inc(len(piece.audio) / self.server.pipe.sampling_rate)
        return piece

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self.speech.close()
        self.server.metrics.requests.labels(self.outcome).inc()
        self.server.metrics.duration.observe(time.monotonic() - self.begun)


class Server:
    """State that the routes of the application share."""

    def __init__(self, pipe: Any, settings: ServerSettings):
        self.pipe, self.settings = pipe, settings
        self.metrics = Metrics()
        self.engine = Engine(
            pipe, settings.max_requests, settings.max_batch_size, settings.batch_wait, self.metrics.batch.observe
        )
        self.metrics.places.set_function(lambda: self.engine.places_taken)
        self.metrics.waiting.set_function(lambda: self.engine.sentences_waiting)
        self.voices = VoiceStore(pipe, settings.voices, settings.max_prompt_seconds)
        self.created = int(time.time())

    @property
    def models(self) -> list[str]:
        return [self.settings.model, *OPENAI_MODELS]

    def retry_after(self) -> int:
        """Seconds after which a place is likely to be free."""
        return max(1, round(self.settings.request_timeout / 60))

    def prepare(self, body: SpeechBody, seed: int) -> tuple[Any, Any, float]:
        """The sentences, settings and voice matching of a request; runs in a worker thread.

        Raises:
            APIError: the input is invalid.
        """
        limits = self.settings
        if body.model not in self.models:
            raise APIError(
                404,
                f"there is no model {body.model!r:.80}; there is {self.settings.model!r}.",
                "model",
                "model_not_found",
            )
        if len(body.input) > limits.max_characters:
            raise APIError(
                400,
                f"the text has {len(body.input)} characters and {limits.max_characters} are taken: split it.",
                "input",
                "string_above_max_length",
            )
        if (body.num_inference_steps or 0) > limits.max_steps:
            raise APIError(400, f"at most {limits.max_steps} steps are taken.", "num_inference_steps")
        if body.timestamps and body.stream and body.stream_format == "audio":
            raise APIError(
                400, "audio alone has no times: set stream_format to sse, or stream to false.", "timestamps"
            )
        try:
            settings = self.pipe.check_sampling(
                body.num_inference_steps,
                guidance_scale=body.guidance_scale,
                loudness=body.loudness,
                watermark=body.watermark,
            )
            utterances = self.pipe.plan(
                body.input,
                voice=self._voice(body),
                speaking_rate=body.speed,
                pitch_shift=body.pitch_shift,
                generator=self.pipe.make_generator(seed),
                tokenizer=self._tokenizer(body),
            )
        except (ValueError, TypeError) as error:
            raise APIError(400, str(error), "input") from error
        except ImportError as error:
            raise APIError(501, f"this server lacks a library: {error}", None, "not_installed") from error
        pauses = sum(each.pause + each.lead for each in utterances) / self.pipe.codec.frame_rate
        if pauses > limits.max_pause_seconds + 2 * len(utterances):
            raise APIError(400, f"the pauses last {pauses:.0f} s, too long: leave some out.", "input")
        return utterances, settings, self.pipe.config.default_voice_matching

    def _tokenizer(self, body: SpeechBody) -> Any:
        """A copy of the pipeline's tokenizer with the settings of a request."""
        tokenizer = copy.copy(self.pipe.tokenizer)
        tokenizer.option_form = 'the field "{name}": "{value}"'
        for name in ("emoji", "unknown"):
            if getattr(body, name) is not None:
                setattr(tokenizer, name, getattr(body, name))
        return tokenizer

    def _voice(self, body: SpeechBody) -> Any:
        if body.prompt_audio is not None:
            try:
                recording = base64.b64decode(body.prompt_audio, validate=True)
            except (binascii.Error, ValueError) as error:
                raise APIError(400, f"it is not base64 ({error}).", "prompt_audio") from error
            if len(recording) > self.settings.max_upload_bytes:
                raise APIError(
                    413, f"the recording is larger than {self.settings.max_upload_bytes} bytes.", "prompt_audio"
                )
            try:
                return self.voices.encode(recording)
            except (ValueError, TypeError) as error:
                raise APIError(400, str(error), "prompt_audio") from error
        name = body.voice if isinstance(body.voice, str) else body.voice.id
        try:
            return self.voices.get(name)
        except UnknownVoiceError as error:
            known = ", ".join(self.voices.names()[:20])
            raise APIError(
                400, f"there is no voice {error.args[0]!r:.80}; there are {known}.", "voice", "voice_not_found"
            ) from None
        except (ValueError, TypeError) as error:
            raise APIError(400, str(error), "voice") from error


class SpeechResponse(Response):
    """Sends bytes as they are made. When the client disconnects, or at the end, it gives the place back."""

    def __init__(self, live: LiveSpeech, content: AsyncIterator[bytes], media_type: str, headers: dict[str, str]):
        self.live, self.content, self.status_code, self.background = live, content, 200, None
        self.media_type = media_type
        self.init_headers(headers)
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def write() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for data in self.content:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        watching, writing = asyncio.create_task(watch()), asyncio.create_task(write())
        try:
            # The place is free once all audio is made; a client that reads slowly gets more time.
            patience = self.live.server.settings.request_timeout * 10
            await asyncio.wait({watching, writing}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            for task in (watching, writing):
                task.cancel()
            await asyncio.gather(watching, writing, return_exceptions=True)
            self.live.close()


def create_app(pipe: Any, settings: ServerSettings | None = None) -> FastAPI:
    """Make an ASGI application that speaks with a pipeline.

    Args:
        pipe: a `NaturalSpeech2Pipeline`, on its device.
        settings: the settings; the defaults if None.

    Raises:
        ValueError: the folder of voices does not exist.
    """
    settings = settings or ServerSettings()
    if settings.voices is not None and not Path(settings.voices).is_dir():
        raise ValueError(f"there is no folder {str(settings.voices)!r} for voices: make it first.")
    server = Server(pipe, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(server.engine.stop)

    app = FastAPI(title="ns2_diffusers", version=__version__, lifespan=lifespan)
    app.state.server = server
    # Base64 is a third larger than the bytes.
    app.add_middleware(Gate, max_bytes=settings.max_upload_bytes * 4 // 3 + 2**20, is_local=settings.is_local)
    add_handlers(app)

    def check_key(given: GivenKey) -> None:
        wanted = settings.api_key
        if wanted is not None and not (
            given is not None and secrets.compare_digest(given.credentials.encode(), wanted.encode())
        ):
            raise APIError(
                401, "the API key is missing or wrong: send Authorization: Bearer KEY.", None, "invalid_api_key"
            )

    with_key: dict[str, Any] = {"dependencies": [Depends(check_key)]}

    @app.post("/v1/audio/speech", tags=["speech"], response_class=Response, **with_key)
    async def speak(request: Request, body: SpeechBody) -> Response:
        """Speak a text. The audio is sent as it is made."""
        live = LiveSpeech(server)
        try:
            return await _unless_gone(request, answer(live, body))
        except BaseException as error:
            if isinstance(error, APIError) and error.status_code < 499:
                live.outcome = "refused"
            live.close()
            raise

    async def answer(live: LiveSpeech, body: SpeechBody) -> Response:
        seed = secrets.randbits(53) if body.seed is None else body.seed
        utterances, sampling, matching = await run_in_threadpool(server.prepare, body, seed)
        server.metrics.characters.inc(len(body.input))
        live.speech.begin(utterances, sampling, matching)
        # An error in the first piece still has an HTTP status of its own, because no header was sent yet.
        first = await live.next()
        rate = COMMON_RATE if body.response_format == "pcm" else None
        headers = {"x-seed": str(seed), "cache-control": "no-store"}
        if body.stream_format == "sse":
            events = _events(live, first, body, rate)
            return SpeechResponse(live, events, "text/event-stream", headers)
        if body.stream:
            encoder = AudioEncoder(body.response_format, pipe.sampling_rate, rate)
            headers["x-sample-rate"] = str(encoder.sampling_rate)
            return SpeechResponse(live, _audio(live, first, encoder), MEDIA_TYPES[body.response_format], headers)
        pieces, piece = [], first
        while piece is not None:
            pieces.append(piece)
            piece = await live.next()
        audios = [piece.audio for piece in pieces]
        data = await run_in_threadpool(encode_whole, audios, body.response_format, pipe.sampling_rate, rate)
        live.close()
        if not body.timestamps:
            return Response(data, media_type=MEDIA_TYPES[body.response_format], headers=headers)
        content = {
            "audio": base64.b64encode(data).decode(),
            "format": body.response_format,
            "duration": sum(map(len, audios)) / pipe.sampling_rate,
            "words": [word for piece in pieces for word in _words(piece)],
        }
        return JSONResponse(content, headers=headers)

    @app.get("/v1/audio/voices", tags=["voices"], **with_key)
    def list_voices() -> dict[str, Any]:
        """The voices by name; OpenAI's names are aliases of some of them."""
        own, uploaded = server.voices.own(), server.voices.uploaded()
        data = [
            {
                "id": name,
                "name": name,
                "object": "audio.voice",
                "is_own": name in own,
                "can_delete": name in uploaded and own[name] == uploaded[name],
            }
            for name in server.voices.names()
        ]
        return {"object": "list", "data": data, "aliases": OPENAI_VOICES, "can_add": settings.voices is not None}

    @app.post("/v1/audio/voices", tags=["voices"], status_code=201, **with_key)
    async def add_voice(audio_sample: UploadFile, name: str = Form(min_length=1, max_length=64)) -> dict[str, Any]:
        """Add a voice from a recording of a few seconds. Ask its owner for consent first."""
        recording = await audio_sample.read()
        if len(recording) > settings.max_upload_bytes:
            raise APIError(413, f"the recording is larger than {settings.max_upload_bytes} bytes.", "audio_sample")
        file_name = Path(audio_sample.filename or "the recording").name[:80]
        try:
            await run_in_threadpool(server.voices.add, name, recording, file_name)
        except VoiceError as error:
            raise APIError(error.status, str(error), "name") from error
        except ValueError as error:
            raise APIError(400, str(error), "audio_sample") from error
        return {"id": name, "name": name, "object": "audio.voice", "is_own": True, "can_delete": True}

    @app.delete("/v1/audio/voices/{name}", tags=["voices"], **with_key)
    def delete_voice(name: str) -> dict[str, Any]:
        """Delete a voice that was added."""
        try:
            server.voices.delete(name)
        except UnknownVoiceError:
            raise APIError(404, f"there is no voice {name!r:.80} to delete.", "name", "voice_not_found") from None
        except VoiceError as error:
            raise APIError(error.status, str(error), "name") from error
        return {"id": name, "object": "audio.voice", "deleted": True}

    @app.get("/v1/models", tags=["models"], **with_key)
    def list_models() -> dict[str, Any]:
        data = [
            {"id": name, "object": "model", "created": server.created, "owned_by": "ns2"} for name in server.models
        ]
        return {"object": "list", "data": data}

    @app.get("/v1/models/{model:path}", tags=["models"], **with_key)
    def get_model(model: str) -> dict[str, Any]:
        if model not in server.models:
            raise APIError(404, f"there is no model {model!r:.80}.", "model", "model_not_found")
        return {"id": model, "object": "model", "created": server.created, "owned_by": "ns2"}

    @app.get("/health", tags=["operation"])
    def health() -> JSONResponse:
        """200 while the server can make speech."""
        engine = server.engine
        state = {"status": "ok" if engine.is_alive else "stopped", "requests": engine.places_taken}
        return JSONResponse(state | {"places": settings.max_requests}, 200 if engine.is_alive else 503)

    @app.get("/metrics", tags=["operation"], response_class=Response, **with_key)
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(generate_latest(server.metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"content-security-policy": PAGE_POLICY})

    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


async def _unless_gone(request: Request, answer: Any) -> Response:
    """Wait for a response; cancel it if the client disconnects first."""

    async def gone() -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.1)

    answering, watching = asyncio.create_task(answer), asyncio.create_task(gone())
    try:
        await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise APIError(499, "the client went away.")
        return answering.result()
    finally:
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


async def _audio(live: LiveSpeech, piece: Sound | None, encoder: AudioEncoder) -> AsyncIterator[bytes]:
    try:
        while piece is not None:
            # Encoding takes too long to run in the event loop.
            if data := await run_in_threadpool(encoder.encode, piece.audio):
                yield data
            piece = await live.next()
        yield await run_in_threadpool(encoder.finish)
    finally:
        encoder.close()


async def _events(live: LiveSpeech, piece: Sound | None, body: SpeechBody, rate: int | None) -> AsyncIterator[bytes]:
    """Server-sent events in OpenAI's form; errors after the first piece are events too."""
    sampling_rate, samples, tokens = live.server.pipe.sampling_rate, 0, 0
    encoder = AudioEncoder(body.response_format, sampling_rate, rate)
    try:
        while piece is not None:
            data = await run_in_threadpool(encoder.encode, piece.audio)
            if data or piece.words:
                yield _delta(data, _words(piece) if body.timestamps else None)
            samples += len(piece.audio)
            tokens += piece.frames
            piece = await live.next()
        if data := await run_in_threadpool(encoder.finish):
            yield _delta(data, None)
        usage = {"input_tokens": len(body.input), "output_tokens": tokens, "total_tokens": len(body.input) + tokens}
        yield _event({"type": "speech.audio.done", "usage": usage, "duration": samples / sampling_rate})
    except APIError as error:
        yield _event({"type": "error"} | error_body(error.status_code, error.detail, error.param, error.code))
    finally:
        encoder.close()


def _delta(data: bytes, words: list | None) -> bytes:
    times = {} if words is None else {"words": words}
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()} | times)


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _words(piece: Sound) -> list[dict[str, Any]]:
    return [{"word": word.text, "start": round(word.start, 4), "end": round(word.end, 4)} for word in piece.words]
