"""What AlpacaFarm will ask, compute and pay, stage by stage; answers that are still to come have an assumed length."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import Schedule, target_pairs
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.planned import estimate_plan
from arenaloop.calls.annotating import AnnotationPlan, estimate_annotations
from arenaloop.calls.answers import Answers, Contestant, samples_of
from arenaloop.calls.budget import Budget
from arenaloop.calls.costs import HumanLabel
from arenaloop.calls.estimated import Estimate
from arenaloop.calls.recorded import materials_to_be
from arenaloop.config import OptimSettings, SampleSettings
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL, FarmMethodSettings
from arenaloop.data.formats.pairs import seed_key
from arenaloop.data.formats.training_rows import read_preference
from arenaloop.data.held_out import prompt_turns, row_turns
from arenaloop.judges.annotators import Pair
from arenaloop.judges.jury import Jury
from arenaloop.judges.pooled import PooledLabels
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.reward import Reward
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, decides, stage_names
from arenaloop.recipes.costs import (
    Costs,
    Part,
    answering,
    asked_parts,
    done,
    policy_to_be,
    samples_part,
    spent_in,
    trained_parts,
)
from arenaloop.recipes.machine import Machine, length_of, machine_of, measure_start
from arenaloop.recipes.reused import Reused
from arenaloop.recipes.work import Work, work
from arenaloop.store import Store
from arenaloop.types import Prompt, Response

__all__ = ["estimate_costs"]

_ASKED_REWARDS = ("judge:", "battles:", "http:", "https:")
"""SPECs of rewards that may cost money"""


def estimate_costs(
    recipe: AlpacaFarm, out: Path, store: Store | None, measure: bool = False, through: Collection[str] = ()
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
    people = HumanLabel(s.human.usd, s.human.seconds)
    reused = Reused(out, store, decides(recipe), through)
    places = {"SFT": reused.find("SFT")}
    first = _contestant(recipe, places, "SFT")
    machine = machine_of(s, recipe.start, recipe.size, store, first)
    machine.trained(out / "checkpoints" / "SFT", _sft(recipe, machine))
    if measure:
        start = recipe.target("start", Path(recipe.start))
        measure_start(machine, start, recipe.evaluation, material.demonstrations, s.sft)
    parts = trained_parts("SFT", _sft(recipe, machine), s.sft, machine)
    labelling: list[Part] = []
    pairs, answer = [], s.target.sampling.max_tokens / 2
    if material.given is None:
        samples = samples_of(replace(first, sampling=recipe.sampling), s.samples)
        found = answering(samples, [*material.preference, *material.validation], store, {}, s.seed)
        if found.calls and found.total("tokens_out"):
            answer = found.total("tokens_out") / found.calls
        labelling.append(samples_part("pairs", found, machine))
        characters = round(answer * machine.per_token)
        pairs = _pairs(recipe, material.preference, samples, store, characters)
        measured = _pairs(recipe, material.validation, samples, store, characters)
        # labelled one after the other: no call is about pairs of both
        each = [recipe.label_costs(some, store, people) for some in (pairs, measured) if some]
        known = [labels for labels in each if labels is not None]
        if known:
            labelling += asked_parts(_judged([one for one, _ in known]), "pairs", machine, known[0][1], "labels")
    settled = not any(part.calls for part in labelling)
    parts += labelling
    prompt = length_of(map(prompt_turns, material.preference), machine)
    if material.given is not None:
        read = [read_preference(row) for row in material.given]
        prompt = length_of((one.prompt for one in read), machine)
        answer = length_of((one.chosen for one in read), machine)
    rows = len(pairs) if material.given is None else len(material.given)
    if s.needs_reward_model:
        parts += trained_parts(
            "RM", work("reward_model", s.reward_model, rows, prompt, answer), s.reward_model, machine
        )
        places["RM"] = reused.find("RM", settled=settled)
    for name, method in s.methods.items():
        parts += _method(recipe, name, method, rows, (prompt, answer), machine)
        if method.learns:
            places[name] = reused.find(name, settled=settled)
    parts = [done(part) if part.stage in reused.stages else part for part in parts]
    parts += _evaluation(recipe, places, store, machine, people)
    order = {name: at for at, name in enumerate(["SFT", "pairs", *stage_names(s)[1:], "evaluation"])}
    return Costs(
        sorted(parts, key=lambda part: order[part.stage]), people, list(machine.told()), spent_in(store), s.machine.gpu
    )


def _sft(recipe: AlpacaFarm, machine: Machine) -> Work:
    rows = recipe.material.demonstrations
    return work("sft", recipe.settings.sft, len(rows), length_of(map(row_turns, rows), machine), 0.0)


def _method(
    recipe: AlpacaFarm, name: str, method: FarmMethodSettings, rows: int, lengths: tuple[float, float], machine: Machine
) -> list[Part]:
    """A method's training, and who scores its answers where that may cost money."""
    material, (prompt, answer) = recipe.material, lengths
    settings: OptimSettings = recipe.settings.reward_model
    if not method.learns:
        scored = len(recipe.evaluation) * method.n
        both = length_of(map(prompt_turns, recipe.evaluation), machine) + answer
        done = Work(read=scored * both)
    elif method.method == "sft":
        done, settings, scored, both = _sft(recipe, machine), method.settings, 0, 0.0
    else:
        settings = method.settings
        if isinstance(settings, SampleSettings):
            rows, prompt = len(material.unlabeled), length_of(map(prompt_turns, material.unlabeled), machine)
            answer = settings.max_new_tokens / 2
        done, both = work(method.method, settings, rows, prompt, answer), prompt + answer
        scored = done.answers
    own = method.reward == REWARD_MODEL
    if method.learns and own and scored:
        done = done._replace(read=done.read + scored * both)
    parts = trained_parts(name, done, settings, machine) if method.learns or own else []
    if not method.learns and own:
        parts = [replace(part, what="scores", memory=None) for part in parts]  # nothing is learned
    if scored and method.reward.startswith(_ASKED_REWARDS):
        note = "what this reward costs for each answer is not known"
        parts.append(
            Part(name, f"scores by {method.reward}", False, scored, None, None, None, None, None, notes=(note,))
        )
    return parts


