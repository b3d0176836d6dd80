"""Prevents changes to the components of a pipeline while it speaks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class ChangeGuard:
    """Counts running calls and refuses changes of components while there are any, in all threads.

    A call that begins during a change waits until the change is done. Between two sentences a stream runs no call, so
    its components can change there; the stream detects this with `changes` and raises an error.
    """

    def __init__(self) -> None:
        # Held during a change; calls hold it only at their beginning and end. Changes and calls may be nested.
        self._lock = threading.RLock()
        self._running = 0
        self.changes = 0

    def __reduce__(self) -> tuple:
        # A copy of a pipeline has no running calls.
        return type(self), ()

    @contextmanager
    def speaking(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    @contextmanager
    def changing(self, what: str) -> Iterator[None]:
        """Raises:
        RuntimeError: a call is running.
        """
        with self._lock:
            if self._running:
                raise RuntimeError(
                    f"{what} changes the pipeline, which is speaking ({self._running} calls run now): do it when they "
                    "have ended, from no callback, or change another pipeline."
                )
            self.changes += 1
            yield

    def check_unchanged(self, changes: int) -> None:
        """Raise a RuntimeError if components have changed since `changes` was read."""
        if self.changes != changes:
            raise RuntimeError(
                "the pipeline's adapters or components were changed while this stream was open, and the rest would "
                "sound otherwise than its beginning: begin the stream anew."
            )


def changes_weights(method: Callable) -> Callable:
    """Mark a method that changes components of a pipeline with `change_guard`: it raises while the pipeline speaks."""

    @functools.wraps(method)
    def changing(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.change_guard.changing(method.__name__):
            return method(self, *args, **kwargs)

    return changing


def speaks(method: Callable) -> Callable:
    """Mark a method that speaks, of a pipeline with `change_guard`: components cannot change while it runs."""

    @functools.wraps(method)
    def speaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.change_guard.speaking():
            return method(self, *args, **kwargs)

    return speaking
