from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import ELO_PER_NAT, fit, fit_batch, fit_wins
from arenaloop.ratings.crossings import components

BT1 = np.array([[0, 6, 8], [4, 0, 6.5], [2, 3.5, 0]])
"""Golden BT-1: A-B 6:4; A-C seven wins, two ties, one loss; B-C six wins, one tie, three losses."""


def connected_wins(k: int = 5) -> st.SearchStrategy[np.ndarray]:
    """Win matrices in which everybody has beaten everybody, so that the maximum exists."""
    return hnp.arrays(np.float64, (k, k), elements=st.floats(0.25, 20.0))


def test_golden_bt1_on_the_elo_scale_with_an_anchor() -> None:
    fitted = fit_wins(BT1, ["A", "B", "C"])
    assert fitted.ratings(anchor=("C", 1100.0)) == pytest.approx([1315.187, 1226.699, 1100.0], abs=1e-3)
    assert fitted.notes == ()


def test_golden_bt2_centred_strengths() -> None:
    assert fit_wins([[0, 2, 1], [1, 0, 2], [1, 1, 0]]).theta == pytest.approx([0.291134, 0, -0.291134], abs=1e-6)


@pytest.mark.parametrize(
    ("l2", "expected"),
    [(0.01, [1.0948, -0.7906, -0.3042]), (0.1, [0.8556, -0.6347, -0.2208]), (0.001, [1.1315, -0.8135, -0.3180])],
)
def test_golden_d2_batched_and_single_with_a_ridge(l2: float, expected: list[float]) -> None:
    wins = np.array([[0, 1, 0.2], [0, 0, 0.2], [0.2, 0, 0]])
    assert fit_batch(wins, l2=l2) == pytest.approx(expected, abs=1e-4)
    assert fit_wins(wins, l2=l2).theta == pytest.approx(expected, abs=1e-4)


def test_golden_d2_on_the_elo_scale() -> None:
    fitted = fit_wins([[0, 1, 0.2], [0, 0, 0.2], [0.2, 0, 0]], l2=0.01)
    assert fitted.ratings() == pytest.approx([1190.19, 862.65, 947.16], abs=0.01)


