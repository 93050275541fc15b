"""Trainings of other settings in one run directory: each keeps its checkpoint, by the key of what was trained.

A stage's checkpoint stands under the stage's name. Where a training with other settings is to stand there, what was
there before moves to ``NAME.KEY``, finished or not, and comes back when its settings do: nothing is trained twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.errors import StorageError
from arenaloop.jsonl import write_json
from arenaloop.regular_files import read_regular

__all__ = ["STAGE", "Kept", "keep_settings", "kept_checkpoints", "kept_table", "make_room", "words"]

STAGE = "stage.json"
"""Of a finished stage's checkpoint: the recipe's settings with which it was made, and what it came to."""

_RECORD, _ADAPTER, _BASE = "training.json", "adapter_config.json", "base_model_name_or_path"
_DIGITS = 8
_RESULTS = ("rows", "gold_accuracy", "mean_length")
_HOW_RUN = frozenset({"name", "concurrency", "budget_usd", "budget_calls", "machine"})
_SHOWN = 40


def make_room(out: Path, key: str) -> str | None:
    """Let a training find its own checkpoint in its directory: another's moves aside, its own comes back.

    Args:
        out: the training's directory.
        key: content hash of what decides its weights.

    Returns:
        What was done, in words; None where nothing was.

    Raises:
        StorageError: a directory cannot be moved.
    """
    stands, own = _key_of(out), _place(out, key)
    if stands == key:
        return None
    told = []
    with _storage(out):
        if stands is not None:
            aside = _place(out, stands)
            _move(out, aside)
            told.append(f"what was trained there with other settings is kept in {aside}")
        if _key_of(own) == key and not out.exists():
            _move(own, out)
            told.append("what was trained with these stands there again")
    return f"{out.name}: {'; '.join(told)}" if told else None


def _place(out: Path, key: str) -> Path:
    return out.with_name(f"{out.name}.{key[:_DIGITS]}")


def _key_of(out: Path) -> str | None:
    """The key of the training that stands in a directory; None where there is none."""
    key = _document(out / _RECORD).get("key")
    return key if isinstance(key, str) and key else None


def _move(source: Path, target: Path) -> None:
    """Move a checkpoint; adapters that stand beside it and belong to it go on belonging to it."""
    source.rename(target)
    for config in (*target.parent.glob(f"*/{_ADAPTER}"), *target.parent.glob(f"*/*/{_ADAPTER}")):
        told = _document(config)
        base = told.get(_BASE)
        if isinstance(base, str) and os.path.abspath(base) == os.path.abspath(source):
            write_json(config, told | {_BASE: str(target)})


@contextmanager
def _storage(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{out}: cannot be moved ({error.strerror or error})") from error


def keep_settings(out: Path, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Write beside a finished stage's weights with which settings of the recipe they were made."""
    if out.is_dir():
        shown = {name: result[name] for name in _RESULTS if name in result}
        plain = {name: value for name, value in settings.items() if name not in _HOW_RUN}
        write_json(out / STAGE, {"settings": plain, "result": shown})


class Kept(NamedTuple):
    """A checkpoint of other settings.

    Attributes:
        stage: whose it is. `path`: where it stands.
        finished: whether its training is through.
        differs: its settings that are others than those of the checkpoint under the stage's name, as
            ``(setting, here, there)``.
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
    for record in sorted((out / "checkpoints").glob(f"*/{_RECORD}")):
        name, dot, digits = record.parent.name.rpartition(".")
        told = _document(record)
        if not dot or not str(told.get("key", "")).startswith(digits) or len(digits) != _DIGITS:
            continue
        stands = record.parent.with_name(name)
        finished = isinstance(told.get("result"), dict)
        stage = _document(record.parent / STAGE)
        result = stage.get("result") or {"rows": told.get("rows")}
        found.append(Kept(name, record.parent, finished, tuple(_differences(record.parent, stands)), result))
    return found


def _differences(kept: Path, stands: Path) -> Iterator[tuple[str, Any, Any]]:
    """By the recipe's settings where both have them, else by those of the trainings."""
    for name in (STAGE, _RECORD):
        one, other = (_document(place / name).get("settings") for place in (kept, stands))
        if isinstance(one, dict) and isinstance(other, dict):
            mine, theirs = dict(_flat(one)), dict(_flat(other))
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
    rows = [
        [
            one.stage,
            f"{one.path.parent.name}/{one.path.name}",
            "finished" if one.finished else "not finished",
            one.result.get("rows"),
            words(one.differs),
        ]
        for one in kept_checkpoints(out)
    ]
    if not rows:
        return []
    return [
        {
            "title": "Checkpoints of other settings",
            "columns": ["stage", "where", "", "rows trained on", "settings (there, and of the stage as it stands)"],
            "rows": rows,
            "note": "They were trained here before the settings were changed, and are kept: with their settings they "
            "stand under the stage's name again, and are not trained again.",
        }
    ]


def words(differs: tuple[tuple[str, Any, Any], ...]) -> str:
    """Settings that differ, in words."""
    told = [f"{name}: {_short(mine)}, now {_short(theirs)}" for name, mine, theirs in differs]
    return "; ".join(told) or "the same; what it starts from or learns from is other"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _document(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
