"""Evaluator metrics: the worked example, its edge cases, and what must hold for any votes."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.ratings.agreement import cohen_kappa
from arenaloop.ratings.evaluator import (
    Evaluation,
    Labels,
    Panel,
    Votes,
    between,
    error,
    evaluate,
    evaluate_humans,
    modes,
    weights_from_agreement,
)
from arenaloop.ratings.rates import Rate


def panel(
    humans: list[Labels],
    *,
    length: list[tuple[int, int]] | None = None,
    lists: list[tuple[bool, bool]] | None = None,
    generators: list[tuple[int, int]] | None = None,
) -> Panel:
    """Pairs on different prompts, of one length and without lists unless told otherwise."""
    size = len(humans)
    return Panel(
        np.arange(size),
        humans,
        np.array(length or [(100, 100)] * size, dtype=float).reshape(-1, 2),
        np.array(lists or [(False, False)] * size, dtype=bool).reshape(-1, 2),
        None if generators is None else np.array(generators),
    )


def votes(merged: list[Labels], *, deterministic: bool = False) -> Votes:
    """A judge that was asked once a vote, about the merged label alone."""
    nothing: list[Labels] = [()] * len(merged)
    return Votes(merged, nothing, merged, [()] * len(merged), deterministic)


HUMANS: list[Labels] = [(1, 1, 1, 2), (2, 2, 2, 2), (1, 2, 2, 2)]
JUDGE: list[Labels] = [(1, 1, 1, 1), (2, 2, 1, 2), (1, 1, 1, 2)]


def test_golden_e3() -> None:
    """Derived by hand: A 1111, B 2212, C 1112 against humans A 1112, B 2222, C 1222."""
    found = evaluate(panel(HUMANS), votes(JUDGE))
    assert found.agreement.value == pytest.approx(100 * 8 / 12)
    assert found.bias.value == pytest.approx(100 / 3)
    assert found.variance.value == pytest.approx(100 / 6)
    people = evaluate_humans(panel(HUMANS))
    assert people.agreement.value == pytest.approx(100 * 10 / 12)
    assert people.variance.value == pytest.approx(100 * 2 / 12)
    assert (found.pairs, found.votes, people.pairs, people.votes) == (3, 12, 3, 12)


def test_leave_one_out_makes_a_judge_and_people_comparable() -> None:
    """A judge whose votes are a copy of the people's own agrees with all of them, and with all but one less."""
    found = evaluate(panel([(1, 1, 2)]), votes([(1,)]))
    # against the mode of all: 1. Against the others: {1, 2} tied twice (0.5 each), {1, 1} once (1.0).
    assert found.agreement.value == 100.0
    assert found.agreement_leave_one_out.value == pytest.approx(100 * (0.5 + 0.5 + 1.0) / 3)


def test_one_human_label_is_enough_for_agreement_and_tells_no_ceiling() -> None:
    given = panel([(1,), (2,), (1,), (2,)])
    found, people = evaluate(given, votes([(1,), (2,), (2,), (1.5,)])), evaluate_humans(given)
    assert found.agreement.value == pytest.approx(100 * (1 + 1 + 0 + 0.5) / 4)
    assert found.agreement.n == 4
    assert found.agreement.lower is not None
    assert found.agreement.upper is not None
    assert 0 < found.agreement.lower < 62.5 < found.agreement.upper < 100
    assert people.agreement == people.variance == Rate(None)
    assert found.agreement_leave_one_out.value is None
    assert people.alpha is None


def test_tied_modes_count_on_average() -> None:
    assert set(modes((1.0, 2.0))) == {1.0, 2.0}
    assert error((1.0,), modes((1.0, 2.0))) == error((2.0,), modes((1.0, 2.0))) == 0.5
    assert modes((1.0, 1.25, 2.0)) == (1.25,)  # soft labels have a median
    assert evaluate(panel([(1, 2)]), votes([(1,)])).agreement.value == 50.0


def test_a_fixed_rule_has_no_variance_and_a_single_vote_tells_none() -> None:
    fixed = evaluate(panel(HUMANS), votes([(1,), (2,), (1,)], deterministic=True))
    assert fixed.variance.value == 0.0
    assert fixed.bias.value == pytest.approx(100 / 3)
    once = evaluate(panel(HUMANS), votes([(1,), (2,), (1,)]))
    assert once.variance.value is None
    assert once.bias.value is None


