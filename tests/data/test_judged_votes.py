"""A jury's members, each with its own votes: from the arena file of a run, and from a table with judges."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arenaloop.arena.leaderboard import leaderboard
from arenaloop.arena.matchmaking import Schedule
from arenaloop.arena.plan import BattlePlan
from arenaloop.arena.reliability_board import reliability_board
from arenaloop.arena.tournament import run_tournament
from arenaloop.calls.answers import Contestant
from arenaloop.data.judged_votes import games_of_run, rated_jointly, read_judged_votes, votes_of_run
from arenaloop.data.run_battles import read_run
from arenaloop.errors import ConfigError
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.jury import Jury, JuryRule
from arenaloop.judges.pairwise import PairwiseJudge
from arenaloop.models.scripted import ScriptedModel
from arenaloop.ratings.arrays import sigmoid
from arenaloop.ratings.battles import Battles
from arenaloop.sandbox.judge import read_judge_prompt
from arenaloop.store import Store
from arenaloop.types import Prompt, Request, content_hash

PROMPTS = [Prompt.of(f"question {n}") for n in range(8)]
WORDS = {"a": "aaa", "b": "bb", "c": "c"}


def run(out: Path, rule: JuryRule = "reliability", fails: bool = False) -> Path:
    """Three models; one judge likes the early letters, one sees nothing but length, one the first seat."""
    out.mkdir()

    def judge(request: Request) -> str:
        seen = read_judge_prompt(request.messages[-1]["content"])
        assert seen is not None
        one, two = seen[1][-1].strip(), seen[2][-1].strip()
        if fails and {one[0], two[0]} == {"b", "c"}:
            return "no idea"
        return "Scores: 9 2" if one < two else "Scores: 3 8"

    def contestant(name: str) -> Contestant:
        def answer(request: Request) -> str:
            return WORDS[name] + request.messages[-1]["content"][-1]

        return Contestant(name, ScriptedModel(name, answer))

    plan = BattlePlan(
        contestants=[contestant(name) for name in WORDS],
        judge=Jury(
            [PairwiseJudge(ScriptedModel("letters", judge)), BuiltinJudge("shortest"), BuiltinJudge("first")], rule=rule
        ),
        prompt_ids=[p.id for p in PROMPTS],
        schedule=Schedule((("a", "b"), ("a", "c"), ("b", "c"))),
        reask=0,
    )
    with Store(out / "arena.db") as store:
        store.add_prompts(PROMPTS)
        store.flush()
        run_tournament(plan, store, out)
    return out


def won(votes: Any, judge: str, first: str, second: str) -> set[float]:
    table = votes.battles
    rows = (votes.judge == votes.judges.index(judge)) & (table.a == table.models.index(first))
    return set(table.score_a[rows & (table.b == table.models.index(second))].tolist())


def test_every_member_s_votes_with_their_seats(tmp_path: Path) -> None:
    votes = read_judged_votes(run(tmp_path / "run"))
    assert votes.judges == ("first", "letters", "shortest")
    assert len(votes.battles) == 3 * 2 * 3 * len(PROMPTS)
    assert votes.battles.clusters == len(PROMPTS)
    assert won(votes, "letters", "a", "b") == {1.0}
    assert won(votes, "letters", "b", "a") == {0.0}
    assert won(votes, "shortest", "a", "b") == {0.0}
    assert won(votes, "first", "a", "b") == won(votes, "first", "b", "a") == {1.0}
    assert votes.merged is not None
    assert len(votes.merged) == 3 * len(PROMPTS)


def test_the_run_s_leaderboard_is_rated_by_it_and_says_so(tmp_path: Path) -> None:
    out = run(tmp_path / "run")
    document = json.loads((out / "leaderboard.json").read_bytes())
    assert document["rule"] == "reliability"
    assert document["votes"] == 144
    assert document["battles"] == 24
    assert {one["name"] for one in document["judges"]} == {"letters", "shortest", "first"}
    assert next(one for one in document["judges"] if one["name"] == "first")["seat"] > 2
    assert [row["battles"] for row in document["leaderboard"]] == [16, 16, 16]
    assert rated_jointly(out)
    assert not rated_jointly(run(tmp_path / "other", "majority"))


def test_verdicts_without_an_outcome_are_counted(tmp_path: Path) -> None:
    votes = read_judged_votes(run(tmp_path / "run", fails=True))
    assert votes.failed == {"letters": 2 * len(PROMPTS)}
    assert any("left out: 16 of letters" in note for note in votes.battles.notes)
    assert np.count_nonzero(votes.judge == votes.judges.index("letters")) == 2 * 2 * len(PROMPTS)
    assert np.count_nonzero(votes.judge == votes.judges.index("first")) == 3 * 2 * len(PROMPTS)


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_table_with_judges(tmp_path: Path) -> None:
    rows = [
        {"model_a": "x", "model_b": "y", "winner": winner, "judge": judge, "prompt_id": n // 2}
        for n, (winner, judge) in enumerate(
            [("model_a", "j1"), ("model_b", "j2"), ("tie", "j1"), ("model_a", "j2"), ("model_a", None)]
        )
    ]
    votes = read_judged_votes(table(tmp_path / "votes.jsonl", rows))
    assert votes.judges == ("j1", "j2")
    assert votes.battles.score_a.tolist() == [1.0, 0.0, 0.5, 1.0]
    assert votes.judge.tolist() == [0, 1, 0, 1]
    assert votes.battles.skipped == 1
    assert any("1 of 5 votes without a judge's name" in note for note in votes.battles.notes)


def test_a_directory_of_judgments_by_several_judges(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for judge in ("gpt", "gemini"):
        (tmp_path / judge).mkdir()
        rows = [
            {"uid": f"u{n}", "model": model, "baseline": "base", "judge": judge,
             "games": [{"score": ["A>B", "B>A"][int((rng.random() < share) ^ turned)]} for turned in (False, True)]}
            for n in range(40) for model, share in (("good", 0.8), ("bad", 0.3))
        ]  # fmt: skip
        (tmp_path / judge / "judgments.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    votes = read_judged_votes(tmp_path)
    assert votes.judges == ("gemini", "gpt")
    assert np.bincount(votes.judge).tolist() == [160, 160]
    board = reliability_board(votes, None)
    assert [row.model for row in board.rows] == ["good", "base", "bad"]
    assert board.votes == 320


def test_what_holds_no_several_judges_is_refused(tmp_path: Path) -> None:
    plain = {"model_a": "x", "model_b": "y", "winner": "model_a", "prompt_id": 1}
    with pytest.raises(ConfigError, match="wants a column judge"):
        read_judged_votes(table(tmp_path / "a.jsonl", [plain]))
    with pytest.raises(ConfigError, match="are of one"):
        read_judged_votes(table(tmp_path / "b.jsonl", [plain | {"judge": "j"}]))
    own = plain | {"judge": "j", "score_a": 1.0, "score_b": 0.0, "flipped": False, "verdicts": ["k"]}
    with pytest.raises(ConfigError, match=r"wants the arena\.db"):
        read_judged_votes(table(tmp_path / "c.jsonl", [own]))


def test_the_games_behind_a_run_tell_the_seat_as_its_leaderboard_does(tmp_path: Path) -> None:
    out = run(tmp_path / "run", "majority")
    games = games_of_run(out)
    assert games is not None
    assert (len(games), games.clusters) == (3 * 2 * 3 * len(PROMPTS), len(PROMPTS))
    board = json.loads((out / "leaderboard.json").read_bytes())
    assert board["seat"]["value"] > 0.5  # one of the three judges names the first seat
    again = leaderboard(read_run(out), games=games).to_dict()
    assert again["seat"] == board["seat"]
    turned = games.of_models(["c", "b"])
    assert turned.models == ("c", "b")
    assert len(turned) == 2 * 3 * len(PROMPTS)
    assert won_by_first(turned, 1) == won_by_first(games, 1, 2)
    (out / "arena.db").unlink()
    assert games_of_run(out) is None


def played(out: Path, names: str, same: str, seats: Any = "both", blind: bool = False, merge: Any = "mean") -> Path:
    """Each letter is better than the next one by 1.5 nats, as much as the first seat is worth.

    Args:
        names: of the models, in the order of the schedule.
        same: answers to 24 of 60 prompts, which no judge tells apart; with NAME in it their texts differ nevertheless.
        blind: whether those verdicts go to the first seat; else they tie.
    """
    out.mkdir()
    prompts = [Prompt.of(f"question {n:02}") for n in range(60)]

    def judge(request: Request) -> str:
        seen = read_judge_prompt(request.messages[-1]["content"])
        assert seen is not None
        one, two = seen[1][-1].strip(), seen[2][-1].strip()
        if one.startswith("same"):
            return "Scores: 7 5" if blind else "Scores: 5 5"
        odds = 1.5 * (ord(two[0]) - ord(one[0])) + 1.5
        won = int(content_hash(one, two)[:8], 16) / 16**8 < sigmoid(np.array(odds))
        return "Scores: 9 2" if won else "Scores: 3 8"

    def contestant(name: str) -> Contestant:
        def answer(request: Request) -> str:
            number = request.messages[-1]["content"][-2:]
            return (same.replace("NAME", name) if int(number) < 24 else name) + " " + number

        return Contestant(name, ScriptedModel(name, answer))

    plan = BattlePlan(
        contestants=[contestant(name) for name in names],
        judge=PairwiseJudge(ScriptedModel("judge", judge)),
        prompt_ids=[p.id for p in prompts],
        schedule=Schedule(tuple(combinations(names, 2))),
        seats=seats,
        merge=merge,
    )
    with Store(out / "arena.db") as store:
        store.add_prompts(prompts)
        store.flush()
        run_tournament(plan, store, out)
    return out


def seat_of(out: Path) -> Any:
    return json.loads((out / "leaderboard.json").read_bytes())["seat"]


@pytest.mark.parametrize("names", ["abc", "cba"])  # model_a is the better one, or the worse
@pytest.mark.parametrize(("seats", "merge"), [("both", "mean"), ("both", "two_battles"), ("seeded", "mean")])
def test_ties_between_equal_texts_tell_nothing_of_the_seat(tmp_path: Path, names: str, seats: str, merge: str) -> None:
    asked = seat_of(played(tmp_path / "asked", names, "same NAME", seats, merge=merge))
    out = played(tmp_path / "equal", names, "same", seats, merge=merge)
    with Store(out / "arena.db", readonly=True) as store:
        votes = votes_of_run(out, store)
    each = 1 if seats == "seeded" else 2
    assert votes.equal is not None
    assert (len(votes.battles), int(votes.equal.sum())) == (3 * (each * 36 + 24), 3 * 24)
    games = games_of_run(out)
    assert games is not None
    assert (len(games), games.ties) == (3 * each * 36, 0)
    found = seat_of(out)
    assert found["lower"] < 1.5 < found["upper"]  # what the judge was made with
    assert 0.2 < asked["value"] < 0.8 * found["value"]  # texts that differ are weighed, and a tie is a word on the seat


@pytest.mark.parametrize("seats", ["both", "seeded"])
def test_equal_texts_that_go_to_a_seat_tell_of_it_alone(tmp_path: Path, seats: str) -> None:
    out = played(tmp_path / "equal", "abc", "same", seats, blind=True)
    games = games_of_run(out)
    assert games is not None
    own = games.a == games.b
    assert (int(own.sum()), games.score_a[own].min()) == (3 * 24, 1.0)  # one verdict, one game
    without = seat_of(played(tmp_path / "ties", "abc", "same", seats))
    assert seat_of(out)["value"] > without["value"]


def won_by_first(battles: Battles, first: int, second: int = 0) -> float:
    rows = (battles.a == first) & (battles.b == second)
    return float(battles.score_a[rows].sum())
