"""What Self-Rewarding and Meta-Rewarding will ask, compute and pay, stage by stage, at most; re-asks are not counted.

The model's own calls run here. Their tokens are those of prompts and templates, and half of what an answer may have;
every prompt is taken to give a pair. Of a stage whose weights are there nothing is left; of one that is under way
what is stored is not taken off.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import Schedule, all_pairs
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.costs import HumanLabel
from arenaloop.config import SamplingSettings
from arenaloop.data.held_out import prompt_turns, row_turns
from arenaloop.jsonl import JsonRow
from arenaloop.judges.jury import Jury
from arenaloop.recipes.costs import Costs, Part, ToCome, asked_parts, done, policy_to_be, spent_in, trained_parts
from arenaloop.recipes.machine import Machine, length_of, machine_of, measure_start
from arenaloop.recipes.reused import Reused
from arenaloop.recipes.self_rewarding_calls import Calls, plan_calls
from arenaloop.recipes.self_rewarding_plan import (
    SelfRewarding,
    cut_slices,
    decides,
    learns_perfect,
    meta_of,
    stage_names,
)
from arenaloop.recipes.self_rewarding_prompts import new_prompt_parts
from arenaloop.recipes.work import work
from arenaloop.store import Store

__all__ = ["estimate_costs"]

_WORDS = {"scores": 500, "judgements compared": 550}
"""Tokens of the shipped templates' own words, about."""


def estimate_costs(
    recipe: SelfRewarding, out: Path, store: Store | None, measure: bool = False, through: Collection[str] = ()
) -> Costs:
    """What is to be asked and trained. Reads only; arguments as of `arena_learning_costs.estimate_costs`."""
    s, material = recipe.settings, recipe.material
    names, slices, comparing = stage_names(s), cut_slices(recipe), meta_of(s)
    reused = Reused(out, store, decides(recipe), through)
    policies = [policy_to_be(name, s.target, _place(recipe, reused, name), recipe.target) for name in names]
    machine = machine_of(s, recipe.start, recipe.size, store, policies[0])
    rows = [*material.demonstrations, *material.judgements]
    first = work("sft", s.sft, len(rows), length_of(map(row_turns, rows), machine), _around(rows, machine))
    if rows:
        machine.trained(out / "checkpoints" / "M1", first)
    if measure:
        measure_start(machine, recipe.target("start", Path(recipe.start)), recipe.test, rows, s.sft)
    prompt = length_of(map(prompt_turns, material.pool), machine)
    own = s.self_judge.sampling
    said, judgement = s.sampling.max_tokens / 2, own.max_tokens / 2
    parts = trained_parts("M1", first, s.sft, machine) if rows else []
    parts += new_prompt_parts(recipe, names[0], store, machine)
    if material.ranked:
        length = length_of(map(row_turns, material.demonstrations), machine)
        parts += trained_parts("M0", work("sft", s.sft, len(material.demonstrations), length, 0.0), s.sft, machine)
        replies = sum(len(one.replies) for one in material.ranked)
        parts.append(_here("M1", "ranked replies judged", replies, _WORDS["scores"] + 2 * length, own, machine))
    for number, (name, prompts) in enumerate(zip(names[-s.iterations :], slices, strict=True), start=1):
        calls = plan_calls(recipe, number, len(prompts))
        parts.append(_here(name, "samples", calls.answers, prompt, s.sampling, machine, s.samples))
        shown = _WORDS["scores"] + prompt + said
        if recipe.scorer is not None:
            parts.append(_scorer(recipe, name, calls.judgements, shown))
        elif calls.judgements:
            parts.append(_here(name, "scores", calls.judgements, shown, own, machine, s.self_judge.votes))
        if comparing is not None and calls.verdicts:
            shown = _WORDS["judgements compared"] + prompt + said + 2 * judgement
            parts.append(_here(name, "judgements compared", calls.verdicts, shown, comparing.sampling, machine))
        perfect = learns_perfect(s)
        method, settings = ("sft", s.sft) if perfect else ("dpo", s.dpo)
        if calls.verdicts:  # as many pairs of judgements, after what the judge is asked
            asked, written = prompt + (_WORDS["scores"] + prompt + said), said + judgement
            takes = work(method, settings, 2 * len(prompts), asked / 2, written / 2)
        else:
            takes = work(method, settings, len(prompts), prompt, said)
        parts += trained_parts(name, takes, settings, machine)
        if calls.tried:
            parts += _tried(recipe, name, calls, prompt, machine, store)
    parts = [done(part) if part.stage in reused.stages else part for part in parts]
    everyone = [*policies, *recipe.opponents]
    schedule = Schedule(tuple(all_pairs([one.name for one in everyone])))
    tested = {one.id: one for one in recipe.test}
    plan = BattlePlan(
        everyone, recipe.judge, list(tested), schedule, recipe.recorded, s.seed, reask=s.judge.reask, seats=s.seats
    )
    people = HumanLabel(s.human.usd, s.human.seconds)
    models: dict[str, Any] = {one.name: one.asked for one in recipe.opponents}
    models |= {one.name: getattr(one, "model", None) for one in Jury.of(recipe.judge).members}
    found = estimate_plan(plan, tested.get, store, human=people)
    parts += asked_parts(found, "leaderboard", machine, models, "verdicts", names)
    order = {name: at for at, name in enumerate([*names, "leaderboard"])}
    notes = ["every prompt is taken to give a pair, and texts to be half as long as they may be"]
    return Costs(
        sorted(parts, key=lambda part: order[part.stage]),
        people,
        [*notes, *machine.told()],
        spent_in(store),
        s.machine.gpu,
    )


