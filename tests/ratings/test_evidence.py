"""Few upsets do not show whether the battles on a prompt end alike: what intervals hold all the same."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.covariates import fit_controlled
from arenaloop.ratings.intervals import sandwich


def twice(won: int, shared: int, lost: int) -> Battles:
    """Two battles a prompt, by how many prompts `x` won wholly, shared and lost wholly."""
    score = [1.0, 1.0] * won + [1.0, 0.0] * shared + [0.0, 0.0] * lost
    many = len(score)
    return Battles.of(["x", "y"], [0] * many, [1] * many, score, cluster=np.arange(many) // 2)


def ends(battles: Battles) -> tuple[float, float]:
    return sandwich(battles, fit(battles)).difference("x", "y")[1:]


@pytest.mark.parametrize("prompts", [40, 80])
def test_with_two_battles_a_prompt_a_better_record_never_has_a_lower_end(prompts: int) -> None:
    """Also from the record without any upset, whose prompts count once, to that with one."""
    lows = [ends(twice(prompts - shared, shared, 0))[0] for shared in range(prompts // 4)]
    assert (np.diff(lows) < 0).all()


@pytest.mark.parametrize("alike", [0.0, 0.5])
def test_lopsided_pairs_with_two_battles_a_prompt_are_covered(alike: float) -> None:
    """Exactly, by the probability of each record of 80 prompts with models 600 points apart: 91.8 % without."""
    p = 1 / (1 + 10 ** (-600 / 400))
    won, lost = (q * (alike + (1 - alike) * q) for q in (p, 1 - p))
    held = total = 0.0
    for shared, all_lost in itertools.product(range(18), range(12)):
        record = (80 - shared - all_lost, shared, all_lost)
        ways = math.comb(80, shared) * math.comb(80 - shared, all_lost)
        chance = ways * won ** record[0] * (1 - won - lost) ** shared * lost**all_lost
        if chance > 3e-4:
            lower, upper = ends(twice(*record))
            held, total = held + chance * (lower <= 600 <= upper), total + chance
    assert 0.95 < held / total < 0.985


def test_ten_upsets_show_how_alike_battles_end() -> None:
    """Of all the pairs: of one with fewer, the variance is drawn up, and beside it the others' is as it was."""
    few, many = twice(78, 2, 0), twice(65, 15, 0)
    both = Battles.of(
        ["x", "y", "z"],
        np.concatenate([few.a, many.a + 1]),
        np.concatenate([few.b, many.b + 1]),
        np.concatenate([few.score_a, many.score_a]),
        cluster=np.arange(320) // 2,
    )
    result = sandwich(both, fit(both))
    without = replace(result, evidence=replace(result.evidence, repeated=None))
    assert result.standard_error(0, 1) > 1.35 * without.standard_error(0, 1)
    assert result.standard_error(1, 2) == without.standard_error(1, 2)


def test_one_upset_is_taken_for_half_of_one_however_intervals_are_made() -> None:
    battles = twice(79, 1, 0)
    result = sandwich(battles, fit(battles))
    plain = sandwich(battles, fit(battles), cluster="battle")
    assert result.standard_error(0, 1) == pytest.approx(np.sqrt(2) * plain.standard_error(0, 1), rel=0.02)
    length = Battles.of(
        battles.models, battles.a, battles.b, battles.score_a, cluster=battles.cluster,
        covariates={"length": np.random.default_rng(0).normal(size=len(battles))},
    )  # fmt: skip
    controlled = fit_controlled(length, ["length"], frozen={"length": (0.0, 1.0)}).intervals
    assert controlled.difference("x", "y") == pytest.approx(result.difference("x", "y"), rel=0.02)
