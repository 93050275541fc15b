"""Boards with one thing wrong raise the one flag that names it, and a fair board none."""

from __future__ import annotations

import numpy as np
import pytest
from board_worlds import PLANTED, planted

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.ratings.battles import Battles


def flags(battles: Battles, ties: str = "half") -> dict[str, str]:
    worth = leaderboard(battles, ties=ties).worth
    assert worth is not None
    return {flag.name: flag.text for flag in worth.flags}


@pytest.mark.parametrize("board", PLANTED)
@pytest.mark.parametrize("seed", [1001, 1002])
def test_a_planted_board_raises_its_flag_and_no_other(board: str, seed: int) -> None:
    assert list(flags(planted(board, seed).battles())) == [name for name in [PLANTED[board]] if name]


def test_flags_say_what_was_found() -> None:
    told = {board: flags(planted(board, 1001).battles()).get(flag or "", "") for board, flag in PLANTED.items()}
    assert "the first seat is worth 0." in told["first seat favoured"]
    assert "where ties are left out, model-" in told["draw-prone model"]
    assert "is above model-f" in told["draw-prone model"]
    circle = told["rock, paper, scissors"]
    assert "beats model-b, model-b beats model-c and model-c beats model-a" in circle or "beyond doubt" in circle
    assert "2 groups never met" in told["two pools"]
    assert "busiest 1 % of the voters decided" in told["power voters"]
    assert "points apart, or more, to be told apart" in told["thin"]


def test_who_voted_is_needed_to_see_power_voters_and_ties_that_are_left_out_turn_nothing() -> None:
    assert flags(planted("power voters", 1001).battles(people=False)) == {}
    dropped = flags(planted("draw-prone model", 1001).battles(), ties="drop")
    assert list(dropped) == ["ties"]
    assert "where ties count as half wins" in dropped["ties"]


def test_a_circle_of_a_few_voters_is_no_circle_of_all() -> None:
    """Six people with tastes of their own make circles that would be beyond doubt among independent votes."""
    rng = np.random.default_rng(5)
    votes = planted("even", 5)
    battles = votes.battles()
    busy = np.arange(len(battles)) % 2 == 0
    taste = rng.normal(0.0, 3.0, (6, 6))
    voter = np.where(busy, rng.integers(0, 6, len(battles)), battles.voter)
    apart = taste[voter % 6, battles.a] - taste[voter % 6, battles.b]
    score = np.where(busy, (rng.random(len(battles)) < 1 / (1 + np.exp(-apart))).astype(float), battles.score_a)
    found = flags(Battles.of(battles.models, battles.a, battles.b, score, cluster=battles.cluster, voter=voter))
    assert "power_voters" in found
    assert "cycles" not in found
