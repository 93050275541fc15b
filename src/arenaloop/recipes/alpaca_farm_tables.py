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
from arenaloop.recipes.alpaca_farm_evaluation import true_score
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, Labels
from arenaloop.recipes.people import People
from arenaloop.recipes.stage import StageResult
from arenaloop.report.texts import one_line
from arenaloop.store import Store
from arenaloop.terminal import counted

__all__ = ["compare"]


def compare(
    plan: BattlePlan,
    store: Store,
    recipe: AlpacaFarm,
    results: Mapping[str, StageResult],
    board: Leaderboard,
    labels: Labels | None,
) -> dict[str, Any]:
    """The stages, the methods' leaderboard, and how far the simulated ranking is that by the truth, and by people.

    Args:
        plan: every policy against the baseline.
        recipe: its settings, the truth and people's labels, where there are any.
        results: by stage, in order.
        board: ratings of the same battles.
        labels: the pairs' labels, where they were not given.
    """
    settings = recipe.settings
    names = [one.name for one in plan.contestants if one.name != settings.baseline]
    simulated, known, lengths = _scores(plan, store, names, recipe)
    rates = _simulated(names, simulated, lengths, settings)
    by = {who: {name: _rate(row) for name, row in zip(names, scores, strict=True)} for who, scores in known.items()}
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
            **{key: value for who, of in by.items() for key, value in _percent(who, of[name]).items()},
            **({"gold_accuracy": figures["gold_accuracy"]} if "gold_accuracy" in figures else {}),
            "mean_length": figures.get("mean_length"),
            "rows": None if result is None else result.rows,
            "labels": _labels(name, settings, results),
            "cpu_seconds": None if result is None else result.cpu_seconds,
        }
        rows.append(row)
    agreement = {who: _agreement(simulated, scores, settings.seed) for who, scores in known.items()}
    details = [stage_details(name, result) for name, result in results.items()]
    tables = [_table(rows, settings.baseline), *_held_out(results), *(one for some, _ in details for one in some)]
    return {
        "stages": [stage_row(name, result, board) for name, result in results.items()],
        "baseline": settings.baseline,
        "methods": rows,
        **{_CORRELATION[who]: _plain(found) for who, found in agreement.items()},
        **({} if recipe.people is None else {"people": _of_people(recipe.people)}),
        **({} if labels is None else {"labels": _counts(labels)}),
        "prose": _told(rows, recipe, agreement, len(plan.prompt_ids), labels),
        "tables": tables,
        "curves": [
            *(one for who, found in agreement.items() for one in _scatter(rows, settings.baseline, who, found)),
            _plot(rows),
            *(curve for _, curves in details for curve in curves),
        ],
    }


def _labels(name: str, settings: AlpacaFarmSettings, results: Mapping[str, StageResult]) -> int | None:
    """How many labels a method has learned from: its pairs, or those of the reward model that it asks."""
    method = settings.methods.get(name)
    if method is None:
        return None
    if method.samples:
        return results["RM"].rows if method.asks_reward_model else 0
    return 0 if method.method == "sft" else results[name].rows


_BY = {"gold": "by the truth", "people": "by people"}
"""Who ranks the methods beside the evaluator: what keys begin with, and what tables call it."""
_CORRELATION = {"gold": "rank_correlation", "people": "rank_correlation_people"}


def _scores(
    plan: BattlePlan, store: Store, names: Sequence[str], recipe: AlpacaFarm
) -> tuple[FloatArray, dict[str, FloatArray], FloatArray]:
    """Of each model on each prompt, its score against the baseline by the judge and by who else knows; both lengths.

    Returns:
        (M, P) in [0, 1], the same by truth and people, and (2, M, P); NaN where there is none.
    """
    baseline, utility, people = recipe.settings.baseline, recipe.utility, recipe.people
    at = {name: index for index, name in enumerate(names)}
    simulated = np.full((len(names), len(plan.prompt_ids)), np.nan)
    known = {who: simulated.copy() for who, there in (("gold", utility), ("people", people)) if there is not None}
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
            if utility is not None and (true := true_score(utility, prompt, mine, against)) is not None:
                known["gold"][at[name], column] = true
            if people is not None and (said := people.score(prompt, mine, against)) is not None:
                known["people"][at[name], column] = said
    return simulated, known, lengths


def _agreement(simulated: FloatArray, scores: FloatArray, seed: int) -> Rate:
    """Rank correlation over the models that both score."""
    both = [row for row in range(len(scores)) if not (np.isnan(simulated[row]).all() or np.isnan(scores[row]).all())]
    return mean_spearman(simulated[both], scores[both], seed=seed)


