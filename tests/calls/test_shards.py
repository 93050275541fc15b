"""Shards: whose a prompt is, what a plan is known by, and which shards are there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arenaloop.calls.shards import (
    Claim,
    Shard,
    claim,
    claimed,
    differences,
    held,
    merged_of,
    missing,
    note_merged,
    refuse_other,
    unlike_parts,
)
from arenaloop.errors import ConfigError
from arenaloop.store import Store
from arenaloop.types import Prompt

IDS = [f"{n:016x}" for n in range(400)]
PARTS = {"list of prompts": IDS, "judge": ["f00"], "seed": 0}


def of(text: str, parts: dict[str, object] | None = None, **settings: object) -> Claim:
    return claim("battle", Shard.parse(text), PARTS | (parts or {}), settings, IDS)


@settings(max_examples=30)
@given(st.integers(1, 40), st.text())
def test_every_prompt_is_of_exactly_one_shard(n: int, prompt_id: str) -> None:
    assert sum(Shard(index, n).holds(prompt_id) for index in range(1, n + 1)) == 1


def test_shards_are_about_as_large_and_the_same_on_every_machine() -> None:
    sizes = [sum(map(Shard(index, 4).holds, IDS)) for index in range(1, 5)]
    assert sizes == [93, 105, 99, 103]


@pytest.mark.parametrize("text", ["x", "", "/", "1/", "/4", "-1/4", "1/-4", "1.0/4", "1/4/2", "²/4", "1/0", "1 /4"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected I/N"):
        Shard.parse(text)


@pytest.mark.parametrize("text", ["0/4", "5/4"])
def test_shards_are_counted_from_one(text: str) -> None:
    with pytest.raises(ConfigError, match="I is one of 1 to 4"):
        Shard.parse(text)


def test_shards_of_one_plan_know_each_other() -> None:
    one, other = of("1/4", concurrency=3, shard="1/4"), of("2/4", budget_usd=7.0, prompts="elsewhere.jsonl")
    assert one.plan == other.plan
    assert differences(one, other) == ""
    assert sum(of(f"{n}/4").units[0] for n in range(1, 5)) == 400
    assert one.line() == f"shard 1 of 4 of plan {one.plan}: 93 of its 400 prompts"
    assert Claim.of_json(one.to_json()) == one


def test_what_makes_plans_differ_is_named() -> None:
    one = of("1/4", judge={"spec": "openai:x", "template": "pairwise"})
    other = of("2/8", {"judge": ["f01"], "seed": 3}, judge={"spec": "openai:x", "template": "labels"})
    assert one.plan != other.plan
    assert differences(other, one) == (
        "another judge; seed 3, not 0; judge.template labels, not pairwise; one of 8 shards, not of 4"
    )
    assert differences(
        of("1/4", {"model a": ["n"]}), one
    ) == "another model a; judge.spec the default, not openai:x; " + ("judge.template the default, not pairwise")
    assert unlike_parts(PARTS | {"seed": 1}, {**one.parts, "anchor": "a=1000"}) == ["seed"]


def test_a_file_keeps_its_shard(tmp_path: Path) -> None:
    one = of("1/4")
    with Store(tmp_path / "a.db") as store:
        refuse_other(store, "a", None, "battle")
        refuse_other(store, "a", one, "battle")
        refuse_other(store, "a", of("1/4", {"seed": 1}), "battle")  # another plan, as of any directory
        found = claimed(store)
        assert found is not None
        assert found.parts["seed"] == "1"
        for wanted, verb, told in (
            (of("2/4"), "battle", "shard 2/4 of battle belongs"),
            (of("1/8"), "battle", "shard 1/8 of battle belongs"),
            (of("1/4"), "rejudge", "shard 1/4 of rejudge belongs"),
            (None, "battle", "all of a plan of battle belongs"),
        ):
            with pytest.raises(ConfigError, match=f"a: holds shard 1/4 of battle, and {told}"):
                refuse_other(store, "a", wanted, verb)
    with Store(tmp_path / "b.db") as store:
        store.add_prompts([Prompt.of("one")])
        store.flush()
        with pytest.raises(ConfigError, match="holds a run that is no shard"):
            refuse_other(store, "b", one, "battle")


def test_what_was_merged_is_known_and_what_is_missing(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        assert held(store) == []
        told = note_merged(store, [of("8/8"), of("2/8")])
        assert missing(told) == "shards 1, 3, 4, 5 and 2 more of 8 are not here"
        told = note_merged(store, [of(f"{n}/8") for n in (1, 3, 4, 5)])
        assert missing(told) == "shards 6 and 7 of 8 are not here"
        assert [one.shard.index for one in held(store)] == [1, 2, 3, 4, 5, 8]
        assert missing(note_merged(store, [of("7/8")])) == "shard 6 of 8 is not here"
        assert missing(note_merged(store, [of("6/8")])) == ""
        with pytest.raises(ConfigError, match="holds a run that is no shard"):
            refuse_other(store, "a", of("1/8"), "battle")


def test_plans_that_judge_a_run_again_have_lists_of_their_own(tmp_path: Path) -> None:
    def again(text: str, judge: str) -> Claim:
        return claim("rejudge", Shard.parse(text), {"judge": judge}, {}, IDS)

    with Store(tmp_path / "a.db") as store:
        note_merged(store, [again("1/2", "x"), again("2/2", "x")])
        assert held(store) == []  # it is the run, and no shard
        assert missing(note_merged(store, [of("1/4"), of("4/4")])) == "shards 2 and 3 of 4 are not here"
        assert missing(note_merged(store, [again("1/3", "y")])) == "shards 2 and 3 of 3 are not here"
        assert missing(note_merged(store, [again("2/3", "x")])) == "shards 1 and 3 of 3 are not here"
        told = merged_of(store, again("1/2", "x"))
        assert told is not None
        assert missing(told) == ""
        assert [one.shard.index for one in held(store)] == [1, 4]
