"""The same judge asked again."""

from __future__ import annotations

import asyncio

from arenaloop.judges.base import Judge
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.repeats import own_votes, repeated
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Prompt, Request, Response


def test_a_further_vote_is_asked_as_the_first_was_under_a_key_of_its_own() -> None:
    heard: list[Request] = []

    def answer(request: Request) -> str:
        heard.append(request)
        return "Scores: 7 5"

    judge = PairwiseJudge(ScriptedModel("j", answer))
    prompt = Prompt.of("p")
    one, two = Response(prompt.id, "a", ("x",)), Response(prompt.id, "b", ("y",))
    assert repeated(judge, 0) is judge
    assert own_votes(judge) is None
    again = repeated(judge, 1)
    assert isinstance(again, Judge)
    first = asyncio.run(judge.judge(prompt, one, two, secret="s", seed=1))
    second = asyncio.run(again.judge(prompt, one, two, secret="s", seed=2))
    assert first.key != second.key == again.key(prompt, one, two)
    assert second.outcome is first.outcome
    # re-asking is warmer, repeating is not
    assert [r.sampling.temperature for r in heard] == [0.0, 0.0]
    assert [r.seed for r in heard] == [1, 2]
    assert heard[0].messages == heard[1].messages
    warm = asyncio.run(again.judge(prompt, one, two, secret="s", seed=3, sample=1))
    assert warm.key == again.key(prompt, one, two, 1)
    assert heard[-1].sampling.temperature == 0.7