def test_unequal_votes_are_cut_to_the_fewest() -> None:
    """Three votes on one pair, two on another, one on a third: two are used, and the third pair tells no variance."""
    found = evaluate(panel([(1,), (1,), (1,)]), votes([(1, 2, 2), (1, 1), (2,)]))
    assert found.variance.value == pytest.approx(50.0)
    assert found.variance.n == 2
    assert found.votes == 6


def test_preferences_leave_ties_and_near_lengths_out() -> None:
    found = evaluate(
        panel(
            [(1,)] * 5,
            length=[(10, 100), (100, 10), (10, 40), (10, 100), (10, 100)],
            lists=[(True, False), (False, True), (True, True), (False, False), (True, False)],
        ),
        votes([(2,), (2,), (2,), (1.5,), (1,)]),
    )
    # decided and more than 30 characters apart: 2 is longer and wins; 1 is longer and loses; shorter wins
    assert found.longer.value == pytest.approx(1 / 3)
    assert found.longer.n == 3
    # exactly one list: lost, won, won
    assert found.lists.value == pytest.approx(2 / 3)
    assert found.first_output.value == pytest.approx((0 + 0 + 0 + 0.5 + 1) / 5)


def test_kappa_is_cohens() -> None:
    rng = np.random.default_rng(1)
    mine = rng.choice([1.0, 1.5, 2.0], 60)
    theirs = np.where(rng.random(60) < 0.5, mine, rng.choice([1.0, 1.5, 2.0], 60))
    found = evaluate(panel([(float(x),) for x in theirs]), votes([(float(x),) for x in mine]))
    assert found.kappa.value == pytest.approx(cohen_kappa(list(mine), list(theirs)))
    assert found.kappa.lower is not None
    assert found.kappa.upper is not None
    assert found.kappa.lower < found.kappa.value < found.kappa.upper
    # linear weights forgive a tie half: worked by hand on a small table
    two = evaluate(panel([(1,), (2,), (1,), (2,)]), votes([(1,), (2,), (1.5,), (2,)]))
    # observed disagreement 0.5 / 4; expected 0.5·(1/4·0 + 1/4·0.5 + 1/2·1) + 0.5·(1/4·1 + 1/4·0.5 + 1/2·0) = 0.5
    assert two.kappa_linear.value == pytest.approx(1 - 0.125 / 0.5)


def test_tied_modes_are_a_tie_in_kappa_whatever_is_tied() -> None:
    people: list[Labels] = [(1.0, 1.5), (1.5, 2.0), (1.0, 2.0), (1.0, 1.0), (2.0, 2.0)]
    found = evaluate(panel(people), votes([(1.5,), (1.5,), (1.5,), (1.0,), (2.0,)]))
    assert (found.kappa.value, found.kappa_linear.value) == (1.0, 1.0)


def test_correlation_over_generators() -> None:
    """Three generators with known win rates by people and judge; ranks agree, values nearly."""
    humans: list[Labels] = []
    merged: list[Labels] = []
    who: list[tuple[int, int]] = []
    for generator, (people, judge) in {1: (2, 3), 2: (5, 5), 3: (8, 9)}.items():
        for i in range(10):
            humans.append((2.0 if i < people else 1.0,))
            merged.append((2.0 if i < judge else 1.0,))
            who.append((0, generator))
    given = panel(humans, generators=who)
    found = evaluate(given, votes(merged), min_rows=9)
    # generator 0 was in all 30 pairs: people 15/30, judge 13/30
    x, y = [3, 5, 9, 13 / 3], [2, 5, 8, 5]
    assert found.generators == 4
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    # ranks of x: 1 3 4 2; of y: 1 2.5 4 2.5
    assert found.spearman == pytest.approx(np.corrcoef([1, 3, 4, 2], [1, 2.5, 4, 2.5])[0, 1])
    assert evaluate(given, votes(merged)).spearman is None  # no more than 100 rows each


def test_between_is_symmetric_and_knows_itself() -> None:
    one: list[Labels] = [(1, 1), (1, 2), (2, 2)]
    two: list[Labels] = [(1, 1), (1, 1), (1, 1)]
    cluster = np.arange(3)
    there, back = between(one, two, cluster), between(two, one, cluster)
    assert there.agreement.value == back.agreement.value == pytest.approx(50.0)
    itself = between(one, one, cluster, same=True)
    assert itself.agreement.value == pytest.approx(100 * (1 + 0 + 1) / 3)


