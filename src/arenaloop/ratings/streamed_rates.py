"""Win rates against a baseline of battles that come by a block at a time: those of `win_rate.win_rates`.

Memory holds one row of prompts for each model that met the baseline: what it scored there, and in how many battles.
"""

from __future__ import annotations

import numpy as np

from arenaloop.ratings.arrays import tally
from arenaloop.ratings.rates import clustered_rate
from arenaloop.ratings.streamed import StreamedBattles
from arenaloop.ratings.win_rate import Annotations, WinRate

__all__ = ["streamed_win_rates"]


def streamed_win_rates(
    battles: StreamedBattles, baseline: str, *, level: float = 0.95
) -> tuple[Annotations, list[WinRate]]:
    """Win rates of every model that met the baseline, best first.

    Args:
        battles: with prompts, all weighing alike.
        baseline: one of their models.
        level: of the intervals.

    Returns:
        Annotations without rows that tell what is undecided, skipped and noted; and the rates.

    Raises:
        ValueError: the battles lack prompts, weigh differently, or none is with the baseline.
    """
    if baseline not in battles.models:
        raise ValueError(f"no row with the baseline {baseline!r} (found: {', '.join(battles.models[:8]) or 'none'})")
    if battles.unit is None:
        raise ValueError("missing column prompt_id: win rates are joined by prompt")
    if battles.weighted:
        raise ValueError("rows that weigh differently are not streamed to win rates: rank takes them")
    base, size, prompts = battles.models.index(baseline), len(battles.models), battles.clusters
    met = battles.by_pair()
    mine = met[base] + met[:, base]
    with_base = np.zeros((size, size), dtype=bool)
    with_base[base] = with_base[:, base] = True
    undecided = {}
    if battles.undecided is not None:
        undecided = {battles.models[code]: int(battles.undecided[base, code]) for code in range(size) if code != base}
        undecided = {name: many for name, many in undecided.items() if many}
    chosen = np.flatnonzero(mine)
    if not len(chosen) and not undecided:
        raise ValueError(f"no row with the baseline {baseline!r} beside another model")
    place = np.full(size, -1)
    place[chosen] = np.arange(len(chosen))
    scored, fought = np.zeros(len(chosen) * prompts), np.zeros(len(chosen) * prompts)
    wins, draws = np.zeros(size), np.zeros(size)
    for rows in battles.parts():
        rows = rows.chosen(with_base[rows.a, rows.b])
        assert rows.cluster is not None
        model = np.where(rows.a == base, rows.b, rows.a)
        y = np.where(rows.a == base, 1.0 - rows.score_a, rows.score_a)
        at = place[model] * prompts + rows.cluster
        np.add.at(scored, at, y)
        np.add.at(fought, at, np.ones(len(at)))
        wins += tally(model[y > 0.5], size)
        draws += tally(model[y == 0.5], size)
    rates = []
    for code in np.flatnonzero((mine > 0) | np.isin(battles.models, list(undecided))).tolist():
        name = battles.models[code]
        flags = [
            flag
            for flag, there in (("failed_annotations", name in undecided), ("no_preferences", not mine[code]))
            if there
        ]
        figures: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
        if mine[code]:
            row = slice(place[code] * prompts, (place[code] + 1) * prompts)
            rate = clustered_rate(scored[row], fought[row], np.arange(prompts), level=level).scaled(100.0)
            figures = (rate.value, rate.standard_error, rate.lower, rate.upper)
        won, even = int(wins[code]), int(draws[code])
        rates.append(WinRate(name, *figures, None, None, None, won, even, int(mine[code]), None, tuple(flags)))
    nothing = np.zeros(0)
    told = Annotations(
        baseline,
        tuple(rate.model for rate in rates),
        tuple(range(prompts)),
        nothing.astype(np.int64),
        nothing.astype(np.int64),
        nothing,
        nothing,
        nothing,
        skipped=battles.skipped - sum(undecided.values()) + len(battles) - round(float(mine.sum())),
        undecided=undecided,
        notes=battles.notes,
    )
    return told, sorted(rates, key=lambda row: (row.win_rate is None, -(row.win_rate or 0.0), row.model))
