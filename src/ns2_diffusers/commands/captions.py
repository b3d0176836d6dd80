"""Converts word times to subtitles (SRT, WebVTT) and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

# A caption ends before it exceeds this length, at a pause of the speaker, and at the end of a sentence.
MAX_CHARACTERS = 42
MAX_SECONDS = 6.0
PAUSE_SECONDS = 0.5
_ENDS = (".", "!", "?", "…", '."', '!"', '?"')


def captions(words: Sequence[Any]) -> list[tuple[float, float, str]]:
    """Start, end and text of each caption, from words with `text`, `start` and `end`."""
    lines: list[list[Any]] = []
    for word in words:
        line = lines[-1] if lines else None
        if (
            line is None
            or line[-1].text.endswith(_ENDS)
            or word.start - line[-1].end >= PAUSE_SECONDS
            or word.end - line[0].start > MAX_SECONDS
            or len(" ".join(each.text for each in line)) + 1 + len(word.text) > MAX_CHARACTERS
        ):
            lines.append([word])
        else:
            line.append(word)
    return [(line[0].start, line[-1].end, " ".join(word.text for word in line)) for line in lines]


def to_srt(words: Sequence[Any]) -> str:
    blocks = [
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
        for number, (start, end, text) in enumerate(captions(words), 1)
    ]
    return "\n".join(blocks)


def to_vtt(words: Sequence[Any]) -> str:
    blocks = ["WEBVTT\n"]
    for start, end, text in captions(words):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n")
    return "\n".join(blocks)


def to_json(words: Sequence[Any], duration: float) -> str:
    """Word times as JSON: `{"duration": seconds, "words": [{"word", "start", "end"}]}`."""
    times = [{"word": word.text, "start": round(word.start, 4), "end": round(word.end, 4)} for word in words]
    return json.dumps({"duration": round(duration, 4), "words": times}, ensure_ascii=False, indent=1) + "\n"


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
