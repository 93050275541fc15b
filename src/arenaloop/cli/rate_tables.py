"""How `winrate` prints rates: as a table with what is undecided, as JSON, and for each part of the annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arenaloop.arena.slices import RateSlice
from arenaloop.ratings.rate_flags import FLAGS
from arenaloop.ratings.undecided import RateBounds, rate_bounds
from arenaloop.ratings.win_rate import Annotations, WinRate
from arenaloop.terminal import counted, figure, say, show_whole, span

if TYPE_CHECKING:
    from rich.console import Console

    from arenaloop.ratings.rate_difference import RateDifference

__all__ = [
    "flag_notes",
    "rate_rows",
    "show_difference",
    "show_rate_slices",
    "show_rates",
    "slice_document",
    "weight_notes",
]

_FIELDS = (
    "model", "win_rate", "standard_error", "lower", "upper", "lc_win_rate", "lc_lower", "lc_upper", "lc_standard_error",
    "n_wins", "n_draws", "n_total", "avg_length", "flags",
)  # fmt: skip
_NAMED = 8
"""Models, and parts without rates, in one line."""


def rate_rows(rows: Sequence[WinRate], bounds: Mapping[str, RateBounds]) -> list[dict[str, Any]]:
    """The rows of the JSON document."""
    undecided = any(one.undecided for one in bounds.values())
    lost = any(one.own_failures for one in bounds.values())
    board: list[dict[str, Any]] = [{name: getattr(row, name) for name in _FIELDS} for row in rows]
    for told in board:
        one = bounds[told["model"]]
        told |= {"own_failures": one.own_failures} if lost else {}
        if undecided:
            told |= {"n_undecided": one.undecided, "undecided_share": one.share, "worst": one.worst, "best": one.best}
    return board


def slice_document(part: RateSlice) -> dict[str, Any]:
    """A part as JSON has it: its rates, or why there are none."""
    told: dict[str, Any] = {"value": part.value, "annotations": part.count, "median_annotations": part.median}
    if part.annotations is None or not part.rates:
        return told | {"reason": part.reason}
    return told | {"leaderboard": rate_rows(part.rates, rate_bounds(part.annotations, part.rates))}


def show_rates(
    console: Console, rows: Sequence[WinRate], bounds: Mapping[str, RateBounds], control: str | None, level: float
) -> None:
    """Print rates, and what undecided annotations could change of them."""
    interval = f"{level * 100:g} % interval"
    titles = ["model", "win rate", interval, *(["LC win rate", interval] if control else []), "wins", "draws", "n"]
    cells = []
    for row in rows:
        rates = [figure(row.win_rate, ".2f"), span(row.lower, row.upper, ".2f")]
        if control:
            rates += [figure(row.lc_win_rate, ".2f"), span(row.lc_lower, row.lc_upper, ".2f")]
        cells.append([row.model, *rates, str(row.n_wins), str(row.n_draws), str(row.n_total)])
    show_whole(console, titles, cells)
    known = [(row.model, bounds[row.model]) for row in rows]
    rest = [
        [name, f"{b.own_failures:,}", f"{b.undecided:,}", figure(b.share, ".1%"), span(b.worst, b.best, ".2f")]
        for name, b in known
        if b.own_failures or b.undecided
    ]
    if rest:
        titles = ["model", "lost by own failure", "undecided", "of all", "win rate if lost … if won"]
        show_whole(console, titles, rest)


def show_difference(console: Console, apart: RateDifference, level: float) -> None:
    """Print how far apart two models are."""
    interval = f"{level * 100:g} % interval"
    figures = [("win rate", apart.win_rate, apart.lower, apart.upper)]
    if apart.lc_win_rate is not None:
        figures.append(("LC win rate", apart.lc_win_rate, apart.lc_lower, apart.lc_upper))
    cells = [[name, figure(value, "+.2f"), span(lower, upper, "+.2f")] for name, value, lower, upper in figures]
    one, two = apart.models
    console.print()
    show_whole(console, [f"{one} less {two}", "points", interval], cells)
    left = f"; {counted(apart.left_out, 'prompt')} without an outcome of both left out" if apart.left_out else ""
    say(console, f"paired over {counted(apart.prompts, 'prompt')}{left}", style="dim", fold=True)


def weight_notes(annotations: Annotations) -> list[str]:
    """That counts of wins and rates by weight need not go together."""
    weight = annotations.weight
    if weight is None or not len(weight) or bool((weight == weight[0]).all()):
        return []
    some = ", ".join(f"{value:.3g}" for value in np.unique(weight)[:4])
    more = " …" if len(np.unique(weight)) > 4 else ""
    return [f"rows weigh {some}{more}: win rates are by weight; wins, draws and n count rows"]


def flag_notes(rows: Sequence[WinRate], bounds: Mapping[str, RateBounds]) -> list[str]:
    """A line for each flag, with the models that have it."""
    notes = []
    for flag in dict.fromkeys(flag for row in rows for flag in row.flags if flag != "baseline"):
        models = [row.model for row in rows if flag in row.flags]
        if flag == "failed_annotations":
            models = [f"{name} ({bounds[name].undecided:,})" for name in models]
        elif flag == "partial_difficulty":
            of = {row.model: f"{row.n_no_difficulty:,} of {row.n_total:,}" for row in rows}
            models = [f"{name} ({of[name]})" for name in models]
        more = f" and {len(models) - _NAMED:,} more" if len(models) > _NAMED else ""
        notes.append(f"{', '.join(models[:_NAMED])}{more}: {FLAGS[flag]}")
    return notes


def show_rate_slices(console: Console, by: str, slices: Sequence[RateSlice], control: str | None, level: float) -> None:
    """Print the rates of each part, and name those that are too thin."""
    for part in slices:
        if part.annotations is not None and part.rates:
            console.print()
            say(console, f"{by}: {part.value}", style="bold")
            show_rates(console, part.rates, rate_bounds(part.annotations, part.rates), control, level)
            say(console, f"on {counted(len(part.annotations.prompts), 'prompt')}", style="dim", fold=True)
    if thin := [part for part in slices if not part.rates]:
        console.print()
        told = [f"{part.value} ({part.count:,} rows: {part.reason})" for part in thin[:_NAMED]]
        more = f"; and of {len(thin) - _NAMED:,} more (--json names all)" if len(thin) > _NAMED else ""
        fewer = "; --least N takes fewer" if any(part.median is not None for part in thin) else ""
        say(console, f"no rates of {by} {'; '.join(told)}{more}{fewer}", fold=True)
