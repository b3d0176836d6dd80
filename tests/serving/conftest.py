"""A server on a port of this machine, with a tiny pipeline."""

import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("fastapi", reason='pip install "ns2-diffusers[serve]"')
httpx = pytest.importorskip("httpx", reason="the dev extra has httpx")
import uvicorn  # noqa: E402

from ns2_diffusers.serving.app import ServerSettings, create_app  # noqa: E402

TEXT = "The line is busy."
LONG_TEXT = (
    "The line is busy. Please hold while we try again! Would you rather leave a message? Or call us later today."
)


@dataclass
class Running:
    url: str
    pipe: Any
    server: Any

    def client(self, **options):
        return httpx.Client(base_url=self.url, timeout=120, **options)

    def wait_for(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            time.sleep(0.01)


@contextmanager
def running(pipe, **settings):
    app = create_app(pipe, ServerSettings(**settings))
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", pipe, app.state.server)
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
    assert not thread.is_alive()
    assert not app.state.server.engine.is_alive


@pytest.fixture
def serve(tiny_pipeline):
    """A function that serves the tiny pipeline, in two steps unless a request says otherwise."""
    tiny_pipeline.register_to_config(default_num_inference_steps=2)

    def serve(**settings):
        return running(tiny_pipeline, **settings)

    return serve


class Slow:
    """The pipeline, which waits before each batch for a permit."""

    def __init__(self, pipe):
        self._pipe, self._permits, self.batches = pipe, threading.Semaphore(0), []

    def __getattr__(self, name):
        return getattr(self._pipe, name)

    def permit(self, batches=10_000):
        self._permits.release(batches)

    def speak(self, utterances, settings, matching, output_type):
        self.batches.append([each.seed for each in utterances])
        assert self._permits.acquire(timeout=120)
        return self._pipe.speak(utterances, settings, matching, output_type)


@pytest.fixture
def slow(tiny_pipeline):
    return Slow(tiny_pipeline)


@pytest.fixture
def serve_slowly(slow):
    def serve(**settings):
        return running(slow, **settings)

    yield serve
    slow.permit()
