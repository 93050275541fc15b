"""What AlpacaFarm's comparison says of itself in ``summary.json``: win rates, simulated and by the truth, and prose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.pairings import battles_by_prompt
from arenaloop.arena.plan import BattlePlan
from arenaloop.config.recipes.alpaca_farm import AlpacaFarmSettings
from arenaloop.ratings.agreement import mean_spearman
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.rates import Rate, clustered_rate
from arenaloop.ratings.win_rate import Annotations, WinRate, win_rates
from arenaloop.recipes.account import stage_details, stage_row
from arenaloop.recipes.alpaca_farm_plan import Labels
from arenaloop.recipes.parts import Utility
from arenaloop.recipes.stage import StageResult
from arenaloop.store import Store
from arenaloop.terminal import counted

__all__ = ["compare"]


def compare(
    plan: BattlePlan,
    store: Store,
    settings: AlpacaFarmSettings,
    results: Mapping[str, StageResult],
    board: Leaderboard,
    utility: Utility | None,
    labels: Labels | None,
) -> dict[str, Any]:
    """The stages, the methods' leaderboard, and how far the simulated ranking is that by the truth.

    Args:
        plan: every policy against the baseline.
        results: by stage, in order.
        board: ratings of the same battles.
        utility: the truth, where it is known.
        labels: the pairs' labels, where they were not given.
    """
    names = [one.name for one in plan.contestants if one.name != settings.baseline]
    simulated, gold, lengths = _scores(plan, store, names, settings.baseline, utility)
    rates = _simulated(names, simulated, lengths, settings)
    truth = {name: _rate(row) for name, row in zip(names, gold, strict=True)} if utility is not None else {}
    rows = []
    for name in sorted(names, key=lambda name: -(rates[name].win_rate or 0.0)):
        result, rate = results.get(name), rates[name]
        figures = {} if result is None else result.figures
        row: dict[str, Any] = {
            "method": name,
            "win_rate": rate.win_rate,
            "lower": rate.lower,
            "upper": rate.upper,
            "lc_win_rate": rate.lc_win_rate,
            "lc_lower": rate.lc_lower,
            "lc_upper": rate.lc_upper,
            **({} if not truth else _percent("gold", truth[name])),
            **({"gold_accuracy": figures["gold_accuracy"]} if "gold_accuracy" in figures else {}),
            "mean_length": figures.get("mean_length"),
            "rows": None if result is None else result.rows,
            "cpu_seconds": figures.get("cpu_seconds"),
        }
        rows.append(row)
    agreement = mean_spearman(simulated, gold, seed=settings.seed) if truth else None
    details = [stage_details(name, result) for name, result in results.items()]
    return {
        "stages": [stage_row(name, result, board) for name, result in results.items()],
        "baseline": settings.baseline,
        "methods": rows,
        **({} if agreement is None else {"rank_correlation": _plain(agreement)}),
        **({} if labels is None else {"labels": _counts(labels)}),
        "prose": _told(rows, settings, agreement, len(plan.prompt_ids), labels),
        "tables": [_table(rows, settings.baseline), *(table for tables, _ in details for table in tables)],
        "curves": [_plot(rows), *(curve for _, curves in details for curve in curves)],
    }


def _scores(
    plan: BattlePlan, store: Store, names: Sequence[str], baseline: str, utility: Utility | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of each model on each prompt, its score against the baseline by the judge and by the truth, and both lengths.

    Returns:
        (M, P) in [0, 1], twice, and (2, M, P); NaN where there is none.
    """
    at = {name: index for index, name in enumerate(names)}
    simulated, gold = (np.full((len(names), len(plan.prompt_ids)), np.nan) for _ in range(2))
    lengths = np.full((2, len(names), len(plan.prompt_ids)), np.nan)
    where = {prompt_id: index for index, prompt_id in enumerate(plan.prompt_ids)}
    for prompt, responses, pairings in battles_by_prompt(plan, store):
        column, against = where[prompt.id], responses.get(baseline)
        for pairing in pairings:
            name = pairing.model_b if pairing.model_a == baseline else pairing.model_a
            won = [winner.score for winner in pairing.winners]
            if won:
                share = sum(won) / len(won)
                simulated[at[name], column] = share if pairing.model_a == name else 1.0 - share
            mine = responses.get(name)
            if mine is None or against is None:
                continue
            lengths[:, at[name], column] = sum(map(len, mine.texts)), sum(map(len, against.texts))
            if utility is not None:
                lead = utility(prompt, mine) - utility(prompt, against)
                gold[at[name], column] = 0.5 if abs(lead) < 1e-9 else float(lead > 0)
    return simulated, gold, lengths


