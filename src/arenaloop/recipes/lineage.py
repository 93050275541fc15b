"""What a recipe's settings say of a training row: why it was selected, and which stages trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arenaloop.config import AlpacaFarmSettings, ArenaLearningSettings, RecipeSettings
from arenaloop.data.lineage import row_texts
from arenaloop.data.selection import random_rows
from arenaloop.recipes.arena_learning_stages import Stage, plan_stages, threshold
from arenaloop.types import derive_seed

__all__ = ["Selected", "Trained", "selected", "selected_again", "target_among", "trained_on"]

_TOLERANCE = 1e-9
_PAIRS = "pairs"
_ADOPTED = "adopted from another trainer: whether it learned from the row is not known here"
_BY_GAP = frozenset({"gap below k", "target is best"})
"""why a prompt gave no row that it gives at a lower K"""


class Selected(NamedTuple):
    """Why a row was selected: the rule in words, and the threshold that its gap reached (None: there is none)."""

    rule: str
    name: str | None = None
    threshold: float | None = None


class Trained(NamedTuple):
    """A stage that learns from a row, and how; `finished`: whether it has."""

    stage: str
    how: str
    finished: bool


def selected(settings: RecipeSettings | None, stage: str, row: Mapping[str, Any]) -> Selected:
    """Why a row of a stage's file was selected; where the settings do not tell, what the row itself says."""
    kinds = [one.role for one in row_texts(row)]
    if kinds == ["sampled"]:
        told = "none" if row["score"] is None else f"{row['score']:.4g}"
        return Selected(f"an answer of its own in training; score of its reward: {told}")
    if isinstance(settings, AlpacaFarmSettings) and stage == _PAIRS:
        return Selected("a label says which of two answers is better" + _noise(row))
    planned = _planned(settings)
    if planned is None or stage not in planned:
        return Selected("the settings do not tell (config.yaml)" if kinds else "a prompt")
    assert isinstance(settings, ArenaLearningSettings)
    one = planned[stage]
    if one.round == 0:
        return Selected("a demonstration (D0); no battle chose it")
    name, k = threshold(settings, one)
    if one.kind == "sft":
        return Selected("the best answer, where the target lost by at least K", name, k)
    of_its_own = all("#" in text.model for text in row_texts(row))
    if settings.rejected == "all_pairs_over_k" and not of_its_own:
        return Selected("two answers at least K apart", name, k)
    other = "the target's" if settings.rejected == "target" and not of_its_own else "the worst"
    return Selected(f"the best answer against {other}, at least K apart", name, k)


def _noise(row: Mapping[str, Any]) -> str:
    return "" if row.get("verdicts") else "; nobody was asked: noise of the annotators, or the labels are given"


def target_among(settings: RecipeSettings | None, names: Sequence[str]) -> str | None:
    """Who of a prompt's contestants is the target: the one that is called like a stage."""
    planned = _planned(settings) or {}
    found = [name for name in names if name in planned]
    return found[0] if len(found) == 1 else None


def trained_on(
    settings: RecipeSettings | None,
    stage: str,
    row: Mapping[str, Any],
    done: Mapping[str, Mapping[str, Any]],
    *,
    line: int = 0,
    rows: int = 0,
) -> list[Trained]:
    """The stages that learn from a row, in their order.

    Args:
        settings: of the recipe; None where they cannot be read.
        stage, row, line: whose file holds the row, and where. `rows`: how many there are in it.
        done: results of finished stages by name.
    """
    found = _learners(settings, stage, row, done, line, rows)
    return [one._replace(how=_ADOPTED, finished=False) if _is_adopted(done, one.stage) else one for one in found]


def _is_adopted(done: Mapping[str, Mapping[str, Any]], stage: str) -> bool:
    return bool((done.get(stage) or {}).get("adopted"))


