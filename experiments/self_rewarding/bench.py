"""What the experiments on Self-Rewarding and Meta-Rewarding share: runs from one seed model, and a measure of judges.

All runs of a seed have one arena file, in which models are known by their weights: what M1 answers and judges is asked
once, whichever run wants it. A judge's agreement with the truth on its own model's answers falls as these get better
and so differ less; judges are therefore compared on one set of answers as well, M1's samples to the held-out prompts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from over_seeds import Figures

from arenaloop.config import JudgesItselfSettings
from arenaloop.jsonl import JsonRow, read_rows
from arenaloop.judges.meta import MetaJudge
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.judges.templates import load_template
from arenaloop.models.checkpoint import checkpoint_fingerprint
from arenaloop.models.reward import Reward
from arenaloop.models.scripted import ScriptedModel
from arenaloop.ratings.judge_drift import gold_agreement, score_drift
from arenaloop.recipes import self_rewarding
from arenaloop.recipes.parts import Arena, answer, judged, test
from arenaloop.recipes.self_rewarding_plan import SelfRewarding, cut_slices
from arenaloop.recipes.stage import Result
from arenaloop.sandbox import roles
from arenaloop.sandbox.tasks import parse
from arenaloop.specs.recipes import demo_settings
from arenaloop.specs.recipes.self_rewarding import build_self_rewarding
from arenaloop.store import Store
from arenaloop.types import Prompt, Request, Response, derive_seed

__all__ = ["Answered", "Bench", "judged_parts", "order_right", "random_reward", "scripted_meta"]

COMMON = ("self_judge.votes=5", "dpo.learning_rate=0.0002")
"""Changes to both demos: both recipes judge as often, and learn at a third of the rate, which spares the judge."""

SMALL = (
    *COMMON,
    "target.options={layers: 1, width: 16, heads: 2, marks: true}",
    "data.demonstrations=sandbox:demonstrations?n=300",
    "data.judgements=sandbox:evaluations?n=50",
    "data.prompts=sandbox:prompts?n=48&split=train",
    "data.test=sandbox:prompts?n=8&split=test",
    "samples=4",
    "self_judge.votes=3",
    "allow_truncated=true",
    "limits.no_pair=null",
    "sft.max_steps=30",
    "dpo.max_steps=2",
)
"""So small a model writes no judgement that could be read: a script judges in its place."""

SAMPLES = 4
"""Answers to each held-out prompt on which judges are compared."""

Answered = Sequence[tuple[Prompt, Response]]


@dataclass
class Bench:
    """One seed's runs, all from its seed model M1.

    Attributes:
        trained: checkpoints by run and model, ``self M2``; of what all runs start from ``M1``.
        figures: of the same models.
    """

    seed: int
    split: str
    place: Path
    small: bool
    store: Store
    trained: dict[str, Path] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, seed: int, split: str, place: Path, small: bool) -> Iterator[Bench]:
        """With a run of Self-Rewarding, which makes M1: made, resumed, or as it is there."""
        place.mkdir(parents=True, exist_ok=True)
        with Store(place / "arena.db") as store:
            bench = cls(seed, split, place, small, store)
            bench.run("self", bench.recipe("self", "self_rewarding"))
            bench.trained["M1"] = bench.trained["self M1"]
            yield bench

    def recipe(self, arm: str, kind: str, *changes: str, start: str | None = None) -> SelfRewarding:
        """A demo's recipe; from a checkpoint as it is where one is named."""
        few = () if kind == "self_rewarding" else ("gates.meta=null",)  # so few verdicts show nothing to a gate
        common = (*SMALL, *few) if self.small else COMMON
        settings = demo_settings(kind, f"seed={self.seed}", *common, *changes, split=self.split)
        assert isinstance(settings, JudgesItselfSettings)
        recipe = build_self_rewarding(settings, self.place / arm)
        if self.small:
            recipe = replace(recipe, rubric=_scripted_rubric, meta=recipe.meta and scripted_meta("noisy", 0.95))
        return recipe if start is None else self.started(recipe, start)

    def started(self, recipe: SelfRewarding, start: str) -> SelfRewarding:
        """A recipe whose first model is a checkpoint as it is."""
        path = str(self.trained[start])
        return replace(
            recipe,
            start=path,
            demonstrations=(),
            judgements=(),
            prepare=lambda: None,
            fingerprint=checkpoint_fingerprint(path),
        )

    def slice(self, number: int) -> list[Prompt]:
        """The prompts of an iteration, from 1."""
        return cut_slices(self._measuring)[number - 1]

    def run(self, arm: str, recipe: SelfRewarding) -> Result:
        """Run a recipe, and note its stages' figures."""
        out = self.place / arm
        result = self_rewarding.run(recipe, self.store, out)
        for stage in result.stages:
            name = stage["name"]
            learned = (out / "checkpoints" / name).is_dir()
            self.trained[f"{arm} {name}"] = out / "checkpoints" / name if learned else Path(recipe.start)
            self._note(f"{arm} {name}", stage, ("gold_accuracy", "gold_utility", "mean_length", "rows"))
            if (rows := out / "data" / f"{name}.jsonl").is_file():
                self.figures[f"{arm} {name}"] |= order_right([row for _, row in read_rows(rows)], self.worth)
            if stage.get("selection") is not None:
                judging = stage["selection"]["judging"]
                by = f"{arm} {stage['selection']['judged_by']}"
                self._note(by, judging, ("judge_spearman", "judge_pairwise", "answer_length"))
                self._note(by, judging.get("scores") or {}, ("mean", "perfect", "failure_rate", "mean_length"), "own ")
                for gate in judging.get("gates", ()):
                    rule, passed = gate["rule"], gate["passed"]
                    told = {"right": gate["value"], "passed": None if passed is None else float(passed)}
                    self._note(by, told, ("right", "passed"), f"gate {rule} ")
                self._note(by, judging.get("meta") or {}, ("follows_score", "first_seat", "first_seat_equal", "asked"))
        return result

    def _note(self, name: str, told: Mapping[str, Any], keys: Sequence[str], prefix: str = "") -> None:
        found = {prefix + key: float("nan") if told[key] is None else told[key] for key in keys if key in told}
        self.figures.setdefault(name, {}).update(found)

    @cached_property
    def _measuring(self) -> SelfRewarding:
        return self.recipe("self", "self_rewarding")

    @property
    def arena(self) -> Arena:
        """Where models answer and judge."""
        return Arena(self.store, self._measuring.judge, self._measuring.settings)

    def worth(self, prompt: Prompt, response: Response) -> float:
        """The true utility of an answer."""
        assert self._measuring.utility is not None
        worth = self._measuring.utility(prompt, response)
        assert worth is not None  # all its prompts are the sandbox's
        return worth

    def tested(self, name: str) -> None:
        """Measure the answers of a model that was trained by no run."""
        contestant = self._measuring.target(name, self.trained[name])
        self.figures.setdefault(name, {})
        self._note(
            name,
            test(self.arena, contestant, self._measuring.test, self._measuring.utility),
            ("gold_accuracy", "gold_utility", "mean_length"),
        )

    def samples(self, name: str) -> Answered:
        """A model's samples to the held-out prompts, as warm as a run's."""
        recipe = self._measuring
        warm = replace(recipe.target(name, self.trained[name]), sampling=recipe.settings.sampling.build())
        found = answer(self.arena, warm, recipe.test, samples=SAMPLES)
        each = zip((prompt for prompt in recipe.test for _ in range(SAMPLES)), found, strict=True)
        return [(prompt, one) for prompt, one in each if one is not None and one.battles]

    def judge(self, name: str, answers: Answered, prefix: str) -> None:
        """Let a model judge answers as often as in a run, and note how its scores go with the truth."""
        recipe = self._measuring
        judge = recipe.rubric(name, self.trained[name])
        said = list(judged(self.arena, judge, answers, recipe.settings.self_judge.votes))
        flat = [one for votes in said for one in votes]
        drift = score_drift(
            [one.score for one in flat], [one.status.value for one in flat], [len(one.raw) for one in flat], most=5.0
        )
        means = [[one.score for one in votes if one.score is not None] for votes in said]
        read = [at for at, scores in enumerate(means) if scores]
        agreement = gold_agreement(
            [float(np.mean(means[at])) for at in read],
            [self.worth(*answers[at]) for at in read],
            [answers[at][0].id for at in read],
        )
        self._note(name, agreement | drift.to_json(), (*agreement, "mean", "perfect", "failure_rate"), prefix)
        off = [abs(scores - 5 * self.worth(*answers[at])) for at in read for scores in means[at]]
        self.figures[name][f"{prefix}off"] = float(np.mean(off))
        self.figures[name][f"{prefix}gold_sd"] = float(np.std([self.worth(*one) for one in answers]))


