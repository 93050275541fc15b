"""A battle run's files: exactly the keys that scripts rely on, whatever failed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.matchmaking import schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import Tournament, run_tournament, write_summary
from arenaloop.calls.answers import Contestant
from arenaloop.errors import EndpointDownError
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Completion, Prompt, Request, Status

PROMPTS = [Prompt.of(f"question {n}") for n in range(8)]

BATTLE = ["prompt_id", "model_a", "model_b", "winner", "score_a", "score_b", "flipped", "judge", "verdicts"]
BOARD = [
    "method", "interval", "level", "cluster", "battles", "ties", "skipped", "notes", "leaderboard",
    "tie_rule", "tiers", "differences", "seat", "cycles", "rank_percentiles", "flags",
]  # fmt: skip
ROW = ["rank", "model", "rating", "lower", "upper", "battles", "win_rate", "rank_lower", "rank_upper", "tier"]
SUMMARY = [
    "battles_wanted", "battles_decided", "verdicts_ok", "verdicts_failed", "flip_rate", "first_seat_win_rate",
    "calls", "cached", "tokens_in", "tokens_out", "usd", "usd_estimated",
    "calls_cut_off", "seconds",
]  # fmt: skip


def judging(request: Request) -> str:
    """The longer answer wins, by one point for the first seat more."""
    found = read_judge_prompt(request.messages[0]["content"])
    assert found is not None
    _, (first,), (second,) = found
    return f"Scores: {min(10, 2 + len(first))} {min(10, 1 + len(second))}"


def constant(name: str, text: str) -> Contestant:
    return Contestant(name, ScriptedModel(name, lambda _: text))


def run(
    out: Path,
    contestants: Sequence[Contestant],
    judge: Any = judging,
    anchor: tuple[str, float] | None = None,
) -> tuple[Tournament, dict[str, Any]]:
    names, ids = [c.name for c in contestants], [p.id for p in PROMPTS]
    plan = BattlePlan(contestants, PairwiseJudge(ScriptedModel("judge", judge)), ids, schedule("all", names, ids, 0))
    with Store(out / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        result = run_tournament(plan, store, out, anchor=anchor)
        return result, write_summary(out, store, result.summary, result.tally.cached)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "battles.jsonl").read_text().splitlines()]


def read(out: Path, name: str) -> Any:
    return json.loads((out / name).read_text())


TRIO = [constant("short", "x"), constant("middle", "xxx"), constant("long", "xxxxx")]


def test_files_and_their_keys(tmp_path: Path) -> None:
    result, summary = run(tmp_path, TRIO)
    battles, board = rows(tmp_path), read(tmp_path, "leaderboard.json")
    assert len(battles) == 3 * len(PROMPTS)
    assert all(list(b) == BATTLE for b in battles)
    assert all(len(b["verdicts"]) == 2 for b in battles)
    assert battles[0] == {
        "prompt_id": PROMPTS[0].id, "model_a": "short", "model_b": "middle", "winner": "model_b",
        "score_a": 2.5, "score_b": 4.5, "flipped": False, "judge": "judge", "verdicts": battles[0]["verdicts"],
    }  # fmt: skip
    assert list(board) == BOARD
    assert all(list(row) == ROW for row in board["leaderboard"])
    assert [row["model"] for row in board["leaderboard"]] == ["long", "middle", "short"]
    assert board["leaderboard"][0]["win_rate"] == 1.0
    assert board["cluster"] == "prompt"
    assert read(tmp_path, "summary.json") == summary
    assert list(summary) == SUMMARY
    assert list(summary["verdicts_failed"]) == ["unparsed", "refused", "truncated", "empty", "error"]
    assert (summary["battles_wanted"], summary["battles_decided"], summary["verdicts_ok"]) == (24, 24, 48)
    assert (summary["calls"], summary["cached"], summary["usd"]) == (24 + 48, 0, 0.0)
    assert result.undecided == 0


def test_the_same_again_changes_nothing_but_cached(tmp_path: Path) -> None:
    _, before = run(tmp_path, TRIO)
    files = {name: (tmp_path / name).read_bytes() for name in ("battles.jsonl", "leaderboard.json")}
    _, after = run(tmp_path, TRIO)
    assert after == before | {"cached": 48}
    assert files == {name: (tmp_path / name).read_bytes() for name in files}


def test_an_anchor_holds_its_rating(tmp_path: Path) -> None:
    run(tmp_path, TRIO, anchor=("middle", 1100.0))
    row = next(r for r in read(tmp_path, "leaderboard.json")["leaderboard"] if r["model"] == "middle")
    assert row["rating"] == pytest.approx(1100.0)


def test_an_anchor_without_a_decided_battle_does_not_lose_the_run(tmp_path: Path) -> None:
    """All that was paid for is in; the anchor's server was busy. The files must be written all the same."""
    busy = Completion(status=Status.ERROR, error="HTTP 503: busy", usd=0.0)
    mute = Contestant("mute", ScriptedModel("mute", lambda _: busy))
    result, summary = run(tmp_path, [*TRIO, mute], anchor=("mute", 1000.0))
    assert result.undecided == 24
    assert summary["battles_decided"] == 24
    board = read(tmp_path, "leaderboard.json")
    assert {row["model"] for row in board["leaderboard"]} >= {"short", "middle", "long"}
    assert all(row["rating"] is None for row in board["leaderboard"] if row["model"] == "mute")
    assert any("anchor mute" in note for note in board["notes"])


