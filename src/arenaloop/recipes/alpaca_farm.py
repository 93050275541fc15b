"""AlpacaFarm (Dubois et al. 2023, arXiv 2305.14387): ways to learn from pairwise feedback, compared on one budget.

    SFT            fine-tuned on demonstrations: where every method starts
    pairs          several answers of SFT to each preference prompt, labelled by simulated annotators (or by people)
    RM             a reward model of the pairs, for the methods that sample answers of their own
    the methods    each from SFT, on the same pairs and the same unlabeled prompts
    evaluation     every policy against one baseline on held-out prompts, by the same evaluator; where the truth is
                   known, by it as well, and how far the two rankings agree

Stages are resumable: answers, labels and verdicts are rows of the arena file, trainings continue from their last
checkpoint, and a stage that has finished with these very inputs is not repeated. A method's stage depends on its own
settings and on what stands before it, so changing one method leaves the others' results.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.arena.matchmaking import target_pairs
from arenaloop.arena.pairings import Summary
from arenaloop.arena.tournament import run_tournament, write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.config import OptimSettings
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL, FarmMethodSettings
from arenaloop.data.selection import preference_row
from arenaloop.errors import StoppedError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.reward import Reward
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, Labels, check, inputs_key
from arenaloop.recipes.alpaca_farm_tables import compare
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer, test, train
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.store import Store
from arenaloop.types import Prompt, Response, content_hash, derive_seed

__all__ = ["run"]

Rows = Sequence[Mapping[str, Any]]


@dataclass
class _Run:
    """One invocation: the recipe, where its models answer and battle, and what its stages came to so far."""

    recipe: AlpacaFarm
    arena: Arena
    stages: Stages
    done: dict[str, StageResult] = field(default_factory=dict)
    labels: Labels | None = None
    pairs: str = ""

    def once(self, name: str, work: Callable[[], StageResult]) -> None:
        self.done[name] = self.stages.once(name, inputs_key(self.recipe, name, self.pairs), work)

    def checkpoint(self, name: str) -> str:
        return str(self.stages.checkpoint(name))

    def policy(self, name: str) -> Contestant:
        """The contestant that a stage's name stands for."""
        method = self.recipe.settings.methods.get(name)
        if method is None or method.learns:
            return self.recipe.target(name, self.stages.checkpoint(name))
        start = self.sampled("SFT")
        assert start.asked is not None
        best = BestOfN(name, start.asked, method.n, self.reward(method))
        return replace(start, name=name, model=best)

    def sampled(self, name: str) -> Contestant:
        """A checkpoint that answers at the temperature of samples."""
        one = self.recipe.target(name, self.stages.checkpoint(name))
        return replace(one, sampling=self.recipe.sampling)

    def reward(self, method: FarmMethodSettings) -> Reward:
        """What scores a method's samples."""
        spec = f"reward:{self.checkpoint('RM')}" if method.reward == REWARD_MODEL else method.reward
        return self.recipe.reward_of(spec, self.arena.store, self.arena.budget)


def run(recipe: AlpacaFarm, store: Store, out: Path, observer: Observer | None = None) -> Result:
    """Run or resume the whole recipe in a run directory.

    Raises:
        ConfigError, InputError: as in `check`.
        StoppedError: no pair was labelled, the budget is spent, a server is down or the disk is full; the same call
            resumes.
    """
    check(recipe)
    s, observer = recipe.settings, observer or Observer()
    arena = Arena(store, recipe.judge, s, recipe.recorded, Budget(s.budget_usd, s.budget_calls), observer)
    material = recipe.material
    arena.admit((*material.preference, *material.unlabeled, *recipe.evaluation), recipe.opponents)
    r = _Run(recipe, arena, Stages(store, out, observer))
    recipe.prepare()

    r.once("SFT", partial(_train, r, "SFT", "sft", s.sft, recipe.start, material.demonstrations))
    pairs = _pairs(r)
    if s.needs_reward_model:
        r.once("RM", partial(_train, r, "RM", "reward_model", s.reward_model, r.checkpoint("SFT"), pairs))
    for name, method in s.methods.items():
        r.once(name, partial(_learn, r, name, method, pairs))
    return _evaluate(r)


