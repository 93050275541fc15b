"""What Arena Learning will ask, compute and pay, stage by stage; how many rows battles will give is not known before.

Trainings are counted with a row of every prompt that is battled on, the most that there can be.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import Pair, Schedule, all_pairs, target_pairs
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.costs import HumanLabel
from arenaloop.config import OptimSettings
from arenaloop.data.held_out import prompt_turns, row_turns
from arenaloop.judges.jury import Decider, Jury
from arenaloop.recipes.arena_learning_plan import ArenaLearning, cut_slices, decides, fights
from arenaloop.recipes.arena_learning_stages import Stage, plan_stages, slice_count
from arenaloop.recipes.costs import Costs, Part, asked_parts, done, policy_to_be, spent_in, trained_parts
from arenaloop.recipes.machine import Machine, length_of, machine_of, measure_start
from arenaloop.recipes.reused import Reused
from arenaloop.recipes.work import Work, work
from arenaloop.store import Store

__all__ = ["estimate_costs"]


def estimate_costs(
    recipe: ArenaLearning, out: Path, store: Store | None, measure: bool = False, through: Collection[str] = ()
) -> Costs:
    """What is still to be asked and trained. Reads only.

    Args:
        recipe: what is to be done.
        out: the run directory.
        store: its arena file, as far as there is one.
        measure: load the model that training starts from, and time a few of its answers.
        through: stages of which nothing is done again.
    """
    s, material = recipe.settings, recipe.material
    stages = plan_stages(s)
    slices = cut_slices(recipe, slice_count(s))
    people = HumanLabel(s.human.usd, s.human.seconds)
    reused = Reused(out, store, decides(recipe), through)
    before = policy_to_be(stages[0].name, s.target, reused.find(stages[0].name), recipe.target)
    policies = {stages[0]: before}
    machine = machine_of(s, recipe.start, recipe.size, store, before)
    machine.trained(out / "checkpoints" / stages[0].name, _first(recipe, machine))
    if measure:
        start = recipe.target("start", Path(recipe.start))
        measure_start(machine, start, recipe.test, material.demonstrations, s.sft_init_training)
    prompts = {prompt.id: prompt for prompt in (*material.pool, *material.validation, *material.held_out, *recipe.test)}
    models: dict[str, Any] = {one.name: one.asked for one in recipe.opponents}
    deciders = [one for one in (recipe.judge, recipe.held_out_judge) if one is not None]
    models |= {one.name: getattr(one, "model", None) for decider in deciders for one in Jury.of(decider).members}

    def battles(
        stage: str,
        what: str,
        fighters: Sequence[Contestant],
        ids: Sequence[str],
        pairs: Sequence[Pair],
        judge: Decider = recipe.judge,
    ) -> list[Part]:
        schedule = Schedule(tuple(pairs))
        asked = s.held_out.judge if s.held_out and judge is recipe.held_out_judge else s.judge
        plan = BattlePlan(fighters, judge, ids, schedule, recipe.recorded, s.seed, reask=asked.reask, seats=s.seats)
        named = [] if stage in stage_of else list(stage_of)  # test answers are their own stage's
        found = estimate_plan(plan, prompts.get, store, human=people)
        # answers to the same prompts are asked once, however many judges and stages come back to them
        new = [role for role in found.roles if role.role == "judge" or (role.name, tuple(ids)) not in answered]
        answered.update((role.name, tuple(ids)) for role in new)
        found = replace(found, roles=tuple(new))
        return asked_parts(found, stage, machine, models, what, named)

    answered: set[tuple[str, tuple[str, ...]]] = set()
    stage_of = {stage.name: stage for stage in stages}
    opponents = [one.name for one in recipe.opponents]
    prompt, answer = length_of(map(prompt_turns, material.pool), machine), s.target.sampling.max_tokens / 2
    parts: list[Part] = []
    rows: dict[Stage, int] = {}
    for stage in stages:
        if stage.slice is None:
            trained = trained_parts(stage.name, _first(recipe, machine), s.sft_init_training, machine)
        else:
            rows[stage] = sum(prompts[id_].turns for id_ in slices[stage.slice])  # PPO answers each turn by itself
            asked: list[Part] = []
            if stage.kind != "ppo":
                each = fights(recipe, stage, before, slices[stage.slice])
                for fought in each:
                    asked += battles(stage.name, "verdicts", *fought)
                rows[stage] = sum(len(fought.prompt_ids) for fought in each)
            alike = [one for one in rows if one.kind == stage.kind] if s.accumulates(stage.kind) else [stage]
            seen = sum(rows[one] for one in alike)
            seen += round(s.sft_replay * seen) if stage.kind == "sft" else 0
            by_kind: dict[str, OptimSettings] = {"dpo": s.dpo, "reward_model": s.reward_model, "ppo": s.ppo}
            settings = by_kind.get(stage.kind, s.sft)
            takes = work(stage.kind, settings, seen, prompt, answer)
            if stage.kind == "ppo":  # the reward model reads every answer
                takes = takes._replace(read=takes.read + takes.answers * (prompt + answer))
            trained = trained_parts(stage.name, takes, settings, machine)
            found = reused.find(stage.name, settled=not any(part.calls for part in asked))
            if stage.answers:
                policies[stage] = policy_to_be(stage.name, s.target, found, recipe.target)
            parts += map(done, asked) if stage.name in through and found is not None else asked
        parts += map(done, trained) if stage.name in reused.stages else trained
        if not stage.answers:
            continue
        before = policies[stage]
        if validation := material.validation:
            pairs = target_pairs([before.name, *opponents], before.name)
            ids = [one.id for one in validation]
            parts += battles(stage.name, "validation", [before, *recipe.opponents], ids, pairs)
        if recipe.held_out_judge is not None:
            pairs = target_pairs([before.name, *opponents], before.name)
            ids = [one.id for one in material.held_out]
            for what, judge in (("training judge's view", recipe.judge), ("held-out judge", recipe.held_out_judge)):
                parts += battles(stage.name, what, [before, *recipe.opponents], ids, pairs, judge)
    everyone = [*policies.values(), *recipe.opponents]
    tested = [one.id for one in recipe.test]
    parts += battles("leaderboard", "verdicts", everyone, tested, all_pairs([one.name for one in everyone]))
    order = {name: at for at, name in enumerate([*stage_of, "leaderboard"])}
    notes = ["battles give at most a row of each prompt, and are taken to"] if rows else []
    return Costs(
        sorted(parts, key=lambda part: order[part.stage]),
        people,
        [*notes, *machine.told()],
        spent_in(store),
        s.machine.gpu,
    )


def _first(recipe: ArenaLearning, machine: Machine) -> Work:
    rows = recipe.material.demonstrations
    length = length_of(map(row_turns, rows), machine)
    return work("sft", recipe.settings.sft_init_training, len(rows), length, 0.0)