def _learners(
    settings: RecipeSettings | None,
    stage: str,
    row: Mapping[str, Any],
    done: Mapping[str, Mapping[str, Any]],
    line: int,
    rows: int,
) -> list[Trained]:
    if isinstance(settings, AlpacaFarmSettings) and stage == _PAIRS:
        return _of_pairs(settings, done)
    planned = _planned(settings)
    if planned is None or stage not in planned:
        stage = stage.removesuffix(".judgements")
        return [Trained(stage, "the stage that selected it", True)] if stage in done else []
    assert isinstance(settings, ArenaLearningSettings)
    own = planned[stage]
    found = [Trained(stage, "the stage that selected it" if own.round else "the first stage", stage in done)]
    if own.round == 0:
        replays = [one for one in planned.values() if one.kind == "sft" and one.round] if settings.sft_replay else []
        return found + [
            Trained(one.name, "replayed", True)
            for one in replays
            if one.name in done and line - 1 in _replayed(settings, one, done[one.name]["rows"], rows)
        ]
    if settings.accumulate == "reselect":
        found += _reached(settings, own, float(row.get("margin") or 0.0), done)
    elif settings.accumulate:
        found += [Trained(one.name, "rows accumulate over rounds", one.name in done) for one in _later(settings, own)]
    return found + _by_scores(own, found, done)


def selected_again(
    settings: RecipeSettings | None, stage: str, dropped: Mapping[str, Any], done: Mapping[str, Mapping[str, Any]]
) -> list[Trained]:
    """The later stages that learn from a prompt which gave `stage` no row: its gap reaches their K (``reselect``).

    Their rows of it are in no file.
    """
    own = (_planned(settings) or {}).get(stage)
    if own is None or not isinstance(settings, ArenaLearningSettings) or settings.accumulate != "reselect":
        return []
    if dropped.get("reason") not in _BY_GAP or dropped.get("gap") is None:
        return []
    found = _reached(settings, own, float(dropped["gap"]), done)
    return found + _by_scores(own, found, done)


def _later(settings: ArenaLearningSettings, own: Stage) -> list[Stage]:
    return [one for one in plan_stages(settings) if one.kind == own.kind and one.round > own.round]


def _reached(
    settings: ArenaLearningSettings, own: Stage, gap: float, done: Mapping[str, Mapping[str, Any]]
) -> list[Trained]:
    """The later stages of a kind whose K a gap reaches."""
    told = [(one.name, threshold(settings, one)[1]) for one in _later(settings, own)]
    return [Trained(name, f"selected again at K = {k:g}", name in done) for name, k in told if gap >= k - _TOLERANCE]


def _by_scores(own: Stage, found: Sequence[Trained], done: Mapping[str, Mapping[str, Any]]) -> list[Trained]:
    """The PPO stages that learn from the scores of the reward models among some stages."""
    if own.kind != "reward_model":
        return []
    learners = [(one.stage, f"PPO-I{one.stage.rpartition('I')[2]}") for one in found]
    return [Trained(name, f"by the scores of {model}", name in done) for model, name in learners]


def _planned(settings: RecipeSettings | None) -> dict[str, Stage] | None:
    return {one.name: one for one in plan_stages(settings)} if isinstance(settings, ArenaLearningSettings) else None


def _replayed(settings: ArenaLearningSettings, stage: Stage, total: int, rows: int) -> set[int]:
    """Which demonstrations a stage's training drew, by number from 0; `total`: all rows that it trained on."""
    for selected_rows in range(total, -1, -1):
        drawn = min(round(settings.sft_replay * selected_rows), rows)
        if selected_rows + drawn <= total:
            seed = derive_seed("replay", settings.seed, stage.name)
            return set(random_rows(range(rows), drawn, seed))
    return set()


def _of_pairs(settings: AlpacaFarmSettings, done: Mapping[str, Mapping[str, Any]]) -> list[Trained]:
    """Who learns from labelled pairs: themselves, or by the scores of the reward model that learned from them."""
    found = [Trained("RM", "from the pair", "RM" in done)] if settings.needs_reward_model else []
    for name, method in settings.methods.items():
        if method.method == "sft":
            continue
        if method.samples and not method.asks_reward_model:
            continue
        how = "by the scores of RM" if method.samples else "from the pair"
        found.append(Trained(name, how, name in done))
    return found