def _learn(r: _Run, name: str, method: FarmMethodSettings, pairs: list[JsonRow]) -> StageResult:
    """Let one method learn from the pairs, or from samples that a reward scores."""
    if not method.learns:
        return _measured(r, name, StageResult("SFT", 0, 0), time.process_time())
    rows: list[JsonRow] = pairs
    if method.samples:
        rows = [{"prompt": [dict(turn) for turn in prompt.messages]} for prompt in r.recipe.material.unlabeled]
    elif method.method == "sft":
        rows = list(r.recipe.material.demonstrations)
    reward = r.reward(method) if method.samples else None
    return _train(r, name, method.method, method.settings, r.checkpoint("SFT"), rows, reward)


def _train(
    r: _Run, name: str, method: str, settings: OptimSettings, start: str, rows: Rows, reward: Reward | None = None
) -> StageResult:
    """Train a stage's checkpoint, and measure it where it answers."""
    r.arena.observer.phase(name, "training")
    before, s = time.process_time(), r.recipe.settings
    trained = train(
        method,
        start,
        rows,
        r.stages.checkpoint(name),
        settings,
        seed=derive_seed("train", s.seed, name),
        observer=r.arena.observer,
        revision=s.target.revision if start == r.recipe.start else None,
        reward=reward,
    )
    return trained if name == "RM" else _measured(r, name, trained, before)


def _measured(r: _Run, name: str, result: StageResult, before: float) -> StageResult:
    """The result with what was measured on held-out prompts, and the CPU seconds since `before`."""
    r.arena.observer.phase(name, "evaluation answers")
    figures = test(r.arena, r.policy(name), r.recipe.evaluation, r.recipe.utility)
    return replace(result, figures={**figures, "cpu_seconds": time.process_time() - before})


def _pairs(r: _Run) -> list[JsonRow]:
    """The labelled pairs, from answers and labels of the arena file where those are there; also written to a file."""
    s = r.recipe.settings
    if r.recipe.material.given is not None:
        rows = list(r.recipe.material.given)
    else:
        prompts = r.recipe.material.preference
        r.arena.observer.phase("pairs", "samples")
        answers = answer(r.arena, r.sampled("SFT"), prompts, samples=s.samples)
        r.arena.observer.phase("pairs", "labels")
        labels = r.recipe.label(r.arena, list(_candidates(prompts, answers, s.samples)))
        rows = [preference_row(one) for one in labels.preferences]
        r.labels = labels
        r.arena.observer.note(labels.told())
    if not rows:
        raise StoppedError("no pair of the preference prompts has a label: there is nothing to learn from")
    write_jsonl(r.stages.rows_file("pairs"), rows)
    r.pairs = content_hash([{name: value for name, value in row.items() if name != "verdicts"} for row in rows])
    return rows


def _candidates(
    prompts: Sequence[Prompt], answers: Sequence[Response | None], samples: int
) -> Iterator[tuple[Prompt, Response, Response]]:
    """Each answer beside the next one to the same prompt, where both are there and differ."""
    for at, prompt in enumerate(prompts):
        mine = answers[at * samples : (at + 1) * samples]
        for one, other in zip(mine[::2], mine[1::2], strict=False):
            if one is not None and other is not None and one.battles and other.battles and one.texts != other.texts:
                yield prompt, one, other


def _evaluate(r: _Run) -> Result:
    """Every policy against the baseline on held-out prompts, and what the run came to."""
    recipe, arena, s = r.recipe, r.arena, r.recipe.settings
    arena.observer.phase("evaluation", "battles")
    fighters = [*(r.policy(name) for name in r.done if name != "RM"), *recipe.opponents]
    names = [one.name for one in fighters]
    plan = arena.plan(fighters, [p.id for p in recipe.evaluation], target_pairs(names, s.baseline))
    final = run_tournament(plan, arena.store, r.stages.out, on_progress=arena.observer.tally, budget=arena.budget)
    judged = Summary()
    for part in (*(result.judged for result in r.done.values()), final.summary):
        judged.merge(part)
    more = compare(plan, arena.store, s, r.done, final.leaderboard, recipe.utility, r.labels)
    cached = arena.cached + r.stages.found + final.tally.cached
    summary = write_summary(r.stages.out, arena.store, judged, cached, seed=plan.seed, **more)
    return Result(final.leaderboard, more["stages"], summary)
