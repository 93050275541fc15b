"""Recorded answers: packed keys are a mapping like the dict that they stand for; what is stored is not read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    recorded_notes,
)
from arenaloop.data.prompts import read_prompt
from arenaloop.errors import InputError
from arenaloop.models.recorded import RecordedModel
from arenaloop.store import Store, Turn, recorded_key
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
        ("O&ugrave;\n&#231;a ?", "HTML entities"),
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
    with pytest.raises(
        InputError, match=r"1 of 2 prompts: 1 row holds no answer but a failed call's mark: '\$ERROR\$' \(1\) \("
    ):
        match_recorded(contestants, prompts)
    assert len(match_recorded(contestants, prompts, allow_missing=True)["a"]) == 1
    assert recorded_failures(contestants) == {"a": 1}


def files(tmp_path: Path, *rows: Mapping[str, object]) -> list[Contestant]:
    """One recorded contestant with these rows."""
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [Contestant("a", RecordedModel("a", tmp_path / "a.jsonl"))]


def test_a_file_that_contradicts_itself_is_refused_or_told(tmp_path: Path) -> None:
    """More than one row in twenty is refused; fewer are left out and named."""
    twice = [{"instruction": "0", "output": text} for text in ("yes", "no")]
    prompts = [Prompt.of(str(n)) for n in range(41)]
    few = files(tmp_path, *twice, *({"instruction": str(n), "output": "x"} for n in range(1, 41)))
    found = match_recorded(few, prompts, allow_missing=True)["a"]
    assert prompts[0].id not in found
    assert len(found) == 40
    why = "a prompt has two different answers (2, first lines 1, 2)"
    assert recorded_notes(few) == [f"a: recorded answers left out, its file contradicts itself: {why}"]
    with pytest.raises(InputError) as caught:
        match_recorded(few, prompts)
    assert f"no answer for 1 of 41 prompts: left out in doubt: {why} (a;" in str(caught.value)
    with pytest.raises(InputError, match=r"a.jsonl: it contradicts itself in 2 of 3 rows: a prompt has two"):
        match_recorded(files(tmp_path, *twice, {"instruction": "1", "output": "x"}), prompts, allow_missing=True)


def test_a_recorded_answer_ends_as_its_file_says(path: Path, tmp_path: Path) -> None:
    """The same rule as for a server's reply; whole answers keep the key that they had."""
    said = [(None, Status.OK), ("stop", Status.OK), ("length", Status.TRUNCATED), ("content_filter", Status.REFUSED)]
    prompts = [Prompt.of(str(n)) for n in range(len(said))]
    rows = [
        {"instruction": p.last_user, "output": "x", "finish_reason": w} for p, (w, _) in zip(prompts, said, strict=True)
    ]
    contestants = files(tmp_path, *rows)
    found = match_recorded(contestants, prompts)
    assert recorded_notes(contestants) == [
        "a: recorded answers that are not whole, by their finish reason: length (1), content_filter (1)"
    ]
    with Store(path) as store:
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, found)
        stored = [store.response(found["a"][prompt.id], prompt, "a") for prompt in prompts]
    assert [answer.status for answer in stored if answer] == [status for _, status in said]
    assert [found["a"][p.id] == recorded_key(p.id, ["x"]) for p in prompts] == [True, True, False, False]


def test_prompts_whose_answers_failed_are_not_said_to_be_written_otherwise(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        match_recorded(files(tmp_path, {"instruction": "p", "output": "[ERROR]"}), [Prompt.of("p")])
    assert "1 of 1 prompts: 1 row holds no answer but a failed call's mark: '[ERROR]' (1) (a; " in str(caught.value)


def test_what_programs_left_for_answers_and_two_writers_in_one_file_are_told(tmp_path: Path) -> None:
    prompts = [Prompt.of(str(n)) for n in range(4)]
    stream = 'data: {"choices": [{"delta": {"content": "x"}}]}'
    rows = [{"instruction": p.last_user, "output": stream, "generator": f"m{n % 2}"} for n, p in enumerate(prompts)]
    contestants = files(tmp_path, *rows)
    assert len(match_recorded(contestants, prompts)["a"]) == 4
    assert recorded_notes(contestants) == [
        "a: 4 of 4 recorded answers hold the events of a server's stream (data: …), not what they say (first line 1)",
        "a: its file names 2 models, rated as one: m0 (2), m1 (2)",
    ]
    match_recorded(one := files(tmp_path, *(row | {"generator": "m", "output": "x"} for row in rows)), prompts)
    assert recorded_notes(one) == []


@pytest.mark.parametrize("follow_ups", [(), ("Shorter.",)])
def test_answers_of_more_or_fewer_turns_are_named_with_what_to_do(tmp_path: Path, follow_ups: tuple[str, ...]) -> None:
    said = ["one", "two"][: 2 - len(follow_ups)]
    rows = [{"question_id": n, "model_id": "a", "choices": [{"index": 0, "turns": said}]} for n in range(3)]
    prompts = [read_prompt({"question_id": n, "turns": [f"Write {n}.", *follow_ups]}) for n in range(3)]
    with pytest.raises(InputError) as caught:
        match_recorded(files(tmp_path, *rows), prompts)
    if follow_ups:
        why = (
            "3 answers of 1 turn to prompts of 2 user turns: give the prompts without the later user turns, or answers"
        )
    else:
        why = "3 answers of 2 turns to prompts of 1 user turn: cut the answers' turns to those of the prompts, or give"
    assert f"no answer for 3 of 3 prompts: {why}" in str(caught.value)
