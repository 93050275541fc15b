from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.ties import _derivatives, count_outcomes, fit_ties, outcome_probabilities

KINDS = ["davidson", "rao_kupper"]
WINS = np.array([[0, 9, 12, 14], [5, 0, 8, 11], [3, 6, 0, 9], [2, 4, 7, 0]], dtype=float)
TIES = np.array([[0, 3, 2, 1], [3, 0, 4, 2], [2, 4, 0, 5], [1, 2, 5, 0]], dtype=float)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_agree_with_differences(kind: str) -> None:
    i, j = np.triu_indices(4, 1)
    data = (i, j, WINS[i, j], WINS[j, i], TIES[i, j])
    rng = np.random.default_rng(0)
    at, tau, step = rng.normal(0, 0.7, 4), -0.4, 1e-5
    gradient, hessian, _ = _derivatives(at, tau, kind, *data)
    for k in range(5):
        move = np.eye(5)[k] * step
        up = _derivatives(at + move[:4], tau + move[4], kind, *data)
        down = _derivatives(at - move[:4], tau - move[4], kind, *data)
        assert gradient[k] == pytest.approx((up[2] - down[2]) / (2 * step), abs=1e-5)
        assert hessian[k] == pytest.approx(-(up[0] - down[0]) / (2 * step), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fit_is_a_maximum(kind: str) -> None:
    fitted = fit_ties(WINS, TIES, kind=kind)
    i, j = np.triu_indices(4, 1)
    tau = np.log(fitted.tie - (kind == "rao_kupper"))
    data = (i, j, WINS[i, j], WINS[j, i], TIES[i, j])
    gradient, hessian, value = _derivatives(fitted.theta, tau, kind, *data)
    assert gradient == pytest.approx(np.zeros(5), abs=1e-6)
    assert np.linalg.eigvalsh(hessian).min() > -1e-9
    assert value == pytest.approx(fitted.log_likelihood)
    win, tie = outcome_probabilities(fitted.theta, fitted.tie, kind)
    assert value == pytest.approx((WINS * np.log(win))[~np.eye(4, dtype=bool)].sum() + (TIES * np.log(tie))[i, j].sum())
    # both models reproduce the number of ties, Davidson's exactly (it is an exponential family)
    expected = ((WINS + WINS.T + TIES) * tie)[i, j].sum()
    assert expected == pytest.approx(TIES[i, j].sum(), rel=1e-6 if kind == "davidson" else 0.02)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4), st.floats(0.2, 1.5))
def test_exact_expectations_give_back_the_truth(kind: str, strengths: list[float], extra: float) -> None:
    theta = np.array(strengths) - np.mean(strengths)
    tie = extra + (kind == "rao_kupper")
    win, draw = outcome_probabilities(theta, tie, kind)
    assert (win + win.T + draw)[~np.eye(4, dtype=bool)] == pytest.approx(np.ones(12))
    fitted = fit_ties(100 * win, 100 * draw, kind=kind)
    assert fitted.theta == pytest.approx(theta, abs=1e-6)
    assert fitted.tie == pytest.approx(tie, rel=1e-6)


def test_two_equal_models_have_the_closed_form() -> None:
    # half of 20 battles are ties: nu / (2 + nu) = 1/2; and 1 - 2 / (1 + eta) = 1/2
    wins, ties = np.array([[0, 5], [5, 0]]), np.array([[0, 10], [10, 0]])
    assert fit_ties(wins, ties).tie == pytest.approx(2)
    assert fit_ties(wins, ties, kind="rao_kupper").tie == pytest.approx(3)


def test_outcomes_are_counted_once() -> None:
    battles = Battles.of(["a", "b"], [0, 1, 0, 1], [1, 0, 1, 0], [1.0, 1.0, 0.5, 0.5])
    wins, ties = count_outcomes(battles)
    assert wins.tolist() == [[0, 1], [1, 0]]
    assert ties.tolist() == [[0, 2], [2, 0]]
    with pytest.raises(ValueError, match="soft scores"):
        count_outcomes(Battles.of(["a", "b"], [0], [1], [0.7]))


@pytest.mark.parametrize(
    ("wins", "ties", "kind", "message"),
    [
        (WINS, TIES, "glicko", "davidson or rao_kupper"),
        (WINS, np.zeros((4, 4)), "davidson", "some of each"),
        (WINS, np.triu(TIES), "davidson", "symmetric"),
        (-WINS, TIES, "davidson", "not negative"),
        ([[0, 1, 1], [1, 0, 1], [0, 0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]], "davidson", "no finite ratings"),
    ],
)
def test_impossible_input_is_refused(wins: object, ties: object, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_ties(wins, ties, kind=kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_a_maximum_at_infinity_is_left_once_nothing_is_to_be_gained(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five wins and a tie, no loss: the likelihood rises for ever, towards that of the shares themselves."""
    asked = []

    def counted(*data: Any) -> Any:
        asked.append(data)
        return _derivatives(*data)

    monkeypatch.setattr("arenaloop.ratings.ties._derivatives", counted)
    fitted = fit_ties([[0, 5], [0, 0]], [[0, 1], [1, 0]], kind=kind)
    assert fitted.theta[0] > 5 > -5 > fitted.theta[1]
    assert fitted.log_likelihood == pytest.approx(5 * np.log(5 / 6) + np.log(1 / 6), abs=1e-8)
    assert len(asked) < 150
