"""When a server is given up: the rule alone, without a server and without a clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.advice import advice
from arenaloop.models.breaker import Breaker, Holds, TooLongError, pause


def test_before_any_answer_the_first_failures_are_enough():
    breaker = Breaker(first=5)
    assert [breaker.failed(64) for _ in range(6)] == [False] * 4 + [True] * 2
    assert breaker.told == "the first 6 calls"


@given(in_flight=st.integers(1, 512), tries=st.integers(1, 8))
def test_later_it_takes_twice_the_calls_in_flight_and_all_further_tries_of_twenty(in_flight, tries):
    breaker = Breaker(first=5)
    breaker.succeeded(in_flight)
    needed = (tries - 1) * 20 + max(20, 2 * in_flight)
    # those in flight become fewer as an outage empties the workers; what counts is how many there were
    assert not any(breaker.failed(max(1, in_flight - n), tries) for n in range(needed - 1))
    assert breaker.failed(1, tries)
    assert breaker.told == f"{needed:,} calls in a row"


@given(good=st.integers(0, 3000), in_flight=st.integers(1, 64), tries=st.integers(1, 7))
def test_a_server_that_lets_one_in_twenty_through_trips_it_however_long_it_was_good(good, in_flight, tries):
    breaker = Breaker()
    for _ in range(good + 1):
        breaker.succeeded(in_flight)
    needed = (tries - 1) * 20 + max(20, 2 * in_flight)
    for n in range(2 * needed):
        if n % 20 == 19:
            breaker.succeeded(in_flight)
        elif breaker.failed(in_flight, tries):
            break
    else:
        pytest.fail("never tripped")
    assert n < needed * 1.2


@given(data=st.data(), in_flight=st.integers(1, 16), good=st.integers(2, 4))
def test_in_no_order_do_failures_below_the_share_trip_it(data, in_flight, good):
    """Of each four requests two at least are answered."""
    breaker = Breaker()
    breaker.succeeded(in_flight)
    for _ in range(30):  # 120 requests; the share is taken of the last 40 at most
        for answered in data.draw(st.permutations([True] * good + [False] * (4 - good))):
            if answered:
                breaker.succeeded(in_flight)
            else:
                assert not breaker.failed(in_flight)


def test_what_takes_the_whole_patience_of_a_call_counts_for_it():
    breaker = Breaker()
    breaker.succeeded(4)
    assert [breaker.failed(4, tries=7, weight=7) for _ in range(20)] == [False] * 19 + [True]
    assert breaker.told == "20 calls in a row"


def test_old_failures_are_forgotten():
    breaker = Breaker()
    breaker.succeeded(1)
    for _ in range(19):
        assert not breaker.failed(1)
    assert breaker.failing == pytest.approx(19 / 25)
    for _ in range(25):
        breaker.succeeded(1)
    assert breaker.failing == 0
    assert not any(breaker.failed(1) for _ in range(19))


def test_pauses_double_and_are_longer_where_much_fails(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 1.0)
    assert [pause(tries, 0.0) for tries in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pause(1, 0.25) == 0.5
    assert pause(1, 0.625) == 1.0
    assert pause(1, 1.0) == 2.0
    assert pause(20, 1.0) == 30


def test_a_hold_is_told_when_it_passes_a_minute_and_again_for_each_minute_more():
    holds = Holds()
    assert holds.ask(50, now=1000, longest=600) is None
    assert holds.ask(50, now=1030, longest=600) == 50  # eighty seconds since it began
    assert holds.ask(50, now=1031, longest=600) is None
    assert holds.ask(100, now=1060, longest=600) == 100
    holds.answered()
    assert holds.ask(50, now=1160, longest=600) is None
    assert holds.until == 1210


def test_short_waits_without_an_answer_add_up():
    holds = Holds()
    for now in range(0, 550, 55):
        holds.ask(55, now=now, longest=600)
    with pytest.raises(TooLongError) as caught:
        holds.ask(55, now=550, longest=600)
    assert caught.value.seconds == 605
    assert holds.until == 550


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("HTTP 401: no", "key_env"),
        ("HTTP 403: no", "what the key may ask for"),
        ("HTTP 404: no such model", "the model's id"),
        ("HTTP 413: too large", "sampling.max_tokens"),
        (
            "HTTP 400: 'max_tokens' is too large: 1024. This model's maximum context length is 512",
            "sampling.max_tokens",
        ),
        ("HTTP 400: unknown field", "drop_params"),
        ("HTTP 429: slow down", "concurrency"),
        ("HTTP 429: You exceeded your current quota", "quota"),
        ("HTTP 302: moved", "URL"),
    ],
)
def test_each_kind_of_refusal_names_what_to_change(reason, words):
    assert words in advice(reason)


def test_where_nothing_is_known_to_help_nothing_is_said():
    assert advice("HTTP 500: boom") == advice("no answer within 120 s") == ""
