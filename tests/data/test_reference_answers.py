"""FastChat's folder of reference answers beside its questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.prompts import read_prompts
from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl


def question(number: int, category: str, **more: Any) -> dict[str, Any]:
    return {"question_id": number, "category": category, "turns": [f"first {number}", f"second {number}"], **more}


def answer(number: object, *turns: Any) -> dict[str, Any]:
    row = {"question_id": number, "answer_id": "x", "model_id": "gpt-4", "tstamp": 1.5}
    return {**row, "choices": [{"index": 0, "turns": list(turns)}]}


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """FastChat's layout: ``question.jsonl``, and ``reference_answer/gpt-4.jsonl``."""
    questions = [
        question(81, "writing", reference=["own"]), question(101, "reasoning", reference=["short", "too"]),
        question(111, "math"), question(121, "coding"), question(131, "extraction"), question(141, "my own"),
    ]  # fmt: skip
    write_jsonl(tmp_path / "question.jsonl", questions)
    (tmp_path / "reference_answer").mkdir()
    given = [answer(81, "a poem", "a haiku"), answer("101", "long one", "long two"), answer(111, "4", "$ERROR$")]
    write_jsonl(tmp_path / "reference_answer/gpt-4.jsonl", [*given, answer(141, "mine", {"content": "mine too"})])
    return tmp_path


def test_questions_get_the_references_of_the_folder_by_their_id(bench: Path) -> None:
    prompts = read_prompts(bench / "question.jsonl")
    assert [prompt.references for prompt in prompts] == [
        ("own",), ("long one", "long two"), ("4",), (), (), ("mine", "mine too"),
    ]  # fmt: skip
    assert prompts.beside == f"reference answers to 3 from {bench / 'reference_answer/gpt-4.jsonl'}"
    (bench / "reference_answer").rename(bench / "elsewhere")
    alone = read_prompts(bench / "question.jsonl")
    assert [prompt.id for prompt in alone] == [prompt.id for prompt in prompts]  # they are no part of it
    assert (alone[1].references, alone.beside) == (("short", "too"), "")


def test_other_prompt_files_of_the_folder_are_not_fastchats(bench: Path) -> None:
    write_jsonl(bench / "prompts.jsonl", [{"id": 111, "prompt": "Anything."}])
    assert read_prompts(bench / "prompts.jsonl")[0].references == ()


def test_gpt_4_is_taken_of_several_and_of_others_none(bench: Path) -> None:
    folder = bench / "reference_answer"
    write_jsonl(folder / "claude.jsonl", [answer(111, "5")])
    assert read_prompts(bench / "question.jsonl")[2].references == ("4",)
    (folder / "gpt-4.jsonl").rename(folder / "mine.jsonl")
    with pytest.raises(InputError, match=r"reference_answer: 2 files \(claude\.jsonl, mine\.jsonl\)"):
        read_prompts(bench / "question.jsonl")


def test_a_row_that_is_no_answer_is_named_with_its_file_and_line(bench: Path) -> None:
    path = bench / "reference_answer/gpt-4.jsonl"
    write_jsonl(path, [answer(111, "4"), {"question_id": 112, "choices": [{"turns": "text"}]}])
    with pytest.raises(InputError, match=r"gpt-4\.jsonl.*2.*choices\[0\]\.turns is not a list of texts"):
        read_prompts(bench / "question.jsonl")
    path.write_text('{"question_id": 111,\n')
    with pytest.raises(InputError, match=r"gpt-4\.jsonl.*1"):
        read_prompts(bench / "question.jsonl")
