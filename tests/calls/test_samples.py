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
from arenaloop.calls.judging import AskedJudge, InStore, JudgeUnit, decide
from arenaloop.calls.progress import Tally
from arenaloop.errors import BudgetSpentError
from arenaloop.judges.pointwise import RubricJudge
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.openai_wire import Price
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Judgement, Prompt, Request, Response, Sampling, Status

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


# ---------------------------------------------------------------------- votes on one answer


class Voting(Several):
    """A server that scores answers; what each of its calls gives is written by a test: a text, or an end."""

    def __init__(self, given: Sequence[int] = (), ends: Sequence[str] = (), **options: Any) -> None:
        super().__init__(0, **options)
        self.counts, self.ends = list(given), list(ends)

    def _join(self) -> Any:
        endpoint = OpenAIModel._join(self)

        async def post(body: bytes, *rest: Any) -> tuple[int, dict[str, str], bytes]:
            asked = json.loads(body)
            self.heard.append(asked)
            wanted = asked.get("n", 1)
            count = self.counts.pop(0) if self.counts and wanted > 1 else wanted
            choices = [
                {"index": n, "message": {"content": f"Call {len(self.heard)}, {n}.\nScore: {n % 6}"}, "finish_reason": end}
                for n in range(count)
                for end in [self.ends.pop(0) if self.ends else "stop"]
            ]
            usage = {"prompt_tokens": 100, "completion_tokens": 7 * count}
            return 200, {}, json.dumps({"choices": choices, "usage": usage}).encode()

        endpoint.post = post  # type: ignore[method-assign, assignment]
        return endpoint


def voted(path: Path, model: OpenAIModel, votes: int = 11, reask: int = 0) -> tuple[Tally, list[list[Judgement | None]]]:
    """Votes on the answers to two prompts, asked where they are not stored."""
    judge = RubricJudge(model)
    each = [judge.repeated(n) for n in range(votes)]
    answers = [(p, Response(p.id, "m", (f"answer to {p.last_user}",))) for p in PROMPTS[:2]]
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        asked, statuses = [AskedJudge(one, store.secret, reask=reask) for one in each], InStore(store.judgement)
        tally = decide(
            lambda: (JudgeUnit(a, both, statuses) for both in answers for a in asked), store, closing=[judge]
        )
        return tally, [[store.judgement(one.key(*both)) for one in each] for both in answers]


def test_votes_on_an_answer_come_by_one_call_and_are_rows(path: Path) -> None:
    model = Voting(samples_per_call=4)
    tally, found = voted(path, model)
    assert [body.get("n", 1) for body in model.heard] == [4, 4, 3] * 2
    assert len({json.dumps(body["messages"]) for body in model.heard}) == 2
    assert (tally.calls, tally.verdicts, tally.cached, tally.failed) == (6, 22, 0, 0)
    rows = [row for some in found for row in some if row is not None]
    assert len({row.key for row in rows}) == 22
    assert sorted(row.score for row in rows[:11] if row.score is not None) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    # each call's prompt is counted and paid for once
    with Store(path, readonly=True) as store:
        usage = store.usage()
    assert (usage.calls, usage.tokens_in, usage.tokens_out) == (6, 600, 7 * 22)
    assert tally.usd == pytest.approx((600 * 1.0 + 7 * 22 * 2.0) / 1e6)
    again, same = voted(path, model)
    assert (again.calls, again.cached, same) == (0, 22, found)


def test_without_the_setting_votes_are_calls_of_their_own(path: Path) -> None:
    model = Voting()
    tally, _ = voted(path, model, votes=3)
    assert (tally.calls, len(model.heard)) == (6, 6)
    assert not any("n" in body for body in model.heard)


def test_a_server_that_gives_fewer_votes_is_asked_for_the_others(path: Path) -> None:
    model = Voting(given=[2, 1], samples_per_call=11)
    tally, found = voted(path, model, votes=4)
    assert sorted(body.get("n", 1) for body in model.heard) == [1] * 5 + [4, 4]
    assert (tally.calls, tally.failed) == (7, 0)
    assert all(row is not None and row.score is not None for some in found for row in some)


def test_each_vote_has_an_end_of_its_own_and_a_resume_asks_for_what_is_missing(path: Path) -> None:
    model = Voting(ends=["stop", "content_filter", "length", "stop"], samples_per_call=4)
    tally, (first, second) = voted(path, model, votes=4)
    assert [row.status for row in first if row is not None] == [
        Status.OK, Status.REFUSED, Status.TRUNCATED, Status.OK,
    ]  # fmt: skip
    assert [row.score is None for row in first if row is not None] == [False, True, True, False]
    assert (tally.calls, tally.failed) == (2, 2)
    again, (mended, same) = voted(path, model, votes=4)
    assert (again.calls, again.cached, same) == (2, 6, second)  # each by itself: what failed before
    assert [row.status for row in mended if row is not None] == [Status.OK] * 4
    more, _ = voted(path, model, votes=7)
    assert [body.get("n", 1) for body in model.heard[4:]] == [3, 3]  # the votes that there were not
    assert (more.calls, more.cached) == (2, 8)


def test_votes_that_cannot_be_read_are_asked_again_together_and_warmer(path: Path) -> None:
    class Mumbling(Voting):
        def _join(self) -> Any:
            endpoint = super()._join()
            post = endpoint.post

            async def mumbled(body: bytes, *rest: Any) -> Any:
                status, headers, raw = await post(body, *rest)
                return status, headers, raw.replace(b"Score", b"Points") if len(self.heard) == 1 else raw

            endpoint.post = mumbled
            return endpoint

    model = Mumbling(samples_per_call=3)
    tally, _ = voted(path, model, votes=3, reask=1)
    assert [body.get("n", 1) for body in model.heard] == [3, 3, 3]
    assert tally.failed == 0


def test_a_call_of_several_votes_is_one_call_of_the_budget(path: Path) -> None:
    model = Voting(samples_per_call=11)
    judge = RubricJudge(model)
    with Store(path) as store:
        store.add_prompts(PROMPTS)
        asked, statuses = [AskedJudge(judge.repeated(n), store.secret) for n in range(11)], InStore(store.judgement)
        both = [(p, Response(p.id, "m", ("an answer",))) for p in PROMPTS]
        budget = Budget(calls=2)
        with pytest.raises(BudgetSpentError, match="2 of 2 calls"):
            decide(
                lambda: (JudgeUnit(a, one, statuses) for one in both for a in asked),
                store,
                budget=budget,
                closing=[judge],
            )
    assert len(model.heard) == 2
