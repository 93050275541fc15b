"""Weights count by their proportions alone, and next to no weight is next to none: in ratings, intervals, win rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.leaderboard import leaderboard
from arenaloop.ratings.arrays import FloatArray
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.crossings import crossings
from arenaloop.ratings.intervals import sandwich
from arenaloop.ratings.win_rate import Annotations, WinRate, win_rates

METHODS = [
    {"interval": "sandwich"},
    {"interval": "sandwich", "cluster": "battle"},
    {"interval": "bootstrap", "samples": 40},
    {"controls": ["length"]},
    {"method": "elo", "samples": 10},
]


def figures(board: Leaderboard) -> list[float]:
    """Every figure of a board, NaN where there is none."""
    cells = [cell for row in board.rows for cell in (row.rating, row.lower, row.upper, row.win_rate)]
    cells += [c for one in (board.coefficients or {}).values() for c in (one.value, one.lower, one.upper)]
    return [np.nan if cell is None else cell for cell in cells]


def arena(weight: FloatArray | None, seed: int = 0, separated: bool = False) -> Battles:
    """60 battles of three models on 20 prompts, with lengths; the first wins all of its own where `separated`."""
    rng = np.random.default_rng(seed)
    a = np.tile([0, 0, 1], 20)
    b = np.tile([1, 2, 2], 20)
    score = rng.choice([0.0, 0.5, 1.0], 60, p=[0.3, 0.2, 0.5])
    if separated:
        score[a == 0] = 1.0
    cluster = np.repeat(np.arange(20), 3)
    length = {"length": rng.normal(size=60)}
    return Battles.of(["x", "y", "z"], a, b, score, weight=weight, cluster=cluster, covariates=length)


@pytest.mark.parametrize("method", METHODS, ids=str)
@settings(deadline=None, max_examples=12)
@given(
    scale=st.floats(1e-300, 1e300),
    weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 3.0, 50.0]), min_size=60, max_size=60).filter(any),
    separated=st.booleans(),
)
@example(scale=1e-300, weights=[1.0, 2.0, 3.0] * 20, separated=True)
@example(scale=1 / 60, weights=[1.0] * 60, separated=False)
@example(scale=1e-3, weights=[1.0, 1.0, 0.0] * 20, separated=True)
def test_the_scale_of_weights_changes_no_figure(
    method: dict[str, object], scale: float, weights: list[float], separated: bool
) -> None:
    plain, scaled = (
        leaderboard(arena(np.array(weights) * factor, separated=separated), **method)  # type: ignore[arg-type]
        for factor in (1.0, scale)
    )
    assert scaled.notes == plain.notes
    assert figures(scaled) == pytest.approx(figures(plain), rel=1e-4, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_equal_weights_are_none(method: dict[str, object]) -> None:
    plain, weighted = (leaderboard(arena(w), **method) for w in (None, np.full(60, 1e-3)))  # type: ignore[arg-type]
    assert (figures(plain), plain.notes) == (figures(weighted), weighted.notes)


def near(weight: float, score: float = 0.0) -> Battles:
    """One model won 120 battles against three equals, and one more, of that weight, had that score."""
    rng = np.random.default_rng(1)
    a = np.concatenate([np.zeros(120, int), np.tile([1, 1, 2], 40), [0]])
    b = np.concatenate([np.tile([1, 2, 3], 40), np.tile([2, 3, 3], 40), [1]])
    outcome = np.concatenate([np.ones(120), rng.random(120) < 0.5, [score]])
    cluster = np.concatenate([np.tile(np.repeat(np.arange(40), 3), 2), [40]])
    return Battles.of(["top", "x", "y", "z"], a, b, outcome, weight=[1.0] * 240 + [weight], cluster=cluster)


def test_an_upset_of_hardly_any_weight_is_hardly_any_upset() -> None:
    """Continuous as the weight goes to 0: the same ratings, open above, the lower end moves with it."""
    none = leaderboard(near(0.0))
    top = none.rows[0]
    assert (top.model, top.upper) == ("top", None)
    assert top.lower is not None
    before = 0.0
    for weight in (1e-300, 1e-9, 1e-6, 1e-3, 0.05, 0.4):
        board = leaderboard(near(weight))
        row = board.rows[0]
        assert (row.model, row.upper) == ("top", None)
        assert row.lower is not None
        moved = top.lower - row.lower
        assert before - 0.5 <= moved <= 0.5 + 400 * weight
        before = moved
        assert [r.rating for r in board.rows] == pytest.approx([r.rating for r in none.rows], abs=0.5 + 200 * weight)
        assert "the interval of top is one-sided, open above" in " ".join(board.notes)
        assert "cancel" not in " ".join(board.notes)
    tie = leaderboard(near(1.0, 0.5)).rows[0]
    assert tie.upper is None
    assert tie.lower is not None
    assert 0 < top.lower - tie.lower < 150
    whole = leaderboard(near(1.0)).rows[0]
    assert whole.lower is not None
    assert whole.upper is not None
    assert whole.lower < tie.lower


def test_one_battle_that_outweighs_all_others_is_said_and_has_no_interval() -> None:
    for weight, separated in ((1e6, False), (1e6, True), (1e3, False)):
        weights = np.ones(60)
        weights[4] = weight
        for method in METHODS[:3]:
            board = leaderboard(arena(weights, separated=separated), **method)  # type: ignore[arg-type]
            assert any("battles count as fewer (Kish)" in note for note in board.notes)
            assert not any(row.lower is not None and row.upper is not None for row in board.rows)


def test_weights_of_one_and_three_are_no_cause_for_a_note() -> None:
    board = leaderboard(arena(np.tile([1.0, 3.0, 1.0], 20)))
    assert not any("Kish" in note for note in board.notes)
    assert all(row.lower is not None and row.upper is not None for row in board.rows)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(0, 2), min_size=20, max_size=20).map(lambda cells: np.array(cells).reshape(5, 4)[:4]),
)
def test_flow_is_the_narrowest_cut(wins: FloatArray) -> None:
    """Against all cuts of four models, one by one."""
    np.fill_diagonal(wins, 0.0)
    flow = crossings(wins, np.ones(4))
    for s in range(4):
        for t in range(4):
            sides = [[bool(code >> i & 1) for i in range(4)] for code in range(16)]
            cuts = [wins[np.ix_(np.array(side), ~np.array(side))].sum() for side in sides if side[s] and not side[t]]
            assert flow[s, t] == pytest.approx(min([1.0, *cuts]), abs=1e-9)


def test_many_small_upsets_are_whole_ones_together() -> None:
    """A tie with each of four opponents is two upsets, wherever they come from."""
    a, b = np.array([(0, j) for j in range(1, 5)] * 10 + [(i, j) for i in range(1, 5) for j in range(i + 1, 5)] * 4).T
    score = np.where((a == 0) & (np.arange(len(a)) >= 4), 1.0, 0.5)
    battles = Battles.of(list("abcde"), a, b, score, cluster=np.arange(len(a)))
    assert (fit(battles).crossed == 1.0).all()
    assert np.isfinite(sandwich(battles, fit(battles)).bounds()).all()


def votes(preference: FloatArray, weight: FloatArray | None) -> Annotations:
    """One model's votes, two to a prompt."""
    size = len(preference)
    ours = np.random.default_rng(3).integers(200, 900, size).astype(float)
    prompt = np.arange(size) // 2
    prompts = tuple(range(int(prompt.max()) + 1))
    model, theirs = np.zeros(size, dtype=np.int64), np.full(size, 500.0)
    return Annotations("base", ("m",), prompts, model, prompt, preference, ours, theirs, weight=weight)


