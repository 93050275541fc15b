"""Labelled answers in each of the field's forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from arenaloop.data.labelled_answers import LabelledAnswers, read_labelled_answers
from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.judges.parsers import parser_for
from arenaloop.types import Completion

_SCORE = parser_for("score")


def read(path: Path, rows: list[dict[str, Any]]) -> LabelledAnswers:
    write_jsonl(path, rows)
    return read_labelled_answers(path, lambda text: _SCORE.read(Completion(text)))


def turns(asked: str, said: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def texts(found: LabelledAnswers) -> list[str]:
    return [response.texts[0] for _, response in found.answers]


def test_scores_and_judgements(tmp_path: Path) -> None:
    found = read(
        tmp_path / "eft.jsonl",
        [
            {"messages": turns("Say hi.", "hi"), "judgement": "Good.\nScore: 5"},
            {"messages": turns("Say hi.", "no"), "score": 1},
            {"messages": turns("Say hi.", "hm"), "score": 1.0},
            {"messages": turns("Say ho.", "hi"), "score": 2},
            {"messages": turns("Say hi.", "hi"), "score": 5},
        ],
    )
    assert texts(found) == ["hi", "no", "hm", "hi"]
    assert found.scores == [5, 1, 1, 2]
    assert found.better == [(0, 1), (0, 2)]  # equal ones have no order, nor have answers of two prompts
    assert found.scored == [0, 1, 2, 3]
    again = read(tmp_path / "less.jsonl", [{"messages": turns("a", x), "score": i} for i, x in enumerate("xy")])
    assert found.identity != again.identity


def test_ranked_replies_and_pairs(tmp_path: Path) -> None:
    replies = [{"text": "b", "rank": 1}, {"text": "a", "rank": 0}, {"text": "c", "rank": 2}]
    foreign = {"prompt": {"text": "Quoi ?", "lang": "fr", "replies": replies}}
    trees = read(tmp_path / "trees.jsonl", [{"prompt": {"text": "Which?", "lang": "en", "replies": replies}}, foreign])
    assert trees.dropped == {"another language": 1}
    assert texts(trees) == ["a", "b", "c"]
    assert trees.better == [(0, 1), (0, 2), (1, 2)]
    assert trees.scored == []
    pair = {"instruction": "Which?", "output_1": "a", "output_2": "b"}
    votes = [{**pair, "preference": p, "annotator": str(n)} for n, p in enumerate((1, 1, 2))]
    split = [{**pair, "output_2": "c", "preference": p, "annotator": str(n)} for n, p in enumerate((1, 2))]
    pairs = read(tmp_path / "pairs.jsonl", votes + split + [{**pair, "output_1": "d", "preference": 2}])
    assert texts(pairs) == ["a", "b", "c", "d"]
    assert pairs.better == [(0, 1), (1, 3)]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"messages": turns("a", "b"), "score": 1}], "no two answers of one prompt"),
        (
            [{"messages": turns("a", "b"), "score": 1}, {"messages": turns("a", "b"), "score": 2}],
            r"line 2: an earlier row gives this answer the score 1$",
        ),
        ([{"messages": turns("a", "b"), "judgement": "fine"}], "line 1: neither a score nor a judgement with one"),
        ([{"messages": turns("a", "b")}], "line 1: neither a score nor a judgement with one"),
        ([{"messages": turns("a", "b"), "score": True}], "line 1: score True is no number"),
        ([{"messages": turns("a", "b")[:1], "score": 3}], "line 1: the conversation does not end with an assistant"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path / "labelled.jsonl", rows)
