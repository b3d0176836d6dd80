"""`ns2-diffusers serve`: serves the pipeline over HTTP."""

from __future__ import annotations

import argparse
import ipaddress
import os
import socket
from pathlib import Path


def run(args: argparse.Namespace) -> None:
    from ..cli import MODEL_VARIABLE, load_pipeline

    try:
        import uvicorn

        from ..serving.app import API_KEY_VARIABLE, ServerSettings, create_app
    except ImportError as error:
        raise ImportError(f'serve needs fastapi and uvicorn ({error}): pip install "ns2-diffusers[serve]"') from error
    key = os.environ.get(API_KEY_VARIABLE) or None
    is_local = is_loopback(args.host)
    if key is None and not is_local:
        raise ValueError(
            f"the host {args.host!r} can be reached from elsewhere: set {API_KEY_VARIABLE} to a key that requests "
            "must have, or leave the host at 127.0.0.1."
        )
    if args.voices is not None and not args.voices.is_dir():
        raise ValueError(f"there is no folder {str(args.voices)!r} for voices: make it first.")
    for name in ("max_requests", "max_batch_size", "max_characters", "timeout", "port"):
        if getattr(args, name) <= 0:
            raise ValueError(f"--{name.replace('_', '-')} is {getattr(args, name)}; wanted a number above 0.")
    check_address(args.host, args.port)
    pipe = load_pipeline(args)
    pipe.set_progress_bar_config(disable=True)
    model = args.model or os.environ.get(MODEL_VARIABLE)
    settings = ServerSettings(
        model=Path(model).name if model else ServerSettings.model,
        voices=args.voices,
        api_key=key,
        is_local=key is None,
        max_characters=args.max_characters,
        request_timeout=args.timeout,
        max_requests=args.max_requests,
        max_batch_size=args.max_batch_size,
    )
    app = create_app(pipe, settings)
    # Speak once now, so that the first request does not wait for one-time initialisation.
    pipe("Hello.", num_inference_steps=1 if not pipe.scheduler.config.get("student_steps") else None)
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        log_level="warning" if args.quiet else "info",
        timeout_graceful_shutdown=5,
        # A client that reads slowly keeps a connection but no request slot, so there are more connections than slots.
        limit_concurrency=16 * args.max_requests,
    )


def check_address(host: str, port: int) -> None:
    """Raise an error if the server could not listen on an address."""
    if port > 65535:
        raise ValueError(f"--port is {port}; wanted a number from 1 to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise OSError(
            f"the server cannot listen on {host!r}, port {port} ({error.strerror}): choose others."
        ) from error


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
