"""Trainings of other settings in one directory: what stood there moves aside by its key, and comes back by it.

Where a training with other settings is to stand, what was there before moves to ``NAME.KEY``, finished or not, and
comes back when its settings do: nothing is trained twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arenaloop.errors import StorageError
from arenaloop.jsonl import write_json
from arenaloop.regular_files import read_regular

__all__ = ["DIGITS", "RECORD", "document", "make_room", "move_checkpoint"]

RECORD = "training.json"
"""What a training says of itself in its directory, with its ``key``."""

DIGITS = 8
"""Of a key, in the name of a directory that was moved aside."""

_ADAPTER, _BASE = "adapter_config.json", "base_model_name_or_path"


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
            move_checkpoint(out, aside)
            told.append(f"what was trained there with other settings is kept in {aside}")
        if _key_of(own) == key and not out.exists():
            move_checkpoint(own, out)
            told.append("what was trained with these stands there again")
    return f"{out.name}: {'; '.join(told)}" if told else None


def _place(out: Path, key: str) -> Path:
    return out.with_name(f"{out.name}.{key[:DIGITS]}")


def _key_of(out: Path) -> str | None:
    """The key of the training that stands in a directory; None where there is none."""
    key = document(out / RECORD).get("key")
    return key if isinstance(key, str) and key else None


def move_checkpoint(source: Path, target: Path) -> None:
    """Move a checkpoint; adapters that stand beside it and belong to it go on belonging to it.

    Raises:
        OSError: it cannot be moved.
    """
    source.rename(target)
    for config in (*target.parent.glob(f"*/{_ADAPTER}"), *target.parent.glob(f"*/*/{_ADAPTER}")):
        told = document(config)
        base = told.get(_BASE)
        if isinstance(base, str) and os.path.realpath(base) == os.path.realpath(source):
            write_json(config, told | {_BASE: str(target)})


@contextmanager
def _storage(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{out}: cannot be moved ({error.strerror or error})") from error


def document(path: Path) -> dict[str, Any]:
    """A JSON object in a file; empty where there is none."""
    try:
        found = json.loads(read_regular(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
