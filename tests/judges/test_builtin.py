"""Judges that are rules."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.judges.base import Judge
from arenaloop.judges.builtin import BUILTIN, BuiltinJudge
from arenaloop.judges.repeats import own_votes, repeated
from arenaloop.types import Outcome, Prompt, Response, Status, Verdict


def decide(judge: Judge, first: str, second: str, *, prompt: str = "p", seed: int = 0) -> Verdict:
    asked = Prompt.of(prompt)
    sides = (Response(asked.id, "one", (first,)), Response(asked.id, "two", (second,)))
    return asyncio.run(judge.judge(asked, *sides, secret="s", seed=seed))


@pytest.mark.parametrize("kind", BUILTIN)
def test_they_are_judges_that_cost_nothing(kind: str) -> None:
    judge = BuiltinJudge(kind)
    assert isinstance(judge, Judge)
    verdict = decide(judge, "long text", "short")
    assert (verdict.status, verdict.calls, verdict.usd) == (Status.OK, 0, 0.0)
    assert verdict.judge == kind
    assert verdict.judge_hash == judge.fingerprint


def test_rules() -> None:
    assert decide(BuiltinJudge("longest"), "abc", "ab").outcome is Outcome.A
    assert decide(BuiltinJudge("longest"), "ab", "abc").outcome is Outcome.B
    assert decide(BuiltinJudge("longest"), "ab", "cd").outcome is Outcome.TIE
    assert decide(BuiltinJudge("shortest"), "abc", "ab").outcome is Outcome.B
    assert decide(BuiltinJudge("shortest"), "", "ab").outcome is Outcome.A
    assert decide(BuiltinJudge("first"), "abc", "ab").outcome is Outcome.A
    with pytest.raises(ValueError, match="no built-in judge 'best'"):
        BuiltinJudge("best")


def test_all_turns_count_for_length() -> None:
    prompt = Prompt(({"role": "user", "content": "a"},), ("b",))
    one, two = Response(prompt.id, "one", ("aaaa", "")), Response(prompt.id, "two", ("aa", "aaa"))
    verdict = asyncio.run(BuiltinJudge("longest").judge(prompt, one, two, secret="", seed=0))
    assert verdict.outcome is Outcome.B


@given(st.text(max_size=20), st.text(max_size=20))
def test_length_knows_no_seat(one: str, two: str) -> None:
    for kind in ("longest", "shortest"):
        there, back = (decide(BuiltinJudge(kind), *pair) for pair in ((one, two), (two, one)))
        assert there.outcome is not None
        assert back.outcome is there.outcome.swap()


def test_the_coin_falls_the_same_at_every_run_and_fairly() -> None:
    coins = [decide(BuiltinJudge("random"), "x", "y", prompt=str(i)).outcome for i in range(400)]
    again = [decide(BuiltinJudge("random"), "x", "y", prompt=str(i), seed=9).outcome for i in range(400)]
    assert coins == again
    heads = sum(coin is Outcome.A for coin in coins)
    assert Outcome.TIE not in coins
    assert abs(heads - 200) <= 40  # 4 standard deviations
    other = [decide(repeated(BuiltinJudge("random"), 1), "x", "y", prompt=str(i)).outcome for i in range(400)]
    same = sum(a is b for a, b in zip(coins, other, strict=True))
    assert abs(same - 200) <= 40


def test_only_the_coin_has_further_votes() -> None:
    assert own_votes(BuiltinJudge("random")) is None
    assert own_votes(BuiltinJudge("longest")) == 1
    assert repeated(BuiltinJudge("longest"), 3).fingerprint == BuiltinJudge("longest").fingerprint
    assert repeated(BuiltinJudge("random"), 3).fingerprint != BuiltinJudge("random").fingerprint
