"""Boards of juries that are weighed by a joint fit: what their order is worth comes from the joint covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from arenaloop.arena.board import Leaderboard
from arenaloop.arena.reliability_board import reliability_board
from arenaloop.data.judged_votes import JudgedVotes
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.reliability import fit_reliability

NAMES, JUDGES = ["a", "b", "c", "d"], ("sharp", "fair", "coin")


def votes(strength: list[float], *, prompts: int = 60, seed: int = 0, seat: float = 0.0) -> JudgedVotes:
    """Three judges on both seatings of all pairs."""
    rng = np.random.default_rng(seed)
    first, second = (x.ravel() for x in np.meshgrid(np.arange(4), np.arange(4), indexing="ij"))
    first, second = first[first != second], second[first != second]
    a, b = (np.tile(np.repeat(x, 3), prompts) for x in (first, second))
    judge = np.tile(np.arange(3), len(first) * prompts)
    odds = np.array([1.8, 1.0, 0.0])[judge] * (np.array(strength)[a] - np.array(strength)[b]) + seat
    won = (rng.random(len(odds)) < 1.0 / (1.0 + np.exp(-odds))).astype(float)
    battles = Battles.of(NAMES, a, b, won, cluster=np.repeat(np.arange(prompts), len(first) * 3))
    return JudgedVotes(battles, judge, JUDGES, {})


def board_of(cast: JudgedVotes, **settings: object) -> Leaderboard:
    board = reliability_board(cast, **settings)  # type: ignore[arg-type]
    assert board.worth is not None
    return board


def test_ranks_tiers_and_differences_come_from_the_joint_covariance() -> None:
    cast = votes([0.8, 0.1, 0.0, -0.9])
    board = board_of(cast)
    spread = fit_reliability(cast.battles, cast.judge, JUDGES).intervals
    assert board.worth is not None
    order = board.worth.order
    assert [row.model for row in board.rows] == [NAMES[n.above] for n in order.neighbours] + ["d"]
    for n in order.neighbours:
        names = NAMES[n.above], NAMES[n.below]
        assert (n.difference, n.lower, n.upper) == pytest.approx(spread.difference(*names), abs=0.02)
        near = spread.difference(*names, level=order.neighbour_level)[1]
        far = spread.difference(*names, level=order.pair_level)[2]
        assert (n.joint_lower, n.joint_upper) == pytest.approx((near, far), abs=0.02)
        assert n.joint_lower < n.lower < n.upper < n.joint_upper
    assert [row.tier for row in board.rows] == [1, 2, 2, 3]
    assert [(row.rank_lower, row.rank_upper) for row in board.rows] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    document = board.to_dict()
    assert document["tiers"] == 3
    assert [one["separated"] for one in document["differences"]] == [True, False, True]
    assert document["rank_percentiles"]["a"] == [1, 1]


def test_judges_have_intervals_that_hold_together_and_agreement() -> None:
    sharp, fair, coin = board_of(votes([0.8, 0.1, 0.0, -0.9])).judges or ()
    for one in (sharp, fair, coin):
        assert one.slope_joint_lower < one.slope_lower < one.slope < one.slope_upper < one.slope_joint_upper
        assert one.seat_joint_lower < one.seat_lower < one.seat < one.seat_upper < one.seat_joint_upper
    assert sharp.agreement > fair.agreement > 0.6
    assert coin.agreement == pytest.approx(0.5, abs=0.06)


def test_the_seat_of_all_votes_and_its_flag() -> None:
    board = board_of(votes([0.3, 0.1, 0.0, -0.4], seat=0.6, prompts=120))
    assert board.worth is not None
    assert board.worth.seat.value == pytest.approx(0.57, abs=0.1)
    assert [flag.name for flag in board.worth.flags] == ["seat"]


def test_what_no_upset_binds_has_no_interval_and_the_others_keep_theirs() -> None:
    cast = votes([0.8, 0.1, 0.0, -0.9])
    table = cast.battles
    score = np.where(table.a == 0, 1.0, np.where(table.b == 0, 0.0, table.score_a))
    board = board_of(replace(cast, battles=replace(table, score_a=score)))
    best, *others = board.rows
    assert (best.model, best.lower, best.upper) == ("a", None, None)
    assert all(row.lower is not None and row.upper is not None for row in others)
    document = board.to_dict()
    assert document["differences"][0]["lower"] is None
    assert document["differences"][-1]["separated"]
    assert document["rank_percentiles"] == dict.fromkeys(NAMES)
