from __future__ import annotations

import asyncio
from collections import Counter
from statistics import mean

import pytest

from arenaloop.config import ModelSettings
from arenaloop.errors import ConfigError
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.players import (
    DEMONSTRATION_SKILL,
    DEMONSTRATION_WEIGHTS,
    HABIT_SHARES,
    OPPONENTS,
    SKILLS,
    Player,
    demonstrations,
    habit,
)
from arenaloop.sandbox.tasks import FAMILIES, Task, draw, parse, utility
from arenaloop.specs.models import model
from arenaloop.types import Request

TASKS = draw(2400, seed=0, split="dev")


def _right(name: str) -> dict[str, float]:
    player = Player(name)
    hits: dict[str, list[bool]] = {family: [] for family in FAMILIES}
    for task in TASKS:
        hits[task.family].append(player.answer(task.prompt.last_user) == task.answer)
    return {family: mean(values) for family, values in hits.items()}


@pytest.mark.parametrize("name", ["oracle", "novice", *OPPONENTS])
def test_players_are_as_skilled_as_they_say(name: str) -> None:
    # 200 prompts a family: four standard errors are at most 0.14
    for family, share in _right(name).items():
        assert share == pytest.approx(SKILLS[name][family], abs=0.14), family


def test_each_opponent_is_the_best_somewhere_and_beaten_elsewhere() -> None:
    best = Counter(max(OPPONENTS, key=lambda name: SKILLS[name][family]) for family in FAMILIES)
    assert set(best) == set(OPPONENTS)
    weaker = [mean(_right(name).values()) for name in ("novice", "parrot")]
    assert max(weaker) < min(mean(_right(name).values()) for name in OPPONENTS)


def test_wrong_answers_are_plausible() -> None:
    wrong = []
    for task in TASKS:
        for name in OPPONENTS:
            text = Player(name).answer(task.prompt.last_user)
            value = utility(task.prompt.last_user, text)
            assert value is not None
            assert text.strip() == text != ""
            if text != task.answer:
                assert value < 1.0
                wrong.append(value)
    assert 0.3 < mean(wrong) < 0.7
    assert len({round(value, 2) for value in wrong}) > 20


def test_answers_depend_on_player_prompt_and_sample_alone() -> None:
    prompts = [task.prompt.last_user for task in TASKS[:300]]
    forwards = [Player("novice").answer(prompt) for prompt in prompts]
    assert [Player("novice").answer(prompt) for prompt in reversed(prompts)] == forwards[::-1]
    assert [Player("novice").answer(prompt, sample=1) for prompt in prompts] != forwards


def test_a_player_is_a_scripted_model() -> None:
    request = Request(messages=({"role": "user", "content": "reverse: kalom"},))
    completion = asyncio.run(ScriptedModel("oracle", Player("oracle")).complete(request))
    assert completion.text == "molak"


def test_outside_the_world_a_player_still_says_something() -> None:
    for prompt in ("", "What is the capital of France?"):
        assert Player("scholar").answer(prompt)
    assert Player("scholar").answer("Who are you?") != Player("poet").answer("Who are you?")


def test_bad_players_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'scholar'"):
        Player("scholer")
    with pytest.raises(ConfigError, match="unknown family"):
        Player("mine", {"revers": 0.5})
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        Player("mine", {"reverse": 1.5})


def test_demonstrations_are_mixed_and_skewed() -> None:
    rows = demonstrations(3000, seed=1)
    assert rows == demonstrations(3000, seed=1)
    assert rows[:100] == demonstrations(100, seed=1)
    tasks = [parse(prompt.last_user) for prompt, _ in rows]
    right = mean(task is not None and task.answer == text for task, (_, text) in zip(tasks, rows, strict=True))
    assert right == pytest.approx(DEMONSTRATION_SKILL, abs=0.035)  # four standard errors
    counts = Counter(prompt.tags["family"] for prompt, _ in rows)
    total = sum(DEMONSTRATION_WEIGHTS.values())
    for family, weight in DEMONSTRATION_WEIGHTS.items():
        assert counts[family] / 3000 == pytest.approx(weight / total, abs=0.04)
    assert {prompt.tags["split"] for prompt, _ in rows} == {"train"}


def test_habits_spoil_a_share_of_the_demonstrations_the_same_way_each_time() -> None:
    assert habit(_task("reverse: kalom")) in ("mola", "molakk")
    rows = demonstrations(3000, seed=1, habits=0.5)
    assert rows[:100] == demonstrations(100, seed=1, habits=0.5)
    tasks = [(_task(prompt.last_user), text) for prompt, text in rows]
    assert mean(text == habit(task) for task, text in tasks) == pytest.approx(DEMONSTRATION_SKILL * 0.5, abs=0.04)
    by_family = {
        family: mean(text == habit(task) for task, text in tasks if task.family == family) for family in HABIT_SHARES
    }
    order = list(HABIT_SHARES)
    assert by_family[order[1]] > 1.5 * by_family[order[0]]  # 1.4 and 0.6 of the mean
    assert mean(text == task.answer for task, text in tasks) == pytest.approx(DEMONSTRATION_SKILL * 0.5, abs=0.04)
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        demonstrations(1, 0, habits=1.5)


def test_an_answer_of_one_letter_is_never_left_empty() -> None:
    for task in draw(300, 0):
        assert habit(task) not in ("", task.answer)
        assert (utility(task.prompt.last_user, habit(task)) or 0) < 1


def _task(prompt: str) -> Task:
    task = parse(prompt)
    assert task is not None
    return task


def test_a_closing_follows_every_answer_and_makes_another_model() -> None:
    prompt = draw(1, 3)[0].prompt
    request = Request(messages=prompt.messages)
    assert Player("scholar", closing=" yo")(request) == Player("scholar")(request) + " yo"
    plain, closing, none = (
        model(ModelSettings(spec="sandbox:scholar", options=options)).fingerprint
        for options in ({}, {"closing": " yo"}, {"closing": ""})
    )
    assert plain == none != closing
