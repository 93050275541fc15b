"""The simulated world of the consistency study is what it says it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from consistency_arena import Setting, chosen, offline, rated
from consistency_sandbox import drawn, players
from consistency_world import Judge, World, agreement, answered, chances, judged, truth, vote, voted

from arenaloop.ratings.bradley_terry import ELO_PER_NAT
from arenaloop.sandbox.tasks import draw

RIGHT = Judge(noise=0.0, seat=0.0, unparsed=0.0, step=1e-3)


@pytest.fixture
def world() -> World:
    return World.draw(np.random.default_rng(0), 6)


def test_chances_are_what_votes_come_to(world: World) -> None:
    """The quadrature over the stream, and people's votes on prompts that are drawn from it."""
    expected = chances(world)
    assert expected + expected.T == pytest.approx(np.ones((6, 6)))
    board = rated(voted(np.random.default_rng(1), world, 400_000), Setting(interval="battle"))
    strength = ELO_PER_NAT * truth(world)
    assert board.rating == pytest.approx(strength, abs=3 * (board.upper - board.lower).max() / 2)
    said = answered(np.random.default_rng(2), world, 40_000, "stream").points
    for i, j in ((0, 1), (2, 5)):
        p, tie = vote(said[:, i].astype(np.float64) - said[:, j])
        assert float((p * (1.0 - tie) + tie / 2.0).mean()) == pytest.approx(expected[i, j], abs=0.008)


def test_a_judge_without_fault_names_the_better_answer_and_leaves_no_pair_wrong(world: World) -> None:
    said = answered(np.random.default_rng(3), world, 200, "stream")
    said = said._replace(points=np.clip(said.points, 1.0, 10.0))
    assert agreement(said, judged(np.random.default_rng(4), RIGHT, said, "both", 0)) == 1.0


def test_a_seat_goes_to_whom_it_is_given(world: World) -> None:
    """A judge of seats alone: even from both, the first one's from one."""
    said = answered(np.random.default_rng(5), world, 400, "diverse")
    said = said._replace(points=np.full_like(said.points, 5.0))
    seated = replace(RIGHT, seat=1.0)
    scores = {s: judged(np.random.default_rng(6), seated, said, s, 0).score.mean() for s in ("both", "drawn", "first")}
    assert scores["both"] == 0.5
    assert scores["first"] == 1.0
    assert scores["drawn"] == pytest.approx(0.5, abs=0.03)


def test_a_longer_answer_and_a_favourite_gain(world: World) -> None:
    said = answered(np.random.default_rng(7), world, 400, "diverse")
    plain = judged(np.random.default_rng(8), Judge(), said, "both", 0)
    wordy = judged(np.random.default_rng(8), Judge(length=4.0), said, "both", 0)
    longer = plain.longer > 0.2
    assert np.nanmean(wordy.score[longer]) > np.nanmean(plain.score[longer]) + 0.05
    kin = judged(np.random.default_rng(8), Judge(favour=1.0), said, "both", 0)
    blind = judged(np.random.default_rng(8), Judge(blind=0.9), said, "both", 0)
    for better in (kin, blind):  # the first five pairs are those of model 0
        assert np.nanmean(better.score[:, :5]) > np.nanmean(plain.score[:, :5]) + 0.03
        assert np.array_equal(better.score[:, 5:], plain.score[:, 5:], equal_nan=True)


def test_hard_prompts_drive_answers_apart(world: World) -> None:
    easy, hard = (answered(np.random.default_rng(9), world, 500, choice).points for choice in ("diverse", "hard"))
    assert hard.std(axis=1).mean() > 1.2 * easy.std(axis=1).mean()
    assert hard.mean() < easy.mean()


@pytest.mark.parametrize("design", ["balanced", "optimal"])
def test_a_budget_buys_that_many_battles(world: World, design: str) -> None:
    setting = Setting(models=6, prompts=100, battles=500, design=design, judge=Judge(unparsed=0.0))
    said = answered(np.random.default_rng(10), world, 100, "diverse")
    battles = chosen(setting, world, judged(np.random.default_rng(11), setting.judge, said, "both", 0), 0)
    assert len(battles) == 500
    cells = np.unique(np.stack([battles.a, battles.b, battles.cluster]), axis=1)
    assert cells.shape[1] == 500  # no pair twice on a prompt


def test_every_interval_rates_the_same_arena(world: World) -> None:
    boards = {
        (interval, anchored): offline(np.random.default_rng(12), setting, world, 0)[0]
        for interval in ("prompt", "battle", "resampled prompts", "resampled battles")
        for anchored in (False, True)
        for setting in [Setting(models=6, prompts=100, interval=interval, anchored=anchored)]
    }
    plain = boards["prompt", False]
    for (_, anchored), board in boards.items():
        assert board.rating - board.rating[0] == pytest.approx(plain.rating - plain.rating[0])
        assert (board.lower[0] == board.rating[0] == board.upper[0] == 0.0) == anchored
    width = {kind: (board.upper - board.lower).mean() for kind, board in boards.items()}
    assert width["battle", False] < 0.8 * width["prompt", False]
    assert width["resampled battles", False] == pytest.approx(width["battle", False], rel=0.15)
    assert width["resampled prompts", False] == pytest.approx(width["prompt", False], rel=0.15)


def test_equal_texts_of_the_sandbox_tie() -> None:
    crowd = players(np.random.default_rng(13), 3)
    for player in crowd:
        player.skills = dict.fromkeys(player.skills, 1.0)
    board, value = drawn(np.random.default_rng(14), crowd, draw(20, 0, "dev"))
    assert (value == 1.0).all()
    assert board.rating.tolist() == [0.0, 0.0, 0.0]
