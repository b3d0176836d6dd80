"""Reads many texts from one file; each becomes an audio file."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

_ID = re.compile(r"[^\s/\\:*?\"<>|.][^/\\:*?\"<>|\x00-\x1f]{0,149}")
_HEADING = re.compile(
    r"^(?:#{1,2}[ \t]+(.+)|((?:chapter|part|book)[ \t]+[\divxlc]+\b.{0,80}))$", re.MULTILINE | re.IGNORECASE
)


@dataclass(frozen=True)
class Item:
    """A text, the name of its file without a suffix, and its voice, or None if the file gives none."""

    id: str
    text: str
    voice: str | None = None


def read_lines(path: Path, text: str) -> list[Item]:
    """The texts of a file, one per line, numbered from 1; blank lines are counted and skipped.

    A CSV file has a header with `text` and optionally `id` and `voice`.

    Raises:
        ValueError: there is no text; an id is not a valid file name or occurs twice; or a column is missing.
    """
    if path.suffix.lower() != ".csv":
        lines = text.splitlines()
        digits = max(4, len(str(len(lines))))
        items = [Item(f"{number:0{digits}}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    else:
        items = _read_csv(path, text)
    if not items:
        raise ValueError(f"{str(path)!r} has no texts: give one per line.")
    return items


def _read_csv(path: Path, text: str) -> list[Item]:
    rows = csv.DictReader(text.splitlines(keepends=True), strict=True)
    items: list[Item] = []
    seen: set[str] = set()
    try:
        if "text" not in (rows.fieldnames or []):
            raise ValueError(
                f"{str(path)!r} has the columns {', '.join(rows.fieldnames or [])}; wanted text, and perhaps id and "
                "voice."
            )
        for number, row in enumerate(rows, 1):
            name = (row.get("id") or f"{number:04}").strip()
            if not _ID.fullmatch(name):
                raise ValueError(f"row {number} of {str(path)!r} has the id {name!r:.80}, not a valid file name.")
            if name.lower() in seen:
                raise ValueError(f"row {number} of {str(path)!r} has the id {name!r}, which is there already.")
            seen.add(name.lower())
            if (row["text"] or "").strip():
                items.append(Item(name, row["text"].strip(), (row.get("voice") or "").strip() or None))
    except csv.Error as error:
        raise ValueError(f"{str(path)!r} is not CSV: {error}, line {rows.line_num}.") from error
    return items


def read_chapters(text: str) -> list[Item]:
    """Split a book into chapters; the text before the first heading is one too.

    Headings are lines `# Title`, `## Title` and `Chapter 1 …`; they are read aloud.
    """
    starts = [match.start() for match in _HEADING.finditer(text)]
    bounds = [0, *starts, len(text)]
    parts = [text[start:end] for start, end in zip(bounds, bounds[1:], strict=False) if text[start:end].strip()]
    items = []
    for number, part in enumerate(parts, 1):
        heading = _HEADING.match(part.lstrip("\n"))
        title = re.sub(r"[\W_]+", "-", (heading[1] or heading[2]) if heading else "").strip("-").lower()[:60]
        items.append(Item(f"{number:02}-{title}" if title else f"{number:02}", part.strip()))
    return items
