"""Turns lines, lists, tables and citations into the pauses that a reader would make."""

from __future__ import annotations

import re

from .edits import Edit

BULLET = r"(?:[-*+•‣◦▪▫●○■□➤➢–—][ \t]+|[•‣◦▪●■]|#{1,6}[ \t]+|>{1,3}[ \t]+(?=\D)|>{1,3}(?=[A-Za-z]))"
_ITEM = re.compile(rf"[ \t]*(?:{BULLET}|\(?(?:\d{{1,3}}|[A-Za-z])[.)][ \t])")
_MARKER = re.compile(rf"[ \t]*(?:{BULLET})+")
_RULE = re.compile(r"[ \t]*(?:[-*_=~#][ \t]?){3,}[ \t]*\Z")
_QUOTED = re.compile(r">{1,3}[ ](?:[A-Z\"']|[a-z]{2})|#{1,6}[ ][A-Za-z]")
_TABLE_RULE = re.compile(r"[ \t]*\|?(?:[ \t]*:?-{2,}:?[ \t]*\|?)+[ \t]*\Z")
# A line of at least this length was probably wrapped within a sentence.
FULL_LINE = 50
_ENDED = re.compile(r"[.!?…:;,—–|][\"')\]]*\Z")
_INLINE = re.compile(
    r"(?P<citation>(?<=[.!?,;:\"'\w)])\[\d{1,3}(?:[,–-][ ]?\d{1,3}){0,9}\])"
    r"|(?P<cell>[ ]?\|[ ]?)"
    r"|(?P<bullet>[ ][•‣▪●■][ ])"
    r"|(?P<joined>(?<=[a-z][a-z][.!?])(?=[A-Z][a-z])(?!\.))"
    r"|(?P<joined_mark>(?<=[a-z][!?])(?=[A-Za-z])(?![\w.%-]{1,40}=))"
)
# "Node.Js" is a name; "Wait.What?" lacks a space.
_SHORT_NAME = re.compile(r"[A-Z][a-z]{1,3}\b(?![\s?!])")


def pause_between(line: str, following: str, is_blank: bool = False) -> str:
    """The text that replaces a line break: a space within a sentence; a comma or a full stop at its end.

    Args:
        line: the line before the break.
        following: the line after it.
        is_blank: whether an empty line stands between them.
    """
    line = line.strip()
    if not line or not following.strip() or _ENDED.search(line):
        return " "
    if is_blank or _ITEM.match(following) or _ITEM.match(line):
        return ". "
    first = following.lstrip(" \t\"'(")[:1]
    if first.islower() or len(line) >= FULL_LINE:
        return " "
    return ". " if len(following.strip()) >= FULL_LINE or line.endswith(")") else ", "


def structure(text: str) -> list[Edit]:
    """Edits that turn line breaks, list markers, table cells and citations into pauses or nothing.

    Args:
        text: text whose line breaks are `\\n`, as `typography` leaves it.
    """
    edits, start, previous, blank, break_at = [], 0, None, False, 0
    lines = text.split("\n")
    multiline = len(lines) > 1
    for line in lines:
        end = start + len(line)
        if multiline and (_RULE.match(line) or "|" in line and _TABLE_RULE.match(line)):
            if line:
                edits.append(Edit(start, end, "", "structure"))
            line, content = "", ""
        else:
            content = line
        body = start
        marker = _MARKER.match(line) if (multiline or line[:1] in "•‣◦▪●■" or _QUOTED.match(line)) else None
        if marker and marker.end() < len(line):
            body = start + marker.end()
        if content.strip():
            if previous is not None:
                gap = pause_between(previous, content, blank)
                edits.append(Edit(break_at, body, gap, "structure"))
            elif body > start:
                edits.append(Edit(start, body, "", "structure"))
            edits += _inline(text, body, end)
            previous, blank, break_at = content, False, start + len(content.rstrip())
            if edits and edits[-1].end > break_at:
                break_at = edits[-1].end
        else:
            blank = True
        start = end + 1
    if break_at < len(text):
        # Rules after the last line, of a table or a page, lie within this edit and make no edits of their own.
        edits = [edit for edit in edits if edit.end <= break_at]
        if text[break_at:]:
            edits.append(Edit(break_at, len(text), "", "structure"))
    return _merge(edits)


def _inline(text, start, end):
    edits = []
    for match in _INLINE.finditer(text, start, end):
        kind = match.lastgroup
        if kind == "cell":
            is_edge = not text[start : match.start()].strip() or not text[match.end() : end].strip()
            edits.append(Edit(match.start(), match.end(), "" if is_edge else ", ", "structure"))
        elif kind == "bullet":
            edits.append(Edit(match.start(), match.end(), ", ", "structure"))
        elif kind == "citation":
            before = text[max(start, match.start() - 2) : match.start()]
            if len(before) > 1 and (before[-1] in ".!?,;:\"')" or before.isalpha() and before.islower()):
                edits.append(Edit(match.start(), match.end(), "", "structure"))
        elif text[match.start() - 1] != "." or not _SHORT_NAME.match(text, match.start()):
            edits.append(Edit(match.start(), match.end(), " ", "structure"))
    return edits


def _merge(edits):
    """Sort the edits and remove overlap: the edit of a line break includes the edits of rules within it."""
    merged = []
    for edit in sorted(edits, key=lambda e: (e.start, -e.end)):
        if not merged or edit.start >= merged[-1].end:
            merged.append(edit)
    return merged
