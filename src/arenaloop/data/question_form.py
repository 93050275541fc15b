"""What a text asks, however it is written: its words, and the signs that are part of what it says.

Two texts of one form differ in writing only: case, width, Unicode form, look-alike letters, invisible characters,
blanks and punctuation, Markdown, paired tags, HTML entities, a chat template's control tokens, labels: ``Question:``
or ``### Input:`` before its parts, ``Answer:`` behind. Signs that make another question stay: operators (``a+b`` is not
``a-b``), a minus, a decimal point, brackets around numbers and variables, and what parts two words.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from urllib.parse import unquote

from arenaloop.control_tokens import without
from arenaloop.normal_form import latin_look, nfkc

__all__ = ["asked", "key", "lines", "plain", "size", "tokens_of", "unaccented"]

_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
_TYPED: dict[int, str] = str.maketrans({
    **dict.fromkeys("‘’‚‛´ʼ′", "'"), **dict.fromkeys("`\"“”„‟«»″", ""), **dict.fromkeys("‐‑‒–—―−﹣", "-"),
    **dict.fromkeys("×⋅∗✕✖", "*"), "÷": "/", "∕": "/", "⁄": "/", "≤": "<=", "≥": ">=", "≠": "!=", "→": "->", "⇒": "=>",
    "…": ".", "。": ".", "，": ",", "、": ",", "：": ":", "？": "?", "！": "!", "؟": "?", "،": ",", "।": ".", "_": " ",
})  # fmt: skip
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\[nrt]")
_LINK = re.compile(r"\[([^\[\]\n]*)\]\((?:[a-zA-Z]+:|[/#]|www\.)[^()\s]*\)")
_CLOSED = re.compile(r"</\s*([a-zA-Z][\w:-]{0,40})\s*>|<([a-zA-Z][\w:-]{0,40})(?:\s[^<>]*)?/>")
_UNCLOSED = ("br", "hr", "p", "li", "img")
"""Elements that HTML need not close; a name in angle brackets that nothing closes is text (``vector<int>``)."""
_BLOCKS = frozenset({*_UNCLOSED, "div", "ul", "ol", "tr", "td", "table", "pre", "blockquote", "section"})
_EMPHASIS = re.compile(r"(?<![\w*~])(\*{1,3}|~~)(?=[^\s*~])([^*~\n]+)(?<=\S)\1(?![\w*~])")
_LINE_MARKS = re.compile(r"\s*(?:(?:>|[*+-](?=\s)|\#+(?=\s))[ \t]*)+")
_EDGES = re.compile(r"\A\s*<s>|</s>\s*\Z")  # tokens that begin and end a text, and the names of HTML's elements
_LABEL = re.compile(
    r"\s*(?:instructions?|inputs?|text|context|passage|document|question|prompt|query|task)\s*:(?=\s|\Z)", re.IGNORECASE
)
"""What templates of fine-tuning put before the parts of a question, each at the begin of a line."""
_RULES = re.compile(r"={3,}|\*{3,}|-{3,}")
# around a question in chat templates and in collections of questions; with a number they tell questions apart and stay
_ASKS = re.compile(r"\s*(?:question|q|user|human|prompt|instruction|query)[^\S\n]*[:\n]", re.IGNORECASE)
_ANSWERS = re.compile(r"(?:^|(?<=\s))(?:answer|a|assistant|response)\s*:\s*\Z|\n\s*(?:assistant|model)\s*\Z", re.I)

# scripts that write no blanks: each character is a word of its own. Han, kana, Thai, Lao, Tibetan, Burmese, Khmer
_SOLID = re.compile(
    r"([\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0fff\u1000-\u109f"
    r"\u1780-\u17ff\U00020000-\U0003ffff])"
)
# marks that Python's \w leaves out, and without which words of their scripts are others: combining accents, Hebrew
# points, Arabic vowels, Indic signs
_MARKS = r"\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_LONE = r"[^\W\d](?![\w])"  # a variable, ahead
_TOKEN = re.compile(
    rf"""
    [\w{_MARKS}\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]+
  | [+<=>^%&*/±¬∂∆∇\u2190-\u21ff\u2200-\u22ff]
  | \|(?=\|)|(?<=\|)\||\|(?=\w)(?<=\w\|)
  | -(?=[\d.])(?<![^\W\d]-)                             # 2-3, -5; not covid-19
  | -(?={_LONE})(?<=\d-)|-(?=(?:\d|{_LONE}))(?<=\b[^\W\d]-)|-(?=\s?(?:\d|\(|{_LONE}))(?:(?<=\d\s-)|(?<=\b[^\W\d]\s-))
  | -(?=\s?[\w(])(?:(?<=\)-)|(?<=\)\s-))|-(?=-)(?<=\w-)|-(?=>)
  | [.,:](?=\d)(?<=\d[.,:])|:(?<=\[:)|:(?=\])
  | !(?=[\w=(])|!(?=\s?[=/*+^%<>-])(?<=\w!)|[$€£¥₹~\#](?=\d)|\#(?<=\b[^\W\d]\#)
  | [(\[{{](?=\s?(?:[\d+-]|{_LONE}))|[)\]}}](?:(?<=\d.)|(?<=\b[^\W\d].))
    """,
    re.VERBOSE,
)
_APOSTROPHE = re.compile(r"(?<=[^\W\d])'(?=[^\W\d])")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_PILED = re.compile(r"([\u0300-\u036f])[\u0300-\u036f]+")


def plain(text: str) -> str:
    """A text without what sets it rather than says it: entities, tags, control tokens, Markdown, look-alikes, case.

    Lines stay lines; what a control token or a block's tag parts are lines, too. The time is linear in the text.
    """
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "%20" in text:
        text = unquote(text)
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    if "\\" in text:
        text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else "\n", text)
    if not text.isascii():
        text = _PILED.sub(r"\1", latin_look(nfkc(_INVISIBLE.sub("", text))))
    text = _EDGES.sub("\n", without(text, "\n")).translate(_TYPED)
    if "<" in text and ("</" in text or "/>" in text or "<br" in text or "<p>" in text):
        text = _untagged(text)
    if "'" in text:
        text = _APOSTROPHE.sub("", text)
    if "*" in text or "~~" in text:
        text = _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", text))
    if "===" in text or "***" in text or "---" in text:
        text = _RULES.sub("", text)
    return "\n".join(map(_unmarked, text.casefold().split("\n")))


def _unmarked(line: str) -> str:
    """A line without what Markdown begins one with (a list's item, a heading, a quotation), nor a part's label."""
    mark = line.lstrip()[:1]
    found = _LINE_MARKS.match(line) if mark and mark in ">*+-#" else None
    line = line[found.end() :] if found else line
    label = _LABEL.match(line) if ":" in line else None
    return line[label.end() :] if label else line


def asked(text: str) -> list[str]:
    """The words and telling signs of a text, labels around it taken off; `text` is `plain`."""
    at = 0
    while (label := _ASKS.match(text, at)) is not None:
        at = label.end()
    text = text[at:] if text[at:].strip() else text
    if (label := _ANSWERS.search(text, max(0, len(text) - 40))) is not None and text[: label.start()].strip():
        text = text[: label.start()]
    return tokens_of(text)


def tokens_of(text: str) -> list[str]:
    """The words and telling signs of a `plain` text."""
    if not text.isascii():
        text = _SOLID.sub(r" \1 ", text)
    return _TOKEN.findall(text)


def lines(text: str) -> list[list[str]]:
    """The tokens of each line of a `plain` text, where the end of a label (a colon before a blank) ends a line, too."""
    return [found for line in re.split(r"\n|:\s", text) if (found := tokens_of(line))]


def key(tokens: Sequence[str]) -> str:
    """Tokens as one text."""
    return " ".join(tokens)


def size(tokens: Sequence[str]) -> float:
    """How many words tokens are; a character of a script without blanks is half a word, a sign is none."""
    return sum(0.5 if _SOLID.match(token) else 1.0 for token in tokens if token[0].isalnum())


def unaccented(text: str) -> str:
    """A text without the accents of its letters; other scripts' signs stay."""
    return text if text.isascii() else "".join(map(_base, text))


@cache
def _base(character: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", character)))


def _untagged(text: str) -> str:
    """Without paired and self-closing tags; those that begin a block leave a line's end."""
    names = {(closed or alone).lower() for closed, alone in _CLOSED.findall(text)} | {*_UNCLOSED}

    def left(found: re.Match[str]) -> str:
        name = found[1].lower()
        return found[0] if name not in names else "\n" if name in _BLOCKS else ""

    return re.sub(r"</?\s*([a-zA-Z][\w:-]{0,40})(?:\s[^<>]*)?/?>", left, text)
