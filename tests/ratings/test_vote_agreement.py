"""MT-Bench's setups of agreement."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.ratings.vote_agreement import same_votes, setups

_LABELS = st.lists(st.lists(st.sampled_from([1.0, 1.2, 1.5, 2.0]), max_size=4), min_size=1, max_size=8)


def side(label: float) -> str:
    return "a" if label < 1.5 else "b" if label > 1.5 else "tie"


def counted(pairs: list[tuple[float, float]], ban: tuple[str, ...]) -> tuple[int, int]:
    """Agreeing and all combinations as FastChat counts them: one by one, without those that hold a banned vote."""
    kept = [(side(x), side(y)) for x, y in pairs if side(x) not in ban and side(y) not in ban]
    return sum(x == y for x, y in kept), len(kept)


@given(_LABELS, st.data())
def test_all_combinations_are_counted_alike(humans: list[list[float]], data: st.DataObject) -> None:
    votes = [data.draw(st.lists(st.sampled_from([1.0, 1.5, 2.0]), max_size=3)) for _ in humans]
    for ties, ban in ((True, ()), (False, ("tie",))):
        part, whole = same_votes(votes, humans, ties=ties)
        for i, (mine, theirs) in enumerate(zip(votes, humans, strict=True)):
            assert (part[i], whole[i]) == counted(list(product(mine, theirs)), ban)
        part, whole = same_votes(humans, None, ties=ties)
        for i, theirs in enumerate(humans):
            assert (part[i], whole[i]) == counted(list(combinations(theirs, 2)), ban)


def test_golden() -> None:
    """Judge A, tie; people A A B, tie A: S1 agrees in 2 of 3 and 1 of 2, S2 in 2 of 3 of the first pair alone."""
    votes, humans = [[1.0], [1.5]], [[1.0, 1.0, 2.0], [1.5, 1.0]]
    s1, s2 = setups(votes, humans, np.array([0, 1]), level=0.95)
    assert (s1.value, s1.n) == (100 * 3 / 5, 2)
    assert (round(s2.value or 0, 9), s2.n) == (round(100 * 2 / 3, 9), 1)
    people, sure = setups(humans, None, np.array([0, 1]), level=0.95)
    assert (people.value, people.n, round(sure.value or 0, 9), sure.n) == (25.0, 2, round(100 / 3, 9), 1)
    assert setups([[]], [[1.0]], np.array([0]), level=0.95)[0].value is None
