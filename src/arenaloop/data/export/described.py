"""What the prompts' own file says of them, as columns of battles and rows: ids, categories, languages, turns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from arenaloop.jsonl import encode_json
from arenaloop.types import Prompt

__all__ = ["DESCRIPTIONS", "Described", "told_of"]

DESCRIPTIONS = ("category", "language")
"""Tags that are columns of their own."""
_LARGEST = 1 << 63


class Described:
    """The columns that some prompts need. One that any of them has stands in every row, null where a prompt lacks it.

    Args:
        prompts: all whose battles are exported.

    Attributes:
        columns: their names, and whether they hold whole numbers alone (`question_id`, `turn`); the others are texts.
    """

    def __init__(self, prompts: Iterable[Prompt]) -> None:
        kinds: set[type] = set()
        names: set[str] = set()
        for prompt in prompts:
            if (own := prompt.question_id) is not None:
                kinds.add(int if isinstance(own, int) and -_LARGEST <= own < _LARGEST else str)
            names.update(name for name in DESCRIPTIONS if prompt.tags.get(name) is not None)
            if prompt.follow_ups:
                names.add("turn")
        self.columns: dict[str, bool] = {"question_id": kinds == {int}} if kinds else {}
        self.columns |= {name: name == "turn" for name in (*DESCRIPTIONS, "turn") if name in names}

    def cells(self, prompt: Prompt) -> dict[str, Any]:
        """A prompt's cells. Where some ids are numbers and some are texts, all are texts."""
        own = prompt.question_id
        told: dict[str, Any] = {"question_id": own if own is None or self.columns.get("question_id") else str(own)}
        told |= {name: _text(prompt.tags.get(name)) for name in DESCRIPTIONS} | {"turn": prompt.turns}
        return {name: told[name] for name in self.columns}


def told_of(prompt: Prompt) -> dict[str, Any]:
    """What a training row says of its prompt, as far as that prompt's file told it: its id there, and texts."""
    own = {} if prompt.question_id is None else {"question_id": prompt.question_id}
    return own | {name: _text(tag) for name in DESCRIPTIONS if (tag := prompt.tags.get(name)) is not None}


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else encode_json(value).decode()
