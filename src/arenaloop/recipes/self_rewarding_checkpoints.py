"""Which of an iteration's checkpoints is its model: the best one on held-out prompts, not the last.

DPO on one's own pairs goes over the same rows for epochs, and its last step need not be its best (arXiv 2407.19594,
appendix; arXiv 2401.10020, section 3.1.3). Checkpoints are kept evenly spaced; each answers the validation prompts, and
battles there against the model that the iteration starts from, or has its answers scored as all answers are.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from arenaloop.arena.matchmaking import target_pairs
from arenaloop.arena.pairings import Summary
from arenaloop.calls.answers import Contestant
from arenaloop.config import RowSettings
from arenaloop.models.checkpoint import holds_model
from arenaloop.recipes.guards import Rate, View, rate
from arenaloop.recipes.held_out_judge import view_of
from arenaloop.recipes.parts import answer, battle
from arenaloop.recipes.self_rewarding_run import Run
from arenaloop.recipes.self_rewarding_scores import scores_of
from arenaloop.recipes.stage import StageResult

__all__ = ["Tried", "choose", "first_of_best", "spacing", "trained_with_choice"]

_Z = 1.959963984540054
"""of a 95 % interval"""


class Tried(NamedTuple):
    """A checkpoint and what it came to on `n` validation prompts; None where nothing could be told."""

    step: int
    value: float | None
    lower: float | None
    upper: float | None
    n: int


def spacing(steps: int, keep: int) -> int:
    """Steps between checkpoints, so that `keep` of them are left at most, the last step's among them."""
    return max(1, math.ceil(steps / keep))


def first_of_best(tried: Sequence[Tried]) -> Tried:
    """The highest value, of equal ones the earliest step: the less it was trained, the less it can be led astray.

    Where no checkpoint has a value, it is the last.
    """
    known = [one for one in tried if one.value is not None]
    return max(known, key=lambda one: (round(one.value or 0.0, 9), -one.step)) if known else tried[-1]


def trained_with_choice(
    r: Run, name: str, rows: int, settings: RowSettings, work: Callable[[RowSettings], StageResult]
) -> tuple[StageResult, int]:
    """Train with checkpoints on the way; the result, and the steps between them.

    A training that finished before without them is done again: to the same bits, and with them.

    Args:
        r: the run.
        name: of the stage.
        rows: that it is trained on.
        settings: of the training.
        work: trains into the stage's checkpoint.
    """
    from arenaloop.train.batches import total_steps  # needs torch

    steps = total_steps(rows, settings.batch_size, settings.epochs, settings.max_steps)
    every, out = spacing(steps, r.recipe.settings.checkpoints.keep), r.stages.checkpoint(name)
    settings = settings.model_copy(update={"keep_every": every})
    result = work(settings)
    if not all(holds_model(_kept(out, step)) for step in range(every, result.steps, every)):
        r.note(name, ["trained before without checkpoints to choose from; trained again"])
        shutil.rmtree(out)
        result = work(settings)
    return result, every


def choose(r: Run, before: str, name: str, result: StageResult, every: int) -> tuple[dict[str, Any], Summary]:
    """Try an iteration's checkpoints, and take the best: what is told of it, and the battles of that.

    Args:
        r: the run.
        before: the model that the iteration starts from.
        name: of the stage.
        result: of the training.
        every: steps between the checkpoints.
    """
    r.arena.observer.phase(name, "checkpoints tried")
    out, judged = r.stages.checkpoint(name), Summary()
    paths = {step: _kept(out, step) for step in range(every, result.steps, every)} | {result.steps: out}
    tried = [_try(r, before, name, step, path, judged) for step, path in paths.items()]
    best = first_of_best(tried)
    path = paths[best.step].relative_to(r.stages.out)
    by = f"judge {r.arena.judge.name} against {before}"
    if r.recipe.settings.checkpoints.by == "self":
        by = f"mean score by {before if r.recipe.reward is None and r.recipe.scorer is None else 'the scorer'}"
    told = {"step": best.step, "path": path.as_posix(), "by": by, "tried": [one._asdict() for one in tried]}
    return told, judged


def _kept(out: Path, step: int) -> Path:
    return out / f"policy-{step}"


def _try(r: Run, before: str, name: str, step: int, path: Path, judged: Summary) -> Tried:
    candidate = replace(r.recipe.target(name, path), name=f"{name}@{step}")
    if r.recipe.settings.checkpoints.by == "self":
        view = _scores(r, before, candidate)
        return _tried(step, rate(view), len(view))
    start = r.model(before)
    fighters, prompts = [candidate, start], r.recipe.material.validation
    pairs = target_pairs([one.name for one in fighters], candidate.name)
    view = view_of(battle(r.arena, fighters, [prompt.id for prompt in prompts], pairs), r.arena.store, judged)
    return _tried(step, rate(view), len(view))


def _scores(r: Run, before: str, candidate: Contestant) -> View:
    """By prompt the mean score of the answer; answers without one are left out."""
    prompts = r.recipe.material.validation
    answered = [
        (prompt, one)
        for prompt, one in zip(prompts, answer(r.arena, candidate, prompts), strict=True)
        if one is not None and one.battles
    ]
    found, _ = scores_of(r, before, answered)
    return {prompt.id: (one.mean, 1) for (prompt, _), one in zip(answered, found, strict=True) if one.scores}


def _tried(step: int, found: Rate | None, n: int) -> Tried:
    if found is None:
        return Tried(step, None, None, None, n)
    if found.error is None:
        return Tried(step, found.value, None, None, n)
    return Tried(step, found.value, found.value - _Z * found.error, found.value + _Z * found.error, n)
