"""An arena of an LLM judge in the world of `consistency_world.py`, rated as any run is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from consistency_world import Answers, Judge, Verdicts, World, agreement, answered, judged

from arenaloop.ratings.agreement import Scored
from arenaloop.ratings.arrays import FloatArray, IntArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bootstrap import Bootstrap, bootstrap
from arenaloop.ratings.bradley_terry import fit, fit_wins
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.design import Design, balanced
from arenaloop.ratings.intervals import Intervals, sandwich
from arenaloop.ratings.student import t_quantile

LIMIT = 20_000
"""Prompts that stand for all there are."""


@dataclass(frozen=True)
class Setting:
    """An arena of the judge.

    Attributes:
        choice: of prompts: ``diverse``, ``stream`` or ``hard``.
        seats: ``both``, ``drawn`` or ``first``.
        models, spread: how many, and how far apart as a multiple of the usual.
        linked: how far length goes with quality, as a multiple of the usual.
        battles: sampled, of all there are; None for all. `design`: ``balanced`` or ``optimal``.
        interval: ``prompt`` (sandwich), ``battle`` (sandwich, battles independent), or of the bootstrap
            ``resampled prompts`` or ``resampled battles``. `anchored`: measured from a model's rating, not the mean.
        control: compare at equal length.
        scores: rate by the mean of scores given to single answers, as MT-Bench does, instead of by battles.
    """

    judge: Judge = field(default_factory=Judge)
    choice: str = "diverse"
    prompts: int = 500
    seats: str = "both"
    models: int = 24
    spread: float = 1.0
    linked: float = 1.0
    battles: int | None = None
    design: str = "balanced"
    interval: str = "prompt"
    anchored: bool = False
    control: bool = False
    scores: bool = False


class Board(NamedTuple):
    """Ratings and the ends of their intervals, shape (K,)."""

    rating: FloatArray
    lower: FloatArray
    upper: FloatArray

    def scored(self, names: Sequence[str]) -> dict[str, Scored]:
        """As `consistency` wants it."""
        rows = zip(names, *(column.tolist() for column in self), strict=True)
        return {name: Scored(*row) for name, *row in rows}


def offline(rng: np.random.Generator, setting: Setting, world: World, kin: int) -> tuple[Board, float]:
    """What the judge's arena says, and how often its battles name the answer of more points."""
    said = answered(rng, world, setting.prompts, setting.choice)
    if setting.scores:
        return scored_alone(rng, setting.judge, said), float("nan")
    verdicts = judged(rng, setting.judge, said, setting.seats, kin)
    table = chosen(setting, world, verdicts, int(rng.integers(1 << 31)))
    return rated(table, setting), agreement(said, verdicts)


def scored_alone(rng: np.random.Generator, judge: Judge, said: Answers) -> Board:
    """Mean scores of single answers, each with the interval of its own mean over prompts."""
    noise = np.hypot(1.0, 0.5) * judge.noise * rng.standard_normal(said.points.shape, dtype=np.float32)
    points = np.clip(np.round((said.points + noise) / judge.step) * judge.step, 1.0, 10.0).astype(np.float64)
    half = t_quantile(0.95, len(points) - 1.0) * points.std(axis=0, ddof=1) / np.sqrt(len(points))
    mean = points.mean(axis=0)
    return Board(mean, mean - half, mean + half)


def chosen(setting: Setting, world: World, verdicts: Verdicts, seed: int) -> Battles:
    """The battles of an arena, of all that the judge could have been asked for."""
    n, pairs = verdicts.score.shape
    first, second = np.triu_indices(len(world.skill), 1)
    if setting.battles is None:
        prompt, pair = np.divmod(np.arange(n * pairs), pairs)
    else:
        place = np.zeros((len(world.skill),) * 2, dtype=np.int64)
        place[first, second] = place[second, first] = np.arange(pairs)
        units = sampled(setting, verdicts, place, seed)
        pair, prompt = place[units[:, 0], units[:, 1]], units[:, 2]
    columns = {"length": verdicts.longer[prompt, pair]} if setting.control else None
    score = verdicts.score[prompt, pair]
    return Battles.of(world.models, first[pair], second[pair], score, cluster=prompt, covariates=columns)


def sampled(setting: Setting, verdicts: Verdicts, place: IntArray, seed: int) -> IntArray:
    """Models and prompts of the battles that a budget buys, shape (N, 3)."""
    assert setting.battles is not None
    if setting.design == "balanced":
        return np.array(balanced(setting.models, setting.prompts, setting.battles, seed))
    plan, units = Design(setting.models, setting.prompts, seed=seed), np.zeros((0, 3), dtype=np.int64)
    wins, decided = np.zeros((2, setting.models, setting.models))
    while len(units) < setting.battles:
        batch = np.array(plan.batch(wins, decided))
        a, b, prompt = batch.T
        score = verdicts.score[prompt, place[a, b]]
        score = np.where(a < b, score, 1.0 - score)
        a, b, score = (column[~np.isnan(score)] for column in (a, b, score))
        np.add.at(wins, (a, b), score)
        np.add.at(wins, (b, a), 1.0 - score)
        np.add.at(decided, (a, b), 1.0)
        np.add.at(decided, (b, a), 1.0)
        units = np.concatenate([units, batch])
    return units[: setting.battles]


def rated(table: Battles, setting: Setting) -> Board:
    """A leaderboard of battles, on the Elo scale around 0."""
    spread: Intervals | Bootstrap
    if setting.control:
        spread = fit_controlled(table, ["length"]).intervals
    elif setting.interval.startswith("resampled "):
        one = setting.interval.removeprefix("resampled ").removesuffix("s")
        spread = bootstrap(table, fit(table), samples=200, cluster=one)
    else:
        spread = sandwich(table, fit(table), cluster="battle" if setting.interval == "battle" else "prompt")
    anchor = (table.models[0], 0.0) if setting.anchored else None
    return Board(spread.fit.ratings(anchor=anchor, mean=0.0), *spread.bounds(anchor=anchor, mean=0.0))


def limit(rng: np.random.Generator, setting: Setting, world: World, kin: int) -> FloatArray:
    """Ratings that the judge would give on prompts without end, shape (K,)."""
    wins = np.zeros((setting.models,) * 2)
    first, second = np.triu_indices(setting.models, 1)
    for _ in range(LIMIT // 1000):
        said = answered(rng, world, 1000, setting.choice)
        score = judged(rng, setting.judge, said, setting.seats, kin).score
        wins[first, second] += np.nansum(score, axis=0)
        wins[second, first] += np.nansum(1.0 - score, axis=0)
    return fit_wins(wins).ratings(mean=0.0)
