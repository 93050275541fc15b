"""Battles of a run directory come with the lengths of the answers that were judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.data import run_battles
from arenaloop.data.formats import read_battles
from arenaloop.data.run_battles import arena_of, at_odds, read_run, rows_with_lengths
from arenaloop.errors import InputError
from arenaloop.judges.jury import Jury
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.judges.seats import MergeRule
from arenaloop.models.scripted import ScriptedModel
from arenaloop.store import Store
from arenaloop.types import Prompt, Request

PROMPTS = [Prompt.of("one"), Prompt(({"role": "user", "content": "two"},), follow_ups=("and three",))]


def play(out: Path, merge: MergeRule = "mean", judges: int = 1, **options: Any) -> Path:
    out.mkdir()
    short = ScriptedModel("short", lambda request: "no")
    wordy = ScriptedModel("wordy", lambda request: f"well, {request.messages[-1]['content']} it is")

    def judge(request: Request) -> str:
        text = request.messages[-1]["content"]
        return "Scores: 9 2" if "answer 1 ===\nwell" in text else "Scores: 3 8"

    plan = BattlePlan(
        contestants=[Contestant("short", short), Contestant("wordy", wordy)],
        judge=Jury([PairwiseJudge(ScriptedModel(f"judge {n}", judge)) for n in range(judges)])
        if judges > 1
        else PairwiseJudge(ScriptedModel("judge", judge)),
        prompt_ids=[p.id for p in PROMPTS],
        schedule=Schedule((("short", "wordy"),)),
        merge=merge,
        **options,
    )
    with Store(out / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        run_tournament(plan, store, out)
    return out


@pytest.mark.parametrize("merge", ["mean", "two_battles"])
def test_lengths_are_those_of_all_turns(tmp_path: Path, merge: MergeRule) -> None:
    rows = list(rows_with_lengths(play(tmp_path / "run", merge)))
    games = 2 if merge == "two_battles" else 1
    two_turns = len("well, two it is") + len("well, and three it is")
    assert [(r["length_a"], r["length_b"]) for r in rows] == [(2, len("well, one it is"))] * games + [
        (4, two_turns)
    ] * games
    assert {r["winner"] for r in rows} == {"model_b"}


@pytest.mark.parametrize("judges", [1, 3])
def test_lengths_go_with_their_models_whichever_seat_was_asked(tmp_path: Path, judges: int) -> None:
    """Of one verdict each, and of those of a jury, some seat the second model first."""
    found = set()
    for seed in range(6):
        rows = list(rows_with_lengths(play(tmp_path / str(seed), judges=judges, seats="seeded", seed=seed)))
        found.add(tuple((r["length_a"], r["length_b"], len(r["verdicts"])) for r in rows))
    two_turns = len("well, two it is") + len("well, and three it is")
    assert found == {((2, len("well, one it is"), judges), (4, two_turns, judges))}


def test_a_directory_below_uses_the_arena_above(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    below = run / "rejudged" / "again"
    below.mkdir(parents=True)
    below.joinpath("battles.jsonl").write_bytes(run.joinpath("battles.jsonl").read_bytes())
    assert arena_of(below) == (run / "arena.db").resolve()
    assert list(rows_with_lengths(below)) == list(rows_with_lengths(run))


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no battles\.jsonl with an arena.db"):
        next(rows_with_lengths(tmp_path))
    run = play(tmp_path / "run")
    row = json.loads(run.joinpath("battles.jsonl").read_text().splitlines()[0]) | {"verdicts": ["gone"]}
    run.joinpath("battles.jsonl").write_text(json.dumps(row) + "\n")
    run.joinpath("leaderboard.json").unlink()  # which rates two battles
    assert [(r["length_a"], r["length_b"]) for r in rows_with_lengths(run)] == [(None, None)]


@pytest.mark.parametrize("controls", [[], ["length"]])
def test_a_file_that_was_put_behind_itself_counts_once(tmp_path: Path, controls: list[str]) -> None:
    """Of both seats' two battles each names its own verdict: they are two."""
    run = play(tmp_path / "run", "two_battles")
    before = read_run(run, controls=controls)
    assert not any("repeat" in note for note in before.notes)
    path = run / "battles.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    after = read_run(run, controls=controls)
    assert len(after) == len(before) == 4
    assert any("4 rows repeat a battle" in note for note in after.notes)


def lengthened(run: Path, changed: list[dict[str, Any]], times: int) -> None:
    """Put further battles behind a run's, copies of its own with other verdicts, and rows that were changed."""
    path = run / "battles.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    more = [row | {"verdicts": [f"{key}{n}" for key in row["verdicts"]]} for n in range(times) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *more, *changed]))


def other(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"winner": "model_a" if row["winner"] == "model_b" else "model_b"}


