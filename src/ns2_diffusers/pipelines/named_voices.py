"""The named voices that ship with the package, for speech without a recording of one's own."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "voices"
# The first is the default.
NAMES = ("emma", "george", "bella", "michael", "puck")


def named_voices() -> dict[str, Path]:
    """The recordings of the named voices, by name; the first is the default.

    All are synthetic (Kokoro-82M, Apache-2.0). None was in the training data of the bundled model.
    """
    return {name: FOLDER / f"{name}.ogg" for name in NAMES}


def unknown_voice(voice: str) -> ValueError:
    """The error for what is neither a file nor a named voice."""
    return ValueError(
        f"voice is {voice!r}, which is neither a file nor one of the voices that ship: {', '.join(NAMES)}."
    )
