"""Settings of AlpacaFarm → the recipe, with everything it works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from arenaloop.calls.budget import Budget
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import AlpacaFarmSettings
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL
from arenaloop.config.recipes.alpaca_farm_parity import REMAINING, shown
from arenaloop.data.formats.labels import read_labels, split_filter
from arenaloop.errors import ConfigError, InputError
from arenaloop.recipes.alpaca_farm import run
from arenaloop.recipes.alpaca_farm_costs import estimate_costs
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, check, outline, stage_names
from arenaloop.recipes.people import people
from arenaloop.specs.data import load_demonstrations, load_prompts, true_utility
from arenaloop.specs.labels import evaluator, file_pairs, labeller
from arenaloop.specs.models import contestant
from arenaloop.specs.recipes.base import Recipe, Table
from arenaloop.specs.rewards import reward
from arenaloop.specs.start import contestant_of, start
from arenaloop.types import Prompt

__all__ = ["RECIPE", "build_alpaca_farm", "explain"]


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
    given = validating = None
    preference: Sequence[Prompt] = ()
    validation: Sequence[Prompt] = ()
    unlabeled: Sequence[Prompt] = ()
    if settings.labels == "file":
        given = file_pairs(data.preference)
        validating = file_pairs(data.validation) if data.validation else None
    else:
        preference = load_prompts(data.preference, seed, exclude=seen).prompts
        validation = load_prompts(data.validation, seed).prompts if data.validation else ()
    if data.unlabeled:
        seen += [prompt.last_user for prompt in preference] if data.unlabeled.startswith("sandbox:") else []
        unlabeled = load_prompts(data.unlabeled, seed, exclude=seen).prompts
    opponents = [contestant(one.with_concurrency(settings.concurrency)) for one in settings.opponents]
    budget = Budget(settings.budget_usd, settings.budget_calls)
    rewards = {
        # best_of_n chooses while answers are asked for: then there is no place for a judge's verdicts
        one.reward: _identity(one.reward, name, out / "arena.db" if one.learns else None, budget)
        for name, one in settings.methods.items()
        if one.samples and one.reward != REWARD_MODEL
    }
    label = labeller(settings)
    recipe = AlpacaFarm(
        settings=settings,
        start=origin.path,
        target=contestant_of(settings.target),
        sampling=replace(settings.target.sampling.build(), temperature=settings.sampling_temperature),
        opponents=opponents,
        judge=evaluator(settings),
        demonstrations=demonstrations,
        preference=preference,
        unlabeled=unlabeled,
        evaluation=evaluation,
        label=label.label,
        label_calls=label.calls,
        label_costs=label.costs,
        size=origin.size,
        reward_of=reward,
        validation=validation,
        given=given,
        given_validation=validating,
        people=people(data.people, read_labels(*split_filter(data.people)), evaluation) if data.people else None,
        rewards=rewards,
        utility=true_utility(data.evaluation),
        fingerprint="" if dry else origin.fingerprint,
        prepare=origin.prepare,
        recorded=match_recorded(opponents, evaluation, allow_missing=settings.allow_missing),
    )
    check(recipe)
    return recipe


def _identity(spec: str, method: str, arena: Path | None, budget: Budget) -> str:
    """What identifies a method's reward; refusals name the method."""
    try:
        return reward(spec, arena, budget).identity
    except (ConfigError, InputError) as error:
        raise type(error)(f"methods.{method}: {error}") from None


def explain(settings: AlpacaFarmSettings) -> list[Table]:
    """Where AlpacaFarm's published code chose otherwise than our defaults, and what stands in these settings."""
    rows = [(choice.path, here, shown(choice.value), choice.why) for choice, here in settings.beside_parity()]
    return [
        Table("What AlpacaFarm's code chose", ("setting", "here", "AlpacaFarm", "our default, because of"), rows),
        Table("What no setting expresses", ("", "AlpacaFarm", "here"), [(x.what, x.theirs, x.ours) for x in REMAINING]),
    ]


RECIPE = Recipe(
    "methods that learn from pairwise feedback, compared on one budget",
    AlpacaFarmSettings,
    build_alpaca_farm,
    outline,
    run,
    lambda s: [name for name in stage_names(s) if name not in s.methods or s.methods[name].learns],
    lambda settings: [evaluator(settings)],
    costs=estimate_costs,
    explain=explain,
)
