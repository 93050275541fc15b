"""Recorded texts that look like no answer, though a file gives them for one: counted by shape, and named once.

What a program left in the place of what the model said is told by its shape: the events of a stream, the JSON of a
reply, bytes, lists or objects as programs write them, escapes, entities, UTF-8 that was read as Latin-1, lost
characters, a word for nothing, the prompt itself, a text that is as long as a spreadsheet's cell can be. Each may be an
honest answer to one prompt or another, so that nothing is left out; a kind is named where it is more than a few of a
file (`_SHARE`).
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from arenaloop.models.recorded_ends import plain_name

__all__ = ["LOST", "OddTexts", "asked_in", "spreadsheet_error", "writer_in"]

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
_OBJECT = re.compile(
    r"[A-Z]\w*\(\w+=.*\)|<[\w.]+ [^<>]*\bat 0x[0-9a-fA-F]+>|\[object \w+\]|content=['\"].*['\"] \w+=.*", re.DOTALL
)
_ENTITIES = re.compile(r"&(?:#\d{2,4}|#x[0-9a-f]{2,4}|quot|amp|lt|gt|apos|nbsp);", re.IGNORECASE)
_ESCAPED = re.compile(r"\\u[0-9a-fA-F]{4}|\\n(?![a-z])")
_LISTS = ("choices", "candidates")
_CALL = frozenset({"object", "created", "created_at", "usage", "done", "finish_reason", "stop_reason", "model", "role"})
_BROUGHT = frozenset({"content", "message", "response", "output", "text", "completion", "generated_text"})
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f\ufffd]+")
_SHARE = {
    "events": 0.0, "reply": 0.02, "cell": 0.0, "mojibake": 0.02, "lost": 0.02, "echo": 0.02, "nothing": 0.02,
    "python": 0.1, "entities": 0.1, "escaped": 0.1, "begins": 0.5,
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
    "python": "are written as a program writes its values (b'…', ['…'], Name(content='…'))",
    "entities": "hold entities of HTML (&quot;, &#39;)",
    "escaped": "hold line ends or characters that are escaped (\\n, \\u2019)",
}
LOST = ("cell", "mojibake", "lost")
"""Kinds of text that lost something on its way, whoever wrote it: of prompts, only these are odd."""
_ALONE = frozenset({"events", "reply", "cell"})
"""Kinds of which a single text is no chance; of the others it takes two."""


def spreadsheet_error(text: str) -> bool:
    """Whether a text is what a spreadsheet shows for a formula that failed: ``#NAME?``, ``#DIV/0!``, ``Err:502``."""
    return _SPREADSHEET_ERROR.fullmatch(text.strip()) is not None


_WRITERS = frozenset({"generator", "model", "modelid", "modelname"})
"""Columns that say who wrote an answer, as `plain_name` has them."""


def writer_in(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Who wrote a recorded answer, as its row says; empty where it does not."""
    named = (value for name, value in row.items() if plain_name(name) in _WRITERS)
    return next(((name.strip(),) for name in named if isinstance(name, str) and name.strip()), ())


def asked_in(row: Mapping[str, Any]) -> str:
    """What a row's last answer answers; empty where the row tells it by an id only."""
    for name in ("instruction", "prompt"):
        if isinstance(text := row.get(name), str):
            return text
    messages = row.get("messages") or row.get("prompt")
    said = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    contents = [m.get("content") for m in said if m.get("role") == "user"]
    return contents[-1] if contents and isinstance(contents[-1], str) else ""


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

    def lines(self, what: str, kinds: Collection[str] = tuple(_TOLD)) -> list[str]:
        """A line for each of these kinds that is more than chance; `what` names the texts."""
        return [
            f"{count:,} of {self.texts:,} {what} {told} (first line {self._first[kind]})"
            for kind, told in _TOLD.items()
            if kind in kinds
            and (count := self._counts.get(kind, 0)) >= (1 if kind in _ALONE else 2)
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
    if _ENTITIES.search(said):
        yield "entities"
    if "\n" not in said and "`" not in said and _ESCAPED.search(said):
        yield "escaped"
    if _NOTHING.fullmatch(said):
        yield "nothing"
    elif _EVENTS.match(said):
        yield "events"
    elif _OBJECT.fullmatch(said):
        yield "python"
    elif said[:1] in ("{", "[", "b", "B", '"') and len(said) <= _LONGEST_LITERAL:
        yield from _literal(said)


def _literal(said: str) -> Iterator[str]:
    """Whether a text is the JSON of a reply (whole, or its first line), or a value as a program writes it."""
    if said[0] in '{["':
        for part in dict.fromkeys((said, said.partition("\n")[0])):
            try:
                found = json.loads(part)
            except (ValueError, RecursionError):
                continue
            if _is_reply(found):
                yield "reply"
            elif isinstance(found, str) and "\\" in part and part == said:
                yield "python"
            return
    if re.match(r"""[bB]['"]|\[\s*['"{]|\{\s*'""", said) is None:
        return
    try:
        value = ast.literal_eval(said)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return
    yield "reply" if _is_reply(value) else "python"


def _is_reply(found: Any) -> bool:
    """Whether a value has the shape of a server's reply: it tells of a call, and holds what it brought."""
    if isinstance(found, list) and found:
        return _is_reply(found[0])
    if not isinstance(found, dict):
        return False
    if any(isinstance(found.get(name), list) and found[name] and isinstance(found[name][0], dict) for name in _LISTS):
        return True
    return "generated_text" in found or (not _CALL.isdisjoint(found) and not _BROUGHT.isdisjoint(found))


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
