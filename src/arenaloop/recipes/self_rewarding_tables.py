"""What a model that judges itself tells of its judging, iteration by iteration, in ``summary.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arenaloop.recipes.stage import StageResult

__all__ = ["drift_curves", "drift_tables"]

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


def drift_tables(results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    """How the model judged in each iteration; a table is left out where there is nothing to tell."""
    iterations = list(_judging(results))
    tables = []
    scored = [(name, figures) for name, figures in iterations if figures.get("scores")]
    if scored:
        gold = [key for key in ("judge_spearman", "judge_pairwise") if any(key in figures for _, figures in scored)]
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
    return tables


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
    return curves