def _place(recipe: SelfRewarding, reused: Reused, name: str) -> Path | None:
    """Where a model's weights stand; the target's own where it is not fine-tuned."""
    learned = {"M0": bool(recipe.material.demonstrations), "M1": recipe.fine_tuned}
    if learned.get(name, True):
        return reused.find(name, settled=recipe.scorer is None)  # whose votes may be asked again
    reused.skip(name)
    return Path(recipe.start) if Path(recipe.start).is_dir() else None


def _tried(
    recipe: SelfRewarding, stage: str, calls: Calls, prompt: float, machine: Machine, store: Store | None
) -> list[Part]:
    """An iteration's checkpoints on the validation prompts: their answers, and what is asked about these."""
    s, sampling, prompts = recipe.settings, recipe.settings.target.sampling, recipe.material.validation
    parts = [_here(stage, "validation answers", calls.tried, prompt, sampling, machine)]
    shown = _WORDS["scores"] + prompt + sampling.max_tokens / 2
    if calls.tried_judgements and recipe.scorer is not None:
        parts.append(_scorer(recipe, stage, calls.tried_judgements, shown, "validation scores"))
    elif calls.tried_judgements:
        parts.append(_here(stage, "validation scores", calls.tried_judgements, shown, s.self_judge.sampling, machine))
    if not calls.tried_battles:
        return parts
    names = ["before", *(f"{stage}@{number + 1}" for number in range(s.checkpoints.keep))]
    fighters = [Contestant(name, ToCome(name, s.target.chunk_size), sampling.build()) for name in names]
    asked = {one.id: one for one in prompts}
    schedule = Schedule(tuple((name, names[0]) for name in names[1:]))
    plan = BattlePlan(fighters, recipe.judge, list(asked), schedule, {}, s.seed, reask=s.judge.reask, seats=s.seats)
    models = {one.name: getattr(one, "model", None) for one in Jury.of(recipe.judge).members}
    found = estimate_plan(plan, asked.get, store, human=HumanLabel(s.human.usd, s.human.seconds))
    told = asked_parts(found, stage, machine, models, "validation verdicts")
    return [*parts, *(part for part in told if part.what == "validation verdicts")]


def _around(rows: Sequence[JsonRow], machine: Machine) -> float:
    """Tokens on the mean of what is put around rows that hold a judgement beside their turns: it, and the rubric."""
    judgements = [str(row["judgement"]) for row in rows if row.get("judgement")]
    put = len(judgements) * _WORDS["scores"] + sum(map(len, judgements)) / machine.per_token
    return put / len(rows) if rows else 0.0


def _tokens(calls: int, shown: float, sampling: SamplingSettings) -> tuple[int, int]:
    return round(calls * shown), round(calls * sampling.max_tokens / 2)


def _here(
    stage: str,
    what: str,
    calls: int,
    shown: float,
    sampling: SamplingSettings,
    machine: Machine,
    shared: int = 1,
) -> Part:
    """Calls of the model in training itself; `shared`: so many of them ask the same, and read it once."""
    read, written = _tokens(calls, shown, sampling)
    seconds = machine.samples(read, written, calls, shared)
    memory = machine.answers_in(shown + sampling.max_tokens)
    here = machine.server is None
    return Part(stage, what, here, calls, read, written, 0.0, 0.0, seconds, memory=memory)


def _scorer(recipe: SelfRewarding, stage: str, calls: int, shown: float, what: str = "scores") -> Part:
    """Calls of another judge in its place, by its price where that is known."""
    judge, votes = recipe.scorer, recipe.settings.self_judge.votes
    assert judge is not None
    together = min(votes, int(getattr(judge.model, "samples_per_call", 1)))  # whose prompt is billed once
    read = round(calls / votes * math.ceil(votes / together) * shown)
    written = round(calls * judge.sampling.max_tokens / 2)
    price = getattr(judge.model, "price", None)
    usd = None if price is None else (read * price.prompt + written * price.completion) / 1e6
    note = "written tokens are taken to be half of what a judgement may have"
    most = None if price is None else (read * price.prompt + calls * judge.sampling.max_tokens * price.completion) / 1e6
    return Part(stage, what, False, calls, read, written, usd, most, None, notes=(note,))
