"""Cache of encoded recordings, keyed by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

import numpy as np

from ..arrays import as_array, is_tensor

# Larger files are not cached, because reading them takes as long as encoding them.
MOST_BYTES = 2**25


class Recent:
    """A cache of the `size` most recently used results, which threads may share."""

    def __init__(self, size: int):
        self.size = size
        self._results: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The result for a key; `make` computes it if it is not cached."""
        result = self._results.pop(key, None)
        result = make() if result is None else result
        self._results[key] = result
        # Another thread may change the dictionary meanwhile.
        with suppress(RuntimeError, StopIteration):
            while len(self._results) > self.size:
                self._results.pop(next(iter(self._results)), None)
        return result


def content_key(audio: Any, sampling_rate: int | None) -> bytes | None:
    """A digest of the samples of a recording or the bytes of its file; None for other types and large files."""
    rate = sampling_rate
    if isinstance(audio, tuple) and len(audio) == 2:
        rate, audio = audio
    if isinstance(audio, (str, os.PathLike)):
        if not os.path.isfile(audio) or os.path.getsize(audio) > MOST_BYTES:
            return None
        with open(audio, "rb") as file:
            content, form = file.read(), f"file {os.path.splitext(os.fspath(audio))[1]!r}"
    elif isinstance(audio, np.ndarray) or is_tensor(audio):
        array = as_array(audio)
        if array.dtype.kind not in "biuf" or array.nbytes > MOST_BYTES:
            return None
        content, form = array.tobytes(), f"{array.dtype} {array.shape}"
    else:
        return None
    return hashlib.sha256(f"{form} {rate!r} ".encode() + content).digest()