def _simulated(
    names: Sequence[str], scores: FloatArray, lengths: FloatArray, settings: AlpacaFarmSettings
) -> dict[str, WinRate]:
    """Win rates against the baseline, raw and length-controlled."""
    model, prompt = (index.ravel() for index in np.indices(scores.shape))
    annotations = Annotations(
        baseline=settings.baseline,
        models=tuple(names),
        prompts=tuple(range(scores.shape[1])),
        model=model,
        prompt=prompt,
        preference=1.0 + scores.ravel(),
        length_model=lengths[0].ravel(),
        length_baseline=lengths[1].ravel(),
    )
    return {row.model: row for row in win_rates(annotations, control="length", seed=settings.seed)}


def _rate(scores: FloatArray) -> Rate:
    known = ~np.isnan(scores)
    return clustered_rate(np.where(known, scores, 0.0), known.astype(np.float64), np.arange(len(scores)))


def _percent(prefix: str, rate: Rate) -> dict[str, float | None]:
    told = rate.scaled(100.0)
    return {f"{prefix}_win_rate": told.value, f"{prefix}_lower": told.lower, f"{prefix}_upper": told.upper}


def _plain(rate: Rate) -> dict[str, float | None]:
    return {"spearman": rate.value, "lower": rate.lower, "upper": rate.upper}


def _counts(labels: Labels) -> dict[str, Any]:
    return {
        "pairs": len(labels.preferences),
        "drawn_by_noise": labels.drawn,
        "calls": labels.calls,
        "undecided": dict(labels.undecided),
    }


def _table(rows: Sequence[Mapping[str, Any]], baseline: str) -> dict[str, Any]:
    def cell(row: Mapping[str, Any], *keys: str) -> str | None:
        value, lower, upper = (row.get(key) for key in keys)
        if value is None:
            return None
        return f"{value:.1f}" + ("" if lower is None or upper is None else f" ({lower:.1f} … {upper:.1f})")

    with_gold = any("gold_win_rate" in row for row in rows)
    columns = ["method", "simulated", "length-controlled", *(["by the truth"] if with_gold else []), "length"]
    return {
        "title": f"Win rates against {baseline}, in percent",
        "columns": [*columns, "rows", "CPU s"],
        "rows": [
            [
                row["method"],
                cell(row, "win_rate", "lower", "upper"),
                cell(row, "lc_win_rate", "lc_lower", "lc_upper"),
                *([cell(row, "gold_win_rate", "gold_lower", "gold_upper")] if with_gold else []),
                _rounded(row["mean_length"], 1),
                row["rows"],
                _rounded(row["cpu_seconds"], 0),
            ]
            for row in rows
        ],
        "note": "With 95 % intervals over prompts; a tie is half a win.",
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _plot(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Both win rates of each method, in the order of the simulated ones."""

    def series(name: str, *keys: str) -> dict[str, Any]:
        ends = ("value", "lower", "upper")
        shares = [{end: row.get(key) for end, key in zip(ends, keys, strict=True)} for row in rows]
        return {
            "name": name,
            "points": [{"label": row["method"]} | told for row, told in zip(rows, shares, strict=True)],
        }

    curves = [series("simulated", "win_rate", "lower", "upper")]
    if any("gold_win_rate" in row for row in rows):
        curves.append(series("by the truth", "gold_win_rate", "gold_lower", "gold_upper"))
    return {"title": "Win rate against the baseline, in percent", "x": "method", "series": curves}


def _told(
    rows: Sequence[Mapping[str, Any]],
    settings: AlpacaFarmSettings,
    agreement: Rate | None,
    prompts: int,
    labels: Labels | None,
) -> list[str]:
    """Two paragraphs: what was done, and how it ended."""
    done = (
        f"{counted(len(settings.methods), 'method')} learned from the same start and the same pairs, and "
        f"each was compared with {settings.baseline} on {counted(prompts, 'held-out prompt')}."
    )
    if labels is not None:
        done += f" Of the pairs, {labels.told()}."
    rated = [row for row in rows if row["win_rate"] is not None]
    if not rated:
        return [done, "Nothing could be compared."]
    best = rated[0]
    ended = f"{best['method']} wins most: {best['win_rate']:.1f} % against {settings.baseline}."
    if agreement is not None and agreement.value is not None:
        ended += f" The simulated ranking and that by the truth have a rank correlation of {agreement.value:.2f}"
        known = agreement.lower is not None and agreement.upper is not None
        ended += f" ({agreement.lower:.2f} … {agreement.upper:.2f})." if known else "."
    return [done, ended]
