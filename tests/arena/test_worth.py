"""How the games behind a board are counted for the first seat: by themselves, by prompt, or as pairs of both seats."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.reliability_board import reliability_board
from arenaloop.data.judged_votes import JudgedVotes
from arenaloop.ratings.arrays import sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.seat_effect import SeatEffect, repeats, seat_effect


def games(prompts: int, seats: str, judges: int = 1, seed: int = 0) -> Battles:
    """Three models on each prompt, each pair from both seats or from one that is drawn, by each of some judges."""
    rng = np.random.default_rng(seed)
    one, other = np.tile([0, 0, 1], prompts), np.tile([1, 2, 2], prompts)
    prompt = np.repeat(np.arange(prompts), 3)
    if seats == "both":
        a, b, prompt = np.r_[one, other], np.r_[other, one], np.r_[prompt, prompt]
    else:
        turned = rng.random(len(one)) < 0.5
        a, b = np.where(turned, other, one), np.where(turned, one, other)
    a, b, prompt = (np.tile(column, judges) for column in (a, b, prompt))
    won = rng.random(len(a)) < sigmoid(0.5 * (b - a) + 0.4)
    return Battles.of(list("xyz"), a, b, won.astype(float), cluster=prompt)


def seat(table: Battles, cluster: Literal["prompt", "battle"]) -> SeatEffect:
    board = leaderboard(table, games=table, cluster=cluster)
    assert board.worth is not None
    return board.worth.seat


def numbers(effect: SeatEffect) -> tuple[float | None, ...]:
    return effect.value, effect.lower, effect.upper, effect.error


@pytest.mark.parametrize(
    ("seats", "judges", "cluster", "clustered", "paired"),
    [
        ("seeded", 1, "battle", False, False),
        ("seeded", 1, "prompt", True, False),
        ("seeded", 2, "battle", True, False),  # two verdicts on one battle are no two observations
        ("both", 1, "battle", True, True),
        ("both", 1, "prompt", True, True),
    ],
)
def test_games_are_paired_only_where_both_seats_were_judged(
    seats: str, judges: int, cluster: Literal["prompt", "battle"], clustered: bool, paired: bool
) -> None:
    table = games(40, seats, judges)
    assert repeats(table) == (seats == "both" or judges > 1, paired)
    found = seat(table, cluster)
    assert numbers(found) == numbers(seat_effect(table, fit(table), clustered=clustered, paired=paired))
    other = seat_effect(table, fit(table), clustered=True, paired=not paired)
    assert found.value == other.value
    assert found.upper != other.upper


def test_few_prompts_with_seeded_seats_are_said_to_be_few_prompts() -> None:
    found = seat(games(2, "seeded", judges=12), "prompt")
    assert found.value is not None
    assert found.reason == "fewer than three prompts carry the battles"


def test_seeded_games_that_cancel_out_on_every_prompt_are_said_to() -> None:
    """On each prompt the first seat wins against one opponent and loses against another: each model wins half."""
    a, b = np.tile([0, 2, 0, 2, 1, 3, 1, 3], 5), np.tile([1, 3, 1, 3, 0, 2, 0, 2], 5)
    won = np.tile([1.0, 0.0, 0.0, 1.0], 10)
    found = seat(Battles.of(list("wxyz"), a, b, won, cluster=np.repeat(np.arange(20), 2)), "prompt")
    assert (found.value, found.lower) == (pytest.approx(0.0, abs=1e-9), None)
    assert "cancel out" in found.reason


def test_without_prompts_nothing_is_paired() -> None:
    table = games(40, "both")
    assert repeats(Battles.of(table.models, table.a, table.b, table.score_a)) == (False, False)


SEATS = (0.6, -0.3, 0.0)
"""What the first seat is worth to three judges."""


def alike(prompts: int, seats: str, judges: int, seed: int) -> JudgedVotes:
    """Votes on three models whose texts are equal on 30 % of the prompts, where mostly a tie is seen."""
    table = games(prompts, "seeded")
    rng = np.random.default_rng(seed)
    same = rng.random(len(table)) < 0.3
    # a verdict on equal texts stands for both seats, under the name of model_a
    one, other = np.minimum(table.a, table.b), np.maximum(table.a, table.b)
    a, b, prompt = np.where(same, one, table.a), np.where(same, other, table.b), table.cluster
    assert prompt is not None
    if seats == "both":
        a, b = np.r_[a, b[~same]], np.r_[b, a[~same]]
        prompt, same = np.r_[prompt, prompt[~same]], np.r_[same, same[~same]]
    a, b, prompt, same = (np.tile(column, judges) for column in (a, b, prompt, same))
    judge = np.repeat(np.arange(judges), len(a) // judges)
    apart = np.where(same, 0.0, 0.8 * (b - a))
    won = (rng.random(len(a)) < sigmoid(apart + np.array(SEATS)[judge])).astype(float)
    won[same & (rng.random(len(a)) < 0.8)] = 0.5
    battles = Battles.of(list("xyz"), a, b, won, cluster=prompt)
    return JudgedVotes(battles, judge, tuple("jkl"[:judges]), {}, equal=same)


@pytest.mark.parametrize("seats", ["both", "seeded"])
def test_equal_texts_do_not_draw_the_seat_effect_to_0(seats: str) -> None:
    held, values, before = 0, [], []
    for seed in range(25):
        votes = alike(100, seats, 1, seed)
        found = seat(votes.games, "prompt")
        assert found.value is not None
        assert found.lower is not None
        assert found.upper is not None
        held += found.lower <= SEATS[0] <= found.upper
        values.append(found.value)
        plain = votes.battles
        before.append(seat_effect(plain, fit(plain), clustered=True).value)
    assert held >= 21  # of 23 or 24 expected; fewer with a chance of 1 %
    assert np.mean(values) == pytest.approx(SEATS[0], abs=0.08)
    assert np.mean(before) < 0.8 * SEATS[0]


def test_equal_texts_draw_no_judges_seat_effect_to_0_in_the_joint_fit() -> None:
    held = turned = 0
    for seed in range(15):
        board = reliability_board(alike(80, "both", 3, seed))
        assert board.judges is not None
        for one, true in zip(board.judges, SEATS, strict=True):
            assert one.seat_lower is not None
            assert one.seat_upper is not None
            held += one.seat_lower <= true <= one.seat_upper
        turned += [row.model for row in board.rows] == list("xyz")
    assert held >= 39  # of 42 or 43 expected
    assert turned == 15  # ratings are not of the seat: x is the best
