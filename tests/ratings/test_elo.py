from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.elo import battles_to_settle, elo, elo_orders, trajectory


def simulated(battles: int = 4000) -> Battles:
    rng = np.random.default_rng(0)
    truth = np.array([1.0, 0.0, -1.0])
    a = rng.integers(0, 3, battles)
    b = (a + rng.integers(1, 3, battles)) % 3
    won = rng.random(battles) < 1 / (1 + np.exp(truth[b] - truth[a]))
    return Battles.of(list("xyz"), a, b, won, cluster=rng.integers(0, 300, battles))


def test_two_battles_by_hand() -> None:
    # equal at first: +2 and -2 at k = 4; then the favourite, 4 points up, expects 0.5058 and loses
    battles = Battles.of(["p", "q"], [0, 0], [1, 1], [1.0, 0.0])
    expected = 1 / (1 + 10 ** (-4 / 400))
    assert elo(battles) == pytest.approx([1002 - 4 * expected, 998 + 4 * expected])
    assert trajectory(battles, every=1)[1] == pytest.approx([1002, 998])


def test_points_are_conserved_and_the_trajectory_ends_where_elo_does() -> None:
    battles = simulated()
    path = trajectory(battles, every=300)
    assert path.shape == (1 + 14, 3)
    assert path.sum(axis=1) == pytest.approx(np.full(15, 3000))
    assert path[-1] == pytest.approx(elo(battles))


def test_many_orders_agree_with_single_runs() -> None:
    battles = simulated(200)
    order = np.random.default_rng(7).permutation(200)
    shuffled = Battles.of(battles.models, battles.a[order], battles.b[order], battles.score_a[order])
    run = elo_orders(Battles.of(battles.models, battles.a, battles.b, battles.score_a), orders=400, cluster="battle")
    assert run.draws.shape == (400, 3)
    assert run.rating == pytest.approx(elo(shuffled), abs=8)  # orders move a rating by a few points
    assert (run.rating[:-1] > run.rating[1:]).all()


def test_equal_seeds_give_equal_orders_and_prompts_are_resampled_whole() -> None:
    battles = simulated()
    one, same, other = (elo_orders(battles, orders=20, seed=seed) for seed in (1, 1, 2))
    assert (one.draws == same.draws).all()
    assert (one.draws != other.draws).any()
    with pytest.raises(ValueError, match="at least 2"):
        elo_orders(battles, orders=1)
    with pytest.raises(ValueError, match="no prompt ids"):
        elo_orders(Battles.of(["p", "q"], [0], [1], [1]), orders=5)


def test_weights_multiply_k() -> None:
    """Weights of 1 and 3 count as 0.4 and 1.2, so that their sum is Kish's effective number, 4^2 / 10."""
    battles = Battles.of(["p", "q"], [0, 0], [1, 1], [1.0, 1.0], weight=[1.0, 3.0])
    first = 4 * 0.4 / 2
    second = 4 * 1.2 / (1 + 10 ** (2 * first / 400))
    assert elo(battles) == pytest.approx([1000 + first + second, 1000 - first - second])
    lone = Battles.of(["p", "q"], [0], [1], [1.0], weight=[2.0])
    assert elo_orders(lone, orders=3, cluster="battle").rating == pytest.approx([1002, 998])


def test_battles_to_settle_bring_a_model_to_its_strength() -> None:
    """Expected scores against an opponent that stays: 5 % of a small difference are left after as many steps."""
    rating, strength = 0.0, 10.0
    for _ in range(battles_to_settle()):
        rating += 4.0 * (1 / (1 + 10 ** (-strength / 400)) - 1 / (1 + 10 ** (-rating / 400)))
    assert rating == pytest.approx(0.95 * strength, abs=0.02 * strength)
    assert battles_to_settle() == 519
    assert battles_to_settle(k=32) < 70
