"""Recorded answers: what matches, what is missing, and that they battle like any other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from scripted_battles import summarise

from arenaloop.arena.battles import play
from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.pairings import Pairing, pairings
from arenaloop.arena.plan import BattlePlan
from arenaloop.calls.answers import Answers, Contestant
from arenaloop.calls.recorded import ingest_recorded, match_recorded
from arenaloop.errors import InputError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.recorded import RecordedModel
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store, recorded_key
from arenaloop.types import Prompt, Request, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(6)]


def recorded(folder: Path, name: str, answers: Mapping[str, str] | Sequence[Mapping[str, Any]]) -> Contestant:
    rows = (
        [{"instruction": prompt, "output": text} for prompt, text in answers.items()]
        if isinstance(answers, Mapping)
        else answers
    )
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Contestant(name, RecordedModel(name, path))


def full(text: str, prompts: Sequence[Prompt] = PROMPTS) -> dict[str, str]:
    return {p.last_user: f"{text} {p.last_user}" for p in prompts}


def fight(
    path: Path, contestants: Sequence[Contestant], prompts: Sequence[Prompt] = PROMPTS, *, allow_missing: bool = False
) -> tuple[list[Pairing], list[Request]]:
    heard: list[Request] = []

    def script(request: Request) -> str:
        heard.append(request)
        return "Scores: 6 5"

    names, ids = [c.name for c in contestants], [p.id for p in prompts]
    found = match_recorded(contestants, prompts, allow_missing=allow_missing)
    judge = PairwiseJudge(ScriptedModel("judge", script))
    plan = BattlePlan(contestants, judge, ids, schedule("all", names, ids, 0), recorded=found)
    with Store(path) as store:
        store.add_prompts(prompts)
        ingest_recorded(store, contestants, prompts, found)
        play(plan, store)
        return list(pairings(plan, store)), heard


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arena.db"


def test_recorded_models_battle_and_resume(tmp_path: Path, path: Path) -> None:
    contestants = [recorded(tmp_path, "a", full("a")), recorded(tmp_path, "b", full("b"))]
    found, heard = fight(path, contestants)
    assert all(p.battles for p in found)
    assert len(heard) == 12
    again, heard = fight(path, contestants)
    assert again == found
    assert not heard
    with Store(path, readonly=True) as store:
        assert list(store._reader.execute("SELECT COUNT(*), SUM(calls) FROM responses")) == [(12, 0)]
        assert store.usage().calls == 12
        assert store.usage().usd == 0.0


def test_a_changed_answer_is_seen_as_changed(tmp_path: Path, path: Path) -> None:
    b = recorded(tmp_path, "b", full("b"))
    fight(path, [recorded(tmp_path, "a", full("a")), b])
    changed = full("a") | {"question 2": "better"}
    found, heard = fight(path, [recorded(tmp_path, "a", changed), b])
    assert len(heard) == 2
    assert all("better" in r.messages[0]["content"] for r in heard)
    assert all(p.battles for p in found)


def test_missing_answers_are_refused_with_their_number(tmp_path: Path) -> None:
    some = {k: v for k, v in full("a").items() if k not in ("question 1", "question 4")}
    contestant = recorded(tmp_path, "a", some)
    with pytest.raises(InputError, match=r"a\.jsonl: no answer for 2 of 6 prompts .*--allow-missing"):
        match_recorded([contestant], PROMPTS)


def test_missing_answers_leave_battles_undecided(tmp_path: Path, path: Path) -> None:
    some = {k: v for k, v in full("a").items() if k != "question 1"}
    found, heard = fight(path, [recorded(tmp_path, "a", some), recorded(tmp_path, "b", full("b"))], allow_missing=True)
    undecided = [p for p in found if not p.battles]
    assert [(p.prompt_id, p.a_first, p.b_first) for p in undecided] == [(PROMPTS[1].id, None, None)]
    assert len(heard) == 10
    assert summarise(found).to_json()["battles_wanted"] == 6


def test_empty_and_equal_answers(tmp_path: Path, path: Path) -> None:
    """An empty answer battles; equal answers share a verdict; two models may hold the same text for a prompt."""
    empty = full("a") | {"question 0": "", "question 1": "  \n"}
    found, heard = fight(
        path, [recorded(tmp_path, "a", empty), recorded(tmp_path, "b", full("a")), recorded(tmp_path, "c", full("a"))]
    )
    assert all(p.battles for p in found)
    # b and c say the same everywhere: one verdict a prompt; a joins them, except on two prompts (2 + 1 verdicts)
    assert len(heard) == 4 * 1 + 2 * 3
    with Store(path, readonly=True) as store:
        for prompt, text in zip(PROMPTS[:2], ("", "  \n"), strict=True):
            assert store.turn(recorded_key(prompt.id, [text]), 0) == (text, Status.EMPTY)


def test_multi_turn_answers(tmp_path: Path, path: Path) -> None:
    prompts = [Prompt(({"role": "user", "content": f"q{n}"},), (f"then {n}",), tags={"source_id": n}) for n in range(3)]
    rows = [{"question_id": n, "choices": [{"turns": [f"one {n}", f"two {n}"]}]} for n in range(3)]
    lines = [{"question_id": str(n), "choices": [{"turns": [f"eins {n}", ""]}]} for n in range(3)]
    contestants = [recorded(tmp_path, "a", rows), recorded(tmp_path, "b", lines)]
    found, heard = fight(path, contestants, prompts)
    assert all(p.battles for p in found)
    assert len(heard) == 6
    with Store(path, readonly=True) as store:
        answers = Answers(store, contestants, match_recorded(contestants, prompts), seed=0)
        assert answers.stored("a", prompts[1]).texts == ("one 1", "two 1")
        assert answers.stored("b", prompts[1]).status is Status.EMPTY


def test_answers_of_another_number_of_turns_do_not_match(tmp_path: Path) -> None:
    prompt = Prompt(({"role": "user", "content": "q"},), ("then",), tags={"source_id": 1})
    rows = [{"question_id": 1, "choices": [{"turns": ["one"]}]}]
    with pytest.raises(InputError, match="1 of 1"):
        match_recorded([recorded(tmp_path, "a", rows)], [prompt])


def test_one_answer_serves_prompts_that_differ_in_their_system_message(tmp_path: Path, path: Path) -> None:
    prompts = [
        Prompt(({"role": "system", "content": s}, {"role": "user", "content": "hi"})) for s in ("be brief", "be long")
    ]
    contestants = [recorded(tmp_path, n, {"hi": f"{n} says hi"}) for n in "ab"]
    found, heard = fight(path, contestants, prompts)
    assert all(p.battles for p in found)
    assert len(heard) == 4


def test_two_answers_to_a_prompt_are_no_answer(tmp_path: Path) -> None:
    rows = [{"instruction": p.last_user, "output": t} for t in ("heron", "egret") for p in PROMPTS]
    with pytest.raises(InputError, match="it contradicts itself in 12 of 12 rows"):
        match_recorded([recorded(tmp_path, "a", rows)], PROMPTS, allow_missing=True)


def test_a_malformed_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "question 0", "output": "x"}\n{"instruction": "question 1"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl.*2"):
        match_recorded([Contestant("a", RecordedModel("a", path))], PROMPTS)


def test_nothing_recorded_nothing_to_match() -> None:
    assert match_recorded([Contestant("s", ScriptedModel("s", lambda _: ""))], PROMPTS) == {}
