"""`real_self_rewarding` on a tiny model, and the lessons it teaches."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from printed_tables import tables

from arenaloop.judges.answer_lines import parse_score, parse_winner
from arenaloop.sandbox.notes import utility

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
Run = Callable[..., list[str]]


@pytest.mark.slow
def test_real_self_rewarding(run: Run, tiny: Path, tmp_path: Path) -> None:
    """A model that says nothing readable stops the recipe, and what it said is told all the same."""
    small = ("target.sampling.max_tokens=6", "sampling.max_tokens=6", "self_judge.sampling.max_tokens=8")
    changes = [word for change in small for word in ("--set", change)]
    sizes = ("--split", "dev", "--prompts", 12, "--test", 12, "--arms", "untaught")
    lines = run(
        "real_self_rewarding", "--model", tiny, "--out", tmp_path, *sizes, "--set", "allow_truncated=true", *changes
    )
    [[head, *rows]] = tables(lines)
    assert head[0] == "untaught"
    told = dict(rows)
    assert told["judgements that could be read"].startswith("0.0 % of ")
    assert told["M1: gold"] == "0.0 % of 12"
    assert "M2: gold" not in told
    assert lines[-2].startswith("the recipe stopped itself: judge")


def test_lessons_of_real_self_rewarding() -> None:
    """What the taught model learns is right by gold, and read by the parsers that read its own judgements."""
    lessons = runpy.run_path(str(EXPERIMENTS / "real_self_rewarding.py"))
    notes, judged = lessons["lessons"](3, [])
    assert all(utility(row["messages"][0]["content"], row["messages"][1]["content"]) == 1 for row in notes)
    scored = [row for row in judged if "judgement" in row]
    given = [(parse_score(row["judgement"]), row["messages"]) for row in scored]
    assert all(score == round(5 * utility(asked["content"], said["content"])) for score, (asked, said) in given)
    assert {score for score, _ in given} == {0, 1, 2, 5}
    winners = [parse_winner(row["messages"][1]["content"]) for row in judged if "judgement" not in row]
    assert {winner.first for winner in winners if winner} == {0.0, 1.0}
    assert (len(notes), len(scored), len(winners)) == (72, 64, 24)
