"""Markdown of contestants and judges as a page may show it: headings, lists, emphasis, code, quotes, tables.

The parser is markdown-it's, with HTML, links and images off: an address stays the text that was written, so nothing on
the page leads out of it or is loaded. Its own renderer is not used. Tokens become elements by the table below, without
attributes (but the first number of a list), and whatever is not in it is printed as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

from arenaloop.report.texts import visible

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["rendered"]

_LONGEST = 20_000
"""characters of a text that is rendered; a longer one is shown raw"""
_DEEPEST = 20
"""levels of lists and quotes"""
_ELEMENTS = {
    "bullet_list": "ul", "ordered_list": "ol", "list_item": "li", "blockquote": "blockquote", "paragraph": "p",
    "strong": "strong", "em": "em", "s": "s", "table": "table", "thead": "thead", "tbody": "tbody", "tr": "tr",
    "th": "th", "td": "td",
}  # fmt: skip
_HEADINGS = {"h1": "h4", "h2": "h5", "h3": "h6"}
"""An answer's headings stand below those of the page."""
_MARKS = re.compile(r"[*_`~#>|\\&]|^[ \t]*(?:[-+=]|\d+[.)])|^(?: {4}|\t)", re.MULTILINE)
"""Without any of these, a text is paragraphs and no more."""
_PLAIN = frozenset({"paragraph_open", "paragraph_close", "inline", "text", "softbreak", "hardbreak"})


@lru_cache(maxsize=4096)
def rendered(text: str) -> str | None:
    """Markdown as safe HTML; None for a text that looks the same raw, and for one that is too long or nested too deep.

    Hidden characters are spelled out, also those that are written as entities (see `texts.visible`).
    """
    if len(text) > _LONGEST or not _MARKS.search(text):
        return None
    tokens = _parser().parse(visible(text))
    if all(token.type in _PLAIN and all(one.type in _PLAIN for one in token.children or ()) for token in tokens):
        return None
    if any(token.level >= _DEEPEST - 1 for token in tokens):  # the parser drops what stands below
        return None
    return "".join(_block(tokens))


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False, "maxNesting": _DEEPEST})
    return parser.enable(["table", "strikethrough"]).disable(
        ["link", "image", "autolink", "html_inline", "html_block", "reference"]
    )


def _block(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        kind, _, end = token.type.rpartition("_")
        name = _HEADINGS.get(token.tag, "h6") if kind == "heading" else _ELEMENTS.get(kind)
        if token.hidden:  # the paragraphs of a tight list
            continue
        if name == "ol" and end == "open" and isinstance(first := token.attrs.get("start"), int):
            yield f'<ol start="{first}">'
        elif name is not None and end in ("open", "close"):
            yield f"<{'/' * (end == 'close')}{name}>"
        elif token.type == "inline":
            yield from _inline(token.children or ())
        elif token.type in ("fence", "code_block"):
            yield f"<pre><code>{_text(token.content)}</code></pre>"
        elif token.type == "hr":
            yield "<hr>"
        else:
            yield _text(token.content)


def _inline(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        kind, _, end = token.type.rpartition("_")
        if kind in _ELEMENTS and end in ("open", "close"):
            yield f"<{'/' * (end == 'close')}{_ELEMENTS[kind]}>"
        elif token.type == "code_inline":
            yield f"<code>{_text(token.content)}</code>"
        elif token.type in ("softbreak", "hardbreak"):
            yield "<br>"
        else:
            yield _text(token.content)


def _text(words: str) -> str:
    return escape(visible(words))