def test_a_graph_in_two_parts_does_not_lose_the_run(tmp_path: Path) -> None:
    """Verdicts between two groups failed: each group is rated, or said to be incomparable; nothing is thrown away."""

    def partial(request: Request) -> str | Completion:
        found = read_judge_prompt(request.messages[0]["content"])
        assert found is not None
        lengths = {len(found[1][0]) <= 3, len(found[2][0]) <= 3}
        return judging(request) if len(lengths) == 1 else Completion(status=Status.ERROR, error="x", usd=0.0)

    result, summary = run(tmp_path, [*TRIO, constant("longest", "xxxxxxx")], partial)
    assert (summary["battles_wanted"], summary["battles_decided"]) == (48, 16)
    assert summary["verdicts_failed"]["error"] == 64
    assert len(rows(tmp_path)) == 16
    assert read(tmp_path, "leaderboard.json")["notes"]
    assert result.undecided == 32


def test_nothing_decided_at_all(tmp_path: Path) -> None:
    result, summary = run(tmp_path, TRIO, lambda _: Completion(status=Status.ERROR, error="x"), ("long", 1000.0))
    assert rows(tmp_path) == []
    assert result.undecided == 24
    assert summary["usd"] is None  # the price of a failed call was not known
    assert (summary["flip_rate"], summary["first_seat_win_rate"]) == (None, None)
    assert list(read(tmp_path, "leaderboard.json")) == [*BOARD, "undecided", "order_depends_on_undecided"]


def test_a_stopped_run_writes_nothing_but_the_arena_file(tmp_path: Path) -> None:
    class Down(ScriptedModel):
        async def complete(self, request: Request) -> Completion:
            raise EndpointDownError("gone")

    with pytest.raises(EndpointDownError):
        run(tmp_path, [*TRIO, Contestant("down", Down("down", lambda _: ""))])
    assert {p.name for p in tmp_path.iterdir()} <= {"arena.db", "arena.db.lock"}


def test_names_that_need_care(tmp_path: Path) -> None:
    odd = [constant('a"b\n', "x"), constant("ünï\u202e", "xxx"), constant("[red]", "xxxx")]
    run(tmp_path, odd)
    assert {b["model_a"] for b in rows(tmp_path)} == {'a"b\n', "ünï\u202e"}
    assert {r["model"] for r in read(tmp_path, "leaderboard.json")["leaderboard"]} == {c.name for c in odd}
