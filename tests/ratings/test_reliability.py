"""Judges of unlike reliability, fitted with the ratings."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.joint_fit import RIDGE
from arenaloop.ratings.reliability import fit_reliability

K = 5
NAMES = [f"m{i}" for i in range(K)]


def votes(
    slopes: list[float], seats: list[float], *, seed: int = 0, prompts: int = 60
) -> tuple[Battles, np.ndarray, np.ndarray]:
    """Votes of all judges on all seatings of all pairs, who gave them, and the models' true strengths."""
    rng = np.random.default_rng(seed)
    truth = np.linspace(0.8, -0.8, K)
    first, second = (x.ravel() for x in np.meshgrid(np.arange(K), np.arange(K), indexing="ij"))
    first, second = first[first != second], second[first != second]
    many, pairs = len(slopes), len(first)
    a, b = (np.tile(np.repeat(x, many), prompts) for x in (first, second))
    judge = np.tile(np.arange(many), pairs * prompts)
    p = 1 / (1 + np.exp(-(np.array(slopes)[judge] * (truth[a] - truth[b]) + np.array(seats)[judge])))
    won = (rng.random(len(p)) < p).astype(float)
    return Battles.of(NAMES, a, b, won, cluster=np.repeat(np.arange(prompts), pairs * many)), judge, truth


def test_slopes_seats_and_strengths_are_recovered_and_a_coin_weighs_nothing() -> None:
    slopes, seats = [1.5, 1.0, 0.6, 0.0, -0.5], [0.0, 0.6, -0.3, 0.2, 0.0]
    battles, judge, truth = votes(slopes, seats, prompts=200)
    found = fit_reliability(battles, judge, list("abcde"))
    unit = (1.5**2 + 1.0 + 0.36) / 3.1
    assert found.converged
    assert found.intervals.fit.theta == pytest.approx(truth * unit, abs=0.08)
    for one, slope, seat in zip(found.judges, slopes, seats, strict=True):
        assert one.slope == pytest.approx(slope / unit, abs=0.09)
        assert one.seat == pytest.approx(seat, abs=0.09)
        assert one.slope_lower is not None
        assert one.slope_upper is not None
        assert one.slope_lower < one.slope < one.slope_upper
        assert one.votes == len(battles) // 5
    assert found.judges[0].weight == 1.0
    assert found.judges[4].weight == 0.0
    assert any("d: no better than a coin" in note for note in found.notes)
    assert any("e votes against" in note for note in found.notes)


def test_one_judge_without_seat_effect_is_bradley_terry() -> None:
    """With both seats of every vote mirrored the seat effect is 0, and what is left is the plain fit."""
    battles, judge, _ = votes([1.0], [0.0])
    both = Battles.of(
        NAMES, np.concatenate([battles.a, battles.b]), np.concatenate([battles.b, battles.a]),
        np.concatenate([battles.score_a, 1 - battles.score_a]), cluster=np.tile(battles.cluster, 2),
    )  # fmt: skip
    found = fit_reliability(both, np.tile(judge, 2), ["only"])
    plain = fit(both)
    assert found.intervals.fit.theta == pytest.approx(plain.theta, abs=1e-6)
    assert found.judges[0].seat == pytest.approx(0.0, abs=1e-9)
    assert found.judges[0].slope == 1.0
    assert found.judges[0].slope_lower is None
    assert any("one judge" in note for note in found.notes)


def test_the_score_equations_hold() -> None:
    battles, judge, _ = votes([1.4, 0.9, 0.1], [0.2, 0.0, -0.4], prompts=20)
    found = fit_reliability(battles, judge, list("abc"))
    theta = found.intervals.fit.theta
    alpha, seat = (np.array([getattr(one, name) for one in found.judges]) for name in ("slope", "seat"))
    d = theta[battles.a] - theta[battles.b]
    r = battles.score_a - 1 / (1 + np.exp(-(alpha[judge] * d + seat[judge])))
    by_model = np.bincount(battles.a, alpha[judge] * r, K) - np.bincount(battles.b, alpha[judge] * r, K)
    assert by_model == pytest.approx(np.zeros(K), abs=1e-4)
    assert np.bincount(judge, r, 3) == pytest.approx(RIDGE * seat, abs=1e-4)


def test_equal_judges_weigh_alike_and_order_of_rows_does_not_matter() -> None:
    battles, judge, _ = votes([1.0] * 4, [0.0] * 4, prompts=150)
    found = fit_reliability(battles, judge, list("abcd"))
    assert min(one.weight for one in found.judges) > 0.8
    order = np.random.default_rng(1).permutation(len(battles))
    assert battles.cluster is not None
    mixed = Battles.of(
        NAMES, battles.a[order], battles.b[order], battles.score_a[order], cluster=battles.cluster[order]
    )
    again = fit_reliability(mixed, judge[order], list("abcd"))
    assert again.intervals.fit.theta == pytest.approx(found.intervals.fit.theta, abs=1e-6)
    assert again.intervals.bounds()[0] == pytest.approx(found.intervals.bounds()[0], abs=1e-3)


def test_a_coin_more_neither_stretches_ratings_nor_shrinks_them() -> None:
    battles, judge, _ = votes([1.0, 1.0, 0.0, 0.0], [0.0] * 4, prompts=150)
    without = battles.rows(judge < 2)
    whole = fit_reliability(battles, judge, list("abcd")).intervals.fit.theta
    part = fit_reliability(without, judge[judge < 2], list("ab")).intervals.fit.theta
    assert np.ptp(whole) == pytest.approx(np.ptp(part), rel=0.06)


def test_nobody_s_verdicts_and_an_undefeated_model_stay_finite() -> None:
    battles, judge, _ = votes([1.0, 1.0], [0.0, 0.0], prompts=10)
    score = np.where(battles.a == 0, 1.0, np.where(battles.b == 0, 0.0, battles.score_a))
    unbeaten = Battles.of(NAMES, battles.a, battles.b, score, cluster=battles.cluster)
    judge = np.where(np.arange(len(judge)) % 7 == 0, 2, judge)  # losses that needed no judge
    found = fit_reliability(unbeaten, judge, ["x", "y"])
    assert np.isfinite(found.intervals.fit.theta).all()
    assert found.converged
    assert found.separated[0]
    assert sum(one.votes for one in found.judges) == np.count_nonzero(judge < 2)


def test_a_model_without_a_vote_has_no_rating_and_a_crowd_is_refused() -> None:
    battles, judge, _ = votes([1.0, 0.8], [0.0, 0.0], prompts=5)
    more = Battles.of([*NAMES, "silent"], battles.a, battles.b, battles.score_a, cluster=battles.cluster)
    found = fit_reliability(more, judge, ["x", "y"])
    assert np.isnan(found.intervals.fit.theta[5])
    assert np.isfinite(found.intervals.fit.theta[:5]).all()
    with pytest.raises(ValueError, match="201 judges"):
        fit_reliability(battles, judge, [str(n) for n in range(201)])
    with pytest.raises(ValueError, match="no prompt ids"):
        fit_reliability(Battles.of(NAMES, battles.a, battles.b, battles.score_a), judge, ["x", "y"])


def test_a_fit_that_did_not_come_to_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    battles, judge, _ = votes([1.5, 0.5], [0.8, 0.0], prompts=5)
    monkeypatch.setattr("arenaloop.ratings.joint_fit._STEPS", 1)
    found = fit_reliability(battles, judge, ["x", "y"])
    assert not found.converged
    assert any("did not converge in 1 steps" in note for note in found.notes)
