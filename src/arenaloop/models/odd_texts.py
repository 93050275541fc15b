"""Recorded texts that look like no answer, though a file gives them for one: counted by shape, and named once.

What a program left in the place of what the model said is told by its shape: the events of a stream, the JSON of a
reply, Python's form of bytes or a list, UTF-8 that was read as Latin-1, lost characters, a word for nothing, the prompt
itself, a text that is as long as a spreadsheet's cell can be. Each may be an honest answer to one prompt or another, so
that nothing is left out; a kind is named where it is more than a few of a file (`_SHARE`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["OddTexts", "spreadsheet_error"]

_CELL = 32_767  # UTF-16 units in a cell of a spreadsheet
_LONGEST_LITERAL = 100_000
_SPREADSHEET_ERROR = re.compile(r"#¿?[A-ZÀ-Ý][A-ZÀ-Ý0-9_/]*[!?]|#N/?[ADV]|Err:5\d\d")
_EVENTS = re.compile(r'\s*(?:event: ?\w[^\n]*\n|id: ?[^\n]*\n|: [^\n]*\n+)*data: ?(?:[{\["]|\[DONE\])')
_NOTHING = re.compile(
    r"[<(\[{*_\"' ]*(?:nan|none|null|nil|undefined|n/a|na|empty|todo|tbd|missing|no (?:output|answer|response|text))"
    r"[>)\]}*_\"'. ]*|[-–—.…?]{1,3}",
    re.IGNORECASE,
)
_BYTES = {bytes([b]).decode("cp1252", "ignore") or chr(b): b for b in range(0x80, 0x100)} | {
    chr(b): b for b in range(0x80, 0xA0)
}
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f\ufffd]+")
_SHARE = {
    "events": 0.0, "reply": 0.0, "cell": 0.0, "mojibake": 0.02, "lost": 0.02, "echo": 0.02, "nothing": 0.02,
    "python": 0.1, "begins": 0.5,
}  # fmt: skip
_TOLD = {
    "events": "hold the events of a server's stream (data: …), not what they say",
    "reply": "are the JSON of a server's whole reply, not what it says",
    "cell": f"are {_CELL:,} characters long, as a spreadsheet's cell can be at most: probably cut",
    "mojibake": "are UTF-8 that was read as Latin-1 (Ã©, â€™ …)",
    "lost": "hold U+FFFD: characters were lost",
    "echo": "are their prompt again",
    "begins": "begin with their prompt",
    "nothing": "are a word for nothing",
    "python": "are written as Python writes bytes, lists or dictionaries",
}
_ALONE = frozenset({"events", "reply", "cell"})
"""Kinds of which a single text is no chance; of the others it takes two."""


def spreadsheet_error(text: str) -> bool:
    """Whether a text is what a spreadsheet shows for a formula that failed: ``#NAME?``, ``#DIV/0!``, ``Err:502``."""
    return _SPREADSHEET_ERROR.fullmatch(text.strip()) is not None


class OddTexts:
    """Counts of texts by kind.

    Attributes:
        texts: how many were looked at.
    """

    def __init__(self) -> None:
        self.texts = 0
        self._counts: dict[str, int] = {}
        self._first: dict[str, int] = {}

    def add(self, text: str, line: int, asked: str = "") -> None:
        """Look at one text of a file; `asked` is what it answers, as far as it is known."""
        self.texts += 1
        for kind in _kinds(text, asked.strip()):
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._first.setdefault(kind, line)

    def lines(self, what: str) -> list[str]:
        """A line for each kind that is more than chance; `what` names the texts."""
        return [
            f"{count:,} of {self.texts:,} {what} {told} (first line {self._first[kind]})"
            for kind, told in _TOLD.items()
            if (count := self._counts.get(kind, 0)) >= (1 if kind in _ALONE else 2)
            and count >= _SHARE[kind] * self.texts
        ]


def _kinds(text: str, asked: str) -> Iterator[str]:
    said = text.strip()
    if len(text) <= _CELL <= 2 * len(text) and len(text.encode("utf-16-le", "surrogatepass")) == 2 * _CELL:
        yield "cell"
    if "\ufffd" in said:
        yield "lost"
    if not said.isascii() and _misread(said):
        yield "mojibake"
    if len(asked) >= 12 and said.startswith(asked):
        yield "echo" if said == asked else "begins"
    if _NOTHING.fullmatch(said):
        yield "nothing"
    elif _EVENTS.match(said):
        yield "events"
    elif said[:1] in ("{", "[", "b", "B") and len(said) <= _LONGEST_LITERAL:
        yield from _literal(said)


def _literal(said: str) -> Iterator[str]:
    """Whether a text is the JSON of a reply, or a value as Python writes it."""
    if said.startswith("{"):
        try:
            found = json.loads(said)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            if _is_reply(found):
                yield "reply"
            return
    if re.match(r"""[bB]['"]|\[\s*['"{]|\{\s*'""", said) is None:
        return
    try:
        value = ast.literal_eval(said)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    if isinstance(value, dict) and _is_reply(value):
        yield "reply"
    else:
        yield "python"


def _is_reply(found: dict[Any, Any]) -> bool:
    """Whether an object has the shape of a server's reply: choices, candidates, or a message with its role."""
    if isinstance(found.get("choices"), list) or isinstance(found.get("candidates"), list):
        return any(isinstance(one, dict) for one in (*_listed(found, "choices"), *_listed(found, "candidates")))
    message = found.get("message")
    if isinstance(message, dict) and {"role", "content"} <= message.keys():
        return True
    return found.get("role") == "assistant" and "content" in found


def _listed(found: dict[Any, Any], name: str) -> list[Any]:
    value = found.get(name)
    return value if isinstance(value, list) else []


def _misread(text: str) -> bool:
    """Whether what is beyond ASCII is, read as bytes again, UTF-8 throughout, with a letter that such text begins with.

    An accented letter before a closing mark (``CAFÉ»``) is UTF-8 by chance, so it takes one of ``Ã``, ``Â``, ``â€`` or
    a longer run.
    """
    telling = False
    for run in _BEYOND_ASCII.findall(text):
        try:
            bytes(_BYTES[c] for c in run).decode("utf-8")
        except (KeyError, UnicodeDecodeError):
            return False
        telling = telling or run[0] in "ÃÂ" or len(run) > 2
    return telling
