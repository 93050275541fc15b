"""Budgets are hard stops: counted over all invocations, never overshot by more than is in flight, and resumable."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scripted_battles import PROMPTS, Chunky, Judging, contestant, make_plan, outcomes

from arenaloop.arena.battles import play
from arenaloop.arena.pairings import Pairing, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.budget import Budget, require_prices
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError, ConfigError, StoppedError
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.base import ADMISSION
from arenaloop.models.openai_wire import Price
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request

ALL = 2 * len(PROMPTS) + 2 * len(PROMPTS)  # answers of two contestants, verdicts of both seats


def fight(
    path: Path, plan: BattlePlan, budget: Budget, prompts: Sequence[Prompt] = PROMPTS
) -> tuple[list[Pairing], Tally]:
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        tally = play(plan, store, budget=budget)
        return list(pairings(plan, store)), tally


def stored_calls(path: Path) -> int:
    with Store(path, readonly=True) as store:
        return store.usage().calls


def two(heard: list[Request]) -> list[Contestant]:
    return [contestant("a", heard), contestant("b", heard)]


class Priced(ScriptedModel):
    """A model whose calls cost ten cents each; `price` is what tells a paid model from a free one."""

    price: Price | None = Price(1.0, 1.0)
    each: float | None = 0.1

    async def complete(self, request: Request) -> Completion:
        said = await super().complete(request)
        return Completion(text=said.text, usd=self.each, calls=1)


def priced_judge(judging: Judging, **options: object) -> Priced:
    judge = Priced("judge", judging.judge.model._script, **options)  # type: ignore[attr-defined, arg-type]
    judging.judge = PairwiseJudge(judge)
    return judge


# ---------------------------------------------------------------------- calls


@pytest.mark.parametrize("workers", [1, 3, 64])
@pytest.mark.parametrize("calls", [1, 2, 7, 24, 25, ALL - 1])
def test_no_call_is_sent_beyond_the_budget_and_a_higher_one_resumes(tmp_path: Path, calls: int, workers: int) -> None:
    whole, _ = fight(tmp_path / "whole.db", make_plan(Judging(), two([])), Budget())
    heard: list[Request] = []
    judging = Judging()
    plan = make_plan(judging, two(heard), concurrency=workers)
    path = tmp_path / "arena.db"
    with pytest.raises(BudgetSpentError, match=f"{calls} of {calls} calls.*missing.*higher budget") as caught:
        fight(path, plan, Budget(calls=calls))
    assert caught.value.exit_code == 4
    assert len(heard) + judging.heard.total() == calls == stored_calls(path)
    found, tally = fight(path, plan, Budget(calls=ALL))
    assert outcomes(found) == outcomes(whole)
    assert tally.calls == ALL - calls
    assert len(heard) + judging.heard.total() == ALL == stored_calls(path)  # nothing was asked twice


def test_what_is_just_enough_is_enough(path: Path) -> None:
    budget = Budget(calls=ALL)
    _, tally = fight(path, make_plan(Judging(), two([])), budget)
    assert tally.calls == budget.spent_calls == ALL


def test_earlier_invocations_count(path: Path) -> None:
    judging = Judging()
    plan = make_plan(judging, two([]))
    for _ in range(2):
        with pytest.raises(BudgetSpentError, match="10 of 10 calls"):
            fight(path, plan, Budget(calls=10))
    assert stored_calls(path) == 10


def test_one_budget_serves_several_plays(path: Path) -> None:
    budget = Budget(calls=ALL + 3)
    fight(path, make_plan(Judging(), two([])), budget)
    other = make_plan(Judging(), [contestant("c"), contestant("d")])
    with pytest.raises(BudgetSpentError, match=f"{ALL + 3} of {ALL + 3}"):
        fight(path, other, budget)
    assert stored_calls(path) == ALL + 3 == budget.spent_calls


def test_the_message_says_what_is_missing(path: Path) -> None:
    with pytest.raises(BudgetSpentError) as caught:
        fight(path, make_plan(Judging(), two([]), concurrency=1), Budget(calls=7))
    # one worker: both answers and both seats of a prompt, then the next one
    assert str(caught.value) == (
        "the budget is spent (7 of 7 calls); 21 of 24 verdicts missing; with a higher budget the same command goes on"
    )


def test_a_finished_run_needs_no_budget(path: Path) -> None:
    plan = make_plan(Judging(), two([]))
    before, _ = fight(path, plan, Budget())
    after, tally = fight(path, plan, Budget(calls=1))
    assert after == before
    assert tally.calls == 0


def test_a_rule_judges_also_when_the_calls_are_spent(path: Path) -> None:
    plan = make_plan(Judging(), two([]))
    plan = BattlePlan(plan.contestants, BuiltinJudge("longest"), plan.prompt_ids, plan.schedule)
    found, tally = fight(path, plan, Budget(calls=24))
    assert all(p.battles for p in found)
    assert tally.calls == 24


def test_a_chunk_is_asked_whole_or_not_at_all(path: Path) -> None:
    model = Chunky(size=4)
    plan = make_plan(Judging(), [Contestant("local", model), contestant("b")], concurrency=1)
    with pytest.raises(BudgetSpentError):
        fight(path, plan, Budget(calls=6))
    with Store(path, readonly=True) as store:
        ((local,),) = store._reader.execute("SELECT COUNT(*) FROM responses WHERE model = 'local'")
    assert (local, len(model.chunks)) == (4, 1)  # a second chunk would have been calls 5 to 8 at best
    assert stored_calls(path) <= 6


class Queueing(ScriptedModel):
    """One call at a time; the others wait in the model, and ask for admission when their turn comes."""

    queues = True
    price = Price(1.0, 1.0)

    def __init__(self, name: str, **options: object) -> None:
        super().__init__(name, lambda _: "Scores: 6 5", **options)  # type: ignore[arg-type]
        self.sent = 0

    async def complete(self, request: Request) -> Completion:
        self.turn = getattr(self, "turn", None) or asyncio.Lock()
        async with self.turn:
            if (admission := ADMISSION.get()) is not None:
                await admission.enter()
            self.sent += 1
            await asyncio.sleep(0)
            return Completion(text="Scores: 6 5", usd=0.1)


def test_what_waits_for_its_turn_is_not_in_flight(path: Path) -> None:
    """The budget is filled by the calls that were sent, not by those that only wait: here one is sent at a time."""
    judging = Judging()
    judging.judge = PairwiseJudge(judge := Queueing("judge"))
    with pytest.raises(BudgetSpentError):
        fight(path, make_plan(judging, two([]), concurrency=64), Budget(usd=0.95))
    assert judge.sent == 9
    with Store(path, readonly=True) as store:
        assert store.usage().usd == pytest.approx(0.9)


@settings(max_examples=20)
@given(st.lists(st.integers(1, ALL - 1), max_size=3, unique=True), st.integers(1, 70), st.integers(1, 9))
@example(list(range(1, ALL)), 70, 9)
def test_any_budget_any_concurrency(budgets: list[int], workers: int, slots: int) -> None:
    heard: list[Request] = []
    judging = Judging(concurrency=slots)
    plan = make_plan(judging, two(heard), concurrency=workers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arena.db"
        for done in [*sorted(budgets), ALL]:
            try:
                _, tally = fight(path, plan, Budget(calls=done))
                assert tally.verdicts == 24
            except BudgetSpentError:
                assert done < ALL
            assert len(heard) + judging.heard.total() == done == stored_calls(path)


# ---------------------------------------------------------------------- money


@pytest.mark.parametrize("workers", [1, 2, 5, 20])
def test_no_call_begins_that_would_pass_the_dollars(path: Path, workers: int) -> None:
    judging = Judging()
    priced_judge(judging)
    plan = make_plan(judging, two([]), concurrency=workers)
    with pytest.raises(BudgetSpentError, match=r"\$1\.00 of \$1\.05, and the next call is likely to cost \$0\.10"):
        fight(path, plan, Budget(usd=1.05))
    with Store(path, readonly=True) as store:
        spent = store.usage().usd
    assert spent is not None
    assert spent == pytest.approx(1.0)
    assert spent == pytest.approx(0.1 * judging.heard.total())  # what was in flight is stored, too
    found, tally = fight(path, plan, Budget(usd=10.0))
    assert all(p.battles for p in found)
    assert judging.heard.total() == 24
    assert tally.usd == pytest.approx(2.4 - spent)


def test_a_price_that_is_not_known_is_refused_before_the_first_call(path: Path) -> None:
    heard: list[Request] = []
    judging = Judging()
    priced_judge(judging).price = None
    with pytest.raises(ConfigError, match=r"price of 'judge'.*price: \{input") as caught:
        fight(path, make_plan(judging, two(heard)), Budget(usd=1.0))
    assert caught.value.exit_code == 2
    assert not heard
    assert not judging.heard
    require_prices(Budget(calls=1), make_plan(judging, two([])).models)  # calls need no price


def test_calls_whose_price_is_not_known_stop_the_run(path: Path) -> None:
    """A server that has a price and reports no tokens: dollars cannot be counted, so the run does not go on blind."""
    judging = Judging()
    priced_judge(judging).each = None
    with pytest.raises(StoppedError, match="does not say how many tokens") as stopped:
        fight(path, make_plan(judging, two([]), concurrency=3), Budget(usd=1.0))
    assert "higher budget" not in str(stopped.value)  # none would help
    assert 1 <= judging.heard.total() <= 3
    with pytest.raises(ConfigError, match="earlier calls"):
        fight(path, make_plan(judging, two([])), Budget(usd=1.0))


def test_free_models_cost_nothing(path: Path) -> None:
    budget = Budget(usd=0.01)
    found, tally = fight(path, make_plan(Judging(), two([])), budget)
    assert all(p.battles for p in found)
    assert (tally.usd, budget.spent_usd) == (0.0, 0.0)


def test_the_price_of_a_chunk_is_the_sum_of_its_rows(path: Path) -> None:
    class Rented(Chunky):
        price = Price(1.0, 1.0)

        async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
            async for request, said in super().complete_many(requests):
                yield request, Completion(said.text, usd=0.25)

    with pytest.raises(BudgetSpentError, match=r"\$1\.00 of \$1\.50, and the next call is likely to cost \$1\.00"):
        fight(path, make_plan(Judging(), [Contestant("local", Rented(size=4)), contestant("b")]), Budget(usd=1.5))


@pytest.mark.parametrize("budget", [{"usd": float("nan")}, {"usd": float("inf")}, {"usd": -1.0}, {"calls": -1}])
def test_a_budget_that_would_stop_nothing_or_everything_is_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a budget of"):
        Budget(**budget)
