"""Sample sizes: what is promised is kept, and a guess is told as a range."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.bradley_terry import fit
from arenaloop.ratings.intervals import sandwich
from arenaloop.ratings.power import prompts_to_separate


def drawn(gap: float, prompts: int, seed: int) -> Battles:
    """Everybody against everybody on each prompt; m0 is `gap` nats above m1, and prompts suit models by sd 0.5."""
    strength = np.array([gap / 2, -gap / 2, 0.0, 0.1, -0.1, 0.2])
    rng = np.random.default_rng(seed)
    pairs = np.array([(p, i, j) for p in range(prompts) for i, j in itertools.combinations(range(6), 2)])
    prompt, a, b = pairs.T
    suits = rng.normal(0.0, 0.5, (prompts, 6))
    odds = strength[a] - strength[b] + suits[prompt, a] - suits[prompt, b]
    won = (rng.random(len(a)) < 1.0 / (1.0 + np.exp(-odds))).astype(float)
    return Battles.of([f"m{i}" for i in range(6)], a, b, won, cluster=prompt)


@pytest.mark.parametrize("gap", [2.0, 1.2, 0.8])
def test_small_samples_keep_the_promised_power(gap: float) -> None:
    """With normal quantiles in place of Student's, 6, 13 and 26 prompts were promised, and kept 0.73 to 0.75."""
    big = drawn(gap, 20_000, 1)
    promised = prompts_to_separate(sandwich(big, fit(big)), "m0", "m1")
    assert promised.needed is not None
    separated = []
    for seed in range(300):
        few = drawn(gap, promised.needed, 100 + seed)
        separated.append(sandwich(few, fit(few)).difference("m0", "m1")[1] > 0)
    assert 0.76 < np.mean(separated) < 0.93  # 0.8 and more, less 1.7 standard errors of 300 trials


def test_the_range_holds_the_guess_and_is_open_where_the_sign_is_not_clear() -> None:
    clear = drawn(1.2, 300, 3)
    told = prompts_to_separate(sandwich(clear, fit(clear)), "m0", "m1")
    assert told.fewest is not None
    assert told.needed is not None
    assert told.most is not None
    assert told.fewest < told.needed < told.most
    assert told.fewest >= 2
    vague = prompts_to_separate(sandwich(clear, fit(clear)), "m3", "m5")
    assert vague.needed is not None
    assert vague.most is None or vague.most > vague.needed
    close = drawn(0.0, 41, 5)
    assert prompts_to_separate(sandwich(close, fit(close)), "m2", "m3", power=0.3).fewest is not None
