"""The held-out judge: it rates every stage that answers on prompts that training never sees.

Each such stage battles the opponents on those prompts; both judges decide the same battles. They are rows of the arena
file, and all figures are read from them: a stage's result knows none of it, so that a judge that comes later, or other
rules, train nothing again. Without a held-out judge the validation prompts are watched, by the training judge alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from arenaloop.arena.matchmaking import target_pairs
from arenaloop.arena.pairings import Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.config import ArenaLearningSettings, GuardSettings
from arenaloop.errors import ConfigError
from arenaloop.judges.jury import Decider, Jury
from arenaloop.recipes.guards import LAST, Best, Rate, Stop, View, Watched, best, commonest, distinct, rate, stop
from arenaloop.recipes.parts import Arena, answer, battle
from arenaloop.store import Store
from arenaloop.terminal import counted
from arenaloop.types import Prompt

__all__ = ["WATCHING", "Guards", "guards", "refuse_same_judge", "view_of"]

WATCHING = "held-out judge"
"""Under which name it stands what watching a run has asked, beside the stages."""


@dataclass
class Guards:
    """What watches one run.

    Attributes:
        training, held_out: arenas of the two judges; the latter None where there is none.
        opponents: whom every stage battles. `prompts`: on which; where there are none, nothing is watched.
        seen: figures of the stages so far.
        judged: counts over battles that were fought for this alone.
        stopped: why training was stopped; None where it was not.
    """

    training: Arena
    held_out: Arena | None
    opponents: Sequence[Contestant]
    prompts: Sequence[Prompt]
    rules: GuardSettings
    seen: list[Watched] = field(default_factory=list)
    judged: Summary = field(default_factory=Summary)
    stopped: Stop | None = None

    def broken_by(self, stage: Contestant) -> Stop | None:
        """Measure the model of a stage; the rule that it breaks, if it does."""
        if not self.prompts:
            self.seen.append(Watched(stage.name))
            return None
        self.training.observer.phase(stage.name, "held-out judge" if self.held_out else "guards")
        given = [one for one in answer(self.training, stage, self.prompts) if one is not None and one.battles]
        texts = ["\n".join(one.texts) for one in given]
        self.seen.append(
            Watched(
                stage.name,
                sum(len(text) for one in given for text in one.texts) / len(given) if given else None,
                distinct(texts),
                commonest(texts),
                self._view(self.training, stage, fight=self.held_out is not None),
                {} if self.held_out is None else self._view(self.held_out, stage, fight=True),
            )
        )
        self.stopped = stop(self.seen, self.rules)
        return self.stopped

    def _view(self, arena: Arena, stage: Contestant, fight: bool) -> View:
        """Battles of a stage with the opponents by one judge; those of validation have been fought."""
        fighters = [stage, *self.opponents]
        plan = (battle if fight else Arena.plan)(
            arena, fighters, [one.id for one in self.prompts], target_pairs([c.name for c in fighters], stage.name)
        )
        return view_of(plan, arena.store, self.judged if fight else None)

    @property
    def cached(self) -> int:
        """Verdicts of the held-out judge that were found in the arena file."""
        return 0 if self.held_out is None else self.held_out.cached

    def account(self) -> dict[str, Any]:
        """What ``summary.json`` says of it: the best stage and the figures; prose, tables and curves for the report."""
        # a stage that broke a rule is not what the run is for, whatever its judge says
        found = best([one for one in self.seen if self.stopped is None or one.name != self.stopped.stage])
        by = {"validation": "validation", "last": LAST}.get(found.by, f"held-out judge {self._second}")
        told: dict[str, Any] = {
            "best": {
                "stage": found.stage,
                "path": f"checkpoints/{found.stage}",
                "by": by,
                **_interval(found.rate),
                "alike": list(found.alike),
            }
        }
        if not self.prompts:
            return told
        stages = [_figures(one) for one in self.seen]
        stopped = None if self.stopped is None else self.stopped._asdict()
        told["guards"] = {
            "prompts": len(self.prompts),
            "training_judge": self.training.judge.name,
            "held_out_judge": self._second,
            "rules": self.rules.model_dump(mode="json"),
            "stages": stages,
            "stopped": stopped,
        }
        more = {"prose": [self._prose(found, by)], "tables": [self._table(stages)], "curves": [self._curve(stages)]}
        return told | more

    @property
    def _second(self) -> str | None:
        return None if self.held_out is None else self.held_out.judge.name

    def _prose(self, found: Best, by: str) -> str:
        told = f"The result is {found.stage}, by {by}"
        if found.rate is not None:
            told += (
                f": it wins {_percent(_interval(found.rate))} of its battles on {counted(len(self.prompts), 'prompt')}"
            )
        told += "."
        if found.alike:
            told += f" It cannot be told from {_listed(found.alike)} there."
        if (why := self.stopped) is not None:
            told += f" Training was stopped after {why.stage} by the rule {why.rule}: {why.why}."
        return told

    def _table(self, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        judges = {"training_judge": "training judge"} | ({"held_out_judge": "held-out judge"} if self._second else {})
        measured = {"length": ",.1f", "distinct": ".1%", "commonest": ".1%"}
        return {
            "title": "What guards the training",
            "columns": ["stage", *judges.values(), "length", "distinct-2", "commonest answer"],
            "rows": [
                [one["name"], *(_percent(one[key]) for key in judges)]
                + ["–" if one[key] is None else f"{one[key]:{form}}" for key, form in measured.items()]
                for one in stages
            ],
            "note": f"On {counted(len(self.prompts), 'prompt')}. Judges: battles won against the opponents; length: in "
            "characters; distinct-2: share of pairs of words that differ; commonest answer: how many prompts get it. "
            + (
                "No rule stopped the training." if self.stopped is None else f"Stopped by the rule {self.stopped.rule}."
            ),
        }

    def _curve(self, stages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        judges = [("training_judge", f"training judge: {self.training.judge.name}")]
        if self._second is not None:
            judges.append(("held_out_judge", f"held-out judge: {self._second}"))
        series = [{"name": told, "points": [_point(one["name"], one[key]) for one in stages]} for key, told in judges]
        title = "Battles won against the opponents, by judge" if self._second else "Battles won in validation"
        return {"title": title, "x": "stage", "unit": "%", "series": series}


def guards(
    arena: Arena,
    settings: ArenaLearningSettings,
    judge: Decider | None,
    opponents: Sequence[Contestant],
    held_out: Sequence[Prompt],
    validation: Sequence[Prompt],
) -> Guards:
    """What watches a run: a held-out judge on its prompts, or the training judge on those of validation."""
    if judge is None or settings.held_out is None:
        return Guards(arena, None, opponents, validation, settings.guards)
    own = settings.model_copy(update={"judge": settings.held_out.judge})  # how often it is asked again
    return Guards(arena, replace(arena, judge=judge, settings=own, cached=0), opponents, held_out, settings.guards)


def refuse_same_judge(judge: Decider, held_out: Decider) -> None:
    """Refuse a held-out judge that is the training judge, or the same model under another template or name.

    Raises:
        ConfigError: it is; or both have one name, so that nobody could tell their figures apart.
    """
    for one in Jury.of(judge).members:
        for other in Jury.of(held_out).members:
            if one.fingerprint == other.fingerprint:
                raise ConfigError(f"held_out.judge: {other.name} is the training judge; take one of another family")
            if _model(one) & _model(other):
                raise ConfigError(
                    f"held_out.judge: {other.name} is the model of the training judge {one.name}, asked otherwise; "
                    "take one of another family"
                )
            if one.name == other.name:
                raise ConfigError(f"held_out.judge: it is called {other.name} as the training judge is; give it a name")


def _model(judge: Any) -> set[str]:
    """What tells the model behind a judge: its fingerprint, and of a server or a folder what it is called there."""
    model = getattr(judge, "model", None)
    known = (getattr(model, name, None) for name in ("fingerprint", "model", "path"))
    return {str(one) for one in known if one is not None}


def view_of(plan: BattlePlan, store: Store, judged: Summary | None = None) -> View:
    """What the first side of a plan's pairs won, by prompt, of the battles that are decided; `judged` counts all."""
    view: dict[str, tuple[float, int]] = {}
    for pairing in pairings(plan, store):
        if judged is not None:
            judged.add(pairing)
        if pairing.winners:
            won, decided = view.get(pairing.prompt_id, (0.0, 0))
            score = sum(winner.score for winner in pairing.winners)
            view[pairing.prompt_id] = (won + score, decided + len(pairing.winners))
    return view


def _interval(found: Rate | None) -> dict[str, float | None]:
    return dict.fromkeys(("win_rate", "lower", "upper")) if found is None else found.to_json()


def _figures(one: Watched) -> dict[str, Any]:
    views = {"training_judge": one.training, "held_out_judge": one.held_out}
    measured = {"length": one.length, "distinct": one.distinct, "commonest": one.commonest}
    return {"name": one.name, **{key: _interval(rate(view)) for key, view in views.items()}, **measured}


def _point(stage: str, found: Mapping[str, float | None]) -> dict[str, Any]:
    return {"label": stage, "value": found["win_rate"], "lower": found["lower"], "upper": found["upper"]}


def _percent(found: Mapping[str, float | None]) -> str:
    value, lower, upper = found["win_rate"], found["lower"], found["upper"]
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" + (
        f" ({100 * lower:.1f} to {100 * upper:.1f})" if lower is not None and upper is not None else ""
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
