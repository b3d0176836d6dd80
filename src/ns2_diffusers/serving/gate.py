"""Refuses requests before their body is read: bodies that are too large, and web pages of other sites."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_response

LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class Gate:
    """ASGI middleware that refuses requests.

    Args:
        app: the application behind it.
        max_bytes: maximum size of a body.
        is_local: whether requests must address this machine by a local name. Otherwise a web page could reach the
            server under a domain name of its own that resolves to this machine.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, is_local: bool):
        self.app, self.max_bytes, self.is_local = app, max_bytes, is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(headers)
        if refusal is not None:
            return await error_response(*refusal)(scope, receive, send)
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_bytes:
                raise HTTPException(413, self._too_large())
            return message

        await self.app(scope, counted, send)

    def _refusal(self, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if self.is_local and _name(f"//{host}") not in LOCAL_NAMES:
            return (
                403,
                f"the host {host!r:.80} is not a name of this machine: ask http://127.0.0.1 or http://localhost.",
            )
        if self.is_local and origin is not None and urlsplit(origin).netloc != host:
            return 403, f"pages of {origin!r:.80} may not use this server: it answers its own page and programs."
        length = headers.get(b"content-length", "0")
        if not length.isdigit():
            return 400, "the header Content-Length is not a number."
        if int(length[:20]) > self.max_bytes:
            return 413, self._too_large()
        return None

    def _too_large(self) -> str:
        return f"the body is larger than {self.max_bytes} bytes: send less text or a shorter recording."


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
