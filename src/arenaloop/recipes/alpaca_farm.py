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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from arenaloop.arena.pairings import Summary
from arenaloop.arena.tournament import write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget
from arenaloop.config import OptimSettings
from arenaloop.config.recipes.alpaca_farm import REWARD_MODEL, FarmMethodSettings
from arenaloop.data.export.described import DESCRIPTIONS
from arenaloop.data.selection import preference_row
from arenaloop.errors import StoppedError
from arenaloop.jsonl import JsonRow, write_jsonl
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.reward import Reward
from arenaloop.recipes.alpaca_farm_evaluation import evaluate, write_labels
from arenaloop.recipes.alpaca_farm_material import carved
from arenaloop.recipes.alpaca_farm_plan import AlpacaFarm, Labels, check, decides, inputs_key
from arenaloop.recipes.alpaca_farm_tables import compare
from arenaloop.recipes.kept import kept_table
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.parts import Arena, answer, test, train
from arenaloop.recipes.stage import Result, StageResult, Stages
from arenaloop.recipes.under_way import LEADERBOARD, finish_part
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
    held_out: Sequence[JsonRow] = ()

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
    s, told = recipe.settings, recipe.settings.model_dump(mode="json")
    stages = Stages(store, out, observer or Observer(), told, decides(recipe))
    arena = Arena(store, recipe.judge, s, recipe.recorded, Budget(s.budget_usd, s.budget_calls), stages.observer)
    material = recipe.material
    asked = (*material.preference, *material.validation, *material.unlabeled, *recipe.evaluation)
    arena.admit(asked, recipe.opponents)
    r = _Run(recipe, arena, stages)
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
        return _measured(r, name, StageResult("SFT", 0, 0))
    rows: list[JsonRow] = pairs
    if method.samples:
        rows = [{"prompt": [dict(turn) for turn in prompt.messages]} for prompt in r.recipe.material.unlabeled]
    elif method.method == "sft":
        rows = list(r.recipe.material.demonstrations)
    reward = r.reward(method) if method.samples else None
    settings = method.settings
    if method.training.get("value_start") == REWARD_MODEL:
        settings = settings.model_copy(update={"value_start": r.checkpoint("RM")})
    return _train(r, name, method.method, settings, r.checkpoint("SFT"), rows, reward)


def _train(
    r: _Run, name: str, method: str, settings: OptimSettings, start: str, rows: Rows, reward: Reward | None = None
) -> StageResult:
    """Train a stage's checkpoint, and measure it where it answers."""
    r.arena.observer.phase(name, "training")
    s = r.recipe.settings
    trained = train(
        method,
        start,
        rows,
        r.stages.checkpoint(name),
        settings,
        seed=derive_seed("train", s.seed, name),
        observer=r.arena.observer,
        by=s,
        revision=s.target.revision if start == r.recipe.start else None,
        reward=reward,
    )
    if r.held_out and method in ("reward_model", "dpo"):
        from arenaloop.train.held_pairs import pair_figures  # needs torch

        found = pair_figures(method, r.checkpoint(name), start, r.held_out, settings)
        trained = replace(trained, figures={**trained.figures, **found})
    return trained if name == "RM" else _measured(r, name, trained)


def _measured(r: _Run, name: str, result: StageResult) -> StageResult:
    """The result with what was measured on held-out prompts."""
    r.arena.observer.phase(name, "evaluation answers")
    figures = test(r.arena, r.policy(name), r.recipe.evaluation, r.recipe.utility)
    return replace(result, figures={**result.figures, **figures})


def _pairs(r: _Run) -> list[JsonRow]:
    """The labelled pairs to learn from; also written to a file, beside those that are measured on."""
    s, material = r.recipe.settings, r.recipe.material
    if material.given is not None:
        rows, held_out = list(material.given), list(material.given_validation)
    else:
        rows, r.labels = _labelled(r, "pairs", material.preference)
        held_out = _labelled(r, "validation", material.validation)[0] if material.validation else []
    if not s.data.validation:
        rows, held_out = carved(rows, s.eval_pairs)
    if not rows:
        held = f" but for the {len(held_out):,} that are held out" if held_out else ""
        raise StoppedError(f"no pair of the preference prompts has a label{held}: there is nothing to learn from")
    write_jsonl(r.stages.rows_file("pairs"), rows)
    if held_out:
        write_jsonl(r.stages.rows_file("validation"), held_out)
    r.held_out = held_out
    both = [rows, held_out] if held_out else [rows]
    told = {"verdicts", "question_id", *DESCRIPTIONS}  # of the prompt, which its id stands for
    lasting = [[{name: row[name] for name in row if name not in told} for row in some] for some in both]
    r.pairs = content_hash(*lasting)
    return rows


def _labelled(r: _Run, what: str, prompts: Sequence[Prompt]) -> tuple[list[JsonRow], Labels]:
    """Pairs of answers to prompts, from answers and labels of the arena file where those are there."""
    r.arena.observer.phase(what, "samples")
    answers = answer(r.arena, r.sampled("SFT"), prompts, samples=r.recipe.settings.samples)
    r.arena.observer.phase(what, "labels")
    labels = r.recipe.label(r.arena, list(_candidates(prompts, answers, r.recipe.settings.samples)))
    r.arena.observer.note(labels.told())
    return [preference_row(one) for one in labels.preferences], labels


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
    plan, final = evaluate(arena, fighters, s.baseline, recipe.evaluation, r.stages.out)
    write_labels(plan, arena.store, s.baseline, recipe.utility, r.stages.out / "data")
    judged = Summary()
    for part in (*(result.judged for result in r.done.values()), final.summary):
        judged.merge(part)
    more = compare(plan, arena.store, recipe, r.done, final.leaderboard, r.labels)
    more["tables"] += kept_table(r.stages.out)
    cached = arena.cached + r.stages.found + final.tally.cached
    more["seconds"] = r.stages.seconds()
    summary = write_summary(r.stages.out, arena.store, judged, cached, seed=plan.seed, **more)
    finish_part(arena.store, LEADERBOARD, LEADERBOARD)
    return Result(final.leaderboard, more["stages"], summary)
