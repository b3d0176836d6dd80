"""Converts Markdown and HTML to the text that a person would read aloud."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

MARKUPS = ("none", "markdown", "html")
_BLOCKS = frozenset(
    "address article aside blockquote body dd div dl dt figcaption figure footer form h1 h2 "
    "h3 h4 h5 h6 header hr li main "
    "nav ol p pre section table tbody tfoot thead title tr ul".split()
)
_HIDDEN = frozenset("script style template noscript head svg math iframe object".split())


def plain_text(text: str, markup: str) -> str:
    """The words of a page, one line per block; `structure` turns the line breaks into pauses.

    Args:
        text: the page.
        markup: `markdown`, `html` or `none`.

    Raises:
        ValueError: if markup is none of these.
    """
    if markup == "none":
        return text
    if markup == "html":
        return from_html(text)
    if markup == "markdown":
        return from_markdown(text)
    raise ValueError(f"markup is one of {', '.join(MARKUPS)}, not {markup!r}.")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.hidden = [], []

    def handle_starttag(self, tag, attrs):
        if tag in _HIDDEN:
            self.hidden.append(tag)
        if self.hidden:
            return
        if tag == "br":
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag == "li":
            self.parts.append("\n\n- ")
        elif tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag == "img":
            self.parts.append(f" {dict(attrs).get('alt') or ''} ")

    def handle_endtag(self, tag):
        if self.hidden and tag == self.hidden[-1]:
            self.hidden.pop()
        elif tag in _BLOCKS and not self.hidden:
            self.parts.append("\n\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def from_html(text: str) -> str:
    """HTML as text: without tags, scripts and styles; entities become characters, blocks become paragraphs."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    page = re.sub(r"[ ]*\n[ ]*", "\n", "".join(reader.parts))
    return re.sub(r"\n{3,}", "\n\n", page).strip()


_MARKDOWN = (
    (re.compile(r"\A---\n(?:[^\n]*\n){0,200}?---\n"), ""),  # front matter
    (re.compile(r"^[ ]{0,3}(?:```|~~~)[^\n]*$", re.MULTILINE), ""),
    (re.compile(r"<!--(?:[^-]|-(?!->))*+(?:-->|\Z)"), ""),
    (re.compile(r"!\[([^\]\n]{0,500})\]\([^)\n]{0,1000}\)"), r"\1"),
    (re.compile(r"\[([^\]\n]{0,500})\]\([^)\n]{0,1000}\)"), r"\1"),
    (re.compile(r"\[([^\]\n]{1,500})\]\[[^\]\n]{0,200}\]"), r"\1"),
    (re.compile(r"^[ ]{0,3}\[[^\]\n]{1,200}\]:[^\n]*$", re.MULTILINE), ""),
    (re.compile(r"\[\^[^\]\n]{1,50}\]"), ""),
    (re.compile(r"<((?:https?|mailto):[^>\s]{1,1000})>"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>\n]{0,500}>"), " "),
    (re.compile(r"`{1,3}([^`\n]{1,500})`{1,3}"), r"\1"),
    (re.compile(r"(?<![*\w\\])(\*{1,3})(?=\S)([^*\n]{1,1000}?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"(?<![_\w\\])(_{1,3})(?=\S)([^_\n]{1,1000}?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"~~([^~\n]{1,1000})~~"), r"\1"),
    (re.compile(r"^([^\n]+)\n[=-]{3,}[ ]*$", re.MULTILINE), r"\1\n"),
    (re.compile(r"^[ ]{0,3}#{1,6}[ ]+([^\n]*?)[ ]*#*[ ]*$", re.MULTILINE), r"\n\1\n"),
    (re.compile(r"^([ ]*[-*+]|[ ]*\d{1,3}[.)])[ ]+\[[ xX]\][ ]", re.MULTILINE), r"\1 "),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|~-])"), r"\1"),
)


def from_markdown(text: str) -> str:
    """Markdown as text: without its marks; links become their text, images their description, code its text."""
    text = text.replace("\r\n", "\n")
    for pattern, replacement in _MARKDOWN:
        text = pattern.sub(replacement, text)
    return html.unescape(text).strip()
