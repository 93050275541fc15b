"""What a recipe says of itself in ``summary.json``: its stages, and tables, curves and prose that a report shows as is.

The report knows no recipe. It draws every table and curve that stands there; those that name a stage stand with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.matchmaking import all_pairs
from arenaloop.arena.pairings import Summary
from arenaloop.arena.tournament import run_tournament, write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.recipes.adopted import adopted_table
from arenaloop.recipes.held_out_judge import WATCHING, Guards
from arenaloop.recipes.kept import kept_table
from arenaloop.recipes.ledger import Paid
from arenaloop.recipes.parts import Arena, record
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.recipes.under_way import LEADERBOARD, begin_battles, begin_part, finish_part
from arenaloop.report.charts import stage_curves
from arenaloop.report.outcome import apart, with_interval
from arenaloop.terminal import counted
from arenaloop.types import Prompt

__all__ = ["account", "finish", "stage_details", "stage_row", "told"]

Record = Callable[[str, str], tuple[int, int, int]]


def finish(
    arena: Arena,
    stages: Stages,
    results: Mapping[str, StageResult],
    contestants: Sequence[Contestant],
    test: Sequence[Prompt],
    *,
    anchor: tuple[str, float] | None = None,
    rating: Mapping[str, Any] | None = None,
    left_out: Mapping[str, int] | None = None,
    contained: Mapping[str, int] | None = None,
    tables: Sequence[dict[str, Any]] = (),
    guards: Guards | None = None,
    curves: Sequence[dict[str, Any]] = (),
    best: Callable[[Leaderboard], Mapping[str, Any] | None] | None = None,
) -> Result:
    """Let all stages and opponents battle on held-out prompts, and write what the run came to.

    Args:
        results: by stage, in order.
        contestants: the stages' models, under the stages' names, and the opponents.
        anchor: a contestant and the rating it is held at.
        rating: how the leaderboard rates: further arguments of `arena.leaderboard.leaderboard`.
        left_out: how much of what was to be trained on, by what it is, asks or contains a held-out prompt.
        contained: how much of that contains one among other text.
        tables: what else is told before the stages.
        guards: what watched the stages.
        curves: what else is drawn after those of the stages.
        best: which stage is the run's result by the leaderboard, where nothing that watched them says so.
    """
    store, out, observer = arena.store, stages.out, arena.observer
    observer.phase("leaderboard", "battles")
    plan = arena.plan(contestants, [p.id for p in test], all_pairs([c.name for c in contestants]))
    begin_part(store, LEADERBOARD, LEADERBOARD)
    begin_battles(store, plan)
    with stages.ledger.stage(LEADERBOARD):
        final = run_tournament(
            plan, store, out, anchor=anchor, rating=rating, on_progress=observer.tally, budget=arena.budget
        )
    judged = Summary()
    watched = [] if guards is None else [guards.judged]
    for part in (*(result.judged for result in results.values()), *watched, final.summary):
        judged.merge(part)
    beside = [LEADERBOARD] if guards is None or guards.held_out is None else [WATCHING, LEADERBOARD]
    paid = {name: stages.ledger.paid(name) for name in (*results, *beside)}
    paid |= stages.ledger.rest(paid)
    more = account(results, final.leaderboard, len(test), partial(record, plan, store), paid)
    if apart_from := {what: n for what, n in (left_out or {}).items() if n}:
        table = {
            "title": "Left out",
            "columns": ["", "rows", "within other text"],
            "rows": [[what, n, (contained or {}).get(what, 0)] for what, n in apart_from.items()],
            "note": "They ask what a held-out prompt asks, in the same words, or contain one among other text.",
        }
        more["tables"].insert(0, table)
    more["tables"][:0] = tables
    more["tables"] += kept_table(out)
    more["curves"] += curves
    if best is not None and (found := best(final.leaderboard)) is not None:
        more["best"] = found
    cached = arena.cached + stages.found + final.tally.cached
    if guards is not None:
        cached += guards.cached
        told = guards.account()
        for key in ("prose", "tables", "curves"):
            more[key] += told.pop(key, [])
        more |= told
    summary = write_summary(out, store, judged, cached, seed=plan.seed, seconds=stages.seconds(), **more)
    finish_part(store, LEADERBOARD, LEADERBOARD)
    return Result(final.leaderboard, more["stages"], summary)


def account(
    results: Mapping[str, StageResult],
    board: Leaderboard,
    prompts: int,
    record: Record,
    paid: Mapping[str, Paid | None],
) -> dict[str, Any]:
    """Stages, prose, tables and curves of a model that was trained stage by stage against opponents.

    Args:
        results: by stage, in order.
        board: of all stages and the opponents.
        prompts: on how many they were rated.
        record: (one, other) → battles with each other that the first won, tied and lost.
        paid: what each stage has asked, and what else there is beside them: the leaderboard, say.
    """
    stages = [{**stage_row(name, result, board), **_asked(paid.get(name))} for name, result in results.items()]
    opponents = [{"model": row.model, "rating": row.rating} for row in board.rows if row.model not in results]
    details = [stage_details(name, result) for name, result in results.items()]
    answering = [stage for stage in stages if stage["mean_length"] is not None]  # a reward model is no gap in a curve
    return {
        "stages": stages,
        "prose": told(answering or stages, opponents, prompts, record),
        "tables": [
            *_counts(stages, {k: v for k, v in paid.items() if k not in results}),
            *(table for tables, _ in details for table in tables),
        ],
        "curves": [*stage_curves(answering, opponents), *(curve for _, curves in details for curve in curves)],
    }


def stage_row(name: str, result: StageResult, board: Leaderboard) -> dict[str, Any]:
    """A stage as ``summary.json`` lists it; without a rating where none of its battles was decided."""
    row = next((row for row in board.rows if row.model == name), None)
    return {
        "name": name,
        **{key: getattr(row, key, None) for key in ("rating", "lower", "upper")},
        **{key: result.figures[key] for key in ("gold_accuracy", "gold_utility") if key in result.figures},
        "mean_length": result.figures.get("mean_length"),
        "rows": result.rows,
        "seconds": result.seconds,
        **({"selection": dict(result.selection)} if result.selection else {}),
        **({} if result.adopted is None else {"adopted": dict(result.adopted)}),
    }


def _asked(paid: Paid | None) -> dict[str, Any]:
    """Of a stage, where that is known."""
    return {} if paid is None else paid._asdict()


# ---------------------------------------------------------------------- all stages beside each other

_PAID = ("calls", "tokens_in", "tokens_out", "usd", "seconds")


def _counts(stages: Sequence[Mapping[str, Any]], beside: Mapping[str, Paid | None]) -> Iterator[dict[str, Any]]:
    """The paper's tables of counts: prompts and rows of every stage, and whose texts were chosen and rejected."""
    rows = []
    for stage in stages:
        of = stage.get("selection") or {}
        hard = of.get("difficulty") or {}
        rows.append(
            [
                stage["name"],
                *(of.get(key) for key in ("prompts", "k", "rows")),
                stage["rows"],
                *(_rounded(hard.get(key), 2) for key in ("before", "after")),
                *(_rounded(stage.get(key), 4 if key == "usd" else 1) for key in _PAID),
            ]
        )
    others = {name: _asked(paid) for name, paid in beside.items()}
    total = [*_asked_of([*stages, *others.values()]), sum(stage["seconds"] for stage in stages)]
    rows += [[name, *[None] * 6, *(_rounded(asked.get(key), 4) for key in _PAID)] for name, asked in others.items()]
    rows.append(["all", *[None] * 6, *(_rounded(one, 4) for one in total)])
    columns = ["stage", "prompts", "K", "rows selected", "rows trained on", "difficulty", "of those selected"]
    columns += ["calls", "tokens in", "tokens out", "US dollars", "seconds"]
    if all(row[5] is None for row in rows):
        columns, rows = columns[:5] + columns[7:], [row[:5] + row[7:] for row in rows]
    yield {
        "title": "Counts",
        "columns": columns,
        "rows": rows,
        "note": "Calls, tokens and dollars are those of all invocations on this directory while a stage was worked on; "
        "beside the stages stand the first questions to every server, prompts that were written, stages that this run "
        "no longer has, and other commands. Seconds are of a stage's battles, training and test answers, those of the "
        "leaderboard apart.",
    }
    for title, key in (("Chosen", "credit"), ("Rejected", "rejected_by")):
        counts = {stage["name"]: found for stage in stages if (found := (stage.get("selection") or {}).get(key))}
        if counts:
            yield _by_model(title, counts)


