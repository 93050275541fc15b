"""Annotators that are a formula: what they say follows it, and is the same again."""

from __future__ import annotations

import asyncio
import math

import pytest

from arenaloop.errors import ConfigError
from arenaloop.judges.reward_model import RewardJudge
from arenaloop.judges.synthetic import Biases, SyntheticAnnotator, doublings
from arenaloop.types import Outcome, Prompt, Response, Status

N = 600  # votes: 4 standard deviations are 8 points at most
WORTH = {"good": 1.0, "bad": 0.0, "- a\n- b": 0.0, "bad bad bad!!": 0.0}


def annotator(biases: Biases, seed: int = 0) -> SyntheticAnnotator:
    def score(conversations):
        return [WORTH.get(said[-1]["content"], "nobody knows") for _, said in conversations]

    return SyntheticAnnotator("ann", RewardJudge("ann", "worth", score), biases, seed)


def share(judge: SyntheticAnnotator, first: str, second: str, n: int = N) -> float:
    async def votes() -> int:
        prompts = [Prompt.of(f"ask {k}") for k in range(n)]
        seated = [(p, Response(p.id, "a", (first,)), Response(p.id, "b", (second,))) for p in prompts]
        found = await asyncio.gather(*(judge.judge(*one, secret="", seed=0) for one in seated))
        return sum(verdict.outcome is Outcome.A for verdict in found)

    return asyncio.run(votes()) / n


def sigma(eta: float) -> float:
    return 1 / (1 + math.exp(-eta))


@pytest.mark.parametrize(
    ("biases", "first", "second", "eta"),
    [
        (Biases(0.5), "good", "bad", 2.0),
        (Biases(0.5), "bad", "good", -2.0),
        (Biases(1.0, seat=0.7), "bad", "bad", 0.7),
        (Biases(1.0, length=0.6), "bad bad bad!!", "bad", 0.6 * math.log2(14 / 4)),
        (Biases(1.0, lists=-1.0), "- a\n- b", "bad", -1.0),
        (Biases(1.0, lists=-1.0), "bad", "- a\n- b", 1.0),
        (Biases(2.0, seat=0.2, length=0.5), "good", "bad", 0.5 + 0.2 + 0.5 * math.log2(5 / 4)),
    ],
)
def test_the_first_seat_is_preferred_as_often_as_the_formula_says(biases, first, second, eta) -> None:
    p = sigma(eta)
    assert abs(share(annotator(biases), first, second) - p) < 4 * math.sqrt(p * (1 - p) / N)


def test_it_says_the_same_again_and_another_seed_or_vote_something_else() -> None:
    prompt = Prompt.of("ask")
    seated = prompt, Response("", "a", ("bad",)), Response("", "b", ("bad bad bad!!",))

    def said(judge):
        return asyncio.run(judge.judge(*seated, secret="", seed=1))

    judge = annotator(Biases(0.3))
    assert said(judge) == said(annotator(Biases(0.3)))
    keys = {said(j).key for j in (judge, annotator(Biases(0.3), 1), judge.repeated(1), annotator(Biases(0.4)))}
    assert len(keys) == 4


def test_an_answer_without_a_worth_is_a_failure_with_a_reason() -> None:
    prompt = Prompt.of("ask")
    seated = prompt, Response("", "a", ("who knows",)), Response("", "b", ("bad",))
    verdict = asyncio.run(annotator(Biases()).judge(*seated, secret="", seed=0))
    assert (verdict.status, verdict.error) == (Status.ERROR, "an answer has no worth: nobody knows")


def test_noise_is_positive() -> None:
    with pytest.raises(ConfigError, match="noise must be above 0"):
        annotator(Biases(0.0))


def test_doublings_of_length() -> None:
    assert doublings(["abc"], ["a", "bcdefg"]) == -1.0
    assert doublings([""], [""]) == 0.0
