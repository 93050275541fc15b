"""What recipes share: what none may begin with, and an arena that holds what is recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import contestant

from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import match_recorded
from arenaloop.config import JudgedSettings, validate
from arenaloop.errors import ConfigError
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.models.recorded import RecordedModel
from arenaloop.recipes.parts import Arena, answer, vet
from arenaloop.store import Store
from arenaloop.types import Prompt

JUDGE = BuiltinJudge("longest")


def settings(**changes: Any) -> JudgedSettings:
    return validate(JudgedSettings, {"judge": "builtin:longest", **changes}, "test")


def priced(name: str, price: object) -> Contestant:
    one = contestant(name)
    one.model.price = price  # type: ignore[union-attr]
    return one


@pytest.mark.parametrize(
    ("names", "anchor", "says"),
    [
        (("a", "first"), None, "an opponent may not be called first: that is a stage's name"),
        (("a", "a"), None, "two opponents are called 'a': give one of them another name"),
        (("a",), ("frist", 1000.0), r"anchor 'frist' is no contestant .*'first'.*; there are first, second, a"),
    ],
)
def test_players_that_could_not_be_told_apart(
    names: tuple[str, ...], anchor: tuple[str, float] | None, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        vet(["first", "second"], [contestant(name) for name in names], JUDGE, settings(), anchor)


def test_dollars_need_prices() -> None:
    with pytest.raises(ConfigError, match="needs the price of 'a'"):
        vet(["first"], [priced("a", None)], JUDGE, settings(budget_usd=1))
    vet(["first"], [priced("a", None)], JUDGE, settings(budget_calls=1), ("first", 1000.0))
    vet(["first"], [priced("a", 1)], JUDGE, settings(budget_usd=1), ("a", 1000.0))


def test_recorded_answers_are_there_when_an_arena_opens(tmp_path: Path) -> None:
    prompts = [Prompt.of("one"), Prompt.of("two")]
    rows = [{"instruction": prompt.last_user, "output": f"{prompt.last_user}!"} for prompt in prompts]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    opponents = [Contestant("a", RecordedModel("a", tmp_path / "a.json"))]
    found = match_recorded(opponents, [*prompts, *prompts])
    with Store(tmp_path / "arena.db") as store:
        arena = Arena(store, JUDGE, settings(), found)
        arena.admit(prompts, opponents)
        answers = answer(arena, opponents[0], prompts)
        assert [one and one.texts for one in answers] == [("one!",), ("two!",)]
        with pytest.raises(ConfigError, match="a: its answers are recorded, but were not matched with the prompts"):
            answer(Arena(store, JUDGE, settings()), opponents[0], prompts)