def _asked_of(parts_of_run: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Sums over stages and what is beside them; None where a part is unknown."""
    parts: list[list[Any]] = [[one.get(key) for one in parts_of_run] for key in _PAID[:-1]]
    return [None if None in part else sum(part) for part in parts]


def _by_model(title: str, counts: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Rows by whose text they took, one column for each stage; of equally good ones each has its share."""
    sums: Counter[str] = Counter()
    for found in counts.values():
        sums.update(found)
    names = sorted(sums, key=lambda name: (-sums[name], name))
    rows = [[name, *(_rounded(found.get(name, 0), 1) for found in counts.values()), sums[name]] for name in names]
    for row in rows:
        row[-1] = _rounded(row[-1], 1)
    note = (
        {"note": "Where several were equally good, the row's credit is shared among them."} if title == "Chosen" else {}
    )
    return {"title": f"{title}, by model", "columns": ["", *counts, "all"], "rows": rows, **note}


def _rounded(value: Any, digits: int) -> Any:
    """A cell: whole numbers as such."""
    if value is None:
        return None
    return int(value) if float(value).is_integer() else round(value, digits)


# ---------------------------------------------------------------------- what a stage learned from


def stage_details(name: str, result: StageResult) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tables and curves of one stage: what was selected and dropped, how far apart scores were, how training ended."""
    selection = result.selection or {}
    counts = {
        "Rejected": selection.get("rejected_by"),
        "Prompts dropped": selection.get("dropped"),
        "Rows not fit for training": result.rows_dropped,
    }
    tables: list[dict[str, Any]] = []
    if chosen := selection.get("chosen_by"):
        tables.append(_learned_from(chosen, selection.get("credit") or {}))
    for title, found in counts.items():
        if found:
            most_first = sorted(found.items(), key=lambda item: (-item[1], item[0]))
            tables.append({"title": title, "columns": ["", "rows"], "rows": [*map(list, most_first)]})
    trained = (
        f"trained on {counted(result.rows, 'row' if result.selection else 'demonstration')} in "
        f"{counted(result.steps, 'step')}, starting from {result.start}."
    )
    source = "battles" if "judging" not in selection else f"what {selection['judged_by']} judged"
    selected = f"{counted(selection['rows'], 'row')} selected from {source}; " if selection else ""
    metrics = {"title": "At the end of training", "columns": ["", "mean"], "rows": [*map(list, result.metrics.items())]}
    if result.adopted is None:
        tables.append(metrics | {"note": selected + trained})
    else:
        tables.append(adopted_table(result.adopted))
    curves = []
    gaps = {int(gap): n for gap, n in (selection.get("gap_histogram") or {}).items()}
    if gaps and max(gaps) - min(gaps) < 60:
        points = [{"x": gap, "value": gaps.get(gap, 0)} for gap in range(min(gaps), max(gaps) + 1)]
        series = [{"name": "prompts", "points": points}]
        curves.append(
            {"title": "Score gaps of all prompts, by whole points", "x": "gap", "bars": True, "series": series}
        )
    return [{**table, "stage": name} for table in tables], [{**curve, "stage": name} for curve in curves]


def _learned_from(chosen: Mapping[str, int], credit: Mapping[str, float]) -> dict[str, Any]:
    """Whose texts the rows are; where several were equally good, also what each deserves the credit for."""
    names = sorted({*chosen, *credit}, key=lambda name: (-credit.get(name, 0.0), -chosen.get(name, 0), name))
    table = {"title": "Learned from", "columns": ["", "rows"], "rows": [[name, chosen.get(name, 0)] for name in names]}
    if all(abs(credit.get(name, n) - n) < 1e-9 for name, n in chosen.items()):
        return table
    return {
        **table,
        "columns": ["", "rows", "credit"],
        "rows": [[name, chosen.get(name, 0), round(credit.get(name, 0.0), 1)] for name in names],
        "note": "Where several were equally good, a lot decided whose text was taken; the credit is shared among them.",
    }


# ---------------------------------------------------------------------- how it went


def told(
    stages: Sequence[Mapping[str, Any]],
    opponents: Sequence[Mapping[str, Any]],
    prompts: int,
    record: Record,
) -> list[str]:
    """Two paragraphs: what was done, and how it ended. Arguments as in `account`."""
    against = f" against {counted(len(opponents), 'opponent')}" if opponents else ""
    done = (
        f"One model was trained in {counted(len(stages), 'stage')}{against}, and every stage was rated on "
        f"{counted(prompts, 'test prompt')}."
    )
    if brought := [stage["name"] for stage in stages if stage.get("adopted")]:
        done += f" Another trainer made {' and '.join(brought)}, which this run adopted."
    known = [stage for stage in stages if stage["rating"] is not None]
    if not known:
        return [done, "No stage could be rated."]
    first, last = known[0], known[-1]
    best = max(known, key=lambda stage: stage["rating"])
    if len(known) == 1:
        ended = f"{first['name']} is rated {with_interval(first)}."
    else:
        gain = last["rating"] - first["rating"]
        went = f"rose by {gain:.0f}" if gain >= 0 else f"fell by {-gain:.0f}"
        ended = (
            f"From {first['name']} to {last['name']} the rating {went} points, from {first['rating']:.0f} to "
            f"{with_interval(last)}; {apart(last, first, 'the later one', record(last['name'], first['name']))}."
        )
        if best is not last:
            ended += f" The best stage is {best['name']} with {with_interval(best)}."
        a, b = first.get("gold_accuracy"), last.get("gold_accuracy")
        if a is not None and b is not None:
            ended += f" By the truth, right answers went from {100 * a:.0f} % to {100 * b:.0f} %."
    behind = sum(1 for row in opponents if row["rating"] is not None and row["rating"] < best["rating"])
    if opponents:
        whom = f"all {len(opponents)}" if behind == len(opponents) > 1 else f"{behind} of {len(opponents)}"
        ended += f" The best stage is rated above {whom} opponent{'' if len(opponents) == 1 else 's'}."
    return [done, ended]
