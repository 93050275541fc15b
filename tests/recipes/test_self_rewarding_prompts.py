"""New prompts for the iterations, written by a model before the first of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_self import SELF, build, run, settings

from arenaloop.config import validate
from arenaloop.config.recipes.self_rewarding import SelfDataSettings
from arenaloop.errors import ConfigError, InputError
from arenaloop.recipes.observer import Observer
from arenaloop.recipes.self_rewarding_calls import outline
from arenaloop.recipes.self_rewarding_costs import estimate_costs
from arenaloop.recipes.self_rewarding_plan import cut_slices
from arenaloop.recipes.self_rewarding_prompts import FILE, stand_ins, with_new_prompts
from arenaloop.store import Store

torch.set_num_threads(1)

WRITTEN = {"seeds": "sandbox:prompts?n=20&seed=5", "model": "sandbox:author", "count": 10, "min_words": 2}
DATA = SELF["data"] | {"prompts": "sandbox:prompts?n=6", "self_instruct": WRITTEN}


class Notes(Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def small(data: Mapping[str, Any] = DATA, **more: Any) -> Any:
    return settings(SELF, "iterations=1", data=dict(data), **more)


def test_new_prompts_join_those_that_are_there(tmp_path: Path) -> None:
    recipe, _ = build(small(), tmp_path)
    assert recipe.fresh is not None
    planned = cut_slices(recipe)[0]
    assert len(planned) == 16
    assert {prompt.id for prompt in stand_ins(recipe.fresh)} < {prompt.id for prompt in planned}
    assert "10 new prompts by author" in outline(recipe).facts
    notes = Notes()
    with Store(tmp_path / "arena.db") as store:
        whole = with_new_prompts(recipe, store, tmp_path, notes)
        calls = store.usage().calls
        again = with_new_prompts(recipe, store, tmp_path, Notes())
        assert store.usage().calls == calls > 0
    rows = [json.loads(line) for line in (tmp_path / "data" / FILE).read_text().splitlines()]
    texts = [row["messages"][0]["content"] for row in rows]
    assert len(texts) == 10
    assert [prompt.last_user for prompt in whole.pool][6:] == texts
    assert whole.pool[:6] == recipe.pool[:6]
    assert not any("to be written" in prompt.last_user for prompt in whole.pool)
    assert [prompt.id for prompt in again.pool] == [prompt.id for prompt in whole.pool]
    assert notes.said[0].startswith("10 new prompts by author in ")
    known = {prompt.last_user for prompt in (*recipe.test, *recipe.pool[:6])} | {*recipe.fresh.people}
    assert known.isdisjoint(texts)


def test_the_plan_tells_what_writing_them_costs(tmp_path: Path) -> None:
    recipe, _ = build(small(DATA | {"self_instruct": WRITTEN | {"count": 100}}), tmp_path)
    parts = [part for part in estimate_costs(recipe, tmp_path, None).parts if part.what == "new prompts"]
    assert [(part.stage, part.calls, part.here) for part in parts] == [("M1", 18, False)]


def test_without_any_other_prompts_all_are_new(tmp_path: Path) -> None:
    """A whole run, and the same once more: nothing is asked, trained or battled again."""
    checked = small({**DATA, "prompts": None, "self_instruct": WRITTEN | {"count": 8}})
    first = run(tmp_path, build(checked, tmp_path)[0])
    made = (tmp_path / "data" / FILE).read_bytes()
    assert made.count(b"\n") == 8
    rows = [json.loads(line) for line in (tmp_path / "data" / "M2.jsonl").read_text().splitlines()]
    learned = {row["prompt"][0]["content"] for row in rows}
    assert learned
    assert learned <= {json.loads(line)["messages"][0]["content"] for line in made.decode().splitlines()}
    repeated = run(tmp_path, build(checked, tmp_path)[0])
    assert repeated.summary["calls"] == first.summary["calls"]
    assert repeated.stages == first.stages


def test_too_few_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 iteration of 30 prompts need 30, and there are 16: 14 are missing"):
        build(small(prompts_per_iteration=30), tmp_path)
    with pytest.raises(ConfigError, match=r"'prompts' is missing \(or self_instruct"):
        validate(SelfDataSettings, {"test": "t.jsonl"}, "recipe.yaml")
    with pytest.raises(InputError, match=r"none\.jsonl"):
        build(small(DATA | {"self_instruct": WRITTEN | {"seeds": "none.jsonl"}}), tmp_path)
