"""Contestants and judges by script, and a fight between them: what the tests of the runner share."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.pairings import Pairing, Summary, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Contestant
from arenaloop.calls.progress import Tally
from arenaloop.errors import EndpointDownError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Sampling, Status, content_hash

Heard = Counter[tuple[str, int]]
PROMPTS = [Prompt.of(f"question {n}") for n in range(12)]
LONG = [
    Prompt(({"role": "user", "content": f"question {n}"},), tuple(f"follow {i}" for i in range(n % 3)))
    for n in range(9)
]


def number(*parts: object) -> int:
    return int(content_hash(*parts)[:8], 16)


def contestant(name: str, heard: list[Request] | None = None, **options: object) -> Contestant:
    """Answers with a text that depends on its name and the whole conversation."""

    async def script(request: Request) -> str:
        if heard is not None:
            heard.append(request)
        for _ in range(number(name, request.key) % 4):  # answers arrive in another order than they were asked in
            await asyncio.sleep(0)
        said = [m["content"] for m in request.messages]
        return f"{name}: {number(name, said) % 1000}"

    return Contestant(name, ScriptedModel(name, script, **options), Sampling())  # type: ignore[arg-type]


def scores(first: str, second: str, sample: int) -> str:
    a, b = number(first, sample) % 9 + 1, number(second, sample) % 9 + 1
    return f"Explained.\nScores: {a} {b}"


class Judging:
    """A judge by script that counts what it is asked, by judge prompt and sample."""

    def __init__(self, script: Callable[[Request], str | Completion] | None = None, concurrency: int = 64) -> None:
        self.heard: Heard = Counter()
        self.requests: list[Request] = []
        self.running = self.most = 0
        self.script = script or self.decide

        async def count(request: Request) -> str | Completion:
            self.heard[request.messages[0]["content"], request.sample] += 1
            self.requests.append(request)
            self.running += 1
            self.most = max(self.most, self.running)
            for _ in range(number(request.key) % 3):
                await asyncio.sleep(0)
            self.running -= 1
            return self.script(request)

        self.judge = PairwiseJudge(ScriptedModel("judge", count, concurrency=concurrency))

    @staticmethod
    def decide(request: Request) -> str:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        _, first, second = found
        return scores(repr(first), repr(second), request.sample)


def make_plan(
    judging: Judging,
    contestants: Sequence[Contestant],
    prompts: Sequence[Prompt] = PROMPTS,
    pairs: str = "all",
    **options: object,
) -> BattlePlan:
    names, ids = [c.name for c in contestants], [p.id for p in prompts]
    return BattlePlan(contestants, judging.judge, ids, schedule(pairs, names, ids, 0), **options)  # type: ignore[arg-type]


def fight(path: Path, plan: BattlePlan, prompts: Sequence[Prompt] = PROMPTS) -> tuple[list[Pairing], Tally]:
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        tally = play(plan, store)
        return list(pairings(plan, store)), tally


def outcomes(found: Sequence[Pairing]) -> list[tuple[object, ...]]:
    """What a battle came to; tags in prompts differ between files, as each has its own secret."""
    return sorted((p.prompt_id, p.model_a, p.model_b, [(b.winner, b.score_a) for b in p.battles]) for p in found)


class Chunky:
    """A chunked model whose texts depend on their chunk, as those of a real one do through padding and rounding."""

    def __init__(self, name: str = "local", size: int = 4, die_at: int | None = None) -> None:
        self.name, self.size, self.concurrency = name, size, size
        self.fingerprint = content_hash("chunky", name)
        self.die_at = die_at
        self.chunks: list[list[str]] = []
        self.closed = 0

    def plan(self, requests: Sequence[Request]) -> list[list[Request]]:
        ordered = sorted(requests, key=lambda r: (len(r.messages[-1]["content"]), r.key))
        return [ordered[i : i + self.size] for i in range(0, len(ordered), self.size)]

    async def complete(self, request: Request) -> Completion:
        raise AssertionError("a chunked model is asked in chunks")

    async def complete_many(self, requests: Sequence[Request]) -> AsyncIterator[tuple[Request, Completion]]:
        self.chunks.append([r.messages[-1]["content"] for r in requests])
        whole = [list(r.messages) for r in requests]
        for n, request in enumerate(requests):
            await asyncio.sleep(0)
            if self.die_at is not None and len(self.chunks) > self.die_at and n == len(requests) // 2:
                raise EndpointDownError("out of memory")
            yield request, Completion(f"{self.name} {number(whole, n)}", usd=0.0)

    async def aclose(self) -> None:
        self.closed += 1


def failing(times: int, status: Status = Status.UNPARSED) -> Callable[[Request], str | Completion]:
    """Fails the first `times` samples of every seating."""

    def script(request: Request) -> str | Completion:
        if request.sample >= times:
            return Judging.decide(request)
        if status is Status.UNPARSED:
            return "I would rather not say."
        return Completion("Scores: 9 1", status=status, error="HTTP 500", usd=0.0)

    return script


def summarise(found: Sequence[Pairing]) -> Summary:
    summary = Summary()
    for pairing in found:
        summary.add(pairing)
    return summary
