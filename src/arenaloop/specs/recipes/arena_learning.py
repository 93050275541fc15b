"""Settings of Arena Learning → the recipe, with everything it works on."""

from __future__ import annotations

from pathlib import Path

from arenaloop.calls.recorded import match_recorded
from arenaloop.config import ArenaLearningSettings
from arenaloop.judges.jury import Decider
from arenaloop.recipes.arena_learning import run
from arenaloop.recipes.arena_learning_costs import estimate_costs
from arenaloop.recipes.arena_learning_plan import ArenaLearning, check, outline
from arenaloop.recipes.arena_learning_stages import plan_stages
from arenaloop.specs.cleaning import benchmarks, cleaner
from arenaloop.specs.data import load_demonstrations, load_prompts, true_utility
from arenaloop.specs.judges import judge
from arenaloop.specs.models import contestant
from arenaloop.specs.recipes.base import Recipe
from arenaloop.specs.rewards import reward
from arenaloop.specs.start import contestant_of, start

__all__ = ["RECIPE", "build_arena_learning"]


def build_arena_learning(settings: ArenaLearningSettings, out: Path, dry: bool = False) -> ArenaLearning:
    """Everything the Arena Learning recipe works on. Writes nothing.

    Args:
        settings: the recipe's file.
        out: the run directory; a fresh sandbox target will be made below it.
        dry: only the plan is wanted: nothing is looked up on a hub.
    """
    data = settings.data
    origin = start(settings.target, settings.seed, out)
    origin.check(dry=dry)
    demonstrations = load_demonstrations(data.demonstrations, settings.seed)
    seen = (
        [row["messages"][0]["content"] for row in demonstrations] if data.demonstrations.startswith("sandbox:") else []
    )
    test = load_prompts(data.test, settings.seed).prompts
    pool = load_prompts(data.prompts, settings.seed, exclude=seen)
    validation = load_prompts(data.validation, settings.seed).prompts if data.validation else ()
    guarding = settings.held_out
    held_out = load_prompts(guarding.prompts, settings.seed).prompts if guarding else ()
    opponents = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.opponents]
    recipe = ArenaLearning(
        settings=settings,
        start=origin.path,
        target=contestant_of(settings.target),
        reward_of=lambda path: reward(f"reward:{path}"),
        opponents=opponents,
        judge=judge(settings.judge.with_concurrency(settings.concurrency)),
        demonstrations=demonstrations,
        pool=pool.prompts,
        duplicates=pool.duplicates,
        size=origin.size,
        test=test,
        validation=validation,
        utility=true_utility(data.test),
        fingerprint="" if dry else origin.fingerprint,
        prepare=origin.prepare,
        recorded=match_recorded(
            opponents, (*pool, *test, *validation, *held_out), allow_missing=settings.allow_missing
        ),
        held_out_judge=judge(guarding.judge.with_concurrency(settings.concurrency)) if guarding else None,
        held_out=held_out,
        cleaner=None if data.cleaning is None else cleaner(data.cleaning, settings.seed),
        benchmarks=() if data.cleaning is None else benchmarks(data.cleaning),
    )
    check(recipe)
    return recipe


def judges_of(settings: ArenaLearningSettings) -> list[Decider]:
    """The judge, and the held-out judge where there is one."""
    second = [] if settings.held_out is None else [settings.held_out.judge]
    return [judge(one.with_concurrency(settings.concurrency)) for one in (settings.judge, *second)]


RECIPE = Recipe(
    "the target battles stronger models and learns from what it lost",
    ArenaLearningSettings,
    build_arena_learning,
    outline,
    run,
    lambda s: [stage.name for stage in plan_stages(s)],
    judges_of,
    estimate_costs,
)
