"""Battles of scripted models that a server judges by batches, and what tests ask of it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arenaloop.arena.batches import play_batches
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.config import BatchSettings
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import Price
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.batch_api import BatchApi
from arenaloop.store import Store
from arenaloop.types import Prompt, Request, Sampling, content_hash

PROMPTS = [Prompt.of(f"question {n}") for n in range(12)]
SETTINGS = BatchSettings(first_pause=1, longest_pause=4)


def number(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def scores(request: Request) -> str:
    a, b = (number(request.messages[0]["content"].partition("Reference")[0], n) % 9 + 1 for n in "ab")
    return f"Explained.\nScores: {a} {b}"


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class Api(BatchApi):
    """What becomes of each line is decided by `mishap`, from the line and how often its id was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.mishap: Callable[[dict[str, Any], int], Any] = lambda line, times: None
        self.times: Counter[str] = Counter()

    def result(self, request: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        self.times[request["custom_id"]] += 1
        told = self.mishap(request, self.times[request["custom_id"]])
        return super().result(request) if told is None else told


async def no_sleep(seconds: float) -> None:
    assert seconds > 0


def make_plan(url: str, **options: Any) -> BattlePlan:
    names = ["a", "b", "c"]
    ids = [p.id for p in PROMPTS]
    contestants = [
        Contestant(n, ScriptedModel(n, lambda request, n=n: f"{n}: {number(n, request.messages[-1]['content'])}"))  # type: ignore[misc]
        for n in names
    ]
    model = OpenAIModel("judge", "judge", url, price=Price(1.0, 2.0, batch=0.5))
    judge = PairwiseJudge(model, template="pairwise", sampling=Sampling(max_tokens=64))
    return BattlePlan(contestants, judge, ids, schedule("all", names, ids, 0), **options)


def judged(plan: BattlePlan, store: Store, folder: Path, settings: BatchSettings = SETTINGS, **options: Any) -> Any:
    return play_batches(plan, store, folder, settings, sleep=no_sleep, **options)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT key, attempt, status, sample, calls, usd, tokens_in FROM verdicts").fetchall()


def garbage(line: dict[str, Any]) -> tuple[dict[str, Any], None]:
    reply = {"choices": [{"message": {"content": "I cannot say"}, "finish_reason": "stop"}], "usage": {}}
    return {"status_code": 200, "request_id": "r", "body": reply}, None


def statuses(store: Store) -> Counter[str]:
    return Counter(status for (status,) in store._reader.execute("SELECT status FROM verdicts"))
