"""The best of n, by hand: which is chosen, what other n would have come to, and how far that is from the model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.best_of_n import BestOfN, choose, curve, kl_bound, mean_curve
from arenaloop.models.reward import Reward
from arenaloop.models.scripted import ScriptedModel
from arenaloop.types import Message, Prompt, Response, Status

NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "best"),
    [
        ([1.0, 3.0, 2.0], 1),
        ([2.0, 3.0, 3.0], 1),
        ([0.0], 0),
        ([-5.0, None, -6.0], 0),
        ([NAN, None, -1.0], 2),
        ([math.inf, 1.0, -math.inf], 1),
        ([None, NAN], None),
        ([], None),
    ],
)
def test_the_first_of_the_highest_is_chosen(rewards: list[float | None], best: int | None) -> None:
    assert choose(rewards) == best


def test_the_exact_curve_of_four_samples() -> None:
    """Worked by hand: k = 2 is (10 * 1 + 4 * 2 + 6 * 3) / 6, k = 3 is (4 * 1 + 6 * 3) / 4."""
    assert curve([1, 2, 3, 4], [0, 10, 4, 6]) == pytest.approx([5.0, 6.0, 5.5, 6.0], abs=1e-12)
    assert curve([3, 1, 4, 2], [4, 0, 6, 10]) == pytest.approx([5.0, 6.0, 5.5, 6.0], abs=1e-12)
    assert curve([1, 1], [0, 1]) == [0.5, 0.5]
    assert curve([1, 2, 2], [0, 6, 2]) == pytest.approx([8 / 3, (4 + 4 + 4) / 3, 4.0])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), min_size=1, max_size=6))
def test_the_curve_is_the_mean_over_all_choices(samples: list[tuple[int, int]]) -> None:
    found = curve([reward for reward, _ in samples], [gold for _, gold in samples])
    shared = {
        reward: sum(same) / len(same)
        for reward in {reward for reward, _ in samples}
        if (same := [gold for other, gold in samples if other == reward])
    }
    for k in range(1, len(samples) + 1):
        chosen = [shared[max(reward for reward, _ in some)] for some in combinations(samples, k)]
        assert found[k - 1] == pytest.approx(sum(chosen) / len(chosen))


def test_prompts_without_all_scores_are_out_of_the_mean() -> None:
    known: tuple[list[float | None], list[float | None]] = ([1, 2], [0, 4])
    assert mean_curve([known, ([1, 2], [2, 2]), ([1, None], [9, 9]), ([1, 2], [NAN, 9])]) == ([2.0, 3.0], 2)
    assert mean_curve([([None], [1.0])]) == ([], 0)


def test_the_bound_of_the_divergence() -> None:
    assert kl_bound(1) == 0
    assert kl_bound(2) == pytest.approx(math.log(2) - 0.5)
    assert kl_bound(16) == pytest.approx(1.8350887, abs=1e-6)
    # reached where no two rewards are equal: the best of n uniform draws has the density n u^(n-1)
    r = random.Random(0)
    draws = [max(r.random() for _ in range(4)) for _ in range(40_000)]
    assert sum(math.log(4 * u**3) for u in draws) / len(draws) == pytest.approx(kl_bound(4), abs=0.02)


def responses(*texts: str, status: Status = Status.OK) -> list[Response]:
    return [Response("p", "m", (text,), status) for text in texts]


def test_what_is_scored_of_samples() -> None:
    heard: list[str] = []

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
        heard.extend(answers)
        return [None if answer == "?" else float(len(answer)) for answer in answers]

    best = BestOfN("best", ScriptedModel("m", lambda _: ""), 3, Reward(score, "length"))
    prompt = Prompt.of("go")
    samples: list[Response | None] = [*responses("a", "bb", "a", "?"), None, *responses("", status=Status.REFUSED)]
    assert best.rewards(prompt, samples) == [1.0, 2.0, 1.0, None, None, None]
    assert heard == ["a", "bb", "?"]
    cut = responses("long and cut", status=Status.TRUNCATED)
    assert best.rewards(prompt, [*cut, *responses("a")]) == [12.0, 1.0]
    strict = BestOfN("best", best.model, 3, Reward(score, "length"), drop_truncated=True)
    assert strict.rewards(prompt, [*cut, *responses("a")]) == [None, 1.0]
    assert strict.rewards(prompt, cut) == [None]
    names = {one.fingerprint for one in (best, strict, BestOfN("other", best.model, 4, Reward(score, "length")))}
    assert len(names) == 3
    assert BestOfN("other", best.model, 3, Reward(score, "length")).fingerprint == best.fingerprint


def test_several_turns_are_worth_their_mean() -> None:
    seen: list[int] = []

    def score(prompts: Sequence[list[Message]], answers: Sequence[str]) -> list[float | None]:
        seen.extend(len(messages) for messages in prompts)
        return [float(len(answer)) if answer else None for answer in answers]

    best = BestOfN("best", ScriptedModel("m", lambda _: ""), 2, Reward(score, "length"))
    prompt = Prompt(({"role": "user", "content": "a"},), ("b",))
    two = [Response(prompt.id, "m", texts) for texts in (("x", "yyy"), ("xxxxx", ""))]
    assert best.rewards(prompt, two) == [2.0, None]
    assert seen == [1, 3, 1, 3]