@pytest.mark.parametrize("controls", [[], ["length"]])
def test_two_outcomes_of_one_battle_are_in_doubt(tmp_path: Path, controls: list[str]) -> None:
    """Left out and shown while they are few, refused beyond."""
    run = play(tmp_path / "run")
    first = json.loads((run / "battles.jsonl").read_text().splitlines()[0])
    lengthened(run, [other(first)], times=30)
    battles = read_run(run, controls=controls)
    assert len(battles) == 61
    (note,) = (note for note in battles.notes if "different winners" in note)
    assert note.startswith("2 of 63 rows without one outcome left out")
    assert "(2, first line 1)" in note
    run = play(tmp_path / "other")
    lengthened(run, [other(first)], times=0)
    with pytest.raises(InputError, match=r"battles.jsonl.* line 1: rows of one battle that name different winners: 2"):
        read_battles(run / "battles.jsonl")
    with pytest.raises(InputError, match="line 1: rows of one battle that name different winners: 2 of 3"):
        read_run(run, controls=controls)


def lost(prompt: str, **more: Any) -> dict[str, Any]:
    return {
        "prompt_id": prompt, "model_a": "short", "model_b": "wordy", "winner": "model_b", "score_a": None,
        "score_b": None, "flipped": False, "judge": "judge", "verdicts": [], "own_failure": "short",
    } | more  # fmt: skip


@pytest.mark.parametrize("merge", ["mean", "two_battles"])
@pytest.mark.parametrize("controls", [[], ["length"]])
def test_losses_by_own_failure_count_once_too(tmp_path: Path, merge: MergeRule, controls: list[str]) -> None:
    """As many rows of one as a decided battle has, and no more."""
    run = play(tmp_path / "run", merge)
    path, games = run / "battles.jsonl", 2 if merge == "two_battles" else 1
    losses = [lost("p"), lost("q", verdicts=["failed"])]
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in losses for _ in range(games))
    before = read_run(run, controls=controls)
    assert not any("repeat" in note for note in before.notes)
    path.write_bytes(path.read_bytes() * 3)
    after = read_run(run, controls=controls)
    assert len(after) == len(before) == 4 * games
    assert before.own_failures is not None
    assert after.own_failures is not None
    assert after.own_failures.tolist() == before.own_failures.tolist() == [2 * games, 0]
    assert any(f"{8 * games} rows repeat a battle" in note for note in after.notes)


def test_names_that_are_no_unicode_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "battles.jsonl"
    row = lost("p", model_a="\ud800", own_failure="\ud800")
    path.write_text(2 * (json.dumps(row | {"own_failure": None, "verdicts": ["\ud801"]}) + "\n"))
    battles = read_battles(path)
    assert (len(battles), battles.models) == (1, ("wordy", "\ud800"))


def test_a_battle_that_is_undecided_twice_is_one(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    row = {"prompt_id": "p", "model_a": "short", "model_b": "wordy", "cause": "judge", "own_failure": None}
    run.joinpath("undecided.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    battles = read_run(run)
    assert battles.undecided is not None
    assert battles.undecided.tolist() == [[0, 1], [1, 0]]


def test_equal_votes_of_people_all_count(tmp_path: Path) -> None:
    votes = tmp_path / "votes.jsonl"
    votes.write_text(3 * '{"model_a": "a", "model_b": "b", "winner": "model_a"}\n')
    assert len(read_battles(votes)) == 3


@pytest.mark.parametrize(("merge", "judges"), [("mean", 1), ("two_battles", 1), ("mean", 2)])
def test_a_file_of_battles_that_its_arena_file_contradicts_is_noticed(
    tmp_path: Path, merge: MergeRule, judges: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = play(tmp_path / "run", merge, judges)
    assert at_odds(run) == []
    file = run / "battles.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    count = len(rows)
    assert {row["winner"] for row in rows} == {"model_b"}
    for edit, reason in (({"winner": "tie"}, "its verdicts say model_b"), ({"verdicts": ["ab"]}, "are not there")):
        file.write_text("".join(json.dumps(row | (edit if at == 1 else {})) + "\n" for at, row in enumerate(rows)))
        (note,) = read_run(run).notes
        assert note.startswith(f"1 of {count} battles in battles.jsonl are at odds with arena.db beside it")
        assert reason in note
        assert f"first short against wordy on prompt {rows[1]['prompt_id']}" in note
    # of a long file lines from all over it are compared
    monkeypatch.setattr(run_battles, "_WHOLE", 10)
    assert "battles looked at in battles.jsonl are at odds" in at_odds(run)[0]
    (run / "arena.db").write_bytes(b"no database")
    assert at_odds(run)[0].startswith("not compared with the arena file beside it")
