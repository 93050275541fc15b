"""What prompts are worth, and which models they bind together, by their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.ratings import clusters
from arenaloop.ratings.battles import Battles
from arenaloop.ratings.clusters import bound_groups, effective_clusters, worth_inside

MODELS = 6


def table(pairs: list[tuple[int, int]], prompts: list[int], weight: list[float] | None = None) -> Battles:
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    names = [f"m{code}" for code in range(MODELS)]
    return Battles.of(names, a, b, np.full(len(pairs), 0.5), cluster=np.array(prompts), weight=weight)


def bound_by_definition(battles: Battles) -> np.ndarray:
    """Two models are bound where each cut between them is crossed by three prompts or more: all cuts are tried."""
    bound = np.ones((MODELS, MODELS), dtype=bool)
    for size in range(1, MODELS):
        for side in itertools.combinations(range(MODELS), size):
            inside = np.isin(np.arange(MODELS), side)
            crossing = inside[battles.a] != inside[battles.b]
            assert battles.cluster is not None
            if len(set(battles.cluster[crossing].tolist())) < 3:
                bound &= inside[:, None] == inside[None, :]
    return bound


PAIRS = st.lists(st.tuples(st.integers(0, MODELS - 1), st.integers(1, MODELS - 1)), min_size=1, max_size=40).map(
    lambda drawn: [(a, (a + step) % MODELS) for a, step in drawn]
)


@settings(max_examples=25, deadline=None)
@given(pairs=PAIRS)
def test_groups_are_those_that_no_cut_of_two_prompts_divides(pairs: list[tuple[int, int]]) -> None:
    battles = table(pairs, list(range(len(pairs))))
    group = bound_groups(battles)
    assert ((group[:, None] == group[None, :]) == bound_by_definition(battles)).all()
    assert (group <= np.arange(MODELS)).all()  # each is known by its first model


def test_many_battles_of_many_pairs_on_one_prompt_bind_no_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = [(0, 1), (1, 2), (0, 2)] * 4
    pairs = [*inner, *((a + 3, b + 3) for a, b in inner), *itertools.product(range(3), range(3, 6))]
    battles = table(pairs, [*range(24), *[24] * 9])
    assert bound_groups(battles).tolist() == [0, 0, 0, 3, 3, 3]
    monkeypatch.setattr(clusters, "_FIRST", 3)  # a part of the battles is looked at before
    assert bound_groups(battles).tolist() == [0, 0, 0, 3, 3, 3]
    # what weighs nothing binds nothing
    assert bound_groups(table(pairs, list(range(33)))).tolist() == [0] * 6
    assert bound_groups(table(pairs, list(range(33)), [1.0] * 24 + [0.0] * 9)).tolist() == [0, 0, 0, 3, 3, 3]


def test_prompts_are_worth_what_they_carry_and_inside_a_group_only_its_own() -> None:
    pairs = [(0, 1)] * 4 + [(2, 3)] * 3 + [(0, 2)] * 50
    battles = table(pairs, [0, 1, 2, 3, 4, 5, 6, *[7] * 50])
    worth = effective_clusters(battles, "prompt")
    assert worth[:4] == pytest.approx([54**2 / (4 + 50**2), 4.0, 53**2 / (3 + 50**2), 3.0])
    assert worth_inside(battles, bound_groups(battles), worth)[:4] == pytest.approx([4.0, 4.0, 3.0, 3.0])
