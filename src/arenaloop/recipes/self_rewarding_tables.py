"""What a model that judges itself tells of its judging, iteration by iteration, in ``summary.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from arenaloop.arena.board import Leaderboard, Row
from arenaloop.recipes.stage import StageResult

__all__ = ["best_stage", "drift_curves", "drift_tables", "unread_tables"]

_SCORES = (
    ("unread", "failure_rate"),
    ("mean", "mean"),
    ("perfect", "perfect"),
    ("not whole", "non_integer"),
    ("commonest", "commonest"),
    ("its share", "commonest_share"),
    ("length", "mean_length"),
)
_META = (
    ("unread", "failure_rate"),
    ("follows the score", "follows_score"),
    ("first seat", "first_seat"),
    ("of equal scores", "first_seat_equal"),
    ("w1", "first_weight"),
)
_GATE = {"against": "source", "n": "n", "right": "value", "lower": "lower", "upper": "upper", "limit": "limit"}
_GATED = {"order": "pairs of answers", "meta": "verdicts on two judgements"}
_PASSED = {True: "yes", False: "no", None: "not measured"}
_CURVES = {
    "Mean score": (("scores", "mean"),),
    "Share of perfect scores": (("scores", "perfect"),),
    "Judge against the truth": (("", "judge_spearman"), ("", "judge_pairwise")),
    "Length of answers that were judged": (("", "answer_length"),),
    "Meta-judge": (("meta", "follows_score"), ("meta", "first_seat"), ("meta", "first_seat_equal")),
}


def _judging(results: Mapping[str, StageResult]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Of each iteration the model that judged, and the figures of its judging."""
    for result in results.values():
        if result.selection is not None:
            yield result.selection["judged_by"], result.selection["judging"]


def _figure(figures: Mapping[str, Any], part: str, key: str) -> Any:
    return (figures.get(part) or {} if part else figures).get(key)


def unread_tables(unread: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """What was left out of files as they were read, by setting and reason; no table where that is nothing."""
    rows = [[what, why, n] for what, some in unread.items() for why, n in sorted(some.items()) if n]
    return [{"title": "Left out of files", "columns": ["", "why", "rows"], "rows": rows}] if rows else []


def drift_tables(results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    """How the model judged in each iteration; a table is left out where there is nothing to tell."""
    iterations = list(_judging(results))
    tables = []
    scored = [(name, figures) for name, figures in iterations if figures.get("scores")]
    if scored:
        known = ("judge_spearman", "judge_pairwise", "truth_unknown")
        gold = [key for key in known if any(key in figures for _, figures in scored)]
        tables.append(
            {
                "title": "How the model judged answers",
                "columns": ["judge", "judgements", *(told for told, _ in _SCORES), *gold],
                "rows": [
                    [name, figures["scores"]["asked"], *(figures["scores"][key] for _, key in _SCORES)]
                    + [figures.get(key) for key in gold]
                    for name, figures in scored
                ],
                "note": "What could not be read has no score, and no answer without one is learned from.",
            }
        )
        values = sorted({value for _, figures in scored for value in figures["scores"]["histogram"]}, key=float)
        tables.append(
            {
                "title": "Scores",
                "columns": ["judge", *values],
                "rows": [
                    [name, *(figures["scores"]["histogram"].get(value, 0) for value in values)]
                    for name, figures in scored
                ],
            }
        )
    compared = [(name, figures) for name, figures in iterations if figures.get("meta")]
    if compared:
        tables.append(
            {
                "title": "How the model judged its judgements",
                "columns": ["judge", "verdicts", *(told for told, _ in _META), "pairs", "share of rows"],
                "rows": [
                    [name, *(figures["meta"][key] for key in ("asked", *(key for _, key in _META)))]
                    + [figures[key] for key in ("judge_rows", "judge_share")]
                    for name, figures in compared
                ],
                "note": "w1 is what a win from the first seat weighs; without a seat's advantage it is one half.",
            }
        )
    gates = [(name, found) for name, figures in iterations for found in figures.get("gates", ())]
    if gates:
        tables.append(
            {
                "title": "Gates before training",
                "columns": ["judge", "gate", *_GATE, "passed"],
                "rows": [
                    [name, found["rule"], *(found[key] for key in _GATE.values()), _PASSED[found["passed"]]]
                    for name, found in gates
                ],
                "note": "Passed where the lower end of the 95 % interval of the share that is right exceeds the limit. "
                "order: pairs of answers to be learned from. meta: verdicts on two judgements; unless it is passed, "
                "judgements are not learned from.",
            }
        )
    tries = [
        (name, one, chosen["step"], chosen["by"])
        for name, result in results.items()
        if (chosen := (result.selection or {}).get("checkpoint")) is not None
        for one in chosen["tried"]
    ]
    if tries:
        tables.append(
            {
                "title": "Checkpoints by the validation prompts",
                "columns": ["model", "step", "by", "value", "lower", "upper", "prompts", ""],
                "rows": [
                    [name, one["step"], by, one["value"], one["lower"], one["upper"], one["n"], taken]
                    for name, one, step, by in tries
                    for taken in ["taken" if one["step"] == step else ""]
                ],
                "note": "Of an iteration's checkpoints the best is its model, the earliest of equal ones.",
            }
        )
    return tables


def best_stage(board: Leaderboard, paths: Mapping[str, Path], out: Path) -> dict[str, Any] | None:
    """The stage that the leaderboard rates highest, the earlier of equal ones; None where none is rated.

    Args:
        board: of all stages and others.
        paths: of the stages' models, in their order.
        out: the run directory, below which paths are told where they are.
    """
    rated = {row.model: row for row in board.rows if row.model in paths and row.rating is not None}
    if not rated:
        return None
    order = list(paths)
    first = max(rated.values(), key=lambda row: (round(row.rating or 0.0, 9), -order.index(row.model)))
    path = paths[first.model]
    return {
        "stage": first.model,
        "path": (path.relative_to(out) if path.is_relative_to(out) else path).as_posix(),
        "by": "the leaderboard",
        "win_rate": first.win_rate,
        "lower": None,
        "upper": None,
        "alike": [name for name in order if name in rated and name != first.model and _overlap(rated[name], first)],
    }


def _overlap(one: Row, first: Row) -> bool:
    """Whether the interval of one reaches the rating of the first; where it has none, nothing tells them apart."""
    return one.upper is None or first.rating is None or one.upper >= first.rating


def drift_curves(results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    """The same over iterations, as far as there are two."""
    iterations = list(_judging(results))
    curves = []
    for title, parts in _CURVES.items():
        series = []
        for part, key in parts:
            points = [
                {"x": at, "value": value}
                for at, (_, figures) in enumerate(iterations, start=1)
                if (value := _figure(figures, part, key)) is not None
            ]
            if len(points) > 1:
                series.append({"name": key.replace("_", " "), "points": points})
        if series:
            curves.append({"title": title, "x": "iteration", "series": series})
    gates: dict[str, list[dict[str, Any]]] = {}
    for at, (_, figures) in enumerate(iterations, start=1):
        for found in figures.get("gates", ()):
            if found["value"] is not None:
                point = {"x": at, **{key: found[key] for key in ("value", "lower", "upper")}}
                gates.setdefault(_GATED[found["rule"]], []).append(point)
    series = [{"name": name, "points": points} for name, points in gates.items() if len(points) > 1]
    if series:
        curves.append({"title": "Gates: share that is right", "x": "iteration", "unit": "%", "series": series})
    return curves
