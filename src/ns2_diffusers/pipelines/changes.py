"""A pipeline's components do not change while it speaks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class ChangeGuard:
    """Counts the calls that run, and refuses changes of components meanwhile, in whatever thread.

    A call that begins while something is changed waits until that is done. A stream makes nothing between two
    sentences, so its components can change there; it notices by `changes` and goes no further.
    """

    def __init__(self) -> None:
        # Held while something is changed, and by calls only to begin and end: changes and calls may be nested.
        self._lock = threading.RLock()
        self._running = 0
        self.changes = 0

    def __reduce__(self) -> tuple:
        # A copy of a pipeline runs nothing yet.
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
        RuntimeError: a call runs.
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
        """Raise a RuntimeError where components changed since `changes` was read."""
        if self.changes != changes:
            raise RuntimeError(
                "the pipeline's adapters or components were changed while this stream was open, and the rest would "
                "sound otherwise than its beginning: begin the stream anew."
            )


def changes_weights(method: Callable) -> Callable:
    """Lets a method of a pipeline with `change_guard` change its components: not while it speaks."""

    @functools.wraps(method)
    def changing(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.change_guard.changing(method.__name__):
            return method(self, *args, **kwargs)

    return changing


def speaks(method: Callable) -> Callable:
    """Lets a method of a pipeline with `change_guard` speak: what it speaks with does not change meanwhile."""

    @functools.wraps(method)
    def speaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.change_guard.speaking():
            return method(self, *args, **kwargs)

    return speaking
