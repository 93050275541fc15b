"""Slices by what stands with the prompts: a file that is named, or the questions beside judgments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.formats import read_annotations, read_battles
from arenaloop.data.formats.prompt_tags import joined_by, prompt_tags, refuse_unmatched
from arenaloop.data.prompts import read_prompt
from arenaloop.errors import InputError


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


QUESTIONS: list[dict[str, Any]] = [
    {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
    {"question_id": 111, "category": "math", "turns": ["Count.", "Again."]},
]


def pairs(*questions: int) -> list[dict[str, Any]]:
    return [
        {
            "question_id": question, "model_1": "a", "model_2": "b", "g1_winner": winner, "g2_winner": winner,
            "judge": ["gpt-4", "pair-v2"], "turn": turn,
        }
        for question in questions
        for turn, winner in ((1, "model_1"), (2, "error"))
    ]  # fmt: skip


def test_questions_beside_judgments_tell_the_category(tmp_path: Path) -> None:
    path = write(tmp_path / "mt_bench" / "model_judgment" / "gpt-4_pair.jsonl", pairs(81, 111))
    assert joined_by(path, "category", None) == ("category", None)  # nothing beside it
    questions = write(tmp_path / "mt_bench" / "question.jsonl", QUESTIONS)
    by, prompts = joined_by(path, "category", None)
    assert prompts == questions
    battles = read_battles(path, by=by)
    assert battles.tags == ("math", "writing")
    for code in range(2):
        part = battles.tagged(code)
        assert (len(part), part.skipped) == (1, 1)
    rates = read_annotations(path, "a", by=by)
    assert rates.tags == ("writing", "math")
    writing = rates.tagged(0)
    assert (writing.prompts, len(writing.preference), writing.models) == ((81,), 2, ("b",))
    assert joined_by(path, "turn", None) == ("turn", None)  # the rows have it
    assert joined_by(path, None, None) == (None, None)


def test_prompts_join_by_their_own_ids_and_by_ours(tmp_path: Path) -> None:
    tags = prompt_tags(write(tmp_path / "q.jsonl", QUESTIONS), "category")
    assert tags == {
        "81": "writing", "111": "math", read_prompt(QUESTIONS[0]).id: "writing", read_prompt(QUESTIONS[1]).id: "math",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"no prompt has a column topic to slice by \(found: question_id, category"):
        prompt_tags(tmp_path / "q.jsonl", "topic")
    path = write(tmp_path / "pair.jsonl", pairs(1, 2))
    by, prompts = joined_by(path, "category", tmp_path / "q.jsonl")
    with pytest.raises(InputError, match=r"q.jsonl: none of its prompts is in .*pair.jsonl"):
        refuse_unmatched(by, read_battles(path, by=by).tags, prompts, path)
