"""Ranked replies to judgements that a judge learns from: trees, agreement with people, and scores thinned out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.data.eft import filled, read_judgements
from arenaloop.data.ranked_replies import RankedPrompt, agreeing, best_replies, parted, read_trees, thinned
from arenaloop.errors import InputError
from arenaloop.jsonl import write_jsonl
from arenaloop.judges.templates import load_template
from arenaloop.types import Judgement, Prompt, Status


def tree(text: str, *replies: tuple[str, int | None], lang: str = "en") -> dict[str, Any]:
    said = [{"text": reply, "rank": rank, "lang": lang, "role": "assistant"} for reply, rank in replies]
    return {"message_tree_id": text, "prompt": {"text": text, "role": "prompter", "lang": lang, "replies": said}}


def test_trees(tmp_path: Path) -> None:
    rows = [
        tree("Hi?", ("so so", 1), ("good", 0), ("unranked", None), ("bad", 2)),
        tree("Hi?", ("other", 0), ("words", 1)),
        tree("Hola?", ("bien", 0), ("mal", 1), lang="es"),
        tree("Alone?", ("one", 0)),
    ]
    write_jsonl(tmp_path / "trees.jsonl", rows)
    found = read_trees(tmp_path / "trees.jsonl")
    assert [(one.prompt.last_user, one.replies) for one in found.prompts] == [("Hi?", ("good", "so so", "bad"))]
    assert found.dropped == {
        "another language": 1, "too few ranked replies": 1, "prompts that repeat another one": 1,
        "replies without a rank": 1,
    }  # fmt: skip
    assert len(read_trees(tmp_path / "trees.jsonl", lang=None, least=1).prompts) == 3
    assert best_replies(found.prompts)[0]["messages"][-1] == {"role": "assistant", "content": "good"}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            tree("Hi?", ("a", None), ("b", None)),
            r"no prompt with 2 ranked replies \(replies without a rank: 2, too few",
        ),
        (tree("Hi?", ("a", 0), ("b", 0)), "two replies have rank 0"),
        (tree("Hi?", ("a", "first"), ("b", 1)), "rank 'first' is no whole number"),  # type: ignore[arg-type]
        ({"text": "Hi?"}, r"no message tree: prompt\.text is missing"),
        ({"prompt": {"text": "Hi?", "lang": "en", "replies": [{"rank": 0}]}}, "a reply has no text"),
        ({"prompt": {"text": "Hi?", "lang": "en", "replies": "none"}}, r"prompt\.replies is no list"),
        ({"prompt": {"text": 3, "replies": []}}, r"prompt\.text is missing"),
        ({"prompt": ["Hi?"]}, r"prompt\.text is missing"),
        (tree("Hi?", ("a", 0.5), ("b", 1)), r"rank 0\.5 is no whole number"),  # type: ignore[arg-type]
        (tree("Hi?", ("a", True), ("b", 1)), "rank True is no whole number"),
        (tree(" ", ("a", 0), ("b", 1)), r"no prompt with 2 ranked replies \(deleted or empty: 1\)"),
    ],
)
def test_files_that_are_no_ranked_trees(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    (tmp_path / "trees.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=says):
        read_trees(tmp_path / "trees.jsonl")


def test_odd_trees(tmp_path: Path) -> None:
    """Trees as they come: deleted messages, gaps in ranks, other languages, deeper turns, fields left out."""
    deleted, mixed, gaps = (tree(text, ("good", 0), ("bad", 3), ("worse", 5)) for text in ("A?", "B?", "C?"))
    deleted["prompt"]["deleted"] = True
    mixed["prompt"]["replies"][0]["deleted"] = True
    mixed["prompt"]["replies"][1]["replies"] = [{"text": "Thanks!", "rank": 0, "role": "prompter", "lang": "en"}]
    mixed["prompt"]["replies"].append({"text": "mal", "rank": 9, "lang": "es"})
    mixed["prompt"]["replies"].append({"text": "last", "rank": 7.0})  # a table's rank, and no language
    mixed["prompt"]["replies"].append({"text": " \n", "rank": 1, "lang": "en"})
    gaps["prompt"]["replies"].reverse()
    bare = {"prompt": {"text": "D?", "lang": "en"}}
    unheard = {"prompt": {"text": "E?", "lang": "en", "replies": None}, "tree_state": "growing"}
    write_jsonl(tmp_path / "trees.jsonl", [deleted, mixed, gaps, bare, unheard, tree("F?", ("one", 0), ("none", None))])
    found = read_trees(tmp_path / "trees.jsonl")
    assert {one.prompt.last_user: one.replies for one in found.prompts} == {
        "B?": ("bad", "worse", "last"),
        "C?": ("good", "bad", "worse"),
    }
    assert found.dropped == {
        "deleted or empty": 1, "too few ranked replies": 3,
        "replies in another language": 1, "replies that are deleted or empty": 2, "replies without a rank": 1,
    }  # fmt: skip


def judged(*scores: float | None) -> list[Judgement | None]:
    return [
        Judgement(f"k{i}", "p", f"h{i}", "m", Status.OK if score is not None else Status.UNPARSED, f"Said {i}.", score)
        for i, score in enumerate(scores)
    ]


THREE = RankedPrompt(Prompt.of("Hi?"), ("good", "so so", "bad"))


@pytest.mark.parametrize(
    ("scores", "ties", "kept", "why"),
    [
        ((5, 3, 1), False, 3, ""),
        ((5, None, 1), False, 2, ""),
        ((5, 3, 3), True, 3, ""),
        ((5, 3, 3), False, 0, "scores in another order than people's"),
        ((3, 5, 1), True, 0, "scores in another order than people's"),
        ((None, None, 1), False, 0, "fewer than 2 judgements with a score"),
    ],
)
def test_only_what_agrees_with_people_is_kept(
    scores: tuple[float | None, ...], ties: bool, kept: int, why: str
) -> None:
    found = agreeing([THREE], [judged(*scores)], ties=ties)
    assert len(found.rows) == kept
    assert found.dropped == ({why: 1} if why else {})


def test_kept_judgements_are_read_and_learned_from(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "eft.jsonl", agreeing([THREE], [judged(5, 3, 1)]).rows)
    rows = filled(load_template("rubric", layout="answer"), read_judgements(tmp_path / "eft.jsonl"), "s")
    assert [row["messages"][-1]["content"] for row in rows] == ["Said 0.", "Said 1.", "Said 2."]
    assert "\nso so\n" in rows[1]["messages"][0]["content"]
    for line in (
        {"messages": [], "judgement": "x"},
        {"messages": best_replies([THREE])[0]["messages"], "judgement": 3},
        {"messages": best_replies([THREE])[0]["messages"], "score": 3},
    ):
        (tmp_path / "bad.jsonl").write_text(json.dumps(line))
        with pytest.raises(InputError, match=r"bad\.jsonl, line 1"):
            read_judgements(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text(json.dumps(best_replies([THREE])[0] | {"score": None}))
    assert len(read_judgements(tmp_path / "bad.jsonl")) == 1  # of a table whose column has gaps


@given(st.lists(st.integers(0, 5), max_size=60), st.sampled_from([0.2, 0.4, 0.7, 1.0]), st.integers(0, 3))
def test_no_score_has_more_than_its_share(scores: list[int], most: float, seed: int) -> None:
    rows = [{"score": score, "at": at} for at, score in enumerate(scores)]
    kept = thinned(rows, most, seed)
    before, after = Counter(scores), Counter(row["score"] for row in kept)
    assert [row["at"] for row in kept] == sorted({row["at"] for row in kept})
    assert set(before) == set(after)
    if kept and most * len(before) >= 1:
        assert max(after.values()) <= most * len(kept) + 1e-9
    if scores and max(before.values()) <= most * len(scores):
        assert kept == rows
    rare = min(before.values(), default=0)
    assert all(n >= min(rare, before[score]) for score, n in after.items())


def test_parts_share_no_prompt() -> None:
    prompts = [RankedPrompt(Prompt.of(f"{i}?"), ("a", "b")) for i in range(10)]
    parts = parted(prompts, [5, 3, 1], seed=2)
    assert [len(part) for part in parts] == [5, 3, 1]
    assert len({one.prompt.id for part in parts for one in part}) == 9
    with pytest.raises(InputError, match=r"12 ranked prompts are needed, and there are 10: 2 are missing"):
        parted(prompts, [10, 2], seed=0)