def rates(row: WinRate) -> list[float | None]:
    return [row.win_rate, row.standard_error, row.lower, row.upper, row.lc_win_rate, row.lc_lower, row.lc_upper]


@settings(deadline=None, max_examples=15)
@given(st.floats(1e-300, 1e300), st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=40, max_size=40))
@example(scale=1e-3, weights=[1.0] * 40)
def test_the_scale_of_weights_changes_no_win_rate(scale: float, weights: list[float]) -> None:
    preference = np.random.default_rng(2).choice([1.0, 1.5, 2.0], 40)
    one, two = (
        win_rates(votes(preference, np.array(weights) * factor), control="length", samples=50)[0]
        for factor in (1.0, scale)
    )
    assert rates(two) == pytest.approx(rates(one), rel=1e-5)
    assert one.flags == two.flags


def test_weighted_win_rates_by_hand() -> None:
    """Four prompts of one vote, weights 1, 1, 1, 3, the heavy one lost: 3 of 6. The ratio's linearised variance over
    clusters is 4/3 (3 * 0.5^2 + 1.5^2) / 6^2 = 1/9."""
    weight = np.array([1.0, 1.0, 1.0, 3.0])
    plain = votes(np.array([2.0, 2.0, 2.0, 1.0]), weight)
    row = win_rates(Annotations("base", ("m",), (0, 1, 2, 3), plain.model, np.arange(4), plain.preference,
                                plain.length_model, plain.length_baseline, weight=weight))[0]  # fmt: skip
    assert row.win_rate == pytest.approx(50.0)
    assert row.standard_error == pytest.approx(100.0 / 3.0)
    assert (row.n_wins, row.n_total) == (3, 4)


def test_a_row_that_outweighs_all_others_leaves_no_interval() -> None:
    weight = np.ones(40)
    weight[7] = 1e6
    row = win_rates(votes(np.tile([1.0, 2.0], 20), weight), control="length", samples=50)[0]
    assert (row.lower, row.upper, row.lc_lower) == (None, None, None)
    assert "uneven_weights" in row.flags


def test_whole_weights_are_repeated_votes_in_length_controlled_rates() -> None:
    """The point estimate, where lengths do not vary: theirs is the rows' standard deviation, whatever they weigh."""
    preference, weight = np.random.default_rng(4).choice([1.0, 2.0], 30), np.random.default_rng(5).integers(1, 4, 30)
    plain = votes(preference, weight.astype(float))
    level = np.full(30, 500.0)
    flat = Annotations("base", ("m",), plain.prompts, plain.model, plain.prompt, preference, level, level,
                       weight=weight.astype(float))  # fmt: skip
    rows = np.repeat(np.arange(30), weight)
    repeated = Annotations("base", ("m",), plain.prompts, plain.model[rows], plain.prompt[rows], preference[rows],
                           level[rows], level[rows])  # fmt: skip
    one, two = (win_rates(each, control="length", samples=20)[0] for each in (flat, repeated))
    assert one.lc_win_rate == pytest.approx(two.lc_win_rate)


def test_a_model_whose_battles_all_weigh_nothing_met_others() -> None:
    battles = Battles.from_columns(
        {
            "model_a": ["x", "x", "z"],
            "model_b": ["y", "y", "x"],
            "winner": ["model_a", "model_b", "tie"],
            "weight": [1, 1, 0],
        }
    )
    fitted = fit(battles)
    assert fitted.notes == ("all battles of z weigh 0: it has no rating",)
