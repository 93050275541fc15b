"""A reward server in this process, before judges that answer, fail, die and cost."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import HANG, Stub, http, said
from reward_serving import openrlhf_body, reward_serving

from arenaloop.calls.budget import Budget
from arenaloop.config import JudgeSettings
from arenaloop.errors import InputError
from arenaloop.judges.scored import ScoredJudge
from arenaloop.models.reward import Reward
from arenaloop.serving import asking
from arenaloop.serving.rewarder import Rewarder
from arenaloop.specs.judges import judge, pointwise
from arenaloop.store import Store
from arenaloop.types import Prompt, Response

PROMPTS = [Prompt.of(f"Question {n}") for n in range(64)]


def one_judge(url: str, *, reask: int = 0, **settings: Any) -> Rewarder:
    """A judge of one answer at a stub; what passes is tried once more."""
    told = {"spec": f"{url}#judge", "reask": reask, "retries": 1, "concurrency": 64} | settings
    return Rewarder(pointwise(JudgeSettings(**told)), reask)


def judged(arena: Path) -> list[tuple[str, str, float | None]]:
    """What the arena file holds: prompt, status and score of each judgement, with repeats."""
    with Store(arena, readonly=True) as store:
        rows = store._reader.execute("SELECT prompt_id, status, score, key FROM judgements").fetchall()
        assert len({row[3] for row in rows}) == len(rows)
    return [row[:3] for row in rows]


def test_a_question_is_paid_once(tmp_path: Path) -> None:
    async def play() -> None:
        async with Stub(said("Fine.\n\nScore: 4")) as stub:
            async with reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:
                first = await client.rewards(["q", "q", "q"], ["a", "a", "b"])
                assert first["rewards"] == [4.0, 4.0, 4.0]
                assert len(stub.bodies) == 2
                assert (await client.rewards(["q"], ["b"]))["scores"] == [4.0]
                assert len(stub.bodies) == 2
                assert client.service.rows == 4
            async with reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:  # another day
                assert (await client.rewards(["q"], ["a"]))["scores"] == [4.0]
                assert len(stub.bodies) == 2
                assert client.desk.tally.cached == 1

    asyncio.run(play())
    assert len(judged(tmp_path / "arena.db")) == 2
    with Store(tmp_path / "arena.db", readonly=True) as store:  # the texts stand beside the verdicts
        asked = Prompt.of("q")
        assert store.prompt(asked.id) == asked
        assert store.texts(Response(asked.id, "policy", ("b",)).text_hash) == ("b",)


def test_256_posts_at_once_before_a_judge_that_fails_one_in_five(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    async def sometimes(body: Any) -> bytes:
        """Every fifth question is never judged: the server fails it, or nothing in the answer can be read."""
        text = json.dumps(body["messages"])
        number = int(text.partition("Answer ")[2].split()[0])
        seen[text] = seen.get(text, 0) + 1
        if number % 10 == 0:
            return http(500, {"error": {"message": "broken"}})
        return said("No idea." if number % 10 == 5 else f"Fine.\n\nScore: {number % 6}")

    async def play() -> list[tuple[int, Any]]:
        async with Stub(sometimes) as stub:
            made = one_judge(stub.url)
            async with reward_serving(made, tmp_path / "arena.db", prompts=PROMPTS, fallback=-9.0) as client:
                bodies = [openrlhf_body("as shown", f"Answer {n} .", PROMPTS[n % 64].id) for n in range(256)]
                replies = await asyncio.gather(*(client.post(body) for body in bodies))
                assert client.service.flags == {"error": 26, "unparsed": 26}
                return replies

    replies = asyncio.run(play())
    assert [status for status, _ in replies] == [200] * 256
    for n, (_, found) in enumerate(replies):
        flag = {0: "error", 5: "unparsed"}.get(n % 10)
        assert found["flags"] == [flag]
        assert found["rewards"] == found["scores"] == [-9.0 if flag else float(n % 6)]
        assert found["extra_logs"] == {"failed": [float(flag is not None)]}
    assert len(judged(tmp_path / "arena.db")) == 256
    assert max(seen.values()) == 2  # the one further try of what failed


def test_what_failed_is_asked_again_when_it_comes_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            Stub(said("hm"), said("hm"), said("Score: 3")) as stub,
            reward_serving(one_judge(stub.url, reask=1), tmp_path / "arena.db") as client,
        ):
            assert (await client.rewards(["q"], ["a"]))["flags"] == ["unparsed"]
            assert (await client.rewards(["q"], ["a"]))["scores"] == [3.0]
            assert len(stub.bodies) == 3

    asyncio.run(play())


def test_a_row_that_is_late_is_flagged_and_its_verdict_kept(tmp_path: Path) -> None:
    async def play() -> None:
        go = asyncio.Event()

        async def slow(body: Any) -> bytes:
            await go.wait()
            return said("Score: 2")

        async with (
            Stub(slow) as stub,
            reward_serving(one_judge(stub.url), tmp_path / "arena.db", seconds=0.05) as client,
        ):
            assert (await client.rewards(["q"], ["a"]))["flags"] == ["late"]
            go.set()
            while client.desk.waiting:
                await asyncio.sleep(0)
            assert (await client.rewards(["q"], ["a"]))["scores"] == [2.0]
            assert len(stub.bodies) == 1

    asyncio.run(play())


def test_a_dead_judge_costs_flags_and_not_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0.01)

    async def play() -> None:
        alive = False

        async def answers(body: Any) -> bytes:
            return said("Score: 5") if alive else http(401, {"error": {"message": "invalid key"}})

        async with Stub(answers) as stub:
            async with reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:
                client.desk._pause = 3600.0
                found = await client.rewards([f"q{n}" for n in range(40)], ["a"] * 40)
                assert found["failed"] == 40
                assert set(found["flags"]) <= {"error", "judge_down"}
                assert "judge_down" in found["flags"]
                asked = len(stub.bodies)
                assert (await client.rewards(["new"], ["a"]))["flags"] == ["judge_down"]
                assert len(stub.bodies) == asked
                (line,) = client.said
                assert "invalid key" in line
                assert client.service.health()["status"] == "judge_down"
            alive = True
            async with reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:
                assert (await client.rewards(["q1"], ["a"]))["scores"] == [5.0]

    asyncio.run(play())


def test_a_judge_that_comes_back_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSE", 0.0)

    async def play() -> None:
        alive = False

        async def answers(body: Any) -> bytes:
            return said("Score: 5") if alive else http(401, {"error": {"message": "invalid key"}})

        async with Stub(answers) as stub, reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:
            client.desk._pause = 0.0
            await client.rewards([f"q{n}" for n in range(20)], ["a"] * 20)
            alive = True
            while (found := await client.rewards(["q1"], ["a"]))["failed"]:
                await asyncio.sleep(0)
            assert found["scores"] == [5.0]
            assert client.service.health()["status"] == "ok"

    asyncio.run(play())


def test_a_spent_budget_is_said_and_what_is_stored_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        async with Stub(said("Score: 1")) as stub:
            made, arena = one_judge(stub.url), tmp_path / "arena.db"
            async with reward_serving(made, arena, budget=Budget(calls=2)) as client:
                assert (await client.rewards(["q", "r"], ["a", "a"]))["failed"] == 0
                status, refused = await client.post({"prompts": ["q", "s"], "answers": ["a", "a"]})
                assert status == 503
                assert "2 of 2 calls" in refused["error"]
                assert (await client.rewards(["r", "q"], ["a", "a"]))["scores"] == [1.0, 1.0]
                assert client.service.health()["status"] == "over"
                assert len(stub.bodies) == 2

    asyncio.run(play())


def test_battles_lead_over_stored_answers(tmp_path: Path) -> None:
    async def seats(body: Any) -> bytes:
        """The longer answer gets its length, in either seat."""
        text = body["messages"][-1]["content"]
        first, second = (len(re.search(rf"answer {n} ===\n(x+)", text)[1]) for n in (1, 2))
        return said(f"Scores: {first} {second}")

    async def play() -> None:
        async with Stub(seats) as stub:
            settings = JudgeSettings(spec=f"{stub.url}#judge", reask=0, concurrency=8)

            def opponents(prompt: Prompt) -> list[Response]:
                if prompt.last_user == "lonely":
                    raise InputError("none")
                return [Response(prompt.id, "base", ("xxx",))]

            made = Rewarder(judge(settings), 0, opponents)
            async with reward_serving(made, tmp_path / "arena.db") as client:
                found = await client.rewards(["q", "lonely", "q"], ["x" * 8, "x", "x"])
                assert found["scores"] == [5.0, None, -2.0]
                assert found["flags"] == [None, "no_opponent", None]
                assert len(stub.bodies) == 4

    asyncio.run(play())


def test_a_reward_function_is_a_judge_whose_scores_are_kept(tmp_path: Path) -> None:
    asked: list[str] = []

    def score(prompts: Any, answers: Any) -> list[float | None]:
        asked.extend(answers)
        return [None if one == "none" else float("nan") if one == "nan" else float(len(one)) for one in answers]

    async def play() -> None:
        made = Rewarder(ScoredJudge("python:f", Reward(score, "f")))
        async with reward_serving(made, tmp_path / "arena.db") as client:
            found = await client.rewards(["q"] * 4, ["four", "none", "nan", "four"])
            assert found["scores"] == [4.0, None, None, 4.0]
            assert found["flags"] == [None, "error", "error", None]
            await client.rewards(["q"], ["four"])

    asyncio.run(play())
    assert sorted(asked) == ["four", "nan", "none"]


def test_whoever_has_no_key_or_no_json_is_turned_away(tmp_path: Path) -> None:
    async def play() -> None:
        made = Rewarder(ScoredJudge("one", Reward(lambda prompts, answers: [1.0] * len(answers), "one")))
        async with reward_serving(made, tmp_path / "arena.db", key="secret key") as client:
            body, key = {"prompts": ["q"], "answers": ["a"]}, {"Authorization": "Bearer secret key"}
            for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Bearer sécret"}):
                assert (await client.post(body, headers=headers))[0] == 401
            assert (await client.post(body, headers=key))[0] == 200
            assert (await client.post(body, headers=key, path="/elsewhere"))[0] == 404
            assert (await client.post(b"{", headers=key))[0] == 400
            assert (await client.post(b"{}", headers=key | {"Content-Type": "text/plain"}))[0] == 415
            assert client.service.rows == 1

    asyncio.run(play())


def test_whoever_leaves_takes_nobodys_answer_along(tmp_path: Path) -> None:
    async def play() -> None:
        came = asyncio.Event()

        async def hang(body: Any) -> object:
            came.set()
            return HANG

        async with Stub(hang) as stub, reward_serving(one_judge(stub.url), tmp_path / "arena.db") as client:
            waiting = asyncio.create_task(client.rewards(["q"], ["a"]))
            await came.wait()
            waiting.cancel()  # and the server ends while a call is in flight

    asyncio.run(play())
    assert judged(tmp_path / "arena.db") == []
