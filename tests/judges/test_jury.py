"""Panels of judges."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.jury import Jury, merge_members, score_alike
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Outcome, Status, Verdict


def label(outcome: Outcome | None) -> Verdict:
    status = Status.UNPARSED if outcome is None else Status.OK
    return Verdict("k", "p", "f", "s", "j", status, outcome=outcome)


def score(first: float, second: float) -> Verdict:
    outcome = Outcome.from_scores(first, second)
    return Verdict("k", "p", "f", "s", "j", Status.OK, score_first=first, score_second=second, outcome=outcome)


A, B, TIE, LOST = label(Outcome.A), label(Outcome.B), label(Outcome.TIE), label(None)


def model(name: str, **settings: Any) -> PairwiseJudge:
    return PairwiseJudge(ScriptedModel(name, lambda _: "Scores: 7 5"), **settings)


def test_majority() -> None:
    assert merge_members([A, A, B]) == merge_members([A, A, TIE]) == merge_members([A, A, A]) == (1.0, 0.0)
    assert merge_members([B, TIE, B], "reliability") == (0.0, 1.0)
    assert merge_members([A, B]) == (0.5, 0.5)
    for no_majority in (
        [A, TIE],
        [A, TIE, TIE],
        [A, TIE, TIE, TIE, TIE],
        [A, B, TIE],
        [A, A, B, TIE],
        [A, A, B, B, TIE],
    ):
        assert merge_members(no_majority) == (0.5, 0.5)
    assert merge_members([A, TIE, LOST]) == (0.5, 0.5)  # of those that vote
    assert merge_members([A, TIE, TIE], "weighted", [1.0, 1.0, 1.0]) == pytest.approx((2 / 3, 1 / 3))


def test_without_more_than_half_there_is_no_verdict() -> None:
    assert merge_members([A, LOST]) is None
    assert merge_members([A, A, None]) == (1.0, 0.0)
    assert merge_members([None, LOST]) is None
    assert merge_members([A, LOST, LOST], "weighted", [5.0, 1.0, 1.0]) == (1.0, 0.0)
    assert merge_members([A, B], "weighted", [0.0, 0.0]) is None


def test_weights() -> None:
    assert merge_members([A, B, B], "weighted", [3.0, 1.0, 1.0]) == pytest.approx((0.6, 0.4))
    assert merge_members([A, B], "weighted", [0.0, 1.0]) == (0.0, 1.0)


def test_mean_of_scores() -> None:
    assert merge_members([score(9, 3), score(4, 5)], "mean") == (6.5, 4.0)
    assert merge_members([A, TIE, TIE], "mean") == pytest.approx((2 / 3, 1 / 3))  # nobody scores: shares of the votes
    with pytest.raises(ValueError, match="judges that all score"):
        merge_members([score(9, 3), A], "mean")


@given(st.lists(st.sampled_from([A, B, TIE, LOST]), min_size=1, max_size=6))
def test_swapping_the_seats_swaps_the_scores(verdicts: list[Verdict]) -> None:
    turned = [label(v.outcome.swap() if v.outcome else None) for v in verdicts]
    there, back = merge_members(verdicts), merge_members(turned)
    assert (there is None) == (back is None)
    if there and back:
        assert there == pytest.approx(back[::-1])
        assert sum(there) == pytest.approx(1.0)


def test_members_differ() -> None:
    with pytest.raises(ValueError, match="two members or more"):
        Jury([model("a")])
    with pytest.raises(ValueError, match="the name 'a' is there 2 times"):
        Jury([model("a"), model("a")])
    with pytest.raises(ValueError, match="the judge 'longest' is there 2 times"):
        Jury([BuiltinJudge("longest"), BuiltinJudge("longest", name="again")])


def test_weights_fit_the_members() -> None:
    members = [model("a"), model("b")]
    with pytest.raises(ValueError, match="one weight for each member; see b"):
        Jury(members, rule="weighted", weights={"a": 1.0})
    with pytest.raises(ValueError, match="see c"):
        Jury(members, rule="weighted", weights={"a": 1.0, "b": 1.0, "c": 2.0})
    for weights in ({"a": 0.0, "b": 0.0}, {"a": -1.0, "b": 1.0}, {"a": float("nan"), "b": 1.0}):
        with pytest.raises(ValueError, match="not all of them 0"):
            Jury(members, rule="weighted", weights=weights)
    with pytest.raises(ValueError, match="weights go with rule 'weighted'"):
        Jury(members, weights={"a": 1.0, "b": 1.0})
    one = Jury(members, rule="weighted", weights={"b": 1.0, "a": 3.0})
    assert one.weights == [3.0, 1.0]
    assert one.fingerprint != Jury(members).fingerprint


def test_scales_that_differ_have_no_mean() -> None:
    assert score_alike([model("a"), model("b")])
    Jury([model("a"), model("b")], rule="mean")
    with pytest.raises(ValueError, match="no common scale"):
        Jury([model("a"), BuiltinJudge("longest")], rule="mean")
    with pytest.raises(ValueError, match="no common scale"):
        Jury([BuiltinJudge("first"), BuiltinJudge("longest")], rule="mean")


def test_a_jurys_verdict_is_derived_and_names_its_failures() -> None:
    jury = Jury([model("a"), model("b")], name="panel")
    assert jury.verdict([None, None]) is None
    found = jury.verdict([A, A])
    assert isinstance(found, Verdict)
    assert (found.judge, found.outcome, found.calls, found.status) == ("panel", Outcome.A, 0, Status.OK)
    failed = jury.verdict([A, LOST])
    assert failed is not None
    assert (failed.outcome, failed.status) == (None, Status.UNPARSED)
    asyncio.run(jury.aclose())


def test_a_lone_judge_is_a_jury_of_one() -> None:
    judge = model("a")
    jury = Jury.of(judge)
    assert jury.members == (judge,)
    assert (jury.name, jury.fingerprint, jury.concurrency) == ("a", judge.fingerprint, judge.concurrency)
    for verdict in (A, LOST, None):
        assert jury.verdict([verdict]) is verdict
    assert jury.verdict([]) is None  # a seat that is not asked about
    assert Jury.of(jury) is jury
    assert Jury.of(two := Jury([judge, model("b")])) is two
    asyncio.run(jury.aclose())
