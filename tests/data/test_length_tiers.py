"""Length control: the golden tables, every edge, and a second implementation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.length_tiers import Pick, pick

SCORES, LENGTHS = (4.0, 3.5, 2.0, 1.0, 3.8), (900, 400, 700, 1200, 600)


@pytest.mark.parametrize(
    ("rho", "chosen", "rejected"),
    [(0.0, 0, 3), (0.32, 1, 3), (0.4, 1, 3)],
)
def test_golden(rho: float, chosen: int, rejected: int) -> None:
    assert pick(SCORES, LENGTHS, rho) == Pick(chosen, rejected)


def test_golden_tiers() -> None:
    """Which answers a tier holds, told by making each the shortest (or longest) in turn."""

    def tiers(rho: float) -> tuple[set[int], set[int]]:
        top, bottom = set(), set()
        for i in range(5):
            short, long = ([9] * 5 for _ in range(2))
            short[i], long[i] = 1, 99
            found, other = pick(SCORES, short, rho), pick(SCORES, long, rho)
            assert isinstance(found, Pick)
            assert isinstance(other, Pick)
            top |= {i} if found.chosen == i else set()
            bottom |= {i} if other.rejected == i else set()
        return top, bottom

    assert tiers(0.0) == ({0}, {3})
    assert tiers(0.32) == ({0, 1, 4}, {3})
    assert tiers(0.4) == ({0, 1, 4}, {2, 3})


@pytest.mark.parametrize(
    ("scores", "lengths", "rho", "found"),
    [
        ([3.0], [1], 0.3, "fewer than 2 answers"),
        ([], [], 0.3, "fewer than 2 answers"),
        ([3.0, 3.0, 3.0], [1, 2, 3], 0.3, "equal scores"),
        ([1 / 3 + 1 / 3 + 1 / 3, 1.0], [1, 2], 0.0, "equal scores"),
        ([4.0, 4.0, 1.0], [9, 5, 1], 0.0, Pick(1, 2)),  # several best: the shortest, with rho = 0 too
        ([4.0, 1.0, 1.0], [9, 5, 7], 0.0, Pick(0, 2)),  # several worst: the longest
        ([4.0, 3.9, 1.0, 1.1], [5, 5, 7, 7], 0.2, Pick(0, 2)),  # equally long: the better, the worse
        ([4.0, 4.0, 1.0, 1.0], [5, 5, 7, 7], 0.0, Pick(0, 2)),  # in all equal: the first
        ([5.0, 0.0, 3.0], [9, 1, 2], 0.4, Pick(2, 1)),  # on the bound, whatever the floats say: 3 = .6 · 5 + .4 · 0
        ([0.1 + 0.2, 0.0, 0.21], [9, 1, 2], 0.3, Pick(2, 1)),  # .21 is .7 · (.1 + .2) but for rounding
        ([2.0, 0.0, 1.0], [9, 1, 5], 0.5, "one answer in both tiers"),
    ],
)
def test_edges(scores: list[float], lengths: list[int], rho: float, found: object) -> None:
    assert pick(scores, lengths, rho) == found


def test_tiers_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rho = 0\.6: above 0\.5 the tiers"):
        pick([1.0, 2.0], [1, 2], 0.6)
    with pytest.raises(ValueError, match="overlap"):
        pick([1.0, 2.0], [1, 2], -0.1)
    with pytest.raises(ValueError, match="2 scores, but 1 lengths"):
        pick([1.0, 2.0], [1], 0.0)
    assert pick([5.0, 0.0, 2.6], [9, 1, 5], 0.6, allow_overlap=True) == "one answer in both tiers"
    assert pick([5.0, 0.0, 2.6], [1, 9, 5], 0.6, allow_overlap=True) == Pick(0, 1)


def test_equal_scores_by_their_spread() -> None:
    """As NeMo-Aligner has it: with rho = 0 the answer whose scores vary least stands for its tier."""
    assert pick([4.0, 4.0, 1.0, 1.0], [1, 9, 9, 1], 0.0, spreads=[2.0, 0.5, 0.7, 0.1]) == Pick(1, 3)
    assert pick([4.0, 4.0, 1.0, 1.0], [1, 9, 9, 1], 0.1, spreads=[2.0, 0.5, 0.7, 0.1]) == Pick(0, 2)


ANSWERS = st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 4), st.integers(0, 5)), min_size=2, max_size=7)


@given(ANSWERS, st.sampled_from([0.0, 0.1, 0.25, 0.32, 0.4, 0.5]))
def test_two_implementations_agree(answers: list[tuple[float, int]], rho: float) -> None:
    scores, lengths = zip(*answers, strict=True)
    best, worst = max(scores), min(scores)
    found = pick(scores, lengths, rho)
    if best == worst:
        assert found == "equal scores"
        return
    # the other way about: walk through the answers from the best, and keep the shortest until the tier ends
    chosen = rejected = None
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if (best - scores[i]) / (best - worst) > rho + 1e-9:
            break
        if chosen is None or lengths[i] < lengths[chosen]:
            chosen = i
    for i in sorted(range(len(scores)), key=lambda i: scores[i]):
        if (scores[i] - worst) / (best - worst) > rho + 1e-9:
            break
        if rejected is None or lengths[i] > lengths[rejected]:
            rejected = i
    assert found == ("one answer in both tiers" if chosen == rejected else (chosen, rejected))


@given(ANSWERS, st.sampled_from([0.0, 0.2, 0.4]), st.floats(0.1, 9), st.floats(-5, 5))
def test_another_scale_of_scores_picks_the_same(
    answers: list[tuple[float, int]], rho: float, by: float, plus: float
) -> None:
    scores, lengths = zip(*answers, strict=True)
    assert pick([by * s + plus for s in scores], lengths, rho) == pick(scores, lengths, rho)
