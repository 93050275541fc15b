"""A budget buys whole battles: what has begun is paid to its end before the next begins."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.budget import Budget
from arenaloop.calls.opening import Need, Opening
from arenaloop.calls.units import Asked
from arenaloop.models.usage import Price


class Paid:
    """A model of which each call costs the same."""

    def __init__(self, usd: float) -> None:
        self.usd, self.price = usd, Price(1.0, 1.0) if usd else Price(0.0, 0.0)


def bought(budget: Budget, needs: Sequence[Mapping[Asked, int]]) -> list[int]:
    """The works that were paid whole, where each makes its calls one by one, all at once beside the others."""
    whole: list[int] = []
    spent: list[int] = []

    async def work(at: int, opening: Opening, need: Need) -> None:
        await opening.begin(need)
        try:
            for asked in need.elements():
                await asyncio.sleep(0)
                usd = asked.model.usd  # type: ignore[attr-defined]
                if (
                    spent
                    or budget.refusal(0)
                    or (budget.usd is not None and budget.spent_usd + usd > budget.usd + 1e-9)
                ):
                    spent.append(at)  # as the gate does: nobody is asked any more
                    return
                budget.spend(1, usd)
                asked.cost(usd)
            whole.append(at)
        finally:
            opening.end(need)

    async def play() -> None:
        opening = Opening(budget)
        await asyncio.gather(*(work(at, opening, Need(need)) for at, need in enumerate(needs)))

    asyncio.run(play())
    return sorted(whole)


def models(*usd: float) -> list[Asked]:
    return [Asked(Paid(one), 1_000) for one in usd]  # type: ignore[arg-type]


@given(
    kinds=st.lists(st.tuples(*[st.integers(0, 3)] * 3).filter(any), min_size=1, max_size=30), calls=st.integers(0, 200)
)
def test_calls_buy_the_first_works_whole(kinds: list[tuple[int, int, int]], calls: int) -> None:
    asked = models(0.0, 0.0, 0.0)
    needs = [dict(zip(asked, kind, strict=True)) for kind in kinds]
    spent, most = 0, 0
    for kind in kinds:
        if (spent := spent + sum(kind)) > calls:
            break
        most += 1
    assert bought(Budget(calls=calls), needs) == list(range(most))


@pytest.mark.parametrize("usd", [0.05, 1.0, 3.3, 100.0])
def test_dollars_buy_works_whole_whatever_each_call_costs(usd: float) -> None:
    cheap, dear, judge = models(0.001, 0.05, 0.01)
    needs = [{cheap: 1, dear: 1, judge: 2}] * 200
    budget = Budget(usd=usd)
    affordable = min(200, int(usd / 0.071 + 1e-9))
    assert bought(budget, needs) == list(range(affordable))


def test_what_is_stopped_while_it_waits_leaves_the_queue() -> None:
    async def play() -> None:
        (asked,) = models(0.0)
        opening = Opening(Budget(calls=2))
        await opening.begin(Need({asked: 2}))
        waiting: list[Any] = [asyncio.create_task(opening.begin(Need({asked: 2}))) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert not waiting[1].done()
        opening.end(Need({asked: 2}))
        await asyncio.wait_for(waiting[1], 5)
        assert not waiting[2].done()
        waiting[2].cancel()

    asyncio.run(play())
