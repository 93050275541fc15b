"""How the models write, and what they would win if they all wrote alike: a table under the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, islice

import numpy as np

from arenaloop.data.formats.judgments import battles_from_rows
from arenaloop.data.run_battles import arena_of, read_failures, rows_with_lengths
from arenaloop.errors import InputError
from arenaloop.ratings.controlled_rates import controlled_rates
from arenaloop.ratings.style_features import FEATURES
from arenaloop.report.documents import Documents
from arenaloop.report.tables import Table, table

__all__ = ["style_table"]

_MOST = 50_000
"""battles that are counted; of more, the first"""
_COLUMNS = ["model", "length", "headers", "list items", "bold", "win rate", "at equal length", "at equal style"]
_NOTE = (
    "Length in characters, per answer that battled. Judges like length and markdown: beside the win rate stands what "
    "the model would win in the same battles between answers of equal length, and of equal style (length, headers, "
    "list items, bold), by a Bradley–Terry fit with these as covariates. A dash: the battles do not tell it."
)


def style_table(documents: Documents) -> Table | None:
    """The table, in the order of the leaderboard; None where no battle has its texts any more."""
    if arena_of(documents.directory) is None:
        return None
    failures = read_failures(documents.directory)
    rows = list(islice(rows_with_lengths(documents.directory, failures, styled=True), _MOST))
    try:
        battles = {
            control: battles_from_rows(zip(count(1), rows, strict=False), "battles", controls=[control])
            for control in ("length", "style")
        }
    except InputError:  # nothing decided
        return None
    means = _means(rows)
    if not means:
        return None
    plain = dict(zip(battles["length"].models, battles["length"].per_model()[1].tolist(), strict=True))
    controlled = {
        control: dict(zip(some.models, rates.tolist(), strict=True))
        for control, some in battles.items()
        if (rates := controlled_rates(some, [control])) is not None
    }
    names = [str(row["model"]) for row in documents.rows if str(row["model"]) in means]
    return table({
        "title": "Length and style",
        "columns": _COLUMNS,
        "rows": [
            [
                name,
                round(means[name][0]),
                *(f"{mean:.1f}" for mean in means[name][1:]),
                _percent(plain.get(name)),
                *(_percent(controlled.get(control, {}).get(name)) for control in ("length", "style")),
            ]
            for name in names
        ],
        "note": _NOTE + (f" Of the first {_MOST:,} battles." if len(rows) == _MOST else ""),
    })  # fmt: skip


def _means(rows: Sequence[dict[str, object]]) -> dict[str, list[float]]:
    """Of each model the mean of every feature over its judged answers; a battle lost by own failure has none."""
    found: dict[str, list[list[float]]] = {}
    for row in rows:
        if row.get("own_failure") is not None:
            continue
        for side in ("_a", "_b"):
            numbers = [row.get(f"{name}{side}") for name in FEATURES]
            if all(isinstance(number, float) for number in numbers):
                found.setdefault(str(row[f"model{side}"]), []).append(numbers)  # type: ignore[arg-type]
    return {name: np.mean(some, axis=0).tolist() for name, some in found.items()}


def _percent(share: float | None) -> str | None:
    return None if share is None or math.isnan(share) else f"{share * 100:.1f} %"
