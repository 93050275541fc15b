"""What a test set draws: shares worked out by hand, and what holds of every draw."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.arena.test_set import drawn, hardest, shares


def test_shares_worked_by_hand() -> None:
    """Ten clusters of WizardArena's kind; small ones give all, and the largest make up for them by turns."""
    assert shares([9, 9, 9], 6) == [2, 2, 2]
    # two of each: 1 + 2 + 2 + 2 = 7, one is missing and comes of the largest
    assert shares([1, 5, 9, 3], 8) == [1, 2, 3, 2]
    # three are missing: one each of the largest, the second and the third largest
    assert shares([0, 1, 9, 8], 8) == [0, 1, 4, 3]
    assert shares([1, 0, 2, 9], 12) == [1, 0, 2, 9]
    # fewer than clusters: none of each, one of the largest; of equal ones the earlier
    assert shares([4, 7, 7, 5], 2) == [0, 1, 1, 0]
    assert shares([4, 4, 4], 1) == [1, 0, 0]
    with pytest.raises(ValueError, match="5 of 4"):
        shares([2, 2], 5)


def test_the_papers_sizes() -> None:
    """500 clusters: 2 of each are 1,000 diverse prompts, 20 of each the 10,000 that are rated."""
    assert shares([600] * 500, 1000) == [2] * 500
    assert shares([600] * 500, 10_000) == [20] * 500


@given(st.lists(st.integers(0, 12), min_size=1, max_size=9), st.data())
def test_shares_are_as_even_as_the_sizes_allow(sizes: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(0, sum(sizes)))
    given_ = shares(sizes, n)
    assert sum(given_) == n
    each = n // len(sizes)
    assert all(min(size, each) <= share <= size for size, share in zip(sizes, given_, strict=True))
    turns = [share - min(size, each) for size, share in zip(sizes, given_, strict=True)]
    for one, other in permutations(range(len(sizes)), 2):
        if given_[other] < sizes[other] and turns[one] > turns[other]:  # the other could still give: its turn is next
            assert turns[one] == turns[other] + 1
            assert (-sizes[one], one) < (-sizes[other], other)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_a_draw_depends_on_the_seed_and_the_prompts_alone(
    labels: list[int], seed: int, random: object, data: st.DataObject
) -> None:
    ids = [f"{n:04x}" for n in range(len(labels))]
    without = data.draw(st.sets(st.sampled_from(ids)))
    n = data.draw(st.integers(0, len(ids) - len(without)))
    found = drawn(ids, np.array(labels, np.int32), n, seed, "diverse", without)
    assert found == sorted(set(found))
    assert len(found) == n
    assert not without & {ids[at] for at in found}
    order = list(range(len(ids)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = np.array([labels[at] for at in order], np.int32)
    again = drawn([ids[at] for at in order], shuffled, n, seed, "diverse", without)
    assert {ids[order[at]] for at in again} == {ids[at] for at in found}


def test_other_seeds_and_other_draws_draw_others() -> None:
    ids, labels = [str(n) for n in range(400)], np.zeros(400, np.int32)
    one, two, hard = (
        set(drawn(ids, labels, 40, seed, what)) for seed, what in ((0, "diverse"), (1, "diverse"), (0, "hard"))
    )
    assert all(0 < len(one & other) < 20 for other in (two, hard))  # 4 are expected by chance
    counts: Counter[int] = Counter()
    for seed in range(200):
        counts.update(drawn(ids[:10], labels[:10], 3, seed, "diverse"))
    assert all(35 <= counts[at] <= 90 for at in range(10))  # 60 each are expected; four standard deviations


def test_the_hardest_with_ties_at_the_cut_and_without_what_could_not_be_rated() -> None:
    rated = {"a": 9.0, "b": None, "c": 7.5, "d": 7.5, "e": 7.5, "f": 2.0}
    for seed in range(8):
        assert hardest(rated, 1, seed) == ["a"]
        assert sorted(hardest(rated, 4, seed)) == ["a", "c", "d", "e"]
        assert hardest(rated, 99, seed)[-1] == "f"
        assert len(hardest(rated, 99, seed)) == 5
    tied = {hardest(rated, 2, seed)[1] for seed in range(20)}
    assert tied == {"c", "d", "e"}
    assert hardest(dict(reversed(rated.items())), 3, 5) == hardest(rated, 3, 5)
