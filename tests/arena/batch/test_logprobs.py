"""Batches of a judge that is read by log-probabilities: as live calls ask, and not ordered where there are none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import summarise

from arenaloop.arena.batches import play_batches
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.pairings import pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.config import BatchSettings
from arenaloop.errors import StoppedError
from arenaloop.judges.pairwise import NoLogprobsError, PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.sandbox.server import running_server
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request

PROMPTS = [Prompt.of(f"question {n}") for n in range(6)]
SETTINGS = BatchSettings(first_pause=1, longest_pause=4)


class Api(BatchApi):
    """Gives at most so many alternatives, and refuses requests for more."""

    most = 20

    def result(self, request: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        asked = request["body"].get("top_logprobs", 0)
        if asked > self.most:
            words = f"Invalid value for 'top_logprobs': {asked}, at most {self.most}"
            return {"status_code": 400, "request_id": "r", "body": {"error": {"message": words}}}, None
        top = [{"token": "1", "logprob": math.log(0.7)}, {"token": "2", "logprob": math.log(0.3)}][:asked]
        choice = {"message": {"content": "1"}, "finish_reason": "stop"}
        logprobs = {"content": [{"token": "1", "logprob": math.log(0.7), "top_logprobs": top}]}
        usage = {"prompt_tokens": 9, "completion_tokens": 1}
        return {
            "status_code": 200,
            "request_id": "r",
            "body": {"choices": [choice | {"logprobs": logprobs}], "usage": usage},
        }, None


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def live() -> list[Request]:
    return []


@pytest.fixture
def plan(api: Api, live: list[Request]) -> Iterator[BattlePlan]:
    def judge(request: Request) -> str:
        live.append(request)
        return "1"

    names, ids = ["a", "b"], [p.id for p in PROMPTS]
    contestants = [
        Contestant(n, ScriptedModel(n, lambda request, n=n: f"{n}: {request.messages[-1]['content']}"))  # type: ignore[misc]
        for n in names
    ]
    with running_server({"judge": judge}, api) as url:
        deciding = PairwiseJudge(OpenAIModel("judge", "judge", url), template="short", verdict="logprob")
        yield BattlePlan(contestants, deciding, ids, schedule("all", names, ids, 0))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        yield store


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


def known(plan: BattlePlan) -> PairwiseJudge:
    """The judge, of which one answer has shown that it gives log-probabilities."""
    judge = plan.judge
    assert isinstance(judge, PairwiseJudge)
    judge.probe.read(Completion("1", logprobs=({"1": -0.1},)))
    return judge


def test_a_batch_asks_for_as_many_alternatives_as_a_live_call(
    api: Api, plan: BattlePlan, live: list[Request], store: Store, tmp_path: Path
) -> None:
    known(plan)
    play_batches(plan, store, tmp_path / "batches", SETTINGS, sleep=no_sleep)
    assert live == []
    assert {(line["body"]["logprobs"], line["body"]["top_logprobs"]) for line in api.heard} == {(True, 20)}
    assert summarise(list(pairings(plan, store))).decided == len(PROMPTS)


def test_a_server_that_gives_fewer_is_asked_for_fewer_in_the_next_batch(
    api: Api, plan: BattlePlan, store: Store, tmp_path: Path
) -> None:
    api.most = 5
    known(plan)
    play_batches(plan, store, tmp_path / "batches", SETTINGS, sleep=no_sleep)
    asked = [line["body"]["top_logprobs"] for line in api.heard]
    assert asked == [20] * 12 + [5] * 12
    assert summarise(list(pairings(plan, store))).decided == len(PROMPTS)


def test_nothing_is_ordered_of_a_server_that_gives_none(
    api: Api, plan: BattlePlan, live: list[Request], store: Store, tmp_path: Path
) -> None:
    """One live call tells; also where the same command comes again."""
    for times in (1, 2):
        with pytest.raises(NoLogprobsError, match="answers without log-probabilities"):
            play_batches(plan, store, tmp_path / "batches", SETTINGS, sleep=no_sleep)
        assert len(live) == times
        plan = replace(plan, judge=PairwiseJudge(plan.models[-1], template="short", verdict="logprob"))
    assert api.batches == {}


def test_results_without_log_probabilities_are_collected(plan: BattlePlan, store: Store, tmp_path: Path) -> None:
    """What was ordered is kept, whatever it is; only no more of it is ordered."""
    folder = BatchSettings(folder=str(tmp_path / "carried"))  # nobody can be asked beforehand
    with pytest.raises(StoppedError, match="without results"):
        play_batches(plan, store, tmp_path, folder, sleep=no_sleep)
    (path,) = (tmp_path / "carried").glob("*.jsonl")
    reply = {"choices": [{"message": {"content": "1"}, "finish_reason": "stop"}], "usage": {}}
    keys = [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]
    rows = [{"custom_id": key, "response": {"status_code": 200, "body": reply}} for key in keys]
    path.with_suffix(".results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(NoLogprobsError):
        play_batches(plan, store, tmp_path, folder, sleep=no_sleep)
    with Store(store.path, readonly=True) as read:
        statuses = dict(read._reader.execute("SELECT status, COUNT(*) FROM verdicts GROUP BY status"))
    assert statuses == {"unparsed": 12}
