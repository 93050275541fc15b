"""Every battle of a report as data for its browser: an index of all, and their texts in parts of about a megabyte.

The data stand in the page as long as it stays within its size, else in files beside it: a page opened as a file can
fetch nothing, but may load scripts of its own folder, so each is a call with JSON. Such a file is named by its content,
so that a page never reads the files of another. Texts are escaped as JSON for a script, and shown as text alone; what
is markup in it is `markdown.rendered`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arenaloop.report.cards import Card
from arenaloop.report.markdown import rendered
from arenaloop.report.texts import Clip, one_line, visible
from arenaloop.types import Winner

__all__ = ["AllBattles", "Beside", "script_json"]

_PART = 1_000_000
"""characters of a part"""
_KINDS = ("", "undecided", "suspicious", "flipped", "gap", "random")
_WINNERS = {Winner.MODEL_A: 0, Winner.TIE: 1, Winner.MODEL_B: 2, None: 3}
_FLIPPED, _OWN_FAILURE = 1, 2
_ESCAPES = [(c, f"\\u{ord(c):04x}") for c in "<>&\u2028\u2029"]
_FILE = re.compile(r"(?:index|\d{5})-[0-9a-f]{16}\.js")


def script_json(value: object) -> str:
    """JSON that may stand in a script element and in a script: no ``<``, ``>``, ``&`` nor line separators."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character, escaped in _ESCAPES:  # str.translate takes ten times as long
        text = text.replace(character, escaped)
    return text


class Beside:
    """The folder of files beside a report: ``report.battles/`` of ``report.html``."""

    def __init__(self, page: Path) -> None:
        self.folder = page.with_name(f"{page.stem}.battles")
        self._new: set[str] = set()

    def put(self, label: str, text: str) -> str:
        """Write a script, and return its address as the page has it."""
        raw = text.encode("utf-8")
        name = f"{label}-{hashlib.sha256(raw).hexdigest()[:16]}.js"
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(raw)
        self._new.add(name)
        return name

    def tidy(self) -> None:
        """Remove the files of an earlier page, and the folder where nothing is left in it."""
        self._remove(keep=self._new)

    def forget(self) -> None:
        """Remove what was written, after a failure."""
        for name in self._new:
            (self.folder / name).unlink(missing_ok=True)

    def _remove(self, keep: set[str]) -> None:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return
        for path in self.folder.iterdir():
            if _FILE.fullmatch(path.name) and path.name not in keep:
                path.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