def _judged(each: Sequence[Estimate]) -> Estimate:
    """Estimates of labels as one."""
    return replace(
        each[0], roles=tuple(role for one in each for role in one.roles), labels=sum(one.labels for one in each)
    )


def _to_come(prompt: Prompt, name: str, characters: int, mark: str) -> Response:
    """What stands for an answer of an assumed length; marks keep two of them apart."""
    text = ("word " * (characters // 5 + 1))[: max(1, characters - len(mark))]
    return Response(prompt.id, name, (text + mark,) * prompt.turns)


def _pairs(
    recipe: AlpacaFarm,
    prompts: Sequence[Prompt],
    samples: Sequence[Contestant],
    store: Store | None,
    characters: int,
) -> list[tuple[Prompt, Response, Response]]:
    """Pairs of answers: those that are stored, else placeholders of an assumed length, no two of a prompt the same."""
    answers = Answers(store, samples, {}, seed=recipe.settings.seed)

    def answer(prompt: Prompt, at: int) -> Response:
        stored = answers.stored(samples[at].name, prompt)
        return stored or _to_come(prompt, samples[at].name, characters, str(at % 2))

    every = [
        (prompt, answer(prompt, at), answer(prompt, at + 1))
        for prompt in prompts
        for at in range(0, recipe.settings.samples - 1, 2)
    ]
    return [(prompt, one, two) for prompt, one, two in every if one.battles and two.battles and one.texts != two.texts]


def _contestant(recipe: AlpacaFarm, places: Mapping[str, Path | None], name: str) -> Contestant:
    """A policy, or who stands for it as long as its weights are not there."""
    s = recipe.settings
    method = s.methods.get(name)
    if method is not None and not method.learns:
        start = replace(_contestant(recipe, places, "SFT"), sampling=recipe.sampling)
        assert start.asked is not None
        model, identity = places.get("RM"), recipe.rewards.get(method.reward, "to come")
        if method.reward == REWARD_MODEL and model is not None:
            identity = recipe.reward_of(f"reward:{model}", None, Budget()).identity
        reward = Reward(lambda _, __: [], identity)  # nobody is asked in a plan
        best = BestOfN(name, start.asked, method.n, reward)
        return replace(start, name=name, model=best)
    return policy_to_be(name, s.target, places[name], recipe.target)


def _evaluation(
    recipe: AlpacaFarm, places: Mapping[str, Path | None], store: Store | None, machine: Machine, people: HumanLabel
) -> list[Part]:
    s = recipe.settings
    policies = [_contestant(recipe, places, name) for name in stage_names(s) if name != "RM"]
    fighters = [*policies, *recipe.opponents]
    plan = BattlePlan(
        contestants=fighters,
        judge=recipe.judge,
        prompt_ids=[prompt.id for prompt in recipe.evaluation],
        schedule=Schedule(tuple(target_pairs([one.name for one in fighters], s.baseline))),
        recorded=recipe.recorded,
        seed=s.seed,
        reask=s.judge.reask,
        seats=s.seats,
    )
    prompts = {prompt.id: prompt for prompt in recipe.evaluation}
    found = estimate_plan(plan, prompts.get, store, human=people)
    models: dict[str, Any] = {one.name: one.asked for one in recipe.opponents}
    judge = recipe.judge
    if isinstance(judge, PooledLabels):
        each = _annotated(recipe, judge, fighters, store, machine, people)
        answers = tuple(role for role in found.roles if role.role != "judge")
        found = _judged([replace(found, roles=answers, labels=0), *each])
    members = judge.pool.members if isinstance(judge, PooledLabels) else Jury.of(judge).members
    models |= {one.name: getattr(one, "model", None) for one in members}
    return asked_parts(found, "evaluation", machine, models, "verdicts", [one.name for one in policies])


def _annotated(
    recipe: AlpacaFarm,
    judge: PooledLabels,
    fighters: Sequence[Contestant],
    store: Store | None,
    machine: Machine,
    people: HumanLabel,
) -> list[Estimate]:
    """What a pool will be asked, policy by policy, as the evaluation asks it."""
    s, prompts = recipe.settings, recipe.evaluation
    answers = Answers(store, fighters, recipe.recorded, seed=s.seed)
    characters = round(s.target.sampling.max_tokens / 2 * machine.per_token)
    there: dict[str, list[Response | None]] = {one.name: [] for one in fighters}
    for material in materials_to_be(store, fighters, prompts, recipe.recorded):
        for name, mine in there.items():
            settled = answers.settle(name, material)
            mine.append(material.answers[name] if settled else _to_come(material.prompt, name, characters, f" {name}"))
    found = []
    for name, mine in there.items():
        if name != s.baseline:
            pairs = [
                Pair(prompt, one, against, seed_key(prompt, {}))
                for prompt, one, against in zip(prompts, mine, there[s.baseline], strict=True)
                if one is not None and against is not None and one.battles and against.battles
            ]
            plan = AnnotationPlan(pairs, judge.pool, judge.seed, concurrency=s.concurrency)
            found.append(estimate_annotations(plan, store, human=people))
    return found
