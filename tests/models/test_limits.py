"""Limits against servers simulated by their arithmetic; no clock, no event loop."""

from __future__ import annotations

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.limits import AdaptiveLimit, TokenBucket, TokenEstimate

# ------------------------------------------------------------------ adaptive concurrency


class Server:
    """A closed loop of callers before a server that works on `parallel` calls at once, each `pace` seconds a token.

    More calls than that share its work; more than `refuses` in flight are refused with 429.
    """

    def __init__(self, limit, *, parallel, pace=0.01, refuses=math.inf, callers=10_000, noise=0.0, seed=0):
        self.limit, self.parallel, self.pace, self.refuses, self.callers = limit, parallel, pace, refuses, callers
        self.random, self.noise = random.Random(seed), noise
        self.now, self.flight, self.served, self.refused = 0.0, [], 0, 0
        self.limits = []

    def send(self):
        if len(self.flight) >= self.refuses:
            self.refused += 1
            heapq.heappush(self.flight, (self.now + 0.05, self.now, None))
            return
        tokens = self.random.randint(30, 300)
        seconds = (tokens + 32) * self.pace * max(1.0, (len(self.flight) + 1) / self.parallel)
        seconds *= math.exp(self.random.gauss(0.0, self.noise))
        heapq.heappush(self.flight, (self.now + seconds, self.now, tokens))

    def run(self, seconds):
        until = self.now + seconds
        while True:
            while len(self.flight) < min(self.limit.limit, self.callers):
                self.send()
            if self.flight[0][0] > until:
                self.now = until
                return self
            self.now, started, tokens = heapq.heappop(self.flight)
            if tokens is None:
                self.limit.throttled(started, self.now)
            else:
                self.served += 1
                self.limit.replied(started, self.now, tokens, len(self.flight) + 1)
            self.limits.append(self.limit.limit)


def test_it_grows_to_the_ceiling_while_the_pace_holds():
    server = Server(AdaptiveLimit(), parallel=10**6).run(60)
    assert server.limit.limit == 512
    assert server.limits[0] == 16
    assert max(server.limits) == 512


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("parallel", [2, 40, 150])
def test_a_saturated_server_does_not_make_it_climb_without_end(parallel, noise):
    server = Server(AdaptiveLimit(), parallel=parallel, noise=noise)
    server.run(200)
    server.limits.clear()
    early = server.served
    server.run(4000)
    # the limit that the rule settles at: L = 2 P + sqrt(L); what is below the start is left alone
    settled = max(2 * max(16, parallel), 16)
    assert max(server.limits) <= 2.2 * settled
    assert sorted(server.limits)[len(server.limits) // 10] >= min(parallel, 16)
    # and the server is kept busy: it never does more than `parallel` calls of 197 tokens on average at its pace
    possible = 4000 * parallel / (0.01 * (165 + 32))
    assert server.served - early >= 0.9 * possible / math.exp(noise**2 / 2)


def test_a_server_that_refuses_is_asked_less():
    server = Server(AdaptiveLimit(), parallel=10**6, refuses=100).run(1000)
    assert server.refused < 0.05 * server.served
    assert 40 <= server.limit.limit <= 130
    assert max(server.limits) <= 160


def test_a_slow_spell_halves_it_and_it_recovers():
    server = Server(AdaptiveLimit(), parallel=10**6).run(100)
    assert server.limit.limit == 512
    server.pace *= 8
    server.run(300)
    assert server.limit.limit <= 80
    server.pace /= 8
    server.run(300)
    assert server.limit.limit == 512


def test_what_became_slower_for_good_is_measured_anew():
    server = Server(AdaptiveLimit(), parallel=10**6).run(100)
    server.pace *= 6
    server.run(5000)
    assert server.limit.limit == 512


def test_it_does_not_grow_where_nobody_needs_more():
    server = Server(AdaptiveLimit(), parallel=10**6, callers=10).run(200)
    assert server.limit.limit == 16


def test_one_wave_of_429_halves_it_once():
    limit = AdaptiveLimit(start=64)
    for _ in range(64):
        limit.throttled(started=0.0, now=1.0)
    assert limit.limit == 32
    limit.throttled(started=0.5, now=1.5)  # sent before the cut
    assert limit.limit == 32
    limit.throttled(started=1.2, now=1.6)
    assert limit.limit == 16
    for step in range(20):
        limit.throttled(started=2.0 + step, now=2.0 + step)
    assert limit.limit == 1
    for reply in range(8):
        limit.replied(50.0 + reply, 51.0 + reply, 10, 1)
    assert limit.limit == 2


def test_ceiling_below_the_start_holds():
    assert AdaptiveLimit(start=16, ceiling=3).limit == 3


# ------------------------------------------------------------------ requests and tokens per minute


@given(
    per_minute=st.sampled_from([1, 7, 60, 61, 600, 20_000]),
    calls=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 3)), min_size=1, max_size=200),
)
def test_no_minute_holds_more_than_is_allowed(per_minute, calls):
    bucket, now, uses = TokenBucket(per_minute), 0.0, []
    for pause, burst in calls:
        now += pause
        uses += [now + bucket.take(1, now) for _ in range(burst)]
    assert uses == sorted(uses)  # first come, first served
    for first, start in enumerate(uses):
        within = sum(1 for use in uses[first:] if use < start + 60 - 1e-6)
        assert within <= per_minute


def test_a_bucket_is_used_up_evenly_and_no_faster():
    bucket = TokenBucket(600)
    waits = [bucket.take(1, 0.0) for _ in range(300)]
    assert waits[:10] == [0.0] * 10  # a second's share
    assert waits[299] == pytest.approx(290 * 60 / 590)
    assert bucket.take(1, 60.0) == 0.0
    slow = TokenBucket(2)
    assert [slow.take(1, 5.0) for _ in range(3)] == [0.0, 30.0, 60.0]


def test_an_amount_larger_than_the_bucket_waits_until_it_is_saved_up():
    bucket = TokenBucket(6000)  # 100 a second
    assert bucket.take(1000, 0.0) == pytest.approx(900 * 60 / 5900)
    bucket.give_back(950)  # it was 50 in truth
    assert bucket.take(50, 0.0) == 0.0
    bucket.give_back(10**9)
    assert bucket.take(101, 0.0) > 0  # no more is saved than a second's share


def test_tokens_are_guessed_from_replies():
    guess = TokenEstimate()
    assert guess.expect(400, 512) == 612
    guess.learn(400, 120, 50)
    assert guess.expect(400, 512) == pytest.approx(170)
    assert guess.expect(800, 20) == pytest.approx(260)
    for _ in range(200):
        guess.learn(1000, 200, 80)
    assert guess.expect(1000, 512) == pytest.approx(280, rel=1e-6)
