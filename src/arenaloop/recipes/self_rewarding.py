"""Self-Rewarding (Yuan et al. 2024, arXiv 2401.10020) and Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594).

    M0             where replies are given that people have ranked: fine-tuned on demonstrations, it judges them
    M1             fine-tuned on demonstrations and on judgements, M0's as far as they agree with people (or the target
                   as it is)
    M2, M3, …      the newest model answers fresh prompts several times, and judges each answer several times; from its
                   best answers against its worst the next model learns by DPO. In Meta-Rewarding it also compares
                   pairs of its own judgements, and the next model learns from the best against the worst, too
    leaderboard    every model and the opponents on held-out prompts, by a judge that has no part in training

Stages are resumable: answers, judgements and meta-verdicts are rows of the arena file, trainings continue from their
last checkpoint, and a stage that has finished with these very inputs is not repeated. A judgement that cannot be read
is no score: an answer without one is in no pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.calls.budget import Budget
from arenaloop.config import DPOSettings, OptimSettings
from arenaloop.data.ranked_replies import agreeing, thinned
from arenaloop.data.selection import Selection
from arenaloop.data.self_pairs import Scored
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.ratings.judge_drift import stopped, warnings
from arenaloop.ratings.judge_gates import Gate
from arenaloop.recipes.account import finish
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, judged, test, train
from arenaloop.recipes.self_rewarding_checkpoints import choose, trained_with_choice
from arenaloop.recipes.self_rewarding_gates import closed, labelled_scores, order_gate, tell
from arenaloop.recipes.self_rewarding_judgements import judge_rows_of
from arenaloop.recipes.self_rewarding_plan import (
    SelfRewarding,
    check,
    cut_slices,
    decides,
    inputs_key,
    learns_perfect,
    measured_in,
    meta_of,
    stage_names,
)
from arenaloop.recipes.self_rewarding_prompts import with_new_prompts
from arenaloop.recipes.self_rewarding_run import NoPairsError, Run
from arenaloop.recipes.self_rewarding_scores import answers_of, mean_length, select, with_scores
from arenaloop.recipes.self_rewarding_tables import best_stage, drift_curves, drift_tables, unread_tables
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Response, derive_seed

__all__ = ["NoPairsError", "run"]


def run(recipe: SelfRewarding, store: Store, out: Path, observer: Observer | None = None) -> Result:
    """Run or resume the whole recipe in a run directory.

    Raises:
        ConfigError, InputError: as in `check`.
        NoPairsError: an iteration gave no row, or a stop rule ended it.
        StoppedError: the budget is spent, a server is down or the disk is full; the same call resumes.
    """
    check(recipe)
    recipe = with_new_prompts(recipe, store, out, observer or Observer())
    s, told = recipe.settings, recipe.settings.model_dump(mode="json")
    stages = Stages(store, out, observer or Observer(), told, decides(recipe))
    arena = Arena(store, recipe.judge, s, recipe.recorded, Budget(s.budget_usd, s.budget_calls), stages.observer)
    material = recipe.material
    store.add_prompts([*material.pool, *material.validation, *(one.prompt for one in material.ranked)])
    if recipe.labelled is not None:
        store.add_prompts([prompt for prompt, _ in recipe.labelled.answers])
    arena.admit(recipe.test, recipe.opponents)
    r = Run(recipe, arena, stages, cut_slices(recipe), inputs_key(recipe))
    recipe.prepare()
    seeds = {"M0": _baseline, "M1": _first}
    for name in stage_names(s):
        work = partial(seeds[name], r) if name in seeds else partial(_iterate, r, int(name[1:]) - 1, name)
        r.done[name] = stages.once(name, r.inputs, work)
        if checkpoint := (r.done[name].selection or {}).get("checkpoint"):
            r.chosen[name] = checkpoint["path"]
    return finish(
        arena,
        stages,
        r.done,
        [*map(r.model, r.done), *recipe.opponents],
        recipe.test,
        left_out=material.left_out,
        tables=[*unread_tables(recipe.unread), *drift_tables(r.done)],
        curves=drift_curves(r.done),
        best=lambda board: best_stage(board, {name: r.path(name) for name in r.done}, out),
    )


def _baseline(r: Run) -> StageResult:
    """M0: the target, fine-tuned on demonstrations alone."""
    recipe, rows = r.recipe, r.recipe.material.demonstrations
    if not rows:
        return _measured(r, "M0", StageResult(Path(recipe.start).name, 0, 0))
    return _train(r, "M0", "sft", recipe.settings.sft, recipe.start, rows)


def _first(r: Run) -> StageResult:
    """M1: the target, fine-tuned where there is something to learn from."""
    recipe, material = r.recipe, r.recipe.material
    if not recipe.fine_tuned:
        return _measured(r, "M1", StageResult(Path(recipe.start).name, 0, 0))
    own = _agreeing(r) if material.ranked else []
    rows = [*material.demonstrations, *recipe.filled([*material.judgements, *own], r.shown)]
    if not rows:
        raise NoPairsError("M1: no judgement agrees with people, and there is nothing else to learn from")
    return _train(r, "M1", "sft", recipe.settings.sft, recipe.start, rows)


def _agreeing(r: Run) -> list[JsonRow]:
    """M0's judgements of ranked replies that put them in people's order."""
    r.arena.observer.phase("M1", "ranked replies judged")
    s, ranked = r.recipe.settings, r.recipe.material.ranked
    replies = [(one.prompt, Response(one.prompt.id, "people", (text,))) for one in ranked for text in one.replies]
    found = (
        next(iter(said), None)
        for said in judged(r.arena, r.recipe.rubric("M0", r.path("M0")), replies, 1, s.self_judge.reask)
    )
    kept = agreeing(ranked, [[next(found) for _ in one.replies] for one in ranked])
    rows = thinned(kept.rows, s.data.most_of_score, derive_seed("ranked", s.seed))
    write_jsonl(r.stages.rows_file("M1.judgements"), rows)
    told = ", ".join(f"{n:,} prompts: {why}" for why, n in sorted(kept.dropped.items()))
    r.arena.observer.note(
        f"M1: of {counted(len(ranked), 'ranked prompt')} {len(kept.rows):,} judgements agree with people"
        f"{f' ({told})' if told else ''}; {len(kept.rows) - len(rows):,} of the commonest scores left out"
    )
    return rows


def _train(r: Run, name: str, method: str, settings: OptimSettings, start: str, rows: Sequence[JsonRow]) -> StageResult:
    return _measured(r, name, _trained(r, name, method, settings, start, rows))


def _trained(
    r: Run, name: str, method: str, settings: OptimSettings, start: str, rows: Sequence[JsonRow]
) -> StageResult:
    r.arena.observer.phase(name, "training")
    s = r.recipe.settings
    return train(
        method,
        start,
        rows,
        r.stages.checkpoint(name),
        settings,
        seed=derive_seed("train", s.seed, name),
        observer=r.arena.observer,
        by=s,
        revision=s.target.revision if start == r.recipe.start else None,
    )


def _measured(r: Run, name: str, result: StageResult) -> StageResult:
    r.arena.observer.phase(name, "test answers")
    return replace(result, figures=test(r.arena, r.model(name), r.recipe.test, r.recipe.utility))


# ---------------------------------------------------------------------- one iteration


def _iterate(r: Run, number: int, name: str) -> StageResult:
    """Answer, judge, compare judgements where that is wanted, and learn."""
    s, before = r.recipe.settings, f"M{number}"
    r.arena.observer.phase(name, "answers")
    answers, left_out = answers_of(r, before, r.slices[number - 1])
    r.arena.observer.phase(name, "scores")
    scored, drift = with_scores(r, before, answers)
    selection = select(r, number, before, scored)
    selection.dropped.update(left_out)
    drift |= {"prompts": len(scored), "kept": len(selection.rows), "answer_length": mean_length(answers)}
    refused = _stop_rules(r, number, name, drift, selection)
    labelled: list[Scored] = []
    if r.recipe.labelled is not None and measured_in(s, number):
        r.arena.observer.phase(name, "labelled answers scored")
        labelled = labelled_scores(r, before, r.recipe.labelled)
    _pass(r, name, drift, order_gate(r, scored, selection, labelled))
    rows = list(selection.rows)
    meta = meta_of(s)
    if meta is not None and meta.learns_in(number):
        rows += judge_rows_of(r, number, name, scored, labelled, rows, refused, drift)
    if not rows:
        why = ", ".join(f"{told}: {n:,}" for told, n in sorted(selection.dropped.items())) or "no prompts"
        raise NoPairsError(f"{name}: no pair of answers to learn from ({why})")
    write_jsonl(r.stages.rows_file(name), rows)
    told = selection.to_json() | {"rows": len(rows), "judged_by": before, "judging": drift}
    return _learn(r, number, name, rows, told)


def _learn(r: Run, number: int, name: str, rows: Sequence[JsonRow], told: dict[str, object]) -> StageResult:
    """Train the next model, by a validation set the best of its checkpoints; `told` is what its rows came from."""
    s, before = r.recipe.settings, f"M{number}"
    method, settings = ("sft", s.sft) if learns_perfect(s) else ("dpo", s.dpo)
    if isinstance(settings, DPOSettings) and s.reference == "initial":
        settings = settings.model_copy(update={"reference": str(r.path("M1"))})
    start = str(r.path(before))
    if not r.recipe.material.validation:
        return replace(_train(r, name, method, settings, start, rows), selection=told)
    r.chosen.pop(name, None)
    trained, every = trained_with_choice(
        r, name, len(rows), settings, lambda kept: _trained(r, name, method, kept, start, rows)
    )
    checkpoint, judged_for_it = choose(r, before, name, trained, every)
    r.chosen[name] = checkpoint["path"]
    tried = len(checkpoint["tried"])
    r.note(name, [f"step {checkpoint['step']:,} of {trained.steps:,} is its model, the best of {tried} by validation"])
    measured = _measured(r, name, trained)
    return replace(measured, selection=told | {"checkpoint": checkpoint}, judged=judged_for_it)


# ---------------------------------------------------------------------- rules and gates


def _stop_rules(r: Run, number: int, name: str, drift: dict[str, Any], selection: Selection) -> dict[str, str]:
    """The stop rules that this iteration's answers meet; warns of what else there is."""
    if number > 1 and (first := r.done["M2"].selection) is not None and drift["answer_length"]:
        start = first["judging"]["answer_length"]
        r.note(name, warnings(r.limits, None, drift["answer_length"] / start if start else None))
    scores = drift.get("scores")
    value = (None, None) if scores is None else (scores["commonest"], scores["commonest_share"])
    rules = stopped(r.limits, *value, prompts=drift["prompts"], equal=selection.dropped["equal scores"])
    if why := rules.get("no_pair"):
        raise NoPairsError(f"{name}: stop rule no_pair (limits.no_pair): {why}")
    return rules


def _pass(r: Run, name: str, drift: dict[str, Any], found: Gate | None) -> None:
    """Take note of the gate on pairs of answers, and stop where it is not passed and the settings say so."""
    tell(drift, found)
    if found is None or not closed(r.recipe.settings.gates, found):
        return
    if r.recipe.settings.gates.order_failed == "stop":
        raise NoPairsError(f"{name}: gate order (gates.order): {found.why}")
    r.note(name, [f"gate order (gates.order): {found.why}; learned from all the same"])
