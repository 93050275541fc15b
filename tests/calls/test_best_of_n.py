"""A best-of-n contestant: its samples are asked, stored and paid once each, and the choice is its answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import Chunky

from arenaloop.calls.answers import Answers, Contestant, answer
from arenaloop.calls.best_of_n import chosen
from arenaloop.calls.budget import Budget
from arenaloop.calls.estimate import estimate
from arenaloop.calls.recorded import materials_to_be
from arenaloop.errors import BudgetSpentError, ConfigError, InputError, StoppedError
from arenaloop.models.best_of_n import BestOfN
from arenaloop.models.reward import Reward
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.store.counts import failed_answers
from arenaloop.types import Completion, Prompt, Request, Sampling, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(3)]
IDS = [p.id for p in PROMPTS]
WARM = Sampling(temperature=1.0)


def drawn(request: Request) -> str:
    return f"{request.seed % 997} of {request.messages[-1]['content']}"


def number(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
    return [float(text.split()[0]) for text in answers]


def best(model: Any, n: int = 4, score: Any = number, name: str = "best", **more: Any) -> Contestant:
    return Contestant(name, BestOfN(name, model, n, Reward(score, "number"), **more), WARM)


def ask(path: Path, contestants: Sequence[Contestant], prompts: Sequence[Prompt] = PROMPTS, **options: Any) -> Any:
    with Store(path) as store:
        store.add_prompts(prompts)
        store.flush()
        return answer(contestants, [p.id for p in prompts], store, **options)


def answers(path: Path, *contestants: Contestant) -> list[str]:
    with Store(path, readonly=True) as store:
        found = Answers(store, contestants, {}, seed=0)
        responses = [found.stored(c.name, p) for c in contestants for p in PROMPTS]
    return [response.texts[0] for response in responses if response is not None]


def test_the_samples_are_the_models_own_and_the_best_is_stored_as_one_more(path: Path) -> None:
    heard: list[int] = []

    def script(request: Request) -> str:
        heard.append(request.sample)
        return drawn(request)

    model = ScriptedModel("m", script)
    one = best(model)
    tally = ask(path, [one])
    assert (tally.answers, tally.answers_total, len(heard)) == (3, 3, 12)
    samples = answers(path, *one.drawn)
    values = [int(text.split()[0]) for text in samples]
    found = answers(path, one)
    for at, text in enumerate(found):
        assert int(text.split()[0]) == max(values[at::3])
    with Store(path, readonly=True) as store:
        rows = [response for p in PROMPTS for response in store.responses_of(p).values()]
        assert sorted(row.model for row in rows) == sorted(["best", "best#1", "best#2", "best#3", "best#4"] * 3)
        keys = [Answers(store, [one], {}, seed=0).key("best", i) for i in IDS]
        told = [chosen(store, key or "") for key in keys]
        assert [values[at::3][sample or 0] for at, (sample, _) in enumerate(told)] == [
            int(text.split()[0]) for text in found
        ]
        assert [rewards for _, rewards in told] == [values[at::3] for at in range(3)]
        assert chosen(store, "no key") == (None, [])
    assert ask(path, [one]).calls == 0
    assert len(heard) == 12
    # samples of the same model are paid once, whatever n
    ask(path, [best(model, 6, name="more")])
    assert len(heard) == 18


def test_the_best_of_one_is_the_model(path: Path) -> None:
    model = ScriptedModel("m", drawn)
    plain = Contestant("plain", model, WARM)
    ask(path, [plain])
    assert ask(path, [best(model, 1)]).calls == 0
    assert answers(path, best(model, 1)) == answers(path, plain)


def test_what_was_paid_for_is_not_asked_again(path: Path) -> None:
    heard: list[str] = []

    def script(request: Request) -> Completion:
        heard.append(request.key)
        return Completion(text=drawn(request), usd=0.0)

    one = best(ScriptedModel("m", script))
    with pytest.raises(BudgetSpentError):
        ask(path, [one], budget=Budget(calls=7))
    assert len(heard) == 7
    with pytest.raises(BudgetSpentError):
        ask(path, [one], budget=Budget(calls=9))
    ask(path, [one], budget=Budget(calls=12))
    assert len(heard) == len(set(heard)) == 12
    assert answers(path, one) == answers_of_an_unbroken_run(path.parent / "whole.db", one)


def answers_of_an_unbroken_run(path: Path, one: Contestant) -> list[str]:
    ask(path, [one])
    return answers(path, one)


def test_a_local_models_samples_go_through_its_chunks(path: Path) -> None:
    tally = ask(path, [one := best(Chunky("m"), score=lambda p, a: [float(len(x)) for x in a])])
    assert (tally.answers, tally.answers_total) == (3, 3)
    assert len(answers(path, one)) == 3
    assert ask(path, [one]).calls == 0


@pytest.mark.parametrize(
    ("fails", "score", "status", "error"),
    [
        (Status.ERROR, number, Status.ERROR, "best of 4: no sample is there"),
        (Status.REFUSED, number, Status.REFUSED, "best of 4: no sample is there"),
        (None, lambda p, a: [None] * len(a), Status.ERROR, "best of 4: the reward took none of the 4 samples"),
        (None, lambda p, a: [float("nan")] * len(a), Status.ERROR, "took none of the 4"),
    ],
)
def test_where_nothing_can_be_chosen_the_answer_is_a_failure_with_its_reason(
    path: Path, fails: Status | None, score: Any, status: Status, error: str
) -> None:
    def script(request: Request) -> Completion | str:
        return drawn(request) if fails is None else Completion(status=fails, error="no")

    one = best(ScriptedModel("m", script), score=score)
    ask(path, [one])
    with Store(path, readonly=True) as store:
        response = Answers(store, [one], {}, seed=0).stored("best", PROMPTS[0])
        failed = [why for _, model, _, why in failed_answers(store) if model == "best"]
    assert response is not None
    assert response.status is status
    assert len(failed) == 3
    assert error in failed[0]


def test_a_reward_that_fails_stops_the_run_and_the_samples_stay(path: Path) -> None:
    def broken(prompts: Sequence[Any], answers: Sequence[str]) -> list[float | None]:
        raise InputError("reward mine.py: ZeroDivisionError")

    model = ScriptedModel("m", drawn)
    with pytest.raises(StoppedError, match=r"best: reward mine.py: ZeroDivisionError"):
        ask(path, [best(model, score=broken)], PROMPTS[:1])
    assert ask(path, [best(model)], PROMPTS[:1]).calls == 0


def test_samples_that_failed_or_were_cut_are_out_of_the_choice(path: Path) -> None:
    def script(request: Request) -> Completion:
        text, status = f"{9 - request.sample}", Status.OK
        if request.sample == 0:
            return Completion(status=Status.ERROR, error="gone")
        return Completion(text=text, status=Status.TRUNCATED if request.sample == 1 else status)

    model = ScriptedModel("m", script)
    kept, strict = best(model), best(model, name="strict", drop_truncated=True)
    ask(path, [kept, strict])
    assert answers(path, kept) == ["8"] * 3
    assert answers(path, strict) == ["7"] * 3
    with Store(path, readonly=True) as store:
        assert Answers(store, [kept], {}, seed=0).stored("best", PROMPTS[0]).status is Status.TRUNCATED


def test_the_plan_counts_every_sample_until_the_best_is_chosen(path: Path) -> None:
    one = best(ScriptedModel("m", drawn), 5)

    def expected(store: Store | None) -> int:
        found = Answers(store, [one], {}, seed=0)

        def planned(ids: Sequence[str]) -> Any:
            prompts = [p for p in PROMPTS if p.id in ids]
            return (u for m in materials_to_be(store, [one], prompts, {}) for u in found.planned("best", m))

        return estimate(planned, IDS, [one], store).calls

    assert expected(None) == 15
    ask(path, [one])
    with Store(path, readonly=True) as store:
        assert expected(store) == 0


def test_a_name_that_a_sample_has_is_refused() -> None:
    model = ScriptedModel("m", drawn)
    with pytest.raises(ConfigError, match="name of another one's sample"):
        Answers(None, [best(model), Contestant("best#2", model)], {}, seed=0)


def test_a_conversation_of_several_turns_is_chosen_whole(path: Path) -> None:
    def script(request: Request) -> str:
        return f"{request.sample} {len(request.messages)}"

    prompt = Prompt(({"role": "user", "content": "a"},), ("b",))
    ask(path, [one := best(ScriptedModel("m", script))], [prompt])
    with Store(path, readonly=True) as store:
        response = Answers(store, [one], {}, seed=0).stored("best", prompt)
    assert response.texts == ("3 1", "3 3")
