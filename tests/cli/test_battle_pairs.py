"""`arenaloop battle --pairs`: budgets in battles and in calls, uniform and chosen."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]

PLAYERS = ["--model", "a=sandbox:scholar", "--model", "b=sandbox:novice", "--model", "c=sandbox:poet"]
ARENA = [*PLAYERS, "--prompts", "sandbox:prompts?n=90", "--judge", "sandbox:judge", "--out", "out"]


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "battles.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ("optimal:150", "150 battles · at most 300 judge calls"),
        ("optimal:calls:150", "75 battles · at most 150 judge calls"),
        ("calls:150", "75 battles · at most 150 judge calls"),
        ("optimal:9999", "270 battles · at most 540 judge calls"),
    ],
)
def test_a_dry_run_says_how_many_battles_and_calls(arenaloop: Command, tmp_path: Path, pairs: str, says: str) -> None:
    result = arenaloop("battle", *ARENA, "--pairs", pairs, "--dry-run")
    assert result.code == 0
    assert says in result.lines[0]
    assert not (tmp_path / "out").exists()


def test_one_seat_is_half_the_calls(arenaloop: Command, tmp_path: Path) -> None:
    """Named in the plan, kept in the directory, asked once a pair, judged again from the same seat, and reported."""
    seeded = [*ARENA, "--pairs", "calls:60", "--seats", "seeded"]
    assert "60 battles · at most 60 judge calls" in arenaloop("battle", *seeded, "--dry-run").lines[0]
    result = arenaloop("battle", *seeded)
    assert result.code == 0
    assert "flips" not in result.out
    assert "seats: seeded" in (tmp_path / "out" / "config.yaml").read_text()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["battles_decided"], summary["verdicts_ok"], summary["flip_rate"]) == (60, 60, None)
    assert all(len(row["verdicts"]) == 1 for row in rows(tmp_path / "out"))
    again = arenaloop("rejudge", "out", "--template", "labels", "--json")
    assert again.code == 0
    found = json.loads(again.out)
    assert (found["compared"], found["calls"], found["flip_rate_before"], found["flip_rate_after"]) == (
        60, 60, None, None,
    )  # fmt: skip
    assert arenaloop("report", "out").code == 0
    assert "judged every pair from one drawn seat." in (tmp_path / "out" / "report.html").read_text()


def test_chosen_pairs_take_one_seat_too(arenaloop: Command, tmp_path: Path) -> None:
    seeded = [*ARENA, "--pairs", "optimal:calls:90", "--seats", "seeded"]
    assert "90 battles · at most 90 judge calls" in arenaloop("battle", *seeded, "--dry-run").lines[0]
    assert arenaloop("battle", *seeded).code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["battles_decided"], summary["verdicts_ok"]) == (90, 90)


def test_chosen_battles_are_fought_once_and_said(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("battle", *ARENA, "--pairs", "optimal:210")
    assert result.code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["battles_wanted"] == summary["battles_decided"] == 210
    notes = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["notes"]
    assert any("chosen by earlier results" in note or "uniform throughout" in note for note in notes)
    before = rows(tmp_path / "out")
    assert len({(r["prompt_id"], r["model_a"], r["model_b"]) for r in before}) == 210
    again = arenaloop("battle", *ARENA, "--pairs", "optimal:210")
    assert again.code == 0
    assert rows(tmp_path / "out") == before
    later = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (later["calls"], later["cached"]) == (summary["calls"], 420)


def test_a_sample_is_balanced(arenaloop: Command, tmp_path: Path) -> None:
    assert arenaloop("battle", *ARENA, "--pairs", "calls:200").code == 0
    pairs = Counter((r["model_a"], r["model_b"]) for r in rows(tmp_path / "out"))
    assert sorted(pairs.values()) == [33, 33, 34]


def test_a_batch_refuses_pairs_that_depend_on_verdicts(arenaloop: Command, tmp_path: Path) -> None:
    result = arenaloop("battle", *ARENA, "--pairs", "optimal:100", "--batch")
    assert result.code == 2
    assert "a batch asks for all verdicts at once" in result.lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_model_that_joins_drawn_pairs_takes_none_off_unsaid(arenaloop: Command, tmp_path: Path) -> None:
    drawn = [*ARENA[:7], "sandbox:prompts?n=12", *ARENA[8:], "--pairs", "sample:18"]
    joins = ["--add", "--model", "d=sandbox:clerk", "--out", "out"]
    assert arenaloop("battle", *drawn).code == 0
    before = rows(tmp_path / "out")
    refused = arenaloop("battle", *joins)
    assert refused.code == 2
    assert re.search(
        r"out: (\d+) battles \(pairs sample:18 are drawn anew from all models\): this battle would take that off its "
        r"board \(nothing stored is lost\); keep it with --pairs all, or by --reuse out with another --out",
        refused.lines[-1],
    )
    assert arenaloop("battle", *joins, "--merge", "two_battles").code == 2
    more = [one.replace("n=12", "n=13") for one in drawn]
    assert "are drawn anew" in arenaloop("battle", *more).lines[-1]
    assert rows(tmp_path / "out") == before
    assert arenaloop("battle", *drawn).code == 0  # as it was
    assert arenaloop("battle", *joins, "--pairs", "all", "--dry-run").code == 0
    assert arenaloop("battle", *joins, "--pairs", "sample:9999", "--dry-run").code == 0
    elsewhere = [*drawn[:-3], "new", *drawn[-2:], *joins[1:3], "--reuse", "out"]
    told = json.loads(arenaloop("battle", *elsewhere, "--dry-run", "--json").out)
    whole = json.loads(arenaloop("battle", *elsewhere[:-2], "--dry-run", "--json").out)
    assert told["estimate"]["calls"] < whole["estimate"]["calls"]
    assert arenaloop("battle", *drawn[:-1], "optimal:9", "--replace").code == 0
    assert "up to 9 battles (pairs optimal:9 are drawn anew from all models)" in arenaloop("battle", *joins).lines[-1]
