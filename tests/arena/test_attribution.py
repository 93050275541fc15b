"""Whose doing an undecided battle is: the table of statuses and reasons, and what holds whatever they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.arena.attribution import Attribution, Cause, FailedVerdict, Said, attribute
from arenaloop.types import Status, Winner

FINE = Said(Status.OK, None, 100)
OTHER = Said(Status.OK, None, 120)
REFUSED = Said(Status.REFUSED)
MISSING = Said(None)
MARKED = Said(Status.OK, None, 100, marked=True)
EMPTY = Said(Status.EMPTY, None, 0)
LONG = Said(Status.OK, None, 80_000)
OVERFLOW = "HTTP 400: This model's maximum context length is 8192 tokens"


def erred(error: str | None) -> Said:
    return Said(Status.ERROR, error)


def twice(status: Status | None, error: str | None = None) -> list[FailedVerdict]:
    return [FailedVerdict(status, error)] * 2


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        # its model was asked, and said so or broke on the request
        ("HTTP 400: no", Cause.MODEL_A),
        ("HTTP 400: This model's maximum context length is 4096 tokens", Cause.MODEL_A),
        ("HTTP 403: flagged by moderation", Cause.MODEL_A),
        ("HTTP 413: too large", Cause.MODEL_A),
        ("HTTP 422: cannot", Cause.MODEL_A),
        ("HTTP 500: assertion failed", Cause.MODEL_A),
        ("HTTP 200: no choices in the reply", Cause.MODEL_A),
        ("HTTP 200 with error 400: cannot", Cause.MODEL_A),
        ("the prompt has 900 tokens, the context window 512", Cause.MODEL_A),
        ("RuntimeError: out", Cause.MODEL_A),
        (None, Cause.MODEL_A),
        # its server is busy, gone or too slow, or knows neither key nor model
        ("HTTP 401: wrong key", Cause.SERVER),
        ("HTTP 402: pay", Cause.SERVER),
        ("HTTP 404: no such model", Cause.SERVER),
        ("HTTP 408: timeout", Cause.SERVER),
        ("HTTP 429: slow down", Cause.SERVER),
        ("HTTP 502: bad gateway", Cause.SERVER),
        ("HTTP 503: overloaded", Cause.SERVER),
        ("HTTP 504: gateway timeout", Cause.SERVER),
        ("HTTP 200 with error 429: slow down", Cause.SERVER),
        ("HTTP 200 with error 402: pay", Cause.SERVER),
        ("HTTP 200: a page of HTML (text/html), not an answer: log in", Cause.SERVER),
        ("HTTP 200: a stream of events (text/event-stream), which was not asked for: data", Cause.SERVER),
        ("HTTP 307: redirects to /v2", Cause.SERVER),
        ("HTTP 200: finish reason error: Upstream provider disconnected", Cause.SERVER),
        (
            "HTTP 400: 'temperature' is not supported; in the model's YAML file: drop_params: [temperature]",
            Cause.SERVER,
        ),
        ("no answer within 120 s", Cause.SERVER),
        ("lost with 5 Ray workers, one after the other", Cause.SERVER),
        ("lost with 4 engines, the last of which had nothing else to do: its process ended", Cause.SERVER),
        ("ServerDisconnectedError: Server disconnected", Cause.SERVER),
        ("ClientPayloadError: not enough data", Cause.SERVER),
        ("ConnectionResetError: [Errno 104] reset by peer", Cause.SERVER),
        ("ClientConnectorError: cannot connect to host", Cause.SERVER),
    ],
)
def test_an_answer_that_erred(error: str | None, cause: Cause) -> None:
    assert attribute(erred(error), FINE).cause is cause
    assert attribute(FINE, erred(error)).cause is cause.swap()


@pytest.mark.parametrize(
    ("a", "b", "cause", "reason"),
    [
        (REFUSED, FINE, Cause.MODEL_A, "refused"),
        (FINE, REFUSED, Cause.MODEL_B, "refused"),
        (REFUSED, REFUSED, Cause.BOTH, "refused"),
        (REFUSED, erred("HTTP 400: no"), Cause.BOTH, "refused; error: HTTP 400: no"),
        (REFUSED, erred("HTTP 503: busy"), Cause.SERVER, "error: HTTP 503: busy"),  # nobody can have won
        (MISSING, FINE, Cause.SERVER, "no answer"),
        (MISSING, REFUSED, Cause.SERVER, "no answer"),
        (REFUSED, EMPTY, Cause.MODEL_A, "refused"),
    ],
)
def test_answers_that_are_not_there(a: Said, b: Said, cause: Cause, reason: str) -> None:
    assert attribute(a, b) == Attribution(cause, reason)


@pytest.mark.parametrize(
    ("a", "b", "failed", "cause"),
    [
        # the judge's context: whose answer was too much for it
        (LONG, FINE, twice(Status.ERROR, OVERFLOW), Cause.MODEL_A),
        (FINE, LONG, twice(Status.ERROR, "HTTP 413: Payload Too Large"), Cause.MODEL_B),
        (LONG, FINE, twice(Status.ERROR, "HTTP 500: prompt is too long: 9000 tokens"), Cause.MODEL_A),
        (LONG, FINE, twice(Status.ERROR, "the prompt has 9000 tokens, the context window 8192"), Cause.MODEL_A),
        (LONG, LONG._replace(characters=60_000), twice(Status.ERROR, OVERFLOW), Cause.BOTH),
        (FINE, OTHER, twice(Status.ERROR, OVERFLOW), Cause.JUDGE),  # a long prompt, see `prompt_characters` below
        # what was to be read was not
        (MARKED, FINE, twice(Status.UNPARSED), Cause.MODEL_A),
        (FINE, MARKED, twice(Status.EMPTY), Cause.MODEL_B),
        (FINE, MARKED, twice(Status.TRUNCATED), Cause.MODEL_B),
        (MARKED, MARKED, twice(Status.UNPARSED), Cause.JUDGE),
        (FINE, OTHER, twice(Status.UNPARSED), Cause.JUDGE),
        (MARKED, FINE, twice(Status.UNPARSED)[:1], Cause.JUDGE),  # it was read from the other seat
        (EMPTY, FINE, twice(Status.UNPARSED), Cause.MODEL_A),
        (EMPTY, EMPTY, twice(Status.UNPARSED), Cause.JUDGE),
        # the judge and its server
        (MARKED, FINE, twice(Status.REFUSED), Cause.JUDGE),
        (FINE, OTHER, twice(Status.ERROR, "HTTP 400: bad schema"), Cause.JUDGE),
        (MARKED, FINE, twice(Status.ERROR, "HTTP 503: busy"), Cause.SERVER),
        (LONG, FINE, twice(Status.ERROR, "no answer within 120 s"), Cause.SERVER),
        (FINE, OTHER, twice(Status.ERROR, "HTTP 200: not JSON"), Cause.SERVER),
        (FINE, OTHER, twice(None), Cause.JUDGE),
        (FINE, OTHER, [], Cause.JUDGE),
        # all of them must name one contestant
        (LONG, FINE, [FailedVerdict(Status.ERROR, OVERFLOW), FailedVerdict(Status.REFUSED)], Cause.JUDGE),
        (LONG, FINE, [FailedVerdict(Status.ERROR, OVERFLOW), FailedVerdict(Status.ERROR, "HTTP 503: x")], Cause.SERVER),
        (
            LONG,
            FINE._replace(marked=True),
            [FailedVerdict(Status.ERROR, OVERFLOW), FailedVerdict(Status.UNPARSED)],
            Cause.JUDGE,
        ),
    ],
)
def test_verdicts_that_are_not_there(a: Said, b: Said, failed: list[FailedVerdict], cause: Cause) -> None:
    long_prompt = 0 if LONG in (a, b) else 50_000
    assert attribute(a, b, failed, prompt_characters=long_prompt).cause is cause
    assert attribute(b, a, failed, prompt_characters=long_prompt).cause is cause.swap()


said = st.builds(
    Said,
    st.sampled_from([None, *Status]),
    st.sampled_from([None, "HTTP 400: no", "HTTP 503: busy", "HTTP 500: x", "no answer within 9 s", "ValueError: x"]),
    st.sampled_from([0, 10, 3000, 90_000]),
    st.booleans(),
)
silent = st.builds(
    FailedVerdict,
    st.sampled_from([None, *(s for s in Status if s is not Status.OK)]),
    st.sampled_from([None, OVERFLOW, "HTTP 400: no", "HTTP 503: busy", "no answer within 9 s"]),
)


@given(said, said, st.lists(silent, max_size=6), st.integers(0, 10**5))
def test_it_knows_no_order_and_no_side(a: Said, b: Said, failed: list[FailedVerdict], size: int) -> None:
    one = attribute(a, b, failed, prompt_characters=size)
    other = attribute(b, a, failed[::-1], prompt_characters=size)
    assert other.cause is one.cause.swap()
    assert one.cause.swap().swap() is one.cause


@given(said, said, st.lists(silent, max_size=6))
def test_a_judges_or_a_servers_failure_is_nobodys_loss(a: Said, b: Said, failed: list[FailedVerdict]) -> None:
    found = attribute(a, b, failed)
    assert (found.winner is not None) == (found.cause in (Cause.MODEL_A, Cause.MODEL_B))
    gone = {None, Status.ERROR, Status.REFUSED}
    passing = {"HTTP 503: busy", "no answer within 9 s"}
    everyone: list[Said | FailedVerdict] = [a, b, *failed]
    servers = [one for one in everyone if one.status is Status.ERROR and one.error in passing]
    refused = [verdict for verdict in failed if verdict.status is Status.REFUSED]
    if {a.status, b.status} & gone:
        assert found.winner is None or not {*servers} & {a, b}
    else:
        assert found.winner is None or not (servers or refused)


@given(said, said, st.lists(silent, max_size=6))
def test_who_wins_by_the_others_failure_has_an_answer(a: Said, b: Said, failed: list[FailedVerdict]) -> None:
    winner = attribute(a, b, failed).winner
    if winner is not None:
        assert (a if winner is Winner.MODEL_A else b).status not in (None, Status.ERROR, Status.REFUSED)
