"""Both seats become one battle."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.jury import merge_members
from arenaloop.judges.seats import merge_pair, merge_seats
from arenaloop.types import Battle, Outcome, Status, Verdict


def verdict(first: float | None, second: float | None, key: str = "k", **fields: Any) -> Verdict:
    """A verdict with these scores; None makes it a failed one."""
    if first is None or second is None:
        return Verdict(key, "p", "f", "s", "judge", fields.get("status", Status.UNPARSED))
    outcome = Outcome.from_scores(first, second)
    return Verdict(key, "p", "f", "s", "judge", Status.OK, score_first=first, score_second=second, outcome=outcome)


def label(outcome: Outcome, key: str = "k") -> Verdict:
    """A verdict of a judge that only names a winner."""
    return Verdict(key, "p", "f", "s", "judge", Status.OK, outcome=outcome)


# whole, half and tenth points, as judges write them
SCORES = st.integers(10, 100).map(lambda n: n / 10)
VERDICTS = st.builds(verdict, SCORES, SCORES)
RULES = st.sampled_from(["mean", "agree_or_tie"])


def test_a_jurys_seats_are_merged_as_its_rule_decided_them() -> None:
    """Three votes for b with a first, two of three for a with b first: different models by majority, b by weight."""
    votes = [[label(Outcome.B)] * 3, [label(Outcome.B), label(Outcome.TIE), label(Outcome.B)]]
    for rule, winner, score in (("majority", "tie", 0.5), ("weighted", "model_b", 5 / 12)):
        weights = [1.0, 1.0, 1.0] if rule == "weighted" else None
        seats = [merge_members(some, "weighted" if weights else "majority", weights) for some in votes]
        a_first, b_first = (verdict(*one) for one in seats if one is not None)
        battle = merge_seats("a", "b", a_first, b_first)
        assert battle is not None
        assert (battle.winner, battle.score_a, battle.flipped) == (winner, pytest.approx(score), True)


def test_golden_a1() -> None:
    """Game 1 (a first): 8, 6; game 2 (b first): 7, 7. Means 7.5 and 6.5: a wins by 1; the second game is a tie."""
    one, two = verdict(8, 6, "one"), verdict(7, 7, "two")
    battle = merge_seats("a", "b", one, two, "mean")
    assert battle is not None
    assert (battle.winner, battle.score_a, battle.score_b, battle.gap) == ("model_a", 7.5, 6.5, 1.0)
    assert not battle.flipped
    assert battle.verdicts == ("one", "two")
    strict = merge_seats("a", "b", one, two, "agree_or_tie")
    assert strict is not None
    assert (strict.winner, strict.score_a, strict.score_b) == ("tie", 7.5, 6.5)


@pytest.mark.parametrize(
    ("one", "two", "mean", "strict", "flipped"),
    [
        ((9, 3), (4, 8), "model_a", "model_a", False),  # both seats name a
        ((9, 3), (6, 5), "model_a", "tie", True),  # each game won by its first seat
        ((6, 5), (9, 3), "model_b", "tie", True),
        ((6, 5), (6, 5), "tie", "tie", True),
        ((5, 5), (4, 6), "model_a", "tie", False),  # a tie and a win are no flip
        ((5, 5), (7, 7), "tie", "tie", False),
        ((3, 9), (8, 4), "model_b", "model_b", False),
    ],
)
def test_table(one: tuple[int, int], two: tuple[int, int], mean: str, strict: str, flipped: bool) -> None:
    for rule, winner in (("mean", mean), ("agree_or_tie", strict)):
        battle = merge_seats("a", "b", verdict(*one), verdict(*two), rule)  # type: ignore[arg-type]
        assert battle is not None
        assert (battle.winner, battle.flipped) == (winner, flipped)


@given(VERDICTS, VERDICTS, RULES)
def test_swapping_roles_mirrors_the_battle(one: Verdict, two: Verdict, rule: Any) -> None:
    there = merge_seats("a", "b", one, two, rule)
    back = merge_seats("b", "a", two, one, rule)
    assert there is not None
    assert back is not None
    mirror = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}
    assert back.winner == mirror[there.winner]
    assert (back.score_a, back.score_b) == (there.score_b, there.score_a)
    assert back.flipped == there.flipped
    assert back.verdicts == there.verdicts[::-1]


@given(VERDICTS, VERDICTS)
def test_the_mean_is_that_of_decimal_arithmetic(one: Verdict, two: Verdict) -> None:
    """Scores with decimals add up with rounding; an exact tie must stay one (7.1 + 6.3 against 6.9 + 6.5)."""
    battle = merge_seats("a", "b", one, two, "mean")
    assert battle is not None

    def exact(*scores: float | None) -> Decimal:
        return sum((Decimal(str(score)) for score in scores), Decimal(0))

    a, b = exact(one.score_first, two.score_second), exact(one.score_second, two.score_first)
    assert battle.winner == ("model_a" if a > b else "model_b" if b > a else "tie")
    assert battle.score_a == pytest.approx(float(a) / 2)
    assert (battle.score_a == battle.score_b) == (battle.winner == "tie")


def test_rounding_does_not_break_a_tie() -> None:
    battle = merge_seats("a", "b", verdict(7.1, 6.9), verdict(6.5, 6.3), "mean")
    assert battle is not None
    assert battle.winner == "tie"


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.OK])
@pytest.mark.parametrize("rule", ["mean", "agree_or_tie"])
def test_a_failed_seat_gives_no_battle(status: Status, rule: Any) -> None:
    failed, fine = verdict(None, None, status=status), verdict(9, 1)
    assert merge_seats("a", "b", failed, fine, rule) is None
    assert merge_seats("a", "b", fine, failed, rule) is None
    assert merge_seats("a", "b", failed, failed, rule) is None


@given(st.sampled_from(list(Outcome)), st.sampled_from(list(Outcome)))
def test_a_judge_without_scores(one: Outcome, two: Outcome) -> None:
    """A win counts 1, a tie a half; the winner is the one with more points."""
    battle = merge_seats("a", "b", label(one), label(two), "mean")
    assert battle is not None
    assert battle.score_a == (one.score_a + two.swap().score_a) / 2
    assert battle.score_a + battle.score_b == 1.0
    assert battle.flipped == (one is two and one is not Outcome.TIE)


def test_an_unknown_rule() -> None:
    with pytest.raises(ValueError, match="worst_of_both"):
        merge_seats("a", "b", verdict(1, 2), verdict(1, 2), "worst_of_both")  # type: ignore[arg-type]


# ---------------------------------------------------------------------- pairs: three rules, and a seat that failed

EITHER = st.one_of(VERDICTS, st.builds(verdict, st.none(), st.none()), st.none())
ALL_RULES = st.sampled_from(["mean", "agree_or_tie", "two_battles"])
FAILED = st.sampled_from(["drop_battle", "use_one"])
MIRROR = {"model_a": "model_b", "model_b": "model_a", "tie": "tie"}


def test_golden_a1_by_all_rules() -> None:
    """8 to 6 with a first, 7 to 7 with b first."""
    one, two = verdict(8, 6, "one"), verdict(7, 7, "two")
    found = {
        rule: [(b.winner, b.score_a, b.score_b, b.verdicts) for b in merge_pair("a", "b", one, two, rule)]
        for rule in ("mean", "agree_or_tie", "two_battles")
    }
    assert found == {
        "mean": [("model_a", 7.5, 6.5, ("one", "two"))],
        "agree_or_tie": [("tie", 7.5, 6.5, ("one", "two"))],
        "two_battles": [("model_a", 8, 6, ("one",)), ("tie", 7, 7, ("two",))],
    }


@given(EITHER, EITHER, ALL_RULES, FAILED)
def test_swapping_models_mirrors_every_battle(one: Verdict | None, two: Verdict | None, rule: Any, failed: Any) -> None:
    there = merge_pair("a", "b", one, two, rule, failed)
    back = merge_pair("b", "a", two, one, rule, failed)[::-1]  # the other seat comes first

    def seen(battle: Battle) -> tuple[object, ...]:
        return battle.winner, battle.score_a, battle.score_b, battle.flipped

    assert [(MIRROR[b.winner], b.score_b, b.score_a, b.flipped) for b in back] == [seen(b) for b in there]
    assert all((b.model_a, b.model_b) == ("a", "b") for b in there)


@given(EITHER, EITHER, ALL_RULES, FAILED)
def test_how_many_battles_a_pair_is(one: Verdict | None, two: Verdict | None, rule: Any, failed: Any) -> None:
    decided = sum(v is not None and v.outcome is not None for v in (one, two))
    both = {"two_battles": 2}.get(rule, 1)
    lone = 1 if rule == "two_battles" or failed == "use_one" else 0
    assert len(merge_pair("a", "b", one, two, rule, failed)) == (0, lone, both)[decided]


@given(VERDICTS, VERDICTS, st.sampled_from(["mean", "agree_or_tie"]), FAILED)
def test_of_two_decided_seats_a_pair_is_their_merger(one: Verdict, two: Verdict, rule: Any, failed: Any) -> None:
    assert merge_pair("a", "b", one, two, rule, failed) == (merge_seats("a", "b", one, two, rule),)


@given(VERDICTS, VERDICTS)
def test_two_battles_keep_what_each_seat_said(one: Verdict, two: Verdict) -> None:
    first, second = merge_pair("a", "b", one, two, "two_battles")
    assert (first.score_a, first.score_b) == (one.score_first, one.score_second)
    assert (second.score_a, second.score_b) == (two.score_second, two.score_first)
    assert first.winner == {"A": "model_a", "B": "model_b", "TIE": "tie"}[one.outcome.value]
    assert second.winner == {"A": "model_b", "B": "model_a", "TIE": "tie"}[two.outcome.value]
    mean = merge_seats("a", "b", one, two)
    assert mean is not None
    assert first.flipped == second.flipped == mean.flipped


@pytest.mark.parametrize("rule", ["mean", "agree_or_tie", "two_battles"])
def test_a_lone_seat_stands_for_both_where_it_may(rule: Any) -> None:
    fine, failed = verdict(9, 2, "fine"), verdict(None, None)
    for b_first in (failed, None):
        (battle,) = merge_pair("a", "b", fine, b_first, rule, "use_one")
        assert (battle.winner, battle.score_a, battle.score_b) == ("model_a", 9, 2)
        assert (battle.verdicts, battle.flipped) == (("fine",), False)
        (battle,) = merge_pair("a", "b", b_first, fine, rule, "use_one")
        assert (battle.winner, battle.score_a, battle.score_b) == ("model_b", 2, 9)


@given(st.sampled_from(list(Outcome)), st.sampled_from(list(Outcome)))
def test_two_battles_of_a_judge_without_scores(one: Outcome, two: Outcome) -> None:
    first, second = merge_pair("a", "b", label(one), label(two), "two_battles")
    assert (first.score_a, second.score_a) == (one.score_a, two.swap().score_a)
