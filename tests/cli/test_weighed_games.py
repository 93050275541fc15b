"""`rank` and `winrate --rule arena_hard`: each seating a game, strong labels three."""

from __future__ import annotations

import json
from pathlib import Path

from labelled_run import play
from typer.testing import CliRunner

from arenaloop.cli import app


def ask(*args: object) -> str:
    found = CliRunner().invoke(app, [*map(str, args)])
    assert found.exit_code == 0, found.output
    return found.stdout


def test_strong_labels_weigh_three_where_that_is_asked_for(tmp_path: Path) -> None:
    run = play(tmp_path / "run")
    plain, weighed = (
        json.loads(ask("winrate", run, "--baseline", "base", *rule, "--json"))
        for rule in ([], ["--rule", "arena_hard"])
    )
    assert any("--rule arena_hard" in note for note in plain["notes"])
    assert any("5 with a strong label" in note for note in weighed["notes"])
    # of base: 1 x3, 0 x1; 0 x3, 0 x3; 0.5, 0; 1 x3, 0 x3
    assert abs(weighed["leaderboard"][0]["win_rate"] - 100 * (1 - 6.5 / 18)) < 1e-9
    assert weighed["leaderboard"][0]["n_total"] == 8
    for control in ([], ["--control", "style"]):
        board = json.loads(ask("rank", run, "--rule", "arena_hard", *control, "--json"))
        assert board["battles"] == 8
        rates = {row["model"]: row["win_rate"] for row in board["leaderboard"]}
        assert abs(rates["new"] - (1 - 6.5 / 18)) < 1e-9
    assert "--rule arena_hard" in " ".join(ask("rank", run).split())


def test_the_rule_is_refused_where_it_means_nothing(tmp_path: Path) -> None:
    table = tmp_path / "battles.csv"
    table.write_text("model_a,model_b,winner,prompt_id\na,b,model_a,p\n")
    for verb in (["rank"], ["winrate", "--baseline", "a"]):
        found = CliRunner().invoke(app, [*verb, str(table), "--rule", "arena_hard"])
        assert "goes with a run directory" in str(found.exception)
        found = CliRunner().invoke(app, [*verb, str(table), "--rule", "majority"])
        assert "--rule must be" in str(found.exception)
