"""Battles of a run directory with what their file leaves out: how long the answers were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arenaloop.errors import InputError
from arenaloop.jsonl import read_rows
from arenaloop.store import Store
from arenaloop.types import Outcome, Ruling, Winner

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
        if _b_is_first(row, told, store):
            first, second = second, first
        for name, text_hash in (("length_a", first), ("length_b", second)):
            if text_hash is not None and text_hash not in lengths:
                texts = store.texts(text_hash)
                lengths[text_hash] = None if texts is None else float(sum(map(len, texts)))
            row[name] = None if text_hash is None else lengths[text_hash]
        yield row


def _b_is_first(row: Mapping[str, Any], told: Sequence[Ruling], store: Store) -> bool:
    """Whether a battle of one seat has `model_b` there first: it wrote that text, or if both did, the outcome tells.

    (Battles of both seats list the verdicts that seat `model_a` first.) A tie between models that both wrote both texts
    cannot tell; which length goes with which model is then taken as it stands.
    """
    if len({(ruling.first_hash, ruling.second_hash) for ruling in told}) != 1:
        return False
    wrote = store.authors(told[0].prompt_id, told[0].first_hash)
    if (row.get("model_a") in wrote) != (row.get("model_b") in wrote):
        return row.get("model_b") in wrote
    outcome = told[0].outcome
    return outcome in (Outcome.A, Outcome.B) and row.get("winner") == Winner.of(outcome.swap())