def order_right(rows: Sequence[JsonRow], worth: Callable[[Prompt, Response], float]) -> dict[str, float]:
    """Of pairs of answers and of judgements how many there are, and in which share the chosen one is truly better.

    Pairs of which neither is better are not among the shares.
    """
    found: dict[str, list[float]] = {"answers": [], "judgements": []}
    for row in rows:
        chosen, rejected = (row[side][-1]["content"] for side in ("chosen", "rejected"))
        asked = row["prompt"][-1]["content"]
        if "judgements" in row:
            prompt, given = judged_parts(asked)[:2]
            winner = roles.better(prompt, given, chosen, rejected)
            found["judgements"].append(np.nan if winner is None else winner == "A")
        else:
            of = Prompt.of(asked)
            values = [worth(of, Response(of.id, "", (text,))) for text in (chosen, rejected)]
            found["answers"].append(np.nan if values[0] == values[1] else values[0] > values[1])
    told = {f"{what} pairs": float(len(right)) for what, right in found.items()}
    for what, right in found.items():
        if not np.isnan(right).all():
            told[f"{what} right"] = float(np.nanmean(right))
    return told


# ---------------------------------------------------------------------- scripts in a model's place


def judged_parts(asked: str) -> list[str]:
    """The texts of a judge's prompt in the small world's templates, each behind the tag of the first line."""
    tag, rest = asked.split("\n", 1)
    return [part.strip("\n") for part in f"\n{rest}".split(f"\n{tag}\n")]


