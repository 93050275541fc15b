"""A run's seatings as Arena-Hard counts them: strong labels weigh three, by the same figures as what is exported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from labelled_run import PROMPTS, play

from arenaloop.data.export import battles as forms
from arenaloop.data.export.rows import Account
from arenaloop.data.formats.judgments import battle_columns
from arenaloop.data.run_battles import read_failures, read_run
from arenaloop.data.seatings import Deciding, deciding
from arenaloop.data.weighed_games import WeighedGames, read_weighed_run, strong_labels
from arenaloop.judges.builtin import BuiltinJudge
from arenaloop.judges.jury import Jury
from arenaloop.types import Outcome, Ruling, Status


def counted(rows: Iterable[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """(question, what base scored, weight), sorted, as the readers of rows take them."""
    told = battle_columns(enumerate(rows, start=1), "rows")
    assert told.prompts is not None
    assert told.weight is not None
    asked = {prompt.id: prompt.messages[-1]["content"] for prompt in PROMPTS}
    score = [one if name == "base" else 1 - one for name, one in zip(told.names_a, told.score.tolist(), strict=True)]
    return sorted(zip((asked[one] for one in told.prompts), score, told.weight.tolist(), strict=True))


def games(run: Path) -> list[tuple[str, float, float]]:
    return counted(WeighedGames(run, read_failures(run)))


@pytest.mark.parametrize("merge", ["mean", "two_battles"])
def test_games_weigh_as_those_that_are_exported(tmp_path: Path, merge: str) -> None:
    run = play(tmp_path / "run", merge=merge)
    battles = read_weighed_run(run)
    assert games(run) == [
        *(("0", 0.0, 1.0), ("0", 1.0, 3.0)),
        *(("1", 0.0, 3.0), ("1", 0.0, 3.0)),
        *(("2", 0.0, 1.0), ("2", 0.5, 1.0)),
        *(("3 same", 0.0, 3.0), ("3 same", 1.0, 3.0)),  # one call of equal texts, from both seats
    ]
    assert "8 in all; the 5 with a strong label ([[A>>B]]) weigh 3" in battles.notes[-1]
    assert strong_labels(run)[0].startswith("the judge wrote strong labels")
    if merge == "mean":  # the rows of one pair are put together before they go out
        rows = [forms.arena_hard(met, None) for _, met in forms.battles(run, Account(), words=True)]
        assert rows[0]["games"][0]["score"] == "A>>B"
        assert counted(rows) == games(run)


def test_a_loss_by_own_failure_weighs_as_its_games(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    path = run / "battles.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"winner": "model_b", "own_failure": "base", "verdicts": []}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert games(run)[0] == ("0", 0.0, 2.0)
    dropped = read_weighed_run(run, own_failure="drop")
    assert len(dropped) == 6
    assert not any("at odds" in note for note in dropped.notes)


def test_judges_without_labels_have_no_strong_ones(tmp_path: Path) -> None:
    run = play(tmp_path / "run", BuiltinJudge("longest"))
    assert strong_labels(run) == []
    assert {weight for _, _, weight in games(run)} == {1.0}
    assert len(read_run(run)) == 4


def test_a_jurys_games_are_decided_by_its_rule(tmp_path: Path) -> None:
    def vote(judge: str, outcome: Outcome) -> Ruling:
        return Ruling("k", "p", "f", "s", judge, 0, Status.OK, None, None, outcome)

    (tmp_path / "config.yaml").write_text(
        "judge: {rule: weighted, weights: {x: 3, y: 1, z: 1}, jury: [{spec: x}, {spec: y}, {spec: z}]}"
    )
    votes = [vote("z", Outcome.B), vote("y", Outcome.B), vote("x", Outcome.A)]
    assert deciding(tmp_path).of(votes) == pytest.approx((0.6, 0.4))
    assert deciding(tmp_path).of(votes[:2]) is None  # x, who did not say, weighs more than both
    assert Deciding("majority", 3).of(votes) == (0.0, 1.0)
    assert Deciding("majority", 3).of([vote("x", Outcome.TIE), vote("y", Outcome.TIE), votes[2]]) == (0.5, 0.5)
    assert Deciding("majority", 3).of(votes[:1]) is None
    assert deciding(tmp_path / "nowhere") == Deciding()
    jury = Jury([BuiltinJudge("longest"), BuiltinJudge("first")], rule="majority")
    run = play(tmp_path / "run", jury)
    assert {weight for _, _, weight in games(run)} == {1.0}
