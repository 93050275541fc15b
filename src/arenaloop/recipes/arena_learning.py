"""Arena Learning (Luo et al. 2024, arXiv 2407.10627): the target battles stronger models and learns from what it lost.

    SFT-I0                 fine-tuned on demonstrations (D0)
    round i = 1, 2, …      the newest target battles the opponents on a new slice of prompts
        SFT-Ii             learns the winner's text where the target lost by at least k_sft
        DPO-Ii             battles again on the next slice; learns best against worst, at least k_dpo apart
    leaderboard            every stage and the opponents on a held-out test set, by the same judge

Stages are resumable: battles are rows of the arena file, trainings continue from their last checkpoint, and a stage
that has finished with these very inputs is not repeated. PPO is not part of the rounds yet. The paper picks the best
stage of a round by its test set; here a separate validation set does (or the last stage is taken), so that the test
set decides nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arenaloop.arena.battles import play
from arenaloop.arena.leaderboard import Leaderboard
from arenaloop.arena.matchmaking import Schedule, all_pairs, target_pairs
from arenaloop.arena.pairings import Pairing, Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament, write_summary
from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.budget import Budget
from arenaloop.calls.recorded import ingest_recorded
from arenaloop.data.selection import (
    PromptScores,
    Selection,
    preference_pairs,
    random_rows,
    response_scores,
    sft_rows,
)
from arenaloop.errors import StoppedError
from arenaloop.jsonl import read_rows, write_jsonl
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.recipes.observer import Observer, Silent
from arenaloop.recipes.stages import ArenaLearning, Row, Stage, check, cut_slices, inputs_key, plan_stages
from arenaloop.store import Store
from arenaloop.types import content_hash, derive_seed

__all__ = ["NoRowsError", "Result", "run"]


class NoRowsError(StoppedError):
    """A stage selected no training row; the message names the threshold and the gaps that there were."""


@dataclass(frozen=True)
class Result:
    """The final leaderboard, the stages' figures in order, and the document written to ``summary.json``."""

    leaderboard: Leaderboard
    stages: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]


@dataclass
class _Run:
    """State of one invocation."""

    recipe: ArenaLearning
    store: Store
    out: Path
    observer: Observer
    key: str
    slices: list[list[str]]
    budget: Budget
    summary: Summary = field(default_factory=Summary)
    cached: int = 0


def run(recipe: ArenaLearning, store: Store, out: Path, observer: Observer | None = None) -> Result:
    """Run or resume the whole recipe in a run directory.

    Raises:
        ConfigError, InputError: as in `check`.
        NoRowsError: a stage's battles gave no training row.
        StoppedError: the budget is spent, a server is down or the disk is full; the same call resumes.
    """
    check(recipe)
    s = recipe.settings
    names = [stage.name for stage in plan_stages(s)]
    budget = Budget(s.budget_usd, s.budget_calls)
    r = _Run(recipe, store, out, observer or Silent(), inputs_key(recipe), cut_slices(recipe, len(names) - 1), budget)
    for prompts in (recipe.pool, recipe.test, recipe.validation):
        store.add_prompts(prompts)
    ingest_recorded(store, recipe.opponents, (*recipe.pool, *recipe.test, *recipe.validation), recipe.recorded)
    store.flush()

    results: dict[str, dict[str, Any]] = {}
    for stage in plan_stages(s):
        results[stage.name] = _run_stage(r, stage, results)

    r.observer.phase("leaderboard", "battles")
    fighters = [*(_contestant(r, name) for name in names), *recipe.opponents]
    plan = _plan(r, fighters, [p.id for p in recipe.test], all_pairs([c.name for c in fighters]))
    final = run_tournament(plan, store, out, anchor=s.anchor, on_progress=r.observer.tally, budget=budget)
    _add(r, final.summary, final.tally.cached)

    stages = [_stage_row(name, results[name], final.leaderboard) for name in names]
    summary = write_summary(out, store, r.summary, r.cached, seed=s.seed, stages=stages)
    return Result(final.leaderboard, stages, summary)


def _checkpoint(r: _Run, name: str) -> Path:
    return r.out / "checkpoints" / name


def _weights(r: _Run, name: str) -> str | None:
    """What identifies the checkpoint that stands under a stage's name now; None where there is none."""
    path = _checkpoint(r, name)
    return checkpoint_fingerprint(path) if (path / "config.json").is_file() else None


def _contestant(r: _Run, name: str) -> Contestant:
    return r.recipe.target(name, _checkpoint(r, name))


