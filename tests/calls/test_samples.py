"""K samples of one model: stored one by one, the same at any concurrency, by single calls or by a server's n."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import Chunky

from arenaloop.calls.answers import Answers, Contestant, answer, samples_of
from arenaloop.calls.budget import Budget
from arenaloop.errors import BudgetSpentError
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import Price
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Request, Sampling, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(3)]
WARM = Sampling(temperature=1.0)
IDS = [p.id for p in PROMPTS]


def drawn(request: Request) -> str:
    return f"answer {request.seed % 1_000_003} to {request.messages[-1]['content']}"


def texts(path: Path, contestants: Sequence[Contestant]) -> dict[tuple[str, str], str]:
    """The stored answers, by contestant and prompt."""
    with Store(path, readonly=True) as store:
        answers = Answers(store, contestants, {}, seed=0)
        found = {(c.name, p.id): answers.stored(c.name, p) for c in contestants for p in PROMPTS}
    assert all(response is not None for response in found.values())
    return {key: response.texts[0] for key, response in found.items() if response is not None}


def ask(path: Path, contestants: Sequence[Contestant], **options: Any) -> Any:
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        store.flush()
        return answer(contestants, IDS, store, **options)


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_four_samples_on_three_prompts_are_twelve_rows(path: Path, concurrency: int) -> None:
    heard: list[Request] = []

    def script(request: Request) -> str:
        heard.append(request)
        return drawn(request)

    four = samples_of(Contestant("m", ScriptedModel("m", script), WARM), 4)
    tally = ask(path, four, concurrency=concurrency)
    assert (tally.answers, tally.answers_total, len(heard)) == (12, 12, 12)
    found = texts(path, four)
    assert len(set(found.values())) == 12
    assert ask(path, four).calls == 0
    assert len(heard) == 12
    assert {r.sample for r in heard} == {0, 1, 2, 3}
    assert found == reference(path.parent)  # the same whatever the concurrency: seeds follow from keys


def reference(folder: Path) -> dict[tuple[str, str], str]:
    """What samples asked one after the other are."""
    four = samples_of(Contestant("m", ScriptedModel("m", drawn), WARM), 4)
    for one in four:
        ask(folder / "reference.db", [one], concurrency=1)
    return texts(folder / "reference.db", four)


def test_the_first_sample_is_the_answer_that_one_alone_gives(path: Path) -> None:
    lone = Contestant("m", ScriptedModel("m", drawn), WARM)
    ask(path, [lone])
    four = samples_of(lone, 4)
    assert ask(path, four).calls == 9  # the first is there
    assert texts(path, four[:1]) == {("m#1", i): text for (_, i), text in texts(path, [lone]).items()}


CHILD = """
import os, sys
from arenaloop.calls.answers import Contestant, answer, samples_of
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Sampling

asked = 0
def script(request):
    global asked
    asked += 1
    if asked == int(sys.argv[2]):
        store.flush()
        os.kill(os.getpid(), 9)
    return f"answer {request.seed % 1_000_003} to {request.messages[-1]['content']}"

prompts = [Prompt.of(f"question {n}") for n in range(3)]
with Store(sys.argv[1]) as store:
    store.add_prompts(prompts)
    store.flush()
    four = samples_of(Contestant("m", ScriptedModel("m", script), Sampling(temperature=1.0)), 4)
    answer(four, [p.id for p in prompts], store, concurrency=2)
