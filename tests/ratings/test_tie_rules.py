"""Ratings under the other rules for ties: scores by differences, intervals by refitting, orders that turn."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.intervals import sandwich
from arenaloop.ratings.tie_rules import orders_by_rule, rated_with_ties, turned
from arenaloop.ratings.ties import count_outcomes, fit_ties, outcome_probabilities, outcome_scores

KINDS = ["davidson", "rao_kupper"]
THETA = np.array([0.7, 0.1, -0.2, -0.6])


def drawn(kind: str, tie: float, battles: int, seed: int, prompts: int = 0) -> Battles:
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 4, battles)
    b = (a + rng.integers(1, 4, battles)) % 4
    win, even = outcome_probabilities(THETA, tie, kind)
    u = rng.random(battles)
    score = np.where(u < win[a, b], 1.0, np.where(u < win[a, b] + even[a, b], 0.5, 0.0))
    return Battles.of(list("abcd"), a, b, score, cluster=rng.integers(0, prompts, battles) if prompts else None)


@pytest.mark.parametrize(("kind", "tie"), [("davidson", 0.6), ("rao_kupper", 1.7)])
def test_scores_are_derivatives_of_the_log_probabilities(kind: str, tie: float) -> None:
    step, one = 1e-6, float(kind == "rao_kupper")
    gap, tau = outcome_scores(THETA, tie, kind)

    def logs(theta: np.ndarray, tie: float) -> np.ndarray:
        win, even = outcome_probabilities(theta, tie, kind)
        return np.log(np.stack([win.T, even, win]))

    for i, j in ((0, 1), (3, 2), (1, 3)):
        up = THETA + step * np.eye(4)[i]
        down = THETA - step * np.eye(4)[i]
        by_gap = (logs(up, tie) - logs(down, tie))[:, i, j] / (2 * step)
        assert gap[:, i, j] == pytest.approx(by_gap, abs=1e-6)
        wide, narrow = (one + (tie - one) * np.exp(sign * step) for sign in (1, -1))
        by_tau = (logs(THETA, wide) - logs(THETA, narrow))[:, i, j] / (2 * step)
        assert tau[:, i, j] == pytest.approx(by_tau, abs=1e-6)


@pytest.mark.parametrize(("kind", "tie"), [("davidson", 0.6), ("rao_kupper", 1.7)])
@pytest.mark.parametrize("prompts", [0, 100])
def test_intervals_hold_the_truth(kind: str, tie: float, prompts: int) -> None:
    """100 boards of six differences: 95 %, less three standard errors of boards."""
    held = []
    for seed in range(100):
        battles = drawn(kind, tie, 500, seed, prompts)
        spread = rated_with_ties(battles, fit(battles), kind, cluster="prompt" if prompts else "battle")
        for i in range(4):
            for j in range(i):
                apart = 400 / np.log(10) * (THETA[i] - THETA[j])
                _, lower, upper = spread.difference("abcd"[i], "abcd"[j])
                held.append(lower < apart < upper)
    assert 0.91 < np.mean(held) < 0.985


def test_one_battle_a_prompt_is_every_battle_on_its_own() -> None:
    battles = drawn("davidson", 0.6, 800, 1)
    alone = Battles.of(list("abcd"), battles.a, battles.b, battles.score_a, cluster=np.arange(800))
    one, other = (
        rated_with_ties(some, fit(some), "davidson", cluster=cluster).covariance
        for some, cluster in ((battles, "battle"), (alone, "prompt"))
    )
    assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_without_ties_both_models_are_bradley_terry_nearly() -> None:
    """One tie of a thousand: the strengths and errors of half wins, and of none."""
    battles = drawn("davidson", 0.002, 3000, 2)
    assert 0 < battles.ties < 20
    plain = sandwich(battles, fit(battles), cluster="battle")
    for kind in KINDS:
        spread = rated_with_ties(battles, fit(battles), kind, cluster="battle")
        assert spread.fit.theta == pytest.approx(plain.fit.theta, abs=0.01)
        assert np.diag(spread.covariance) == pytest.approx(np.diag(plain.covariance), rel=0.05)


def test_what_these_models_cannot_rate_is_refused() -> None:
    undefeated = Battles.of(list("abc"), np.array([0, 1, 2, 0]), np.array([1, 2, 1, 2]), np.array([1.0, 0.5, 1, 1]))
    with pytest.raises(ValueError, match="use ties half"):
        rated_with_ties(undefeated, fit(undefeated), "davidson", cluster="battle")
    soft = Battles.of(list("ab"), np.array([0, 0, 0]), np.array([1, 1, 1]), np.array([0.7, 0.2, 0.5]))
    with pytest.raises(ValueError, match="soft scores"):
        rated_with_ties(soft, fit(soft), "davidson", cluster="battle")
    assert list(orders_by_rule(soft, fit(soft))) == ["half"]


def test_orders_are_those_of_the_fits() -> None:
    battles = drawn("davidson", 0.6, 900, 3)
    found = orders_by_rule(battles, fit(battles))
    assert list(found) == ["half", "drop", "davidson", "rao_kupper"]
    assert found["drop"] == pytest.approx(fit(battles.decided()).theta, abs=1e-9)
    for kind in KINDS:
        assert found[kind] == pytest.approx(fit_ties(*count_outcomes(battles), kind=kind).theta, abs=1e-9)


def test_pairs_that_turn_are_named_upper_first() -> None:
    certain = np.zeros((3, 3), bool)
    certain[0, 1] = certain[0, 2] = True
    assert turned(certain, np.array([0.0, 0.3, -0.3])) == [(0, 1)]
    assert turned(certain, np.array([0.0, np.nan, 0.3])) == [(0, 2)]
