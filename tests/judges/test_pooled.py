"""A pool's labels read as one judge's verdicts."""

from __future__ import annotations

import asyncio

import pytest

from arenaloop.judges.annotators import Draw, Pair, Pool
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.pooled import PooledLabels
from arenaloop.types import Outcome, Prompt, Response, Status, content_hash

PROMPT = Prompt.of("ask")


def answer(text: str, model: str) -> Response:
    return Response(PROMPT.id, model, (text,), Status.OK)


PAIR = Pair(PROMPT, answer("one", "a"), answer("two", "b"), "ask")


def pooled(**more: object) -> PooledLabels:
    return PooledLabels(Pool([BuiltinJudge("first")], 0.0, **more), 0)  # type: ignore[arg-type]


def test_verdicts_of_members_are_found_by_the_seats_that_they_were_asked_about() -> None:
    judge = pooled(seat_mode="both_orders")
    assert judge.seats == 2
    assert list(judge.take(PAIR, Draw(0, 0, None, False, 0, (True, False)), ("first", "second"))) == []
    assert judge.key(PROMPT, PAIR.one, PAIR.two) == judge.key(PROMPT, PAIR.one, PAIR.two, 2) == "first"
    assert judge.key(PROMPT, PAIR.two, PAIR.one) == "second"


def test_of_one_seat_the_other_was_never_asked() -> None:
    judge = pooled()
    assert judge.seats == 1
    list(judge.take(PAIR, Draw(0, 0, None, False, 0, (False,)), ("only",)))
    assert judge.key(PROMPT, PAIR.two, PAIR.one) == "only"
    assert judge.key(PROMPT, PAIR.one, PAIR.two) not in ("only", "")


@pytest.mark.parametrize(("label", "outcome"), [(1, Outcome.A), (2, Outcome.B), (1.5, Outcome.TIE)])
def test_a_label_that_nobody_gave_is_a_verdict_from_both_seats(label: float, outcome: Outcome) -> None:
    judge = pooled()
    one, two = judge.take(PAIR, Draw(0, 0, label, label != 1.5, 0, ()), ())
    assert (one.outcome, two.outcome) == (outcome, outcome.swap())
    assert (one.key, two.key) == (judge.key(PROMPT, PAIR.one, PAIR.two), judge.key(PROMPT, PAIR.two, PAIR.one))
    assert (one.calls, one.usd, one.judge) == (0, 0.0, "annotators")


def test_other_noise_is_another_judge() -> None:
    prints = {
        PooledLabels(Pool([BuiltinJudge("first")], flips, model), seed).fingerprint
        for flips in (0.0, 0.25)
        for model in ("uniform_flip", "length")
        for seed in (0, 1)
    }
    assert len(prints) == 8


def test_it_is_never_asked_itself() -> None:
    with pytest.raises(NotImplementedError):
        asyncio.run(pooled().judge(PROMPT, PAIR.one, PAIR.two, secret=content_hash("x"), seed=0))
