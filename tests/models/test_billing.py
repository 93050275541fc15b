"""What is charged and not told, and what is reserved before it is sent."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.budget import Budget, Flying
from arenaloop.models.base import Reserve, Spent
from arenaloop.models.billing import Billing, Loss, count_tokens
from arenaloop.models.openai_wire import Price, Reader, read_replies
from arenaloop.types import Completion

PRICE = Price(1e6, 1e6)  # a dollar a token


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("The quick brown fox", 4),
        ("internationalisation", 4),  # six letters to a token
        ("CamelCaseName", 3),
        ("2026", 4),
        ("a, b!", 4),
        ("\u4f60\u597d", 3),  # two signs of three bytes
        ("\U0001f600", 2),
    ],
)
def test_our_own_count(text: str, tokens: int) -> None:
    assert count_tokens(text.encode()) == tokens


def test_before_the_first_answer_a_byte_is_a_token_and_answers_are_as_long_as_they_may_be() -> None:
    assert Billing(PRICE).reserve(300, 50) == Reserve(150.0, 350.0, learnt=False)
    assert Billing(PRICE).reserve(300, None).most == 300 + 4096
    assert Billing(None).reserve(300, 50) == Reserve(None, 0.0)


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 8000), st.integers(1, 5000)), min_size=1))
def test_what_is_reserved_at_most_covers_all_that_was_seen(replies: list[tuple[int, int, int]]) -> None:
    """Dense texts, hidden prompts and answers beyond the limit: what has shown once is reserved from then on."""
    billing = Billing(PRICE)
    for size, tokens_in, tokens_out in replies:
        billing.told(b"x" * size, [Completion("text", tokens_in=tokens_in, tokens_out=tokens_out)])
    for size, tokens_in, tokens_out in replies:
        assert billing.reserve(size, 100).most >= tokens_in + tokens_out - 1  # rounded


def test_what_a_server_does_not_tell_is_estimated_and_said_so() -> None:
    body = b"The quick brown fox"
    told = Completion("fine words", tokens_in=7, tokens_out=2, usd=9.0)
    assert Billing(PRICE).told(body, [told]) is told
    for tokens_in, tokens_out, usd in ((None, None, 6), (0, 0, 6), (7, None, 9), (7, 0, 9), (None, 5, 9)):
        found = Billing(PRICE).told(body, [Completion("fine words", tokens_in=tokens_in, tokens_out=tokens_out)])
        assert (found.usd, found.usd_estimated) == (usd, usd)
        assert (found.tokens_in, found.tokens_out) == (tokens_in or None, tokens_out or None)
    thought = Completion("", tokens_in=None, tokens_out=None, reasoning="deep")
    assert Billing(PRICE).told(body, [thought, Completion("fine words")]).usd == 7
    assert Billing(None).told(body, [Completion("fine")]).usd is None


def test_what_a_server_does_not_tell_of_is_as_long_as_what_it_tells_of() -> None:
    """Thoughts that nobody sees: an answer is not taken to be what shows of it, where others were longer."""
    billing, body = Billing(PRICE), b"x" * 60
    billing.told(body, [Completion("fine words", tokens_in=20, tokens_out=400)])
    assert billing.told(body, [Completion("fine words", tokens_in=0, tokens_out=0)]).usd == 420
    assert billing.told(body, [Completion("fine words " * 400, tokens_in=20)]).usd == 20 + 800


def test_a_bill_of_the_servers_own_is_reserved_from_then_on() -> None:
    billing, body = Billing(PRICE), b"x" * 60
    billing.told(body, [Completion("words", tokens_in=20, tokens_out=10, usd=300.0)])
    assert billing.reserve(60, 10) == Reserve(300.0, 300.0)
    assert billing.lost(body, 10, Loss.UNREAD) == 300
    billed = billing.told(body, [Completion("words", usd=900.0)])
    assert (billed.usd, billed.usd_estimated) == (900, 0)
    cheap = billing.told(body, [Completion("words", usd=1.0)])
    assert (cheap.usd, cheap.usd_estimated) == (300, 300)


@pytest.mark.parametrize(
    ("usage", "spent"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 10}, Spent(30.0, 0.0)),
        ({"prompt_tokens": 20}, Spent(420.0, 420.0)),  # as long as the others
        ({"cost": 500.0}, Spent(500.0, 0.0)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, None),
        ({}, None),
    ],
)
def test_a_failure_that_was_charged(usage: dict[str, float], spent: Spent | None) -> None:
    billing, body = Billing(PRICE), b"x" * 60
    billing.told(body, [Completion("words", tokens_in=20, tokens_out=400)])
    raw = json.dumps({"error": {"message": "failed"}, "usage": usage}).encode()
    assert billing.failed(body, raw, {}) == spent


def test_lost_answers_cost_as_much_as_they_may() -> None:
    billing, body = Billing(PRICE), b"x" * 60
    assert billing.lost(body, 50, Loss.UNREAD) == 60 / 6 + 50
    assert billing.lost(body, 50, Loss.UNANSWERED) == 10
    billing.told(body, [Completion("text", tokens_in=20, tokens_out=10)])
    assert billing.lost(body, 50, Loss.UNREAD) == 20 + 50
    billing.told(body, [Completion("text", tokens_in=20, tokens_out=70)])  # beyond the limit
    assert billing.lost(body, 50, Loss.UNREAD) == 20 + 70
    assert billing.lost(body, None, Loss.UNREAD) == 20 + 4096
    assert Billing(None).lost(body, 50, Loss.UNREAD) == 0.0


NO_COUNTS = [
    {"prompt_tokens": -7, "completion_tokens": -8, "total_tokens": -15},
    {"prompt_tokens": True, "completion_tokens": True, "total_tokens": 2},
    {"prompt_tokens": 20, "completion_tokens": "many"},
    {"prompt_tokens": "1e400", "completion_tokens": 2},
    {"input_tokens": 20, "output_tokens": float("nan")},
    {"prompt_tokens": 20, "completion_tokens": 2, "reasoning_tokens": -900},
    '{"prompt_tokens": 20, "completion_tokens": 2}',
]


@pytest.mark.parametrize("usage", NO_COUNTS, ids=str)
def test_counts_that_are_none_leave_an_answer_with_all_that_it_may_have(usage: object) -> None:
    """Nobody knows what such a reply has cost, neither by its words nor by the others."""
    billing, body = Billing(PRICE), b"x" * 60
    billing.told(body, [Completion("fine words", tokens_in=20, tokens_out=10)])
    choice = {"message": {"content": "fine words"}, "finish_reason": "stop"}
    read = read_replies(json.dumps({"choices": [choice], "usage": usage}).encode(), reader=Reader(PRICE))
    found = billing.told(body, read.answers, charge=read.charge, limit=50)
    assert (found.usd, found.usd_estimated) == (20 + 50, 20 + 50)
    assert billing.tokens.replies == 1  # nothing is learnt of it
    raw = json.dumps({"error": {"message": "failed"}, "usage": usage}).encode()
    assert billing.failed(body, raw, {}, 50) == Spent(70.0, 70.0)


@given(
    st.floats(0.01, 100.0), st.lists(st.tuples(st.floats(1e-4, 10.0), st.floats(1.0, 5.0)), min_size=1), st.booleans()
)
def test_what_is_in_flight_is_within_what_is_left_or_a_fiftieth(
    usd: float, calls: list[tuple[float, float]], learnt: bool
) -> None:
    budget, flying = Budget(usd=usd, spent_usd=usd / 3), Flying()
    for likely, times in calls:
        reserve = Reserve(likely, likely * times, learnt)
        if budget.holds(flying, reserve):
            flying.add(reserve)
    left = usd - budget.spent_usd
    assert flying.likely <= left * (1 + 1e-9)
    room = max(left / 2 if learnt else 0.0, 0.02 * usd)
    assert flying.most <= room * (1 + 1e-9) or flying.calls == 1


def test_the_first_call_of_all_may_begin_and_the_next_one_only_if_it_fits() -> None:
    dear = Reserve(5.0, 9.0, learnt=False)
    assert Budget(usd=1.0).holds(Flying(), dear)
    assert not Budget(usd=1.0, spent_usd=0.1).holds(Flying(), dear)
    assert Budget(usd=1.0, spent_usd=0.9).holds(Flying(), Reserve())  # who costs nothing
    assert not Budget(usd=1.0).holds(Flying(1, 1, 0.0, 0.0), Reserve(0.0, 0.0, learnt=False))
