"""New prompts for the iterations: written by a model before the first of them, where the recipe asks for some."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from arenaloop.calls.budget import Budget
from arenaloop.data.self_instruct.asking import estimate_writing, write
from arenaloop.data.self_instruct.plan import SelfInstruct
from arenaloop.jsonl import write_jsonl
from arenaloop.recipes.costs import Part, asked_parts
from arenaloop.recipes.machine import Machine
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding_plan import SelfRewarding, cut_slices
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Prompt

__all__ = ["FILE", "new_prompt_parts", "stand_ins", "with_new_prompts"]

FILE = "new_prompts.jsonl"
"""Where they stand below a run directory's ``data``, each with what it comes from."""


def stand_ins(fresh: SelfInstruct) -> list[Prompt]:
    """Prompts in the place of those that are to be written, as long as the seeds; a plan counts them."""
    seeds = fresh.people
    return [Prompt.of(f"{seeds[at % len(seeds)]} [to be written: {at + 1}]") for at in range(fresh.count)]


def _given(recipe: SelfRewarding, fresh: SelfInstruct) -> Iterable[Prompt]:
    """The pool without stand-ins."""
    instead = {prompt.id for prompt in stand_ins(fresh)}
    return (prompt for prompt in recipe.pool if prompt.id not in instead)


def with_new_prompts(recipe: SelfRewarding, store: Store, out: Path, observer: Observer) -> SelfRewarding:
    """The recipe with its new prompts, asked for where they are not stored; itself where it wants none.

    Raises:
        ConfigError: the budget is in dollars, and the writer's price is not known.
        SaturatedError: the writer gives nothing new.
        StoppedError: the budget is spent, a server is down or the disk is full.
        InputError: what was written and is no test prompt is too little; says how many are missing.
    """
    if (fresh := recipe.fresh) is None:
        return recipe
    s = recipe.settings
    observer.phase("prompts", "written")
    written = write(fresh, store, observer.tally, budget=Budget(s.budget_usd, s.budget_calls))
    kept = written.kept[: fresh.count]
    (out / "data").mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "data" / FILE, (one.row(fresh.writer.name) for one in kept))
    told = ", ".join(f"{n:,} {why}" for why, n in written.reasons().items())
    observer.note(
        f"{counted(len(kept), 'new prompt')} by {fresh.writer.name} in {counted(written.done, 'call')}"
        f"{f' (left out: {told})' if told else ''}"
    )
    whole = replace(recipe, pool=[*_given(recipe, fresh), *(Prompt.of(one.text) for one in kept)])
    cut_slices(whole)
    return whole


def new_prompt_parts(recipe: SelfRewarding, stage: str, store: Store | None, machine: Machine) -> list[Part]:
    """What writing them will ask and cost, as parts of a stage."""
    if (fresh := recipe.fresh) is None:
        return []
    _, expected = estimate_writing(fresh, store)
    models = {fresh.writer.name: fresh.writer.asked}
    return [
        replace(part, what="new prompts")
        for part in asked_parts(replace(expected, labels=0), stage, machine, models, "")
    ]