def test_two_models_have_the_closed_form() -> None:
    assert np.diff(fit_wins([[0, 3], [7, 0]]).ratings())[0] == pytest.approx(400 * np.log10(7 / 3), abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(connected_wins())
def test_the_gradient_vanishes_at_the_fit(wins: np.ndarray) -> None:
    np.fill_diagonal(wins, 0)
    theta = fit_wins(wins).theta
    p = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
    assert wins.sum(1) == pytest.approx(((wins + wins.T) * p).sum(1), abs=1e-7 * wins.sum())
    assert theta.sum() == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(connected_wins(), st.permutations(range(5)))
def test_permuting_models_permutes_ratings(wins: np.ndarray, order: list[int]) -> None:
    theta = fit_wins(wins).theta
    assert fit_wins(wins[np.ix_(order, order)]).theta == pytest.approx(theta[order], abs=1e-8)


@settings(deadline=None, max_examples=25)
@given(connected_wins(), st.floats(0.1, 1000))
def test_swapping_seats_negates_and_scaling_counts_changes_nothing(wins: np.ndarray, factor: float) -> None:
    theta = fit_wins(wins).theta
    assert fit_wins(wins.T).theta == pytest.approx(-theta, abs=1e-8)
    assert fit_wins(wins * factor).theta == pytest.approx(theta, abs=1e-8)


@settings(deadline=None, max_examples=25)
@given(connected_wins(4), st.integers(0, 3), st.floats(0.5, 20))
def test_a_tie_between_equals_changes_nothing(wins: np.ndarray, who: int, ties: float) -> None:
    twin = np.zeros((5, 5))
    twin[:4, :4] = wins
    twin[4, :4], twin[:4, 4] = wins[who], wins[:, who]
    twin[4, who] = twin[who, 4] = 1.0
    twin[4, 4] = 0
    before = fit_wins(twin).theta
    assert before[4] == pytest.approx(before[who], abs=1e-8)
    twin[4, who] += ties / 2
    twin[who, 4] += ties / 2
    assert fit_wins(twin).theta == pytest.approx(before, abs=1e-7)


@settings(deadline=None, max_examples=20)
@given(hnp.arrays(np.float64, (4, 6, 6), elements=st.sampled_from([0.0, 0.2, 0.8, 1.0])))
def test_batched_and_single_fits_agree_on_separable_problems_too(wins: np.ndarray) -> None:
    together = fit_batch(wins, l2=0.01)
    for one, theta in zip(wins, together, strict=True):
        np.fill_diagonal(one, 0)
        both = one + one.T
        p = 1 / (1 + np.exp(theta[None, :] - theta[:, None]))
        assert one.sum(1) - (both * p).sum(1) == pytest.approx(0.01 * theta, abs=1e-7)
        if both.any(axis=1).all() and len(set(components(one)[0])) == 1:
            assert fit_wins(one, l2=0.01).theta == pytest.approx(theta, abs=1e-7)


def test_strengths_are_recovered_from_many_battles() -> None:
    rng = np.random.default_rng(5)
    truth = np.linspace(-1, 1, 6)
    a = rng.integers(0, 6, 60_000)
    b = (a + rng.integers(1, 6, 60_000)) % 6
    won = rng.random(60_000) < 1 / (1 + np.exp(truth[b] - truth[a]))
    fitted = fit(Battles.of(list("abcdef"), a, b, won))
    assert np.abs(fitted.theta - truth).max() * ELO_PER_NAT < 8  # standard errors are near 2 points


def test_a_model_that_won_everything_stays_finite_and_is_named() -> None:
    wins = np.array([[0, 3, 4, 0], [0, 0, 2, 1], [0, 1, 0, 2], [0, 2, 1, 0]], dtype=float)
    fitted = fit_wins(wins, ["champion", "b", "c", "d"])
    assert np.isfinite(fitted.theta).all()
    assert fitted.theta.argmax() == 0
    assert len(fitted.notes) == 1
    assert "champion won every battle" in fitted.notes[0]
    expected = np.zeros((4, 4))
    # half a win each way in all, in proportion to the battles with the opponents met, nothing else
    expected[0, [1, 2]] = expected[[1, 2], 0] = [0.5 * 3 / 7, 0.5 * 4 / 7]
    assert fitted.pseudo == pytest.approx(expected)
    assert fitted.theta == pytest.approx(fit_wins(wins + expected).theta)


@pytest.mark.parametrize("opponents", [1, 3, 30])
def test_the_pseudo_mass_does_not_grow_with_the_opponents(opponents: int) -> None:
    """n wins and no loss against equals: Firth's penalty has its top at ln(2 n + 1), for one opponent or for many."""
    wins = np.full((opponents + 1, opponents + 1), 1e4)
    wins[0], wins[:, 0] = 60 / opponents, 0.0
    fitted = fit_wins(wins)
    assert fitted.pseudo[0].sum() == pytest.approx(0.5)
    assert fitted.pseudo.sum(axis=1).max() == pytest.approx(0.5)
    assert fitted.theta[0] - fitted.theta[1:].mean() == pytest.approx(np.log(2 * 60 + 1), abs=1e-3)


def test_two_clans_without_an_upset_are_separable_although_nobody_won_everything() -> None:
    wins = np.array([[0, 2, 3, 0], [2, 0, 0, 3], [0, 0, 0, 1], [0, 0, 2, 0]], dtype=float)
    fitted = fit_wins(wins, list("abcd"))
    assert np.isfinite(fitted.theta).all()
    assert "no upset ever crossed between a, b | c, d" in fitted.notes[0]
    with pytest.raises(ValueError, match="no finite ratings"):
        fit_wins(wins, list("abcd"), separation="error")
    ridged = fit_wins(wins, list("abcd"), separation="ridge")
    assert ridged.l2 == 1e-3
    assert not ridged.pseudo.any()


def test_groups_that_never_met_are_rated_on_their_own() -> None:
    wins = np.zeros((5, 5))
    wins[0, 1], wins[1, 0], wins[2, 3], wins[3, 2] = 3, 1, 1, 1
    fitted = fit_wins(wins, list("abcde"))
    assert "fall into 2 groups" in fitted.notes[1]
    assert "a, b | c, d" in fitted.notes[1]
    assert fitted.notes[0] == "e met nobody and has no rating"
    assert np.isnan(fitted.theta[4])
    ratings = fitted.ratings(anchor=("b", 1200.0))
    assert ratings[:4] == pytest.approx([1200 + 400 * np.log10(3), 1200, 1000, 1000])
    with pytest.raises(ValueError, match="'e' met nobody"):
        fitted.ratings(anchor=("e", 1000.0))


def test_nothing_to_rate_is_no_crash() -> None:
    assert np.isnan(fit_wins([[0.0]], ["alone"]).theta).all()
    assert fit_wins(np.zeros((0, 0))).theta.shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wins": [[0, 1, 2]]}, "square"),
        ({"wins": [[0, -1], [1, 0]]}, "not negative"),
        ({"wins": [[0, float("nan")], [1, 0]]}, "finite"),
        ({"wins": [[0, 1], [1, 0]], "l2": -1.0}, "l2"),
        ({"wins": [[0, 1], [1, 0]], "separation": "ignore"}, "half_battle, ridge or error"),
    ],
)
def test_impossible_input_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_wins(**arguments)


def test_an_anchor_that_is_not_there_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'llama-2'"):
        fit_wins([[0, 1], [1, 0]], ["llama-2", "gpt"]).ratings(anchor=("lama-2", 1100.0))


def test_a_batch_without_a_ridge_is_refused() -> None:
    with pytest.raises(ValueError, match="l2 must be positive"):
        fit_batch(np.ones((2, 3, 3)), l2=0.0)
