"""Trainings of other settings in one run directory: each keeps its checkpoint, by the key of what was trained.

A stage's checkpoint stands under the stage's name. Where a training with other settings is to stand there, what was
there before moves to ``NAME.KEY`` (`models.kept_checkpoint`), and comes back when its settings do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.jsonl import write_json
from arenaloop.models.kept_checkpoint import DIGITS, RECORD, document
from arenaloop.recipes.adopted import RECORD as ADOPTED

__all__ = ["HOW_RUN", "STAGE", "Kept", "keep_settings", "kept_checkpoints", "kept_table", "words"]

STAGE = "stage.json"
"""Of a finished stage's checkpoint: the recipe's settings with which it was made, and what it came to."""

_RESULTS = ("rows", "gold_accuracy", "mean_length")
HOW_RUN = frozenset(
    {"name", "concurrency", "budget_usd", "budget_calls", "machine", "human", "rating", "launch", "elsewhere"}
)
"""Settings of a recipe that decide no weights."""
_SHOWN = 40
_UNKNOWN = object()
"""what a setting is of a model that another trainer made"""


def keep_settings(out: Path, settings: Mapping[str, Any], result: Mapping[str, Any], made: str | None = None) -> None:
    """Write beside a finished stage's weights with which settings they were made; `made`: hash of what decides them."""
    if out.is_dir():
        shown = {name: result[name] for name in _RESULTS if name in result}
        plain = {name: value for name, value in settings.items() if name not in HOW_RUN}
        write_json(out / STAGE, {"settings": plain, "result": shown, **({} if made is None else {"made": made})})


class Kept(NamedTuple):
    """A checkpoint of other settings.

    Attributes:
        stage: whose it is. `path`: where it stands.
        finished: whether its training is through.
        differs: its settings that are others than those of the checkpoint under the stage's name, as
            ``(setting, here, there)``; where an adopted model stands there, those by which the kept ones differ.
        result: what it came to: rows and what was measured, as far as that is known.
    """

    stage: str
    path: Path
    finished: bool
    differs: tuple[tuple[str, Any, Any], ...]
    result: Mapping[str, Any]


def kept_checkpoints(out: Path) -> list[Kept]:
    """All checkpoints of other settings in a run directory, by stage."""
    found = []
    for record in sorted((out / "checkpoints").glob(f"*/{RECORD}")):
        name, dot, digits = record.parent.name.rpartition(".")
        told = document(record)
        if not dot or not str(told.get("key", "")).startswith(digits) or len(digits) != DIGITS:
            continue
        stands = record.parent.with_name(name)
        finished = isinstance(told.get("result"), dict)
        stage = document(record.parent / STAGE)
        result = stage.get("result") or {"rows": told.get("rows")}
        found.append(Kept(name, record.parent, finished, tuple(_differences(record.parent, stands)), result))
    return found


def _differences(kept: Path, stands: Path) -> Iterator[tuple[str, Any, Any]]:
    """By the recipe's settings where both have them, else by those of the trainings; an adopted model has neither."""
    if (stands / ADOPTED).is_file():
        yield "made by", "this run", "another trainer (adopted)"
        others = [one.parent for one in stands.parent.glob(f"{stands.name}.*/{RECORD}") if one.parent != kept]
        unlike = {key: mine for other in sorted(others) for key, mine, _ in _between(kept, other)}
        yield from ((key, mine, _UNKNOWN) for key, mine in unlike.items())
    else:
        yield from _between(kept, stands)


def _between(kept: Path, stands: Path) -> Iterator[tuple[str, Any, Any]]:
    """The settings in which two checkpoints differ."""
    for name in (STAGE, RECORD):
        one, other = (document(place / name).get("settings") for place in (kept, stands))
        if isinstance(one, dict) and isinstance(other, dict):
            unlike = frozenset() if name == RECORD else HOW_RUN  # which earlier versions wrote down
            mine, theirs = (
                dict(_flat({key: value for key, value in told.items() if key not in unlike})) for told in (one, other)
            )
            keys = [key for key in dict.fromkeys([*theirs, *mine]) if mine.get(key) != theirs.get(key)]
            yield from ((key, mine.get(key), theirs.get(key)) for key in keys)
            return


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def kept_table(out: Path) -> list[dict[str, Any]]:
    """One table of the checkpoints of other settings, for the report; none where there are none."""
    kept = kept_checkpoints(out)
    rows = [
        [
            one.stage,
            f"{one.path.parent.name}/{one.path.name}",
            "finished" if one.finished else "not finished",
            one.result.get("rows"),
            words(one.differs),
        ]
        for one in kept
    ]
    if not rows:
        return []
    adopted = any((one.path.with_name(one.stage) / ADOPTED).is_file() for one in kept)
    later = "; where an adopted model stands, once that is removed" if adopted else ""
    return [
        {
            "title": "Checkpoints of other settings",
            "columns": ["stage", "where", "", "rows trained on", "settings (there, and of the stage as it stands)"],
            "rows": rows,
            "note": "They were trained here before what stands there now, and are kept: with their settings they stand "
            f"under the stage's name again, and are not trained again{later}.",
        }
    ]


def words(differs: tuple[tuple[str, Any, Any], ...]) -> str:
    """Settings that differ, in words."""
    told = [
        f"{name}: {_short(mine)}" + ("" if theirs is _UNKNOWN else f", now {_short(theirs)}")
        for name, mine, theirs in differs
    ]
    return "; ".join(told) or "the same; what it starts from or learns from is other"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
