"""Battles of a run directory with what their file leaves out: how long the answers were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.store import Store
from arenaloop.types import Ruling

__all__ = ["arena_of", "rows_with_lengths"]

_BATCH = 2000


def arena_of(directory: Path) -> Path | None:
    """The arena file behind a run directory's battles: its own, or for one below ``rejudged/`` that above."""
    if not (directory / "battles.jsonl").is_file():
        return None
    arenas = (directory / "arena.db", directory.resolve().parent.parent / "arena.db")
    return next((path for path in arenas if path.is_file()), None)


def rows_with_lengths(directory: Path) -> Iterator[dict[str, Any]]:
    """Rows of ``battles.jsonl`` with `length_a` and `length_b`: characters of the texts that were judged, all turns.

    The texts are found by the verdicts behind each battle, so that answers given under other settings, or by models of
    the same name, are not mixed in. A length is null where the arena file no longer holds the verdict.

    Raises:
        InputError: the directory has no battles, or no arena file.
    """
    path, arena = directory / "battles.jsonl", arena_of(directory)
    if arena is None:
        raise InputError(f"{directory}: no battles.jsonl with an arena.db here, which holds the answers' lengths")
    with Store(arena, readonly=True) as store:
        lengths: dict[str, float | None] = {}
        batch: list[dict[str, Any]] = []
        for _, row in read_rows(path):
            batch.append(row)
            if len(batch) == _BATCH:
                yield from _measured(batch, store, lengths)
                batch = []
        yield from _measured(batch, store, lengths)


def _measured(rows: list[dict[str, Any]], store: Store, lengths: dict[str, float | None]) -> Iterator[dict[str, Any]]:
    keys = [str(key) for row in rows for key in row.get("verdicts") or ()]
    rulings = store.rulings(keys)
    for row in rows:
        told = [rulings[key] for key in row.get("verdicts") or () if key in rulings]
        first, second = (told[0].first_hash, told[0].second_hash) if told else (None, None)
        if len(told) == 1 and _b_is_first(row, told[0]):
            first, second = second, first
        for name, text_hash in (("length_a", first), ("length_b", second)):
            if text_hash is not None and text_hash not in lengths:
                texts = store.texts(text_hash)
                lengths[text_hash] = None if texts is None else float(sum(map(len, texts)))
            row[name] = None if text_hash is None else lengths[text_hash]
        yield row


def _b_is_first(row: Mapping[str, Any], ruling: Ruling) -> bool:
    """Whether a battle of a single verdict seats `model_b` first: its scores stand the other way round.

    (Battles of both seats list the verdict that seats `model_a` first.) Equal scores cannot tell; such a battle is a
    tie, and which length goes with which model is then taken as it stands.
    """
    a, b = row.get("score_a"), row.get("score_b")
    scores = ruling.score_first, ruling.score_second
    return (b, a) == scores and (a, b) != scores
