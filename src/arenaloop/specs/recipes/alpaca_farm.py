"""Settings of AlpacaFarm → the recipe, with everything it works on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from arenaloop.calls.budget import Budget
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import AlpacaFarmSettings
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL
from arenaloop.recipes.alpaca_farm import run
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, check, outline
from arenaloop.specs.data import load_demonstrations, load_prompts, true_utility
from arenaloop.specs.judges import judge
from arenaloop.specs.labels import file_pairs, labeller
from arenaloop.specs.models import contestant
from arenaloop.specs.recipes.base import Recipe
from arenaloop.specs.rewards import reward
from arenaloop.specs.start import contestant_of, start

__all__ = ["RECIPE", "build_alpaca_farm"]


def build_alpaca_farm(settings: AlpacaFarmSettings, out: Path, dry: bool = False) -> AlpacaFarm:
    """Everything the AlpacaFarm recipe works on. Writes nothing.

    Args:
        settings: the recipe's file.
        out: the run directory; a fresh sandbox target will be made below it.
        dry: only the plan is wanted: nothing is looked up on a hub.
    """
    data, seed = settings.data, settings.seed
    origin = start(settings.target, seed, out)
    origin.check(dry=dry)
    demonstrations = load_demonstrations(data.sft, seed)
    seen = [row["messages"][0]["content"] for row in demonstrations] if data.sft.startswith("sandbox:") else []
    evaluation = load_prompts(data.evaluation, seed).prompts
    given = file_pairs(data.preference) if settings.labels == "file" else None
    preference = () if given is not None else load_prompts(data.preference, seed, exclude=seen).prompts
    seen += [prompt.last_user for prompt in preference] if data.unlabeled.startswith("sandbox:") else []
    unlabeled = load_prompts(data.unlabeled, seed, exclude=seen).prompts
    opponents = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.opponents]
    budget = Budget(settings.budget_usd, settings.budget_calls)
    label = labeller(settings)
    recipe = AlpacaFarm(
        settings=settings,
        start=origin.path,
        target=contestant_of(settings.target),
        sampling=replace(settings.target.sampling.build(), temperature=settings.sampling_temperature),
        opponents=opponents,
        judge=judge(settings.judge.with_concurrency(settings.concurrency)),
        demonstrations=demonstrations,
        preference=preference,
        unlabeled=unlabeled,
        evaluation=evaluation,
        label=label.label,
        label_calls=label.calls,
        reward_of=reward,
        given=given,
        rewards={  # best_of_n chooses while answers are asked for: then there is no place for a judge's verdicts
            one.reward: reward(one.reward, out / "arena.db" if one.learns else None, budget).identity
            for one in settings.methods.values()
            if one.samples and one.reward != REWARD_MODEL
        },
        utility=true_utility(data.evaluation),
        fingerprint="" if dry else origin.fingerprint,
        prepare=origin.prepare,
        recorded=match_recorded(
            opponents, (*preference, *unlabeled, *evaluation), allow_missing=settings.allow_missing
        ),
    )
    check(recipe)
    return recipe


RECIPE = Recipe(
    "methods that learn from pairwise feedback, compared on one budget",
    AlpacaFarmSettings,
    build_alpaca_farm,
    outline,
    run,
)
