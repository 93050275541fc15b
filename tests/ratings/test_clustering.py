"""What is taken for independent: the most cautious of what the columns name."""

from __future__ import annotations

import numpy as np
import pytest
from board_worlds import LADDER, planted, votes

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.clustering import choose_cluster


def suited(seed: int = 0) -> Battles:
    """120 prompts that suit models by a nat each, 300 voters without tastes of their own."""
    rng = np.random.default_rng(seed)
    return votes(LADDER, 2400, rng, prompts=120, suits=1.0).battles()


def test_the_wider_of_prompts_and_voters_is_taken() -> None:
    assert choose_cluster(suited(), None).cluster == "prompt"
    found = choose_cluster(planted("power voters", 3).battles(), None)
    assert found.cluster == "voter"
    assert found.battles.clusters == 300
    assert "wider than by prompt" in found.notes[0]
    ratio, busiest = found.power_voters
    assert ratio > 1.3
    assert busiest == pytest.approx(3 * (1 / 3 / 6 + 2 / 3 / 300), rel=0.2)  # three of 300 voters


def test_what_is_asked_for_is_taken_and_what_is_not_there_refused() -> None:
    battles = planted("power voters", 3).battles()
    for cluster in ("prompt", "battle", "voter"):
        assert choose_cluster(battles, cluster).cluster == cluster
    assert choose_cluster(planted("even", 3).battles(prompts=False), None).cluster == "voter"
    bare = planted("even", 3).battles(people=False, prompts=False)
    chosen = choose_cluster(bare, None)
    assert (chosen.cluster, chosen.power_voters) == ("battle", None)
    assert chosen.notes == ("no prompt_id: intervals take every battle as independent",)
    for cluster, missing in (("prompt", "no prompt_id"), ("voter", "no voter")):
        with pytest.raises(ValueError, match=missing):
            choose_cluster(bare, cluster)


def test_a_few_voters_are_not_clustered_by_unless_asked_to() -> None:
    battles = planted("even", 4).battles(prompts=False)
    few = Battles.of(battles.models, battles.a, battles.b, battles.score_a, voter=battles.voter % 5)
    chosen = choose_cluster(few, None)
    assert chosen.cluster == "battle"
    assert "5 voters are too few to cluster by" in chosen.notes[0]
    board = leaderboard(few, cluster="voter")
    assert board.cluster == "voter"
    assert all(row.lower is not None for row in board.rows)
    two = Battles.of(battles.models, battles.a, battles.b, battles.score_a, voter=battles.voter % 2)
    assert any("too few voters for an interval" in note for note in leaderboard(two, cluster="voter").notes)


def test_a_voter_of_one_vote_each_is_every_battle_on_its_own() -> None:
    battles = planted("even", 6).battles(prompts=False)
    own = Battles.of(battles.models, battles.a, battles.b, battles.score_a, voter=np.arange(len(battles)))
    by_voter, alone = leaderboard(own, cluster="voter"), leaderboard(own, cluster="battle")
    for row in by_voter.rows:
        assert row.upper - row.lower == pytest.approx(alone[row.model].upper - alone[row.model].lower, rel=0.01)
