"""A reward model as a judge, with a scoring function in the model's place."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest

from arenaloop.judges.reward_model import Conversation, RewardJudge
from arenaloop.types import Outcome, Prompt, Response, Status

PROMPT = Prompt.of("which?")


class Lengths:
    """Scores an answer by its length, and remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[Conversation]] = []

    def __call__(self, conversations: Sequence[Conversation]) -> list[float | str]:
        self.batches.append(list(conversations))
        return [
            "answer_too_long" if len(answer[-1]["content"]) > 9 else float(len(answer[-1]["content"]))
            for _, answer in conversations
        ]


def sides(*texts: str) -> tuple[Response, ...]:
    return tuple(Response(PROMPT.id, text, (text,)) for text in texts)


def test_the_probability_is_bradley_and_terrys_from_either_seat() -> None:
    judge = RewardJudge("rm", "abc", Lengths())

    async def play() -> None:
        one, two = sides("aaa", "b")
        there = await judge.judge(PROMPT, one, two, secret="", seed=0)
        back = await judge.judge(PROMPT, two, one, secret="", seed=0)
        assert (there.outcome, back.outcome) == (Outcome.A, Outcome.B)
        assert there.score_first == back.score_second
        assert there.score_first == pytest.approx(1 / (1 + math.exp(-2)))
        assert there.score_first is not None
        assert there.score_second == pytest.approx(1 - there.score_first)
        same = await judge.judge(PROMPT, *sides("xxx", "yyy"), secret="", seed=0)
        assert same.outcome is Outcome.TIE

    asyncio.run(play())


def test_every_response_is_scored_once_and_in_batches() -> None:
    score = Lengths()
    judge = RewardJudge("rm", "abc", score)
    responses = sides(*("x" * n for n in range(1, 9)))

    async def play() -> None:
        pairs = [(one, two) for one in responses for two in responses if one is not two]
        verdicts = await asyncio.gather(*(judge.judge(PROMPT, *pair, secret="", seed=0) for pair in pairs))
        assert all(verdict.status is Status.OK for verdict in verdicts)

    asyncio.run(play())
    assert len(score.batches) == 1
    assert len(score.batches[0]) == 8


def test_a_response_without_a_score_is_an_error_with_its_reason() -> None:
    judge = RewardJudge("rm", "abc", Lengths())
    verdict = asyncio.run(judge.judge(PROMPT, *sides("a", "b" * 10), secret="", seed=0))
    assert (verdict.status, verdict.outcome) == (Status.ERROR, None)
    assert "answer_too_long" in str(verdict.error)


def test_a_failure_reaches_all_who_wait_and_is_tried_again() -> None:
    class Failing(Lengths):
        def __call__(self, conversations: Sequence[Conversation]) -> list[float | str]:
            found = super().__call__(conversations)
            if len(self.batches) == 1:
                raise RuntimeError("no memory")
            return found

    judge = RewardJudge("rm", "abc", Failing())

    async def play() -> None:
        pair = sides("aaa", "b")
        results = await asyncio.gather(
            *(judge.judge(PROMPT, *pair, secret="", seed=0) for _ in range(3)), return_exceptions=True
        )
        assert [str(result) for result in results] == ["no memory"] * 3
        assert (await judge.judge(PROMPT, *pair, secret="", seed=0)).outcome is Outcome.A

    asyncio.run(play())


def test_of_several_turns_the_last_answer_is_scored() -> None:
    score = Lengths()
    prompt = Prompt(({"role": "user", "content": "one"},), follow_ups=("two",))
    pair = (Response(prompt.id, "a", ("first", "xx")), Response(prompt.id, "b", ("first", "y")))
    verdict = asyncio.run(RewardJudge("rm", "abc", score).judge(prompt, *pair, secret="", seed=0))
    assert verdict.outcome is Outcome.A
    before, answer = score.batches[0][0]
    assert [turn["content"] for turn in before] == ["one", "first", "two"]
    assert [turn["content"] for turn in answer] == ["xx"]