LABEL = st.sampled_from([1.0, 1.5, 2.0]) | st.floats(1, 2)
LABELS = st.lists(LABEL, max_size=4).map(tuple)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(LABELS, LABELS, st.booleans(), st.integers(0, 90)), max_size=12), st.booleans())
def test_nothing_is_ever_nan(rows: list[tuple[Labels, Labels, bool, int]], fixed: bool) -> None:
    humans, merged = [r[0] for r in rows], [r[1][:1] if fixed else r[1] for r in rows]
    given = panel(
        humans,
        length=[(40, r[3]) for r in rows],
        lists=[(r[2], False) for r in rows],
        generators=[(0, 1)] * len(rows),
    )
    if not rows:
        given = Panel(np.zeros(0, dtype=int), [], np.zeros((0, 2)), np.zeros((0, 2), dtype=bool))
    found = evaluate(given, votes(merged, deterministic=fixed), samples=20, min_rows=0)
    for one in (*_rates(found), *_rates(evaluate_humans(given))):
        for value in (one.value, one.lower, one.upper, one.standard_error):
            assert value is None or math.isfinite(value)
        if one.value is not None and one.lower is not None and one.upper is not None and one is not found.kappa:
            assert one.lower - 1e-9 <= one.upper
    assert found.agreement.value is None or 0 <= found.agreement.value <= 100


def _rates(record: object) -> list[Rate]:
    return [v for f in fields(record) if isinstance(v := getattr(record, f.name), Rate)]  # type: ignore[arg-type]


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8))
def test_swapping_the_columns_changes_no_agreement(rows: list[tuple[Labels, Labels]]) -> None:
    def turned(labels: list[Labels]) -> list[Labels]:
        return [tuple(3.0 - x for x in one) for one in labels]

    humans, merged = [r[0] for r in rows], [r[1] for r in rows]
    a: Evaluation = evaluate(panel(humans), votes(merged), samples=10)
    b = evaluate(panel(turned(humans)), votes(turned(merged)), samples=10)
    for name in ("agreement", "bias", "variance", "agreement_leave_one_out"):
        assert getattr(a, name).value == pytest.approx(getattr(b, name).value, abs=1e-6)
    if a.first_output.value is not None:
        assert b.first_output.value == pytest.approx(1 - a.first_output.value)


def test_weights_tell_judges_apart_only_where_the_data_do() -> None:
    alike = weights_from_agreement({"a": (20, 28), "b": (19, 28)})
    assert alike["a"] == alike["b"] > 0
    apart = weights_from_agreement({"good": (900, 1000), "fair": (600, 1000), "bad": (300, 1000)})
    assert apart["good"] > apart["fair"] > 0
    assert apart["bad"] == 0.0
    assert apart["good"] == pytest.approx(math.log(9), abs=0.05)  # the log odds, with much data
    assert weights_from_agreement({}) == {}
    assert weights_from_agreement({"a": (3, 3), "b": (0, 0)})["a"] < math.inf


def test_averaging_over_tied_modes_is_what_drawing_them_comes_to() -> None:
    """A second implementation: AlpacaEval's, which draws among tied modes, over many draws."""
    rng = np.random.default_rng(5)
    humans: list[Labels] = [tuple(float(x) for x in rng.choice([1.0, 2.0], 4)) for _ in range(12)]
    judge: list[Labels] = [tuple(float(x) for x in rng.choice([1.0, 1.5, 2.0], 4)) for _ in range(12)]

    def drawn(labels: Labels) -> float:
        counts = {x: labels.count(x) for x in labels}
        return float(rng.choice([x for x, n in counts.items() if n == max(counts.values())]))

    draws = 3000
    agreement = bias = variance = 0.0
    for _ in range(draws):
        for mine, theirs in zip(judge, humans, strict=True):
            truth = drawn(theirs)
            agreement += sum(1 - abs(vote - truth) for vote in mine) / 4
            bias += abs(drawn(mine) - truth)
            variance += sum(abs(mine[i] - drawn(mine[:i] + mine[i + 1 :])) for i in range(4)) / 4
    found = evaluate(panel(humans), votes(judge), samples=10)
    for rate, total in ((found.agreement, agreement), (found.bias, bias), (found.variance, variance)):
        assert rate.value == pytest.approx(100 * total / (12 * draws), abs=0.6)