"""


@pytest.mark.parametrize("at", [2, 7, 12])
def test_killed_and_resumed_the_samples_are_the_same(path: Path, at: int) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = textwrap.dedent(CHILD)
    done = subprocess.run([sys.executable, "-c", code, str(path), str(at)], env=environment, timeout=60)
    assert done.returncode == -signal.SIGKILL
    heard: list[Request] = []

    def script(request: Request) -> str:
        heard.append(request)
        return drawn(request)

    four = samples_of(Contestant("m", ScriptedModel("m", script), WARM), 4)
    ask(path, four)
    assert 12 - at < len(heard) <= 12 - at + 2  # what was in flight is asked again, and nothing else
    assert texts(path, four) == reference(path.parent)


def test_a_local_model_gives_its_samples_in_chunks(path: Path) -> None:
    local = Chunky(size=4)
    four = samples_of(Contestant("m", local, WARM), 4)
    tally = ask(path, four)
    assert [len(chunk) for chunk in local.chunks] == [4, 4, 4]
    assert (tally.answers, len(set(texts(path, four)))) == (12, 12)
    ask(path, four)
    assert len(local.chunks) == 3


class Several(OpenAIModel):
    """A server whose replies a test writes; counts what it is asked."""

    def __init__(self, given: int, **options: Any) -> None:
        super().__init__("m", "m", "http://127.0.0.1:9/v1", price=Price(1.0, 2.0), **options)
        self.given, self.heard = given, list[dict[str, Any]]()

    def _join(self) -> Any:
        endpoint = super()._join()

        async def post(body: bytes, *rest: Any) -> tuple[int, dict[str, str], bytes]:
            asked = json.loads(body)
            self.heard.append(asked)
            choices = [
                {"message": {"content": f"{len(self.heard)}.{n}"}, "finish_reason": "stop"}
                for n in range(min(self.given, asked.get("n", 1)))
            ]
            usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(choices)}
            return 200, {}, json.dumps({"choices": choices, "usage": usage}).encode()

        endpoint.post = post  # type: ignore[method-assign, assignment]
        return endpoint


def test_a_servers_n_is_used_and_counted_once(path: Path) -> None:
    model = Several(given=4, samples_per_call=4)
    four = samples_of(Contestant("m", model, WARM), 4)
    tally = ask(path, four)
    assert [body["n"] for body in model.heard] == [4, 4, 4]
    assert (tally.calls, tally.answers, tally.in_flight) == (3, 12, 0)
    assert tally.usd == pytest.approx(3 * (10 * 1.0 + 20 * 2.0) / 1e6)
    assert len(set(texts(path, four).values())) == 12
    with Store(path, readonly=True) as store:
        usage = store.usage()
    assert (usage.calls, usage.tokens_in, usage.tokens_out) == (3, 30, 60)
    assert ask(path, four).calls == 0


def test_fewer_samples_than_were_asked_for_are_completed(path: Path) -> None:
    model = Several(given=1, samples_per_call=3)
    four = samples_of(Contestant("m", model, WARM), 4)
    tally = ask(path, four)
    assert (tally.calls, tally.failed) == (12, 0)
    assert len(set(texts(path, four).values())) == 12


def test_a_call_of_several_samples_is_one_call_of_the_budget(path: Path) -> None:
    model = Several(given=4, samples_per_call=4)
    four = samples_of(Contestant("m", model, WARM), 4)
    with pytest.raises(BudgetSpentError, match="2 of 2 calls"):
        ask(path, four, budget=Budget(calls=2))
    assert len(model.heard) == 2


def test_a_failed_sample_is_asked_again_by_the_next_run(path: Path) -> None:
    from arenaloop.types import Completion

    fail = True

    def script(request: Request) -> str | Completion:
        return Completion(status=Status.ERROR, error="down") if fail and request.sample == 2 else drawn(request)

    four = samples_of(Contestant("m", ScriptedModel("m", script), WARM), 4)
    assert ask(path, four).failed == 3
    fail = False
    assert ask(path, four).calls == 3
    assert texts(path, four) == reference(path.parent)


def test_a_server_is_asked_for_no_sample_that_nobody_wants(path: Path) -> None:
    model = Several(given=4, samples_per_call=4)
    four = samples_of(Contestant("m", model, WARM), 4)
    wanted = {IDS[0]: ["m#1", "m#3"], IDS[1]: ["m#2"], IDS[2]: [c.name for c in four]}
    tally = ask(path, four, who=wanted.__getitem__)
    assert sorted(body.get("n", 1) for body in model.heard) == [1, 2, 4]
    assert tally.answers == 7
    with Store(path, readonly=True) as store:
        answers = Answers(store, four, {}, seed=0)
        assert all((answers.stored(c.name, p) is not None) == (c.name in wanted[p.id]) for c in four for p in PROMPTS)
