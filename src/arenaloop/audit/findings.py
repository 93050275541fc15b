"""Which figures of an audit stand, what its labels could have shown at all, and whether a planted bias is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from arenaloop.ratings.evaluator import Evaluation, Panel, Votes
from arenaloop.ratings.judge_tests import FIGURES, JudgeTest, controlled, judge_tests, smallest_effects
from arenaloop.ratings.planted import Planted, plant_length, plant_seat
from arenaloop.ratings.rates import Rate
from arenaloop.ratings.significance import benjamini_hochberg

__all__ = ["POWER", "Audited", "Findings", "findings"]

POWER = 0.8
"""at which the smallest effects are told"""
PLANTINGS = 200


@dataclass(frozen=True)
class Audited:
    """What is tested of one judge.

    Attributes:
        name: of the judge.
        votes, found: its votes, and their evaluation.
        unparsed: share of first answers that could not be read.
    """

    name: str
    votes: Votes
    found: Evaluation
    unparsed: Rate


@dataclass(frozen=True)
class Findings:
    """What an audit's figures are worth.

    Attributes:
        tests: of all figures with a fair value, by judge.
        smallest: by judge and figure, the smallest effect that would have been found four times of five.
        planted: what became of planted biases, where that was asked for.
    """

    tests: tuple[JudgeTest, ...] = ()
    smallest: dict[str, dict[str, float | None]] | None = None
    planted: tuple[Planted, ...] = ()


def findings(
    panel: Panel, judges: Sequence[Audited], *, level: float = 0.95, planted: float | None = None, seed: int = 0
) -> Findings:
    """Test all figures of some judges, false discoveries held to 1 - `level` over all of them.

    Args:
        panel: the labelled pairs.
        judges: whose figures are one family of tests.
        level: of the audit's intervals.
        planted: size of the biases to plant; None for none.
        seed: of the planting.
    """
    tests = controlled([
        test
        for one in judges
        for test in judge_tests(one.name, panel, one.votes, one.found, level=level, power=POWER)
    ])  # fmt: skip
    smallest = {}
    for one in judges:
        rates = {figure: one.unparsed if figure == "unparsed" else getattr(one.found, figure) for figure in FIGURES}
        own = [test for test in tests if test.judge == one.name]
        smallest[one.name] = smallest_effects(panel, rates, own, level=level, power=POWER)
    found = []
    for one in judges if planted is not None else ():
        assert planted is not None
        for plant, figure in ((plant_seat, "first_seat"), (plant_length, "longer_matched")):
            stands = _stands(tests, one.name, figure, 1.0 - level)
            found.append(plant(one.name, panel, one.votes, planted, stands, plantings=PLANTINGS, seed=seed))
    return Findings(tuple(tests), smallest, tuple(found))


def _stands(tests: Sequence[JudgeTest], judge: str, figure: str, alpha: float) -> Callable[[float], bool]:
    """Whether a p-value would stand in the table in the place of that judge's figure, all others being as they are."""
    others = [test.p for test in tests if (test.judge, test.figure) != (judge, figure)]
    low, high = 0.0, 1.0  # what stands at one p stands at every smaller one
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if benjamini_hochberg(np.array([middle, *others]))[0] <= alpha else (low, middle)
    return lambda p: p <= low