def _of_people(people: People) -> dict[str, int]:
    """Where people's labels went."""
    return {
        "labels": people.given,
        "matched": people.used,
        "about_other_prompts": people.elsewhere,
        "without_preference": people.empty,
    }


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

    known = [who for who in _BY if any(f"{who}_win_rate" in row for row in rows)]
    columns = ["method", "simulated", "length-controlled", *(_BY[who] for who in known), "length"]
    return {
        "title": f"Win rates against {baseline}, in percent",
        "columns": [*columns, "rows", "labels", "CPU s"],
        "rows": [
            [
                row["method"],
                cell(row, "win_rate", "lower", "upper"),
                cell(row, "lc_win_rate", "lc_lower", "lc_upper"),
                *(cell(row, f"{who}_win_rate", f"{who}_lower", f"{who}_upper") for who in known),
                _rounded(row["mean_length"], 1),
                row["rows"],
                row["labels"],
                _rounded(row["cpu_seconds"], 0),
            ]
            for row in rows
        ],
        "note": "With 95 % intervals over prompts; a tie is half a win.",
    }


def _held_out(results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    """Whoever was measured on labelled pairs that nothing was learned from."""

    def cell(figures: Mapping[str, float | None], key: str) -> str | None:
        value, *ends = (figures.get(f"{key}{end}") for end in ("", "_lower", "_upper"))
        if value is None:
            return None
        known = [f"{100 * end:.1f}" for end in ends if end is not None]
        return f"{100 * value:.1f}" + (f" ({' … '.join(known)})" if len(known) == 2 else "")

    keys = ("pair_accuracy", "pair_accuracy_likelihood", "pair_accuracy_longest")
    rows: list[list[Any]] = [
        [name, int(result.figures["held_out_pairs"] or 0), *(cell(result.figures, key) for key in keys)]
        for name, result in results.items()
        if "held_out_pairs" in result.figures
    ]
    if not rows:
        return []
    columns = ["", "pairs", "right", "by the start's likelihood", "by length"]
    note = "With 95 % intervals over prompts; of the labels, those that noise turned among them."
    return [{"title": "Pairs not learned from, in percent", "columns": columns, "rows": rows, "note": note}]


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
    curves += [
        series(told, f"{who}_win_rate", f"{who}_lower", f"{who}_upper")
        for who, told in _BY.items()
        if any(f"{who}_win_rate" in row for row in rows)
    ]
    return {"title": "Win rate against the baseline, in percent", "x": "method", "series": curves}


def _scatter(rows: Sequence[Mapping[str, Any]], baseline: str, who: str, agreement: Rate) -> list[dict[str, Any]]:
    """Win rates by the truth, or by people, over simulated ones: the paper's plot."""
    points = [
        {
            "label": row["method"],
            **{name: row[key] for name, key in (("x", "win_rate"), ("x_lower", "lower"), ("x_upper", "upper"))},
            **{name: row[f"{who}_{key}"] for name, key in _ENDS},
        }
        for row in rows
        if row.get(f"{who}_win_rate") is not None and row["win_rate"] is not None
    ]
    if len(points) < 2:
        return []
    title = f"Win rate against {baseline}, simulated and {_BY[who]} (dashed: itself)"
    if agreement.value is not None:
        title += f": Spearman {_with_ends(agreement)}"
    series = [{"name": "methods", "points": points}]
    axes = {"x": "simulated, in percent", "y": f"{_BY[who]}, in percent"}
    return [{"title": title, "scatter": True, **axes, "origin": 50.0, "series": series}]


_ENDS = (("value", "win_rate"), ("lower", "lower"), ("upper", "upper"))


def _with_ends(rate: Rate) -> str:
    """A value with its interval, as far as there is one."""
    known = rate.lower is not None and rate.upper is not None
    return f"{rate.value:.2f}" + (f" ({rate.lower:.2f} … {rate.upper:.2f})" if known else "")


def _told(
    rows: Sequence[Mapping[str, Any]],
    recipe: AlpacaFarm,
    agreement: Mapping[str, Rate],
    prompts: int,
    labels: Labels | None,
) -> list[str]:
    """What was done, how it ended, and what people said."""
    settings = recipe.settings
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
    if best["win_rate"] <= 50:
        ended = f"None wins more than half against {settings.baseline}: {best['method']} has {best['win_rate']:.1f} %."
    for who, found in agreement.items():
        if found.value is not None:
            ended += f" The simulated ranking and that {_BY[who]} have a rank correlation of {_with_ends(found)}."
    return [done, ended, *([] if recipe.people is None else [_of_labels(recipe.people)])]


def _of_labels(people: People) -> str:
    """What people's labels were about, in a sentence."""
    told = f"Of {counted(people.given, 'label')} by people, {people.used:,} are about answers of this run"
    if (odd := people.unmatched) is None:
        return f"{told}."
    rest = f"{people.given - people.used:,} about answers that nobody gave here"
    return f"{told} and {rest} (the first: line {odd.line}, on “{one_line(odd.prompt.last_user)}”)."