class AllBattles:
    """Battles in the order of the browser: first those whose cards stand in the page, then the others.

    Args:
        models: names in the order of the board; others are added as they come.
        beside: where the data go once they take more than `room` bytes.
    """

    def __init__(self, models: Sequence[str], beside: Beside, room: int) -> None:
        self._models = {name: code for code, name in enumerate(models)}
        self._prompts: dict[str, int] = {}
        self._snippets: list[list[Any]] = []
        self._tags: dict[str, int] = {}
        self._rows: dict[str, list[Any]] = {name: [] for name in "abwxyfpk"}
        self._texts: dict[str, int] = {}
        self._packed: list[Any] = []
        self._cards: list[Any] = []
        self._size = 0
        self._parts: list[str] = []
        self._names: list[list[Any]] = []
        self._beside, self._room = beside, room
        self.bytes = 0
        self.written = False

    def __len__(self) -> int:
        return len(self._rows["a"])

    def add(self, card: Card, *, prompt_id: str, in_page: bool = False, own_failure: bool = False) -> None:
        """Take the next battle; the texts of one in the page are not taken again.

        Args:
            card: what is shown of it.
            prompt_id: as the battle has it (a card may have it shortened).
            in_page: whether its card stands in the page.
            own_failure: whether a contestant left it without a verdict by its own failure.
        """
        rows = self._rows
        for column, name in (("a", card.model_a), ("b", card.model_b)):
            rows[column].append(self._models.setdefault(name, len(self._models)))
        rows["w"].append(_WINNERS[card.winner])
        for column, score in (("x", card.score_a), ("y", card.score_b)):
            rows[column].append(None if score is None else float(f"{score:.4g}"))
        rows["f"].append(_FLIPPED * card.flipped | _OWN_FAILURE * own_failure)
        rows["p"].append(self._prompt(prompt_id, card))
        rows["k"].append(_KINDS.index(card.kind) if in_page else 0)
        if not in_page:
            self._pack(card)

    def _prompt(self, prompt_id: str, card: Card) -> int:
        code = self._prompts.setdefault(prompt_id, len(self._prompts))
        if code == len(self._snippets):
            tags = [self._tags.setdefault(f"{k}: {v}", len(self._tags)) for k, v in card.tags.items()]
            self._snippets.append([card.snippet, *tags])
        return code

    def _pack(self, card: Card) -> None:
        if not self._cards:
            self._names.append([len(self) - 1])
        seats = [
            [
                one_line(seat.first), one_line(seat.second), int(seat.swapped), visible(seat.votes),
                [[one_line(c.verdict.judge), one_line(c.winner or ""), c.verdict.status.value, c.verdict.score_first,
                  c.verdict.score_second, c.verdict.sample + 1, self._text(c.text), c.error or ""] for c in seat.calls],
            ]
            for seat in card.seats
        ]  # fmt: skip
        self._cards.append([
            [[visible(role), self._text(words)] for role, words in card.history],
            [[self._text(words) for words in turn] for turn in card.turns],
            seats, card.turns_left_out, int(card.lone), int(card.same_text), visible(card.problem or ""), _meta(card),
            [[visible(who), self._text(words)] for who, words in card.said],
        ])  # fmt: skip
        self._size += 200
        if self._size >= _PART:
            self._close()

    def _text(self, text: Clip | None) -> int | None:
        if text is None:
            return None
        key = f"{text.head}\0{text.left_out}\0{text.tail}"
        code = self._texts.setdefault(key, len(self._packed))
        if code == len(self._packed):
            head, tail = visible(text.head), visible(text.tail)
            html = [rendered(text.head), rendered(text.tail)] if text.length else []
            short = not text.left_out and not any(html)
            self._packed.append(head if short else [head, text.left_out, tail, *(html if any(html) else ())])
            self._size += len(head) + len(tail) + sum(len(one or "") for one in html)
        return code

    def _close(self) -> None:
        if not self._cards:
            return
        part = script_json([self._packed, self._cards])
        self._texts, self._packed, self._cards, self._size = {}, [], [], 0
        self.bytes += len(part.encode("utf-8"))
        self._parts.append(part)
        if self.bytes > self._room:
            self._spill()

    def _spill(self) -> None:
        for part in self._parts:
            at = sum(len(one) > 1 for one in self._names)
            self._names[at].append(self._beside.put(f"{at:05d}", f"arenaloopPart({at},{part});\n"))
        self._parts = []
        self.written = True

    def _index(self) -> dict[str, Any]:
        return {
            "models": [one_line(name) for name in self._models],
            "prompts": self._snippets,
            "tags": list(self._tags),
            "rows": self._rows,
            "parts": self._names,
        }

    def embedded(self) -> str | None:
        """All data as JSON for the page; None where they are too many, and parts of them written beside it already."""
        self._close()
        if self.written:
            return None
        return f'{{"index":{script_json(self._index())},"texts":[{",".join(self._parts)}]}}'

    def write(self) -> str:
        """Put all data beside the page; the address of the index."""
        self._close()
        self._spill()
        name = self._beside.put("index", f"arenaloopIndex({script_json(self._index())});\n")
        return f"{self._beside.folder.name}/{name}"


def _meta(card: Card) -> str:
    parts = [f"prompt {card.prompt_id}", *(f"{key} {value}" for key, value in card.tags.items())]
    if card.judges:
        parts.append(f"judge{'s' if len(card.judges) > 1 else ''} {', '.join(map(one_line, card.judges))}")
    if card.keys:
        parts.append(f"verdicts {', '.join(key[:12] for key in card.keys)}")
    return visible(" · ".join(parts))
