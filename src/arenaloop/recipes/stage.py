"""The stages of a recipe: each is worked once, and its result is kept in the arena file.

A recipe decides what its stages are and in which order they come; here is what they have in common, whatever the
recipe: what a stage's result holds, and by what a finished stage is recognised.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.pairings import Summary
from arenaloop.calls.progress import Tally
from arenaloop.errors import StorageError
from arenaloop.recipes.kept import keep_settings
from arenaloop.recipes.ledger import Ledger
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.reused import Decides, Made, weights_of
from arenaloop.recipes.under_way import begin_part, finish_part
from arenaloop.store import Store
from arenaloop.types import content_hash

__all__ = ["Outline", "Result", "StageResult", "Stages", "run_seconds"]


@dataclass(frozen=True)
class StageResult:
    """What one finished stage came to.

    Attributes:
        start: name of the checkpoint that training started from.
        rows: rows that it was trained on, in `steps` optimiser steps; `rows_dropped`: those not fit for it, by reason.
        metrics: of the training at its end.
        figures: what was measured of the new model, by name; None where that could not be.
        selection: how battles became rows (`Selection.to_json`); None where nothing was selected.
        judged: counts over the stage's battles.
        seconds, cpu_seconds: wall and processor time of all invocations that worked on it in its directory, with what
            they had to do again and under whatever settings, as long as the weights are these; of one that was killed,
            but for its last seconds, and of none that found all of it there. Results of earlier versions have no
            processor time.
        checkpoint: fingerprint of the trained weights.
        adopted: where they are from, if another trainer made them (`recipes.adopted`).
    """

    start: str
    rows: int
    steps: int
    rows_dropped: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    selection: Mapping[str, Any] | None = None
    judged: Summary = field(default_factory=Summary)
    seconds: float = 0.0
    cpu_seconds: float | None = None
    checkpoint: str | None = None
    adopted: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As it is stored: one flat object, the figures among the rest."""
        return {
            "selection": self.selection,
            "steps": self.steps,
            "rows_dropped": dict(self.rows_dropped),
            "metrics": dict(self.metrics),
            "start": self.start,
            "checkpoint": self.checkpoint,
            **self.figures,
            "rows": self.rows,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "judged": self.judged.counts(),
            "verdicts": self.judged.ok,
            **({} if self.adopted is None else {"adopted": dict(self.adopted)}),
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> StageResult:
        """A stored result."""
        plain = {key: value for key, value in stored.items() if key != "verdicts"}
        known = {key: plain.pop(key) for key in cls.__dataclass_fields__ if key in plain}
        return cls(**known | {"judged": Summary.of(known["judged"]), "figures": plain})


class _Spent(NamedTuple):
    """Wall and processor time, in seconds."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> _Spent:
        """These clocks now, from any fixed point."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)  # of processes that train for this one, once they ended
        return cls(time.monotonic(), time.process_time() + used.ru_utime + used.ru_stime)

    def since(self, start: _Spent, earlier: _Spent) -> _Spent:
        """What has passed since `start`, beside what was spent earlier."""
        return _Spent(earlier.wall + self.wall - start.wall, earlier.cpu + self.cpu - start.cpu)


_ROOM = "stage times"
_RUN = "run"
"""the key of the whole run's time; stages' are their names, and hashes of their weights"""
_BEAT = 5.0
"""seconds, at least, after which it is kept how long a stage has taken so far"""


def run_seconds(store: Store) -> float:
    """Wall time of all invocations of a directory's recipe, as far as it is kept."""
    if (kept := store.note(_ROOM, _RUN)) is not None:
        return float(_Spent(*kept).wall)
    return sum(float(result.get("seconds") or 0.0) for _, result in store.stages())  # of an earlier version


class _Beating(Observer):
    """Passes on what it hears, and lets a stage's time be kept on the way: a killed process keeps nothing."""

    def __init__(self, heard: Observer, beat: Callable[[], None], worked: Callable[[], None]) -> None:
        self._heard, self._beat, self._worked = heard, beat, worked

    def phase(self, stage: str, doing: str) -> None:
        self._beat()
        self._heard.phase(stage, doing)

    def tally(self, counts: Tally) -> None:
        if counts.calls:
            self._worked()
        self._beat()
        self._heard.tally(counts)

    def step(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self._worked()
        self._beat()
        self._heard.step(step, total, metrics)

    def preparing(self, what: str, done: int, total: int) -> None:
        self._worked()
        self._beat()
        self._heard.preparing(what, done, total)

    def note(self, text: str) -> None:
        self._heard.note(text)

    def done(self, stage: str, result: Mapping[str, object]) -> None:
        self._heard.done(stage, result)


class Stages:
    """A recipe's stages in one run directory.

    Attributes:
        observer: whom a stage's work tells how it goes, so that its time is known though it be interrupted.
        found: counts the verdicts behind stages that had finished earlier.
        ledger: what stages have asked and paid.
        settings: of the recipe, to be told beside each checkpoint.
        made: what the stages are made from, for plans (`recipes.reused`).
    """

    def __init__(
        self,
        store: Store,
        out: Path,
        observer: Observer,
        settings: Mapping[str, Any] | None = None,
        decides: Decides | None = None,
    ) -> None:
        self.store = store
        self.out = out
        self.settings = settings
        self.made = None if decides is None else Made(decides)
        self.observer: Observer = _Beating(observer, self._beat, self._work)
        self.found = 0
        self.ledger = Ledger(store)
        self._worked = False
        self._begun, self._before = _Spent.now(), _Spent(run_seconds(store))
        self._clock: Callable[[], _Spent] | None = None  # of the stage under way
        self._key, self._kept_at, self._heard = "", 0.0, False
        self._adopted: list[str | None] = []  # weights that others made, and that later stages depend on

    def checkpoint(self, name: str) -> Path:
        """Where a stage's weights stand."""
        return self.out / "checkpoints" / name

    def rows_file(self, name: str) -> Path:
        """Where the rows stand that a stage's battles gave."""
        return self.out / "data" / f"{name}.jsonl"

    def once(self, name: str, inputs: str, work: Callable[[], StageResult]) -> StageResult:
        """Do a stage's work, or return its result if it has finished before with these inputs.

        Args:
            name: unique within the recipe.
            inputs: hash of everything that the recipe's results depend on.
            work: trains into `checkpoint`; time and weights are added to what it returns.
        """
        key = content_hash(inputs, name, *self._adopted)
        made = None if self.made is None else self.made.begin(self.store, name, self.checkpoint(name))
        stored = self.store.stage(name, key)
        # another run of this directory, with other settings, may have put its own weights in the checkpoint's place
        if stored is not None and stored.get("checkpoint") == self._weights(name):
            result = self._with_times(name, key, StageResult.of(stored))
            self.found += result.judged.ok
        else:
            self._work()
            begin_part(self.store, name, key)
            with self.ledger.stage(name):
                result, spent = self._timed(name, work)
            result = replace(result, checkpoint=self._weights(name), seconds=spent.wall, cpu_seconds=spent.cpu)
            result = self._with_times(name, key, result, spent)
            self.store.put_stage(name, key, result.to_json())
            self.store.put_note(_ROOM, name, _Spent())
        if result.adopted is not None:
            self._adopted.append(result.checkpoint)
        if self.settings is not None:
            keep_settings(self.checkpoint(name), self.settings, result.to_json(), made)
        if self.made is not None:
            self.made.weights[name] = result.checkpoint
        finish_part(self.store, name, key)
        self.observer.done(name, result.to_json())
        return result

    def seconds(self) -> float:
        """Wall time of all of the run's invocations up to now, which is kept; one that only looks adds nothing."""
        if not self._worked:
            return self._before.wall
        spent = _Spent.now().since(self._begun, self._before)
        self.store.put_note(_ROOM, _RUN, spent)
        return spent.wall

    def _work(self) -> None:
        self._worked = self._heard = True

    def _with_times(self, name: str, key: str, result: StageResult, spent: _Spent | None = None) -> StageResult:
        """With the time of all work on the weights that a stage has, that which was just `spent` added."""
        place = content_hash(name, result.checkpoint or key)
        kept = self.store.note(_ROOM, place)
        earlier = self._of_earlier_version(name, result.checkpoint) if kept is None else _Spent(*kept)
        if spent is not None:
            all_of_it = earlier or _Spent()
            earlier = _Spent(all_of_it.wall + spent.wall, all_of_it.cpu + spent.cpu)
            self.store.put_note(_ROOM, place, earlier)
        return result if earlier is None else replace(result, seconds=earlier.wall, cpu_seconds=earlier.cpu)

    def _of_earlier_version(self, name: str, weights: str | None) -> _Spent | None:
        """What is told of a stage's work on its weights where that was kept by settings: the most of it."""
        told = [one for known, one in self.store.stages() if known == name and one.get("checkpoint") == weights]
        spent = [_Spent(one["seconds"], one["cpu_seconds"]) for one in told if one.get("cpu_seconds") is not None]
        return max(spent, default=None) if weights is not None else None

    def _timed(self, name: str, work: Callable[[], StageResult]) -> tuple[StageResult, _Spent]:
        """Work, and what all of it has taken; where it is broken off, that is kept."""
        start, earlier = _Spent.now(), _Spent(*(self.store.note(_ROOM, name) or ()))
        self._key, self._kept_at, self._heard = name, start.wall, False
        self._clock = lambda: _Spent.now().since(start, earlier)
        try:
            result = work()
            return result, self._clock() if self._heard else earlier  # all of it was there
        except BaseException:
            self._keep()
            raise
        finally:
            self._clock = None

    def _beat(self) -> None:
        if time.monotonic() - self._kept_at >= _BEAT:
            self._keep()

    def _keep(self) -> None:
        self._kept_at = time.monotonic()
        with suppress(StorageError):  # a full disk ends the run by itself
            self.seconds()
            if self._clock is not None:
                self.store.put_note(_ROOM, self._key, self._clock())

    def _weights(self, name: str) -> str | None:
        """What identifies the checkpoint that stands under a stage's name now; None where there is none."""
        return weights_of(self.checkpoint(name))


@dataclass(frozen=True)
class Outline:
    """What a recipe will do, for who has to decide whether it shall.

    Attributes:
        stages: their names, in order.
        facts: what it works on, in a few words each.
        calls: (what, prompts, judge calls) of each part that asks a judge; those that are stored are counted too.
        battles: in all of them.
    """

    stages: Sequence[str]
    facts: Sequence[str]
    calls: Sequence[tuple[str, int, int]]
    battles: int = 0


@dataclass(frozen=True)
class Result:
    """The final leaderboard, the stages' figures in order, and the document written to ``summary.json``."""

    leaderboard: Leaderboard
    stages: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