def _run_stage(r: _Run, stage: Stage, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One stage: battles, rows, training, answers to the test set; or its stored result if it has finished before."""
    key = content_hash(r.key, stage.name)
    stored = r.store.stage(stage.name, key)
    # another run of this directory, with other settings, may have put its own weights in the checkpoint's place
    if stored is not None and stored.get("checkpoint") == _weights(r, stage.name):
        _add(r, Summary.of(stored["judged"]), stored["verdicts"])
        r.observer.done(stage.name, stored)
        return stored
    started = time.monotonic()
    judged = Summary()
    cached = 0
    result: dict[str, Any] = {"selection": None}
    if stage.kind == "sft" and stage.round == 0:
        rows: list[Row] = list(r.recipe.demonstrations)
    else:
        fighter = _newest(stage, results)
        battles, cached = _stage_battles(r, stage, fighter, judged)
        selection = _select(r, stage, fighter, battles)
        result["selection"] = selection.to_json()
        write_jsonl(_rows_file(r, stage), selection.rows)
        rows = _training_rows(r, stage, selection.rows)
    r.observer.phase(stage.name, "training")
    result |= _train(r, stage, rows, _start(r, stage, results))
    result["checkpoint"] = _weights(r, stage.name)
    r.observer.phase(stage.name, "test answers")
    result |= _test(r, stage.name)
    result["validation_score"] = _validate(r, stage.name, judged)
    result |= {"rows": len(rows), "seconds": time.monotonic() - started}
    result |= {"judged": judged.counts(), "verdicts": judged.ok}
    _add(r, judged, cached)
    r.store.put_stage(stage.name, key, result)
    r.observer.done(stage.name, result)
    return result


def _add(r: _Run, summary: Summary, cached: int) -> None:
    r.summary.merge(summary)
    r.cached += cached


def _newest(stage: Stage, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Who battles for this stage: the stage before it, or at the start of a round the best of the round before."""
    names = list(results)
    first_of_round = all(not name.endswith(f"-I{stage.round}") for name in names)
    return _best_of_round(stage.round - 1, results) if first_of_round else names[-1]


def _best_of_round(round_: int, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The stage of a round with the highest validation score; the last one where there is no validation set."""
    names = [name for name in results if name.endswith(f"-I{round_}")]
    scored = [(results[name]["validation_score"], i, name) for i, name in enumerate(names)]
    if any(score is None for score, _, _ in scored):
        return names[-1]
    return max(scored)[2]


# ---------------------------------------------------------------------- battles → rows


def _plan(r: _Run, fighters: Sequence[Contestant], ids: Sequence[str], pairs: Sequence[tuple[str, str]]) -> BattlePlan:
    s = r.recipe.settings
    return BattlePlan(
        contestants=fighters,
        judge=r.recipe.judge,
        prompt_ids=ids,
        schedule=Schedule(tuple(pairs)),
        recorded=r.recipe.recorded,
        seed=s.seed,
        merge=s.merge,
        one_seat_failed=s.one_seat_failed,
        reask=s.judge.reask,
        concurrency=s.concurrency,
    )


def _stage_battles(r: _Run, stage: Stage, fighter: str, judged: Summary) -> tuple[list[PromptScores], int]:
    """Let the target and its opponents battle on the stage's slice; scores of the prompts that were decided."""
    assert stage.slice is not None
    r.observer.phase(stage.name, "battles")
    fighters = [_contestant(r, fighter), *r.recipe.opponents]
    names = [c.name for c in fighters]
    pairs = all_pairs(names) if r.recipe.settings.battle_mode == "all_pairs" else target_pairs(names, fighter)
    plan = _plan(r, fighters, r.slices[stage.slice], pairs)
    tally = play(plan, r.store, r.observer.tally, budget=r.budget)
    return list(_scored(plan, r.store, names, judged)), tally.cached


def _scored(plan: BattlePlan, store: Store, names: Sequence[str], judged: Summary) -> Iterator[PromptScores]:
    answers = Answers(store, plan.contestants, plan.recorded, seed=plan.seed)
    for prompt_id, found in _by_prompt(plan, store):
        for pairing in found:
            judged.add(pairing)
        battles = [battle for p in found for battle in p.battles]
        scores = response_scores(battles, names, pairs=[(p.model_a, p.model_b) for p in found])
        prompt = store.prompt(prompt_id)
        if scores is None or prompt is None:
            continue
        responses = {name: answers.stored(name, prompt) for name in names}
        keys = tuple(dict.fromkeys(key for battle in battles for key in battle.verdicts))
        yield PromptScores(prompt, {n: a for n, a in responses.items() if a is not None}, scores, keys)


def _by_prompt(plan: BattlePlan, store: Store) -> Iterator[tuple[str, list[Pairing]]]:
    found: list[Pairing] = []
    for pairing in pairings(plan, store):
        if found and found[0].prompt_id != pairing.prompt_id:
            yield found[0].prompt_id, found
            found = []
        found.append(pairing)
    if found:
        yield found[0].prompt_id, found


def _select(r: _Run, stage: Stage, fighter: str, scored: Sequence[PromptScores]) -> Selection:
    s = r.recipe.settings
    thresholds = s.k_sft if stage.kind == "sft" else s.k_dpo
    k = thresholds[min(stage.round, len(thresholds)) - 1]
    if stage.kind == "sft":
        selection = sft_rows(scored, target=fighter, k=k, allow_truncated=s.allow_truncated_chosen)
    else:
        _, selection = preference_pairs(
            scored, target=fighter, k=k, rejected=s.rejected, allow_truncated=s.allow_truncated_chosen
        )
    assert stage.slice is not None
    if undecided := len(r.slices[stage.slice]) - len(scored):
        selection.dropped["battles undecided"] += undecided
    if not selection.rows:
        gaps = ", ".join(f"{gap}: {n}" for gap, n in sorted(selection.gaps.items())) or "none"
        raise NoRowsError(
            f"{stage.name}: no prompt gave a training row at k_{stage.kind} = {k:g} (gaps, by whole points: {gaps}); "
            f"with a lower k_{stage.kind} the run goes on from here"
        )
    return selection


def _rows_file(r: _Run, stage: Stage) -> Path:
    return r.out / "data" / f"{stage.name}.jsonl"


def _training_rows(r: _Run, stage: Stage, new: Sequence[Row]) -> list[Row]:
    """This stage's rows, those of earlier rounds as they were selected then, and replayed demonstrations."""
    s = r.recipe.settings
    rows: list[Row] = []
    if s.accumulate:
        for earlier in plan_stages(s):
            if earlier.kind == stage.kind and 0 < earlier.round < stage.round:
                rows += [row for _, row in read_rows(_rows_file(r, earlier))]
    rows += new
    if stage.kind == "sft" and s.sft_replay:
        replayed = round(s.sft_replay * len(rows))
        rows += random_rows(r.recipe.demonstrations, replayed, derive_seed("replay", s.seed, stage.name))
    return rows


# ---------------------------------------------------------------------- rows → checkpoint → figures


def _start(r: _Run, stage: Stage, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The checkpoint that a stage's training starts from."""
    s = r.recipe.settings
    if stage.round == 0:
        return r.recipe.start
    if stage.kind == "dpo":
        return str(_checkpoint(r, list(results)[-1]))
    if s.sft_init == "base":
        return r.recipe.start
    if s.sft_init == "previous_sft":
        return str(_checkpoint(r, [name for name in results if name.startswith("SFT-")][-1]))
    return str(_checkpoint(r, _best_of_round(stage.round - 1, results)))


def _train(r: _Run, stage: Stage, rows: Sequence[Row], start: str) -> dict[str, Any]:
    s, out = r.recipe.settings, _checkpoint(r, stage.name)
    seed = derive_seed("train", s.seed, stage.name)
    revision = s.target.revision if start == r.recipe.start else None
    settings = s.dpo if stage.kind == "dpo" else s.sft if stage.round else s.sft_init_training
    from arenaloop.train.methods import training

    done = training(stage.kind, start, rows, out, settings, seed=seed, on_step=r.observer.step, revision=revision)
    return {
        "steps": done.steps,
        "rows_dropped": dict(done.dropped),
        "metrics": dict(done.metrics),
        "start": Path(start).name,
    }


def _test(r: _Run, name: str) -> dict[str, Any]:
    """Answer the test set with a new checkpoint: mean length and, where the truth is known, gold figures."""
    contestant = _contestant(r, name)
    ids = [p.id for p in r.recipe.test]
    plan = _plan(r, [contestant], ids, [])
    play(plan, r.store, r.observer.tally, budget=r.budget)  # no pairs: only the answers
    answers = Answers(r.store, [contestant], {}, seed=r.recipe.settings.seed)
    responses = [(p, answers.stored(name, p)) for p in r.recipe.test]
    answered = [(p, a) for p, a in responses if a is not None and a.battles]
    lengths = [sum(map(len, a.texts)) for _, a in answered]
    figures: dict[str, Any] = {"mean_length": sum(lengths) / len(lengths) if lengths else None}
    if r.recipe.utility is not None:
        utilities = [r.recipe.utility(p, a) for p, a in answered]
        n = len(r.recipe.test)  # an answer that failed has no utility
        figures["gold_accuracy"] = sum(u >= 1 - 1e-9 for u in utilities) / n
        figures["gold_utility"] = sum(utilities) / n
    return figures


def _validate(r: _Run, name: str, judged: Summary) -> float | None:
    """Share of battles won against the opponents on the validation set; None without one."""
    if not r.recipe.validation:
        return None
    r.observer.phase(name, "validation")
    fighters = [_contestant(r, name), *r.recipe.opponents]
    pairs = target_pairs([c.name for c in fighters], name)
    plan = _plan(r, fighters, [p.id for p in r.recipe.validation], pairs)
    r.cached += play(plan, r.store, r.observer.tally, budget=r.budget).cached
    won = []
    for pairing in pairings(plan, r.store):
        judged.add(pairing)
        won += [battle.winner.score for battle in pairing.battles]
    return sum(won) / len(won) if won else None


def _stage_row(name: str, result: Mapping[str, Any], board: Leaderboard) -> dict[str, Any]:
    try:
        row = board[name]
        rated: dict[str, Any] = {"rating": row.rating, "lower": row.lower, "upper": row.upper}
    except KeyError:  # none of its battles was decided
        rated = {"rating": None, "lower": None, "upper": None}
    gold = {key: result.get(key) for key in ("gold_accuracy", "gold_utility") if key in result}
    shown = {key: result[key] for key in ("mean_length", "rows", "seconds")}
    return {"name": name} | rated | gold | shown
