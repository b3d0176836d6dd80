"""Replacements in a text, and the origin of each part of the result."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class Edit:
    """Replaces characters `start` to `end` of a text by `text`; `rule` names the rule that made the edit."""

    start: int
    end: int
    text: str
    rule: str


_PIECE = re.compile(r"[^\W_]+|[^\w\s]|_")


def edits_between(before: str, after: str, rule: str) -> list[Edit]:
    """Edits that turn the words and signs of one text into those of another; white space between equal words stays."""
    old, new = (list(_PIECE.finditer(text)) for text in (before, after))
    matcher = SequenceMatcher(None, [piece[0] for piece in old], [piece[0] for piece in new], autojunk=False)
    edits = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            continue
        start = old[i].start() if i < len(old) else len(before)
        end = old[j - 1].end() if j > i else start
        words = after[new[k].start() : new[m - 1].end()] if m > k else ""
        if kind == "insert":
            words = f" {words} "
        edits.append(Edit(start, end, words, rule))
    return edits


class EditedText:
    """A text with edits applied.

    Args:
        source: the text before the edits.
        edits: the edits, in order and without overlap.
        are_words: whether the replacements are words; if so, a space separates them from adjacent letters and digits.
    """

    def __init__(self, source: str, edits: list[Edit], are_words: bool = False):
        self.source, self.edits = source, edits
        parts: list[str] = []
        self._starts: list[tuple[int, int]] = []
        position = length = 0
        for edit in edits:
            kept = source[position : edit.start]
            before = kept[-1:] or (parts[-1][-1:] if parts else "")
            text = edit.text
            if are_words and before.isalnum() and text[:1].isalnum():
                kept += " "
            after = source[edit.end : edit.end + 1]
            if are_words and text[-1:].isalnum() and after.isalnum():
                text += " "
            parts += (kept, text)
            length += len(kept)
            self._starts.append((length, length + len(text)))
            length += len(text)
            position = edit.end
        parts.append(source[position:])
        self.text = "".join(parts)
        self._begins = [start for start, _ in self._starts]

    def edit_at(self, position: int) -> Edit | None:
        """The edit whose replacement holds the character at `position` of the edited text."""
        index = bisect_right(self._begins, position) - 1
        return self.edits[index] if index >= 0 and position < self._starts[index][1] else None

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """The span of the source that characters `start` to `end` came from; an edit counts as a whole."""
        first, last = self._source(start), self._source(max(end - 1, start))
        return first[0], max(last[1], first[0])

    def _source(self, position):
        index = bisect_right(self._begins, position) - 1
        if index < 0:
            return position, position + 1
        edit, (_, end) = self.edits[index], self._starts[index]
        if position < end:
            return edit.start, edit.end
        following = self.edits[index + 1].start if index + 1 < len(self.edits) else len(self.source)
        source = min(edit.end + position - end, following)
        return source, min(source + 1, max(following, source))
