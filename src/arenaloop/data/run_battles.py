"""Battles of a run directory with what their file leaves out: how long the answers were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.store import Store

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
    seats = _seats(store, keys)
    for row in rows:
        told = [seats[key] for key in row.get("verdicts") or () if key in seats]
        first, second = told[0][:2] if told else (None, None)
        if len(told) == 1 and _b_is_first(row, told[0]):
            first, second = second, first
        for name, text_hash in (("length_a", first), ("length_b", second)):
            if text_hash is not None and text_hash not in lengths:
                texts = store.texts(text_hash)
                lengths[text_hash] = None if texts is None else float(sum(map(len, texts)))
            row[name] = None if text_hash is None else lengths[text_hash]
        yield row


_Seats = tuple[str, str, float | None, float | None]


def _seats(store: Store, keys: list[str]) -> dict[str, _Seats]:
    """Text hashes and scores of the first and the second seat, by verdict key."""
    out: dict[str, _Seats] = {}
    for start in range(0, len(keys), 400):
        some = keys[start : start + 400]
        marks = ",".join("?" * len(some))
        columns = "key, first_hash, second_hash, score_first, score_second"
        query = f"SELECT {columns} FROM verdicts WHERE key IN ({marks}) ORDER BY id"  # noqa: S608
        out |= {row[0]: row[1:] for row in store.select(query, some)}
    return out


def _b_is_first(row: Mapping[str, Any], seats: _Seats) -> bool:
    """Whether a battle of a single verdict seats `model_b` first: its scores stand the other way round.

    (Battles of both seats list the verdict that seats `model_a` first.) Equal scores cannot tell; such a battle is a
    tie, and which length goes with which model is then taken as it stands.
    """
    a, b = row.get("score_a"), row.get("score_b")
    return (a, b) == (seats[3], seats[2]) and (a, b) != (seats[2], seats[3])