def scripted_meta(name: str, accuracy: float) -> Callable[[str, Path], MetaJudge]:
    """A meta-judge that is right so often where one judgement is better; at 0.5 its verdicts are random.

    It says the same in both orders, and decides by lot where neither is better.
    """

    def say(request: Request) -> str:
        prompt, given, first, second = judged_parts(request.messages[-1]["content"])[:4]
        winner = roles.better(prompt, given, first, second)
        lot = random.Random(derive_seed("meta", name, prompt, given, *sorted((first, second))))
        if winner is None or accuracy == 0.5:
            winner = "A" if (lot.random() < 0.5) == (first < second) else "B"
        elif lot.random() >= accuracy:
            winner = "AB".replace(winner, "")
        return f"Winner: {winner}"

    template = load_template(roles.TEMPLATES["winner"], layout="judgements")
    model = ScriptedModel(f"meta-judge: {name}", say, version=accuracy)
    return lambda _name, _path: MetaJudge(model, template, name=name)


def _scripted_rubric(name: str, path: Path) -> RubricJudge:
    """A judge that is wrong in a third of its judgements."""

    def say(request: Request) -> str:
        prompt, given = judged_parts(request.messages[-1]["content"])[:2]
        task, points = parse(prompt), roles.score(prompt, given)
        assert task is not None
        assert points is not None
        rng = random.Random(request.seed)
        if rng.random() < 1 / 3:
            return roles.misjudgement(task, given, rng)
        return roles.judgement(task.answer, given, points)

    template = load_template(roles.TEMPLATES["score"], layout="answer")
    return RubricJudge(ScriptedModel("judge", say, version=str(path)), template, name=name)


def random_reward(seed: int) -> Reward:
    """Scores that have nothing to do with the answers."""

    def score(prompts: Sequence[list[Any]], answers: Sequence[str]) -> list[float]:
        asked = zip(prompts, answers, strict=True)
        return [
            random.Random(derive_seed("random", seed, turns[-1]["content"], text)).random() for turns, text in asked
        ]

    return Reward(score, identity=f"random {seed}")
