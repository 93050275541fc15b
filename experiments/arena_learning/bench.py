"""What the two experiments on Arena Learning share: a run to start from, and arms that are one training each.

An arm starts from a checkpoint of a run of the recipe, learns rows made of that run's battles, and is measured as
the run's own stages are: greedy answers to held-out prompts, gold accuracy, and a rating by battles with the run's
opponents, of which the first is held at 1000. Figures are kept seed by seed: what is finished is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gold import demo_settings
from over_seeds import Figures

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.matchmaking import all_pairs
from arenaloop.arena.pairings import pairings
from arenaloop.calls.answers import Contestant
from arenaloop.config import ArenaLearningSettings, JudgeSettings, OptimSettings
from arenaloop.data.selection import PromptScores, random_rows
from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.judges.jury import Decider
from arenaloop.recipes import arena_learning
from arenaloop.recipes.arena_learning_plan import ArenaLearning, cut_slices, fights
from arenaloop.recipes.arena_learning_stages import plan_stages, slice_count
from arenaloop.recipes.parts import Arena, battle, prompt_scores, test
from arenaloop.recipes.stage import Result
from arenaloop.specs.judges import judge
from arenaloop.specs.recipes.arena_learning import build_arena_learning
from arenaloop.store import Store
from arenaloop.train.methods import training
from arenaloop.types import derive_seed

__all__ = ["Bench", "gate", "other_judge"]

RATED_ON = 200
"""Test prompts on which arms battle for a rating; gold accuracy is of all of them."""


def other_judge() -> Decider:
    """A judge that no data is made by: other opinions, less noise, no bias for length and little for a seat."""
    options = {"seed": 1, "noise": 1.0, "seat_bias": 0.2, "length_bias": 0.0}
    return judge(JudgeSettings(spec="sandbox:judge", name="other", options=options))


@dataclass
class Bench:
    """A finished run of the recipe, and arms that are trained beside its stages.

    Attributes:
        trained: the arms' checkpoints, the run's stages among them.
        figures: of each arm.
    """

    recipe: ArenaLearning
    store: Store
    out: Path
    result: Result
    trained: dict[str, Path] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, seed: int, split: str, out: Path, changes: Sequence[str]) -> Iterator[Bench]:
        """A run of the recipe in a directory: made, resumed, or as it is there."""
        settings = demo_settings(seed, split, *changes)
        recipe = build_arena_learning(settings, out)
        out.mkdir(parents=True, exist_ok=True)
        with Store(out / "arena.db") as store:
            bench = cls(recipe, store, out, arena_learning.run(recipe, store, out))
            rated = {row.model: row for row in bench.result.leaderboard.rows}
            for stage in bench.result.stages:
                name = stage["name"]
                bench.trained[name] = out / "checkpoints" / name
                if stage.get("gold_accuracy") is not None:
                    rating = rated[name].rating
                    assert rating is not None
                    told = {"gold": stage["gold_accuracy"], "utility": stage["gold_utility"], "rating": rating}
                    bench.figures[name] = told | {"rows": stage["rows"]}
            yield bench

    @property
    def settings(self) -> ArenaLearningSettings:
        """Those of the run."""
        return self.recipe.settings

    @property
    def arena(self) -> Arena:
        """Where arms answer and battle, under the run's judge."""
        return Arena(self.store, self.recipe.judge, self.settings)

    def slice(self, stage: str) -> list[str]:
        """The prompts that a stage's battles are on."""
        [at] = [one.slice for one in plan_stages(self.settings) if one.name == stage]
        assert at is not None
        return cut_slices(self.recipe, slice_count(self.settings))[at]

    def contestant(self, name: str) -> Contestant:
        """An arm, or a stage, as it battles."""
        return self.recipe.target(name, self.trained[name])

    def fought(
        self,
        target: str,
        ids: Sequence[str],
        *,
        opponents: Sequence[Contestant] | None = None,
        mode: str = "all_pairs",
        by: Decider | None = None,
    ) -> list[PromptScores]:
        """What battles of a target say about the responses to prompts; those that were fought are not fought again."""
        some = self.recipe.opponents if opponents is None else opponents
        settings = self.settings.model_copy(update={"battle_mode": mode, "opponents_by_round": None})
        recipe = replace(self.recipe, opponents=some, settings=settings)
        arena = replace(self.arena, judge=by or self.recipe.judge)
        stage = plan_stages(self.settings)[1]
        plans = [battle(arena, *one) for one in fights(recipe, stage, self.contestant(target), ids)]
        return [scored for plan in plans for scored in prompt_scores(plan, self.store)]

    def learn(self, arm: str, start: str, rows: Sequence[JsonRow], *, method: str = "sft", **settings: Any) -> None:
        """Train an arm on rows as the run trains its first stage of that kind: demonstrations replayed for SFT."""
        s = self.settings
        like = {"sft": s.sft, "dpo": s.dpo}[method].model_copy(update=settings)
        stage = {"sft": "SFT-I1", "dpo": "DPO-I1"}[method]
        replay: Sequence[JsonRow] = ()
        if method == "sft":
            count = round(s.sft_replay * len(rows))
            replay = random_rows(self.recipe.material.demonstrations, count, derive_seed("replay", s.seed, stage))
        self.train(arm, method, start, [*rows, *replay], like, stage)
        self.figures[arm]["rows"] = len(rows)

    def train(
        self, arm: str, method: str, start: str, rows: Sequence[JsonRow], settings: OptimSettings, stage: str
    ) -> None:
        """Train an arm on these very rows, in the order that a stage's rows have, and measure it."""
        out = self.out / "arms" / arm.replace(" ", "-")
        seed = derive_seed("train", self.settings.seed, stage)
        training(method, self.trained[start], rows, out, settings, seed=seed)
        self.trained[arm] = out
        found = test(self.arena, self.contestant(arm), self.recipe.test, self.recipe.utility)
        assert found["gold_accuracy"] is not None
        assert found["gold_utility"] is not None
        self.figures[arm] = {"gold": found["gold_accuracy"], "utility": found["gold_utility"], "rows": len(rows)}

    def rows_of(self, stage: str) -> list[JsonRow]:
        """What a stage of the run selected."""
        return [row for _, row in read_rows(self.out / "data" / f"{stage}.jsonl")]

    def rate(self, names: Sequence[str], by: Decider | None = None, figure: str = "rating") -> None:
        """Rate arms by battles with the opponents, and these with each other; the first opponent is held at 1000."""
        arena = replace(self.arena, judge=by or self.recipe.judge)
        others = [one.name for one in self.recipe.opponents]
        pairs = [*((name, other) for name in names for other in others), *all_pairs(others)]
        fighters = [*(self.contestant(name) for name in names), *self.recipe.opponents]
        plan = battle(arena, fighters, [prompt.id for prompt in self.recipe.test[:RATED_ON]], pairs)
        battles = (one for pairing in pairings(plan, self.store) for one in pairing.battles)
        for row in leaderboard(battles, anchor=(others[0], 1000.0)).rows:
            if row.model in self.figures and row.rating is not None:
                self.figures[row.model][figure] = row.rating


def gate(checkpoint: Path) -> Mapping[str, float]:
    """How a reward model ranks pairs that it has not seen, and how its start's likelihood does."""
    report = json.loads((checkpoint / "training.json").read_text())["result"]["report"]
    return {name: report[name][0] for name in ("pairs", "accuracy", "accuracy_likelihood", "over_likelihood")}
