"""Battles of one pair on one prompt, as units."""

from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.battles import Battles
from arenaloop.ratings.units import pair_units, repeats_of_pairs


def test_units_are_prompts_of_a_pair_whatever_the_seat() -> None:
    battles = Battles.of(["x", "y"], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0.5, 0], cluster=[0, 0, 1, 2])
    every = np.ones((2, 2), dtype=bool)
    assert pair_units(battles, "prompt", every, np.ones((2, 2)))[0, 1] == pytest.approx(1.5)
    assert pair_units(battles, "battle", every, np.ones((2, 2)))[0, 1] == pytest.approx(2.5)


@pytest.mark.parametrize(("weight", "more"), [(None, 6 / 8), ([3.0, 1, 1, 1, 1, 1, 1, 1], 10 / 16)])
def test_repeats_add_the_products_of_the_weights_on_a_prompt(weight: list[float] | None, more: float) -> None:
    """Of eight battles three pairs share a prompt: 8 and 6 for what they share; with one weight of 3, 16 and 10."""
    prompts = [0, 0, 1, 1, 2, 2, 3, 4]
    battles = Battles.of(["x", "y", "z"], [0, 1] * 4, [1, 0] * 4, [1, 0] * 4, cluster=prompts, weight=weight)
    found = repeats_of_pairs(battles, np.ones((3, 3), dtype=bool))
    assert found[0, 1] == found[1, 0] == pytest.approx(more)
    assert found[:2, 2].tolist() == [0, 0]
    assert not repeats_of_pairs(battles, np.zeros((3, 3), dtype=bool)).any()
