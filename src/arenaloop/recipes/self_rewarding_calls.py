"""How many calls Self-Rewarding and Meta-Rewarding take, and what they will do, in words."""

from __future__ import annotations

from typing import NamedTuple

from arenaloop.arena.plan import verdicts_per_battle
from arenaloop.calls.recorded import recorded_notes
from arenaloop.config import MetaGateSettings, MetaSettings
from arenaloop.ratings.meta_rewards import swiss_rounds
from arenaloop.recipes.self_rewarding_plan import SelfRewarding, cut_slices, measured_in, meta_of, stage_names
from arenaloop.recipes.stage import Outline
from arenaloop.terminal import counted

__all__ = ["Calls", "most_meta_calls", "outline", "plan_calls"]


def most_meta_calls(meta: MetaSettings, votes: int) -> int:
    """How many verdicts the judgements of one answer take at most, each pair from both seats."""
    if meta.pairs == "all":
        return votes * (votes - 1)
    if meta.pairs == "tournament":
        return 2 * swiss_rounds(votes) * (votes // 2)
    return min(votes * meta.pairs // 2, votes * (votes - 1) // 2) * 2


class Calls(NamedTuple):
    """At most how many calls one iteration takes.

    Attributes:
        answers: to its prompts.
        judgements: of those and of labelled answers. `verdicts`: on these judgements.
        tried: answers of its checkpoints, and of the model before, to validation prompts. `tried_judgements`: of them.
        tried_battles: between them.
    """

    answers: int
    judgements: int
    verdicts: int
    tried: int = 0
    tried_judgements: int = 0
    tried_battles: int = 0


def plan_calls(recipe: SelfRewarding, iteration: int, prompts: int) -> Calls:
    """Of one iteration, from 1, on so many prompts; re-asks are not counted."""
    s, meta, labelled = recipe.settings, meta_of(recipe.settings), recipe.labelled
    votes = 0 if recipe.reward is not None else s.self_judge.votes
    answers = prompts * s.samples
    judged, compared = answers, prompts
    if labelled is not None and (gates := measured_in(s, iteration)):
        judged += len(labelled.answers)
        compared += len(labelled.scored) if "meta" in gates else 0
    compares = meta is not None and meta.learns_in(iteration)
    tried = len(recipe.material.validation) * s.checkpoints.keep
    battles = tried if s.checkpoints.by == "judge" else 0
    return Calls(
        answers,
        judged * votes,
        compared * most_meta_calls(meta, votes) if meta and compares else 0,
        tried + (len(recipe.material.validation) if battles else 0),
        0 if battles else tried * votes,
        battles,
    )


def outline(recipe: SelfRewarding) -> Outline:
    """What the recipe will do, in words and numbers."""
    s, material, slices = recipe.settings, recipe.material, cut_slices(recipe)
    who = "the model itself" if recipe.scorer is None else recipe.scorer.name
    replies = sum(len(one.replies) for one in material.ranked)
    parts = [("M1", len(material.ranked), replies)] if replies else []
    fought = 0
    for number, prompts in enumerate(slices, start=1):
        calls = plan_calls(recipe, number, len(prompts))
        name = f"M{number + 1}"
        parts.append((name, len(prompts), calls.judgements + calls.verdicts))
        if calls.tried:
            each = verdicts_per_battle(recipe.judge, s.seats)
            fought += calls.tried_battles
            tried = calls.tried_judgements + calls.tried_battles * each
            parts.append((f"checkpoints of {name}", len(material.validation), tried))
    models = len(stage_names(s)) + len(recipe.opponents)
    battles = models * (models - 1) // 2 * len(recipe.test)
    parts.append(("leaderboard", len(recipe.test), battles * verdicts_per_battle(recipe.judge, s.seats)))
    facts = [
        counted(len(material.demonstrations), "demonstration"),
        f"{counted(len(material.judgements), 'judgement')} to learn from",
        *([f"{replies:,} ranked replies to {counted(len(material.ranked), 'prompt')}"] if replies else []),
        f"{counted(s.iterations, 'iteration')} of {counted(len(slices[0]), 'prompt')}, none of them twice",
        f"{counted(s.samples, 'answer')} to each",
        f"answers scored by {who if recipe.reward is None else f'the reward {s.reward}'}",
        *_gates(recipe),
        *_choice(recipe),
        *([] if recipe.fresh is None else [f"{recipe.fresh.count:,} new prompts by {recipe.fresh.writer.name}"]),
        counted(len(recipe.test), "test prompt"),
        *(f"{n:,} left out of {what}: held-out prompts" for what, n in material.left_out.items() if n),
        *(
            f"{n:,} left out of {what}: {why}"
            for what, some in recipe.unread.items()
            for why, n in sorted(some.items())
        ),
        *recipe.notes,
        *recorded_notes(recipe.opponents),
        f"held-out battles by judge {recipe.judge.name}",
    ]
    return Outline(stage_names(s), facts, parts, fought + battles)


def _gates(recipe: SelfRewarding) -> list[str]:
    """What stands before a training."""
    gates, labelled = recipe.settings.gates, recipe.labelled
    rules = ["order"] if gates.order is not None else []
    rules += ["meta"] if isinstance(gates, MetaGateSettings) and gates.meta is not None else []
    if not rules:
        return ["no gates"]
    on = "by the truth" if recipe.truth is not None else "not measured, as no truth is known (gates.labelled)"
    if labelled is not None:
        on = f"on {counted(len(labelled.answers), 'labelled answer')}"
        if "meta" in rules and not labelled.scored:
            on += ", meta not measured, as none of them has a score"
    return [f"gates {' and '.join(rules)} {on}"]


def _choice(recipe: SelfRewarding) -> list[str]:
    """How an iteration's checkpoint is chosen."""
    prompts, s = len(recipe.material.validation), recipe.settings.checkpoints
    if not prompts:
        return ["the last checkpoint of each iteration is its model"]
    by = "the judge" if s.by == "judge" else "its scores"
    return [f"the best of {counted(s.keep, 'checkpoint')} on {counted(prompts, 'validation prompt')} by {by}"]
