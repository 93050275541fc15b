"""A budget holds for batches, whatever their results cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batched_battles import PROMPTS, SETTINGS, Api, judged, make_plan

from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.batch import forget_batches
from arenaloop.calls.budget import Budget
from arenaloop.errors import BudgetSpentError, ConfigError, StoppedError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.store import Store

# ---------------------------------------------------------------------- budgets


def test_a_budget_of_calls_is_never_overshot_and_can_be_raised(
    api: Api, url: str, store: Store, tmp_path: Path
) -> None:
    # scripted contestants' answers count as calls, too: 36 of them
    with pytest.raises(BudgetSpentError, match=r"the budget is spent \(66 of 66 calls\)"):
        judged(make_plan(url), store, tmp_path, budget=Budget(calls=66))
    assert len(api.heard) == 30
    with pytest.raises(BudgetSpentError):
        judged(make_plan(url), store, tmp_path, budget=Budget(calls=66))
    assert len(api.heard) == 30
    judged(make_plan(url), store, tmp_path, budget=Budget(calls=108))
    assert len(api.heard) == 72
    assert max(api.times.values()) == 1


def test_a_budget_in_dollars_is_never_overshot(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    """Requests are cut to what may be spent; what they did not spend buys another batch."""
    with Store(tmp_path / "whole.db") as other:
        other.add_prompts(PROMPTS)
        other.flush()
        judged(make_plan(url), other, tmp_path)
        whole = other.usage().usd
    assert whole is not None
    made = len(api.batches)
    with pytest.raises(BudgetSpentError, match="may cost more than is left"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=whole / 2))
    spent = store.usage().usd
    assert spent is not None
    assert 0.25 * whole < spent <= whole / 2
    assert len(api.batches) > made + 1


def billed(told: dict[str, Any] | None, density: float) -> tuple[Callable[[dict[str, Any], int], Any], list[float]]:
    """Answers that cost a token for so many bytes of a request; the server tells `told` of them (None: the truth)."""
    bill: list[float] = []

    def mishap(line: dict[str, Any], times: int) -> Any:
        size = len(json.dumps(line["body"], ensure_ascii=False).encode())
        truth = {"prompt_tokens": round(size / density), "completion_tokens": 9}
        bill.append(0.5 * (truth["prompt_tokens"] * 1.0 + 9 * 2.0) / 1e6)
        choice = {"message": {"content": "I say\nScores: 3 4"}, "finish_reason": "stop"}
        reply = {"choices": [choice], "usage": truth if told is None else told}
        return {"status_code": 200, "body": reply}, None

    return mishap, bill


@pytest.mark.parametrize(
    ("told", "density"), [({}, 4.0), ({"prompt_tokens": 0, "completion_tokens": 0}, 4.0), (None, 1.5), (None, 4.0)]
)
def test_a_batch_is_within_the_budget_whatever_its_results_tell(
    api: Api, url: str, store: Store, tmp_path: Path, told: dict[str, Any] | None, density: float
) -> None:
    """Missing usage is estimated before the next file is written, and the first file takes a token for each byte."""
    api.mishap, bill = billed(told, density)
    usd = 0.008
    with pytest.raises(BudgetSpentError, match="may cost more than is left"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=usd))
    usage = store.usage()
    assert usage.usd is not None
    assert 0.6 * usd < sum(bill) <= usd
    assert usage.usd <= usd
    if told is None:
        assert (usage.usd, usage.usd_estimated) == (pytest.approx(sum(bill)), 0.0)
    else:
        assert usage.usd_estimated == usage.usd >= sum(bill)
    assert usage.calls_cut_off == 0


def test_results_that_count_what_no_price_covers_stop_the_next_batch(
    api: Api, url: str, store: Store, tmp_path: Path
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "search_units": 2}
    api.mishap, bill = billed(usage, 4.0)
    with pytest.raises(StoppedError, match=r"what no price covers \(search_units: 2\)"):
        judged(make_plan(url), store, tmp_path, budget=Budget(usd=0.02))
    assert len(api.batches) == 1
    assert store.usage().tokens_in == 9 * len(bill) > 0  # they are kept


def test_a_batch_that_is_given_up_has_been_sent(api: Api, url: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="not done"):
        judged(make_plan(url), store, tmp_path, SETTINGS.model_copy(update={"wait": False}))
    before = store.usage()
    forget_batches(store, make_plan(url).judges)
    store.flush()
    after = store.usage()
    assert (after.calls - before.calls, after.calls_cut_off) == (72, 72)
    assert after.usd == after.usd_estimated > 0


def test_a_budget_in_dollars_needs_a_price(url: str, store: Store, tmp_path: Path) -> None:
    plan = make_plan(url)
    judge = PairwiseJudge(OpenAIModel("judge", "judge", url), template="pairwise")
    unknown = BattlePlan(plan.contestants, judge, plan.prompt_ids, plan.schedule)
    with pytest.raises(ConfigError, match="price"):
        judged(unknown, store, tmp_path, budget=Budget(usd=1.0))
