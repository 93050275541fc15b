"""The one rule of asking again."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.reask import ANSWERED, DECIDED, final, next_sample
from arenaloop.types import Status

STATUSES = st.lists(st.sampled_from(list(Status)), max_size=4)


class Row(NamedTuple):
    """Something with a status."""

    status: Status
    sample: int


def asked_next(stored: list[Status], tried: dict[int, int], reask: int = 2, times: int = 1) -> int | None:
    return next_sample(lambda n: stored[n] if n < len(stored) else None, lambda n: tried.get(n, 0), reask, times=times)


OK, UNPARSED, ERROR, REFUSED = Status.OK, Status.UNPARSED, Status.ERROR, Status.REFUSED


@pytest.mark.parametrize(
    ("stored", "tried", "expected"),
    [
        ([], {}, 0),
        ([OK], {}, None),
        ([UNPARSED], {0: 1}, 1),  # garbage is asked again, warmer
        ([UNPARSED, UNPARSED, UNPARSED], {0: 1, 1: 1, 2: 1}, None),
        ([ERROR], {0: 1}, None),  # not mended by asking warmer
        ([REFUSED], {0: 1}, None),
        ([UNPARSED, ERROR], {0: 1, 1: 1}, None),
        ([UNPARSED], {}, 0),  # of an earlier invocation: from the first sample on
        ([ERROR, UNPARSED], {}, 0),
        ([UNPARSED, OK], {}, None),
        ([UNPARSED, UNPARSED, OK], {0: 1}, None),  # decided by a later sample of an earlier invocation
        ([UNPARSED, UNPARSED, UNPARSED], {0: 1}, 1),
    ],
)
def test_which_sample_is_next(stored: list[Status], tried: dict[int, int], expected: int | None) -> None:
    assert asked_next(stored, tried) == expected


def test_an_error_may_be_tried_twice_in_a_round() -> None:
    assert asked_next([ERROR], {0: 1}, times=2) == 0
    assert asked_next([ERROR], {0: 2}, times=2) is None
    assert asked_next([REFUSED], {0: 1}, times=2) is None


@given(STATUSES, st.integers(0, 3))
def test_asking_ends_decided_or_with_nothing_left(outcomes: list[Status], reask: int) -> None:
    """Played out from nothing: each sample is asked at most once, in order, and none after one that decides."""
    stored: dict[int, Status] = {}
    tried: Counter[int] = Counter()
    heard = []
    while (sample := next_sample(stored.get, tried.__getitem__, reask)) is not None:
        assert sample not in heard
        heard.append(sample)
        stored[sample] = outcomes[sample] if sample < len(outcomes) else OK
        if stored[sample] not in DECIDED:
            tried[sample] += 1
    assert heard == list(range(len(heard)))
    assert len(heard) <= reask + 1
    last = stored[heard[-1]]
    assert last in (OK, ERROR, REFUSED) or len(heard) == reask + 1
    row = final(lambda n: Row(stored[n], n) if n in stored else None, reask)
    assert row is not None
    assert row.sample == heard[-1]


@given(STATUSES, st.integers(0, 3))
def test_the_next_run_asks_exactly_what_is_not_decided(stored: list[Status], reask: int) -> None:
    first = stored[: reask + 1]
    assert (asked_next(first, {}, reask) is None) == (OK in first)


@given(STATUSES, st.integers(0, 3))
def test_the_first_decided_sample_counts(stored: list[Status], reask: int) -> None:
    row = final(lambda n: Row(stored[n], n) if n < len(stored) else None, reask)
    shown = stored[: reask + 1]
    if not shown:
        assert row is None
    else:
        assert row is not None
        assert row.sample == (shown.index(OK) if OK in shown else len(shown) - 1)


def test_an_answer_that_was_cut_off_stands() -> None:
    for status in Status:
        stands = next_sample(lambda _, s=status: s, lambda _: 0, 0, done=ANSWERED) is None  # type: ignore[misc]
        assert stands == (status in (OK, Status.TRUNCATED, Status.EMPTY))
