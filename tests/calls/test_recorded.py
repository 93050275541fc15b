"""Recorded answers: packed keys are a mapping like the dict that they stand for; what is stored is not read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.calls.answers import Contestant
from arenaloop.calls.recorded import (
    PackedKeys,
    ingest_recorded,
    match_recorded,
    materials_to_be,
    places,
    recorded_failures,
)
from arenaloop.errors import InputError
from arenaloop.models.recorded import RecordedModel
from arenaloop.store import Store, Turn
from arenaloop.types import Prompt, Status, content_hash


@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(0, 5)), max_size=20))
def test_it_holds_what_a_dict_would(added: list[tuple[str, int]]) -> None:
    packed = PackedKeys(places("gfedcbaabc"))
    plain: dict[str, str] = {}
    for prompt_id, n in added:
        packed.add(prompt_id, content_hash(n))
        plain.setdefault(prompt_id, content_hash(n))
    assert dict(packed) == plain
    assert packed == plain
    assert len(packed) == len(plain)
    assert [packed.get(name) for name in "abcxyz"] == [plain.get(name) for name in "abcxyz"]


def test_a_prompt_without_a_place_is_refused() -> None:
    with pytest.raises(KeyError):
        PackedKeys(places("ab")).add("c", content_hash(1))


def test_materials_are_what_they_will_be_once_everything_is_stored(path: Path, tmp_path: Path) -> None:
    """What the arena file lacks comes from the files, and a file of which it lacks nothing is not read."""
    prompts = [Prompt.of(f"question {n}") for n in range(5)]
    (tmp_path / "a.json").write_text(json.dumps([{"instruction": p.last_user, "output": "said"} for p in prompts]))
    contestants = [Contestant("a", RecordedModel("a", tmp_path / "a.json"))]
    found = match_recorded(contestants, prompts)

    def known(store: Store | None) -> list[tuple[Prompt, list[Turn]]]:
        return [(m.prompt, [*m.turns.values()]) for m in materials_to_be(store, contestants, prompts, found)]

    expected = [(prompt, [("said", Status.OK, content_hash(["said"]))]) for prompt in prompts]
    assert known(None) == expected
    with Store(path) as store:
        store.add_prompts(prompts[1::2])
        ingest_recorded(store, contestants, prompts[3:4], found)
        assert known(store) == expected
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, found)
        (tmp_path / "a.json").unlink()
        ingest_recorded(store, contestants, prompts, found)
        assert known(store) == expected


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("Où\r\nça ?", "line ends"),
        ("Ou\u0300\nc\u0327a ?", "Unicode form"),
        ("Où\nça ? ", "blanks at its ends"),
        ("où  ça ?\t", "blanks, line ends, letter case or Unicode form"),
    ],
)
def test_prompts_that_are_written_in_another_way_are_told(tmp_path: Path, written: str, what: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"instruction": written, "output": "x"}))
    prompts = [Prompt.of("Où\nça ?"), Prompt.of("another")]
    with pytest.raises(InputError, match=rf"2 of 2 prompts: 1 of them differ from a prompt of the file in {what} only"):
        match_recorded([Contestant("a", RecordedModel("a", path))], prompts)


def test_failed_calls_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"instruction": i, "output": o}) + "\n" for i, o in (("p", "$ERROR$"), ("q", "x")))
    )
    contestants = [Contestant("a", RecordedModel("a", path))]
    prompts = [Prompt.of("p"), Prompt.of("q")]
    with pytest.raises(InputError, match=r"no answer for 1 of 2 prompts: 1 row holds \$ERROR\$ or null"):
        match_recorded(contestants, prompts)
    assert len(match_recorded(contestants, prompts, allow_missing=True)["a"]) == 1
    assert recorded_failures(contestants) == {"a": 1}
